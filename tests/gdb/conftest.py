"""Machines with the program of program.c, and gdbs that debug them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hartwell.gdb import tcp
from hartwell.gdb.server import Server
from hartwell.machine import Machine
from hartwell.setup import build
from tests.core.bench import platform
from tests.gdb.mi import Gdb

T = TypeVar("T")
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """program.c, with line numbers."""
    assert build.main() == 0
    built = tmp_path_factory.mktemp("gdb") / "program"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-freestanding", "-mcpu=baseline_rv64", "-g", "-O0",
               "-nostdlib", "-static", "-fno-omit-frame-pointer", "-mcmodel=medany", "-Wl,--image-base=0x80000000",
               "-Wl,-e,_start", "-o", str(built), str(HERE / "program.c")]
    subprocess.run(command, check=True, timeout=900)
    return built


class Target:
    """A machine on wasmtime in a thread of its own, with gdb's port."""

    def __init__(self, program: Path, boot: Callable[..., Any] = Machine.boot, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.machine: Machine = self.call(
            lambda: boot(bare=str(program), memory="16M", platform=platform(), show=False, **options)
        )
        self.server = Server(lambda: self.machine)
        listening = self.call(lambda: tcp.listen(self.server))
        self.port: int = listening.sockets[0].getsockname()[1]

    def call(self, make: Callable[[], Any], limit: float = 240) -> Any:
        """Runs a coroutine, or a function, where the machine lives."""
        done: Future[Any] = Future()

        async def run() -> None:
            try:
                value = make()
                done.set_result(await value if asyncio.iscoroutine(value) else value)
            except BaseException as error:  # noqa: BLE001 - the caller's
                done.set_exception(error)

        self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(run()))
        return done.result(limit)

    def close(self) -> None:
        self.call(self.machine.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(120)


@pytest.fixture
def target(program: Path) -> Iterator[Target]:
    """Two harts that run the program."""
    made = Target(program, harts=2)
    yield made
    made.close()


@pytest.fixture
def gdb(target: Target, program: Path) -> Iterator[Gdb]:
    """A gdb that is connected to them."""
    made = Gdb(program)
    made.do(f"-target-select remote 127.0.0.1:{target.port}")
    made.stopped()
    yield made
    made.close()

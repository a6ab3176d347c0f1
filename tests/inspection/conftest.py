"""One guest for all tests here: Debian's kernel and the shell image on two harts."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hartwell.machine import Machine
from hartwell.setup import build
from tests.core.bench import ROOT
from tests.wishes.build import CACHE, disk

BOOT_SECONDS = 900
HERE = Path(__file__).parent
ZIG = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-linux-musl", "-O1", "-g"]
# Frame pointers are there to be found; the C library stays the one that tests/wishes uses.
FLAGS = ["-c", "-fno-omit-frame-pointer", "-Wall", "-Wextra", "-Werror"]


class Guest:
    """A machine in a thread with its own event loop; everything is asked for there."""

    def __init__(self, machine: Machine, loop: asyncio.AbstractEventLoop, programs: dict[str, Path]) -> None:
        """programs: as they were built, by name."""
        self.machine, self._loop, self.programs = machine, loop, programs
        self.boot_calls: Any = None
        """What was traced and profiled from before the kernel's first instruction to the prompt."""
        self.boot_profile: Any = None

    def __call__(self, work: Callable[[Machine], Any], timeout: float = 600) -> Any:
        """`work(machine)`, awaited when it is a coroutine."""

        async def done() -> Any:
            value = work(self.machine)
            return await value if inspect.isawaitable(value) else value

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(timeout)

    def shell(self, command: str) -> str:
        """What a command prints in the guest."""

        async def run(machine: Machine) -> str:
            result = await machine.run(command, 400)
            assert result.returncode == 0, result
            return result.stdout

        return str(self(run))


def programs(folder: Path, *flags: str) -> dict[str, Path]:
    """The C programs here, built for the guest."""
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(CACHE), "ZIG_LOCAL_CACHE_DIR": str(CACHE)}
    made = {}
    for source in sorted(HERE.glob("*.c")):
        made[source.stem] = folder / source.stem
        made_object = str(folder / f"{source.stem}.o")
        for command in ([*FLAGS, *flags, source.name, "-o", made_object], ["-static", made_object, "-o", str(made[source.stem])]):
            done = subprocess.run(
                [*ZIG, *command], cwd=HERE, env=environment, capture_output=True, text=True, check=False, timeout=1200)
            assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """At the shell's prompt, the programs of this folder unpacked in /root."""
    from hartwell.platform.wasmtime import WasmtimePlatform

    assert build.main() == 0
    built = programs(tmp_path_factory.mktemp("programs"))
    image = disk(built)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def boot() -> Guest:
        platform = WasmtimePlatform(ROOT / "static" / "cpu.wasm", ROOT / "static")
        machine = await Machine.boot("shell", harts=2, memory="256M", disks=[image], platform=platform, show=False, halt=True)
        guest = Guest(machine, loop, built)
        profiler = machine.profiler(hz=50)
        with machine.trace.syscalls(names=["execve"]) as guest.boot_calls:
            machine.resume()
            await machine.console.expect(r"[#$] $", timeout=BOOT_SECONDS)
        guest.boot_profile = profiler.stop()
        return guest

    guest = asyncio.run_coroutine_threadsafe(boot(), loop).result(BOOT_SECONDS)
    try:
        guest.shell("echo 0 > /proc/sys/kernel/kptr_restrict; mkdir -p /root; cd /root; tar x < /dev/vda")
        # The prompt comes before the last module has: tests compare two looks at the same things.
        guest.shell("until grep -q '^vmw_vsock_virtio_transport .* Live ' /proc/modules && ! grep -qv ' Live ' /proc/modules; do "
                    "sleep 0.2; done")
        yield guest
    finally:
        guest(lambda machine: machine.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(120)

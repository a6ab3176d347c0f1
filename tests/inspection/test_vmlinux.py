"""A kernel with its vmlinux: types, lines and sources, by Python and by gdb.  Needs `hartwell image kernel --debug-info`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from hartwell.machine import Machine
from hartwell.setup import build, kernel
from tests.core.bench import ROOT
from tests.gdb.mi import Gdb
from tests.headless.terminal import PROMPT, run
from tests.headless.test_gdb import port_of
from tests.inspection.conftest import BOOT_SECONDS, Guest

pytestmark = pytest.mark.slow

VMLINUX = kernel.FOLDER / "build" / "vmlinux"
SOURCE = kernel.FOLDER / kernel.SOURCE / "fs" / "open.c"


@pytest.fixture(scope="module")
def vmlinux() -> bytes:
    """With DWARF; of the kernel in static/images/small."""
    if not VMLINUX.is_file() or not (ROOT / "static/images" / kernel.NAME / "Image").is_file():
        pytest.skip("there is no kernel of our own; `hartwell image kernel --debug-info` makes it")
    data = VMLINUX.read_bytes()
    with VMLINUX.open("rb") as file:
        if not ELFFile(file).has_dwarf_info():
            pytest.skip(f"{VMLINUX} has no DWARF; `hartwell image kernel --debug-info` makes one that has")
    return data


@pytest.fixture(scope="module")
def small(vmlinux: bytes) -> Iterator[Guest]:
    """That kernel at its prompt."""
    from hartwell.platform.wasmtime import WasmtimePlatform

    assert build.main() == 0
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def boot() -> Guest:
        platform = WasmtimePlatform(ROOT / "static" / "cpu.wasm", ROOT / "static")
        machine = await Machine.boot(kernel.NAME, memory="256M", platform=platform, show=False, network=None, share=None)
        await machine.console.expect(r"[#$] $", timeout=BOOT_SECONDS)
        machine.symbols.add(vmlinux, "vmlinux")
        return Guest(machine, loop, {})

    made = asyncio.run_coroutine_threadsafe(boot(), loop).result(BOOT_SECONDS)
    yield made
    made(lambda machine: machine.close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


def line_of(text: str, source: Path = SOURCE) -> int:
    """The number of the only line that has this in it."""
    (found,) = [number for number, line in enumerate(source.read_text().splitlines(), 1) if text in line]
    return found


def test_lines_of_the_kernel_in_python(small: Guest) -> None:
    line = line_of("fd = get_unused_fd_flags(how->flags);")

    async def look(machine: Machine) -> tuple[Any, ...]:
        machine.symbols.add_source(SOURCE.read_text(), "open.c")
        machine.debugger.break_at(f"open.c:{line}")
        machine.console.write("cat /etc/hostname\n")
        stop = await machine.debugger.stopped(timeout=120)
        found = (machine.symbols.name(stop.pc), machine.symbols.line(stop.pc), dict(machine.symbols.source(stop.pc)),
                 [(frame.name, frame.line) for frame in machine.debugger.backtrace(stop.hart)])
        machine.debugger.clear()
        machine.debugger.resume()
        return found

    name, where, source, calls = small(look)
    assert name.startswith("do_sys_openat2+")
    assert where == f"open.c:{line}"
    assert source[line].strip() == "fd = get_unused_fd_flags(how->flags);"
    assert calls[0][0].startswith("do_sys_openat2") and calls[0][1] == f"open.c:{line}"
    assert any(place and place.startswith("open.c:") for _, place in calls[1:3])


def test_gdb_with_a_vmlinux() -> None:
    """From start_kernel, whose page tables are just on, to a file that a program opens; the translator is on."""
    with run("--image", kernel.NAME, "--gdb", "0", "--halt", "--memory", "256M") as terminal:
        gdb = Gdb(VMLINUX)
        try:
            gdb.do(f"-target-select remote 127.0.0.1:{port_of(terminal)}", 120)
            gdb.stopped()
            gdb.do("-break-insert -t -h start_kernel")
            stop = gdb.go(limit=BOOT_SECONDS)
            assert stop["func"] == "start_kernel" and stop["file"].endswith("init/main.c")
            gdb.do("-exec-continue")
            terminal.expect(PROMPT, BOOT_SECONDS)
            gdb.do("-exec-interrupt")
            gdb.stopped()
            gdb.do("-break-insert do_sys_openat2")
            gdb.do("-exec-continue")
            terminal.type("cat /etc/hostname\n")
            stop = gdb.stopped(120)
            assert stop["func"] == "do_sys_openat2" and stop["file"].endswith("fs/open.c")
            for _ in range(100):  # others open files too
                if gdb.value("filename").endswith('"/etc/hostname"'):
                    break
                gdb.go(limit=120)
            else:
                pytest.fail("nobody has opened /etc/hostname")
            gdb.do("-break-delete")
            assert gdb.value("*how").startswith("{flags = ")
            assert "iname" in gdb.say("ptype struct filename")
            line = line_of("fd = get_unused_fd_flags(how->flags);")
            gdb.do(f"-break-insert -t open.c:{line}")
            assert gdb.go()["line"] == str(line)
            assert "fd_install" in gdb.say(f"list {line},{line + 10}")
            gdb.do("-target-detach")
        finally:
            gdb.close()
        assert "hartwell" in terminal.expect(PROMPT, 120)

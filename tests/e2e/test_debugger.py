"""The Debug panel, and gdb at the page's machine by way of serve.py."""

from __future__ import annotations

import base64
import json
import re
import socket
import urllib.parse
from pathlib import Path

import pytest

from tests.e2e.tab import Tab
from tests.e2e.test_inspection import keep
from tests.gdb.mi import Gdb
from tests.inspection.conftest import programs

HERE = Path(__file__).parent


@pytest.fixture
def panel(machine_tab: Tab):  # type: ignore[no-untyped-def]
    """The open panel; the machine runs, with nothing set, before and afterwards."""
    machine_tab.page.locator("hw-dock nav button[data-panel=debug]").click()
    yield machine_tab.page.locator("hw-debug-panel")
    machine_tab.python("machine.debugger.clear()\nif machine.state == 'paused': machine.resume()")
    machine_tab.page.locator("hw-dock nav button[data-panel=debug]").click()
    machine_tab.wait_for_state("running")


def test_pause_step_and_look_around(machine_tab: Tab, panel) -> None:  # type: ignore[no-untyped-def]
    panel.get_by_role("button", name="Pause").click()
    machine_tab.wait_for_state("paused")
    pc = machine_tab.python("f'{machine.harts[0].pc:016x}'")
    panel.locator("table[data-name=code] tr.here", has_text=pc).wait_for()
    assert panel.locator("table[data-name=registers] tr").count() == 32
    panel.get_by_role("button", name="Step", exact=True).click()
    panel.get_by_text(re.compile("^step on hart 0 at 0x")).wait_for()
    after = machine_tab.python("f'{machine.harts[0].pc:016x}'")
    assert after != pc
    panel.locator("table[data-name=code] tr.here", has_text=after).wait_for()
    panel.locator("[data-name=goto] input").fill("0x10")
    panel.get_by_role("button", name="Show").click()
    panel.get_by_text("nothing is mapped there now").wait_for()


def test_a_breakpoint_from_the_panel(machine_tab: Tab, panel) -> None:  # type: ignore[no-untyped-def]
    """In the kernel's entry for traps, which every system call comes by."""
    vector = machine_tab.python("hex(machine.harts[0].csr['stvec'])")
    panel.locator("[data-name=set] input").fill(vector)
    panel.get_by_role("button", name="Set").click()
    machine_tab.wait_for_state("paused")
    panel.get_by_text(f"breakpoint on hart 0 at {vector}").wait_for()
    assert machine_tab.python("hex(machine.harts[0].pc)") == vector
    panel.get_by_role("button", name="Clear").click()
    panel.get_by_role("button", name="Resume").click()
    machine_tab.wait_for_state("running")
    assert machine_tab.run("echo $((6*7))").strip() == "42"


def test_source_lines_of_a_program(machine_tab: Tab, panel, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """One that was built with -g in the shared folder: its ELF file picked by hand, a
    breakpoint at a line, and there the line, the calls and theirs.  Then the
    source, picked too."""
    folder = HERE.parent / "inspection"
    source = folder / "busy.c"
    line = next(number for number, text in enumerate(source.read_text().splitlines(), 1) if "sink += round;" in text)
    busy = programs(tmp_path, f"-fdebug-prefix-map={folder}=/mnt/host")["busy"]
    for file in (busy, source):
        packed = base64.b64encode(file.read_bytes()).decode()
        machine_tab.python(f"import base64\nawait machine.files.upload('/mnt/host/{file.name}', base64.b64decode('{packed}'))")
    panel.locator("input[type=file]").set_input_files(busy)
    panel.locator("[data-name=set] input").fill(f"busy.c:{line}")
    machine_tab.run("cp /mnt/host/busy /tmp/busy; chmod +x /tmp/busy")
    panel.get_by_role("button", name="Set").click()
    panel.get_by_text(f"break busy.c:{line}").wait_for()
    machine_tab.python("import asyncio\nbusy = asyncio.ensure_future(machine.run('/tmp/busy 3', 600))")
    machine_tab.wait_for_state("paused")
    panel.locator("table[data-name=source] tr.here", has_text="sink += round;").wait_for()
    assert panel.locator("[data-name=at]").inner_text() == f"busy.c:{line}"
    calls = panel.locator("table[data-name=frames] tr")
    assert re.search(rf"warm.*busy\.c:{line}", calls.nth(0).inner_text())
    assert re.search(r"main.*busy\.c:\d+", calls.nth(1).inner_text())
    assert "busy (" in panel.locator("[data-name=task]").inner_text()
    keep(machine_tab, "source")
    (tmp_path / "busy.c").write_text(source.read_text().replace("sink += round;", "sink += round; /* looked at */"))
    panel.locator("input[type=file]").set_input_files(tmp_path / "busy.c")
    panel.locator("table[data-name=source] tr.here", has_text="looked at").wait_for()
    panel.get_by_role("button", name="Clear").click()
    panel.get_by_role("button", name="Resume").click()
    assert machine_tab.python("(await busy).returncode") == 0


def test_gdb_at_the_page(machine_tab: Tab, panel) -> None:  # type: ignore[no-untyped-def]
    """One click, the line that is shown, and a gdb that nobody changed."""
    machine_tab.python("import hartwell.gdb.port; hartwell.gdb.port.GdbPort.gdb.__defaults__ = (0,)")
    panel.get_by_role("button", name="Let gdb connect").click()
    line = panel.locator("[data-name=line]", has_text="target remote 127.0.0.1:")
    line.wait_for()
    gdb = Gdb()
    try:
        gdb.do("-gdb-set architecture riscv:rv64")
        gdb.do(f"-target-select remote {line.inner_text().split()[-1]}")
        gdb.stopped()
        machine_tab.wait_for_state("paused")
        with pytest.raises(OSError, match="refused"):  # loopback only, and of that the one address
            socket.create_connection(("127.0.0.2", int(line.inner_text().rsplit(":", 1)[1])), 5)
        vector = gdb.number("$stvec")
        gdb.do(f"-break-insert *{vector:#x}")
        assert int(gdb.go()["addr"], 16) == vector
        assert gdb.number("$pc") == vector
        gdb.do("-break-delete")
        gdb.do("-exec-continue")
        machine_tab.wait_for_state("running")
        gdb.do("-exec-interrupt")
        gdb.stopped()
        gdb.do("-target-detach")
    finally:
        gdb.close()
    machine_tab.wait_for_state("running")
    assert machine_tab.run("echo goes on").strip() == "goes on"


def test_the_bridge_refuses_foreign_pages(machine_tab: Tab) -> None:
    """A WebSocket of another origin gets no port."""
    address = urllib.parse.urlsplit(machine_tab.address)
    for origin in ("http://evil.example", "null", f"http://localhost.evil.example:{address.port}"):
        with socket.create_connection((str(address.hostname), address.port or 80), 120) as connection:
            connection.sendall(
                f"GET /ws/gdb?port=0 HTTP/1.1\r\nHost: {address.netloc}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            assert b" 403 " in connection.recv(1000).split(b"\r\n")[0]


def test_a_port_that_is_taken(machine_tab: Tab) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = machine_tab.python(
            f"try:\n    found = await machine.gdb({port})\n"
            "except Exception as error:\n    found = [type(error).__name__, str(error)]\nfound"
        )
    assert answer[0] == "NotSupported", json.dumps(answer)
    assert str(port) in answer[1]

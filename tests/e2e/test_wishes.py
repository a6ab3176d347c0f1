"""docs/wishes.md, row by row: programs of tests/wishes run in the guest, in a tab."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.e2e.tab import Tab
from tests.wishes import build

FOLDER = "/tmp/wishes"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build.build(tmp_path_factory.mktemp("wishes"))


@pytest.fixture(scope="module")
def guest(new_tab: Callable[..., Tab], programs: dict[str, Path]) -> Tab:
    """A machine of two harts with the programs in FOLDER."""
    tab = new_tab()
    tab.open("?boot=no")
    disk = base64.b64encode(build.disk(programs)).decode()
    tab.python(f"import base64\nmachine = await Machine.boot(harts=2, disks=[base64.b64decode({disk!r})])\nNone")
    tab.python(f"(await machine.run('mkdir {FOLDER}; cd {FOLDER}; tar x < /dev/vda', timeout=240)).stdout")
    return tab


def outcome(tab: Tab, command: str, complaint: str = "") -> tuple[list[str], int]:
    """Lines that a command in FOLDER prints, and its exit status; `complaint` is all it says on stderr."""
    stdout, stderr, status = tab.python(
        f"r = await machine.run({f'cd {FOLDER}; {command}'!r}, timeout=240)\n[r.stdout, r.stderr, r.returncode]"
    )
    assert stderr.strip() == complaint
    return stdout.splitlines(), status


@pytest.mark.parametrize("name", list(build.sources()))
def test_wish(guest: Tab, name: str) -> None:
    lines, status = outcome(guest, f"./{name}")
    facts = [line for line in lines if line.startswith(("PASS ", "FAIL "))]
    assert facts and [line for line in facts if line.startswith("FAIL")] == []
    assert status == 0


def test_threads_ran_on_both_harts(guest: Tab) -> None:
    for _ in range(20):  # the guest's kernel says where a thread runs
        lines, _ = outcome(guest, "./threads")
        if "HARTS 2 used 0x3" in lines:
            break
    assert "HARTS 2 used 0x3" in lines


def test_elf_readers_agree(guest: Tab, programs: dict[str, Path]) -> None:
    """What the running program sees of itself is what readers of ELF and DWARF find in its file."""
    lines, _ = outcome(guest, "./elf")
    seen = {name: int(value, 0) for _, name, value in (line.split() for line in lines if line.startswith("ELF "))}
    with programs["elf"].open("rb") as file:
        elf = ELFFile(file)
        symbols = {symbol.name: symbol["st_value"] for symbol in elf.get_section_by_name(".symtab").iter_symbols()}
        assert elf["e_entry"] == seen["entry"]
        assert symbols["landmark"] == seen["landmark"] and symbols["landmark_data"] == seen["landmark_data"]
        assert sum(s["p_memsz"] for s in elf.iter_segments() if s["p_type"] == "PT_LOAD") == seen["loaded"]
        assert seen["line"] in _dwarf_lines(elf, seen["landmark"], symbols)
        at = seen["landmark_data"]
        segment = next(s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD" and 0 <= at - s["p_vaddr"] < s["p_filesz"])
        data = segment.data()[at - segment["p_vaddr"] :][:4]
    assert int.from_bytes(data, "little") == seen["value"]
    if readelf := shutil.which("readelf"):
        text = subprocess.run([readelf, "-hs", programs["elf"]], capture_output=True, text=True, check=True).stdout
        assert re.search(rf"Entry point address:\s+{seen['entry']:#x}", text)
        assert re.search(rf"{seen['landmark']:016x}\s+\d+ FUNC .* landmark$", text, re.MULTILINE)


def _dwarf_lines(elf: ELFFile, start: int, symbols: dict[str, int]) -> set[int]:
    """Source lines of the function that begins at `start`, by the line number program."""
    end = min(value for value in symbols.values() if value > start)
    lines = set()
    dwarf = elf.get_dwarf_info()
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        for entry in program.get_entries() if program else ():
            if entry.state and start <= entry.state.address < end:
                lines.add(entry.state.line)
    return lines


def test_waiting_costs_the_host_nothing(guest: Tab) -> None:
    """A guest that waits leaves the host's processor alone.

    Shares of a processor, not times: they hold on a busy host too, where a
    guest that computes gets less of it, and one that waits needs no more.
    What falls into one of the periods (a save, code that is new) only ever
    adds, so the calmest counts.
    """
    outcome(guest, "true")
    waits = min(_workers_share(guest, "./blocking 8") for _ in range(3))
    assert waits < 0.25
    # That it is seen where there is work: more than that, on a busy host too.
    works = max(_workers_share(guest, "timeout 4 sh -c 'while :; do :; done' || true", "Terminated") for _ in range(3))
    assert works > 2 * waits


def _workers_share(guest: Tab, command: str, complaint: str = "") -> float:
    """Processors that the page's workers keep busy on the host during a command in the guest, on average."""
    began, before = time.monotonic(), _workers_seconds()
    outcome(guest, command, complaint)
    return (_workers_seconds() - before) / (time.monotonic() - began)


def _workers_seconds() -> float:
    """CPU seconds of the living workers (harts, storage, Python) of this process's browsers.

    Nothing else of a browser: a cursor that blinks is drawn by three of its
    processes, which takes a third of a processor where there is no graphics
    hardware, whatever the guest does.
    """
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                parents[int(folder.name)] = int(_fields(folder)[1])
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    seconds = 0.0
    for thread in (thread for pid in ours for thread in Path(f"/proc/{pid}/task").glob("*")):
        with contextlib.suppress(OSError):
            if (thread / "comm").read_text().startswith("DedicatedWorker"):
                fields = _fields(thread)
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def _fields(folder: Path) -> list[str]:
    """A process's or thread's stat from its state on (proc_pid_stat(5), field 3)."""
    return (folder / "stat").read_text().rsplit(")", 1)[1].split()


def test_page_survives_a_program_that_runs_wild(guest: Tab) -> None:
    """A process that jumps into nothing ends with its signal; the next one runs."""
    _, status = outcome(guest, "sh -c 'kill -SEGV $$'", "Segmentation fault")
    assert status == 139
    assert outcome(guest, "echo goes on") == (["goes on"], 0)

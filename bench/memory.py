"""What a tab takes beside the guest's RAM, and what one hart more costs.

The tab's process as Chromium's task manager counts it (private footprint: anonymous
pages, in memory or swapped out), without those of the machine's linear memory
that are guest RAM (by pagemap).  Beside it the proportional set size, which
adds the process's share of Chromium's code and so depends on what else runs.
Nobody watches the tab (bench/tabs.py), and a blank tab is measured beside it.
"""

from __future__ import annotations

import os
import re
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import guests, results
from bench.tabs import quiet_tab
from hartwell.layout import RAM_OFFSET

HARTS = (1, 2, 4)
RAM = 512 << 20
PAGE = 4096
REST_SECONDS = 30  # until what start and boot left behind is collected (60 MB) and the first checkpoint is over
LOOKS, LOOK_SECONDS = 8, 3  # checkpoints come and go: a look at each moment between them
_BOOT = """
import time
begun = time.monotonic()
machine = await Machine.boot(harts={harts}, memory={ram}, jit={jit})
started = time.monotonic() - begun
await machine.console.expect({prompt!r}, timeout=240)
[started, machine.statistics()["memory"]["total"]]
"""


@dataclass
class Resident:
    """Bytes of a process that are in memory."""

    footprint: int  # private
    pss: int
    ram: int  # of those, guest RAM
    machine: int  # and the rest of the machine's linear memory
    code: int  # writable and executable: what the engine made of Wasm and JavaScript
    most: int = 0  # the largest overhead of several looks

    @property
    def overhead(self) -> int:
        """All that is not guest RAM."""
        return self.footprint - self.ram


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    found: dict[int, list[Resident]] = {harts: [] for harts in HARTS}
    starts: dict[int, list[float]] = {harts: [] for harts in HARTS}
    untranslated: list[Resident] = []
    blank: list[int] = []
    with guests.served() as address:
        for _ in range(options.rounds):
            with quiet_tab("about:blank", "true") as tab:
                blank.append(max(map(_footprint, _tabs(tab.browser))))  # the other is a spare
            for harts, jit in [(harts, True) for harts in HARTS] + [(1, False)]:
                with quiet_tab(f"{address}?boot=no", "!!window.hartwell?.ready") as tab:
                    tab.evaluate("window.hartwell.ready.then(() => true)")
                    started, total = tab.python(_BOOT.format(harts=harts, ram=RAM, jit=jit, prompt=guests.PROMPT))
                    time.sleep(REST_SECONDS - LOOK_SECONDS)
                    looks = []
                    for _ in range(LOOKS):
                        time.sleep(LOOK_SECONDS)
                        looks.append(machine_tab(tab.browser, total))
                looks.sort(key=lambda look: look.overhead)
                resident = looks[len(looks) // 2]
                resident.most = looks[-1].overhead
                if jit:
                    starts[harts].append(started)
                    found[harts].append(resident)
                else:
                    untranslated.append(resident)
    least = {harts: min(list_, key=lambda resident: resident.overhead) for harts, list_ in found.items()}
    off = min(untranslated, key=lambda resident: resident.overhead)
    rows = [
        [name, *(size / 1e6 for size in (
            each.overhead, each.most, each.pss - each.ram, each.machine, each.code, each.ram))]
        for name, each in [*((str(harts), least[harts]) for harts in HARTS), ("1, translator off", off)]
    ]
    last = HARTS[-1]
    more = (least[last].overhead - least[1].overhead) / (last - 1) / 1e6
    later = (min(starts[last]) - min(starts[1])) / (last - 1) * 1e3
    text = (
        f"The tab's process from {REST_SECONDS} s after the prompt on, without guest RAM (goal: under 200 MB): the middle "
        f"of {LOOKS} looks, {LOOK_SECONDS} s apart, and the highest (a checkpoint under way); least of "
        f"{options.rounds} rounds. A blank tab takes {min(blank) / 1e6:.0f} MB.\n\n"
        + results.table(
            ["harts", "beside RAM, MB", "highest", "by PSS", "of that tables and caches of the machine", "executable",
             "guest RAM in use"],
            rows,
        )
        + f"\n\nOne hart more costs {more:.1f} MB and {later:.0f} ms."
    )
    figures = {
        "blank_bytes": blank, "start_seconds": starts,
        "tab_bytes": {str(harts): [vars(resident) for resident in list_] for harts, list_ in found.items()},
        "interpreter_bytes": [vars(resident) for resident in untranslated],
    }
    results.write("memory", figures, text)


def _tabs(browser: int) -> list[Path]:
    """The renderers of that browser, the newest first."""
    tabs = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if b"--type=renderer" in (process / "cmdline").read_bytes() and _descends(process, browser):
                    tabs.append(process)
            except OSError:
                continue  # it has just ended
    return sorted(tabs, key=lambda process: -int(process.name))


def _descends(process: Path, ancestor: int) -> bool:
    """By way of Chromium's zygotes."""
    number = int(process.name)
    while number > 1 and number != ancestor:
        status = (process.parent / str(number) / "status").read_text()
        number = int(status.partition("PPid:")[2].split()[0])
    return number == ancestor


def _sum(process: Path, file: str, *names: str) -> int:
    """Of lines such as "Pss:  12 kB"."""
    text = (process / file).read_text()
    return sum(int(size) for size in re.findall(rf"^(?:{'|'.join(names)}):\s+(\d+) kB", text, re.MULTILINE)) << 10


def _footprint(process: Path) -> int:
    """Chromium's measure: docs/memory/README.md in its sources, private memory footprint."""
    return _sum(process, "status", "RssAnon", "VmSwap")


def machine_tab(browser: int, total: int) -> Resident:
    """The renderer of that browser which has a mapping of the machine's size."""
    for process in _tabs(browser):
        code = 0
        start = None
        mode = ""
        for line in (process / "smaps").read_text().splitlines():
            if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line):
                low, high, mode = int(match[1], 16), int(match[2], 16), match[3]
                if high - low == total:
                    start = low
            elif line.startswith("Rss:") and mode.startswith("rwx"):
                code += int(line.split()[1]) << 10
        if start is not None:
            in_ram = _present(process, start + RAM_OFFSET, RAM)
            pss = _sum(process, "smaps_rollup", "Pss")
            return Resident(_footprint(process), pss, in_ram, _present(process, start, total) - in_ram, code)
    raise guests.GuestError(f"no tab has a mapping of {total} bytes")


def _present(process: Path, start: int, count: int) -> int:
    """Bytes in memory of [start, start + count), by Documentation/admin-guide/mm/pagemap.rst of Linux."""
    with (process / "pagemap").open("rb", buffering=0) as file:
        entries = os.pread(file.fileno(), count // PAGE * 8, start // PAGE * 8)
    # Bit 63: present; bit 56: mapped here alone, which the zero page of what was only read is not.
    both = 1 << 63 | 1 << 56
    return sum(entry & both == both for (entry,) in struct.iter_unpack("<Q", entries)) * PAGE

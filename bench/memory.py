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

HARTS = (1, 2, 4)
RAM = 512 << 20
PAGE = 4096
REST_SECONDS = 12  # until what the boot left behind is collected and the first checkpoint is over
_BOOT = """
import time
begun = time.monotonic()
machine = await Machine.boot(harts={harts}, memory={ram}, jit={jit})
started = time.monotonic() - begun
await machine.console.expect({prompt!r}, timeout=240)
[started, machine.statistics()["memory"]["total"], machine._core.plan.values["ram_offset"]]
"""


@dataclass
class Resident:
    """Bytes of a process that are in memory."""

    footprint: int  # private
    pss: int
    ram: int  # of those, guest RAM
    machine: int  # and the rest of the machine's linear memory
    code: int  # writable and executable: what the engine made of Wasm and JavaScript

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
            with quiet_tab("about:blank", "true"):
                blank.append(max(map(_footprint, _tabs()[:2])))  # the other is a spare
            for harts, jit in [(harts, True) for harts in HARTS] + [(1, False)]:
                with quiet_tab(f"{address}?boot=no", "!!window.hartwell?.ready") as tab:
                    tab.evaluate("window.hartwell.ready.then(() => true)")
                    started, total, ram = tab.python(_BOOT.format(harts=harts, ram=RAM, jit=jit, prompt=guests.PROMPT))
                    time.sleep(REST_SECONDS)
                    resident = _machine_tab(total, ram)
                if jit:
                    starts[harts].append(started)
                    found[harts].append(resident)
                else:
                    untranslated.append(resident)
    least = {harts: min(list_, key=lambda resident: resident.overhead) for harts, list_ in found.items()}
    off = min(untranslated, key=lambda resident: resident.overhead)
    rows = [
        [name, each.overhead / 1e6, (each.pss - each.ram) / 1e6, each.machine / 1e6, each.code / 1e6, each.ram / 1e6]
        for name, each in [*((str(harts), least[harts]) for harts in HARTS), ("1, translator off", off)]
    ]
    last = HARTS[-1]
    more = (least[last].overhead - least[1].overhead) / (last - 1) / 1e6
    later = (min(starts[last]) - min(starts[1])) / (last - 1) * 1e3
    text = (
        f"The tab's process {REST_SECONDS} s after the prompt, without guest RAM (goal: under 200 MB), least of "
        f"{options.rounds} rounds; a blank tab takes {min(blank) / 1e6:.0f} MB.\n\n"
        + results.table(
            ["harts", "beside RAM, MB", "the same by PSS", "of that tables and caches of the machine", "executable",
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


def _tabs() -> list[Path]:
    """Renderers of this computer, the newest first."""
    tabs = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if b"--type=renderer" in (process / "cmdline").read_bytes():
                    tabs.append(process)
            except OSError:
                continue  # it has just ended
    return sorted(tabs, key=lambda process: -int(process.name))


def _sum(process: Path, file: str, *names: str) -> int:
    """Of lines such as "Pss:  12 kB"."""
    text = (process / file).read_text()
    return sum(int(size) for size in re.findall(rf"^(?:{'|'.join(names)}):\s+(\d+) kB", text, re.MULTILINE)) << 10


def _footprint(process: Path) -> int:
    """Chromium's measure: docs/memory/README.md in its sources, private memory footprint."""
    return _sum(process, "status", "RssAnon", "VmSwap")


def _machine_tab(total: int, ram: int) -> Resident:
    """The renderer that has a mapping of the machine's size; `ram`: where guest RAM begins in it."""
    for process in _tabs():
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
            in_ram = _present(process, start + ram, RAM)
            pss = _sum(process, "smaps_rollup", "Pss")
            return Resident(_footprint(process), pss, in_ram, _present(process, start, ram), code)
    raise guests.GuestError(f"no tab has a mapping of {total} bytes")


def _present(process: Path, start: int, count: int) -> int:
    """Bytes in memory of [start, start + count), by Documentation/admin-guide/mm/pagemap.rst of Linux."""
    with (process / "pagemap").open("rb", buffering=0) as file:
        entries = os.pread(file.fileno(), count // PAGE * 8, start // PAGE * 8)
    # Bit 63: present; bit 56: mapped here alone, which the zero page of what was only read is not.
    both = 1 << 63 | 1 << 56
    return sum(entry & both == both for (entry,) in struct.iter_unpack("<Q", entries)) * PAGE

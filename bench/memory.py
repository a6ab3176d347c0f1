"""What a tab takes beside the guest's RAM, and what one hart more costs.

From /proc/PID/smaps of the tab's process: all that is resident, without the
part of the machine's linear memory that is guest RAM.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import guests, results
from tests.e2e.tab import Tab

HARTS = (1, 2, 4)
RAM = 512 << 20
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

    all: int
    linear: int  # of those, in the machine's linear memory

    def overhead(self, total: int) -> int:
        """Beside guest RAM.  What of the linear memory is not RAM counts as if all of it were touched."""
        return self.all - self.linear + min(self.linear, total - RAM)


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    starts: dict[int, list[float]] = {harts: [] for harts in HARTS}
    resident: dict[int, list[int]] = {harts: [] for harts in HARTS}
    totals: dict[int, int] = {}
    with guests.served() as address:
        for _ in range(options.rounds):
            for harts in HARTS:
                with guests.chromium() as browser:
                    tab = Tab(browser.new_page(), address)
                    tab.open("?boot=no")
                    started, total = tab.python(_BOOT.format(harts=harts, ram=RAM, jit=True, prompt=guests.PROMPT))
                    totals[harts] = total
                    starts[harts].append(started)
                    resident[harts].append(_tab_process(total).overhead(total))
    least = {harts: min(values) for harts, values in resident.items()}
    rows = [
        [harts, least[harts] / 1e6, (totals[harts] - RAM) / 1e6, min(starts[harts]) * 1e3] for harts in HARTS
    ]
    last = HARTS[-1]
    more = (least[last] - least[1]) / (last - 1) / 1e6
    later = (min(starts[last]) - min(starts[1])) / (last - 1) * 1e3
    text = (
        f"The tab's process at the prompt, without the {RAM >> 20} MiB of guest RAM (goal: under 200 MB), least of "
        f"{options.rounds} rounds.\n\n"
        + results.table(["harts", "beside RAM, MB", "of that planned for TLBs and caches, MB", "Machine.boot, ms"], rows)
        + f"\n\nOne hart more costs {more:.1f} MB and {later:.0f} ms."
    )
    figures = {"overhead_bytes": resident, "start_seconds": starts, "linear_memory_bytes": totals}
    results.write("memory", figures, text)


def _tab_process(total: int) -> Resident:
    """The renderer that has a mapping of the machine's size."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if b"--type=renderer" not in (process / "cmdline").read_bytes():
                continue
            resident = _resident((process / "smaps").read_text(), total)
        except OSError:
            continue
        if resident.linear:
            found.append(resident)
    if not found:
        raise guests.GuestError(f"no renderer has a mapping of {total} bytes")
    return max(found, key=lambda resident: resident.linear)


def _resident(smaps: str, total: int) -> Resident:
    everything, linear, size = 0, 0, 0
    for line in smaps.splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            size = int(match[2], 16) - int(match[1], 16)
        elif line.startswith("Rss:"):
            rss = int(line.split()[1]) * 1024
            everything += rss
            if size == total:
                linear += rss
    return Resident(everything, linear)

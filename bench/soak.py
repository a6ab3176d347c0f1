"""An hour of work that never stops making new code: does the tab's memory stay bounded, and the machine as fast as it was?

In turn: a program that generates functions without end (bench/generate.c), a
storm of forks, files packed and summed, and rest.  After each the tab is asked
what it takes beside guest RAM, and how long a task takes that is always the same.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from bench import guests, memory, prepare, results
from bench.tabs import QuietTab, quiet_tab

TURNS = (
    "/bench/generate 15",
    "i=0; while [ $i -lt 400 ]; do /bin/busybox true; i=$((i+1)); done",
    "gzip -c /bench/text > /tmp/soak.gz && gunzip -c /tmp/soak.gz | sha256sum && rm /tmp/soak.gz",
    "sleep 15",
)
TASK = "sha256sum /bench/text /bench/text > /dev/null"
_START = """
machine = await Machine.boot(memory={ram}, initrd='bench/{initrd}')
await machine.console.expect({prompt!r}, timeout=240)
machine.statistics()["memory"]["total"]
"""
_RUN = "r = await machine.run({command!r}, timeout=600)\n[r.stdout, r.stderr, r.returncode]"


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    program = prepare.guest_program(prepare.HERE / "generate.c")
    initrd = prepare.guest_initrd("soak-initrd", {"bench/generate": program, "bench/text": prepare.FOLDER / "text"})
    samples: list[dict[str, float]] = []
    with guests.served() as address, quiet_tab(f"{address}?boot=no", "!!window.hartwell?.ready") as tab:
        tab.evaluate("window.hartwell.ready.then(() => true)")
        total = tab.python(_START.format(ram=memory.RAM, initrd=initrd.name, prompt=guests.PROMPT))
        begun = time.monotonic()
        while time.monotonic() - begun < options.minutes * 60:
            made = 0
            for command in TURNS:
                out = _command(tab, command)
                made += int(out) if command.startswith("/bench/generate") else 0
                looked = memory.machine_tab(tab.browser, total)
                samples.append({"minute": (time.monotonic() - begun) / 60, "bytes": looked.overhead, "code": looked.code})
            started = time.monotonic()
            _command(tab, TASK)
            jit = tab.python("machine.statistics()['jit']")
            samples[-1] |= {"seconds": time.monotonic() - started, "made": made,
                            **{name: jit[name] for name in ("modules", "regions", "region_live", "evictions")}}
            print({name: round(value, 2) for name, value in samples[-1].items()}, file=sys.stderr, flush=True)
    results.write("soak", {"samples": samples}, _text(samples, options.minutes))


def _command(tab: QuietTab, command: str) -> str:
    out, err, status = tab.python(_RUN.format(command=command), timeout=660)
    if status:
        raise guests.GuestError(f"soak: {command!r} failed with {status}: {out}{err}")
    return str(out)


def _text(samples: list[dict[str, float]], minutes: float) -> str:
    tenth = max(minutes / 10, 1e-9)
    rows = []
    for part in range(10):
        group = [sample for sample in samples if part <= sample["minute"] / tenth < part + 1]
        ends = [sample for sample in group if "seconds" in sample]
        if group and ends:
            sizes = sorted(sample["bytes"] / 1e6 for sample in group)
            rows.append([
                f"{part * tenth:g} to {(part + 1) * tenth:g}", sizes[len(sizes) // 2], sizes[-1],
                max(sample["code"] for sample in group) / 1e6, sum(end["made"] for end in ends),
                ends[-1]["regions"], ends[-1]["region_live"], ends[-1]["evictions"], min(end["seconds"] for end in ends),
            ])
    return (
        "A tab under work that makes new code without end, in tenths of the time: what it takes beside guest RAM, and "
        "how long the same task takes at its best.\n\n"
        + results.table(["minutes", "MB beside RAM", "highest", "executable, MB", "functions the guest made", "regions so far",
                         "live", "evictions", "task, s"], rows)
    )

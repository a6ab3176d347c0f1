"""Millions of guest instructions a second in Chromium, interpreter and translator.

The interpreter counts the instructions of a repetition; both are timed by the
guest's clock.  Integer kernels only, as the goal is stated for integer code.
"""

from __future__ import annotations

from typing import Any

from bench import guests, kernels, results

NAMES = ("sieve", "quicksort", "crc32", "queens", "bytecode", "sha256", "fib", "virtual")
KINDS = ("hartwell-no-jit", "hartwell")


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    names = [name for name in NAMES if not options.only or name in options.only]
    with guests.served() as address, guests.chromium() as browser:
        machines = {name: guests.Hartwell(browser, address, name, jit=name == "hartwell") for name in KINDS}
        counts = {name: _instructions(machines["hartwell-no-jit"], name, options.percent) for name in names}
        best: dict[str, dict[str, int]] = {name: {} for name in names}
        for _ in range(options.rounds):
            for name in names:
                for kind, guest in machines.items():
                    taken = kernels.measure(guest, name, options.percent, options.repeats, options.seconds)[2]
                    best[name][kind] = min(taken, best[name].get(kind, taken))
    mips = {name: {kind: counts[name] / best[name][kind] * 1e3 for kind in KINDS} for name in names}
    means = {kind: results.geometric_mean(row[kind] for row in mips.values()) for kind in KINDS}
    rows = [[name, counts[name] / 1e6, *(round(row[kind]) for kind in KINDS)] for name, row in mips.items()]
    rows.append(["**geometric mean**", "", *(round(value) for value in means.values())])
    text = "Millions of guest instructions per second in Chromium, best repetition (goal for the interpreter: 200).\n\n"
    text += results.table(["kernel", "million instructions in a repetition", *KINDS], rows)
    results.write("mips", {"instructions": counts, "mips": mips, "geometric_means": means}, text)


def _instructions(guest: guests.Hartwell, name: str, percent: int) -> int:
    """Of one repetition: what three more add to the count of a start."""

    def count(repeats: int) -> int:
        before = guest.instructions()
        kernels.measure(guest, name, percent, repeats, 1000)
        return guest.instructions() - before

    few = count(3)
    return (count(6) - few) // 3

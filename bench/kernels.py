"""Twelve kernels of the same C: native, QEMU, Hartwell, v86, in one interleaved run.

A kernel's time is the best of its repetitions, by the guest's own clock, over
all rounds; the checksums of all machines are compared before any is timed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench import guests, results
from bench.guests import Guest

PEERS = ("native", "hartwell", "hartwell-no-jit", "qemu", "v86")
CLOCK_SECONDS = 5.0
CLOCK_TOLERANCE = 0.03


@dataclass
class Times:
    """One kernel on one machine, in nanoseconds per repetition."""

    first: int = 0
    best: int = 0
    rounds: list[int] = field(default_factory=list)

    def add(self, first: int, best: int) -> None:
        self.first = self.first or first
        self.best = min(self.best or best, best)
        self.rounds.append(best)


def measure(guest: Guest, kernel: str, percent: int, repeats: int, seconds: float) -> tuple[str, int, int]:
    """(checksum, first, best) of one start of the program."""
    words = guest.run(f"/bench/kernels {kernel} {percent} {repeats} {seconds:g}").split()
    if len(words) != 5 or words[0] != kernel:
        raise guests.GuestError(f"{guest.name}: {kernel} printed {' '.join(words)!r}")
    return words[1], int(words[2]), int(words[3])


def clock_error(guest: Guest) -> float:
    """How much faster the guest's clock runs than this computer's, as a share."""
    def read() -> tuple[float, int]:
        begun = time.monotonic()
        there = int(guest.run("/bench/kernels clock"))
        return (begun + time.monotonic()) / 2, there

    read()  # the first start of a program takes longer
    begun, before = read()
    time.sleep(CLOCK_SECONDS)
    now, after = read()
    return (after - before) / 1e9 / (now - begun) - 1


def compare(machines: Sequence[Guest], names: Sequence[str]) -> dict[str, str]:
    """Every kernel once, small, everywhere: the checksums, which must agree."""
    sums: dict[str, str] = {}
    for name in names:
        answers = {guest.name: measure(guest, name, 2, 3, 0)[0] for guest in machines}
        if len(set(answers.values())) != 1:
            raise guests.GuestError(f"{name}: the checksums differ: {answers}")
        sums[name] = answers[machines[0].name]
    return sums


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    chosen = [peer for peer in PEERS if peer not in missing and (not options.peers or peer in options.peers)]
    with guests.served() as address, guests.chromium() as browser:
        machines: dict[str, Guest] = {}
        for peer in chosen:
            try:
                machines[peer] = start(peer, browser, address)
            except guests.GuestError as error:
                missing[peer] = str(error)[:300]
                print(f"{peer} is left out: {missing[peer]}", file=sys.stderr, flush=True)
        try:
            measured, clocks = _rounds(machines, options)
        finally:
            for guest in machines.values():
                guest.close()
    report(measured, clocks, missing, options)


def start(peer: str, browser: Any, address: str) -> Guest:
    """The machine of that name, at its prompt."""
    if peer == "native":
        return guests.Native()
    if peer == "qemu":
        qemu = guests.Qemu()
        qemu.ready()
        return qemu
    if peer == "v86":
        return guests.V86(browser, address)
    return guests.Hartwell(browser, address, peer, jit=peer == "hartwell")


def _rounds(machines: dict[str, Guest], options: Any) -> tuple[dict[str, dict[str, Times]], dict[str, float]]:
    names = machines["native"].run("/bench/kernels list").split()
    names = [name for name in names if not options.only or name in options.only]
    clocks = {peer: clock_error(guest) for peer, guest in machines.items()}
    for peer, error in clocks.items():
        if abs(error) > CLOCK_TOLERANCE:
            print(f"the clock of {peer} is off by {error:.1%}", file=sys.stderr)
    compare(list(machines.values()), names)
    measured: dict[str, dict[str, Times]] = {name: {peer: Times() for peer in machines} for name in names}
    for number in range(options.rounds):
        for name in names:
            sums = set()
            for peer, guest in machines.items():
                checksum, first, best = measure(guest, name, options.percent, options.repeats, options.seconds)
                measured[name][peer].add(first, best)
                sums.add(checksum)
            if len(sums) != 1:
                raise guests.GuestError(f"{name}: the checksums differ: {sums}")
            row = " ".join(f"{peer} {times.rounds[-1] / 1e6:.2f}" for peer, times in measured[name].items())
            print(f"round {number + 1}, {name}, ms: {row}", file=sys.stderr, flush=True)
    return measured, clocks


def report(
    measured: dict[str, dict[str, Times]], clocks: dict[str, float], missing: dict[str, str], options: Any
) -> None:
    """Ratios to native, their geometric means, and what follows from them."""
    peers = list(clocks)
    others = [peer for peer in peers if peer != "native"]
    ratios = {name: {peer: row[peer].best / row["native"].best for peer in others} for name, row in measured.items()}
    firsts = {name: {peer: row[peer].first / row["native"].best for peer in others} for name, row in measured.items()}
    means = {peer: results.geometric_mean(row[peer] for row in ratios.values()) for peer in others}
    cold = {peer: results.geometric_mean(row[peer] for row in firsts.values()) for peer in others}
    text = ["Time relative to native x86-64 (lower is better): the best repetition of each machine.", ""]
    rows = [[name, row["native"].best / 1e6, *ratios[name].values()] for name, row in measured.items()]
    rows.append(["**geometric mean**", "", *means.values()])
    rows.append(["first repetition, geometric mean", "", *cold.values()])
    text.append(results.table(["kernel", "native, ms", *others], rows))
    if "hartwell" in means:
        text.append("")
        for peer in ("qemu", "v86", "hartwell-no-jit"):
            if peer in means:
                text.append(f"- {peer} takes {means[peer] / means['hartwell']:.2f} times Hartwell's time.")
    spelled = ", ".join(f"{peer} {error:+.2%}" for peer, error in clocks.items())
    text += ["", f"Guest clocks against this computer's: {spelled}."]
    text += [f"- left out: {peer}: {why}" for peer, why in missing.items() if peer in PEERS]
    figures = {
        "settings": {name: getattr(options, name) for name in ("rounds", "percent", "repeats", "seconds")},
        "nanoseconds": {
            name: {peer: {"best": t.best, "first": t.first, "rounds": t.rounds} for peer, t in row.items()}
            for name, row in measured.items()
        },
        "ratios": ratios, "geometric_means": means, "first_repetition": cold, "clock_errors": clocks, "missing": missing,
    }
    plot = results.bars("Time relative to native, lower is better", {**ratios, "geometric mean": means}, "x")
    results.write("kernels", figures, "\n".join(text), plot)

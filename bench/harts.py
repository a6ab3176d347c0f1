"""Two harts against one: the same two programs at once on either."""

from __future__ import annotations

import time
from typing import Any

from bench import guests, results

KERNELS = ("sieve", "sha256", "bytecode")
REPEATS = 240  # some seconds of each: a process is started and waited for once
# Both start at the same moment, each a process; the shell waits for both.
_COMMAND = "for i in 1 2; do /bench/kernels {name} {percent} {repeats} 1000 & done; wait"


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    seconds: dict[str, dict[int, float]] = {name: {} for name in KERNELS}
    with guests.served() as address, guests.chromium() as browser:
        machines = {harts: guests.Hartwell(browser, address, f"{harts} harts", harts=harts) for harts in (1, 2)}
        for name in KERNELS:
            for guest in machines.values():  # translated before it is timed
                guest.run(f"/bench/kernels {name} {options.percent} 10 1000")
        for _ in range(options.rounds):
            for name in KERNELS:
                command = _COMMAND.format(name=name, percent=options.percent, repeats=REPEATS)
                for harts, guest in machines.items():
                    begun = time.monotonic()
                    guest.run(command)
                    taken = time.monotonic() - begun
                    seconds[name][harts] = min(taken, seconds[name].get(harts, taken))
        for guest in machines.values():
            guest.close()
    rows = [[name, row[1], row[2], row[1] / row[2]] for name, row in seconds.items()]
    mean = results.geometric_mean(row[1] / row[2] for row in seconds.values())
    rows.append(["**geometric mean**", "", "", mean])
    text = "Two processes at once, seconds until both have ended, the least of all rounds (goal: 1.8 times).\n\n"
    text += results.table(["kernel", "one hart", "two harts", "gain"], rows)
    results.write("harts", {"seconds": seconds, "gain": mean}, text)

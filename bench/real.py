"""Ordinary programs on an ordinary file: busybox, and python3 and gcc where an image has them.

Timed inside the guest by its own clock; results are compared between machines.
"""

from __future__ import annotations

from typing import Any

from bench import guests, kernels, results
from bench.guests import Guest

TASKS = {
    "gzip": "gzip -c /bench/text > /tmp/text.gz; gunzip -c /tmp/text.gz | sha256sum",
    "sha256sum": "sha256sum < /bench/text",
    "sort": "sort /bench/text | sha256sum",
    "grep, wc": "grep -c return /bench/text; wc < /bench/text",
    "fork 1,000": "i=0; while [ $i -lt 1000 ]; do busybox true; i=$((i+1)); done; echo $i",
}


def task(guest: Guest, command: str) -> tuple[str, float]:
    """(what it printed, seconds) of a command, by the guest's clock."""
    words = guest.run(f"/bench/kernels clock; {{ {command}; }} 2>&1; /bench/kernels clock").split("\n")
    lines = [line for line in words if line.strip()]
    return "\n".join(lines[1:-1]), (int(lines[-1]) - int(lines[0])) / 1e9


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    if "native-busybox" in missing:
        missing["native"] = missing["native-busybox"]
    chosen = [peer for peer in kernels.PEERS if peer not in missing and (not options.peers or peer in options.peers)]
    seconds: dict[str, dict[str, float]] = {name: {} for name in TASKS}
    with guests.served() as address, guests.chromium() as browser:
        machines: dict[str, Guest] = {}
        for peer in chosen:
            try:
                machines[peer] = kernels.start(peer, browser, address)
            except guests.GuestError as error:
                missing[peer] = str(error)[:300]
        try:
            for _ in range(options.rounds):
                for name, command in TASKS.items():
                    said = {}
                    for peer, guest in machines.items():
                        said[peer], taken = task(guest, command)
                        seconds[name][peer] = min(taken, seconds[name].get(peer, taken))
                    if len(set(said.values())) != 1:
                        raise guests.GuestError(f"{name}: the machines disagree: {said}")
        finally:
            for guest in machines.values():
                guest.close()
    peers = list(machines)
    rows: list[list[Any]] = [[name, *(row[peer] for peer in peers)] for name, row in seconds.items()]
    if "native" in peers:
        means = [results.geometric_mean(row[peer] / row["native"] for row in seconds.values()) for peer in peers]
        rows.append(["**relative to native, geometric mean**", *means])
    text = "Seconds, the least of all rounds; busybox in memory, a text of 4 MiB.\n\n"
    text += results.table(["task", *peers], rows)
    text += "".join(f"\n- left out: {peer}: {why}" for peer, why in missing.items() if peer in kernels.PEERS)
    results.write("real", {"seconds": seconds, "missing": missing}, text)

"""What looking inside costs: a system-call trace, all events, the profiler at 1 kHz, beside nothing.

    .venv/bin/python -m bench.inspection [ROUNDS]

One machine of one hart in Node runs three loads in turn with each instrument,
ROUNDS times (default 3), in an order that changes.  What is compared is the
processor time of the hart's thread (/proc/PID/task), which other work on the
computer hardly changes; the least of an instrument's times stands for it.  The
supervisor's thread, which takes records out, is told beside.  Linux only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hartwell.setup import paths

LOADS = {
    "computing": "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done",
    "system calls": "dd if=/dev/zero of=/dev/null bs=1 count=20000 2>/dev/null",
    "processes": "i=0; while [ $i -lt 10 ]; do /usr/bin/true x; i=$((i+1)); done",
}
INSTRUMENTS = {
    "off": "lambda: None",
    "syscall trace": "machine.trace.syscalls().stop",
    "all events": "machine.trace.events().stop",
    "profiler 1 kHz": "machine.profiler(hz=1000).stop",
}

# In Pyodide: says when a measured command begins and ends, and waits to be let on.
SCRIPT = """
machine = await Machine.boot(harts=1, show=False)
await machine.console.expect(r"[#$] $", timeout=300)
for command in {loads!r}.values():
    await machine.run(command, 300)  # the translator sees it first
for turn in range({rounds}):
    names = list({instruments!r})
    for name in names[turn % len(names):] + names[:turn % len(names)]:
        for load, command in {loads!r}.items():
            stop = eval({instruments!r}[name])
            print("BEGIN", flush=True)
            await machine.run(command, 300)
            print(f"END {{load}}|{{name}}", flush=True)
            stop()
print(f"LOST {{machine.trace.lost}}", flush=True)
await machine.close()
"""


def thread_times(pid: int) -> dict[int, float]:
    """Processor seconds of each thread of a process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        found[int(task.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def node_below(pid: int) -> int:
    """The Node process that a `hartwell` command started."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == pid and "node" in name.lower():
            return int(status.parent.name)
    raise RuntimeError(f"process {pid} has started no Node")


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(SCRIPT.format(loads=LOADS, instruments=INSTRUMENTS, rounds=rounds))
        script.flush()
        command = [str(paths.ROOT / ".venv" / "bin" / "hartwell"), "script", script.name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        before: dict[int, float] = {}
        times: dict[tuple[str, str], list[tuple[float, float]]] = {}
        lost, hart = "?", 0
        for line in process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "BEGIN":
                before = thread_times(node_below(process.pid))
            elif word == "END":
                after = thread_times(node_below(process.pid))
                spent = {thread: seconds - before.get(thread, 0) for thread, seconds in after.items()}
                load, _, name = rest.partition("|")
                hart = hart or max(spent, key=spent.__getitem__)  # the first is "off"
                times.setdefault((load, name), []).append((spent[hart], sum(spent.values()) - spent[hart]))
            elif word == "LOST":
                lost = rest
        if process.wait():
            return 1
    print(f"{'processor ms':14}" + "".join(f"{name:>26}" for name in INSTRUMENTS))
    for load in LOADS:
        base = min(own for own, _ in times[load, "off"])
        cells = []
        for name in INSTRUMENTS:
            own, others = min(times[load, name])
            cells.append(f"{own * 1000:6.0f} {own / base:5.2f}x (+{others * 1000:.0f} others)")
        print(f"{load:14}" + "".join(f"{cell:>26}" for cell in cells))
    print(f"records lost: {lost}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What looking inside costs: the debugger, traces, the profiler; and single steps beside QEMU's gdbstub.

All in Node, translator on, one hart; processor time, which other work on the
computer changes less than the clock on the wall.

idle        what is to cost nothing: two loads without end, instructions a second of
            processor time in short windows with and without each instrument in turn;
            the median of the quotients of neighbours.
busy        what is to cost little: three loads to their ends with each instrument,
            the least processor time of the hart's thread (Linux, /proc).
stepping    single steps a second over TCP, `vCont;s` packet by packet, of a bare
            program, here and at QEMU.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import results

ROOT = Path(__file__).resolve().parents[1]
HARTWELL = ROOT / ".venv" / "bin" / "hartwell"
STEPS = 2000

ENDLESS = {
    "computing": "i=0; while :; do i=$((i+1)); done",
    "system calls": "exec dd if=/dev/zero of=/dev/null bs=1",
}
WINDOW, SETTLE, WINDOWS = 0.15, 0.05, 12  # seconds; pairs in a round
LOADS = {
    "computing": "i=0; while [ $i -lt {count} ]; do i=$((i+1)); done",
    "system calls": "dd if=/dev/zero of=/dev/null bs=1 count={count} 2>/dev/null",
    "processes": "i=0; while [ $i -lt {count} ]; do /usr/bin/true x; i=$((i+1)); done",
}
COUNTS = {"computing": 60_000, "system calls": 150_000, "processes": 60}
# Each gives what ends it.
IDLE = {"gdb, idle": "gdb()", "10 cold breakpoints": "points()", "cold watchpoint": "watch()"}
BUSY = {
    "none": "lambda: None",
    "call trace": "machine.trace.syscalls().stop",
    "all events": "machine.trace.events().stop",
    "profiler, 1 kHz": "machine.profiler(hz=1000).stop",
}

# In Pyodide.
COMMON = r"""
import asyncio, json, statistics, js
from hartwell.gdb import packets
from hartwell.gdb.server import Server

machine = await Machine.boot("shell", harts=1, show=False)
await machine.console.expect(r"[#$] $", timeout=300)
loads, instruments, rounds = json.loads({plan!r})

def gdb():
    session = Server(lambda: machine).connect(lambda sent: None)
    session.receive(packets.encode(b"vCont;c"))
    return session.close

# Functions of a kernel that never runs them, each in a page of its own.
cold = {{}}
for pattern in ("swsusp_*", "hibernat*", "sysrq_handle_*", "crash_*", "kexec_*", "emergency_*", "elf_core_dump", "do_coredump"):
    for symbol in machine.symbols.search(pattern):
        if symbol.kind in "tT" and symbol.address & 1 == 0:
            cold.setdefault(symbol.address >> 12, symbol.address)

def points():
    for address in list(cold.values())[:10]:
        machine.debugger.break_at(address)
    assert len(machine.debugger.breakpoints) == 10
    return machine.debugger.clear

def watch():
    machine.debugger.watch(next(iter(cold.values())))  # executed never, read never
    return machine.debugger.clear

"""

IDLE_SCRIPT = COMMON + r"""
def stamp():
    spent = js.process.cpuUsage()  # all threads; but the hart's has nearly all of it
    return machine.harts[0].instret, (spent.user + spent.system) / 1e6

async def rate():
    await asyncio.sleep(SETTLE)  # what was set or cleared made harts look up their code anew
    before = stamp()
    await asyncio.sleep(WINDOW)
    after = stamp()
    assert machine.state == "running", machine.debugger.stop  # else what was to be cold is not
    return (after[0] - before[0]) / (after[1] - before[1])

found = {{load: {{name: [] for name in instruments}} for load in loads}}
for load, command in loads.items():
    await machine.run(f"({{command}}) > /dev/null 2>&1 & echo $! > /tmp/pid", 300)
    await asyncio.sleep(3)  # the translator sees it first
    for turn in range(rounds):
        for name, make in instruments.items():
            alone = await rate()
            stop = eval(make)
            found[load][name].append(alone / await rate())
            stop()
    await machine.run("kill $(cat /tmp/pid)", 300)
print(json.dumps(found), flush=True)
await machine.close()
"""

BUSY_SCRIPT = COMMON + r"""
for command in loads.values():
    await machine.run(command, 300)  # the translator sees it first
    await machine.run(command, 300)
for turn in range(rounds):
    names = list(instruments)
    for load, command in loads.items():
        for name in names[turn % len(names):] + names[:turn % len(names)]:
            stop = eval(instruments[name])
            print("BEGIN", flush=True)
            await machine.run(command, 300)
            print(f"END {{load}}|{{name}}", flush=True)
            stop()
print(f"LOST {{machine.trace.lost}}", flush=True)
await machine.close()
"""

# For the steps: calls, loads, stores and branches for ever.
PROGRAM = """
.globl _start
.section .text
_start: la sp, room; li s0, 0
loop: addi s0, s0, 1; mv a0, s0; call work; andi t0, s0, 255; bnez t0, loop; sd a0, 0(sp); j loop
work: ld t1, 8(sp); add t1, t1, a0; sd t1, 8(sp); srli a0, t1, 3; ret
.section .data
.balign 4096
room: .zero 4096
"""


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    idle = idle_costs(options.rounds)
    times, lost = busy_times(options.rounds, options.percent)
    busy = {
        load: {name: min(rounds[name]) / min(rounds["none"]) for name in BUSY if name != "none"} for load, rounds in times.items()
    }
    with tempfile.TemporaryDirectory() as name:
        program = build(Path(name))
        here = max(stepping_here(program) for _ in range(2))
        qemu = None if "qemu" in missing else max(stepping_in_qemu(program) for _ in range(2))
    text = "\n\n".join([
        "Processor time as a multiple of that without anything. What waits for something to happen, medians of "
        f"{options.rounds * WINDOWS} pairs of {WINDOW} s (goal: 1.02 with gdb connected and idle; in brackets the middle half):",
        results.table(["load", *IDLE], [[load, *map(_spread, row.values())] for load, row in idle.items()]),
        f"What takes notes, the least of {options.rounds} rounds (goal: under 2 with a trace of all system calls):",
        results.table(["load", "s", *(name for name in BUSY if name != "none")],
                      [[load, min(times[load]["none"]), *row.values()] for load, row in busy.items()]),
        f"Records for which rings had no room, since the trace's reader came too late: {lost}.",
        f"Single steps a second over TCP: {here:.0f}" + (f"; QEMU's gdbstub {qemu:.0f}." if qemu else "."),
    ])
    figures = {"idle": {load: {name: statistics.median(values) for name, values in row.items()} for load, row in idle.items()},
               "seconds": times, "busy": busy, "lost": lost, "steps": {"hartwell": here, "qemu": qemu}}
    results.write("debug", figures, text)


def _spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.2f} to {high:.2f})"


def _script(text: str, *plan: Any) -> str:
    return text.format(plan=json.dumps(plan)).replace("WINDOW", str(WINDOW)).replace("SETTLE", str(SETTLE))


def idle_costs(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Of each load and instrument: time for an instruction with it, by that without."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(_script(IDLE_SCRIPT, ENDLESS, IDLE, rounds * WINDOWS))
        script.flush()
        done = subprocess.run([HARTWELL, "script", script.name], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, dict[str, list[float]]] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def thread_times(pid: int) -> dict[int, float]:
    """Processor seconds of each thread of a process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue  # it has ended
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


def busy_times(rounds: int, percent: int) -> tuple[dict[str, dict[str, list[float]]], int]:
    """Seconds of each load with each instrument, round by round; records lost."""
    loads = {load: command.format(count=max(1, COUNTS[load] * percent // 100)) for load, command in LOADS.items()}
    times: dict[str, dict[str, list[float]]] = {load: {name: [] for name in BUSY} for load in LOADS}
    hart, before, lost = 0, dict[int, float](), 0
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(_script(BUSY_SCRIPT, loads, BUSY, rounds))
        script.flush()
        with subprocess.Popen([HARTWELL, "script", script.name], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                word, _, rest = line.strip().partition(" ")
                if word == "BEGIN":
                    node = node_below(process.pid)
                    before = thread_times(node)
                elif word == "END":
                    spent = {thread: seconds - before.get(thread, 0) for thread, seconds in thread_times(node).items()}
                    hart = hart or max(spent, key=spent.__getitem__)  # nothing else works in the first turn
                    load, _, name = rest.partition("|")
                    times[load][name].append(spent[hart])
                elif word == "LOST":
                    lost = int(rest)
    if process.returncode:
        raise RuntimeError(f"the machine ended with {process.returncode}")
    return times, lost


# --- stepping -------------------------------------------------------------------------


def build(folder: Path) -> Path:
    """PROGRAM as an ELF."""
    (folder / "busy.S").write_text(PROGRAM)
    made = folder / "busy"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-freestanding", "-nostdlib", "-static",
               "-Wl,--image-base=0x80000000", "-o", str(made), str(folder / "busy.S")]
    subprocess.run(command, check=True)
    return made


def step_rate(port: int) -> float:
    """Steps a second of thread 1 at a gdb port."""
    with socket.create_connection(("127.0.0.1", port), 30) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pending = bytearray()

        def ask(text: str) -> bytes:
            wire.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 255))
            while not (found := re.search(rb"\$([^#]*)#..", pending)):
                pending.extend(wire.recv(65536))
            del pending[: found.end()]
            return found[1]

        ask("qSupported:multiprocess-;vContSupported+")
        ask("QStartNoAckMode")
        wire.sendall(b"+")
        ask("?")
        began = time.monotonic()
        for _ in range(STEPS):
            ask("vCont;s:1")
        return STEPS / (time.monotonic() - began)


def stepping_here(program: Path) -> float:
    """Of `hartwell run --gdb`, in Node."""
    command = [HARTWELL, "run", "--bare", program, "--memory", "16M", "--gdb", "0", "--halt"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            line = next(line for line in process.stderr if "target remote" in line)
            return step_rate(int(line.strip().rsplit(":", 1)[1]))
        finally:
            process.terminate()


def stepping_in_qemu(program: Path) -> float:
    """Of QEMU's gdbstub, in its translator."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    qemu = shutil.which("qemu-system-riscv64") or "qemu-system-riscv64"
    command = [qemu, "-machine", "virt", "-m", "16M", "-bios", "none", "-kernel", program, "-display", "none", "-serial", "null",
               "-monitor", "none", "-S", "-gdb", f"tcp:127.0.0.1:{port}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(2)
            return step_rate(port)
        finally:
            process.terminate()

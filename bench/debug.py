"""What debugging costs: `python bench/debug.py`.

slow-down   a busy bare program in Node, translator on: alone, with gdb connected
            and idle, with 10 breakpoints and with a watchpoint on pages that it
            does not touch.  Turns are taken in one process; the median's ratio counts.
stepping    single steps a second over TCP, `vCont;s` packet by packet, here and at
            QEMU's gdbstub.

Prints a table in Markdown.  Nothing here asserts.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HARTWELL = ROOT / ".venv" / "bin" / "hartwell"
ROUNDS, SECONDS, STEPS = 5, 1.0, 3000

# Calls, loads, stores and branches for ever, in a page of its own; a cold page after it.
BUSY = """
.globl _start
.section .text
_start: la sp, room; li s0, 0
loop: addi s0, s0, 1; mv a0, s0; call work; andi t0, s0, 255; bnez t0, loop; sd a0, 0(sp); j loop
work: ld t1, 8(sp); add t1, t1, a0; sd t1, 8(sp); srli a0, t1, 3; ret
.balign 4096
cold: .rept 1024; nop; .endr
.section .data
.balign 4096
room: .zero 4096
.globl cold_data
cold_data: .zero 4096
"""

SCRIPT = """
import asyncio, json, statistics, sys, time
from hartwell.gdb import packets
from hartwell.gdb.port import server_of
program, rounds, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
machine = await Machine.boot(bare=program, memory="16M", show=False)
cold, data = machine.harts[0].pc & ~0xfff, 0x80400000

async def mips():
    before, began = machine.harts[0].instret, time.monotonic()
    await asyncio.sleep(seconds)
    return (machine.harts[0].instret - before) / (time.monotonic() - began) / 1e6

await asyncio.sleep(2)
found = {"alone": [], "gdb": [], "breakpoints": [], "watchpoint": []}
for turn in range(rounds + 1):
    if turn == 1:  # the first is for the translator and the engine
        found = {name: [] for name in found}
    found["alone"].append(await mips())
    session = server_of(machine).connect(lambda sent: None)
    session.receive(packets.encode(b"vCont;c"))
    found["gdb"].append(await mips())
    session.close()
    machine.debugger.pause()
    for number in range(10):
        machine.debugger.break_at(0x80500000 + 4096 * number)
    machine.debugger.resume()
    found["breakpoints"].append(await mips())
    machine.debugger.clear()
    machine.debugger.watch(data)
    found["watchpoint"].append(await mips())
    machine.debugger.clear()
print(json.dumps({name: statistics.median(values) for name, values in found.items()}))
await machine.close()
"""


def build(folder: Path) -> Path:
    """BUSY as an ELF."""
    (folder / "busy.S").write_text(BUSY)
    made = folder / "busy"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-freestanding", "-nostdlib", "-static",
               "-Wl,--image-base=0x80000000", "-o", str(made), str(folder / "busy.S")]
    subprocess.run(command, check=True)
    return made


def slow_down(program: Path, folder: Path) -> dict[str, float]:
    """MIPS of each situation."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    command = [HARTWELL, "script", script, program, str(ROUNDS), str(SECONDS)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout.strip().splitlines()[-1])
    return found


def step_rate(port: int) -> float:
    """Steps a second of thread 1 at a gdb port."""
    with socket.create_connection(("127.0.0.1", port), 30) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pending = bytearray()

        def ask(text: str, answers: bool = True) -> bytes:
            wire.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 255))
            while answers:
                if found := re.search(rb"\$([^#]*)#..", pending):
                    del pending[: found.end()]
                    return found[1]
                pending.extend(wire.recv(65536))
            return b""

        ask("qSupported:multiprocess-;vContSupported+")
        ask("QStartNoAckMode")
        wire.sendall(b"+")
        ask("?")
        began = time.monotonic()
        for _ in range(STEPS):
            ask("vCont;s:1")
        return STEPS / (time.monotonic() - began)


def stepping_here(program: Path) -> float:
    command = [HARTWELL, "run", "--bare", program, "--memory", "16M", "--gdb", "0", "--halt"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stderr
            line = next(line for line in run.stderr if "target remote" in line)
            return step_rate(int(line.strip().rsplit(":", 1)[1]))
        finally:
            run.terminate()


def stepping_in_qemu(program: Path) -> float | None:
    qemu = shutil.which("qemu-system-riscv64")
    if not qemu:
        return None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [qemu, "-machine", "virt", "-m", "16M", "-bios", "none", "-kernel", program, "-display", "none", "-serial", "null",
               "-monitor", "none", "-S", "-gdb", f"tcp:127.0.0.1:{port}"]
    with subprocess.Popen(command) as run:
        try:
            time.sleep(2)
            return step_rate(port)
        finally:
            run.terminate()


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = build(folder)
        mips = slow_down(program, folder)
        here, qemu = stepping_here(program), stepping_in_qemu(program)
    print("| debugger | MIPS | of alone |\n|---|---|---|")
    for situation, words in (("alone", "none"), ("gdb", "gdb connected, idle"), ("breakpoints", "10 breakpoints on cold pages"),
                             ("watchpoint", "a watchpoint on a cold page")):
        print(f"| {words} | {mips[situation]:.0f} | {100 * mips[situation] / mips['alone']:.1f} % |")
    print(f"\nSingle steps a second over TCP: Hartwell (Node) {here:.0f}" + (f", QEMU {qemu:.0f}" if qemu else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())

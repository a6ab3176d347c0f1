"""What the page's Debug panel shows, as plain data."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

from hartwell.debugger.points import Point
from hartwell.errors import BadAddress, HartwellError
from hartwell.isa.disassemble import disassemble
from hartwell.isa.registers import X_NAMES

if TYPE_CHECKING:
    from hartwell.machine import Machine

BEFORE, AFTER = 0, 64  # bytes of code around pc
ROWS, ROW = 12, 8
STACK_WORDS = 16
QUIET_SECONDS = 20.0  # a guest without a kernel's symbols is not searched again for so long
SHOWN_CSRS = ("mstatus", "satp", "stvec", "sepc", "scause", "stval", "mip", "mie", "mepc", "mcause", "time")

_quiet_until: weakref.WeakKeyDictionary[Machine, float] = weakref.WeakKeyDictionary()


def look(machine: Machine, hart: int = 0, address: int | None = None) -> dict[str, Any]:
    """One hart and what lies around it.  address: of the memory to show, by
    default where sp points to.  What is not mapped is an empty list."""
    hart = min(max(hart, 0), len(machine.harts) - 1)
    debugger, chosen = machine.debugger, machine.harts[hart]
    pc, sp = chosen.pc, chosen.x[2]
    start = sp if address is None else address
    stop = debugger.stop
    points: list[Point] = [*debugger.breakpoints, *debugger.watchpoints]
    return {
        "hart": hart, "state": machine.state, "stop": str(stop) if stop else "", "recorded": machine.history is not None,
        "harts": [{"pc": f"{one.pc:016x}", "privilege": one.privilege, "state": one.state} for one in machine.harts],
        "registers": [["pc", f"{pc:016x}"], *([name, f"{chosen.x[i]:016x}"] for i, name in enumerate(X_NAMES) if i)],
        "csrs": [[name, f"{chosen.csr[name]:016x}"] for name in SHOWN_CSRS],
        "code": _code(machine, hart, pc),
        "where": name(machine, pc),
        "memory": [[f"{start + ROW * i:016x}", row.hex(" "), _text(row)] for i, row in enumerate(_rows(machine, hart, start))],
        "stack": [[f"{sp + 8 * i:016x}", f"{word:016x}", name(machine, word, near=True)]
                  for i, word in enumerate(_words(machine, hart, sp))],
        "frames": [[f"{frame:016x}", name(machine, frame)] for frame in debugger.backtrace(hart)],
        "points": [[str(point.number), _words_of(point)] for point in points],
    }


def name(machine: Machine, address: int, near: bool = False) -> str:
    """A kernel symbol and offset, "" where none is known.  near: for words that
    may be anything."""
    if near and address >> 38 == 0 or _quiet_until.get(machine, 0) > time.monotonic():
        return ""
    try:
        machine.linux.kernel  # noqa: B018 - found, or not: then it is not looked for at each word
    except HartwellError:
        _quiet_until[machine] = time.monotonic() + QUIET_SECONDS
        return ""
    return machine.symbols.name(address) if machine.symbols.at(address) else ""


def _code(machine: Machine, hart: int, pc: int) -> list[list[str]]:
    at = {point.address for point in machine.debugger.breakpoints if not point.physical}
    lines = disassemble(_bytes(machine, hart, pc, AFTER), pc, aliases=True)
    return [["●" if line.address in at else "", f"{line.address:016x}", line.text.replace("\t", " ")] for line in lines]


def _rows(machine: Machine, hart: int, address: int) -> list[bytes]:
    data = _bytes(machine, hart, address, ROWS * ROW)
    return [data[i : i + ROW] for i in range(0, len(data), ROW)]


def _words(machine: Machine, hart: int, address: int) -> list[int]:
    data = _bytes(machine, hart, address & ~7, 8 * STACK_WORDS)
    return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) - 7, 8)]


def _bytes(machine: Machine, hart: int, address: int, count: int) -> bytes:
    try:
        return machine.debugger.view.read(address, count, hart)
    except BadAddress:
        return b""


def _text(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)


def _words_of(point: Any) -> str:
    kind = getattr(point, "kind", "break")
    size = f", {point.size} bytes" if hasattr(point, "size") else ""
    return f"{kind} {point.name or hex(point.address)}{size}{' physical' if point.physical else ''}"

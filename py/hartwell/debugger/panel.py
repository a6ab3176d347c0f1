"""What the page's Debug panel shows, as plain data."""

from __future__ import annotations

import re
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hartwell.debugger.points import Point
from hartwell.errors import BadAddress, BadConfiguration, HartwellError
from hartwell.files import MOUNT
from hartwell.isa.disassemble import disassemble
from hartwell.isa.registers import X_NAMES

if TYPE_CHECKING:
    from hartwell.linux.tasks import Task
    from hartwell.machine import Machine

AFTER = 64  # bytes of code from pc on
ROWS, ROW = 12, 8
STACK_WORDS = 16
_asked: weakref.WeakKeyDictionary[Machine, set[str]] = weakref.WeakKeyDictionary()  # sources that were looked for
SHOWN_CSRS = ("mstatus", "satp", "stvec", "sepc", "scause", "stval", "mip", "mie", "mepc", "mcause", "time")


async def show(machine: Machine, hart: int = 0, address: int | str | None = None) -> dict[str, Any]:
    """As `look`, after sources were read that lie in the shared folder, where they
    were compiled in it."""
    if machine.state == "paused":
        hart = min(max(hart, 0), len(machine.harts) - 1)
        path, _ = machine.symbols.place(machine.harts[hart].pc, _task(machine, hart))
        asked = _asked.setdefault(machine, set())
        if path.startswith(f"{MOUNT}/") and path not in asked:
            asked.add(path)
            with suppress(HartwellError):
                machine.symbols.add_source((await machine.files.read(path)).decode("utf-8", "replace"), path)
    return look(machine, hart, address)


def look(machine: Machine, hart: int = 0, address: int | str | None = None) -> dict[str, Any]:
    """One hart and what lies around it.  address: of the memory to show, or a
    symbol; by default where sp points to.  What is not mapped is an empty list,
    and so are calls and source of a machine that runs."""
    hart = min(max(hart, 0), len(machine.harts) - 1)
    debugger, chosen = machine.debugger, machine.harts[hart]
    pc, sp = chosen.pc, chosen.x[2]
    start, unknown = sp, ""
    try:
        start = sp if address is None else debugger.address(address)
    except HartwellError as error:
        unknown = str(error)
    stop, still = debugger.stop, machine.state == "paused"
    task = _task(machine, hart)
    points: list[Point] = [*debugger.breakpoints, *debugger.watchpoints]
    return {
        "hart": hart, "state": machine.state, "stop": str(stop) if stop else "", "recorded": machine.history is not None,
        "harts": [{"pc": f"{one.pc:016x}", "privilege": one.privilege, "state": one.state} for one in machine.harts],
        "registers": [["pc", f"{pc:016x}"], *([name, f"{chosen.x[i]:016x}"] for i, name in enumerate(X_NAMES) if i)],
        "csrs": [[name, f"{chosen.csr[name]:016x}"] for name in SHOWN_CSRS],
        "code": _code(machine, hart, pc),
        "task": f"{task.comm} ({task.pid})" if task else "",
        "where": name(machine, pc, task if still else None),
        "line": (machine.symbols.line(pc, task) or "") if still else "",
        "source": [[str(number), text] for number, text in machine.symbols.source(pc, task)] if still else [],
        "memory": [["", unknown, ""]] if unknown else
                  [[f"{start + ROW * i:016x}", row.hex(" "), _text(row)] for i, row in enumerate(_rows(machine, hart, start))],
        "stack": [[f"{sp + 8 * i:016x}", f"{word:016x}", name(machine, word) if word >> 38 else ""]
                  for i, word in enumerate(_words(machine, hart, sp))],
        "frames": [[_short(frame.name) + ("" if frame.sure else " ?"), frame.line or "", f"{frame.address:016x}"]
                   for frame in (debugger.backtrace(hart) if still else ())],
        "points": [[str(point.number), _words_of(point)] for point in points],
        "gdb": machine.gdb_line,
    }


def give(machine: Machine, name: str, data: bytes) -> str:
    """Takes a file that a person picked: an ELF file for its symbols and lines,
    any other for a source's text.  What was done, in Python.  BadElf,
    BadConfiguration for what is neither."""
    if data.startswith(b"\x7fELF"):
        machine.symbols.add(data, name)
        return f"machine.symbols.add(data, {name!r})"
    if b"\0" in data or not data:
        raise BadConfiguration(f"{name}: neither an ELF file nor a source's text")
    machine.symbols.add_source(data.decode("utf-8", "replace"), name)
    return f"machine.symbols.add_source(text, {name!r})"


def name(machine: Machine, address: int, task: Task | None = None) -> str:
    """A symbol and offset, "" where none is known."""
    return machine.symbols.name(address, task) if machine.symbols.at(address, task) else ""


def _short(name: str) -> str:
    """Without the folder of the program or library in brackets."""
    return re.sub(r"\[[^]]*/", "[", name)


def _task(machine: Machine, hart: int) -> Task | None:
    """What the hart runs, where a Linux is known and fits together just now."""
    try:
        task = machine.linux.current(hart) if machine.linux.there() else None
        return task if task and task.mm else None
    except HartwellError:
        return None


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

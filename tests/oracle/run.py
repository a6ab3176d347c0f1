"""Runs a recorded program on hart 0 of a machine in cpu.wasm."""

from __future__ import annotations

from hartwell.layout import CONSTANTS, RAM_BASE, RAM_OFFSET, field
from hartwell.platform import Core
from tests.oracle.records import WINDOW, WINDOW_BYTES, Record, State, initial

PARKED = RAM_BASE + 0x1000  # holds a jump to itself; traps end there
SELF_JUMP = 0x6F
ECALL_M = 11
FS_DIRTY = 3 << 13
BUDGET = 2000  # more than any program takes
PRIV_M = 3


class WrongEnd(AssertionError):
    """The program did not come to its ecall."""


def _set(core: Core, name: str, value: int) -> None:
    slot = field(f"Hart.{name}")
    core.write(slot.offset, value.to_bytes(slot.size, "little"))


def _get(core: Core, name: str) -> int:
    slot = field(f"Hart.{name}")
    return int.from_bytes(core.read(slot.offset, slot.size), "little")


def _put(core: Core, address: int, data: bytes) -> None:
    core.write(RAM_OFFSET + address - RAM_BASE, data)
    core.call("ram_written", address, len(data))


def run(core: Core, record: Record) -> State:
    """The state in which the record's program ends; WrongEnd if it does not.

    `core` is a machine with firmware "guest" and at least 8M of RAM whose hart
    0 was started once; no hart's worker runs.
    """
    start = initial(record.number)
    _put(core, PARKED, SELF_JUMP.to_bytes(4, "little"))
    _put(core, record.address, record.code)
    _put(core, WINDOW, start.window)
    core.write(field("Hart.x").offset, b"".join(value.to_bytes(8, "little") for value in start.x))
    core.write(field("Hart.f").offset, b"".join(value.to_bytes(8, "little") for value in start.f))
    for name, value in (("fcsr_flags", start.fcsr & 31), ("frm", start.fcsr >> 5), ("mstatus", FS_DIRTY),
                        ("mtvec", PARKED), ("privilege", PRIV_M), ("pc", record.address), ("mcause", 0)):
        _set(core, name, value)
    core.call("hart_run", 0, BUDGET, CONSTANTS["RUN_EXACT"] | CONSTANTS["RUN_NOWAIT"])
    pc, cause, end = _get(core, "pc"), _get(core, "mcause"), _get(core, "mepc")
    if (pc, cause, end) != (PARKED, ECALL_M, record.end):
        raise WrongEnd(f"program {record.number} ({record.group}): pc {pc:#x}, mcause {cause}, mepc {end:#x}; "
                       f"expected the ecall at {record.end:#x}")
    return state(core)


def state(core: Core) -> State:
    """What the hart has now of what a record compares."""
    x, f = (core.read(field(f"Hart.{name}").offset, 256) for name in "xf")
    return State(
        tuple(int.from_bytes(x[at : at + 8], "little") for at in range(0, 256, 8)),
        tuple(int.from_bytes(f[at : at + 8], "little") for at in range(0, 256, 8)),
        _get(core, "fcsr_flags") & 31 | _get(core, "frm") << 5,
        core.read(RAM_OFFSET + WINDOW - RAM_BASE, WINDOW_BYTES),
    )


def differences(got: State, expected: State) -> list[str]:
    """What differs, a line each."""
    lines = [f"{kind}{number}: {a:#018x}, QEMU {b:#018x}"
             for kind, left, right in (("x", got.x, expected.x), ("f", got.f, expected.f))
             for number, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]
    if got.fcsr != expected.fcsr:
        lines.append(f"fcsr: {got.fcsr:#04x}, QEMU {expected.fcsr:#04x}")
    lines += [f"window+{at:#x}: {got.window[at:at + 8].hex()}, QEMU {expected.window[at:at + 8].hex()}"
              for at in range(0, WINDOW_BYTES, 8) if got.window[at : at + 8] != expected.window[at : at + 8]]
    return lines

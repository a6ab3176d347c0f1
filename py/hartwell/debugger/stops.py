"""What a stop is: the record that a hart, or a device, leaves in shared memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from dataclasses import field as entry
from typing import Literal

from hartwell.debugger.points import Breakpoint, Point, Points
from hartwell.layout import CONSTANTS, field
from hartwell.platform import Core

Reason = Literal["breakpoint", "watchpoint", "device", "step", "pause", "begin"]
_REASONS: dict[int, Reason] = {
    CONSTANTS["DEBUG_BREAKPOINT"]: "breakpoint",
    CONSTANTS["DEBUG_WATCHPOINT"]: "watchpoint",
    CONSTANTS["DEBUG_DMA"]: "device",
}
_WRITE = CONSTANTS["WATCH_WRITE"]
_READ = CONSTANTS["WATCH_READ"]
# A record's index: its point's place in the table, and a bit of ours. A hart that hits anew writes all of it.
_PLACE, _HEARD = 0x3FFF_FFFF, 0x4000_0000


@dataclass(frozen=True)
class Stop:
    """Why harts stand still.

    breakpoint  `hart` stands before the instruction that `point` names
    watchpoint  `hart` stands before an instruction that accesses `size` bytes
                at `address`; a store's new value is in `value`
    device      a device has read or written `size` bytes at the physical
                `address`; the access has been made, and `hart` is any
    step        `hart` has made its steps
    pause       somebody asked for it
    begin       a run that went back stands at its beginning
    """

    reason: Reason
    hart: int
    pc: int
    point: Point | None = None
    address: int | None = None
    physical: int | None = None
    size: int = 0
    access: str = ""
    value: int | None = None
    heard: bool = entry(default=False, compare=False, repr=False)  # was somebody told of it?

    def __str__(self) -> str:
        text = f"{self.reason} on hart {self.hart} at {self.pc:#x}"
        return f"{text}: {self.access} of {self.size} bytes at {self.address:#x}" if self.address is not None else text


def of_hart(core: Core, hart: int, points: Points) -> Stop | None:
    """The stop of one hart, None where it does not stand at anything."""
    found = _record(core, "Hart.debug.stop", hart, points)
    return found and replace(found, hart=hart, pc=_u64(core, "Hart.pc", hart))


def of_devices(core: Core, points: Points) -> Stop | None:
    """The stop for a device's access, if there was one."""
    found = _record(core, "Machine.debug.dma", None, points)
    return found and replace(found, pc=_u64(core, "Hart.pc", 0))


def forget(core: Core, hart: int | None) -> None:
    """Takes a hart's reason away (None: the devices'), so that it can stop anew."""
    if hart is None:
        core.store(field("Machine.debug.dma.reason").offset, CONSTANTS["DEBUG_NONE"])
    else:
        core.store(field("Hart.debug.stop.reason", hart).offset, CONSTANTS["DEBUG_NONE"])


def renumber(core: Core, stop: Stop, points: Points) -> None:
    """Points were taken away, and those behind them moved up: what `stop` was read
    from names its point's new place, or one where none is."""
    table: list[Point] = [*points.breakpoints] if stop.reason == "breakpoint" else [*points.watchpoints]
    place = next((index for index, point in enumerate(table) if point is stop.point), _PLACE)
    core.store(_index(stop), place | (_HEARD if stop.heard else 0))


def hear(core: Core, stop: Stop) -> None:
    """Somebody is told of this stop now: it lasts, whatever becomes of its point."""
    core.or_(_index(stop), _HEARD)


def _index(stop: Stop) -> int:
    slot = field("Machine.debug.dma.index") if stop.reason == "device" else field("Hart.debug.stop.index", stop.hart)
    return slot.offset


def _record(core: Core, path: str, hart: int | None, points: Points) -> Stop | None:
    def number(name: str) -> int:
        return _u64(core, f"{path}.{name}", *(() if hart is None else (hart,)))

    reason = _REASONS.get(number("reason"))
    if reason is None:
        return None
    table: list[Point] = [*points.breakpoints] if reason == "breakpoint" else [*points.watchpoints]
    index, access = number("index") & _PLACE, number("access")
    point = table[index] if index < len(table) else None
    if point and not _covers(point, number("physical" if point.physical else "address"), max(number("size"), 1), reason):
        point = None  # what was hit has been taken away, and another has its place
    heard = bool(number("index") & _HEARD)
    if reason == "breakpoint":
        return Stop(reason, 0, 0, point, heard=heard)
    name = "access" if access == _READ | _WRITE else "write" if access & _WRITE else "read"
    value = number("value") if reason == "watchpoint" and access == _WRITE else None
    size = number("size")
    return Stop(reason, 0, 0, point, number("address"), number("physical"), size, name,
                None if value is None else value & (1 << 8 * size) - 1, heard)


def _covers(point: Point, address: int, size: int, reason: Reason) -> bool:
    """Does a point lie where something was hit?  Of a device only the
    physical address is known, which says nothing of a virtual watchpoint."""
    if isinstance(point, Breakpoint):
        return point.address == address
    if reason == "device" and not point.physical:
        return True
    return address < point.address + point.size and point.address < address + size


def _u64(core: Core, path: str, *indexes: int) -> int:
    slot = field(path, *indexes)
    return int.from_bytes(core.read(slot.offset, slot.size), "little")

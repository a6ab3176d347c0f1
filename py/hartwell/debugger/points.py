"""Break- and watchpoints, and the tables in shared memory that harts look at.

cpu/inspect/debug.h says how harts use them.  The tables change only while no hart
runs; `Points.write` is called in such a moment.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from hartwell import layout
from hartwell.errors import BadConfiguration
from hartwell.layout import CONSTANTS, MAX_BREAKPOINTS, MAX_WATCHPOINTS
from hartwell.platform import Core

if TYPE_CHECKING:
    from hartwell.debugger.stops import Stop

Kind = Literal["read", "write", "access"]
Condition = Callable[["Stop"], object]
_KINDS = {
    "read": CONSTANTS["WATCH_READ"],
    "write": CONSTANTS["WATCH_WRITE"],
    "access": CONSTANTS["WATCH_READ"] | CONSTANTS["WATCH_WRITE"],
}
_MASK64 = (1 << 64) - 1
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Breakpoint:
    """Harts stop before the instruction at `address`.

    space: a satp value; only harts that translate through that root page
    table stop.  physical: `address` is a physical one.  condition: asked, with
    the Stop, when it is hit; where it says no, harts go on.
    """

    address: int
    space: int | None = None
    physical: bool = False
    name: str = ""
    condition: Condition | None = field(default=None, compare=False, repr=False)
    number: int = field(default_factory=lambda: next(_numbers), compare=False)

    @property
    def flags(self) -> int:
        return _flags(self.space, self.physical)


@dataclass(frozen=True)
class Watchpoint:
    """Harts stop before an access of `kind` to one of the bytes from `address`."""

    address: int
    size: int
    kind: Kind
    space: int | None = None
    physical: bool = False
    name: str = ""
    condition: Condition | None = field(default=None, compare=False, repr=False)
    number: int = field(default_factory=lambda: next(_numbers), compare=False)

    @property
    def flags(self) -> int:
        return _flags(self.space, self.physical) | _KINDS[self.kind]


Point = Breakpoint | Watchpoint


class Points:
    """All that are set.  Changes take effect with `write`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.breakpoints: list[Breakpoint] = []
        self.watchpoints: list[Watchpoint] = []

    def add(self, point: Point) -> None:
        """BadConfiguration for what cannot be watched, or when the table is full."""
        check(point)
        if isinstance(point, Breakpoint):
            if len(self.breakpoints) == MAX_BREAKPOINTS:
                raise BadConfiguration(f"all {MAX_BREAKPOINTS} breakpoints are in use; clear one first")
            self.breakpoints.append(point)
        else:
            if len(self.watchpoints) == MAX_WATCHPOINTS:
                raise BadConfiguration(f"all {MAX_WATCHPOINTS} watchpoints are in use; clear one first")
            self.watchpoints.append(point)

    def remove(self, point: Point) -> None:
        """One that is not set is no error: it is gone already."""
        if isinstance(point, Breakpoint):
            self.breakpoints = [other for other in self.breakpoints if other is not point]
        else:
            self.watchpoints = [other for other in self.watchpoints if other is not point]

    def write(self, breakpoints: bool = True, watchpoints: bool = True) -> None:
        """Puts the tables where harts look.  No hart may run."""
        core = self._core
        if breakpoints:
            for index, point in enumerate(self.breakpoints):
                self._entry("breakpoint", index, point)
            core.store(layout.field("Machine.debug.breakpoint_count").offset, len(self.breakpoints))
        if watchpoints:
            for index, watch in enumerate(self.watchpoints):
                self._entry("watchpoint", index, watch)
                self._number("watchpoint.size", index, watch.size)
            core.store(layout.field("Machine.debug.watchpoint_count").offset, len(self.watchpoints))
        what = CONSTANTS["DEBUG_BREAKPOINTS"] * breakpoints | CONSTANTS["DEBUG_WATCHPOINTS"] * watchpoints
        core.call("debug_changed", what)

    def _entry(self, table: str, index: int, point: Point) -> None:
        self._number(f"{table}.address", index, point.address)
        self._number(f"{table}.space", index, point.space or 0)
        self._number(f"{table}.flags", index, point.flags)

    def _number(self, name: str, index: int, value: int) -> None:
        slot = layout.field(f"Machine.debug.{name}", index)
        self._core.write(slot.offset, (value & _MASK64).to_bytes(slot.size, "little"))


def check(point: Point) -> None:
    """BadConfiguration for an address or a size that no access can have."""
    if not 0 <= point.address <= _MASK64:
        raise BadConfiguration(f"{point.address:#x} is no 64-bit address")
    if isinstance(point, Breakpoint):
        if point.address & 1:
            raise BadConfiguration(f"{point.address:#x} is odd; instructions begin at even addresses")
    else:
        if point.kind not in _KINDS:
            raise BadConfiguration(f"kind {point.kind!r}: expected one of {', '.join(_KINDS)}")
        if point.size < 1 or point.address + point.size > _MASK64 + 1:
            raise BadConfiguration(f"{point.size} bytes from {point.address:#x} cannot be watched: expected at least one byte "
                                   "that ends within 64 bits")


def _flags(space: int | None, physical: bool) -> int:
    return CONSTANTS["POINT_PHYSICAL"] * physical | (CONSTANTS["POINT_SPACE"] if space is not None else 0)

"""Z and z packets: what one gdb has set.  Remote Protocol, "Packets", z."""

from __future__ import annotations

from hartwell.debugger import Breakpoint, Debugger, Watchpoint
from hartwell.debugger.points import Kind, Point
from hartwell.gdb.words import BAD_PACKET, number

_BREAKS = ("0", "1")
_WATCHES: dict[str, Kind] = {"2": "write", "3": "read", "4": "access"}


class GdbPoints:
    """Z0 and Z1 are the same here: neither changes memory, nor is scarce."""

    def __init__(self, debugger: Debugger) -> None:
        self._debugger = debugger
        self._set: dict[tuple[str, int, int], Point] = {}

    def answer(self, text: str, physical: bool) -> bytes:
        """One packet.  physical: addresses are.  BadConfiguration when a table is full."""
        kind, *fields = text[1:].split(";")[0].split(",")
        if kind not in _BREAKS and kind not in _WATCHES:
            return b""
        if len(fields) != 2:
            return BAD_PACKET
        address, size = number(fields[0]), number(fields[1])
        key = ("0", address, 0) if kind in _BREAKS else (kind, address, size)
        if text[0] == "z":
            if point := self._set.pop(key, None):
                self._debugger.clear(point)
        elif key not in self._set:
            point = (Watchpoint(address, size, _WATCHES[kind], physical=physical) if kind in _WATCHES
                     else Breakpoint(address, physical=physical))
            self._debugger.set(point)
            self._set[key] = point
        return b"OK"

    def clear(self) -> None:
        """Takes all of them away, and nobody else's."""
        if self._set:
            self._debugger.clear(*self._set.values())
        self._set.clear()

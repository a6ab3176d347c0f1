"""Memory as a debugger at a hart sees it: by virtual address, whatever the
permissions, or by physical address."""

from __future__ import annotations

from collections.abc import Iterator

from hartwell.errors import BadAddress
from hartwell.layout import CONSTANTS, PAGE
from hartwell.memory import Memory
from hartwell.platform import Core

_NOWHERE = (1 << 64) - 1
_MASK64 = (1 << 64) - 1


class View:
    """Reads and writes of RAM.  Device registers are not touched: a read of
    one may change what the device does."""

    def __init__(self, core: Core, memory: Memory) -> None:
        self._core, self._memory = core, memory

    def translate(self, vaddr: int, hart: int) -> int | None:
        """The physical address of `vaddr` on `hart`, None where nothing is mapped."""
        found = self._core.call("debug_translate", hart, vaddr & _MASK64) & _MASK64
        return None if found == _NOWHERE else found

    def read(self, address: int, count: int, hart: int | None) -> bytes:
        """At most `count` bytes: fewer where the rest is not mapped.  `hart`
        None: a physical address.  BadAddress when the first byte is not there."""
        data = b""
        try:
            for pa, size in self._parts(address, count, hart):
                data += self._memory.read(pa, size)
        except BadAddress:
            if not data:
                raise
        return data

    def write(self, address: int, data: bytes, hart: int | None) -> None:
        """All of `data` or, with BadAddress, nothing.  Harts see changed code at once."""
        parts = list(self._parts(address, len(data), hart))
        for pa, size in parts:
            self._memory.read(pa, size)
        done = 0
        for pa, size in parts:
            self._memory.write(pa, data[done : done + size])
            done += size
        self._core.call("debug_changed", CONSTANTS["DEBUG_CODE"])

    def _parts(self, address: int, count: int, hart: int | None) -> Iterator[tuple[int, int]]:
        while count > 0:
            address &= _MASK64
            size = min(count, PAGE - address % PAGE)
            pa = address if hart is None else self.translate(address, hart)
            if pa is None:
                raise BadAddress(f"virtual address {address:#x} is not mapped on hart {hart} now")
            yield pa, size
            address, count = address + size, count - size

"""Page tables of a guest, walked from outside.  Privileged spec 4.3 to 4.5."""

from __future__ import annotations

from collections.abc import Iterator

from hartwell.errors import BadAddress
from hartwell.layout import PAGE
from hartwell.memory import Memory

_LEVELS = {8: 3, 9: 4, 10: 5}  # satp.MODE: Sv39, Sv48, Sv57
_MASK64 = (1 << 64) - 1
_PPN = (1 << 44) - 1
_V, _R, _X, _U = 1, 2, 8, 16


class AddressSpace:
    """The virtual memory that a satp value names.

    Reads follow the tables as they are in that moment.  What is swapped out or
    was never touched is not mapped: BadAddress.
    """

    def __init__(self, memory: Memory, satp: int) -> None:
        if satp >> 60 not in _LEVELS:
            raise BadAddress(f"satp {satp:#x} names no page table (mode {satp >> 60}; Sv39, Sv48 and Sv57 are known)")
        self.memory, self.satp = memory, satp
        self._levels = _LEVELS[satp >> 60]
        # Superpages of a kernel are its linear map and its image, which stay.
        self._large: dict[int, int] = {}

    @property
    def root(self) -> int:
        """Physical address of the root table: what tells one process from another."""
        return (self.satp & _PPN) * PAGE

    def translate(self, address: int) -> int | None:
        """The physical address; None where nothing is mapped."""
        address &= _MASK64
        if (known := self._large.get(address >> 21)) is not None:
            return known + address % (1 << 21)
        top = 12 + 9 * self._levels
        if address >> top - 1 not in (0, (1 << 64 - top + 1) - 1):
            return None
        table = self.root
        for level in range(self._levels - 1, -1, -1):
            shift = 12 + 9 * level
            try:
                entry = int.from_bytes(self.memory.read(table + 8 * (address >> shift & 511), 8), "little")
            except BadAddress:
                return None
            if not entry & _V:
                return None
            target = (entry >> 10 & _PPN) * PAGE
            if entry & (_R | _X):
                found: int = target & -(1 << shift) | address & (1 << shift) - 1
                if level and not entry & _U:
                    self._large[address >> 21] = found & -(1 << 21)
                return found
            table = target
        return None

    def read(self, address: int, count: int) -> bytes:
        """`count` bytes.  BadAddress where one of them is not mapped."""
        return b"".join(self.memory.read(place, size) for place, size in self._parts(address, count))

    def u64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def u32(self, address: int) -> int:
        return int.from_bytes(self.read(address, 4), "little")

    def text(self, address: int, longest: int = 4096) -> str:
        """The characters up to a zero; what is not mapped ends it too."""
        found = bytearray()
        while len(found) < longest:
            size = min(longest - len(found), PAGE - (address + len(found)) % PAGE, 256)
            try:
                part = self.read(address + len(found), size)
            except BadAddress:
                break
            end = part.find(b"\0")
            found += part if end < 0 else part[:end]
            if end >= 0:
                break
        return found.decode(errors="replace")

    def _parts(self, address: int, count: int) -> Iterator[tuple[int, int]]:
        while count > 0:
            size = min(count, PAGE - address % PAGE)
            place = self.translate(address)
            if place is None:
                raise BadAddress(f"virtual address {address & _MASK64:#x} is not mapped in the page table at {self.root:#x}")
            yield place, size
            address, count = address + size, count - size

"""`machine.memory`: guest memory by physical and by virtual address."""

from __future__ import annotations

from collections.abc import Iterator

from hartwell.errors import BadAddress
from hartwell.layout import PAGE, RAM_BASE, RAM_OFFSET, field
from hartwell.platform import Core

_UNMAPPED = (1 << 64) - 1
_MASK64 = (1 << 64) - 1
READ, WRITE, FETCH = 0, 1, 2
_ABSENT = field("Machine.absent_pages").offset


class Memory:
    """Reads are safe at any time; what a running guest writes meanwhile may be
    seen half."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._offset = RAM_OFFSET
        self.size = core.plan.ram_bytes

    def read(self, paddr: int, count: int) -> bytes:
        """`count` bytes of RAM at a guest physical address.  BadAddress outside."""
        place = self._place(paddr, count)
        self._await(paddr, count)
        return self._core.read(place, count)

    def write(self, paddr: int, data: bytes) -> None:
        """Writes RAM at a guest physical address; decoded code is told.  BadAddress outside."""
        place = self._place(paddr, len(data))
        self._await(paddr, len(data))
        self._core.write(place, data)
        self._core.call("ram_changed", paddr, len(data))

    def read_virtual(self, vaddr: int, count: int, hart: int = 0) -> bytes:
        """`count` bytes at a virtual address, through the page tables that
        `hart` uses now.  BadAddress where nothing is mapped."""
        return b"".join(self.read(pa, size) for pa, size in self._pages(vaddr, count, hart, READ))

    def write_virtual(self, vaddr: int, data: bytes, hart: int = 0) -> None:
        """Writes at a virtual address of `hart`; all pages are looked up before
        the first byte is written."""
        pages = list(self._pages(vaddr, len(data), hart, READ))
        done = 0
        for pa, size in pages:
            self.write(pa, data[done : done + size])
            done += size

    def translate(self, vaddr: int, hart: int = 0, access: int = READ) -> int | None:
        """The physical address, None where `access` is not allowed."""
        found = self._core.call("translate", hart, vaddr & _MASK64, access) & _MASK64
        return None if found == _UNMAPPED else found

    def _pages(self, vaddr: int, count: int, hart: int, access: int) -> Iterator[tuple[int, int]]:
        while count > 0:
            size = min(count, PAGE - vaddr % PAGE)
            pa = self.translate(vaddr, hart, access)
            if pa is None:
                raise BadAddress(f"virtual address {vaddr & _MASK64:#x} is not mapped on hart {hart} now")
            yield pa, size
            vaddr, count = vaddr + size, count - size

    def _await(self, paddr: int, count: int) -> None:
        """Memory that a lazy wake has yet to bring comes first."""
        if self._core.load(_ABSENT):
            self._core.call("ram_await", paddr, count)

    def _place(self, paddr: int, count: int) -> int:
        if count < 0 or paddr < RAM_BASE or paddr + count > RAM_BASE + self.size:
            raise BadAddress(
                f"{count} bytes at {paddr:#x} are not all RAM, which is {RAM_BASE:#x} to {RAM_BASE + self.size:#x}"
            )
        return self._offset + paddr - RAM_BASE

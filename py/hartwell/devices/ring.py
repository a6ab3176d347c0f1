"""Byte rings between a C device and the supervisor (struct Ring, cpu/machine/ring.h)."""

from __future__ import annotations

from hartwell.layout import LAYOUT, RING_SIZE
from hartwell.platform import Core

_FIELDS = LAYOUT["Ring"].fields
_MASK32 = 0xFFFF_FFFF


class Ring:
    """One ring at a struct's `offset`, with its bytes at `place`."""

    def __init__(self, core: Core, offset: int, place: int) -> None:
        self._core = core
        self._head = offset + _FIELDS["head"].offset
        self._tail = offset + _FIELDS["tail"].offset
        self._place = place
        core.store(offset + _FIELDS["offset"].offset, place)

    @property
    def used(self) -> int:
        """Bytes in it."""
        return (self._core.load(self._head) - self._core.load(self._tail)) & _MASK32

    def write(self, data: bytes) -> int:
        """Appends what there is room for; how many bytes that was."""
        head = self._core.load(self._head)
        count = min(len(data), RING_SIZE - self.used)
        start = head % RING_SIZE
        first = min(count, RING_SIZE - start)
        if first:
            self._core.write(self._place + start, data[:first])
        if count > first:
            self._core.write(self._place, data[first:count])
        self._core.store(self._head, (head + count) & _MASK32)
        return count

    def read(self) -> bytes:
        """Takes all there is."""
        tail = self._core.load(self._tail)
        count = min(self.used, RING_SIZE)
        if not count:
            return b""
        start = tail % RING_SIZE
        first = min(count, RING_SIZE - start)
        data = self._core.read(self._place + start, first)
        if count > first:
            data += self._core.read(self._place, count - first)
        self._core.store(self._tail, (tail + count) & _MASK32)
        self._core.notify(self._tail)  # firmware may wait for room
        return data

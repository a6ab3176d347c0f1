"""Consoles whose input is written down while a run is recorded, and comes from
the recording while it is repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Port(Protocol):
    """A console device."""

    def write(self, data: bytes) -> int: ...
    def read(self) -> bytes: ...


class Tap:
    """Stands for a console device.  What is written waits until the driver takes
    it, at a place where the run is cut anyway."""

    def __init__(self, port: Port, muted: Callable[[], bool]) -> None:
        self._port, self._muted = port, muted
        self.waiting = bytearray()

    def write(self, data: bytes) -> int:
        self.waiting += data
        return len(data)

    def read(self) -> bytes:
        """Nothing while a part is repeated that was shown before."""
        data = self._port.read()
        return b"" if self._muted() else data

    def deliver(self, data: bytes) -> int:
        """To the guest; how many bytes it had room for."""
        return self._port.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._port, name)


class VirtioTap(Tap):
    """The same for a virtio console.  Its size stays what it was at the start."""

    def resize(self, cols: int, rows: int) -> None:
        """A guest that is told nothing cannot differ."""

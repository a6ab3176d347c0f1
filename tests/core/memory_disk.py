"""A small disk of which the tests see every byte."""

from __future__ import annotations

from hartwell.devices.block import BlockDevice
from hartwell.devices.console import ring_place
from hartwell.disks import DiskPlan
from hartwell.layout import CONSTANTS, DISK_CHUNK
from hartwell.platform import Core

SECTOR = 512
IMAGE = bytes(range(256)) * 256  # 128 sectors


class Bytes:
    """A blob."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]


def image_place() -> int:
    return ring_place(10)  # rings that no test here uses


class Memory(BlockDevice):
    """A disk whose bytes are all in memory, and can be looked at there."""

    def __init__(self, core: Core, slot: int, data: bytes, *, read_only: bool = False) -> None:
        base = {"kind": "bytes", "name": "disk"}
        plan = DiskPlan("disk", len(data), base, Bytes(data), None, read_only, -(-len(data) // DISK_CHUNK)).at(image_place())
        super().__init__(core, slot, 0, plan)
        self._core = core

    def read(self, offset: int, count: int) -> bytes:
        """What the guest would read; chunks without a frame are zeros."""
        areas, data = self.plan.areas, b""
        for chunk in range(self.plan.chunks):
            place = self._core.load(areas["map"][0] + 4 * chunk)
            frame = areas["data"][0] + (place - CONSTANTS["DISK_FRAME"]) * DISK_CHUNK
            data += self._core.read(frame, DISK_CHUNK) if place else bytes(DISK_CHUNK)
        return data[offset : min(offset + count, self.plan.bytes)]

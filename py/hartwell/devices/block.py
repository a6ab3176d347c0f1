"""virtio-block over an image in linear memory, served in C.  Virtio 1.2, 5.2."""

from __future__ import annotations

from hartwell.devices.slot import put_virtio
from hartwell.errors import BadConfiguration
from hartwell.layout import CONSTANTS, field
from hartwell.platform import Blob, Core

VIRTIO_ID_BLOCK = 2
FEATURE_SEG_MAX, FEATURE_RO, FEATURE_FLUSH = 1 << 2, 1 << 5, 1 << 9
FEATURE_DISCARD, FEATURE_WRITE_ZEROES = 1 << 13, 1 << 14
SECTOR = 512
SEGMENTS = 60  # data buffers of one request; C takes 64 with header and status
RANGE_SECTORS = 1 << 16  # of one discard or write-zeroes, as in cpu/virtio_block.c


def check_image(blob: Blob, name: str) -> None:
    """Raises BadConfiguration for an image that is no whole number of sectors."""
    if blob.size == 0 or blob.size % SECTOR:
        raise BadConfiguration(f"disk {name}: {blob.size} bytes; a raw image is a multiple of {SECTOR} bytes, not empty")


class BlockDevice:
    """A disk in a slot, its bytes at `offset` of linear memory.

    Copies `blob` there; `offset` lies in the plan's blob area.  Raises
    BadConfiguration when the image is no whole number of sectors.
    """

    def __init__(self, core: Core, slot: int, offset: int, blob: Blob, *, read_only: bool = False) -> None:
        check_image(blob, f"in slot {slot}")
        self._core, self.offset, self.size = core, offset, blob.size
        core.place(blob, 0, offset, blob.size)
        core.write(field("Machine.virtio.image_offset", slot).offset, offset.to_bytes(4, "little"))
        core.write(field("Machine.virtio.image_bytes", slot).offset, blob.size.to_bytes(8, "little"))
        config = bytearray(60)
        config[0:8] = (blob.size // SECTOR).to_bytes(8, "little")  # capacity
        config[12:16] = SEGMENTS.to_bytes(4, "little")  # seg_max
        for at in (36, 48):  # max sectors of one discard, of one write-zeroes
            config[at : at + 4] = RANGE_SECTORS.to_bytes(4, "little")
        config[40:44] = config[52:56] = (1).to_bytes(4, "little")  # segments of one
        config[44:48] = (1).to_bytes(4, "little")  # discard alignment
        features = FEATURE_SEG_MAX | FEATURE_FLUSH
        features |= FEATURE_RO if read_only else FEATURE_DISCARD | FEATURE_WRITE_ZEROES
        put_virtio(
            core, slot, VIRTIO_ID_BLOCK, CONSTANTS["VIRTIO_BACKEND_BLOCK"], features, queues=1, config=bytes(config)
        )

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of the image as they are now."""
        if not 0 <= offset <= self.size:
            raise IndexError(f"byte {offset} of a disk of {self.size} bytes")
        return self._core.read(self.offset + offset, max(0, min(count, self.size - offset)))

"""virtio-block over an image in linear memory, served in C.  Virtio 1.2, 5.2."""

from __future__ import annotations

from hartwell.devices.console import FEATURE_EVENT_IDX, FEATURE_INDIRECT, put_virtio
from hartwell.errors import BadConfiguration
from hartwell.layout import CONSTANTS, field
from hartwell.platform import Blob, Core

VIRTIO_ID_BLOCK = 2
FEATURE_SEG_MAX, FEATURE_RO, FEATURE_FLUSH = 1 << 2, 1 << 5, 1 << 9
FEATURE_DISCARD, FEATURE_WRITE_ZEROES = 1 << 13, 1 << 14
SECTOR = 512
SEGMENTS = 60


def check_image(blob: Blob, name: str) -> None:
    """Raises BadConfiguration for an image that is no whole number of sectors."""
    if blob.size == 0 or blob.size % SECTOR:
        raise BadConfiguration(f"disk {name}: {blob.size} bytes; a raw image is a multiple of {SECTOR} bytes, not empty")


class BlockDevice:
    """A disk in a slot, its bytes at `offset` of linear memory."""

    def __init__(self, core: Core, slot: int, offset: int, blob: Blob, *, read_only: bool = False) -> None:
        self._core, self.offset, self.size = core, offset, blob.size
        core.place(blob, 0, offset, blob.size)
        core.write(field("Machine.virtio.image_offset", slot).offset, offset.to_bytes(4, "little"))
        core.write(field("Machine.virtio.image_bytes", slot).offset, blob.size.to_bytes(8, "little"))
        config = bytearray(60)
        config[0:8] = (blob.size // SECTOR).to_bytes(8, "little")  # capacity
        config[12:16] = SEGMENTS.to_bytes(4, "little")  # seg_max
        for at in (36, 48):  # max sectors of one discard, of one write-zeroes
            config[at : at + 4] = (blob.size // SECTOR & 0xFFFF_FFFF).to_bytes(4, "little")
        config[40:44] = config[52:56] = (1).to_bytes(4, "little")  # segments of one
        config[44:48] = (1).to_bytes(4, "little")  # discard alignment
        features = FEATURE_SEG_MAX | FEATURE_FLUSH | FEATURE_INDIRECT | FEATURE_EVENT_IDX
        features |= FEATURE_RO if read_only else FEATURE_DISCARD | FEATURE_WRITE_ZEROES
        put_virtio(
            core, slot, VIRTIO_ID_BLOCK, CONSTANTS["VIRTIO_BACKEND_BLOCK"], features, queues=1, config=bytes(config)
        )

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of the image as they are now."""
        return self._core.read(self.offset + offset, min(count, self.size - offset))

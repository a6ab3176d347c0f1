"""virtio-block over a disk's cache, served in C.  Virtio 1.2, 5.2."""

from __future__ import annotations

from hartwell.devices.slot import put_virtio
from hartwell.disks import SECTOR, DiskPlan, put_disk
from hartwell.layout import CONSTANTS, VIRTIO_QUEUES
from hartwell.platform import Core

VIRTIO_ID_BLOCK = 2
FEATURE_SEG_MAX, FEATURE_RO, FEATURE_FLUSH, FEATURE_MQ = 1 << 2, 1 << 5, 1 << 9, 1 << 12
FEATURE_DISCARD, FEATURE_WRITE_ZEROES = 1 << 13, 1 << 14
SEGMENTS = 254  # data buffers of one request; C takes 256 with header and status
RANGE_SECTORS = 1 << 16  # of one discard or write-zeroes, as in cpu/virtio/block.c


class BlockDevice:
    """A disk in a slot.  Its storage side is begun by MachineDisks.open."""

    def __init__(self, core: Core, slot: int, index: int, plan: DiskPlan) -> None:
        self.slot, self.plan = slot, plan
        queues = min(core.plan.harts, VIRTIO_QUEUES)
        config = bytearray(60)
        config[0:8] = (plan.bytes // SECTOR).to_bytes(8, "little")  # capacity
        config[12:16] = SEGMENTS.to_bytes(4, "little")  # seg_max
        config[34:36] = queues.to_bytes(2, "little")  # num_queues
        for at in (36, 48):  # max sectors of one discard, of one write-zeroes
            config[at : at + 4] = RANGE_SECTORS.to_bytes(4, "little")
        config[40:44] = config[52:56] = (1).to_bytes(4, "little")  # segments of one
        config[44:48] = (1).to_bytes(4, "little")  # discard alignment
        config[56] = 1  # write_zeroes_may_unmap
        features = FEATURE_SEG_MAX | FEATURE_FLUSH | FEATURE_MQ
        features |= FEATURE_RO if plan.read_only else FEATURE_DISCARD | FEATURE_WRITE_ZEROES
        put_disk(core, index, slot, plan)
        put_virtio(
            core, slot, VIRTIO_ID_BLOCK, CONSTANTS["VIRTIO_BACKEND_BLOCK"], features, queues=queues, config=bytes(config)
        )

"""A virtio-mmio slot: what a device puts into it before harts run.

The registers and their rules are C's (cpu/virtio/mmio.c); struct Virtio of
the layout is all there is to a slot.
"""

from __future__ import annotations

from hartwell.errors import BadConfiguration
from hartwell.layout import LAYOUT, MAX_VIRTIO, VIRTIO_QUEUES, field
from hartwell.platform import Core

# Feature bits of every device, Virtio 1.2 chapter 6.
FEATURE_INDIRECT = 1 << 28
FEATURE_EVENT_IDX = 1 << 29
FEATURE_VERSION_1 = 1 << 32

STATUS_DRIVER_OK = 4
STATUS_NEEDS_RESET = 64
QUEUE_MAX = 256
CONFIG_BYTES = LAYOUT["Virtio"].fields["config"].count


def put_virtio(
    core: Core, slot: int, device_id: int, backend: int, features: int, *,
    queues: int, config: bytes, queue_max: int = QUEUE_MAX,
) -> None:
    """Fills slot `slot` (0 to MAX_VIRTIO - 1); before harts run.

    `features` are the device's own bits; those of every device are added.  In
    a machine that runs already its slots are left as they are.
    Raises BadConfiguration when the slot does not exist or is taken.
    """
    if not 0 <= slot < MAX_VIRTIO:
        raise BadConfiguration(f"virtio slot {slot}: there are slots 0 to {MAX_VIRTIO - 1}")
    if core.settled:
        return
    if core.load(field("Machine.virtio.device_id", slot).offset):
        raise BadConfiguration(f"virtio slot {slot} has a device already; take another slot")
    if not 1 <= queues <= VIRTIO_QUEUES or len(config) > CONFIG_BYTES:
        raise BadConfiguration(
            f"virtio slot {slot}: {queues} queues and {len(config)} bytes of config; "
            f"a device has 1 to {VIRTIO_QUEUES} queues and at most {CONFIG_BYTES} bytes"
        )
    features |= FEATURE_VERSION_1 | FEATURE_INDIRECT | FEATURE_EVENT_IDX
    core.write(field("Machine.virtio.config", slot).offset, config)
    core.write(field("Machine.virtio.device_features", slot).offset, features.to_bytes(8, "little"))
    words = {
        "backend": backend, "queue_count": queues, "queue_max": queue_max, "config_size": len(config),
        "device_id": device_id,  # last: it is what makes the slot a device
    }
    for name, value in words.items():
        core.store(field(f"Machine.virtio.{name}", slot).offset, value)

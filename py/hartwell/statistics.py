"""`machine.statistics()`: what the machine counts about itself."""

from __future__ import annotations

from typing import Any

from hartwell import jit
from hartwell.layout import LAYOUT, MAX_VIRTIO, field
from hartwell.platform import Core

_COUNTERS = [name for name in LAYOUT["Hart"].fields if name.startswith("stat_")]


def instructions(core: Core) -> int:
    """Instructions retired by all harts since reset."""
    return sum(_u64(core, "Hart.instret", hart) for hart in range(core.plan.harts))


def collect(core: Core) -> dict[str, Any]:
    """Counters since the last reset (instructions) or boot (the rest), as plain numbers.

    `memory` is in bytes: the guest's RAM, and the linear memory that holds it
    with everything else.  `disks` counts requests per virtio slot.
    """
    harts = []
    for hart in range(core.plan.harts):
        counters = {name.removeprefix("stat_"): _u64(core, f"Hart.{name}", hart) for name in _COUNTERS}
        harts.append({"instructions": _u64(core, "Hart.instret", hart), **counters})
    slots = {}
    for slot in range(MAX_VIRTIO):
        if core.load(field("Machine.virtio.device_id", slot).offset):
            slots[str(slot)] = {
                "device": core.load(field("Machine.virtio.device_id", slot).offset),
                "requests": _u64(core, "Machine.virtio.requests", slot),
                "errors": _u64(core, "Machine.virtio.errors", slot),
            }
    return {
        "uptime": core.call("machine_clock") / 1e7,
        "harts": harts,
        "memory": {"ram": core.plan.ram_bytes, "total": core.plan.total_bytes},
        "virtio": slots,
        "jit": jit.collect(core),
    }


def _u64(core: Core, path: str, index: int) -> int:
    return int.from_bytes(core.read(field(path, index).offset, 8), "little")

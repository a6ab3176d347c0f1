"""What a wake writes into a fresh memory, in plain numbers.

A page wakes its machine before Python is up (web/early.mjs), and JavaScript knows
no layout.  So a snapshot says beforehand what Python would do on wake: how
large the memory is, which bytes go where, and the few places that are looked
at until Python adopts the machine.  It is good for the very layout it was made
with; every other wake, and every unusual machine, is Python's (wake.py).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hartwell.devices.console import ring_place
from hartwell.disks import DiskPlan
from hartwell.layout import CONSTANTS, LAYOUT, RAM_OFFSET, RING_BASE, RING_SIZE, field, layout_digest
from hartwell.memory_plan import MemoryPlan
from hartwell.snapshot import structures

if TYPE_CHECKING:
    from hartwell.machine import Machine

CONSOLE_SLOT = 0
KNOWN = frozenset({"disks"})
"""What a recipe may need of its reader beyond what the first readers did (web/early.mjs has the same)."""


def make(machine: Machine, fresh: Mapping[str, bytes], now: Mapping[str, bytes]) -> dict[str, Any]:
    """For the manifest of a machine that stands still; {} for one that only Python can wake.

    fresh: its structures before a guest changed them; now: as they are.
    """
    plan = machine._core.plan
    numbers = machine._platform.numbers(plan)
    usual = machine.jit is True and not machine._request.bare and machine.console.on_virtio
    served = all(disk.in_memory or disk.base["kind"] in ("zeros", "chunks") for disk in machine.disks.plans)
    if numbers is None or not usual or not served:
        return {}
    state = [
        [structures.base_of(name), base64.b64encode(structures.merged(fresh[name], name, now[name])).decode()] for name in now
    ]
    disks = disk_places(machine.disks.plans)
    # The first readers look for `layout` and for no needs: without it they leave the machine to Python.
    fit = {"needs": ["disks"], "digest": layout_digest()} if disks else {"layout": layout_digest()}
    return {
        **numbers, **fit, "state": state, "ram": RAM_OFFSET, "rings": RING_BASE,
        "chunks": plan.values["chunk_dirty_offset"], "generation": field("Machine.snapshot.generation").offset,
        "console": _console(), "blob": plan.values["blob_offset"], "bell": field("Machine.disk_bell").offset,
        "disks": disks,
    }


def fits(recipe: Mapping[str, Any], core_numbers: Mapping[str, Any] | None, disks: Sequence[DiskPlan]) -> bool:
    """Was it made by a Hartwell whose machines lie in memory as this one's do?"""
    made_for = recipe.get("digest", recipe.get("layout"))
    known = KNOWN.issuperset(recipe.get("needs", ()))
    return core_numbers is not None and known and made_for == layout_digest() and all(
        recipe.get(name) == value for name, value in core_numbers.items()) and recipe.get("disks", []) == disk_places(disks)


def disk_places(disks: Sequence[DiskPlan]) -> list[dict[str, int] | None]:
    """Of each disk that is more than memory: where its cache lies (web/storage/disks.mjs's DiskPlan)."""
    return [
        None if disk.in_memory else {
            "chunks": disk.chunks, "marks": disk.areas["marks"][0], "frameTable": disk.areas["frame"][0],
            "data": disk.areas["data"][0], "durable": field("Machine.disk.durable", index).offset,
        }
        for index, disk in enumerate(disks)
    ]


def fresh_of(recipe: Mapping[str, Any]) -> dict[str, bytes]:
    """Its structures, for the next recipe of the machine that was made by it."""
    found = {offset: base64.b64decode(data) for offset, data in recipe["state"]}
    return {name: found[structures.base_of(name)] for name in structures.names(len(found) - 1)}


def _console() -> dict[str, Any]:
    """The two consoles' rings, as web/terminal.mjs carries their bytes."""
    parts = LAYOUT["Ring"].fields

    def ring(offset: int, number: int) -> dict[str, int]:
        return {"head": offset + parts["head"].offset, "tail": offset + parts["tail"].offset, "place": ring_place(number)}

    return {
        "slot": CONSOLE_SLOT, "bytes": RING_SIZE, "bell": field("Machine.doorbell").offset,
        "rings": field("Machine.doorbell_count").offset, "bit": CONSTANTS["DOORBELL_CONSOLE"],
        "disk": CONSTANTS["DOORBELL_DISK"],
        "uart": ring(field("Machine.uart.tx").offset, 0),
        "output": ring(field("Machine.virtio.tx", CONSOLE_SLOT).offset, 2),
        "input": ring(field("Machine.virtio.rx", CONSOLE_SLOT).offset, 3),
    }


def stream_places(plan: MemoryPlan) -> dict[str, int]:
    """web/storage/stream.mjs's Places, but for its times."""
    return {
        "ram": RAM_OFFSET, "ramBytes": plan.ram_bytes, "flags": plan.values["page_flags_offset"],
        "absentBit": CONSTANTS["PAGE_ABSENT"], "waiters": CONSTANTS["PAGE_WAITERS"],
        "control": field("Machine.control").offset, "stop": CONSTANTS["CONTROL_STOP"],
        "absent": field("Machine.absent_pages").offset, "wanted": field("Machine.snapshot.wanted").offset,
        "requests": field("Machine.snapshot.requests").offset,
    }


def resets(state: Mapping[str, bytes], slot: int) -> int:
    """How often a slot had been reset when the machine fell asleep."""
    at = field("Machine.virtio.reset_count", slot).offset - structures.base_of("Machine")
    return int.from_bytes(state["Machine"][at : at + 4], "little")

"""What machines wrote to their disks and is kept: the overlays in the store, by name (docs/disks.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hartwell import platform as platforms
from hartwell.errors import DiskInUse
from hartwell.platform import Platform
from hartwell.platform.store import CHUNK
from hartwell.snapshot.wake import need_store

KIND = "disk"


@dataclass(frozen=True)
class Overlay:
    """The changes to one disk."""

    name: str
    disk: int
    """Bytes of the disk."""
    changed: int
    """Bytes that differ from its base, in whole chunks."""
    time: float
    """Of the last commit, seconds since the Unix epoch."""


async def overlays(place: Platform | None = None) -> list[Overlay]:
    """All that are kept here."""
    found = []
    for record in await need_store(place or platforms.current()).records(KIND):
        about = json.loads(record.about)
        found.append(Overlay(record.name, int(about["bytes"]), int(about["changed"]) * CHUNK, record.time))
    return sorted(found, key=lambda one: one.name)


async def reset(name: str, place: Platform | None = None) -> bool:
    """Forgets all changes: the next machine finds the disk as its image has it.

    Whether there were any.  Raises DiskInUse while a machine has it.
    """
    store = need_store(place or platforms.current())
    if not await store.lock(f"disk {name}"):
        raise DiskInUse(f"disk {name!r} is used by a machine (perhaps in another tab, or another process); stop that one first")
    try:
        found = await store.drop_record(KIND, name)
    finally:
        await store.unlock(f"disk {name}")
    await store.collect()
    return found

"""What machines wrote to their disks and is kept: the overlays in the store, by name (docs/disks.md)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from hartwell import platform as platforms
from hartwell.disks import LARGEST, SECTOR, Disk, DiskPlan, plan_disk
from hartwell.errors import BadConfiguration, DiskInUse, DiskNotFound
from hartwell.images import FOLDER, load_image, read_index
from hartwell.platform import Platform
from hartwell.platform.store import CHUNK, Report, Store
from hartwell.sizes import parse_size, show_size
from hartwell.snapshot.wake import need_store

KIND = "disk"
FORMATS = ("raw", "qcow2")


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
    async with _alone(name, place or platforms.current()) as store:
        found = await store.drop_record(KIND, name)
    await store.collect()
    return found


async def export(
    name: str, file: str = "", *, format: str = "raw", report: Report | None = None, place: Platform | None = None
) -> Any:
    """Writes a disk with its changes as one file that other programs read: "raw"
    or "qcow2".  `name` is an overlay's, or an image's whose disk nobody changed.

    In a browser there is no `file`; the result is a Blob.  Raises DiskNotFound,
    DiskInUse while a machine has it, SnapshotCorrupt when a chunk is damaged,
    StorageFull, StorageFailed.
    """
    if format not in FORMATS:
        raise BadConfiguration(f"disk {name!r}: a disk is written as {' or '.join(FORMATS)}, not as {format!r}")
    place = place or platforms.current()
    async with _alone(name, place) as store:
        return await store.export_disk(await _which(name, place), format, file, report=report)


async def compact(name: str, place: Platform | None = None) -> int:
    """Forgets changes that make no difference, such as blocks that the guest has
    discarded (fstrim); how many bytes.  Raises DiskNotFound, DiskInUse."""
    place = place or platforms.current()
    async with _alone(name, place) as store:
        which = await _which(name, place)
        return CHUNK * await store.compact_disk(which) if which["name"] else 0


async def grow(name: str, size: str | int, place: Platform | None = None) -> int:
    """Makes a disk larger from its next boot on; its bytes then.  The file system
    on it grows by `resize2fs` in the guest.  Raises DiskNotFound, DiskInUse, BadConfiguration."""
    place = place or platforms.current()
    wanted = parse_size(size, f"disk {name}")
    async with _alone(name, place) as store:
        which = await _which(name, place)
        if not which["bytes"] <= wanted <= LARGEST or wanted % SECTOR:
            raise BadConfiguration(
                f"disk {name!r}: size {size}; {show_size(which['bytes'])} or more (to {show_size(LARGEST)}) is expected: "
                "a disk can grow, not shrink"
            )
        await store.grow_disk({**which, "name": name, "bytes": wanted})
    return wanted


@asynccontextmanager
async def _alone(name: str, place: Platform) -> AsyncIterator[Store]:
    store = need_store(place)
    if not await store.lock(f"disk {name}"):
        raise DiskInUse(f"disk {name!r} is used by a machine (perhaps in another tab, or another process); stop that one first")
    try:
        yield store
    finally:
        await store.unlock(f"disk {name}")


async def _which(name: str, place: Platform) -> dict[str, Any]:
    """The overlay with its base, or an image's disk that has none, as the storage side wants it."""
    about = next((json.loads(r.about) for r in await need_store(place).records(KIND) if r.name == name), None)
    if about is None:
        index = await read_index(place)
        image = await load_image(place, name) if name in index else None
        if image is None or image.disk is None:
            raise DiskNotFound(f"no changes to a disk, and no image with one, are called {name!r}; see `hartwell disk list`")
        plan = await plan_disk(place, Disk(image.disk), name)
        return {"name": None, "base": dict(plan.base), "bytes": plan.bytes}
    plan = await _base(name, str(about["base"]), int(about["bytes"]), place)
    return {"name": name, "base": dict(plan.base), "bytes": int(about["bytes"])}


async def _base(name: str, base: str, size: int, place: Platform) -> DiskPlan:
    """What an overlay was made over, by what it remembers of that."""
    kind, _, rest = base.partition(" ")
    if kind == "zeros":
        return DiskPlan(name, size, {"kind": "zeros", "name": rest}, None, None, False, 0)
    if kind == "raw":
        return await plan_disk(place, Disk(rest), name)
    for image in await read_index(place):
        disk = (await load_image(place, image)).disk
        if disk is not None:
            plan = await plan_disk(place, Disk(disk), name)
            if plan.base.get("digest") == base:
                return plan
    raise DiskNotFound(
        f"disk {name!r}: the image that it was made over is gone (no disk below {FOLDER}/ has the digest {base[:16]})"
    )

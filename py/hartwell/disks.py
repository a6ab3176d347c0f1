"""Disks: what a machine's block devices are made of, and what becomes of what is written to them.

A disk has a base, read in chunks as the guest needs them (a file, an address,
an image of Hartwell's, bytes, or nothing), and an overlay of the chunks that
were written: kept in the store under a name, or forgotten with the machine.
cpu/virtio/disk.h has the cache between them, web/storage/disks.mjs its storage side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hartwell.errors import BadConfiguration, HartwellError
from hartwell.layout import CONSTANTS, DISK_CHUNK, LAYOUT, PAGE, field
from hartwell.platform import Blob, Core, Platform
from hartwell.platform.store import FrozenDisk
from hartwell.sizes import parse_size, show_size

SECTOR = 512
CACHE_BYTES = 96 << 20
LEAST_FRAMES = 256  # a request may need 128 chunks, and there are several queues
LARGEST = 1 << 40
FRAME_BYTES = LAYOUT["Frame"].size


@dataclass(frozen=True)
class Disk:
    """A disk as Machine.boot takes it, where more is to be said than its source.

    source: a raw image or an image's disk.json (path, URL, name below
    static/), bytes, or None for an empty disk of `size`.
    overlay: the name under which changes are kept; None forgets them.
    size: larger than the source, to grow it.
    cache: bytes of memory for chunks.
    optional: when another machine has the overlay now, go on without keeping changes.
    """

    source: str | Path | bytes | bytearray | None = None
    overlay: str | None = None
    size: str | int | None = None
    read_only: bool = False
    cache: str | int = CACHE_BYTES
    optional: bool = False


@dataclass(frozen=True)
class DiskPlan:
    """A disk that was found and checked, and where its cache goes in linear memory."""

    name: str
    bytes: int
    base: Mapping[str, Any]
    blob: Blob | None
    overlay: str | None
    read_only: bool
    frames: int
    optional: bool = False
    offset: int = 0
    source: str | None = None
    """What finds the base again."""
    frozen: FrozenDisk | None = None
    """Of a machine that wakes: the changes that it begins with."""
    pack: int = 0
    """The open file that has their chunks; 0: the store."""

    @property
    def in_memory(self) -> bool:
        """All of it is in frames from the start: no storage side is needed."""
        return self.base["kind"] in ("bytes", "kept")

    @property
    def chunks(self) -> int:
        return -(-self.bytes // DISK_CHUNK)

    @property
    def areas(self) -> dict[str, tuple[int, int]]:
        """Offset and size of map, marks, frame table and frames."""
        at, areas = self.offset, {}
        for name, size in (("map", 4 * self.chunks), ("marks", self.chunks), ("frame", FRAME_BYTES * self.frames),
                           ("data", DISK_CHUNK * self.frames)):
            areas[name] = (at, size)
            at += (size + PAGE - 1) & -PAGE
        areas["end"] = (at, 0)
        return areas

    @property
    def room(self) -> int:
        """Bytes of linear memory."""
        return self.areas["end"][0] - self.offset

    def at(self, offset: int) -> DiskPlan:
        return replace(self, offset=offset)

    def said(self) -> dict[str, Any]:
        """For a snapshot: what `woken_disk` makes the plan of again, but for what was changed."""
        facts: dict[str, Any] = {"name": self.name, "bytes": self.bytes}
        if not self.in_memory:
            facts |= {
                "kind": self.base["kind"], "source": self.source, "digest": self.base.get("digest", ""),
                "size": self.base.get("size", 0), "frames": self.frames, "read_only": self.read_only, "overlay": self.overlay,
            }
        return facts


async def plan_disk(place: Platform, disk: Disk | str | Path | bytes | bytearray, name: str) -> DiskPlan:
    """Finds a disk's source and checks all that is said of it.

    Raises BadConfiguration, or FileNotFoundError for a source that is not there.
    """
    asked = disk if isinstance(disk, Disk) else Disk(disk)
    source = asked.source
    wanted = None if asked.size is None else parse_size(asked.size, f"disk {name}")
    blob: Blob | None = None
    base: dict[str, Any]
    if source is None:
        if wanted is None:
            raise BadConfiguration(f"disk {name}: an empty disk needs a size")
        base, size = {"kind": "zeros", "name": name}, wanted
    elif isinstance(source, (bytes, bytearray)):
        blob = place.blob(bytes(source))
        base, size = {"kind": "bytes", "name": name, "size": blob.size}, blob.size
    elif str(source).endswith("disk.json"):
        base, size = await _image(place, str(source))
    else:
        found = await place.locate(str(source))
        base, size = {"kind": "raw", "name": str(source), "url": found[0], "size": found[1]}, found[1]
    if size == 0 or size % SECTOR:
        raise BadConfiguration(f"disk {name}: {size} bytes; a raw image is a multiple of {SECTOR} bytes, not empty")
    total = max(size, await _grown(place, asked.overlay)) if wanted is None else wanted
    if total < size or total % SECTOR or total > LARGEST:
        raise BadConfiguration(
            f"disk {name}: size {asked.size}; {show_size(size)} or more (to {show_size(LARGEST)}), in whole sectors, is expected"
        )
    chunks = -(-total // DISK_CHUNK)
    if base["kind"] == "bytes":  # all of it is in memory from the start, and stays
        return DiskPlan(name, total, base, blob, None, asked.read_only, chunks)
    frames = min(chunks, max(LEAST_FRAMES, parse_size(asked.cache, f"disk {name}, cache") // DISK_CHUNK))
    return DiskPlan(
        name, total, base, blob, asked.overlay, asked.read_only, frames, asked.optional,
        source=None if source is None else str(source),
    )


async def _grown(place: Platform, overlay: str | None) -> int:
    """Bytes of the disk to which kept changes belong, which may have been grown; 0 where there are none."""
    if overlay is None or place.store is None:
        return 0
    found = [json.loads(record.about) for record in await place.store.records("disk") if record.name == overlay]
    return int(found[0].get("bytes", 0)) if found else 0


async def _image(place: Platform, source: str) -> tuple[dict[str, Any], int]:
    """Base and size of an image that `hartwell image build` made."""
    blob = await place.fetch(source)
    try:
        facts = json.loads(blob.read(0, blob.size))
        good = facts["version"] == 1 and facts["chunk"] == DISK_CHUNK
        size, stored, digest = int(facts["bytes"]), int(facts["stored"]), str(facts["table"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadConfiguration(f"{source}: not the description of a disk ({error!r})") from None
    if not good:
        raise BadConfiguration(f"{source}: a disk of version {facts['version']}; version 1 is known here, update Hartwell")
    folder = source[: -len("disk.json")]
    chunks, length = await place.locate(f"{folder}disk.bin")
    table, entries = await place.locate(f"{folder}disk.table")
    if length != stored * DISK_CHUNK or entries != stored * 36:
        raise BadConfiguration(
            f"{folder}disk.bin, disk.table: {length} and {entries} bytes; {stored} chunks of {DISK_CHUNK} are expected: "
            "the image is truncated, build it again"
        )
    return {"kind": "chunks", "name": folder.rstrip("/"), "url": chunks, "table": table, "digest": digest, "size": entries}, size


def kept_disk(name: str, size: int) -> DiskPlan:
    """A disk all of whose bytes come with a machine's memory (from a snapshot)."""
    return DiskPlan(name, size, {"kind": "kept", "name": name}, None, None, False, -(-size // DISK_CHUNK))


async def woken_disk(place: Platform, facts: Mapping[str, Any], *, fork: bool, pack: int) -> DiskPlan:
    """A snapshot's disk (what `said` gave, checked by the manifest's reader).

    Raises BadConfiguration when its base is not here, or is another one.  A
    snapshot from a file names no file of this computer: only images are looked for.
    """
    name, kind = str(facts["name"]), str(facts.get("kind", ""))
    if not kind:
        return kept_disk(name, int(facts["bytes"]))
    if kind == "raw" and pack:
        raise BadConfiguration(
            f"disk {name}: its base is a raw file of the computer where the machine slept, and is not in the snapshot; "
            "only images travel (docs/hibernation.md)"
        )
    source = facts["source"]
    try:
        plan = await plan_disk(place, Disk(source, size=int(facts["bytes"]), read_only=bool(facts["read_only"])), name)
    except (FileNotFoundError, HartwellError) as error:
        raise BadConfiguration(f"disk {name}: {source} is needed to wake this machine, and is not at hand: {error}") from None
    there, here = ((base["kind"], base.get("digest", ""), base.get("size", 0)) for base in (facts, plan.base))
    if there != here:
        raise BadConfiguration(
            f"disk {name}: {source} is not what the machine slept with, so that its changes are of no use over it: "
            f"{_words(*there)} then, {_words(*here)} now"
        )
    frozen = FrozenDisk(int(facts["born"]), int(facts["generation"]), bytes(facts["changed"]))
    return replace(
        plan, frames=int(facts["frames"]), overlay=None if fork else facts["overlay"], frozen=frozen, pack=pack)


def served_disk(facts: Mapping[str, Any], served: Mapping[str, Any] | None) -> DiskPlan:
    """A snapshot's disk that JavaScript serves already (web/early-disks.mjs): nothing is looked for again.
    served: how; None: all of it is in memory."""
    if served is None:
        return kept_disk(str(facts["name"]), int(facts["bytes"]))
    frozen = FrozenDisk(int(facts["born"]), int(facts["generation"]), bytes(facts["changed"]))
    return DiskPlan(
        str(facts["name"]), int(facts["bytes"]), dict(served["base"]), None, served["overlay"], bool(facts["read_only"]),
        int(facts["frames"]), source=facts["source"], frozen=frozen, pack=int(served["from"]["pack"]))


def _words(kind: str, digest: str, size: int) -> str:
    return f"an image of {digest[:16]}" if kind == "chunks" else f"{size} bytes"


def put_disk(core: Core, index: int, slot: int, plan: DiskPlan) -> None:
    """A disk's numbers into its struct; before harts run."""
    if core.settled:
        return
    areas = plan.areas
    values = {
        "slot": slot, "bytes": plan.bytes, "chunks": plan.chunks, "frames": plan.frames, "map_offset": areas["map"][0],
        "marks_offset": areas["marks"][0], "frame_offset": areas["frame"][0], "data_offset": areas["data"][0],
        "durable": int(plan.overlay is not None),
    }
    for name, value in values.items():
        place = field(f"Machine.disk.{name}", index)
        core.write(place.offset, value.to_bytes(place.size, "little"))
    core.store(field("Machine.virtio.disk", slot).offset, index)
    if plan.blob is not None:
        _preload(core, index, plan, plan.blob)


def _preload(core: Core, index: int, plan: DiskPlan, blob: Blob) -> None:
    """Puts each chunk into the frame of its number."""
    areas, chunks = plan.areas, range(plan.chunks)
    core.place(blob, 0, areas["data"][0], blob.size)
    used = CONSTANTS["FRAME_USED"].to_bytes(4, "little")
    core.write(areas["map"][0], b"".join((CONSTANTS["DISK_FRAME"] + chunk).to_bytes(4, "little") for chunk in chunks))
    core.write(areas["frame"][0], b"".join(chunk.to_bytes(4, "little") + used for chunk in chunks))
    core.store(field("Machine.disk.frames_used", index).offset, plan.chunks)


assert CONSTANTS["DISK_CHUNK"] == DISK_CHUNK

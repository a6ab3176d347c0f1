"""What keeps things over a restart: chunks of machines' memory, and records that name them.

The contract; `hartwell.platform.javascript_store` has it in a browser
(IndexedDB) and in Node (files).  Bulk goes between a machine's shared memory
and the store in a worker of its own, never through Python's heap.

    async with saving(place.store) as store:
        saved = await store.save(core, [(offset, count)])
        await store.put_record("disk", "data", about="{}", text=..., refs=saved.digests)

Chunks first, record last: what a record names is on disk before the record
is, so a process that dies at any moment leaves the old record whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from hartwell.platform import Core

CHUNK = 65536
"""Bytes of a chunk; a range's last one may be shorter."""
DIGEST = 32
"""Bytes of a chunk's name, the SHA-256 of what it holds."""
ZEROS = bytes(DIGEST)
"""Names a chunk of zeros, which is never stored."""

Range = tuple[int, int]  # offset in linear memory, bytes
Report = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class FrozenDisk:
    """A disk at one moment: the chunks that differ from its base, as packed entries
    (number, u32 little-endian; digest).  `born` and `generation` say which state of which overlay that is."""

    born: int
    generation: int
    entries: bytes


@dataclass(frozen=True)
class Saved:
    """What `save` did: the digest and the stored size of each chunk, in the ranges' order."""

    digests: bytes
    sizes: list[int]
    written: int  # bytes that were not stored before
    disks: Mapping[int, FrozenDisk]  # by their index


@dataclass(frozen=True)
class Record:
    """A record without its text, as lists show it."""

    name: str
    about: str
    time: float  # seconds since the Unix epoch


@dataclass(frozen=True)
class Room:
    """Storage of this site (or disk), in bytes; `lasting`: it is not dropped when space is short."""

    used: int
    quota: int
    lasting: bool


@dataclass(frozen=True)
class Streamed:
    """A lazy wake's memory is here."""

    touched: list[int]
    """The chunks that were waited for, in their order."""
    kept: bool
    """Were all, which came from a file, put into the store as well?"""


class Store(Protocol):
    """Errors: StorageFull, StorageFailed, SnapshotCorrupt (a chunk is missing, or not what its name says)."""

    learn_seconds: float
    """How long a lazy wake takes note of what a guest touches before the rest comes: see `stream`."""

    async def save(
        self, core: Core, ranges: Sequence[Range], *, captured: Callable[[], None] | None = None,
        disks: int = 0, report: Report | None = None,
    ) -> Saved:
        """Stores ranges of linear memory, cut into chunks; returns when all is on disk.

        `disks`: what Core.open_disks gave; they are stored as they were at the begin.

        With `captured` they (64 MiB at most) are copied aside first, and it is
        called when that is done: the machine may go on.
        """

    async def load(
        self, core: Core, digests: bytes, ranges: Sequence[Range], *, pack: int = 0, report: Report | None = None
    ) -> None:
        """Brings chunks back, each held to its digest before a byte is placed.  `pack`: from an open file."""

    async def stream(
        self, core: Core, digests: bytes, chunks: Sequence[int], order: Sequence[int], *, pack: int = 0
    ) -> Streamed:
        """Fills chunks of guest RAM while the machine runs: those that a thread
        waits for at once, then `order`, then the rest.  `chunks_absent`
        was called before.  In the first `learn_seconds` nothing else comes than
        what is waited for, so that is all that was touched.
        """

    async def open_pack(self, file: Any) -> tuple[int, str]:
        """Opens a snapshot's file (a path, a URL, a page's File): its number, the manifest's text."""

    async def close_pack(self, pack: int) -> None: ...

    async def import_pack(self, pack: int, *, report: Report | None = None) -> None:
        """Takes all its chunks into the store; between begin() and end()."""

    async def export_pack(self, text: str, refs: bytes, file: str, *, report: Report | None = None) -> Any:
        """Writes a snapshot's file.  `refs`: digests in the order in which a wake
        wants them.  In a browser `file` is "", and the result is a Blob."""

    async def export_disk(
        self, which: Mapping[str, Any], format: str, file: str, *, report: Report | None = None,
        taken: Callable[[], None] | None = None,
    ) -> Any:
        """Writes a disk as one file, "raw" or "qcow2".  `which`: the overlay's name or
        None, the base (disks.DiskPlan), the disk's bytes; or the number of a
        machine's disks and the index of one, as it is now: `taken` is called when
        it may change again.  In a browser `file` is "", and the result is a Blob."""

    async def compact_disk(self, which: Mapping[str, Any]) -> int:
        """Drops changes that make no difference to the base; how many chunks."""

    async def grow_disk(self, which: Mapping[str, Any]) -> None:
        """The overlay is of a disk of so many bytes from here on."""

    async def begin(self) -> int:
        """Until end(), no chunk is dropped, so that saved ones wait safely for their record."""

    async def end(self, guard: int) -> None: ...

    async def put_record(self, kind: str, name: str, *, about: str, text: str, refs: bytes) -> None:
        """Puts a record in place of the old one.  `refs`: the digests it needs, one after another."""

    async def get_record(self, kind: str, name: str) -> str | None:
        """A record's text; None when there is none."""

    async def drop_record(self, kind: str, name: str) -> bool:
        """Whether there was one.  Its chunks stay until `collect`."""

    async def records(self, kind: str) -> list[Record]: ...

    async def collect(self) -> int:
        """Drops chunks that no record names; 0 while anybody saves."""

    async def drops(self) -> int:
        """How many collections have dropped something.  Between begin() and end() none does."""

    async def missing(self, digests: bytes) -> set[bytes]:
        """Which of these chunks (digests, one after another) are not here."""

    async def room(self) -> Room: ...

    async def lock(self, name: str) -> bool:
        """Takes a name that one holder among all tabs (processes) can have; False when it is taken.
        It is free again when its holder ends, however that was."""

    async def unlock(self, name: str) -> None: ...


@asynccontextmanager
async def saving(store: Store) -> AsyncIterator[Store]:
    """From the first chunk to the record that names it."""
    guard = await store.begin()
    try:
        yield store
    finally:
        await store.end(guard)

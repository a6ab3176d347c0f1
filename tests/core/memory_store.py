"""A store in memory, for machines on wasmtime that sleep and wake in one process."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hartwell.errors import StorageFailed
from hartwell.platform import Core
from hartwell.platform.store import CHUNK, DIGEST, ZEROS, Range, Record, Report, Room, Saved, Streamed


class MemoryStore:
    """A `hartwell.platform.store.Store`.  `before` is called with the name of each operation, as it begins."""

    learn_seconds = 0.0

    def __init__(self) -> None:
        self.chunks: dict[bytes, bytes] = {}
        self.kept: dict[tuple[str, str], tuple[str, str, bytes, float]] = {}
        self.files: dict[str, str] = {}
        self.locks: set[str] = set()
        self.guards: set[int] = set()
        self.before: Callable[[str], None] = lambda _: None
        self._numbers = itertools.count(1)

    async def _step(self, operation: str) -> None:
        """An operation of a store in a worker takes at least a turn of the event loop."""
        self.before(operation)
        await asyncio.sleep(0)

    async def save(
        self, core: Core, ranges: Sequence[Range], *, captured: Callable[[], None] | None = None,
        disks: int = 0, report: Report | None = None,
    ) -> Saved:
        await self._step("save")
        plain = [core.read(at, min(CHUNK, offset + count - at)) for offset, count in ranges
                 for at in range(offset, offset + count, CHUNK)]
        if captured:
            captured()
        await self._step("saved")
        digests, written = [], 0
        for data in plain:
            digest = hashlib.sha256(data).digest() if any(data) else ZEROS
            if digest != ZEROS and digest not in self.chunks:
                self.chunks[digest] = data
                written += len(data)
            digests.append(digest)
        return Saved(b"".join(digests), [len(data) for data in plain], written, {})

    async def load(
        self, core: Core, digests: bytes, ranges: Sequence[Range], *, pack: int = 0, report: Report | None = None
    ) -> None:
        await self._step("load")
        places = [at for offset, count in ranges for at in range(offset, offset + count, CHUNK)]
        for at, place in enumerate(places):
            core.write(place, self.chunks[digests[at * DIGEST : (at + 1) * DIGEST]])

    async def stream(
        self, core: Core, digests: bytes, chunks: Sequence[int], order: Sequence[int], *, pack: int = 0
    ) -> Streamed:
        raise StorageFailed("this store wakes with lazy=False")

    async def open_pack(self, file: Any) -> tuple[int, str]:
        """`file`: a name in `files`, or the text itself."""
        await self._step("open_pack")
        return 1, self.files.get(str(file), str(file))

    async def close_pack(self, pack: int) -> None:
        await self._step("close_pack")

    async def import_pack(self, pack: int, *, report: Report | None = None) -> None:
        await self._step("import_pack")

    async def export_pack(self, text: str, refs: bytes, file: str, *, report: Report | None = None) -> Any:
        await self._step("export_pack")
        return text

    async def export_disk(
        self, which: Mapping[str, Any], format: str, file: str, *, report: Report | None = None,
        taken: Callable[[], None] | None = None,
    ) -> Any:
        await self._step("export_disk")
        if taken:
            taken()

    async def compact_disk(self, which: Mapping[str, Any]) -> int:
        return 0

    async def grow_disk(self, which: Mapping[str, Any]) -> None:
        await self._step("grow_disk")

    async def begin(self) -> int:
        await self._step("begin")
        self.guards.add(guard := next(self._numbers))
        return guard

    async def end(self, guard: int) -> None:
        self.guards.remove(guard)  # at once: the worker does it, whoever waits for that or not
        await self._step("end")

    async def put_record(self, kind: str, name: str, *, about: str, text: str, refs: bytes) -> None:
        await self._step("put_record")
        self.kept[kind, name] = about, text, refs, time.time()

    async def get_record(self, kind: str, name: str) -> str | None:
        await self._step("get_record")
        return self.kept[kind, name][1] if (kind, name) in self.kept else None

    async def drop_record(self, kind: str, name: str) -> bool:
        await self._step("drop_record")
        return self.kept.pop((kind, name), None) is not None

    async def records(self, kind: str) -> list[Record]:
        await self._step("records")
        return [Record(name, about, when) for (known, name), (about, _, _, when) in self.kept.items() if known == kind]

    async def collect(self) -> int:
        await self._step("collect")
        return 0

    async def drops(self) -> int:
        return 0

    async def missing(self, digests: bytes) -> set[bytes]:
        return {digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST)} - set(self.chunks)

    async def room(self) -> Room:
        await self._step("room")
        return Room(0, 0, True)

    async def lock(self, name: str) -> bool:
        await self._step("lock")
        if name in self.locks:
            return False
        self.locks.add(name)
        return True

    async def unlock(self, name: str) -> None:
        self.locks.discard(name)
        await self._step("unlock")

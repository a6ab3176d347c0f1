"""The store in a browser and in Node: web/storage/client.mjs in the shape of `platform.store`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyodide.ffi import JsException, create_proxy, to_js  # type: ignore[import-not-found]

from hartwell.errors import HartwellError, SnapshotCorrupt, SnapshotVersion, StorageFailed, StorageFull
from hartwell.platform import Core
from hartwell.platform.store import DIGEST, FrozenDisk, Range, Record, Report, Room, Saved, Streamed
from hartwell.snapshot.recipe import stream_places

_ERRORS: dict[str, type[HartwellError]] = {
    "StorageFull": StorageFull, "QuotaExceededError": StorageFull, "SnapshotCorrupt": SnapshotCorrupt,
    "SnapshotVersion": SnapshotVersion,
}


async def done(promise: Awaitable[Any]) -> Any:
    """The promise's value; its errors by their names here."""
    try:
        return await promise
    except JsException as error:
        kind = _ERRORS.get(str(error.name), StorageFailed)
        raise kind(str(error.message)) from None


_returning: set[asyncio.Task[None]] = set()
"""What is given back at this moment, because who asked for it was cancelled."""


async def taken(promise: Awaitable[Any], give_back: Callable[[Any], Coroutine[Any, Any, None]]) -> Any:
    """As `done`, of what must be given back: whoever is cancelled meanwhile never has it."""
    taking = asyncio.ensure_future(done(promise))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:

        async def undo() -> None:
            with suppress(HartwellError):  # then there is nothing to give back, or nobody to give it to
                if value := await taking:
                    await give_back(value)

        _returning.add(returning := asyncio.ensure_future(undo()))
        returning.add_done_callback(_returning.discard)
        raise


def streamed(found: Any) -> Streamed:
    """What client.mjs's stream() gave."""
    return Streamed([int(index) for index in found.touched.to_py()], bool(found.kept))


class JavaScriptStore:
    """A `platform.store.Store`."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.learn_seconds = 0.0

    async def save(
        self, core: Core, ranges: Sequence[Range], *, captured: Callable[[], None] | None = None,
        disks: int = 0, report: Report | None = None,
    ) -> Saved:
        """Stores ranges of linear memory, cut into chunks, and disks."""
        saved = await _heard(
            lambda listener: self._client.save(_of(core), _flat(ranges), captured is not None, disks, listener),
            report, captured=captured)
        frozen = {
            int(disk.index): FrozenDisk(int(disk.born), int(disk.generation), disk.entries.to_bytes()) for disk in saved.disks
        }
        return Saved(saved.digests.to_bytes(), saved.sizes.to_py().tolist(), int(saved.written), frozen)

    async def load(
        self, core: Core, digests: bytes, ranges: Sequence[Range], *, pack: int = 0, report: Report | None = None
    ) -> None:
        """Brings chunks back, each held to its digest before a byte is placed."""
        await _heard(lambda listener: self._client.load(_of(core), to_js(digests), _flat(ranges), pack, listener), report)

    async def open_pack(self, file: Any) -> tuple[int, str]:
        """Opens a snapshot's file."""
        opening = self._client.openPack(str(file) if isinstance(file, (str, Path)) else file)
        opened = await taken(opening, lambda opened: self.close_pack(int(opened.pack)))
        return int(opened.pack), str(opened.text)

    async def close_pack(self, pack: int) -> None:
        """Forgets it."""
        await done(self._client.closePack(pack))

    async def import_pack(self, pack: int, *, report: Report | None = None) -> None:
        """Takes all its chunks into the store."""
        await _heard(lambda listener: self._client.importPack(pack, listener), report)

    async def export_pack(self, text: str, refs: bytes, file: str, *, report: Report | None = None) -> Any:
        """Writes a snapshot's file."""
        return await _heard(lambda listener: self._client.exportPack(text, to_js(refs), file, listener), report)

    async def export_disk(
        self, which: Mapping[str, Any], format: str, file: str, *, report: Report | None = None,
        taken: Callable[[], None] | None = None,
    ) -> Any:
        """Writes a disk as one file."""
        asked = json.dumps(dict(which))
        return await _heard(lambda listener: self._client.exportDisk(asked, format, file, listener), report, taken=taken)

    async def compact_disk(self, which: Mapping[str, Any]) -> int:
        """Drops changes that make no difference to the base."""
        return int(await done(self._client.compactDisk(json.dumps(dict(which)))))

    async def grow_disk(self, which: Mapping[str, Any]) -> None:
        """The overlay is of a larger disk from here on."""
        await done(self._client.growDisk(json.dumps(dict(which))))

    async def stream(
        self, core: Core, digests: bytes, chunks: Sequence[int], order: Sequence[int], *, pack: int = 0
    ) -> Streamed:
        """Fills chunks of guest RAM while the machine runs."""
        places = {**stream_places(core.plan), "learnMs": self.learn_seconds * 1000, "restMs": 0}
        return streamed(await done(
            self._client.stream(_of(core), to_js(digests), to_js(list(chunks)), to_js(list(order)), json.dumps(places), pack)
        ))

    async def begin(self) -> int:
        """From here to end() no chunk is dropped."""
        return int(await taken(self._client.begin(), lambda guard: self.end(int(guard))))

    async def end(self, guard: int) -> None:
        """Ends what begin() began."""
        await done(self._client.end(guard))

    async def put_record(self, kind: str, name: str, *, about: str, text: str, refs: bytes) -> None:
        """Puts a record in place of the old one."""
        await done(self._client.putRecord(kind, name, about, text, to_js(refs)))

    async def get_record(self, kind: str, name: str) -> str | None:
        """A record's text; None when there is none."""
        record = await done(self._client.getRecord(kind, name))
        return None if record is None else str(record.text)

    async def drop_record(self, kind: str, name: str) -> bool:
        """Whether there was one."""
        return bool(await done(self._client.dropRecord(kind, name)))

    async def records(self, kind: str) -> list[Record]:
        """All of a kind."""
        found = json.loads(await done(self._client.records(kind)))
        return [Record(str(one["name"]), str(one["about"]), float(one["time"]) / 1000) for one in found]

    async def collect(self) -> int:
        """Drops chunks that no record names."""
        return int(await done(self._client.collect()))

    async def drops(self) -> int:
        """Collections that dropped something, ever."""
        return int(await self.get_record("store", "drops") or 0)

    async def missing(self, digests: bytes) -> set[bytes]:
        """Those of the digests that are not here."""
        found = (await done(self._client.missing(to_js(digests)))).to_bytes()
        return {found[at : at + DIGEST] for at in range(0, len(found), DIGEST)}

    async def room(self) -> Room:
        """What storage there is."""
        found = json.loads(await done(self._client.estimate()))
        return Room(int(found["used"]), int(found["quota"]), bool(found["lasting"]))

    async def lock(self, name: str) -> bool:
        """Takes a name for this tab (process)."""
        if _returning:
            await asyncio.wait(_returning)  # it may be this one
        return bool(await taken(self._client.lock(name), lambda _: self.unlock(name)))

    async def unlock(self, name: str) -> None:
        """Gives it back."""
        await done(self._client.unlock(name))


async def _heard(
    ask: Callable[[Any], Awaitable[Any]], report: Report | None, **others: Callable[[], None] | None
) -> Any:
    """As `done`, of what is asked with a listener: it hears of progress, and of `others` by the names of their
    events.  Whoever is cancelled hears no more, though the worker may still speak."""
    listening = True

    def hear(event: Any) -> None:
        if not listening:
            return
        if event.event in others:
            if (other := others[event.event]) is not None:
                other()
        elif report is not None:
            report(int(event.done), int(event.total))

    def end(asking: asyncio.Task[Any]) -> None:
        proxy.destroy()
        if not asking.cancelled():
            asking.exception()  # nobody may be there to hear of it

    proxy = create_proxy(hear)
    asking = asyncio.ensure_future(done(ask(proxy)))
    asking.add_done_callback(end)
    try:
        return await asyncio.shield(asking)
    finally:
        listening = False


def _of(core: Core) -> Any:
    return core.host_core  # type: ignore[attr-defined]  # of this platform: a JavaScriptCore


def _flat(ranges: Sequence[Range]) -> Any:
    return to_js([number for pair in ranges for number in pair])

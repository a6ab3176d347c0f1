"""The disks of one machine while it runs: taken, served, settled, exported, given back.

`disks.py` has what a disk is made of; here is whose its overlay is now, and
what a snapshot, an export or the machine's end asks of all of them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from hartwell.disks import DiskPlan
from hartwell.errors import BadConfiguration, DiskInUse, HartwellError
from hartwell.layout import CONSTANTS, field
from hartwell.platform import Core, Platform
from hartwell.platform.store import Store

SCRATCH = "scratch"  # kind of the records that a machine's end drops


class Freezer(Protocol):
    """A guest agent that can hold writes back."""

    @property
    def present(self) -> bool: ...
    async def freeze(self) -> int: ...
    async def thaw(self) -> int: ...


@contextlib.asynccontextmanager
async def _frozen(freezer: Freezer | None) -> AsyncIterator[Callable[[], None]]:
    """File systems are frozen until the function that is given is called, at the latest until the end."""
    taken = asyncio.Event()

    async def thaw() -> None:
        await taken.wait()
        if freezer is not None:
            await freezer.thaw()

    # Begun before: a freeze that nobody awaits any more may have happened all the same.
    thawing = asyncio.ensure_future(thaw())
    try:
        if freezer is not None:
            await freezer.freeze()
        yield taken.set
    except BaseException:
        taken.set()
        with contextlib.suppress(HartwellError):  # what went wrong first is what is said
            await asyncio.shield(thawing)
        raise
    taken.set()
    await asyncio.shield(thawing)


class MachineDisks:
    """The disks of one machine, after their devices were put into slots."""

    def __init__(self, place: Platform, core: Core, plans: list[DiskPlan], freezer: Freezer | None = None) -> None:
        self._place, self._core, self.plans, self._freezer = place, core, plans, freezer
        self._exporting = asyncio.Lock()
        self._locked: list[str] = []
        self._scratch: dict[int, str] = {}  # records of disks that nobody gave a name, kept for as long as the machine lives
        self._number: int | None = None

    async def open(self, owner: str) -> str:
        """Begins to serve them for the machine of that identity; DiskInUse when an
        overlay belongs to another machine now.  What a person should know of it, or ""."""
        if all(plan.in_memory for plan in self.plans):
            return ""
        notes = []
        try:
            for index, plan in enumerate(self.plans):
                if plan.in_memory:
                    continue
                if plan.frozen is not None:
                    plan, note = await self._again(plan, index, owner)
                elif plan.overlay is not None:
                    plan, note = await self._lock(plan)
                else:
                    continue
                self.plans[index] = plan
                self._core.store(field("Machine.disk.durable", index).offset, int(plan.overlay is not None))
                notes += [note] if note else []
            self._number = await self._core.open_disks(self._describe(owner))
        except BaseException:
            await self._unlock()
            raise
        return "\r\n".join(notes)

    def adopt(self, served: Mapping[str, Any]) -> None:
        """They are served already: web/early-disks.mjs's Served."""
        self._number = int(served["machine"]) or None
        self._locked = list(served["locked"])
        self._scratch = {int(index): str(name) for index, name in served["scratch"].items()}

    async def _lock(self, plan: DiskPlan) -> tuple[DiskPlan, str]:
        """Takes a disk's overlay, or goes without where that is allowed."""
        store = self._place.store
        if store is None and not plan.optional:
            raise BadConfiguration(f"disk {plan.name}: there is nothing here to keep changes in; boot with overlay=None")
        if store is not None and await store.lock(f"disk {plan.overlay}"):
            self._locked.append(str(plan.overlay))
            return plan, ""
        if plan.optional:
            return replace(plan, overlay=None), f"Changes to the disk are not kept: another machine uses {plan.overlay!r} now."
        raise DiskInUse(
            f"disk {plan.overlay!r} is used by another machine (another tab, or another process); "
            "stop that one first, or boot with overlay=None, which keeps no changes"
        )

    async def _again(self, plan: DiskPlan, index: int, owner: str) -> tuple[DiskPlan, str]:
        """A disk that wakes goes on under its name, unless another machine has
        changed that overlay since: then under a new one, and nothing is lost."""
        store, frozen = self._place.store, plan.frozen
        assert store is not None and frozen is not None  # nobody wakes without a store
        if plan.overlay is None:
            self._scratch[index] = f"{owner} {index}"
            await store.lock(f"disk {self._scratch[index]}")
            self._locked.append(self._scratch[index])
            return plan, ""

        async def same(name: str) -> bool:
            about = next((json.loads(record.about) for record in await store.records("disk") if record.name == name), None)
            return about is None or (about.get("bytes") == plan.bytes and (  # it may have been grown since
                about.get("owner") == owner or (about.get("born"), about.get("generation")) == (frozen.born, frozen.generation)))

        name, number = plan.overlay, 1
        while True:
            if await same(name) and await store.lock(f"disk {name}"):
                if await same(name):  # who had it until now may have written to it after the first look
                    break
                await store.unlock(f"disk {name}")
            number += 1
            name = f"{plan.overlay} {number}"
        self._locked.append(name)
        if name == plan.overlay:
            return plan, ""
        note = f"Another machine has, or has changed, the disk {plan.overlay!r}; changes to this one's are kept as {name!r}."
        return replace(plan, overlay=name), note

    def _describe(self, owner: str) -> dict[str, Any]:
        disks = []
        for index, plan in enumerate(self.plans):
            if plan.in_memory:
                continue
            areas, frozen = plan.areas, plan.frozen
            disks.append({
                "index": index, "bytes": plan.bytes, "chunks": plan.chunks, "frames": plan.frames,
                "marks": areas["marks"][0], "frameTable": areas["frame"][0], "data": areas["data"][0],
                "base": dict(plan.base), "overlay": plan.overlay, "owner": owner,
                "from": None if frozen is None else {
                    "born": frozen.born, "generation": frozen.generation, "pack": plan.pack,
                    "entries": base64.b64encode(frozen.entries).decode(), "scratch": self._scratch.get(index, ""),
                },
            })
        return {"bell": field("Machine.disk_bell").offset, "disks": disks}

    @property
    def number(self) -> int:
        """For Store.save; 0: no disk is more than its machine's memory."""
        return self._number or 0

    async def settle(self) -> None:
        """The machine is awake: what is kept of its disks is what they are now."""
        if self._number is not None:
            await self._core.settle_disks(self._number)

    async def commit(self) -> list[int]:
        """Returns when all that the guest has written is kept: the overlays' generations.
        StorageFull, StorageFailed when it can't be."""
        return [] if self._number is None else await self._core.commit_disks(self._number)

    async def rest(self) -> None:
        """Commits what a guest that has stopped left; what went wrong is in `errors`."""
        with contextlib.suppress(HartwellError):
            await self.commit()

    async def errors(self) -> list[str | None]:
        """What went wrong last with each disk's storage (the guest saw an I/O error)."""
        return [] if self._number is None else await self._core.disk_errors(self._number)

    async def export(self, index: int = 0, file: str = "", *, format: str = "raw") -> Any:
        """Writes a disk as it is now as one file, "raw" or "qcow2", while the machine
        goes on.  Its file systems are frozen for the moment in which that is decided,
        where the guest runs qemu-guest-agent.  In a browser the result is a Blob.

        Raises BadConfiguration for a disk that is all in memory, StorageFull, StorageFailed."""
        if not 0 <= index < len(self.plans) or self.plans[index].in_memory or self._number is None or self._place.store is None:
            raise BadConfiguration(f"disk {index}: there is none, or all of it is in memory; others can be written")
        async with self._exporting:  # two at once would each thaw what the other needs frozen
            # A guest that stands still writes nothing, and one without its agent can't be asked.
            freezes = self._freezer is not None and self._freezer.present and not self._paused()
            async with _frozen(self._freezer if freezes else None) as taken:
                which = {"machine": self._number, "index": index}
                return await self._place.store.export_disk(which, format, file, taken=taken)

    def _paused(self) -> bool:
        return self._core.load(field("Machine.control").offset) != CONSTANTS["CONTROL_RUN"]

    async def close(self) -> None:
        """Commits and ends."""
        try:
            if self._number is not None:
                number, self._number = self._number, None
                await self._core.close_disks(number)
            for name in self._scratch.values():
                if self._place.store is not None:
                    await self._place.store.drop_record(SCRATCH, name)
        finally:
            await self._unlock()

    async def pack(self, index: int, folder: str) -> dict[str, Any]:
        """Node only: writes the disk's chunks into `folder`; its description."""
        if self._number is None:
            raise HartwellError(f"disk {index}: it is not open")
        return {"version": 1, **await self._core.pack_disk(self._number, index, folder)}

    async def _unlock(self) -> None:
        store = self._place.store
        for name in self._locked:
            if store is not None:
                await store.unlock(f"disk {name}")
        self._locked = []

    def statistics(self) -> list[dict[str, int]]:
        """Chunks that were missed, fetched, evicted; frames with changes; commits."""
        load = self._core.read
        names = ("misses", "fetched", "evicted", "failures", "generation", "dirty")
        slots = [{name: field(f"Machine.disk.{name}", index) for name in names} for index in range(len(self.plans))]
        return [{name: int.from_bytes(load(slot.offset, slot.size), "little") for name, slot in each.items()} for each in slots]


async def sweep(store: Store) -> None:
    """Drops what machines that ended without a word have left."""
    for record in await store.records(SCRATCH):
        if await store.lock(f"disk {record.name}"):
            await store.drop_record(SCRATCH, record.name)
            await store.unlock(f"disk {record.name}")

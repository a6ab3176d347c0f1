"""Takes snapshots of a machine: at its end, or while it goes on.

A snapshot is the structures, the areas in chunks, and what Python's side of
the devices knows.  Which chunks of RAM have changed since the last one is
known from the TLB (dirty_take in cpu/machine/snapshot.c), so a second snapshot writes
what was touched.  A machine that goes on is paused for as long as copying
that aside takes; when it is much, most of it is stored before the pause.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hartwell.errors import MachineStopped
from hartwell.layout import CONSTANTS, RAM_BASE, RAM_OFFSET, RING_BASE, field
from hartwell.platform.store import CHUNK, DIGEST, ZEROS, Range, Report, Saved, Store, saving
from hartwell.snapshot import recipe, seed, structures
from hartwell.snapshot.manifest import Area, Manifest

if TYPE_CHECKING:
    from hartwell.machine import Machine

KIND = "snapshot"
ASIDE_BYTES = 32 << 20  # copied in a pause: some ten milliseconds
ROUNDS = 3  # of storing what changes before the pause
GARBAGE_BYTES = 64 << 20  # that checkpoints may leave in the store, when later ones have replaced what they wrote
LATELY_CHUNKS = 384  # 24 MB, as much as a Linux needs until a first command has ended
ORDER_CHUNKS = 1024  # that a wake brings first, at most
DRAIN_SECONDS = 0.5  # for requests that a device in Python is at work on
TERMINAL_SECONDS = 1.0  # for the page to say what its terminal shows

_STOP_REASON = field("Machine.stop_reason").offset


class Saver:
    """Of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.identity = str(uuid.uuid4())
        self.areas: dict[str, Area] = {}
        self.fresh: dict[str, bytes] = {}
        """The machine's structures as they were made, for a recipe (recipe.py)."""
        self.order: list[int] = []
        self.pause_seconds = 0.0
        """How long the guest stood still for the last checkpoint."""
        self.asleep_seconds = 0.0
        """How long the guest of a machine that woke stood still, by this computer's clock."""
        self.written = 0
        """Bytes that the last snapshot added to the store."""
        self.seeded = False
        """Are there chunks in the store for its first save (seed.py)?"""
        self.stream: asyncio.Task[None] | None = None
        """Brings memory that a lazy wake left out."""
        self._machine = machine
        self._drops = -1  # collections that had dropped something when it was last looked
        self._garbage = 0  # bytes written since the last collection: so much at most is of no more use
        self._unsaved: set[int] = set()  # chunks of RAM that differ from what is stored
        self.busy, self.naming = asyncio.Lock(), asyncio.Lock()
        self._stands = False  # does the machine stand still for a snapshot?
        self._stays = False  # and does it stay so afterwards?
        values = machine._core.plan.values
        if not machine._core.settled:
            self.fresh = structures.read(machine._core)
        self._places = {
            "ram": (RAM_OFFSET, machine._core.plan.ram_bytes),
            "rings": (RING_BASE, RAM_OFFSET - RING_BASE),
            "blob": (values["blob_offset"], -(-values["blob_bytes"] // 4096) * 4096),
        }
        for name, (_, count) in self._places.items():
            self.areas[name] = Area(count)
        # Chunks that every snapshot has: of disks those whose bytes are all in memory.
        blob: set[int] = set()
        for disk in machine.disks.plans:
            if disk.in_memory:
                begin = disk.offset - values["blob_offset"]
                blob.update(range(begin // CHUNK, -(-(begin + disk.room) // CHUNK)))
        rings = range(-(-self._places["rings"][1] // CHUNK))
        self._fixed: list[tuple[str, Sequence[int]]] = [("rings", rings), ("blob", sorted(blob))]

    @property
    def changed(self) -> int:
        """Bytes of RAM that a snapshot would store now, about."""
        return (self._machine._core.call("dirty_count") + len(self._unsaved)) * CHUNK

    async def take(self, name: str, *, end: bool, report: Report | None = None) -> Manifest:
        """Stores the machine as `name`.  With `end` it stays paused, else it goes on.

        Raises StorageFull or StorageFailed; what was stored as `name` before is
        then whole, and so is the machine, which is as it was (paused or running).
        """
        async with self.busy:
            store = self._store()
            machine = self._machine
            if not machine.alive:
                raise MachineStopped(f"the machine is {machine.state}, there is nothing to save")
            try:
                return await self._take(store, name, end, report)
            except BaseException:
                # Also when all is stored and what follows fails, or is cut short: then it does not fall asleep.
                if not machine._closing:
                    self._hold(False)
                self._go_on()
                raise

    async def _take(self, store: Store, name: str, end: bool, report: Report | None) -> Manifest:
        self.written = 0
        shown = await self._terminal()
        async with saving(store):
            if self.stream is not None and self._unsaved:
                await asyncio.wait([self.stream])  # what comes from a file must be here to be stored, if it is not by then
            await self._look_for_drops(store)
            if self.stream is not None and self._unsaved:
                await asyncio.wait([self.stream])  # and so must be what is to be stored again
            await self._before(store, end, report)
            manifest = await self._in_pause(store, name, end, shown, report)
        if self.seeded:
            self.seeded = False
            await store.drop_record(seed.KIND, self._machine.image)
        self._garbage += self.written
        if self._garbage > GARBAGE_BYTES:
            self._garbage = 0
            await store.collect()
        return manifest

    async def _look_for_drops(self, store: Store) -> None:
        """What an earlier snapshot stored is not stored again; but somebody may
        have deleted that snapshot, here or in another tab."""
        drops = await store.drops()
        ram = self.areas["ram"].chunks
        if drops != self._drops and ram:
            gone = await store.missing(b"".join({digest for digest, _ in ram.values()}))
            self._unsaved.update(index for index, (digest, _) in ram.items() if digest in gone)
        self._drops = drops

    def _store(self) -> Store:
        store = self._machine._platform.store
        if store is None:
            from hartwell.errors import NotSupported

            raise NotSupported("there is no store here to put a sleeping machine in")
        return store

    async def _before(self, store: Store, end: bool, report: Report | None) -> None:
        """While the guest runs: stores what has changed, so that little is left for the pause."""
        if self._machine.state == "running":
            await self._machine.disks.commit()
        if end:
            return
        for _ in range(ROUNDS):
            if self._machine.state != "running" or self.changed <= ASIDE_BYTES:
                return
            self._machine._halt()
            self._take_dirty()
            self._machine._go()
            self.written += await self._store_ram(store, report)

    async def _in_pause(
        self, store: Store, name: str, end: bool, shown: tuple[int, str, str] | None, report: Report | None
    ) -> Manifest:
        machine, core = self._machine, self._machine._core
        # Drawing the screen takes Python longer than all of the pause.
        screen = machine.console.text() if shown is None else shown[2]
        began = time.perf_counter()
        self._stand_still()
        if core.load(_STOP_REASON):
            raise MachineStopped("the machine stopped before it could be saved")
        await self._drain(0.03 if not end else DRAIN_SECONDS)
        machine._carry()
        # From here on nothing moves: not what comes from outside, nor what ends in Python while this waits below.
        self._hold(True)
        core.call("rings_clear")
        self._take_dirty()
        manifest = self._manifest(name, self._stays)
        if shown is not None:
            machine.console.transcript.rebase(*shown[:2])
        manifest.console = machine.console.saved(screen)
        others = [self._piece(area, index) for area, indexes in self._fixed for index in indexes]
        ram, indexes = self._ram_ranges()

        def go() -> None:
            if end:
                return
            self._hold(False)
            self._go_on()
            self.pause_seconds = time.perf_counter() - began

        aside = not end and sum(count for _, count in [*others, *ram]) <= ASIDE_BYTES + (8 << 20)
        saved = await store.save(
            core, [*others, *ram], captured=go if aside else None, disks=machine.disks.number, report=report)
        if not aside:
            go()
        at = 0
        for area, fixed in self._fixed:
            self._put(area, fixed, saved, at)
            at += len(fixed)
        self._put("ram", indexes, saved, at)
        self._unsaved.difference_update(indexes)
        self.written += saved.written
        for index, frozen in saved.disks.items():
            manifest.disks[index] |= {"born": frozen.born, "generation": frozen.generation, "changed": frozen.entries}
        manifest.areas = {area: Area(known.size, dict(known.chunks)) for area, known in self.areas.items()}
        await store.put_record(KIND, name, about=manifest.about(), text=manifest.text(), refs=manifest.refs())
        return manifest

    def _manifest(self, name: str, paused: bool) -> Manifest:
        machine = self._machine
        core, request = machine._core, machine._request
        state = structures.read(core)
        return Manifest(
            identity=self.identity, name=name, image=machine.image, harts=core.plan.harts, memory=core.plan.ram_bytes,
            bare=request.bare, firmware=core.load(field("Machine.firmware").offset) == CONSTANTS["FIRMWARE_GUEST"],
            options=request.options, disks=[disk.said() for disk in machine.disks.plans],
            structures=state, areas={}, recipe={} if paused else recipe.make(machine, self.fresh, state),
            devices={str(device.slot): device.state() for device in machine._devices},
            agent={"kind": request.agent, **machine._agent.saved()} if machine._agent else {},
            order=self._order(state["Machine"]), paused=paused, time=time.time(),
        )

    # --- whose pause it is ------------------------------------------------------

    def _stand_still(self) -> None:
        """The machine is paused for what follows, until _go_on()."""
        self._stays = self._machine.state == "paused"
        self._stands = True
        if not self._stays:
            self._machine._halt()

    def _go_on(self) -> None:
        """It is again what it was, or what a person wished meanwhile."""
        if self._stands:
            self._stands = False
            if not self._stays and self._machine.alive:
                self._machine._go()

    def wish(self, paused: bool) -> bool:
        """Somebody pauses or resumes the machine.  While it stands still for a
        snapshot that is kept for afterwards (True); else it is for now (False)."""
        if self._stands:
            self._stays = paused
        return self._stands

    # --- chunks ---------------------------------------------------------------

    def _take_dirty(self) -> None:
        """Adds what was written to what is to be stored.  The machine stands still."""
        core = self._machine._core
        core.call("dirty_take")
        flags = core.read(core.plan.values["chunk_dirty_offset"], -(-core.plan.ram_bytes // CHUNK))
        self._unsaved.update(index for index, flag in enumerate(flags) if flag & CONSTANTS["CHUNK_DIRTY"])
        # What was in use lately comes first on the next wake; a boot uses everything, which says nothing.
        used = {index: None for index, flag in enumerate(flags) if flag & CONSTANTS["CHUNK_TOUCHED"]}
        if len(used) <= LATELY_CHUNKS:
            # In the order in which an earlier wake wanted them, as far as that is known.
            self.first([*(index for index in self.order if index in used), *used])

    def keep(self) -> None:
        """All that came from a file, and nothing was saved of yet, is in the store by now."""
        self._unsaved.clear()
        self.seeded = True

    def first(self, used: Sequence[int]) -> None:
        """Chunks of RAM that a wake is to bring before others."""
        self.order = list(dict.fromkeys([*used, *self.order]))[:ORDER_CHUNKS]

    def then(self, used: Sequence[int]) -> None:
        """Chunks that a wake is to bring behind those that it is known to need."""
        self.order = list(dict.fromkeys([*self.order, *used]))[:ORDER_CHUNKS]

    def _order(self, state: bytes) -> list[int]:
        """Chunks that a wake is to bring first: where devices look before the guest goes on, then those in use lately."""
        queues = (place - RAM_BASE for place in structures.queue_places(state))
        devices = [place // CHUNK for place in queues if 0 <= place < self.areas["ram"].size]
        return list(dict.fromkeys([*devices, *self.order]))[:ORDER_CHUNKS]

    def _piece(self, area: str, index: int) -> Range:
        return self._places[area][0] + index * CHUNK, self.areas[area].length(index)

    def _ram_ranges(self) -> tuple[list[Range], list[int]]:
        """Ranges of what is to be stored, and the chunks' places in RAM."""
        indexes = sorted(self._unsaved)
        return [self._piece("ram", index) for index in indexes], indexes

    async def _store_ram(self, store: Store, report: Report | None) -> int:
        ranges, indexes = self._ram_ranges()
        saved = await store.save(self._machine._core, ranges, report=report)
        self._put("ram", indexes, saved, 0)
        self._unsaved.difference_update(indexes)
        return saved.written

    def _put(self, area: str, indexes: Sequence[int], saved: Saved, first: int) -> None:
        chunks = self.areas[area].chunks
        for at, index in enumerate(indexes, first):
            digest = saved.digests[at * DIGEST : (at + 1) * DIGEST]
            if digest == ZEROS:
                chunks.pop(index, None)
            else:
                chunks[index] = (digest, saved.sizes[at])

    # --- Python's side ----------------------------------------------------------

    def _hold(self, on: bool) -> None:
        """Devices leave queues and guest RAM alone, or go on."""
        machine = self._machine
        if on:
            for device in machine._devices:
                device.hold()
        machine._core.call("devices_hold", int(on))
        if not on:
            for device in machine._devices:
                device.release()

    async def _drain(self, seconds: float) -> None:
        """Lets devices in Python end what they are at; what they don't is begun again on wake."""
        end = time.monotonic() + seconds
        while any(device.busy for device in self._machine._devices) and time.monotonic() < end:
            await asyncio.sleep(0.002)

    async def _terminal(self) -> tuple[int, str, str] | None:
        """How much of the output the page's terminal has seen, and what it shows
        then: with escape sequences, and its screen as plain text."""
        machine = self._machine
        if type(machine).shown is not machine:
            return None
        try:
            answer = await asyncio.wait_for(machine._platform.terminal(), TERMINAL_SECONDS)
        except (TimeoutError, asyncio.TimeoutError):
            return None
        if answer is None:
            return None
        position, text, screen = answer
        return position - machine.console.shown_before, text, screen


def restored(saver: Saver, manifest: Manifest, *, fork: bool, stored: bool) -> None:
    """After a wake: what is stored already, and who the machine is."""
    if not stored:  # it came from a file
        saver._unsaved.update(manifest.areas["ram"].chunks)
    if not fork:
        saver.identity = manifest.identity
    saver.areas = {name: Area(area.size, dict(area.chunks)) for name, area in manifest.areas.items()}
    saver.order = list(manifest.order)



"""Makes a machine of a snapshot."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING

from hartwell.disks import DiskPlan, served_disk, woken_disk
from hartwell.errors import HartwellError, MachineInUse, NotSupported, SnapshotCorrupt, SnapshotNotFound
from hartwell.layout import CONSTANTS, RAM_OFFSET
from hartwell.links import Links
from hartwell.memory_plan import MemoryPlan, plan_memory
from hartwell.platform import Blob, Core, Early, Platform
from hartwell.platform.store import CHUNK, Range, Store, Streamed
from hartwell.request import Request
from hartwell.snapshot import recipe, structures
from hartwell.snapshot.manifest import Manifest, parse
from hartwell.snapshot.saver import KIND, restored

if TYPE_CHECKING:
    from hartwell.machine import Machine

AGENT_SECONDS = 60.0  # for the guest to set its clock
CLOCK_SECONDS = 1.5  # by which that may be late
CLOCK_TRIES = 5
LEAST_ASLEEP = 2.0  # seconds, for it to be worth it


class Hole:
    """A disk's contents that come from the snapshot."""

    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, offset: int, count: int) -> bytes:
        """Zeros."""
        return bytes(max(0, min(count, self.size - offset)))


def need_store(place: Platform) -> Store:
    """The platform's store.  NotSupported where there is none."""
    if place.store is None:
        raise NotSupported("there is no store here; machines sleep in a browser (IndexedDB) and in Node (files)")
    return place.store


async def read_manifest(store: Store, name: str) -> Manifest:
    """Raises SnapshotNotFound, SnapshotCorrupt, SnapshotVersion."""
    text = await store.get_record(KIND, name)
    if text is None:
        known = ", ".join(sorted(record.name for record in await store.records(KIND))) or "none"
        raise SnapshotNotFound(f"no machine sleeps here by the name {name!r}; there are: {known}")
    return parse(text, f"snapshot {name!r}")


def lock_name(identity: str) -> str:
    """What the one tab holds in which a machine runs."""
    return f"machine {identity}"


async def prepare(place: Platform, manifest: Manifest) -> Core:
    """Memory and harts' workers for a machine that is to wake here."""
    core = await place.create(_plan(manifest), manifest.image)
    core.prepare_harts()  # their workers start while the rest is done
    return core


def _plan(manifest: Manifest) -> MemoryPlan:
    return plan_memory(manifest.memory, manifest.harts, manifest.areas["blob"].size)


async def wake(
    kind: type[Machine], place: Platform, manifest: Manifest, *, lazy: bool, fork: bool, show: bool, pack: int = 0,
    own_disks: bool = False, core: Core | None = None,
) -> Machine:
    """A machine that goes on where the snapshot was taken.  `pack`: its chunks are in an open
    file.  `own_disks`: a copy too keeps what it writes under the disks' names.  `core`: from
    `prepare`, for an earlier snapshot of it."""
    store = need_store(place)
    if not fork and not await store.lock(lock_name(manifest.identity)):
        raise MachineInUse(
            f"{manifest.name!r} runs already, in another tab or here; go there, bring it here: "
            f"Machine.wake({manifest.name!r}, move=True), or wake a copy: fork=True"
        )
    try:
        plan = _plan(manifest)
        disks = [await woken_disk(place, disk, fork=fork and not own_disks, pack=pack) for disk in manifest.disks]
        if core is not None and core.plan != plan:
            core.terminate()
            core = None
        if core is None:
            core = await prepare(place, manifest)
        try:
            if show and kind.shown is not None:
                await put_away(kind.shown)
            machine = kind(core, _request(manifest, plan, disks), place, Links.of(place, manifest.options))
            try:
                note = await _fill(store, machine, manifest, lazy, fork, pack)
            except BaseException:
                await machine.disks.close()
                raise
        except BaseException:
            core.terminate()
            raise
    except BaseException:
        if not fork:
            await store.unlock(lock_name(manifest.identity))
        raise
    machine.name = None if fork else manifest.name
    restored(machine._saver, manifest, fork=fork, stored=not pack)
    machine._locked = not fork
    try:
        await _shown_running(kind, place, machine, manifest, show, note)
    except BaseException as error:
        await machine._abandon(error)
        raise
    machine._saver.asleep_seconds = time.time() - manifest.time
    machine._spawn(_set_clock(machine))
    return machine


async def _shown_running(
    kind: type[Machine], place: Platform, machine: Machine, manifest: Manifest, show: bool, note: str
) -> None:
    if show:
        if kind.shown is not None:  # another boot or wake may have been as far as this meanwhile
            await put_away(kind.shown)
        kind.shown = machine
        # Shown again, not printed again: what asks the terminal something gets no answer now.
        place.emit("console", {"data": b"\x1bc" + machine.console.transcript.replay(), "quiet": True})
        machine.console.shown_before = place.shown_bytes - machine.console.transcript.end
        machine.console.resize(*kind.console_size)
    if note:
        machine._show(f"{note}\r\n".encode())
    await machine._wake_up(paused=manifest.paused)


async def adopt(kind: type[Machine], place: Platform, early: Early) -> Machine | None:
    """The machine that the page woke before Python was up, as `wake` would have given it; None for
    one that is none of this Python's, and then it is gone."""
    manifest = parse(early.text, f"snapshot {early.name!r}")
    manifest.name = early.name  # it may have been renamed
    fork = not early.name
    plan = _plan(manifest)
    shown, output, keys = await early.take_over()
    place.shown_bytes += len(shown) + len(output)
    served = {int(disk["index"]): disk for disk in early.disks["disks"]}
    request = _request(manifest, plan, [served_disk(disk, served.get(at)) for at, disk in enumerate(manifest.disks)])
    if not recipe.fits(manifest.recipe, place.numbers(plan), request.disks):
        await early.drop()
        return None
    state = recipe.fresh_of(manifest.recipe)
    machine = kind(early.core(plan), request, place, Links.of(place, manifest.options))
    machine.disks.adopt(early.disks)
    saver = machine._saver
    machine.name, machine._locked = None if fork else manifest.name, not fork
    restored(saver, manifest, fork=fork, stored=not fork)
    saver.fresh, saver.identity = state, early.identity
    saver.stream = machine._spawn(_follow(machine, early.streamed()))
    await asyncio.sleep(0)  # it is waited for before this thread may wait for a page, below
    _python_side(machine, manifest, state)
    machine.console.shown_before = place.shown_bytes - len(output) - machine.console.transcript.end
    machine.console.caught_up(output, keys)
    machine.console.resize(*kind.console_size)
    kind.shown = machine
    machine._adopt()
    saver.asleep_seconds = early.woke - manifest.time
    machine._spawn(_set_clock(machine))
    return machine


async def put_away(machine: Machine) -> None:
    """Another machine takes the console: this one goes to sleep if it can, so that nothing of it is lost."""
    if machine.alive and machine._platform.name == "browser":
        with contextlib.suppress(HartwellError):
            await machine.hibernate()
            return
    await machine.close()


def _request(manifest: Manifest, plan: MemoryPlan, found: list[DiskPlan]) -> Request:
    nothing: Blob = Hole(0)
    disks, at = [], plan.values["blob_offset"]
    for disk in found:
        disks.append(disk.at(at))
        at += disk.room
    if at - plan.values["blob_offset"] > plan.values["blob_bytes"]:
        raise SnapshotCorrupt(
            f"snapshot {manifest.name!r}: its disks need more than the {plan.values['blob_bytes']} bytes it has for them"
        )
    return Request(
        manifest.image, plan, nothing, manifest.image, manifest.bare, firmware=nothing if manifest.firmware else None,
        disks=disks, options=dict(manifest.options), stale=True, agent="qemu" if manifest.agent.get("kind") == "qemu" else None,
    )


async def _fill(store: Store, machine: Machine, manifest: Manifest, lazy: bool, fork: bool, pack: int) -> str:
    """Memory, structures, disks and Python's side, in a machine that stands still.
    What a person should know of its disks, or ""."""
    core = machine._core
    for name, (offset, _) in machine._saver._places.items():
        if name != "ram":
            digests, ranges, _ = _chunks(manifest, name, offset)
            if ranges:
                await store.load(core, digests, ranges, pack=pack)
    digests, ranges, indexes = _chunks(manifest, "ram", RAM_OFFSET)
    if not lazy:
        await store.load(core, digests, ranges, pack=pack)
    structures.restore(core, manifest.structures, manifest.layout)
    structures.set_generation(core, os.urandom(16))
    core.call("machine_woken")
    note = await machine.disks.open(machine._saver.identity if fork else manifest.identity)
    if lazy:
        flags = bytearray(-(-core.plan.ram_bytes // CHUNK))
        for index in indexes:
            flags[index] = 1
        core.write(core.plan.values["chunk_dirty_offset"], flags)
        core.call("chunks_absent")
        machine._saver.stream = machine._spawn(_stream(store, machine, digests, indexes, manifest.order, pack))
        # It is under way before anybody waits for a page: devices may, below, and they block this thread.
        await asyncio.sleep(0)
    else:
        machine._spawn(_settle(machine))
    _python_side(machine, manifest)
    return note


def _python_side(machine: Machine, manifest: Manifest, began: Mapping[str, bytes] | None = None) -> None:
    """Console, agent and devices take up what they were at.  `began`: the structures that the
    guest has gone on from meanwhile; what it asked of a device that it has reset since is void."""
    machine.console.restore(manifest.console)
    if machine._agent:
        machine._agent.restore(manifest.agent)
    for device in machine._devices:
        state = manifest.devices.get(str(device.slot)) or {}
        if began is not None and recipe.resets(began, device.slot) != device.resets:
            state = {"own": state.get("own")}
        device.woken(state)


async def _settle(machine: Machine) -> None:
    """All memory is here: the overlays' records follow the machine's disks from now on."""
    with contextlib.suppress(HartwellError):  # a full store, say: it is in machine.disks.errors, and tried at each commit
        await machine.disks.settle()


def _chunks(manifest: Manifest, area: str, offset: int) -> tuple[bytes, list[Range], list[int]]:
    """Digests, ranges of linear memory, and places of an area's chunks."""
    known = manifest.areas[area]
    indexes = sorted(known.chunks)
    ranges = [(offset + index * CHUNK, known.length(index)) for index in indexes]
    return b"".join(known.chunks[index][0] for index in indexes), ranges, indexes


async def _stream(
    store: Store, machine: Machine, digests: bytes, indexes: Sequence[int], order: Sequence[int], pack: int
) -> None:
    await _follow(machine, store.stream(machine._core, digests, indexes, order, pack=pack))


async def _follow(machine: Machine, coming: Awaitable[Streamed]) -> None:
    """Until all memory is here.  What can't be had ends the machine: it must not go on without."""
    try:
        found = await coming
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - nobody awaits this task: its end is the machine's
        machine._lost = f"{type(error).__name__}: {error}"
        machine._core.call("machine_stop", CONSTANTS["STOP_CRASH"], 0)
        return
    await _settle(machine)
    if found.kept:
        machine._saver.keep()
    machine._saver.first(found.touched)


async def _set_clock(machine: Machine) -> None:
    """The guest's own clock stood still; its agent sets it by ours.

    The goldfish RTC is right by itself, but a kernel reads it at boot only.
    """
    while machine.state == "paused":
        await asyncio.sleep(0.2)
    if machine._saver.asleep_seconds < LEAST_ASLEEP:
        return  # whole seconds could put the clock back
    agent = machine._agent
    if agent is None or not agent.present:
        return
    with contextlib.suppress(HartwellError):  # a guest that has no date: its clock goes on from where it was
        for _ in range(CLOCK_TRIES):
            began = time.monotonic()
            await agent.run(f"date -u -s @{int(time.time() + 0.5)} >/dev/null", AGENT_SECONDS)
            if time.monotonic() - began < CLOCK_SECONDS:
                return  # on a busy computer the time that it was told may have been over when it set it



"""Sleep and wake, as `Machine` offers them.  docs/hibernation.md."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hartwell import moving
from hartwell import platform as platforms
from hartwell.errors import (
    BadConfiguration,
    HartwellError,
    MachineInUse,
    MachineStopped,
    SnapshotCorrupt,
    SnapshotNotFound,
    SnapshotVersion,
    StorageFull,
)
from hartwell.images import load_image
from hartwell.machine_disks import sweep
from hartwell.platform import Core, Platform
from hartwell.platform.store import Room, Store, saving
from hartwell.snapshot import seed as seeds
from hartwell.snapshot.manifest import NAME_LENGTH, Manifest, parse
from hartwell.snapshot.saver import KIND
from hartwell.snapshot.wake import adopt as adopt_early
from hartwell.snapshot.wake import lock_name, need_store, prepare, put_away, read_manifest, wake

if TYPE_CHECKING:
    from hartwell.machine import Machine

SPARE_BYTES = 16 << 20  # left free for the manifest and for others
SUFFIX = ".hartwell"
TRAVELS = frozenset({"image", "append", "network"})  # of Machine.boot's arguments: paths and addresses do not


@dataclass(frozen=True)
class Snapshot:
    """A sleeping machine, as the shelf shows it."""

    name: str
    image: str
    harts: int
    memory: int  # bytes
    stored: int  # bytes of its chunks; other snapshots may share them
    time: float  # seconds since the Unix epoch
    screen: str  # the text its console showed
    cols: int
    identity: str


async def hibernate(machine: Machine, name: str | None) -> None:
    """See Machine.hibernate."""
    await _take(machine, name, end=True)


async def checkpoint(machine: Machine, name: str | None) -> None:
    """See Machine.checkpoint."""
    await _take(machine, name, end=False)


async def _take(machine: Machine, name: str | None, *, end: bool) -> None:
    async with machine._saver.naming:  # else a save without a name, behind one that gives it, would give the old one
        await _take_as(machine, name, end=end)


async def _take_as(machine: Machine, name: str | None, *, end: bool) -> None:
    if not machine.alive:
        raise MachineStopped(f"the machine is {machine.state}, there is nothing to save")
    place = machine._platform
    store = need_store(place)
    async with _claimed(store, machine.name if name is None else name, machine.image) as claimed:
        await _store_as(machine, store, claimed, end=end)


async def _store_as(machine: Machine, store: Store, name: str, *, end: bool) -> None:
    place = machine._platform
    await _own(machine, place)
    room = await store.room()
    if room.quota and machine._saver.changed // 2 > room.quota - room.used - SPARE_BYTES:
        raise StorageFull(
            f"about {machine._saver.changed >> 20} MB are to be stored as {name!r}, and "
            f"{max(0, room.quota - room.used) >> 20} MB of storage are left; delete sleeping machines you no longer need. "
            "The machine goes on, nothing was lost"
        )
    for record in await store.records(KIND):
        if record.name == name and _about(record.about).get("identity") != machine._saver.identity:
            raise BadConfiguration(f"another machine sleeps as {name!r}; delete or rename it, or take another name")

    def report(done: int, total: int) -> None:
        if end:
            place.emit("progress", {"what": f"storing {name}", "loaded": done, "total": total})

    await machine._saver.take(name, end=end, report=report)
    machine.name = name
    if end:
        await machine._fall_asleep()


async def _own(machine: Machine, place: Platform) -> None:
    """Takes the machine's lock, which a machine that was booted does not have yet."""
    if not machine._locked:
        if not await need_store(place).lock(lock_name(machine._saver.identity)):
            raise MachineInUse("this machine is saved by another tab at this moment")
        machine._locked = True


async def release(machine: Machine) -> None:
    """The machine ended: its lock is free."""
    if machine._locked and machine._platform.store is not None:
        machine._locked = False
        await machine._platform.store.unlock(lock_name(machine._saver.identity))


async def wake_machine(
    kind: type[Machine], name: str | Path, *, lazy: bool, fork: bool, move: bool, show: bool, place: Platform | None,
    own_disks: bool = False,
) -> Machine:
    """See Machine.wake.  `own_disks`: what it writes is kept under its disks' names, copy or not."""
    place = place or platforms.current()
    store = need_store(place)
    guard = await store.begin()  # nobody drops a chunk that is still to come
    try:
        core = await _fetched(str(name), place) if move and await in_use(str(name), place) else None
        try:
            machine = await _woken(
                kind, name, lazy=lazy, fork=fork, show=show, place=place, own_disks=own_disks, core=core)
        except BaseException:
            if core is not None:
                core.terminate()
            raise
    except BaseException:
        await store.end(guard)
        raise
    def end(_: object) -> None:
        _ending.add(task := asyncio.ensure_future(store.end(guard)))
        task.add_done_callback(_ending.discard)

    # Not awaited here: it runs, and who asked for it has it from now on.
    if (stream := machine._saver.stream) is None:
        end(None)
    else:
        stream.add_done_callback(end)
    return machine


_ending: set[asyncio.Task[None]] = set()  # a task that nobody holds may be collected before its end


async def _fetched(name: str, place: Platform) -> Core:
    """The tab that runs a machine has put it to sleep for this one, where memory and
    harts' workers were made before: the guest stands still for what is left to do."""
    manifest = await read_manifest(need_store(place), name)
    core = await prepare(place, manifest)
    try:
        await moving.ask(manifest.identity, name)
    except BaseException:
        core.terminate()
        raise
    return core


async def _woken(
    kind: type[Machine], name: str | Path, *, lazy: bool, fork: bool, show: bool, place: Platform, own_disks: bool,
    core: Core | None = None,
) -> Machine:
    store = need_store(place)
    pack = 0
    if str(name).endswith(SUFFIX):
        pack, text = await store.open_pack(name)
        manifest = _travelled(parse(text, str(name)))
        fork = True  # a file belongs to nobody
    else:
        manifest = await read_manifest(store, str(name))
        manifest.name = str(name)  # it may have been renamed
    before = kind.shown
    if show and (before is None or not before.alive):
        place.emit("state", {"state": "loading", "image": manifest.image})
    try:
        return await wake(kind, place, manifest, lazy=lazy, fork=fork, show=show, pack=pack, own_disks=own_disks, core=core)
    except BaseException:
        if show:
            if kind.shown is not None:
                kind.shown._tell()
            else:
                place.emit("state", {"state": "stopped"})
        raise


def _travelled(manifest: Manifest) -> Manifest:
    """From a file, which may not say what of this computer a guest that starts again gets into its memory."""
    manifest.options = {name: value for name, value in manifest.options.items() if name in TRAVELS}
    return manifest


async def snapshots(place: Platform | None = None) -> list[Snapshot]:
    """The sleeping machines, the newest first."""
    store = need_store(place or platforms.current())
    found = []
    for record in await store.records(KIND):
        about = _about(record.about)
        found.append(Snapshot(
            record.name, str(about.get("image", "")), _whole(about, "harts"), _whole(about, "memory"),
            _whole(about, "stored"), float(about.get("time") or record.time), str(about.get("screen", "")),
            _whole(about, "cols") or 80, str(about.get("identity", "")),
        ))
    return sorted(found, key=lambda one: -one.time)


_asking = asyncio.Lock()  # two who ask at once would find each other's lock


async def in_use(name: str, place: Platform | None = None) -> bool:
    """Does the machine of that name run, here or in another tab?  SnapshotNotFound."""
    store = need_store(place or platforms.current())
    lock = lock_name((await read_manifest(store, name)).identity)
    async with _asking:
        if not await store.lock(lock):
            return True
        await store.unlock(lock)
    return False


async def delete_snapshot(name: str, place: Platform | None = None) -> None:
    """Deletes a sleeping machine and what only it needed.  SnapshotNotFound."""
    store = need_store(place or platforms.current())
    if not await store.drop_record(KIND, name):
        raise SnapshotNotFound(f"no machine sleeps here by the name {name!r}")
    await sweep(store)
    await store.collect()


async def rename_snapshot(name: str, new: str, place: Platform | None = None) -> None:
    """Gives a sleeping machine another name.  SnapshotNotFound; MachineInUse while it
    runs; BadConfiguration when `new` is taken."""
    store = need_store(place or platforms.current())
    manifest = await read_manifest(store, name)
    lock = lock_name(manifest.identity)
    if not await store.lock(lock):
        raise MachineInUse(f"{name!r} runs at this moment, and would be saved by its old name again; rename it when it sleeps")
    try:
        async with _claimed(store, new, ""):
            if await _taken(store, new):
                raise BadConfiguration(f"another machine sleeps as {new!r} already")
            manifest = await read_manifest(store, name)  # now that nobody changes it
            manifest.name = new
            await store.put_record(KIND, new, about=manifest.about(), text=manifest.text(), refs=manifest.refs())
            await store.drop_record(KIND, name)
    finally:
        await store.unlock(lock)


async def room(place: Platform | None = None) -> Room:
    """Storage of this site or disk."""
    return await need_store(place or platforms.current()).room()


async def export_snapshot(name: str, file: str | Path = "", place: Platform | None = None) -> Any:
    """Writes a sleeping machine into one file that any Hartwell wakes or imports.

    In a browser `file` is left out and the result is a Blob; in Node it is a
    path.  What is touched first comes first in it, so that a wake over a
    network begins with what it needs.  SnapshotNotFound, SnapshotCorrupt.
    """
    place = place or platforms.current()

    def report(done: int, total: int) -> None:
        place.emit("progress", {"what": f"exporting {name}", "loaded": done, "total": total})

    async with saving(need_store(place)) as store:  # a machine that runs may be saved again meanwhile: its old chunks stay
        manifest = await read_manifest(store, name)
        ram = manifest.areas["ram"].chunks
        first = [ram[index][0] for index in manifest.order if index in ram]
        others = [digest for area in ("rings", "blob") for digest, _ in manifest.areas[area].chunks.values()]
        rest = [digest for _, (digest, _) in sorted(ram.items())] + manifest.disk_refs()
        refs = b"".join(dict.fromkeys([*others, *first, *rest]))
        return await store.export_pack(manifest.text(), refs, str(file), report=report)


async def import_snapshot(file: Any, name: str | None = None, place: Platform | None = None) -> str:
    """Puts a machine from a file (a path, a URL, a page's File) onto the shelf; its name there.

    Nothing is on the shelf before all of it was checked.  SnapshotCorrupt,
    SnapshotVersion, StorageFull.
    """
    place = place or platforms.current()
    store = need_store(place)
    pack, text = await store.open_pack(file)
    try:
        manifest = _travelled(parse(text, "the file"))
        for disk in manifest.disks:
            if disk.get("kind") == "raw":  # a file may not say which of this computer's files a guest shall read
                raise BadConfiguration(
                    f"disk {disk['name']}: its base is a raw file of the computer where the machine slept; only images travel")
        manifest.identity = str(uuid.uuid4())  # a copy: the one it was exported from may live
        manifest.recipe = {}  # nor may it say what is written where

        def report(done: int, total: int) -> None:
            place.emit("progress", {"what": f"importing {manifest.name}", "loaded": done, "total": total})

        wish = name or manifest.name or manifest.image
        async with saving(store), _claimed(store, None, wish) as manifest.name:
            await store.import_pack(pack, report=report)
            await store.put_record(KIND, manifest.name, about=manifest.about(), text=manifest.text(), refs=manifest.refs())
    finally:
        await store.close_pack(pack)
    return manifest.name


async def adopt(kind: type[Machine]) -> Machine | None:
    """The machine that the page woke before Python was up; None when `arrive` is to find one."""
    place = platforms.current()
    early = await place.early()
    if early is None:
        return None
    try:
        return await adopt_early(kind, place, early)
    except (HartwellError, ValueError, KeyError, TypeError):  # what is wrong with it, arrive() says
        await early.drop()
        return None


async def arrive(kind: type[Machine], **options: Any) -> Machine:
    """See Machine.arrive."""
    place = platforms.current()
    if place.store is not None:
        for one in await snapshots(place):
            try:
                return await kind.wake(one.name)
            except MachineInUse:
                continue  # another tab has it; an older one may be free
    return await kind.boot(**options) if options else await open_image(kind, None)


async def open_image(kind: type[Machine], image: str | None) -> Machine:
    """See Machine.open."""
    place = platforms.current()
    name = (await load_image(place, image)).name  # what is wrong with it is said while all is as it was
    if (before := kind.shown) is not None:
        await put_away(before)
    if (booted := await prebooted(place, name)) and not await _disk_changed(place, name):
        with contextlib.suppress(SnapshotVersion, SnapshotCorrupt, BadConfiguration):  # made by, or over, another one
            return await wake_machine(kind, booted, lazy=True, fork=True, move=False, show=True, place=place, own_disks=True)
    return await kind.boot(name)


async def prebooted(place: Platform, name: str) -> str | None:
    """The snapshot of an image that set-up made; None without one."""
    try:
        index = await place.fetch("snapshots/index.json")
        found = json.loads(index.read(0, index.size))
        return place.address(f"snapshots/{name}{SUFFIX}") if name in found["images"] else None
    except (FileNotFoundError, HartwellError, ValueError, KeyError, TypeError):
        return None


async def seed(machine: Machine) -> None:
    """Stores ahead what a booted machine has of its image (hartwell.snapshot.seed)."""
    if not seeds.OTHERS & machine._request.options.keys() and (address := await prebooted(machine._platform, machine.image)):
        await seeds.seed(machine, address)


async def _disk_changed(place: Platform, name: str) -> bool:
    """Is something kept that was written to the image's disk?  A machine that was booted without it would hide that."""
    return place.store is not None and any(record.name == name for record in await place.store.records("disk"))


@asynccontextmanager
async def _claimed(store: Store, name: str | None, wish: str) -> AsyncIterator[str]:
    """A name under which nobody else, in any tab, puts a machine meanwhile: `name`, or a
    free one that is like `wish`.  BadConfiguration for what is none, or taken just now."""
    if name is not None:
        check_name(name)
        if not await store.lock(_claim(name)):
            raise BadConfiguration(f"another machine is being stored as {name!r} at this moment; take another name, or try again")
    else:
        name = await _free_name(store, wish or "machine")
    try:
        yield name
    finally:
        await store.unlock(_claim(name))


def _claim(name: str) -> str:
    return f"name {name}"


async def _free_name(store: Store, wish: str) -> str:
    """`wish`, or with a number behind it when a machine sleeps by that name, or is just put there; claimed."""
    check_name(wish[:NAME_LENGTH])
    for number in itertools.count(1):
        behind = "" if number == 1 else f" {number}"
        name = wish[: NAME_LENGTH - len(behind)].rstrip() + behind
        if not await _taken(store, name) and await store.lock(_claim(name)):
            if not await _taken(store, name):
                break
            await store.unlock(_claim(name))  # it was put there between the two looks
    return name


async def _taken(store: Store, name: str) -> bool:
    return any(record.name == name for record in await store.records(KIND))


def check_name(name: str) -> None:
    """BadConfiguration for what is no name."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise BadConfiguration(f"{name!r} is no name for a sleeping machine: 1 to {NAME_LENGTH} printable characters are")
    if name.endswith(SUFFIX):
        raise BadConfiguration(f"{name!r} is no name for a sleeping machine: what ends in {SUFFIX} is a file of one")


async def forget(machine: Machine) -> None:
    """The guest has switched itself off: what was saved while it ran is no state to come back to."""
    async with machine._saver.busy:  # a save under way would put it back
        if machine.name is not None and machine._locked:
            with contextlib.suppress(SnapshotNotFound):
                await delete_snapshot(machine.name, machine._platform)
    await release(machine)


async def keep_checkpoints(machine: Machine) -> None:
    """Saves a running machine every Machine.checkpoint_seconds, when there is something to save."""
    last = time.monotonic()
    while machine.alive:
        await asyncio.sleep(1)
        seconds = type(machine).checkpoint_seconds
        if not seconds or time.monotonic() - last < seconds or machine.state != "running" or not machine._saver.changed:
            continue
        last = time.monotonic()
        try:
            await checkpoint(machine, None)
            machine.checkpoint_error = None
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the next one may succeed; the machine goes on
            machine.checkpoint_error = f"{type(error).__name__}: {error}"
            machine._platform.emit("checkpoint", {"error": machine.checkpoint_error})


def _about(text: str) -> dict[str, Any]:
    try:
        about = json.loads(text)
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _whole(about: dict[str, Any], name: str) -> int:
    value = about.get(name)
    return value if isinstance(value, int) else 0

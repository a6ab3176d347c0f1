"""Whatever is cut short, fails, or meets another call of its kind: a machine runs on, sleeps, or is gone
with all that it had taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hartwell.errors import BadConfiguration, HartwellError, MachineInUse, MachineStopped, StorageFailed
from hartwell.layout import RAM_BASE, field
from hartwell.machine import Machine
from hartwell.platform.store import CHUNK
from hartwell.platform.wasmtime import WasmtimeCore, WasmtimePlatform
from hartwell.snapshot.manifest import parse
from hartwell.snapshot.saver import KIND
from tests.core import bench
from tests.core.assembler import assemble
from tests.core.bare import SYMBOLS, elf
from tests.core.memory_store import MemoryStore

COUNT = SYMBOLS["DATA"]
PROGRAM = elf(assemble("li s0, DATA; loop: addi s1, s1, 1; sd s1, 0(s0); j loop", RAM_BASE, **SYMBOLS))


class Place(WasmtimePlatform):
    """Knows what is left of its machines."""

    def __init__(self) -> None:
        self.static, self._engine = bench.platform().static, bench.platform()._engine
        self.events: list[tuple[str, Any]] = []
        self._on_event = lambda kind, payload: self.events.append((kind, payload))
        self.store: MemoryStore = MemoryStore()  # type: ignore[assignment]
        self.cores: list[WasmtimeCore] = []

    async def create(self, *arguments: Any) -> Any:
        core = await super().create(*arguments)
        self.cores.append(core)  # type: ignore[arg-type]
        return core

    @property
    def alive(self) -> int:
        """Machines whose memory is still here."""
        return sum(not core._ended for core in self.cores)

    async def boot(self, **options: Any) -> Machine:
        return await Machine.boot(bare=PROGRAM, memory="4M", platform=self, **{"show": False, **options})

    async def wake(self, name: str, **options: Any) -> Machine:
        return await Machine.wake(name, lazy=False, platform=self, **{"show": False, **options})


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    yield place
    if Machine.shown is not None:
        await Machine.shown.close()
    for core in place.cores:
        core.terminate()
    assert not place.store.locks and not place.store.guards


async def counts(machine: Machine) -> bool:
    """Does its guest run?"""
    before = machine.memory.read(COUNT, 8)
    for _ in range(24_000):
        await asyncio.sleep(0.005)
        if machine.memory.read(COUNT, 8) != before:
            return True
    return False


class Cut:
    """Fails, or is cancelled, as the store's operation number `at` begins."""

    def __init__(self, store: MemoryStore, at: int, how: str) -> None:
        self.store, self.at, self.how = store, at, how
        self.seen = 0
        store.before = self

    def __call__(self, operation: str) -> None:
        self.seen += 1
        if self.seen != self.at:
            return
        if self.how == "failed":
            raise StorageFailed("no")
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def run(self, work: Any) -> BaseException | None:
        """What it raised."""
        try:
            await asyncio.ensure_future(work)
        except (HartwellError, asyncio.CancelledError) as error:
            return error
        finally:
            self.store.before = lambda _: None
        return None


@pytest.mark.parametrize("how", ["failed", "cancelled"])
@pytest.mark.parametrize("what", ["hibernate", "checkpoint"])
async def test_a_save_that_is_cut_short_anywhere(place: Place, what: str, how: str) -> None:
    machine = await place.boot()
    for at in range(1, 100):
        cut = Cut(place.store, at, how)
        error = await cut.run(getattr(machine, what)("desk"))
        if machine.state == "asleep":
            await asyncio.sleep(0.05)
            assert place.alive == 0 and not place.store.locks, f"{what} {how} at step {at}: something is left"
            machine = await place.wake("desk")
        assert machine.state == "running" and await counts(machine), f"{what} {how} at step {at} ({error!r})"
        assert not place.store.guards
        if cut.seen < at:
            break
    else:
        raise AssertionError("it never came to its end")
    assert at > 8
    await machine.close()


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_a_wake_that_is_cut_short_anywhere(place: Place, how: str) -> None:
    machine = await place.boot()
    await machine.hibernate("desk")
    for at in range(1, 100):
        cut = Cut(place.store, at, how)
        error = await cut.run(place.wake("desk", show=True))
        if error is None:
            break
        assert Machine.shown is None and place.alive == 0 and not place.store.locks and not place.store.guards, (
            f"{how} at step {at}: something is left")
    assert at > 4
    assert Machine.shown is not None and await counts(Machine.shown)


async def test_a_wake_brings_first_where_devices_look(place: Place) -> None:
    machine = await place.boot()
    chunks = []
    for queue, chunk in ((0, 40), (1, 7)):
        for part in ("desc", "avail", "used"):
            slot = field(f"Machine.virtio.queue.{part}", 0, queue)
            machine._core.write(slot.offset, (RAM_BASE + chunk * CHUNK + 64).to_bytes(8, "little"))
        chunks.append(chunk)
    slot = field("Machine.virtio.queue.desc", 0, 2)
    machine._core.write(slot.offset, (RAM_BASE + (1 << 40)).to_bytes(8, "little"))  # a guest may say anything
    machine._saver.first([3, 7])
    await machine.hibernate("desk")
    text = await place.store.get_record(KIND, "desk")
    assert text is not None
    order = parse(text, "desk").order
    assert order[: len(chunks)] == chunks and order.index(3) >= len(chunks) and len(order) == len(set(order))


async def test_a_start_that_is_cut_short_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    starting = asyncio.Event()

    async def slow(core: WasmtimeCore) -> None:
        starting.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(WasmtimeCore, "start_harts", slow)
    machine = asyncio.ensure_future(place.boot(show=True))
    await starting.wait()
    machine.cancel()
    with pytest.raises(asyncio.CancelledError):
        await machine
    assert Machine.shown is None and place.alive == 0


async def test_a_program_that_does_not_fit_leaves_nothing(place: Place) -> None:
    far = elf(assemble("loop: j loop", RAM_BASE + (64 << 20)))
    with pytest.raises(BadConfiguration, match="do not fit"):
        await Machine.boot(bare=far, memory="1M", platform=place)
    assert Machine.shown is None and place.alive == 0
    assert place.events[-1][1]["state"] != "loading"


async def test_two_boots_at_once_leave_one_machine(place: Place) -> None:
    machines = await asyncio.gather(place.boot(show=True), place.boot(show=True))
    assert Machine.shown in machines and place.alive == 1
    assert sorted(machine.state for machine in machines) == ["running", "stopped"]


async def test_two_machines_that_fall_asleep_at_once_both_wake(place: Place) -> None:
    machines = [await place.boot() for _ in range(3)]
    await asyncio.gather(*(machine.hibernate() for machine in machines))
    assert sorted(one.name for one in await Machine.snapshots(place)) == ["program", "program 2", "program 3"]
    assert len({one.identity for one in await Machine.snapshots(place)}) == 3


async def test_two_that_want_one_name(place: Place) -> None:
    machines = [await place.boot() for _ in range(2)]
    results = await asyncio.gather(*(machine.hibernate("desk") for machine in machines), return_exceptions=True)
    (failed,) = [one for one in results if one is not None]
    assert isinstance(failed, BadConfiguration) and "'desk'" in str(failed)
    (other,) = [machine for machine in machines if machine.state != "asleep"]
    assert await counts(other), "it goes on"
    await other.close()


async def test_two_files_imported_at_once_are_two_machines(place: Place) -> None:
    machine = await place.boot()
    await machine.hibernate("desk")
    text = await Machine.export_snapshot("desk", place=place)
    names = await asyncio.gather(*(Machine.import_snapshot(text, place=place) for _ in range(2)))
    assert sorted(names) == ["desk 2", "desk 3"]
    long = await Machine.import_snapshot(text, "n" * 200, place=place)
    again = await Machine.import_snapshot(text, long, place=place)
    assert len(again) == 200 and again.endswith(" 2")
    await (await place.wake(again)).close()


async def test_a_file_does_not_say_what_a_guest_starts_from(place: Place, tmp_path: Path) -> None:
    """Else its guest had a file of this computer's in its memory after a reboot."""
    program = tmp_path / "program"
    program.write_bytes(PROGRAM)
    machine = await Machine.boot(bare=str(program), memory="4M", platform=place, show=False)
    await machine.hibernate("desk")
    place.store.files["f.hartwell"] = text = await Machine.export_snapshot("desk", place=place)
    await Machine.import_snapshot(text, "there", place=place)
    for name, starts in (("desk", True), ("f.hartwell", False), ("there", False)):
        machine = await place.wake(name)
        assert ("bare" in machine._request.options) == starts
        machine.reset()
        for _ in range(12_000):
            await asyncio.sleep(0.01)
            if machine.state == "crashed" or machine.state == "running" and await counts(machine):
                break
        assert machine.state == ("running" if starts else "crashed")
        assert starts or "no longer at hand" in str(machine.error)
        await machine.close()


@pytest.mark.parametrize("name", ["desk.hartwell", "", " desk", "a\nb", "n" * 201, 7])
async def test_names_that_could_not_be_woken(place: Place, name: Any) -> None:
    machine = await place.boot()
    with pytest.raises(BadConfiguration, match="is no name"):
        await machine.hibernate(name)
    assert await counts(machine)
    await machine.close()


async def test_a_machine_that_runs_keeps_its_name(place: Place) -> None:
    machine = await place.boot()
    await machine.checkpoint("desk")
    with pytest.raises(MachineInUse, match="rename it when it sleeps"):
        await Machine.rename_snapshot("desk", "lab", place)
    await machine.hibernate()
    await Machine.rename_snapshot("desk", "lab", place)
    assert [one.name for one in await Machine.snapshots(place)] == ["lab"]


async def test_who_asks_at_once_whether_it_runs_gets_one_answer(place: Place) -> None:
    await (await place.boot()).hibernate("desk")
    assert await asyncio.gather(*(Machine.in_use("desk", place) for _ in range(3))) == [False] * 3


async def test_a_reset_waits_for_a_save(place: Place) -> None:
    machine = await place.boot()
    await machine.checkpoint("desk")
    stored = place.store.kept["snapshot", "desk"][1]
    resetting = False

    def before(operation: str) -> None:
        nonlocal resetting
        if operation == "saved" and not resetting:
            resetting = True
            machine.reset()

    place.store.before = before
    await asyncio.gather(machine.checkpoint("desk"), asyncio.sleep(0.1), return_exceptions=True)
    assert place.store.kept["snapshot", "desk"][1] != stored
    for _ in range(12_000):
        if machine.state == "running" and int.from_bytes(machine.memory.read(COUNT, 8), "little"):
            break
        await asyncio.sleep(0.01)
    assert await counts(machine)
    await machine.close()
    await (await place.wake("desk")).close()


async def test_a_machine_that_was_closed_stays_so(place: Place) -> None:
    machine = await place.boot()
    await asyncio.gather(machine.close(), machine.close())
    assert machine.state == "stopped" and place.alive == 0
    with pytest.raises(MachineStopped, match="memory was given back"):
        machine.reset()
    await machine.close()


async def test_a_close_that_is_cut_short_ends_all_the_same(place: Place) -> None:
    machine = await place.boot()
    closing = asyncio.ensure_future(machine.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    for _ in range(12_000):
        if not place.alive:
            break
        await asyncio.sleep(0.01)
    assert place.alive == 0 and machine.state == "stopped"


async def test_a_stopped_machine_begins_once(place: Place) -> None:
    machine = await place.boot()
    await machine.shutdown(0.1)
    for _ in range(3):
        machine.reset()
    assert machine.alive
    assert await counts(machine)
    waiting = asyncio.ensure_future(machine.wait())
    await machine.shutdown(0.1)
    assert await waiting == 0
    await machine.close()

"""A disk is exported while its guest goes on: what is frozen for it thaws, whatever happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hartwell.disks import DiskPlan
from hartwell.errors import HartwellError, StorageFull
from hartwell.layout import CONSTANTS, field
from hartwell.machine_disks import MachineDisks
from hartwell.platform.store import FrozenDisk, Record
from tests.unit.fake import make_core


class Agent:
    """A guest that is frozen or not, and refuses to be so twice, as qemu-guest-agent does."""

    present = True

    def __init__(self) -> None:
        self.frozen = False
        self.times = 0
        self.turn = asyncio.Lock()

    async def freeze(self) -> int:
        if self.frozen:
            raise HartwellError("guest-fsfreeze-freeze: the command is not allowed now")
        self.frozen = True
        self.times += 1
        await asyncio.sleep(0.01)  # it is done before its answer is here
        return 1

    async def thaw(self) -> int:
        await asyncio.sleep(0.001)
        self.frozen = False
        return 1


class Store:
    def __init__(self, agent: Agent, error: Exception | None = None) -> None:
        self.agent, self.error = agent, error
        self.exports: list[bool] = []

    async def export_disk(self, which: Any, format: str, file: str, *, taken: Callable[[], None], **_: Any) -> str:
        await asyncio.sleep(0.002)
        self.exports.append(self.agent.frozen)
        if self.error:
            raise self.error
        taken()
        await asyncio.sleep(0.01)
        return "blob"


def disks(store: Store, agent: Agent, control: str = "RUN") -> MachineDisks:
    class Place:
        pass

    core, place = make_core(), Place()
    core.store(field("Machine.control").offset, CONSTANTS[f"CONTROL_{control}"])
    place.store = store  # type: ignore[attr-defined]
    plan = DiskPlan("d", 4096, {"kind": "zeros", "name": "d"}, None, None, False, 1)
    made = MachineDisks(place, core, [plan], agent)  # type: ignore[arg-type]
    made._number = 1
    return made


async def test_two_at_once_are_both_frozen() -> None:
    agent = Agent()
    store = Store(agent)
    machine = disks(store, agent)
    assert await asyncio.gather(machine.export(), machine.export()) == ["blob", "blob"]
    assert store.exports == [True, True] and not agent.frozen


@pytest.mark.parametrize("after", [0.0, 0.005, 0.011, 0.015, 0.02])
async def test_who_gives_up_leaves_no_guest_frozen(after: float) -> None:
    agent = Agent()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(after):
            await disks(Store(agent), agent).export()
    if work := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(work)
    assert not agent.frozen


async def test_what_went_wrong_is_said_after_the_thaw() -> None:
    agent = Agent()
    with pytest.raises(StorageFull):
        await disks(Store(agent, StorageFull("no room")), agent).export()
    assert not agent.frozen and agent.times == 1


async def test_a_guest_that_cannot_be_asked_is_not() -> None:
    for control, present in (("PAUSE", True), ("RUN", False)):
        agent = Agent()
        agent.present = present
        assert await disks(Store(agent), agent, control).export() == "blob"
        assert agent.times == 0


async def test_a_disk_that_another_machine_writes_to_until_it_is_free_stays_that_ones() -> None:
    class Kept:
        """Whoever has the overlay commits once more, and gives it back, between a look at it and its lock."""

        def __init__(self) -> None:
            self.about = {"bytes": 4096, "owner": "other", "born": 1, "generation": 5}
            self.locks: set[str] = set()

        async def records(self, kind: str) -> list[Record]:
            return [Record("d", json.dumps(self.about), 0.0)]

        async def lock(self, name: str) -> bool:
            self.about["generation"] = 6
            self.locks.add(name)
            return True

        async def unlock(self, name: str) -> None:
            self.locks.remove(name)

    store = Kept()
    machine = disks(store, Agent())  # type: ignore[arg-type]
    plan = replace(machine.plans[0], overlay="d", frozen=FrozenDisk(1, 5, b""))
    again, note = await machine._again(plan, 0, "me")
    assert again.overlay == "d 2" and "'d 2'" in note and store.locks == {"disk d 2"}

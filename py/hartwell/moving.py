"""A machine moves to another tab while it runs.

As in live migration (Clark et al., "Live Migration of Virtual Machines", NSDI
2005): what it has written goes to the store while it goes on, round after
round, until little is left; then it stands still, the rest is stored, and the
other tab wakes it lazily.  Both tabs have one store, so nothing else moves.

Tabs speak over a channel of the origin: {"what": "move", "identity", "name",
"by"} asks whoever runs the machine, {"what": "moved", "by", "error"} answers.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hartwell.errors import MachineInUse
from hartwell.platform import Platform

if TYPE_CHECKING:
    from hartwell.machine import Machine

ROUNDS = 3
LITTLE_BYTES = 4 << 20  # stored in a tenth of a second
SECONDS = 60.0  # for the other tab, which may have much to store

_send: Callable[[Mapping[str, Any]], None] | None = None
_waiting: dict[str, asyncio.Future[str]] = {}
_tasks: set[asyncio.Task[None]] = set()


def listen(kind: type[Machine], place: Platform) -> None:
    """From now on this page gives its machine to one that asks for it."""
    global _send

    def heard(message: Mapping[str, Any]) -> None:
        if message.get("what") == "moved":
            if (answer := _waiting.get(str(message.get("by")))) and not answer.done():
                answer.set_result(str(message.get("error", "")))
        elif message.get("what") == "move":
            machine = kind.shown
            # By identity: a save that ran at the same time may have given it another name.
            if machine is not None and machine.alive and machine._locked and machine._saver.identity == message.get("identity"):
                task = asyncio.ensure_future(_give(machine, str(message.get("name")), str(message.get("by"))))
                _tasks.add(task)
                task.add_done_callback(_tasks.discard)

    _send = place.channel(heard)


async def _give(machine: Machine, name: str, by: str) -> None:
    error = ""
    try:
        for _ in range(ROUNDS):
            await machine.checkpoint(name)
            if machine._saver.changed <= LITTLE_BYTES:
                break
        await machine.hibernate(name)
    except Exception as trouble:  # noqa: BLE001 - the other tab waits to hear of it; the machine goes on here
        error = str(trouble) or type(trouble).__name__
    if _send is not None:
        _send({"what": "moved", "by": by, "error": error})


async def ask(identity: str, name: str) -> None:
    """The tab that runs the machine puts it to sleep, for this one
    to wake.  MachineInUse when it can't, or when none answers."""
    if _send is None:
        raise MachineInUse(f"{name!r} runs elsewhere, and from there machines do not move; put it to sleep there")
    by = str(uuid.uuid4())
    answer = _waiting[by] = asyncio.get_running_loop().create_future()
    try:
        _send({"what": "move", "identity": identity, "name": name, "by": by})
        error = await asyncio.wait_for(answer, SECONDS)
    except (TimeoutError, asyncio.TimeoutError):
        raise MachineInUse(f"{name!r} runs elsewhere, and who has it does not answer; put it to sleep there") from None
    finally:
        del _waiting[by]
    if error:
        raise MachineInUse(f"{name!r} stays where it runs: {error}")

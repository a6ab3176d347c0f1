"""`machine.debugger`, under the names that people and scripts use.

    stop = machine.debugger
    stop.break_at(0xffff_ffff_8000_20a8)
    print(await stop.stopped())
    stop.step(); print(hex(machine.harts[0].pc))
    stop.clear(); stop.resume()
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hartwell.debugger import stops
from hartwell.debugger.backtrace import backtrace
from hartwell.debugger.control import Control
from hartwell.debugger.points import Breakpoint, Condition, Kind, Point, Points, Watchpoint
from hartwell.debugger.stops import Stop
from hartwell.debugger.views import View
from hartwell.errors import BadAddress, HartwellError, MachineStopped
from hartwell.harts import Hart
from hartwell.linux.backtrace import Frame
from hartwell.memory import Memory
from hartwell.platform import Core

Listener = Callable[[], None]


class Process(Protocol):
    """A program that runs, such as a hartwell.linux.Task."""

    @property
    def satp(self) -> int: ...


class Names(Protocol):
    """What is known of addresses (hartwell.inspection)."""

    def address_of(self, name: str, task: Any, program: str) -> int | None:
        """Of a symbol or a `file.c:12`; None for one that is not known."""

    def program_on(self, hart: int) -> str:
        """What a hart runs, as Linux' comm (15 characters); "" where that is not known."""

    def calls(self, hart: int) -> list[Frame]:
        """A hart's stack, innermost first."""


class Debugger:
    """Stops a machine's harts, from outside the guest.

    Nothing in the guest's memory changes, and where nothing is set nothing is
    slower.  All addresses are virtual, as the hart that comes by has them
    mapped, unless `physical=True`.
    """

    def __init__(
        self, core: Core, harts: Sequence[Hart], memory: Memory,
        pause: Callable[[], None], resume: Callable[[], None],
        names: Names | None = None,
    ) -> None:
        """names: who knows symbols; without, there are addresses only."""
        self._core, self._names = core, names
        self.harts, self.memory = harts, memory
        self.points = Points(core)
        self.view = View(core, memory)
        self.control = Control(core, pause, resume)
        self.control.stop_all(True)
        self.listeners: list[Listener] = []
        """Called when a hart or a device has hit something, and when the machine has ended or begun anew."""
        self._event = asyncio.Event()
        self._stop: Stop | None = None
        self._ended = False

    # --- what is set ----------------------------------------------------------------

    @property
    def breakpoints(self) -> tuple[Breakpoint, ...]:
        return tuple(self.points.breakpoints)

    @property
    def watchpoints(self) -> tuple[Watchpoint, ...]:
        return tuple(self.points.watchpoints)

    def break_at(
        self, where: int | str, *, task: Process | None = None, space: int | None = None, program: str = "",
        condition: Condition | None = None, physical: bool = False,
    ) -> Breakpoint:
        """Harts will stop before the instruction at an address, a symbol, or where
        a line's code begins ("file.c:12"; the next line with code if it has none).

        task: of machine.linux: its program's names, and only it stops.
        space: the satp of one process (any of its ASIDs); others don't stop.
        program: only tasks of that name stop (Linux' comm), in its code or in the
        kernel's for it, also those that begin later; one that can be loaded
        anywhere has other addresses in each process.
        condition: asked with the Stop when it is hit; harts go on where it says
        no.  That, as `program`, costs a stop of all harts each time.
        Raises BadAddress for a name that is not known, BadConfiguration when
        the table is full or the address is odd.
        """
        address, name = self._resolve(where, task, program)
        point = Breakpoint(address, _space(space, task), physical, name, self._condition(program, condition))
        self.set(point)
        return point

    def watch(
        self, where: int | str, size: int = 8, kind: Kind = "write", *,
        task: Process | None = None, space: int | None = None, program: str = "",
        condition: Condition | None = None, physical: bool = False,
    ) -> Watchpoint:
        """Harts will stop before an access ("read", "write" or either, "access")
        to one of `size` bytes; a device's access stops them right after it.
        The rest is as for break_at.

        What is exact: address, size and kind, across harts and page borders.
        What isn't seen: the page-table walker's own accesses.
        """
        address, name = self._resolve(where, task, program)
        point = Watchpoint(address, size, kind, _space(space, task), physical, name, self._condition(program, condition))
        self.set(point)
        return point

    def set(self, point: Point) -> None:
        """Sets a break- or watchpoint that was made before."""
        with self.control.standing():
            self.points.add(point)
            self._write(point)

    def clear(self, *points: Point, number: int | None = None) -> None:
        """Takes these away, or the one of that number; all when none is named."""
        chosen: tuple[Point, ...] = points or (*self.breakpoints, *self.watchpoints)
        if number is not None:
            chosen = tuple(point for point in chosen if point.number == number)
        if not chosen:
            return
        with self.control.standing():
            stood = self.found()
            for point in chosen:
                self.points.remove(point)
            self._write(*chosen)
            for stop in stood:  # what a hart stands at has another place in the table now, or none
                stops.renumber(self._core, stop, self.points)

    def _write(self, *points: Point) -> None:
        """No hart may run."""
        self.points.write(
            breakpoints=any(isinstance(point, Breakpoint) for point in points),
            watchpoints=any(isinstance(point, Watchpoint) for point in points),
        )

    # --- stop and go ------------------------------------------------------------------

    @property
    def stop(self) -> Stop | None:
        """Why the machine stands still; None while it runs."""
        return self._stop if self.control.paused else None

    async def stopped(self, timeout: float | None = None) -> Stop:
        """Until the machine stands still at something; that.

        Raises MachineStopped when it ends instead, TimeoutError after
        `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            while not self._ended:
                if self.control.paused and self._stop:
                    return self._stop
                self._event.clear()
                await self._event.wait()
        raise MachineStopped("the machine has stopped for good, so nothing is hit any more; boot it again")

    def pause(self) -> Stop:
        """Stops all harts where they are; a gdb that is connected hears of it."""
        self.control.pause()
        self._stop = self._stop or Stop("pause", 0, self.harts[0].pc)
        self._event.set()
        stop = self._stop
        self._call()
        return stop

    def resume(self) -> None:
        """All harts go on, past what they stand at."""
        self._need_pause("go on")
        self._stop = None
        self.control.run(range(self.control.count), past=True)

    def step(self, hart: int = 0, count: int = 1) -> Stop:
        """`count` instructions of one hart while the others stand still.

        A trap is a step to its handler's first instruction; interrupts wait
        until the machine goes on.  Ends early at a break- or watchpoint.
        """
        self._need_pause("step")
        self._check(hart)
        self.control.step(hart, count)
        self._stop = self.at(hart) or Stop("step", hart, self.harts[hart].pc)
        return self._stop

    def backtrace(self, hart: int = 0) -> list[Frame]:
        """The calls that a hart is in, innermost first: address, name, line, and
        whether it is sure (docs/debugging.md says by what)."""
        self._check(hart)
        return self._names.calls(hart) if self._names else backtrace(self.view, self.harts[hart])

    def found(self) -> list[Stop]:
        """What every hart, and the devices, stand at now."""
        every = [self.at(hart) for hart in range(self.control.count)]
        return [stop for stop in (*every, self.device()) if stop]

    def rung(self) -> None:
        """A hart or a device has hit something (DOORBELL_DEBUG)."""
        if not self.found():
            return
        if self.control.paused:
            asked = self.control.asked
            self.control.pause()  # harts may still be on their way, also those that have hit something
            if not (wanted := [stop for stop in self.found() if not stop.heard and _wanted(stop)]):
                if not asked:
                    self.control.run(self.control.free(), past=True)
                return
            for stop in wanted:
                stops.hear(self._core, stop)
            self._stop = wanted[0]
            self._event.set()
        else:  # each hart stops alone
            for stop in self.found():
                if stop.heard:
                    continue
                if _wanted(stop):
                    stops.hear(self._core, stop)
                else:
                    self.control.release(stop.hart, past=True)
        self._call()

    def note(self, stop: Stop) -> None:
        """Somebody who steers by `control` says why everything stands still now."""
        self._stop = stop
        self._event.set()

    def ended(self) -> None:
        """The machine has stopped for good."""
        self._ended = True
        self._stop = None
        self._event.set()
        self._call()

    def started(self) -> None:
        """The machine begins anew, with all that is set."""
        self._ended = False
        self._stop = None
        self._call()

    @property
    def over(self) -> bool:
        """Has the machine stopped for good?"""
        return self._ended

    def forget(self, hart: int | None) -> None:
        """A hart (None: a device) is no longer taken to stand at what it hit."""
        stops.forget(self._core, hart)

    def at(self, hart: int) -> Stop | None:
        """What this hart stands at, None for nothing."""
        return stops.of_hart(self._core, hart, self.points)

    def device(self) -> Stop | None:
        """The device's access that stopped everything, if one did."""
        return stops.of_devices(self._core, self.points)

    def address(self, where: int | str) -> int:
        """The address of a symbol or a line, as break_at takes it.  BadAddress for a name that is not known."""
        return self._resolve(where, None, "")[0]

    # --- inside -------------------------------------------------------------------------

    def _call(self) -> None:
        for listener in list(self.listeners):
            try:
                listener()
            except Exception:  # noqa: BLE001 - it may be a person's own, and others have to hear as well
                traceback.print_exc()

    def _resolve(self, where: int | str, task: Process | None, program: str) -> tuple[int, str]:
        if isinstance(where, int):
            return where, ""
        address = self._names.address_of(where, task, program) if self._names else None
        if address is None:
            raise BadAddress(f"no symbol or line is named {where[:100]!r}; give an address, name the task whose program has "
                             "it, or load the program's symbols first (machine.symbols.add)")
        return address, where

    def _condition(self, program: str, condition: Condition | None) -> Condition | None:
        if not program:
            return condition
        if not (names := self._names):
            raise BadAddress(f"what runs {program!r} can't be told without a guest's kernel")
        return lambda stop: names.program_on(stop.hart) == program[:15] and (condition is None or condition(stop))

    def _check(self, hart: int) -> None:
        if not 0 <= hart < self.control.count:
            raise IndexError(f"hart {hart} is outside 0..{self.control.count - 1}")

    def _need_pause(self, what: str) -> None:
        if not self.control.paused:
            raise HartwellError(f"the machine runs, so it can't {what}; pause() it, or await stopped() first")

    def __repr__(self) -> str:
        return f"<Debugger {len(self.breakpoints)} breakpoints, {len(self.watchpoints)} watchpoints, {self.stop or 'running'}>"


def _wanted(stop: Stop) -> bool:
    """Does a stop count?  Not at a point that was taken away before anybody heard
    of the hit.  A condition that fails with an error stops: somebody should see that."""
    if stop.point is None:
        return False
    if stop.point.condition is None:
        return True
    try:
        return bool(stop.point.condition(stop))
    except Exception:  # noqa: BLE001 - it is a person's own code
        traceback.print_exc()
        return True


def _space(space: int | None, task: Process | None) -> int | None:
    return task.satp if space is None and task is not None else space

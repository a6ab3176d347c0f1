"""`machine.history`: a run that repeats, and that one can go back in.

    machine = await Machine.record(image="shell", memory="128M")
    ...
    recording = machine.history.recording()
    again = await Machine.replay(recording, image="shell", memory="128M")
    await again.history.finished()
    await machine.history.reverse_continue()
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable

from hartwell.debugger import Debugger, Stop
from hartwell.errors import HartwellError
from hartwell.history.control import SteeredControl
from hartwell.history.driver import Driver
from hartwell.history.recording import Entropy, Recording
from hartwell.history.taps import Tap
from hartwell.platform import Core

SLICE = 1_000_000  # instructions between two looks at what else there is to do
IDLE_SECONDS = 0.005
AHEAD_SECONDS = 0.02  # that the guest's clock may be before ours


class History:
    """Run control and memory of one recorded, or repeated, machine."""

    def __init__(
        self, core: Core, recording: Recording, taps: list[Tap], entropy: Entropy, work: Callable[[], object],
        tell: Callable[[], None], rung: Callable[[], None],
    ) -> None:
        self._core, self._tell, self._rung = core, tell, rung
        self._made: Callable[[Recording], Driver] = lambda kept: Driver(core, kept, taps, entropy, work)
        self.driver = self._made(recording)
        self._from_boot = True
        self.running = False
        self.debugger: Debugger
        self.pace = True
        """Does the guest's clock wait for ours?  A replay, or a test, need not."""
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    # --- run control -------------------------------------------------------------------

    def control(self, pause: Callable[[], None], resume: Callable[[], None]) -> SteeredControl:
        """The debugger's run control."""
        return SteeredControl(self._core, self, pause, resume)

    def begin(self) -> None:
        """The machine stands before its first instruction, of its boot or of a
        reset.  What was before a reset is forgotten."""
        if self.driver.checkpoints.list:
            self._from_boot = False
            old = self.driver.recording
            self.driver = self._made(Recording(old.seed, old.epoch))
        self.driver.begin()

    def pause(self) -> None:
        """The hart stands still at an instruction boundary when this returns."""
        self.running = False
        self._tell()

    def resume(self) -> None:
        """It goes on."""
        if not self.running:
            self.running = True
            self._task = asyncio.ensure_future(self._run())
            self._tell()

    async def _run(self) -> None:
        began, clock = time.monotonic(), self._clock()
        me = asyncio.current_task()
        while self.running and self._task is me:  # one that slept over a pause and a resume has a follower
            end = self.driver.forward(self.driver.instret + SLICE)
            if end == "stop":
                self.running = False
                self._rung()
            elif end == "off":
                self.running = False
            self._news.set()
            ahead = self._clock() - clock - (time.monotonic() - began)
            if end == "idle":
                await asyncio.sleep(IDLE_SECONDS)
            elif self.pace and not self.driver.repeating and ahead > AHEAD_SECONDS:
                await asyncio.sleep(min(ahead, 0.25))
            else:
                await asyncio.sleep(0)

    def _clock(self) -> float:
        return self._core.call("machine_clock") / 1e7

    # --- the recording -------------------------------------------------------------------

    @property
    def instret(self) -> int:
        """Instructions retired: where the run is."""
        return self.driver.instret

    @property
    def diverged(self) -> int | None:
        """Where a replay differed from its recording first; None while it is the same."""
        return self.driver.diverged

    def recording(self) -> Recording:
        """All that is needed to repeat the run up to here.  HartwellError after a
        reset: RAM keeps what it held, so the run does not begin as a boot does."""
        if not self._from_boot:
            raise HartwellError("this run began with a reset, so it can be gone back in but not replayed; boot a new machine")
        taken = copy.deepcopy(self.driver.recording)
        taken.end = self.driver.end
        return taken

    async def finished(self, timeout: float | None = None) -> None:
        """Until a replay has come to its recording's end, or the machine stands still."""
        async with asyncio.timeout(timeout):
            while self.running and self.driver.repeating:
                self._news.clear()
                await self._news.wait()

    # --- going back -----------------------------------------------------------------------

    def go_to(self, instret: int) -> None:
        """Makes the machine what it was after `instret` instructions of this run.

        HartwellError for a place that was not reached yet, or while it runs.
        """
        self._need_pause()
        if not 0 <= instret <= self.driver.end:
            raise HartwellError(f"{instret} instructions: the run that is known goes from 0 to {self.driver.end}")
        with self._nothing_set():
            self.driver.go_to(instret)
        self._tell()

    def reverse_step(self, count: int = 1) -> Stop:
        """Goes back by `count` instructions; a trap belongs to the one that caused it."""
        self.go_to(max(0, self.instret - count))
        return self._stopped(Stop("step", 0, self._pc()))

    async def reverse_continue(self) -> Stop:
        """Goes back to the last place where something that is set now was hit.

        Stands before the instruction, as on the way forward.  Where there is
        none, at the beginning: reason "begin".
        """
        self._need_pause()
        driver, end = self.driver, self.instret
        points = driver.checkpoints
        number = points.before(max(0, end - 1))
        while end > 0 and number >= 0:
            start = points.list[number].instret
            with self._nothing_set():
                driver.go_to(start)
            last = None
            while (where := driver.forward(end)) in ("stop", "idle"):
                if where == "idle":
                    continue
                if self.instret >= end:
                    break
                last = self.instret, self.debugger.at(0) or self.debugger.device()
                self.debugger.control.run((), past=True)
                await asyncio.sleep(0)
            self.debugger.forget(0)
            self.debugger.forget(None)
            if last and last[1]:
                self.go_to(last[0])
                return self._stopped(last[1])
            end, number = start, number - 1
            await asyncio.sleep(0)
        self.go_to(0)
        return self._stopped(Stop("begin", 0, self._pc()))

    # --- inside ------------------------------------------------------------------------------

    def _nothing_set(self) -> _NothingSet:
        return _NothingSet(self.debugger)

    def _stopped(self, stop: Stop) -> Stop:
        self.debugger.note(stop)
        return stop

    def _pc(self) -> int:
        return self.debugger.harts[0].pc

    def _need_pause(self) -> None:
        if self.running:
            raise HartwellError("the machine runs, so it can't go back; pause() it first")


class _NothingSet:
    """Break- and watchpoints are out of the way meanwhile."""

    def __init__(self, debugger: Debugger) -> None:
        self._points = debugger.points

    def __enter__(self) -> None:
        self._set = self._points.breakpoints, self._points.watchpoints
        self._points.breakpoints, self._points.watchpoints = [], []
        self._points.write()

    def __exit__(self, *_: object) -> None:
        self._points.breakpoints, self._points.watchpoints = self._set
        self._points.write()

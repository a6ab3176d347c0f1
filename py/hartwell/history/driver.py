"""Runs one hart on the supervisor's thread, so that the same run comes again.

A hart is deterministic between two looks from outside.  So there are only
three places where the outside has a say, and each is known by the number of
instructions retired:

  grid    every TIME_GRID instructions: mtime moves, devices written in Python
          serve, output is taken, input is given
  wait    a WFI with nothing pending: mtime goes on to the next timer at once,
          then the same as on the grid
  stop    the debugger's: nothing else happens there

Breakpoints, steps and pauses may cut a run anywhere between; since nothing
happens at such a cut, it is the same run with and without them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from hartwell.history.checkpoints import Checkpoints
from hartwell.history.recording import Entropy, Event, Recording
from hartwell.history.taps import Tap
from hartwell.layout import CONSTANTS, TIME_GRID, field
from hartwell.platform import Core

INTERVAL = 10_000_000  # instructions between two checkpoints
_FLAGS = CONSTANTS["RUN_STEER"] | CONSTANTS["RUN_NOWAIT"] | CONSTANTS["RUN_EXACT"]
_INSTRET = field("Hart.instret", 0).offset
_NEVER = (1 << 64) - 1

End = Literal["limit", "stop", "idle", "off"]


class Driver:
    """The machine's only hart, and all that reaches it."""

    def __init__(self, core: Core, recording: Recording, taps: list[Tap], entropy: Entropy, work: Callable[[], object]) -> None:
        """work: devices in Python serve, and consoles' output is taken."""
        self._core, self._taps, self._work = core, taps, work
        self.recording, self.entropy = recording, entropy
        self.checkpoints = Checkpoints(core)
        self.furthest = 0  # instructions; up to here a run is only repeated
        self.diverged: int | None = None  # where a replay's digest differed first
        self._next = 0  # event
        self._given = list(recording.digests)

    @property
    def instret(self) -> int:
        """Instructions retired: where the run is."""
        return int.from_bytes(self._core.read(_INSTRET, 8), "little")

    @property
    def end(self) -> int:
        """Where the recording that there is ends."""
        return max(self.furthest, self.recording.end)

    @property
    def repeating(self) -> bool:
        """Is this a part of which all input is known?"""
        return self.instret < self.end or self._next < len(self.recording.events)

    @property
    def muted(self) -> bool:
        """Is this a part whose output was shown before?"""
        return self.instret < self.furthest

    def begin(self) -> None:
        """Before the first instruction."""
        self._checkpoint(0)

    def forward(self, limit: int) -> End:
        """Until `limit` instructions have retired, or something stops it: the
        debugger ("stop"), a wait for which there is no input ("idle"), the end."""
        try:
            return self._forward(limit)
        finally:
            self._advanced()

    def _forward(self, limit: int) -> End:
        core = self._core
        while (now := self.instret) < limit:
            target = min(limit, (now // TIME_GRID + 1) * TIME_GRID)
            result = core.call("hart_run", 0, target - now, _FLAGS)
            if result == CONSTANTS["RUN_DEBUG_STOP"]:
                return "stop"
            if result == CONSTANTS["RUN_STOPPED"]:
                return "off"
            arrived = self.instret
            if result == CONSTANTS["RUN_WFI"]:
                timer = self._skip()
                self._boundary(arrived)
                if not timer and arrived == now:
                    return "idle"
            elif arrived == target and arrived % TIME_GRID == 0:
                self._boundary(arrived)
        return "limit"

    def go_to(self, instret: int) -> None:
        """Makes the machine what it was after so many instructions, with nothing shown."""
        checkpoint = self.checkpoints.restore(self.checkpoints.before(instret))
        self._next, self.entropy.taken = checkpoint.events, checkpoint.entropy
        while self.instret < instret and self.forward(instret) == "idle":
            pass

    # --- what comes from outside ------------------------------------------------------

    def _skip(self) -> bool:
        """Time goes on to the next timer; False when there is none."""
        due = self._core.call("hart_next_timer", 0) & _NEVER
        if due == _NEVER:
            return False
        now = self._core.call("machine_clock") & _NEVER
        if due > now:
            self._core.call("machine_skip_time", due - now)
        return True

    def _boundary(self, instret: int) -> None:
        self._work()
        events = self.recording.events
        if instret < self.end or self._next < len(events):
            while self._next < len(events) and events[self._next].instret <= instret:
                event = events[self._next]
                self._next += 1
                self._taps[event.port].deliver(event.data)
        else:
            for port, tap in enumerate(self._taps):
                if tap.waiting and (count := tap.deliver(bytes(tap.waiting))):
                    events.append(Event(instret, port, bytes(tap.waiting[:count])))
                    del tap.waiting[:count]
            self._next = len(events)
        if instret % INTERVAL == 0:
            self._checkpoint(instret)

    def _advanced(self) -> None:
        self.furthest = max(self.furthest, self.instret)

    def _checkpoint(self, instret: int) -> None:
        known = self.checkpoints.list
        if known and instret <= known[-1].instret:
            self.checkpoints.passed()
            return
        digest = self.checkpoints.take(instret, self._next, self.entropy.taken).digest
        number = len(known) - 1
        if number >= len(self._given):
            self.recording.digests.append((instret, digest))
        elif self._given[number] != (instret, digest) and self.diverged is None:
            self.diverged = instret

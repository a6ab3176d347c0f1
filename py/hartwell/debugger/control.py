"""Who runs and who stands still.

Two ways to stand still.  In a pause the machine does: control is PAUSE, time
is frozen.  A held hart does although the machine runs.  A step is made by the
supervisor's own thread (RUN_STEER) on a hart that stands still either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from hartwell.debugger import stops
from hartwell.errors import HartwellError
from hartwell.layout import CONSTANTS, field
from hartwell.platform import Core

HOLD_SECONDS = 5.0  # a hart comes to its next instruction within microseconds; a core may be busy
SLICE = 20_000  # steps between two looks at what else there is to do
_CONTROL = field("Machine.control").offset
_RUNNING = field("Machine.running_harts").offset
_STEP = CONSTANTS["RUN_STEER"] | CONSTANTS["RUN_NOWAIT"] | CONSTANTS["RUN_EXACT"]


class Control:
    """Run control of one machine's harts."""

    def __init__(self, core: Core, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """pause, resume: the machine's own, which wait for harts and tell the page."""
        self._core, self._pause, self._resume = core, pause, resume
        self.count = core.plan.harts
        self._stops_all = True
        self.asked = False  # does it stand still because somebody said so, not only because a hart has hit something?
        self.interrupts = False  # does a step take an interrupt that is pending?

    @property
    def paused(self) -> bool:
        """Does the whole machine stand still?"""
        return self._core.load(_CONTROL) == CONSTANTS["CONTROL_PAUSE"]

    def stop_all(self, on: bool) -> None:
        """Whether a hart that hits something stops all harts, or only itself."""
        self._stops_all = on
        self._core.store(field("Machine.debug.stop_all").offset, int(on))

    def still(self, hart: int) -> bool:
        """Does this hart stand still?"""
        return self.paused or bool(self._core.load(field("Hart.debug.hold", hart).offset))

    def free(self) -> list[int]:
        """The harts that nobody holds."""
        return [hart for hart in range(self.count) if not self._core.load(field("Hart.debug.hold", hart).offset)]

    def pause(self) -> None:
        """Everything stands still, and is known to when this returns."""
        self._pause()

    def run(self, harts: Iterable[int], past: bool) -> None:
        """Lets these harts run and holds the others; all stood still before.

        past: one that stopped at something goes past it; else it may stop
        there again at once.
        """
        chosen = set(harts)
        for hart in range(self.count):
            self._core.call("debug_hold", hart, int(hart not in chosen))
            if not past:
                stops.forget(self._core, hart)
        stops.forget(self._core, None)
        if chosen:
            self._resume()

    def hold(self, hart: int) -> None:
        """This hart stands still when this returns; the others go on."""
        core, active = self._core, field("Hart.active", hart).offset
        core.call("debug_hold", hart, 1)
        for _ in range(int(HOLD_SECONDS / 0.01)):
            if not core.load(active):
                return
            core.block(active, 1, 0.01)
        core.call("debug_hold", hart, 0)
        raise HartwellError(f"hart {hart} did not come to rest within {HOLD_SECONDS} s; it goes on")

    def release(self, hart: int, past: bool) -> None:
        """A held hart goes on; the machine too if it was paused (with every hart held)."""
        core = self._core
        if past and self._reason(hart):
            self._go_over(hart)
        stops.forget(core, hart)
        core.call("debug_hold", hart, 0)
        if self.paused:
            self._resume()

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Nobody runs meanwhile.  Goes on afterwards unless a hart has stopped at
        something just then."""
        if self.paused or not self._core.load(_RUNNING):
            yield
            return
        self._core.call("machine_pause")
        try:
            self._pause()
            yield
        finally:
            self.asked = False
            if not (self._stops_all and any(self._reason(hart) for hart in range(self.count))):
                self._core.call("machine_resume")

    def step(self, hart: int, count: int = 1) -> int:
        """`count` instructions of a hart that stands still; how many were made.

        A trap counts as one and ends at its handler's first instruction.  Fewer
        than asked when something else was hit.  Where the hart had stopped, it
        goes past that.
        """
        core = self._core
        self._need_still(hart)
        if self._reason(hart):
            self._go_over(hart)
            stops.forget(core, hart)
        else:
            core.store(field("Hart.debug.over", hart).offset, CONSTANTS["OVER_BREAK"])
        return self.advance(hart, count)

    def advance(self, hart: int, count: int = 1) -> int:
        """As `step`, but stops also at what is set where the hart stands.

        Raises HartwellError for a hart that runs: two threads would run it.
        """
        self._need_still(hart)
        flags = _STEP | (0 if self.interrupts else CONSTANTS["RUN_STEP"])
        for made in range(count):
            if self._core.call("hart_run", hart, 1, flags) == CONSTANTS["RUN_DEBUG_STOP"]:
                return made
        return count

    def _need_still(self, hart: int) -> None:
        if not self.still(hart):
            raise HartwellError(f"hart {hart} runs, so it can't step; pause it first")

    def _go_over(self, hart: int) -> None:
        over = CONSTANTS["OVER_BREAK"]
        if self._reason(hart) == CONSTANTS["DEBUG_WATCHPOINT"]:
            over |= CONSTANTS["OVER_WATCH"]
        self._core.store(field("Hart.debug.over", hart).offset, over)

    def _reason(self, hart: int) -> int:
        return self._core.load(field("Hart.debug.stop.reason", hart).offset)

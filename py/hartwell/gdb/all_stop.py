"""All-stop mode: harts run together, and when one stops all do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hartwell.debugger import Stop
from hartwell.errors import HartwellError
from hartwell.gdb import stops
from hartwell.gdb.resume import Action
from hartwell.gdb.stepping import some_steps, where_it_stands
from hartwell.history import History

if TYPE_CHECKING:
    from hartwell.gdb.session import Session

NEAR = 4  # instructions to a breakpoint that is perhaps gdb's own way to step
TURN = 8  # so many of those, then harts run on their own threads once


class AllStop:
    """What gdb's packets to go on and to stop do in this mode."""

    def __init__(self, session: Session) -> None:
        self._session, self._debugger = session, session.debugger
        self._running: set[int] = set()  # as gdb believes
        self._turn = 0
        self._steps: asyncio.Task[None] | None = None  # one at a time

    def why(self) -> bytes:
        """`?`, also gdb's first question."""
        hart = self._session.hart
        return stops.reply(self._debugger.harts, Stop("step", hart, self._debugger.harts[hart].pc))

    def resume(self, actions: dict[int, Action]) -> bytes | None:
        """The answer to vCont; None when it comes later."""
        if self._running:  # until a stop is told of, gdb may interrupt and nothing else
            raise HartwellError("harts go on already")
        control = self._debugger.control
        if device := self._debugger.device():
            self._debugger.forget(None)
            return stops.reply(self._debugger.harts, device)
        steps = {hart: action for hart, action in actions.items() if action.verb in "sr"}
        others = [hart for hart, action in actions.items() if action.verb == "c"]
        self._running = set(actions)
        if not steps:
            if (stop := self._near(others)) is None:
                control.run(others, past=False)
            else:
                self._report(stop)
            return None
        hart, action = next(iter(steps.items()))
        if action.verb == "s" and not set(others) - {hart}:  # at once: no turn of the event loop for each step
            for index in range(control.count):
                self._debugger.forget(index)
            control.advance(hart)
            self._report(self._debugger.device() or where_it_stands(self._debugger, hart))
        else:
            self._steps = self._session.spawn(self._step(hart, action, others))
        return None

    def _near(self, harts: list[int]) -> Stop | None:
        """gdb steps RISC-V by a breakpoint on the next instruction and `c`.  Where
        that is hit within a few instructions of ours, no thread need wake for
        it; but the other harts get their turn now and then."""
        hart, self._turn = self._session.hart, (self._turn + 1) % TURN
        if hart not in harts or not self._debugger.breakpoints or (self._turn == 0 and len(harts) > 1):
            return None
        self._debugger.forget(hart)
        self._debugger.control.advance(hart, NEAR)
        return self._debugger.at(hart)

    async def _step(self, hart: int, action: Action, others: list[int]) -> None:
        """One hart steps on our thread; the others run meanwhile."""
        debugger, control = self._debugger, self._debugger.control
        for index in range(control.count):
            debugger.forget(index)
        others = [other for other in others if other != hart]
        while hart in self._running:  # until then; else it was interrupted, and gdb knows
            if others:
                control.run(others, past=False)
            done = some_steps(debugger, hart, action)
            if others:
                control.pause()
            found = [debugger.device(), debugger.at(hart)]
            if not done:  # somebody else may have hit something; if it's not told now, it is hit again
                found += [debugger.at(other) for other in others]
            if stop := next((stop for stop in found if stop), where_it_stands(debugger, hart) if done else None):
                self._report(stop)
            else:
                await asyncio.sleep(0)

    # --- backwards --------------------------------------------------------------------

    def reverse(self, text: str) -> bytes | None:
        """bs and bc: of a machine whose run is recorded."""
        history = self._session.machine.history
        if history is None or text not in ("bs", "bc"):
            return b""
        self._running = {0}
        self._steps = self._session.spawn(self._go_back(history, text == "bs"))
        return None

    async def _go_back(self, history: History, step: bool) -> None:
        try:
            stop = history.reverse_step() if step else await history.reverse_continue()
        except HartwellError:  # there is no way back from here: gdb hears that it stands where it stood
            stop = Stop("step", 0, self._debugger.harts[0].pc)
        if stop.reason == "watchpoint":
            # gdb takes it that a watchpoint stops a hart before the access, and
            # makes one more step, back.  From behind the access that leads to it.
            history.go_to(history.instret + 1)
        if 0 in self._running:
            self._report(stop)

    # --- stops ------------------------------------------------------------------------

    def interrupt(self) -> None:
        """0x03."""
        if self._running:
            self._debugger.control.pause()
            found = self._debugger.found()
            self._report(found[0] if found else where_it_stands(self._debugger, self._session.hart, "pause"))

    def hit(self, found: list[Stop]) -> None:
        """Harts or devices have hit these; none: somebody else has paused the machine, as gdb is told by QEMU too."""
        if self._running and not (self._steps and not self._steps.done()):
            if found:
                self._report(found[0])
            elif self._debugger.control.paused:
                self._report(where_it_stands(self._debugger, self._session.hart, "pause"))

    def ended(self) -> None:
        """The machine has stopped for good."""
        if self._running:
            self._running.clear()
            self._session.reply(stops.EXITED)
        self._session.close()

    def _report(self, stop: Stop) -> None:
        self._running.clear()
        if stop.reason == "device":
            self._debugger.forget(None)
            self._session.reply(stops.device_output(stop))
        self._session.hart = stop.hart
        self._debugger.note(stop)
        self._session.reply(stops.reply(self._debugger.harts, stop))

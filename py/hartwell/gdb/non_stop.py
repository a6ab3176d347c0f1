"""Non-stop mode: each hart stops alone, and gdb is told of it by notifications.

Remote Protocol, "Remote Non-Stop", "Notification Packets".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hartwell.debugger import Stop
from hartwell.gdb import stops
from hartwell.gdb.resume import Action
from hartwell.gdb.stepping import some_steps, where_it_stands

if TYPE_CHECKING:
    from hartwell.gdb.session import Session

NEWS_SECONDS = 0.2  # from `?` to the first news


class NonStop:
    """What gdb's packets to go on and to stop do in this mode.

    A pause of the machine is for its clock only: every hart is held as well.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._debugger = session, session.debugger
        self._running: set[int] = set()  # as gdb believes
        self._told: set[int] = set()
        self._news: list[bytes] = []  # stop replies that gdb has to fetch

    @property
    def _all(self) -> range:
        return range(self._debugger.control.count)

    def why(self) -> bytes:
        """`?`, also gdb's first question.

        gdb before 14 ends with an assertion when it is told here of threads that
        have stopped.  So harts that ran run on; and where they stood, that is
        news that comes a moment later.
        """
        if self._session.stood:
            self._session.spawn(self._tell_who_stands())
        else:
            self.resume({hart: Action("c") for hart in self._all})
        return b"OK"

    async def _tell_who_stands(self) -> None:
        await asyncio.sleep(NEWS_SECONDS)
        for hart in self._all:
            if hart not in self._running and hart not in self._told:
                self._tell(hart, Stop("pause", hart, self._debugger.harts[hart].pc))

    def resume(self, actions: dict[int, Action]) -> bytes:
        """vCont: each action is about one hart only."""
        for hart, action in actions.items():
            if action.verb == "t":
                self._stop([hart], stops.STOPPED)
            elif hart not in self._running:
                self._running.add(hart)
                self._told.discard(hart)
                if action.verb == "c":
                    self._debugger.control.release(hart, past=False)
                else:
                    self._session.spawn(self._step(hart, action))
        return b"OK"

    async def _step(self, hart: int, action: Action) -> None:
        self._debugger.forget(hart)
        while hart in self._running:
            if some_steps(self._debugger, hart, action):
                self._tell(hart, where_it_stands(self._debugger, hart))
            else:
                await asyncio.sleep(0)

    def reverse(self, _: str) -> bytes:
        """Time goes back for all harts or none."""
        return b""

    # --- stops ------------------------------------------------------------------------

    def interrupt(self) -> None:
        """0x03 and vCtrlC."""
        self._stop(self._all, stops.INTERRUPTED)

    def hit(self, found: list[Stop]) -> None:
        """Harts or devices have hit these."""
        for stop in found:
            if stop.reason == "device":  # which has paused everything
                self._debugger.forget(None)
                self._stop(self._all, stops.TRAP)
            elif stop.hart in self._running and stop.hart not in self._told:
                self._stop([stop.hart], stops.TRAP)

    def ended(self) -> None:
        """The machine has stopped for good: gdb hears of it, and goes when it likes."""
        self._running.clear()
        self._add(stops.EXITED)

    def fetch(self) -> bytes:
        """vStopped: gdb has the first of the news; the next."""
        if self._news:
            self._news.pop(0)
        return self._news[0] if self._news else b"OK"

    def _stop(self, harts: Iterable[int], signal: int) -> None:
        for hart in harts:
            if hart in self._running:
                self._debugger.control.hold(hart)
                own = self._debugger.at(hart)
                self._tell(hart, own or where_it_stands(self._debugger, hart, "pause"), None if own else signal)

    def _tell(self, hart: int, stop: Stop, signal: int | None = None) -> None:
        self._running.discard(hart)
        self._told.add(hart)
        if not self._running:
            self._debugger.control.pause()  # nobody is left for whom time should pass
        self._add(stops.reply(self._debugger.harts, stop, signal))

    def _add(self, news: bytes) -> None:
        self._news.append(news)
        if len(self._news) == 1:
            self._session.notify(b"Stop:" + news)

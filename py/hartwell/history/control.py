"""The debugger's run control of a machine whose hart the supervisor steers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hartwell.debugger import stops
from hartwell.debugger.control import Control
from hartwell.platform import Core

if TYPE_CHECKING:
    from hartwell.history.history import History


class SteeredControl(Control):
    """Says the same words to a `History` instead of to threads."""

    def __init__(self, core: Core, history: History, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        super().__init__(core, pause, resume)
        self._history = history

    @property
    def paused(self) -> bool:
        return not self._history.running

    def run(self, harts: Iterable[int], past: bool) -> None:
        if past and self._reason(0):
            self._go_over(0)
        stops.forget(self._core, 0)
        stops.forget(self._core, None)
        if list(harts):
            self._resume()

    def hold(self, hart: int) -> None:
        self._pause()

    def release(self, hart: int, past: bool) -> None:
        self.run([hart], past)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Between two slices nothing runs."""
        yield

    def advance(self, hart: int, count: int = 1) -> int:
        """Interrupts come where they always come."""
        driver = self._history.driver
        for made in range(count):
            if driver.forward(driver.instret + 1) != "limit":
                return made
        return count

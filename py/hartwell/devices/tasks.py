"""Coroutines that seldom have to wait, without the price of a task.

A task costs an event loop's turn, some hundred microseconds in Pyodide; most
requests to a device are answered without waiting for anything.  So a coroutine
runs at once, and only one that comes to wait becomes a task from there on.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine, Generator
from typing import Any


class Tasks:
    """Those that wait now; an error in one is printed, the others go on."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` up to its end, or to where it has to wait."""
        try:
            future = work.send(None)
        except StopIteration:
            return
        except Exception:  # noqa: BLE001 - one request's mistake is not the others'
            traceback.print_exc()
            return
        task = asyncio.ensure_future(_rest(work, future))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def cancel(self) -> None:
        """Ends all that wait."""
        for task in list(self._waiting):
            task.cancel()


async def _rest(work: Coroutine[Any, Any, None], future: Any) -> None:
    try:
        await _Resumed(work, future)
    except Exception:  # noqa: BLE001 - as in start
        traceback.print_exc()


class _Resumed:
    """The rest of a coroutine that has asked to wait for `future`."""

    def __init__(self, work: Coroutine[Any, Any, None], future: Any) -> None:
        self._work, self._future = work, future

    def __await__(self) -> Generator[Any, Any, None]:
        while True:
            failure: BaseException | None = None
            try:
                value = yield self._future
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                failure = error
            try:
                self._future = self._work.throw(failure) if failure else self._work.send(value)
            except StopIteration:
                return

"""`machine.console`: what the guest shows and what is typed to it.

The UART and the first virtio console are one console to a person: output of
both goes to the same screen, keys go to the virtio console once something
speaks on it, before that to the UART.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import re
import time
from collections.abc import Callable
from typing import Any

from hartwell.devices.console import UartConsole, VirtioConsole
from hartwell.errors import ConsoleTimeout, MachineStopped
from hartwell.history.taps import Tap, VirtioTap
from hartwell.snapshot.manifest import MOST_CELLS
from hartwell.snapshot.transcript import Transcript

HISTORY = 1 << 20  # characters kept for expect() and text()
COLS, ROWS = 80, 24


class Console:
    """The guest's console as a person has it."""

    def __init__(self, uart: UartConsole, virtio: VirtioConsole | None, show: Callable[[bytes], None]) -> None:
        self._uart, self._virtio, self._show = uart, virtio, show
        self._virtio_spoke = False
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._unread = ""  # output that no expect() has given back yet
        self._undrawn: list[str] = []  # output that the screen of text() has not seen
        self._undrawn_size = 0
        self._screen: Any = None
        self._typed = bytearray()
        self._news = asyncio.Event()
        self._ended = False
        self.transcript = Transcript()
        self.shown_before = 0
        """Bytes of other machines' output that the page's terminal got before this one's first."""
        self.cols, self.rows = COLS, ROWS

    def write(self, text: str | bytes) -> None:
        """Types `text`.  What the guest has no room for now waits here."""
        self._typed += text.encode() if isinstance(text, str) else text
        self.push()

    async def expect(self, pattern: str | re.Pattern[str], timeout: float = 30) -> str:
        """Output up to and with the first match of a regular expression (as in pexpect).

        The next call goes on behind it.  Raises ConsoleTimeout after `timeout`
        seconds and MachineStopped when the machine ends first; both say what
        the console showed last.
        """
        wanted = re.compile(pattern) if isinstance(pattern, str) else pattern
        end = time.monotonic() + timeout
        while True:
            if found := wanted.search(self._unread):
                seen, self._unread = self._unread[: found.end()], self._unread[found.end() :]
                return seen
            if self._ended:
                raise MachineStopped(f"the machine stopped before {wanted.pattern!r} came; last on the console: {self._tail()}")
            left = end - time.monotonic()
            if left <= 0:
                raise ConsoleTimeout(f"{wanted.pattern!r} did not come in {timeout} s; last on the console: {self._tail()}")
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except (TimeoutError, asyncio.TimeoutError):
                continue

    @property
    def on_virtio(self) -> bool:
        """Do keys go to the virtio console?"""
        return self._virtio_spoke and self._virtio is not None and self._virtio.ready

    def text(self) -> str:
        """What the screen shows: `rows` lines of at most `cols` characters, blank ends cut off."""
        import pyte  # 30 ms that only those who ask should pay

        if self._screen is None or (self._screen.columns, self._screen.lines) != (self.cols, self.rows):
            if self._screen is None:
                self._screen = pyte.Screen(self.cols, self.rows)
                self._stream = pyte.Stream(self._screen)
            else:
                self._screen.resize(self.rows, self.cols)
        self._stream.feed("".join(self._undrawn))
        self._undrawn, self._undrawn_size = [], 0
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip("\n")

    def resize(self, cols: int, rows: int) -> None:
        """The terminal's size in characters; the guest is told."""
        self.cols, self.rows = max(1, min(cols, MOST_CELLS)), max(1, min(rows, MOST_CELLS))
        if self._virtio:
            self._virtio.resize(self.cols, self.rows)

    # --- what the machine calls ---------------------------------------------

    def saved(self, screen: str) -> dict[str, Any]:
        """For a snapshot; `screen` is the text that it shows, for people."""
        return {
            **self.transcript.state(), "spoke": self._virtio_spoke, "typed": base64.b64encode(self._typed).decode(),
            "screen": screen, "cols": self.cols, "rows": self.rows,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """From a snapshot."""
        self.transcript.restore(state)
        self._virtio_spoke = bool(state.get("spoke"))
        self._typed[:] = base64.b64decode(str(state.get("typed", "")))
        self.cols, self.rows = max(1, int(state.get("cols", COLS))), max(1, int(state.get("rows", ROWS)))
        self._undrawn = [self.transcript.replay().decode(errors="replace")]

    def tap(self, tap: Callable[[Any, type[Tap]], Any]) -> None:
        """A run that repeats takes its input elsewhere (hartwell.history.taps)."""
        self._uart = tap(self._uart, Tap)
        if self._virtio:
            self._virtio = tap(self._virtio, VirtioTap)

    def push(self) -> None:
        """Hands typed bytes to the guest, as many as it has room for."""
        if self._typed:
            device = self._virtio if self._virtio and self.on_virtio else self._uart
            del self._typed[: device.write(bytes(self._typed))]

    def pull(self) -> bool:
        """Takes the guest's output; True when there was some."""
        data = self._uart.read()
        if self._virtio and (more := self._virtio.read()):
            self._virtio_spoke = True
            data += more
        if data:
            self._heard(data)
        return bool(data)

    def restarted(self) -> None:
        """The machine starts from its first instruction again."""
        self._virtio_spoke = False
        self._ended = False
        self.resize(self.cols, self.rows)

    def ended(self) -> None:
        """No more output will come."""
        self._ended = True
        self._news.set()

    def caught_up(self, data: bytes, typed: bytes) -> None:
        """A machine that is adopted: the terminal has shown `data` already; keys that are still to go."""
        self.transcript.add(data)
        self._typed[:] = typed
        self._note(data)

    def _heard(self, data: bytes) -> None:
        self._show(data)
        self._note(data)

    def _note(self, data: bytes) -> None:
        text = self._decode.decode(data)
        self._unread = (self._unread + text)[-HISTORY:]
        self._undrawn.append(text)
        self._undrawn_size += len(text)
        if self._undrawn_size > 2 * HISTORY:
            # A screen holds far less; what has scrolled away need not be drawn.
            self._undrawn = ["".join(self._undrawn)[-HISTORY:]]
            self._undrawn_size = HISTORY
        self._news.set()

    def _tail(self) -> str:
        return repr(self._unread[-300:])

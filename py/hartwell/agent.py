"""`machine.run`: commands for the guest's shell, beside what the person types.

The image's init keeps a small shell script on the second virtio console
(guest/root/usr/sbin/agent).  A request is one line, `run ID COMMAND`, the
command in base64; the answer is `done ID STATUS STDOUT STDERR`, outputs in
base64, `-` for nothing.  Commands run side by side, each in a shell of its own.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hartwell.devices.console import VirtioConsole
from hartwell.errors import HartwellError, MachineStopped, NotSupported
from hartwell.history.taps import Tap, VirtioTap
from hartwell.lines import Lines

SHUTDOWN_SECONDS = 10.0  # for the guest's own power-off
HELLO = b"hartwell agent 1"


@dataclass(frozen=True)
class Result:
    """How a command in the guest ended: text that it printed, and its exit status."""

    stdout: str
    stderr: str
    returncode: int


class Agent:
    """The host's end."""

    shutdown_seconds = SHUTDOWN_SECONDS

    def __init__(self, port: VirtioConsole) -> None:
        self._port: VirtioConsole = port
        self._input = Lines()
        self._unsent = bytearray()
        self._calls: dict[int, asyncio.Future[Result]] = {}
        self._next = 1
        self._hello = asyncio.Event()
        self._ended = False

    @property
    def present(self) -> bool:
        """Has the guest's script said hello?"""
        return self._hello.is_set() and not self._ended

    async def run(self, command: str, timeout: float) -> Result:
        """Runs `command` with /bin/sh.  See Machine.run."""
        if self._ended:
            raise MachineStopped(f"{command!r}: the machine has stopped; boot it first")
        hello = self._hello
        try:
            await asyncio.wait_for(hello.wait(), timeout)
        except (TimeoutError, asyncio.TimeoutError):
            raise NotSupported(
                f"{command!r}: nothing in this guest answers on the second virtio console within {timeout} s; machine.run() "
                "needs an image with Hartwell's agent, such as shell.  console.write() and console.expect() work with any guest"
            ) from None
        if self._ended or hello is not self._hello:
            raise MachineStopped(f"{command!r}: the machine stopped before it began")
        words = base64.b64encode(command.encode())
        number = self._next
        self._next += 1
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        self._unsent += b"run %d %s\n" % (number, words)
        self.push()
        try:
            return await asyncio.wait_for(answer, timeout)
        except (TimeoutError, asyncio.TimeoutError):
            raise HartwellError(
                f"{command!r}: still running in the guest after {timeout} s; give machine.run() a longer timeout"
            ) from None
        finally:
            self._calls.pop(number, None)

    # --- what the machine calls ---------------------------------------------

    async def power_off(self) -> None:
        """Asks the guest to power off."""
        await self.run("/usr/sbin/poweroff", SHUTDOWN_SECONDS)

    def saved(self) -> dict[str, Any]:
        """For a snapshot.  Commands under way go on in the guest; nobody here waits for their ends."""
        return {
            "present": self.present, "next": self._next, "line": base64.b64encode(self._input.rest).decode(),
            "unsent": base64.b64encode(self._unsent).decode(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """From a snapshot."""
        self._next = int(state.get("next", 1))
        self._input.rest[:] = base64.b64decode(str(state.get("line", "")))
        self._unsent[:] = base64.b64decode(str(state.get("unsent", "")))
        if state.get("present"):
            self._hello.set()

    def tap(self, tap: Callable[[Any, type[Tap]], Any]) -> None:
        """A run that repeats takes its input elsewhere (hartwell.history.taps)."""
        self._port = tap(self._port, VirtioTap)

    def push(self) -> None:
        """Sends what there is room for."""
        if self._unsent:
            del self._unsent[: self._port.write(bytes(self._unsent))]

    def pull(self) -> bool:
        """Takes what the guest sent; True when there was some."""
        data = self._port.read()
        if not data:
            return False
        for line in self._input.feed(data):
            self._heard(line.strip(b"\r"))
        return True

    def restarted(self) -> None:
        """The machine starts from its first instruction again."""
        self.ended()
        self._input.rest.clear()
        self._unsent.clear()
        self._hello = asyncio.Event()
        self._ended = False

    def ended(self) -> None:
        """Nothing will be answered any more."""
        self._ended = True
        self._hello.set()  # who waits for it looks at _ended
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(MachineStopped("the machine stopped before the command did"))

    def _heard(self, line: bytes) -> None:
        if line == HELLO:
            self._hello.set()
            return
        word, *fields = line.split(b" ")
        if word != b"done" or len(fields) != 4:
            return  # the guest's kernel or a user may write here too
        try:
            number, status = int(fields[0]), int(fields[1])
            out, err = (b"" if field == b"-" else base64.b64decode(field, validate=True) for field in fields[2:])
        except (ValueError, binascii.Error):
            return
        answer = self._calls.get(number)
        if answer and not answer.done():
            answer.set_result(Result(out.decode(errors="replace"), err.decode(errors="replace"), status))

"""QEMU's guest agent in the guest, from the host's side: commands, files, time, shutdown.

The guest runs Debian's qemu-guest-agent unmodified, on the virtio-serial port
`org.qemu.guest_agent.0`; one JSON text a line each way (QEMU documentation,
"QEMU Guest Agent Protocol Reference").  It has the shape of hartwell.agent.Agent,
so that Machine.run need not know which of the two an image has.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import deque
from typing import Any

from hartwell.agent import Result
from hartwell.devices.port import PortDevice
from hartwell.errors import HartwellError, MachineStopped, NotSupported
from hartwell.lines import Lines

PORT = "org.qemu.guest_agent.0"
MOST_ANSWERS = 64  # lines that nobody took yet
POLL_SECONDS = (0.01, 0.25)  # between two looks whether a command has ended: at first, at most
FILE_BLOCK = 48 << 10  # bytes of one guest-file-read or -write
SHUTDOWN_SECONDS = 90.0  # a system with services takes its time


class GuestAgent:
    """The host's end."""

    shutdown_seconds = SHUTDOWN_SECONDS

    def __init__(self, port: PortDevice) -> None:
        self._port = port
        self._input = Lines()
        self._lines: deque[Any] = deque(maxlen=MOST_ANSWERS)
        self._came = asyncio.Event()
        self._turn = asyncio.Lock()
        self._synced = False
        self._ended = False
        self._life = 0  # of the guest's system: starts, and ends
        self._count = 0

    @property
    def present(self) -> bool:
        """Does the agent run?"""
        return self._port.open and not self._ended

    # --- use ----------------------------------------------------------------------

    async def run(self, command: str, timeout: float) -> Result:
        """Runs `command` with /bin/sh.  See Machine.run."""
        end = time.monotonic() + timeout
        await self._wait(command, end)
        life = self._life
        arguments = {"path": "/bin/sh", "arg": ["-c", command], "capture-output": True,
                     "env": ["HOME=/root", "USER=root", "TERM=dumb", "LANG=C.UTF-8",
                             "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
        started = await self._facts("guest-exec", arguments, max(1.0, end - time.monotonic()))
        pause = POLL_SECONDS[0]
        while True:
            if life != self._life:  # another one could have a process of that number
                raise MachineStopped(f"{command!r}: the machine stopped before the command did")
            status = await self._facts("guest-exec-status", {"pid": started.get("pid")}, max(5.0, end - time.monotonic()))
            if status.get("exited"):
                break
            if time.monotonic() > end:
                raise HartwellError(
                    f"{command!r}: still running in the guest after {timeout} s; give machine.run() a longer timeout")
            await asyncio.sleep(pause)
            pause = min(POLL_SECONDS[1], 1.5 * pause)
        try:
            code = int(status["exitcode"]) if "exitcode" in status else 128 + int(status.get("signal", 0))
            out, err = (base64.b64decode(status.get(name, "")).decode(errors="replace") for name in ("out-data", "err-data"))
        except (TypeError, ValueError) as error:
            raise HartwellError(f"{command!r}: the guest's agent gave no result that can be read: {error}") from None
        return Result(out, err, code)

    async def _facts(self, command: str, arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
        answer = await self.ask(command, arguments, timeout=timeout)
        if not isinstance(answer, dict):
            raise HartwellError(f"{command}: the guest's agent answered {answer!r}")
        return answer

    async def ask(self, command: str, arguments: dict[str, Any] | None = None, *, timeout: float = 20) -> Any:
        """One command of the agent's protocol, and what it returned.  HartwellError has the agent's own words."""
        async with self._turn:
            if not self._synced:
                await self._synchronise(timeout)
            request: dict[str, Any] = {"execute": command}
            if arguments:
                request["arguments"] = arguments
            answer = await self._exchange(json.dumps(request).encode() + b"\n", command, timeout)
        if not isinstance(answer, dict) or "return" not in answer:
            error = answer.get("error") if isinstance(answer, dict) else None
            said = error.get("desc") if isinstance(error, dict) else answer
            raise HartwellError(f"{command}: the guest's agent refused: {said}")
        return answer["return"]

    async def read_file(self, path: str) -> bytes:
        """A file's bytes, as root reads them."""
        handle = await self.ask("guest-file-open", {"path": path, "mode": "r"})
        data = bytearray()
        try:
            while True:
                part = await self.ask("guest-file-read", {"handle": handle, "count": FILE_BLOCK})
                data += base64.b64decode(part.get("buf-b64", ""))
                if part.get("eof") or not part.get("count"):
                    return bytes(data)
        finally:
            await self.ask("guest-file-close", {"handle": handle})

    async def write_file(self, path: str, data: bytes) -> None:
        """Makes or replaces a file."""
        handle = await self.ask("guest-file-open", {"path": path, "mode": "w"})
        try:
            for at in range(0, len(data), FILE_BLOCK):
                block = base64.b64encode(data[at : at + FILE_BLOCK]).decode()
                await self.ask("guest-file-write", {"handle": handle, "buf-b64": block})
            await self.ask("guest-file-flush", {"handle": handle})
        finally:
            await self.ask("guest-file-close", {"handle": handle})

    async def set_time(self) -> None:
        """Sets the guest's clock by this one."""
        await self.ask("guest-set-time", {"time": time.time_ns()})

    async def freeze(self) -> int:
        """Flushes and freezes the guest's file systems; how many."""
        return int(await self.ask("guest-fsfreeze-freeze", timeout=60))

    async def thaw(self) -> int:
        return int(await self.ask("guest-fsfreeze-thaw", timeout=60))

    async def power_off(self) -> None:
        """Asks the guest to shut down; the agent does not answer that."""
        async with self._turn:
            if not self._synced:
                await self._synchronise(20)
            self._port.write(b'{"execute": "guest-shutdown", "arguments": {"mode": "powerdown"}}\n')

    # --- what the machine calls -----------------------------------------------------

    def push(self) -> None:
        """The port sends by itself when the guest has room."""

    def pull(self) -> bool:
        """Takes what the guest sent; True when there was some."""
        data = self._port.read()
        if not data:
            return False
        for line in self._input.feed(data):
            self._heard(line.rpartition(b"\xff")[2].strip())
        return True

    def restarted(self) -> None:
        """The machine starts from its first instruction again."""
        self.ended()
        self._input.rest.clear()
        self._synced = self._ended = False

    def ended(self) -> None:
        """Nothing will be answered any more."""
        self._ended = True
        self._synced = False
        self._life += 1
        self._came.set()  # who waits for it looks at _ended

    def saved(self) -> dict[str, Any]:
        """For a snapshot: after it the two synchronise again."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """From a snapshot."""
        self._synced = False

    def tap(self, tap: Any) -> None:
        """A run that repeats: the port is a device in Python, whose input is recorded as such."""

    # --- inside -----------------------------------------------------------------------

    async def _wait(self, command: str, end: float) -> None:
        while not self.present:
            if self._ended:
                raise MachineStopped(f"{command!r}: the machine has stopped; boot it first")
            if time.monotonic() > end:
                raise NotSupported(
                    f"{command!r}: the guest's agent has not opened its port yet; machine.run() needs qemu-guest-agent in "
                    "the guest, up and running.  console.write() and console.expect() work with any guest"
                )
            await asyncio.sleep(0.05)

    async def _synchronise(self, timeout: float) -> None:
        """Drops what was left of an earlier talk on both sides (guest-sync-delimited)."""
        self._count += 1
        number = (time.time_ns() // 1000 + self._count) & 0x7FFF_FFFF
        request = b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": %d}}\n' % number
        answer = await self._exchange(request, "guest-sync-delimited", timeout, number)
        if not isinstance(answer, dict) or answer.get("return") != number:
            raise HartwellError(f"the guest's agent answered {answer!r} to a greeting")
        self._synced = True

    async def _exchange(self, request: bytes, what: str, timeout: float, number: int | None = None) -> Any:
        """Sends a line and awaits the next one (the one that returns `number`)."""
        end, life = time.monotonic() + timeout, self._life
        self._lines.clear()
        # Until its answer is there: it may come later, and would be taken for the next one's.
        synced, self._synced = self._synced, False
        self._port.write(request)
        while True:
            while not self._lines:
                if self._ended or life != self._life:
                    raise MachineStopped("the machine stopped before the command did")
                self._came.clear()
                try:
                    async with asyncio.timeout(max(0.0, end - time.monotonic())):
                        await self._came.wait()
                except TimeoutError:
                    raise HartwellError(f"{what}: the guest's agent did not answer within {timeout:.0f} s") from None
            found = self._lines.popleft()
            if number is None or isinstance(found, dict) and found.get("return") == number:
                self._synced = synced
                return found

    def _heard(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            return  # half a line of before, or rubbish
        # The agent answers the greeting's 0xFF with a line of its own, an error, and both may come at once.
        self._lines.append(answer)
        self._came.set()

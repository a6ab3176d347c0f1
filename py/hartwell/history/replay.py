"""Machine.record and Machine.replay: joined to Machine by inheritance."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hartwell.devices.virtio import VirtioDevice
from hartwell.errors import BadConfiguration, NotSupported
from hartwell.history.history import History
from hartwell.history.recording import Entropy, Recording
from hartwell.history.taps import Tap
from hartwell.layout import CONSTANTS, field
from hartwell.platform import Core

if TYPE_CHECKING:
    from hartwell.agent import Agent
    from hartwell.console import Console
    from hartwell.debugger import Debugger
    from hartwell.guestagent import GuestAgent
    from hartwell.machine import Machine
    from hartwell.request import Request

_FIXED: dict[str, Any] = {"harts": 1, "share": None, "network": None, "jit": False}
_HAS = {
    "harts": "one", "share": "no shared folder: put files into its initrd", "network": "no network",
    "jit": "no translator: leave it out, or give False",
}
INSTRUCTIONS_PER_TICK = 10  # of mtime, 10 MHz: a hart of 100 MIPS


def check_repeatable(recording: Recording | None, request: Request) -> None:
    """BadConfiguration where a run is to repeat and can't: an image with a disk of its own."""
    if recording and request.disks:
        raise _no_disk(f"image {request.name}")


def _no_disk(what: str) -> BadConfiguration:
    return BadConfiguration(
        f"{what}: a machine that is recorded can have no disks yet; take an image without one, such as shell, and put files "
        "into its initrd")


class Replayable:
    """What a machine has for runs that repeat."""

    history: History | None = None
    """Only of a machine that was made by `record` or `replay`."""
    entropy: Callable[[int], bytes] = staticmethod(os.urandom)
    _core: Core
    _devices: list[VirtioDevice]
    _agent: Agent | GuestAgent | None
    console: Console
    debugger: Debugger
    pause: Callable[[], None]
    resume: Callable[[], None]
    _tell: Callable[[], None]
    _work: Callable[[], bool]

    @classmethod
    async def record(cls, **options: Any) -> Machine:
        """Boots a machine whose run can be repeated; `options` as of `boot`.

        One hart, on the interpreter, with time that goes by the number of its
        instructions and random numbers from a seed.  Has no shared folder, no
        network and no disks; BadConfiguration when one is asked for.
        """
        return await cls.replay(Recording(os.urandom(32), time.time_ns() // 1000), **options)

    @classmethod
    async def replay(cls, recording: Recording | bytes, **options: Any) -> Machine:
        """Boots a machine that repeats a run; `options` must be those it was
        recorded with.  At the recording's end it goes on, and what comes then is
        recorded.  BadConfiguration for what is no recording."""
        if isinstance(recording, bytes):
            recording = Recording.from_bytes(recording)
        for name, value in _FIXED.items():
            if options.get(name) not in (None, "default", value):
                raise BadConfiguration(f"{name}: {options[name]!r} asked for; a machine that is recorded has {_HAS[name]}")
        if options.get("disks"):
            raise _no_disk("disks")
        boot: Any = cls.boot  # type: ignore[attr-defined]
        machine: Machine = await boot(**{**options, **_FIXED}, recording=recording)
        return machine

    def _need_no_history(self) -> None:
        if self.history:
            raise NotSupported("a machine that is recorded cannot be stored; keep machine.history.recording() instead")

    def _repeat(self, recording: Recording) -> None:
        """Before the start: makes this a machine whose run repeats."""
        core = self._core
        recording = Recording.from_bytes(recording.to_bytes())
        core.store(field("Machine.time_mode").offset, CONSTANTS["TIME_INSTRET"])
        core.write(field("Machine.time_divisor").offset, INSTRUCTIONS_PER_TICK.to_bytes(8, "little"))
        core.write(field("Machine.time_base_us").offset, _double(recording.epoch))
        entropy = self.entropy = Entropy(recording.seed)
        taps: list[Tap] = []

        def tap(port: Any, kind: type[Tap]) -> Any:
            taps.append(kind(port, lambda: history.driver.muted))
            return taps[-1]

        self.console.tap(tap)
        if self._agent:
            self._agent.tap(tap)
        history = self.history = History(core, recording, taps, entropy, self._work, self._tell, lambda: self.debugger.rung())
        self.debugger.control = history.control(self.pause, self.resume)
        history.debugger = self.debugger


def _double(value: float) -> bytes:
    return struct.pack("<d", value)

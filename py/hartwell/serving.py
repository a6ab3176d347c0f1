"""A machine from its harts' start to their stop: joined to Machine by inheritance.

A task serves it: it awaits the doorbell, carries the consoles' bytes and lets
the devices that are written in Python work, until the machine stops; another
tells the page how things are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from hartwell import boot, hibernation, statistics
from hartwell.errors import MachineStopped
from hartwell.layout import CONSTANTS, field
from hartwell.request import renew

if TYPE_CHECKING:
    from hartwell.agent import Agent
    from hartwell.boot import Start
    from hartwell.console import Console
    from hartwell.debugger import Debugger
    from hartwell.devices.virtio import VirtioDevice
    from hartwell.guestagent import GuestAgent
    from hartwell.harts import Hart
    from hartwell.history.history import History
    from hartwell.links import Links
    from hartwell.machine import Machine
    from hartwell.machine_disks import MachineDisks
    from hartwell.memory import Memory
    from hartwell.platform import Core, Platform
    from hartwell.request import Request
    from hartwell.snapshot.saver import Saver

TICK_SECONDS = 0.5  # between two "state" events
LINGER_SECONDS = 0.0005  # a driver that has rung for a device in Python often rings again

WORDS = {name: field(f"Machine.{name}").offset for name in (
    "control", "doorbell", "doorbell_count", "running_harts", "stop_reason", "exit_code")}
_STOP = {CONSTANTS[f"STOP_{name}"]: name for name in ("POWEROFF", "REBOOT", "EXIT", "CRASH")}


class Serving:
    """What goes on in a machine that runs."""

    shown: ClassVar[Machine | None] = None
    """The machine that has the page's (or the terminal's) console."""
    halt_next_start = False
    """Does the next start, or reset, leave every hart at its first instruction?"""
    image: str
    name: str | None
    state: Any
    alive: Any
    harts: list[Hart]
    memory: Memory
    console: Console
    debugger: Debugger
    disks: MachineDisks
    history: History | None
    entropy: Callable[[int], bytes]
    error: str | None
    exit_code: int
    _core: Core
    _request: Request
    _platform: Platform
    _links: Links
    _devices: list[VirtioDevice]
    _slots: list[int]
    _agent: Agent | GuestAgent | None
    _saver: Saver
    _over: asyncio.Event
    _tasks: list[asyncio.Task[None]]
    _counted: tuple[float, int]
    _state: str
    _mips = 0.0
    _lost: str | None = None  # why memory of a lazy wake did not come
    _closing = False
    _go: Callable[[], None]
    _part: Any

    async def _start(self) -> None:
        """From the memory that machine_init or machine_reset left to running harts."""
        core = self._core
        start = self._load()
        self._request.let_go(self._platform)
        core.write(field("Machine.tohost").offset, start.tohost.to_bytes(8, "little"))
        core.write(field("Machine.fromhost").offset, start.fromhost.to_bytes(8, "little"))
        for hart in range(core.plan.harts if start.all_harts else 1):
            core.call("hart_start", hart, start.pc, hart, start.argument, start.privilege)
        self._over.clear()
        self.error, self.exit_code = None, 0
        self._counted = (time.monotonic(), 0)
        self.console.restarted()
        if self._agent:
            self._agent.restarted()
        self._state = "running"
        halt, self.halt_next_start = self.halt_next_start, False
        self.debugger.control.asked = bool(halt or self.history)
        if self.debugger.control.asked:
            core.call("machine_pause")
        self._links.start()
        await core.start_harts()
        self._need_open()
        self._spawn(self._serve())
        self._spawn(self._tick())
        self._tell()
        self.debugger.started()
        if self.history:
            self.history.begin()
            if not halt:
                self.history.resume()

    async def _wake_up(self, paused: bool) -> None:
        """From the memory of a snapshot to harts that run (or stand still as they did)."""
        self._state = "running"
        self.debugger.control.asked = paused
        self._links.start()
        await self._core.start_harts()
        self._need_open()
        if not paused:
            self._go()
        self._core.call("devices_hold", 0)
        self._woken()

    def _woken(self) -> None:
        """Its harts run, or stand still as they did when it fell asleep."""
        self._counted = (time.monotonic(), statistics.instructions(self._core))
        self.debugger.started()
        self._spawn(self._serve())
        self._spawn(self._tick())
        self._checkpoint()
        self._tell()

    def _adopt(self) -> None:
        """It runs already, without Python till now."""
        self._state = "running"
        self._links.start()
        self._woken()

    @property
    def _saves(self) -> bool:
        """Is it one that is saved while it runs?"""
        return type(self).shown is self and self._platform.name == "browser" and not self.history

    def _checkpoint(self) -> None:
        if self._saves:
            machine: Any = self
            self._spawn(hibernation.keep_checkpoints(machine))

    async def _fall_asleep(self) -> None:
        """What is in the store need not be here."""
        self._state = "asleep"
        await self._part("asleep")

    def _load(self) -> Start:
        request = self._request
        if request.bare:
            return boot.load_bare(self._core, request.kernel, request.kernel_name, self._slots)
        return boot.load_linux(
            self._core, request.kernel, name=request.kernel_name, initrd=request.initrd, append=request.append,
            firmware=request.firmware, slots=self._slots, entropy=self.entropy,
        )

    async def _serve(self) -> None:
        """Until the machine stops: carries bytes and lets Python's devices work."""
        core, bell, rings = self._core, WORDS["doorbell"], WORDS["doorbell_count"]
        while True:
            # The count first: a ring from here on ends the wait below.
            count = core.load(rings)
            bits = core.and_(bell, 0)
            served = False if self.history else self._work()
            if bits & CONSTANTS["DOORBELL_DISK"]:
                core.call("disks_serve")
            if bits & CONSTANTS["DOORBELL_DEBUG"]:
                _guarded(self.debugger.rung)
            if bits & CONSTANTS["DOORBELL_STOP"] or core.load(WORDS["stop_reason"]):
                break
            if served and core.block(rings, count, LINGER_SECONDS):
                continue
            await core.wait(rings, count, TICK_SECONDS)
        await self._stop()

    def _work(self) -> bool:
        """Devices in Python serve, consoles' bytes are carried; was there a request?"""
        served = False
        for device in self._devices:
            served |= _guarded(device.serve)
        self._carry()
        return served

    def _carry(self) -> None:
        self.console.pull()
        self.console.push()
        if self._agent:
            self._agent.pull()
            self._agent.push()

    async def _stop(self) -> None:
        """What follows a stop: an end, or a start from the beginning."""
        core = self._core
        await core.join()
        self._carry()
        await self.disks.rest()
        reason = _STOP.get(core.load(WORDS["stop_reason"]), "CRASH")
        self.exit_code = core.load(WORDS["exit_code"])
        if reason == "REBOOT" and not self._closing:
            self._spawn(self._restart())
        elif reason == "CRASH":
            self.error = core.failure or self._lost or "the guest asked for a stop because of a failure"
            self._finish("crashed")
        else:
            self._finish("stopped")
            if not self._closing:
                machine: Any = self
                self._spawn(hibernation.forget(machine))

    async def _restart(self) -> None:
        if self._saver.stream is not None:
            await asyncio.wait([self._saver.stream])  # else it would write over what is loaded now
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        async with self._saver.busy:  # a save under way reads memory that is to begin anew
            if self._closing:
                self._finish("stopped")
                return
            self._core.call("machine_reset")
            try:
                await renew(self._request, self._platform)
                await self._start()
                self._checkpoint()
            except Exception as error:  # noqa: BLE001 - nobody awaits this task: its end is the machine's
                self.error = str(error)
                self._finish("crashed")

    def _finish(self, state: str) -> None:
        if self._over.is_set():
            return
        self._state = state
        self.console.ended()
        if self._agent:
            self._agent.ended()
        self._links.ended()
        self.debugger.ended()
        self._over.set()
        self._tell()

    async def _stopped(self, seconds: float) -> None:
        """Until it has stopped, at most `seconds`."""
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            return

    async def _tick(self) -> None:
        while self.alive:
            await asyncio.sleep(TICK_SECONDS)
            self._tell()

    def _tell(self) -> None:
        """Tells the page how things are."""
        if type(self).shown is not self:
            return
        now, count = time.monotonic(), statistics.instructions(self._core)
        then, before = self._counted
        if now - then >= TICK_SECONDS / 2:
            self._mips = max(0, count - before) / (now - then) / 1e6
            self._counted = (now, count)
        self._platform.emit("state", {
            "state": self.state, "image": self.image, "name": self.name, "harts": len(self.harts), "memory": self.memory.size,
            "mips": round(self._mips, 2), "uptime": round(self._core.call("machine_clock") / 1e7, 3), "error": self.error,
        })

    def _show(self, data: bytes) -> None:
        self.console.transcript.add(data)
        if type(self).shown is self:
            self._platform.emit("console", {"data": data})

    def _running_freely(self) -> bool:
        return self._state == "running" and self.state != "paused"

    def _need_alive(self, what: str) -> None:
        if not self.alive:
            raise MachineStopped(f"the machine is {self.state}, so it can't be {what}; boot it first")

    def _need_open(self) -> None:
        if self._closing:
            raise MachineStopped("the machine was closed while it started")

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.ensure_future(work))
        return self._tasks[-1]


def _guarded(serve: Callable[[], bool | None]) -> bool:
    """A device's mistake is printed; the machine and the other devices go on."""
    try:
        return bool(serve())
    except Exception:  # noqa: BLE001 - anybody may write a device
        import traceback

        traceback.print_exc()
        return False

"""The machine, as Python owns it.

`Machine.boot` makes one: memory, devices, harts.  From then on a task serves
it: it awaits the doorbell, carries the consoles' bytes and lets the devices
that are written in Python work, until the machine stops.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hartwell import boot, hibernation, statistics
from hartwell import platform as platforms
from hartwell.agent import Agent, Result
from hartwell.boot import Start
from hartwell.console import Console
from hartwell.debugger import Debugger
from hartwell.devices.block import BlockDevice
from hartwell.devices.console import UartConsole, VirtioConsole
from hartwell.devices.port import PortDevice
from hartwell.devices.rng import RngDevice
from hartwell.devices.virtio import VirtioDevice
from hartwell.devices.vsock import VsockDevice
from hartwell.errors import HartwellError, MachineStopped
from hartwell.files import Files
from hartwell.gdb.port import GdbPort
from hartwell.guestagent import PORT, GuestAgent
from hartwell.harts import Hart
from hartwell.history.recording import Recording
from hartwell.history.replay import Replayable, check_repeatable
from hartwell.inspection import Inspection
from hartwell.jit import jit_threshold
from hartwell.layout import CONSTANTS, field
from hartwell.links import Links
from hartwell.machine_disks import MachineDisks
from hartwell.memory import Memory
from hartwell.net import Network
from hartwell.ninep.backend import Folder
from hartwell.platform import Core, Platform
from hartwell.request import BARE_SLOTS, DiskSource, Request, Source, make_request, renew, said
from hartwell.snapshot.saver import Saver

if TYPE_CHECKING:
    from hartwell.http.client import Answer

TICK_SECONDS = 0.5  # between two "state" events
PAUSE_SECONDS = 5.0  # a hart comes to its next instruction within microseconds; a core may be busy
SHUTDOWN_SECONDS = 10.0  # for the guest's own power-off
LINGER_SECONDS = 0.0005  # a driver that has rung for a device in Python often rings again

_WORDS = {name: field(f"Machine.{name}").offset for name in (
    "control", "doorbell", "doorbell_count", "running_harts", "stop_reason", "exit_code")}
_STOP = {CONSTANTS[f"STOP_{name}"]: name for name in ("POWEROFF", "REBOOT", "EXIT", "CRASH")}


class Machine(Replayable, Inspection, GdbPort):
    """A RISC-V computer.  Made by `await Machine.boot(...)`."""

    shown: ClassVar[Machine | None] = None
    """The machine that has the page's (or the terminal's) console."""
    console_size: ClassVar[tuple[int, int]] = (80, 24)
    """Columns and rows of that console."""

    files: Files
    network: Network
    vsock: VsockDevice
    halt_next_start = False
    """Does the next start, or reset, leave every hart at its first instruction?"""
    name: str | None = None
    """What it is called among sleeping machines; None until it has slept or was saved."""
    checkpoint_error: str | None = None
    """Why the last checkpoint failed; None when it did not."""
    checkpoint_seconds: ClassVar[float | None] = None
    """How often a machine on the page is saved while it runs; None: never."""
    _mips = 0.0
    _lost: str | None = None  # why memory of a lazy wake did not come
    _locked = False  # this tab has the machine's lock
    _closing = False

    def __init__(self, core: Core, request: Request, place: Platform, links: Links, jit: bool | int = True) -> None:
        """Devices and memory; use `Machine.boot`."""
        self.image = request.name
        self.error: str | None = None
        self.exit_code = 0
        self.memory = Memory(core)
        self.harts = [Hart(core, index, lambda: not self._running_freely()) for index in range(core.plan.harts)]
        self._core, self._request, self._platform, self._links = core, request, place, links
        self.debugger = Debugger(core, self.harts, self.memory, self.pause, self.resume, self)
        self._state = "loading"
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._counted = (time.monotonic(), 0)
        self.jit = jit is not False
        if not core.settled:
            _write_plan(core, request, jit_threshold(jit))
            core.call("machine_init")
        self._devices: list[VirtioDevice] = []
        self._agent: Agent | GuestAgent | None = None
        self.console = Console(*self._attach(), self._show)
        self._saver = Saver(self)  # before anything else is written: it notes how a machine begins

    # --- life ---------------------------------------------------------------

    @classmethod
    async def boot(
        cls, image: str | None = None, *, harts: int | None = None, memory: str | int | None = None,
        kernel: Source | None = None, initrd: Source | None = None, append: str | None = None,
        disks: Sequence[DiskSource] = (), overlay: str | None = "default",
        firmware: Source | None = None, bare: Source | None = None,
        share: str | Path | Folder | None = "default", network: str | Sequence[str] | None = "default",
        jit: bool | int = True, show: bool = True, halt: bool = False, platform: Platform | None = None,
        recording: Recording | None = None,
    ) -> Machine:
        """Builds a machine and starts it; returns when its harts run.

        image: a name from static/images (default: the one of `serve.py`).
        harts: 1 to 8.  memory: guest RAM, "512M", "1G" or bytes.
        kernel, initrd: instead of, or without, an image's; a name below
        static/, a path, a URL, or bytes.  A RISC-V Linux Image, or a gzip of one.
        append: kernel arguments, added to the image's.
        disks: images, or hartwell.disks.Disk where more is to be said; after the
        image's own disk /dev/vda, or from it on.  overlay: the name under which
        changes to the image's own disk are kept; None forgets them.
        firmware: an M-mode image such as firmware/fw_jump.bin; without one the
        machine answers SBI calls itself.
        bare: an M-mode ELF program instead of all that (HTIF `tohost` ends it).
        share: the folder that the guest has at /mnt/host: a path (":ro" after it:
        read only), a Folder of hartwell.ninep, None.  By default the page's own.
        network: "relay" (to the internet, by serve.py), "switch" or "switch:NAME"
        (machines of the same origin), two of them for two cards, None.  By
        default the relay, where there is one.
        jit: translate hot code (docs/translator.md), and use what was translated of
        the image ahead; False interprets all of it, a number is the visits after
        which a place counts as hot, and then nothing made ahead is used.
        show: take the page's console; a machine that has it is switched off,
        as by pulling its plug.  With False the machine runs beside it.
        recording: see `record` and `replay`, which give it.
        halt: every hart stands still before its first instruction; resume() starts them.

        Raises BadConfiguration, BadKernel, BadElf, ImageNotFound,
        FileNotFoundError; a machine that runs is not touched by those.
        """
        place = platform or platforms.current()
        before = cls.shown
        if show and (before is None or not before.alive):
            place.emit("state", {"state": "loading", "image": image or ""})
        try:
            links = Links(place, share=share, network=network)
            request = await make_request(
                place, image=image, harts=harts, memory=memory, kernel=kernel, initrd=initrd, append=append,
                disks=disks, firmware=firmware, bare=bare, overlay=overlay, new=True,
            )
            check_repeatable(recording, request)
            if show and cls.shown is not None:
                await cls.shown.close()
            core = await place.create(request.plan, request.name if jit is True else "")
            try:
                core.prepare_harts()  # their workers start meanwhile
                machine = cls(core, request, place, links, jit)
                note = await machine.disks.open(machine._saver.identity)
            except BaseException:
                core.terminate()
                raise
        except BaseException:
            if show:
                if cls.shown is not None:
                    cls.shown._tell()
                else:
                    place.emit("state", {"state": "stopped"})
            raise
        machine.halt_next_start = halt
        request.options = links.options | said(
            image=image, kernel=kernel, initrd=initrd, append=append, firmware=firmware, bare=bare)
        if recording:
            machine._repeat(recording)
        if show:
            Machine.shown = machine
            machine.console.shown_before = place.shown_bytes
            machine.console.resize(*cls.console_size)
        if note:
            machine._show(f"{note}\r\n".encode())
        await machine._start()
        machine._checkpoint()
        if machine._saves:
            machine._spawn(hibernation.seed(machine))
        return machine

    @classmethod
    async def wake(
        cls, name: str | Path, *, lazy: bool = True, fork: bool = False, move: bool = False, show: bool = True,
        platform: Platform | None = None,
    ) -> Machine:
        """Wakes a sleeping machine; returns when its harts run, where they were.

        name: as it was called, or a file of export_snapshot (a path or URL that
        ends in .hartwell), which gives a machine without a name.

        lazy: memory comes as it is needed, and the rest behind.  With False
        all of it is there first; the machine is the same.
        fork: a copy, which belongs to no name; the sleeping one stays as it is.
        move: when it runs in another tab, it comes from there (hartwell.moving).

        Raises SnapshotNotFound, SnapshotCorrupt, SnapshotVersion, and
        MachineInUse when it runs already, here or in another tab.
        """
        return await hibernation.wake_machine(
            cls, name, lazy=lazy, fork=fork, move=move, show=show, place=platform)

    snapshots = staticmethod(hibernation.snapshots)
    room = staticmethod(hibernation.room)
    in_use = staticmethod(hibernation.in_use)
    delete_snapshot = staticmethod(hibernation.delete_snapshot)
    rename_snapshot = staticmethod(hibernation.rename_snapshot)
    export_snapshot = staticmethod(hibernation.export_snapshot)
    import_snapshot = staticmethod(hibernation.import_snapshot)

    @classmethod
    async def arrive(cls, **options: Any) -> Machine:
        """What a visit to the page begins with: the machine that slept last wakes;
        without one, open() (boot() where `options`, which are its, are given)."""
        return await hibernation.arrive(cls, **options)

    @classmethod
    async def open(cls, image: str | None = None) -> Machine:
        """An image's machine, as soon as can be: the one that set-up booted once wakes; where
        there is none, or changes to the image's disk are kept, it boots.  The machine that is
        shown goes to sleep where it can."""
        return await hibernation.open_image(cls, image)

    @property
    def state(self) -> str:
        """loading, running, paused, asleep, stopped or crashed."""
        if self._state == "running" and self.history:
            return "running" if self.history.running else "paused"
        if self._state == "running" and self._core.load(_WORDS["control"]) == CONSTANTS["CONTROL_PAUSE"]:
            return "paused"
        return self._state

    @property
    def alive(self) -> bool:
        """Does it run, or could it by resume()?"""
        return self._state in ("loading", "running")

    def pause(self) -> None:
        """Suspends every hart at an instruction boundary, all state in memory.

        The guest's clock stands still from then on.  Raises MachineStopped
        when there is nothing to pause.
        """
        self._need_alive("paused")
        if not self._saver.wish(paused=True):
            self._halt()
        self._tell()

    def _halt(self) -> None:
        if self.history:
            self.history.pause()
            return
        self._core.call("machine_pause")
        end = time.monotonic() + PAUSE_SECONDS
        while running := self._core.load(_WORDS["running_harts"]):
            if not self._core.block(_WORDS["running_harts"], running, 0.1) and time.monotonic() > end:
                self._core.call("machine_resume")
                raise HartwellError(f"{running} harts did not come to rest within {PAUSE_SECONDS} s; the machine goes on")
            if self._core.load(_WORDS["stop_reason"]):
                return

    def _go(self) -> None:
        if self.history:
            self.history.resume()
        else:
            self._core.call("machine_resume")

    def resume(self) -> None:
        """Goes on after pause()."""
        self._need_alive("resumed")
        if not self._saver.wish(paused=False):
            self._go()
        self._counted = (time.monotonic(), statistics.instructions(self._core))
        self._tell()

    async def hibernate(self, name: str | None = None) -> None:
        """Sends the machine to sleep as `name` (default: its own, or its image's).

        It is in the store when this returns, and no longer here.  Raises
        StorageFull or StorageFailed, and then it goes on.
        """
        self._need_no_history()
        await hibernation.hibernate(self, name)

    async def checkpoint(self, name: str | None = None) -> None:
        """Stores the machine as hibernate() does, and goes on: the guest stands
        still for some milliseconds.  `Machine.wake` begins there after a crash."""
        self._need_no_history()
        await hibernation.checkpoint(self, name)

    def reset(self) -> None:
        """As the reset button: RAM and disks keep what they hold, everything else begins anew."""
        if self.alive:
            self._core.call("machine_stop", CONSTANTS["STOP_REBOOT"], 0)
        else:
            self._spawn(self._restart())

    async def shutdown(self, timeout: float = SHUTDOWN_SECONDS) -> None:
        """Asks the guest to power off and waits until it has; a guest that
        cannot be asked, or takes more than `timeout` seconds, is switched off."""
        if not self.alive:
            return
        if self.state == "paused":
            self.resume()
        if self._agent and self._agent.present:
            timeout = max(timeout, self._agent.shutdown_seconds)
            asking = asyncio.ensure_future(self._agent.power_off())
            asking.add_done_callback(lambda task: task.cancelled() or task.exception())
            await self._stopped(timeout)
            asking.cancel()
        if self.alive:
            self._core.call("machine_stop", CONSTANTS["STOP_POWEROFF"], 0)
        await self.wait()

    async def wait(self) -> int:
        """Until the machine has stopped; its exit code (0, or a bare program's)."""
        await self._over.wait()
        return self.exit_code

    async def close(self) -> None:
        """Pulls the plug and gives the memory back.  The machine is of no more use."""
        await self._part("stopped")

    async def _part(self, state: str) -> None:
        self._closing = True
        if self.alive:
            self._core.call("machine_stop", CONSTANTS["STOP_POWEROFF"], 0)
            await self._stopped(PAUSE_SECONDS)
        self._finish(state)
        for task in self._tasks:
            task.cancel()
        self._links.close()
        await self.disks.close()
        self._core.terminate()
        await hibernation.release(self)
        if Machine.shown is self:
            Machine.shown = None

    # --- use ------------------------------------------------------------------

    async def run(self, command: str, timeout: float = 60) -> Result:
        """Runs a shell command in the guest; its .stdout, .stderr and .returncode.

        Runs beside what a person types, in a fresh shell as root.  Waits for a
        guest that boots.  Raises NotSupported where the image has no agent,
        HartwellError when `timeout` seconds are over.
        """
        if self._agent is None or not self.alive:
            raise MachineStopped(f"{command!r}: the machine is {self.state}; boot it first")
        return await self._agent.run(command, timeout)

    async def http(
        self, port: int, path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Asks a web server in the guest, by vsock: .status, .headers, .body.
        ConnectionRefused where no program listens on that port."""
        from hartwell.http.client import request  # the set-up imports this package where h11 is not yet

        return await request(self.vsock, port, method, path, headers or {}, body)

    def statistics(self) -> dict[str, Any]:
        """Counters of harts and devices; see hartwell.statistics."""
        return statistics.collect(self._core)

    def __repr__(self) -> str:
        return f"<Machine {self.image} {self.state}, {len(self.harts)} harts, {self.memory.size >> 20} MiB>"

    # --- inside -----------------------------------------------------------------

    def _attach(self) -> tuple[UartConsole, VirtioConsole | None]:
        """Devices into their slots: for Linux console, entropy, agent, disks; a
        bare program finds its disks from slot 0 on, as in QEMU."""
        core, request = self._core, self._request
        uart, console, first_disk = UartConsole(core), None, 0
        if not request.bare:
            console = VirtioConsole(core, 0, 0)
            rng = RngDevice(lambda count: self.entropy(count))
            rng.attach(core, 1)
            self._devices.append(rng)
            if request.agent == "qemu":
                port = PortDevice(PORT)
                port.attach(core, 2)
                self._devices.append(port)
                self._agent = GuestAgent(port)
            else:
                self._agent = Agent(VirtioConsole(core, 2, 1))
            first_disk = 3
        for index, disk in enumerate(request.disks):
            BlockDevice(core, first_disk + index, index, disk)
        freezer = self._agent if isinstance(self._agent, GuestAgent) else None
        self.disks = MachineDisks(self._platform, core, request.disks, freezer)
        self._slots = list(range(BARE_SLOTS if request.bare else first_disk + len(request.disks)))
        devices, slots = self._links.join(self, core)
        self._devices += devices
        self._slots += slots
        return uart, console

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
        if halt or self.history:
            core.call("machine_pause")
        self._links.start()
        await core.start_harts()
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
        self._links.start()
        await self._core.start_harts()
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
        return Machine.shown is self and self._platform.name == "browser" and not self.history

    def _checkpoint(self) -> None:
        if self._saves:
            self._spawn(hibernation.keep_checkpoints(self))

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
        core, bell, rings = self._core, _WORDS["doorbell"], _WORDS["doorbell_count"]
        while True:
            # The count first: a ring from here on ends the wait below.
            count = core.load(rings)
            bits = core.and_(bell, 0)
            served = False if self.history else self._work()
            if bits & CONSTANTS["DOORBELL_DISK"]:
                core.call("disks_serve")
            if bits & CONSTANTS["DOORBELL_DEBUG"]:
                _guarded(self.debugger.rung)
            if bits & CONSTANTS["DOORBELL_STOP"] or core.load(_WORDS["stop_reason"]):
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
        reason = _STOP.get(core.load(_WORDS["stop_reason"]), "CRASH")
        self.exit_code = core.load(_WORDS["exit_code"])
        if reason == "REBOOT":
            self._spawn(self._restart())
        elif reason == "CRASH":
            self.error = core.failure or self._lost or "the guest asked for a stop because of a failure"
            self._finish("crashed")
        else:
            self._finish("stopped")
            if not self._closing:
                self._spawn(hibernation.forget(self))

    async def _restart(self) -> None:
        if self._saver.stream is not None:
            await asyncio.wait([self._saver.stream])  # else it would write over what is loaded now
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
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
        if Machine.shown is not self:
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
        if Machine.shown is self:
            self._platform.emit("console", {"data": data})

    def _running_freely(self) -> bool:
        return self._state == "running" and self.state != "paused"

    def _need_alive(self, what: str) -> None:
        if not self.alive:
            raise MachineStopped(f"the machine is {self.state}, so it can't be {what}; boot it first")

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.ensure_future(work))
        return self._tasks[-1]


def _write_plan(core: Core, request: Request, threshold: int) -> None:
    """The plan's numbers into struct Machine, where C finds them."""
    for name, value in core.plan.values.items():
        slot = field(f"Machine.{name}")
        core.write(slot.offset, value.to_bytes(slot.size, "little"))
    core.store(field("Machine.jit.threshold").offset, threshold)
    guest = request.bare or request.firmware is not None
    core.store(field("Machine.hart_count").offset, core.plan.harts)
    core.store(field("Machine.firmware").offset, CONSTANTS["FIRMWARE_GUEST" if guest else "FIRMWARE_BUILTIN"])


def _guarded(serve: Callable[[], bool | None]) -> bool:
    """A device's mistake is printed; the machine and the other devices go on."""
    try:
        return bool(serve())
    except Exception:  # noqa: BLE001 - anybody may write a device
        import traceback

        traceback.print_exc()
        return False

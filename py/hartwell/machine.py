"""The machine, as Python owns it.

`Machine.boot` makes one: memory, devices, harts.  This is its public face, and how
it is put together; what goes on while it runs is in hartwell.serving.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hartwell import hibernation, statistics
from hartwell import platform as platforms
from hartwell.agent import Agent, Result
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
from hartwell.request import BARE_SLOTS, DiskSource, Request, Source, make_request, said
from hartwell.serving import WORDS, Serving
from hartwell.snapshot.saver import Saver

if TYPE_CHECKING:
    from hartwell.http.client import Answer

PAUSE_SECONDS = 5.0  # a hart comes to its next instruction within microseconds; a core may be busy
SHUTDOWN_SECONDS = 10.0  # for the guest's own power-off


class Machine(Serving, Replayable, Inspection, GdbPort):
    """A RISC-V computer.  Made by `await Machine.boot(...)`."""

    console_size: ClassVar[tuple[int, int]] = (80, 24)
    """Columns and rows of that console."""

    files: Files
    network: Network
    vsock: VsockDevice
    name: str | None = None
    """What it is called among sleeping machines; None until it has slept or was saved."""
    checkpoint_error: str | None = None
    """Why the last checkpoint failed; None when it did not."""
    checkpoint_seconds: ClassVar[float | None] = None
    """How often a machine on the page is saved while it runs; None: never."""
    _locked = False  # this tab has the machine's lock
    _parting: asyncio.Task[None] | None = None  # its end

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
            jit_threshold(jit)
            links = Links(place, share=share, network=network)
            request = await make_request(
                place, image=image, harts=harts, memory=memory, kernel=kernel, initrd=initrd, append=append,
                disks=disks, firmware=firmware, bare=bare, overlay=overlay, new=True, ahead=jit is True,
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
        try:
            machine.halt_next_start = halt
            request.options = links.options | said(
                image=image, kernel=kernel, initrd=initrd, append=append, firmware=firmware, bare=bare)
            if recording:
                machine._repeat(recording)
            if show:
                if cls.shown is not None:  # another boot or wake may have been as far as this meanwhile
                    await cls.shown.close()
                Machine.shown = machine
                machine.console.shown_before = place.shown_bytes
                machine.console.resize(*cls.console_size)
            if note:
                machine._show(f"{note}\r\n".encode())
            await machine._start()
        except BaseException as error:
            await machine._abandon(error)
            raise
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
        if self._state == "running" and self._core.load(WORDS["control"]) == CONSTANTS["CONTROL_PAUSE"]:
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
        self.debugger.control.asked = True
        if not self._saver.wish(paused=True):
            self._halt()
        self._tell()

    def _halt(self) -> None:
        if self.history:
            self.history.pause()
            return
        self._core.call("machine_pause")
        # Waits are counted, not the clock: where all of this stood still (a lid that was closed, a tab
        # that was frozen) the harts have had no time either.
        for _ in range(int(PAUSE_SECONDS / 0.1)):
            running = self._core.load(WORDS["running_harts"])
            if not running or self._core.load(WORDS["stop_reason"]):
                return
            self._core.block(WORDS["running_harts"], running, 0.1)
        if running := self._core.load(WORDS["running_harts"]):
            self._core.call("machine_resume")
            raise HartwellError(f"{running} harts did not come to rest within {PAUSE_SECONDS} s; the machine goes on")

    def _go(self) -> None:
        if self.history:
            self.history.resume()
        else:
            self._core.call("machine_resume")

    def resume(self) -> None:
        """Goes on after pause()."""
        self._need_alive("resumed")
        self.debugger.control.asked = False
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
        """As the reset button: RAM and disks keep what they hold, everything else begins anew.

        Raises MachineStopped for a machine that sleeps or was closed: it has no memory here."""
        if self._closing:
            raise MachineStopped(f"the machine is {self.state} and its memory was given back; boot or wake one")
        if self.alive:
            self._core.call("machine_stop", CONSTANTS["STOP_REBOOT"], 0)
        else:
            self._state = "loading"  # from now on it is one that can be stopped, or reset once more
            self._over.clear()
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
        """Once, to its end: for all who ask for it, and also when who asks is cancelled."""
        if self._parting is None:
            self._closing = True
            self._parting = asyncio.ensure_future(self._end(state))
        await asyncio.shield(self._parting)

    async def _end(self, state: str) -> None:
        if self.alive:
            self._core.call("machine_stop", CONSTANTS["STOP_POWEROFF"], 0)
            await self._stopped(PAUSE_SECONDS)
        self._finish(state)
        for task in self._tasks:
            task.cancel()
        self._links.close()
        try:
            await self.disks.close()
        finally:
            self._core.terminate()
            if Machine.shown is self:
                Machine.shown = None
            await hibernation.release(self)

    async def _abandon(self, error: BaseException) -> None:
        """It did not come to run: nothing of it stays."""
        self.error = str(error) or type(error).__name__
        self._finish("crashed")
        await self.close()

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
        ConnectionRefused where no program listens on that port, MachineStopped
        where no machine runs (any more)."""
        from hartwell.http.client import request  # the set-up imports this package where h11 is not yet

        self._need_alive("asked")
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


def _write_plan(core: Core, request: Request, threshold: int) -> None:
    """The plan's numbers into struct Machine, where C finds them."""
    for name, value in core.plan.values.items():
        slot = field(f"Machine.{name}")
        core.write(slot.offset, value.to_bytes(slot.size, "little"))
    core.store(field("Machine.jit.threshold").offset, threshold)
    guest = request.bare or request.firmware is not None
    core.store(field("Machine.hart_count").offset, core.plan.harts)
    core.store(field("Machine.firmware").offset, CONSTANTS["FIRMWARE_GUEST" if guest else "FIRMWARE_BUILTIN"])

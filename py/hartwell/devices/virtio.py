"""Write a virtio device in Python.

Registers and their rules are C's (cpu/virtio/mmio.c), and so are the steps on
a queue that must be one with what the driver sees (cpu/virtio/python.c).  A
subclass names its device and gets each request as a `Chain`; it is called on
the supervisor's thread, some tens of microseconds after the driver rang.

    class Echo(VirtioDevice):
        device_id = 63

        def on_request(self, queue, chain):
            chain.write(chain.read())
            chain.complete()

Everything in a queue was written by the guest.  A chain that breaks the rules
makes the device ask for a reset (Virtio 1.2, 2.1.2); nothing of that is raised
out of `serve`.
"""

from __future__ import annotations

from typing import Any

from hartwell.devices.slot import FEATURE_INDIRECT, put_virtio
from hartwell.errors import BadConfiguration
from hartwell.layout import CONSTANTS, RAM_BASE, RAM_OFFSET, VIRTIO_QUEUES, field
from hartwell.platform import Core

DESC_NEXT, DESC_WRITE, DESC_INDIRECT = 1, 2, 4
DESC_BYTES = 16
LONGEST_CHAIN = 1024  # buffers
TAKE_NONE, TAKE_BAD = 0x10000, 0x10001  # cpu/virtio/python.c


class BrokenQueue(Exception):
    """The driver broke the rules of a queue."""


class Chain:
    """One request: buffers the device may read, then buffers it may write.

    `readable` and `writable` are their bytes, `written` those of `writable`
    that are filled.  A chain may be kept and completed later, in any order;
    after a reset of the device all that does nothing.
    """

    def __init__(
        self, device: VirtioDevice, queue: int, head: int, resets: int, buffers: list[tuple[int, int, bool]]
    ) -> None:
        self._device, self._queue, self._head, self._resets = device, queue, head, resets
        self._readable = [(pa, count) for pa, count, writable in buffers if not writable]
        self._writable = [(pa, count) for pa, count, writable in buffers if writable]
        self._done = False
        self.readable = sum(count for _, count in self._readable)
        self.writable = sum(count for _, count in self._writable)
        self.written = 0

    @property
    def live(self) -> bool:
        """Does the driver still wait for it?"""
        return not self._done and self._resets == self._device.resets

    def read(self) -> bytes:
        """All that the driver sent."""
        return b"".join(self._device.read_ram(pa, count) for pa, count in self._readable)

    def write(self, data: bytes) -> int:
        """Appends to the device-writable part; how many bytes fitted."""
        if not self.live:
            return 0
        done, skip = 0, self.written
        for pa, count in self._writable:
            if skip >= count:
                skip -= count
                continue
            piece = data[done : done + count - skip]
            if piece:
                self._device.write_ram(pa + skip, piece)
            done += len(piece)
            skip = 0
        self.written += done
        return done

    def complete(self) -> None:
        """Gives the chain back to the driver; the second time does nothing."""
        if not self._done:
            self._done = True
            self._device.give(self._queue, self._resets, self._head, self.written)


class VirtioDevice:
    """Base of a device served in Python.

    Subclasses set `device_id`, `features` (their own bits), `queue_count` (1
    to 4) and the first `config` (at most 256 bytes), and define `on_request`
    or, to take chains when they please, `on_notify`.
    """

    device_id = 0
    features = 0
    queue_count = 1
    config = b""
    largest_request = 4 << 20
    """Bytes of one direction of a chain; the guest asks for Python's memory here."""

    def attach(self, core: Core, slot: int) -> None:
        """Takes an empty slot; before harts run.  BadConfiguration if it can't."""
        if self.device_id == 0:
            raise BadConfiguration(f"{type(self).__name__}: device_id is 0, which means no device")
        put_virtio(
            core, slot, self.device_id, CONSTANTS["VIRTIO_BACKEND_PYTHON"], self.features,
            queues=self.queue_count, config=self.config,
        )
        self.core, self.slot = core, slot
        self._ram_bytes = core.plan.ram_bytes
        self._reset_count = field("Machine.virtio.reset_count", slot).offset
        self._config_written = field("Machine.virtio.config_written", slot).offset
        self._notified = [
            field("Machine.virtio.queue.notified", slot, index).offset
            for index in range(min(self.queue_count, VIRTIO_QUEUES))
        ]
        self._absent = field("Machine.absent_pages").offset
        self._resets = self.resets
        self._config_writes = core.load(self._config_written)
        self._open: dict[tuple[int, int], Chain] = {}
        self._held: list[tuple[int, int, int, int]] | None = None

    @property
    def resets(self) -> int:
        """How often the slot was reset, modulo 2^32."""
        return self.core.load(self._reset_count)

    @property
    def driver_features(self) -> int:
        """The features that the driver took."""
        return int.from_bytes(self.core.read(field("Machine.virtio.driver_features", self.slot).offset, 8), "little")

    # --- what subclasses define -------------------------------------------

    def on_request(self, queue: int, chain: Chain) -> None:
        """One request of queue `queue`.  Call `chain.complete()`, now or later."""
        chain.complete()

    def on_notify(self, queue: int) -> None:
        """The driver notified queue `queue`; takes all there is, one by one."""
        while (chain := self.take(queue)) is not None:
            self.on_request(queue, chain)

    def on_reset(self) -> None:
        """The driver reset the device; chains not completed are gone."""

    def on_config(self, config: bytes) -> None:
        """The driver wrote to the config, which is `config` now."""

    def saved(self) -> Any:
        """What a snapshot is to keep of this object, as JSON has it; the slot and guest RAM are kept anyway."""
        return None

    def restored(self, state: Any) -> None:
        """After a wake: what `saved` gave; None when it was made by a version that gave nothing."""

    def on_woken(self, queue: int, chain: Chain) -> None:
        """After a wake: a request that was taken and not completed when the machine fell asleep."""
        self.on_request(queue, chain)

    # --- what the supervisor calls ----------------------------------------

    @property
    def busy(self) -> bool:
        """Is a request under way that a sleep should wait for?  A device that
        keeps chains until it has something to say overrides this."""
        return bool(self._open)

    def hold(self) -> None:
        """While the machine is being saved nothing is given back: a request that
        ends now is one under way in the snapshot, and begun again on wake."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Gives back what ended meanwhile."""
        held, self._held = self._held, None
        for given in held or ():
            self.give(*given)

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"open": sorted(self._open), "own": self.saved()}

    def woken(self, state: dict[str, Any]) -> None:
        """From a snapshot, before harts run."""
        self._resets = self.resets
        self._config_writes = self.core.load(self._config_written)
        self._open.clear()
        self.restored(state.get("own"))
        for queue, head in state.get("open", ()):
            if 0 <= queue < len(self._notified):
                try:
                    self.on_woken(queue, self._opened(queue, head))
                except BrokenQueue:
                    self.core.call("virtio_needs_reset", self.slot, self._resets)
        for notified in self._notified:
            self.core.store(notified, 1)  # the doorbell may have been on its way

    def serve(self) -> bool:
        """Takes what the driver has notified; True when there was anything."""
        busy = False
        resets = self.resets
        if reset := resets != self._resets:
            self._resets = resets
            self._open.clear()
            self.on_reset()
        if (writes := self.core.load(self._config_written)) != self._config_writes:
            self._config_writes = writes
            self.on_config(self.read_config())
        for queue, notified in enumerate(self._notified):
            # After a reset all are looked at: a notification may have met `take`
            # while it still held to the time before.
            if self.core.load(notified) or reset:
                self.core.store(notified, 0)
                busy = True
                try:
                    self.on_notify(queue)
                except BrokenQueue:
                    self.core.call("virtio_needs_reset", self.slot, self._resets)
        return busy

    # --- what subclasses call ----------------------------------------------

    def take(self, queue: int) -> Chain | None:
        """The next chain of a queue; None when there is none, and then the
        driver will notify of the next.  BrokenQueue goes to `serve`."""
        head = self.core.call("virtio_take", self.slot, queue, self._resets)
        if head == TAKE_NONE:
            return None
        if head == TAKE_BAD:
            raise BrokenQueue("more chains made available than the queue has")
        return self._opened(queue, head)

    def _opened(self, queue: int, head: int) -> Chain:
        chain = self._open[queue, head] = Chain(self, queue, head, self._resets, self._follow(queue, head))
        return chain

    def give(self, queue: int, resets: int, head: int, written: int) -> None:
        """Puts a chain into the used ring; `Chain.complete` calls it."""
        if self._held is not None:
            self._held.append((queue, resets, head, written))
            return
        if resets == self._resets:
            self._open.pop((queue, head), None)
        self.core.call("virtio_give", self.slot, queue, resets, head, written)

    def read_config(self) -> bytes:
        """The config's bytes as they are now."""
        return self.core.read(field("Machine.virtio.config", self.slot).offset, len(self.config))

    def write_config(self, config: bytes) -> None:
        """New config of the same size; the driver sees all of it or nothing, and is told."""
        if len(config) != len(self.config):
            raise BadConfiguration(
                f"{type(self).__name__}: {len(config)} bytes of config, but it began with {len(self.config)}"
            )
        self.core.call("virtio_config_begin", self.slot)
        try:
            self.core.write(field("Machine.virtio.config", self.slot).offset, config)
        finally:
            self.core.call("virtio_config_end", self.slot)

    # --- guest RAM ---------------------------------------------------------

    def read_ram(self, pa: int, count: int) -> bytes:
        """Guest physical bytes; BrokenQueue outside RAM."""
        place = self._place(pa, count)
        if self.core.load(self._absent):
            self.core.call("ram_await", pa, count)
        return self.core.read(place, count)

    def write_ram(self, pa: int, data: bytes) -> None:
        """Writes guest physical bytes; BrokenQueue outside RAM."""
        place = self._place(pa, len(data))
        if self.core.load(self._absent):
            self.core.call("ram_await", pa, len(data))
        self.core.write(place, data)
        self.core.call("ram_written", pa, len(data))

    def _place(self, pa: int, count: int) -> int:
        if pa < RAM_BASE or pa + count > RAM_BASE + self._ram_bytes:
            raise BrokenQueue(f"{count} bytes at {pa:#x} are outside RAM")
        return RAM_OFFSET + pa - RAM_BASE

    # --- descriptors ---------------------------------------------------------

    def _follow(self, queue: int, head: int) -> list[tuple[int, int, bool]]:
        """The buffers of a chain as (address, bytes, device-writable); 2.7.5."""
        core, slot = self.core, self.slot
        table = int.from_bytes(core.read(field("Machine.virtio.queue.desc", slot, queue).offset, 8), "little")
        entries = core.load(field("Machine.virtio.queue.num", slot, queue).offset)
        buffers: list[tuple[int, int, bool]] = []
        sizes = [0, 0]
        index, indirect, whole = head, False, b""
        while len(buffers) < LONGEST_CHAIN:
            if index >= entries:
                raise BrokenQueue(f"descriptor {index} in a table of {entries}")
            at = DESC_BYTES * index
            raw = whole[at : at + DESC_BYTES] if whole else self.read_ram(table + at, DESC_BYTES)
            address, length = int.from_bytes(raw[0:8], "little"), int.from_bytes(raw[8:12], "little")
            flags, following = int.from_bytes(raw[12:14], "little"), int.from_bytes(raw[14:16], "little")
            if flags & DESC_INDIRECT:
                if indirect or length == 0 or length % DESC_BYTES or flags & DESC_NEXT:
                    raise BrokenQueue("an indirect table in an indirect table, or of a wrong size")
                if not self.driver_features & FEATURE_INDIRECT:
                    raise BrokenQueue("an indirect table, which the driver did not ask for")
                table, entries, index, indirect = address, length // DESC_BYTES, 0, True
                if entries <= LONGEST_CHAIN:  # one read instead of many
                    whole = self.read_ram(table, length)
                continue
            self._place(address, length)
            writable = bool(flags & DESC_WRITE)
            if buffers and buffers[-1][2] and not writable:
                raise BrokenQueue("a device-readable buffer after a writable one")
            sizes[writable] += length
            if sizes[writable] > self.largest_request:
                raise BrokenQueue(f"a request of more than {self.largest_request} bytes")
            buffers.append((address, length, writable))
            if not flags & DESC_NEXT:
                return buffers
            index = following
        raise BrokenQueue(f"a chain of more than {LONGEST_CHAIN} buffers, or a loop")

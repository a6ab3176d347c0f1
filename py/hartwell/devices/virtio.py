"""Write a virtio device in Python.

Registers and their rules are C's (cpu/virtio_mmio.c).  A subclass names its
device and gets each request as a `Chain`; it is called on the supervisor's
thread, some tens of microseconds after the driver rang.  Virtio 1.2, 2.7.

Everything in a queue was written by the guest.  A chain that breaks the rules
makes the device ask for a reset (2.1.2); nothing is raised out of `serve`.
"""

from __future__ import annotations

from dataclasses import dataclass

from hartwell.devices.console import FEATURE_EVENT_IDX, FEATURE_INDIRECT, put_virtio
from hartwell.layout import CONSTANTS, LAYOUT, RAM_BASE, VIRTIO_QUEUES, field
from hartwell.platform import Core

DESC_NEXT, DESC_WRITE, DESC_INDIRECT = 1, 2, 4
NO_INTERRUPT = 1
LONGEST_CHAIN = 1024
USED_BUFFER, CONFIG_CHANGED = 1, 2


class BrokenQueue(Exception):
    """The driver broke the rules of a queue."""


@dataclass
class Queue:
    """A virtqueue as the driver set it up."""

    index: int
    num: int
    desc: int
    avail: int
    used: int
    last_avail: int
    used_index: int


class Chain:
    """One request: buffers the device may read, then buffers it may write."""

    def __init__(self, device: VirtioDevice, queue: Queue, head: int, buffers: list[tuple[int, int, bool]]) -> None:
        self._device, self._queue, self._head = device, queue, head
        self._readable = [(pa, count) for pa, count, writable in buffers if not writable]
        self._writable = [(pa, count) for pa, count, writable in buffers if writable]
        self.readable = sum(count for _, count in self._readable)
        self.writable = sum(count for _, count in self._writable)
        self.written = 0

    def read(self) -> bytes:
        """All that the driver sent."""
        return b"".join(self._device.read_ram(pa, count) for pa, count in self._readable)

    def write(self, data: bytes) -> int:
        """Appends to the device-writable part; how many bytes fitted."""
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
        """Gives the chain back to the driver, once."""
        self._device.push(self._queue, self._head, self.written)


class VirtioDevice:
    """Base of a device served in Python.

    Subclasses set `device_id`, `features`, `queue_count` and the first
    `config`, and define `on_request`.
    """

    device_id = 0
    features = 0
    queue_count = 1
    config = b""

    def attach(self, core: Core, slot: int) -> None:
        """Takes an empty slot; before harts run."""
        self._core, self.slot = core, slot
        self._ram_offset = _word(core, "Machine.ram_offset")
        self._ram_bytes = int.from_bytes(core.read(field("Machine.ram_bytes").offset, 8), "little")
        self._resets = core.load(field("Machine.virtio.reset_count", slot).offset)
        put_virtio(
            core, slot, self.device_id, CONSTANTS["VIRTIO_BACKEND_PYTHON"],
            self.features | FEATURE_INDIRECT | FEATURE_EVENT_IDX, queues=self.queue_count, config=self.config,
        )

    # --- what subclasses define -------------------------------------------

    def on_request(self, queue: int, chain: Chain) -> None:
        """One request of queue `queue`.  Call `chain.complete()`, now or later."""
        chain.complete()

    def on_reset(self) -> None:
        """The driver reset the device; chains not completed are gone."""

    # --- what the supervisor calls ----------------------------------------

    def serve(self) -> bool:
        """Takes what drivers have notified; True when there was anything."""
        resets = self._core.load(field("Machine.virtio.reset_count", self.slot).offset)
        if resets != self._resets:
            self._resets = resets
            self.on_reset()
        busy = False
        for index in range(min(self.queue_count, VIRTIO_QUEUES)):
            notified = field("Machine.virtio.queue.notified", self.slot, index).offset
            if self._core.load(notified):
                self._core.store(notified, 0)
                busy = True
                try:
                    self._drain(index)
                except BrokenQueue:
                    self._core.call("virtio_needs_reset", self.slot)
        return busy

    def config_changed(self, config: bytes) -> None:
        """New config contents of the same size, told to the driver."""
        self._core.write(field("Machine.virtio.config", self.slot).offset, config)
        generation = field("Machine.virtio.config_generation", self.slot).offset
        self._core.store(generation, (self._core.load(generation) + 1) & 0xFFFF_FFFF)
        self._core.call("virtio_interrupt", self.slot, CONFIG_CHANGED)

    # --- guest RAM ---------------------------------------------------------

    def read_ram(self, pa: int, count: int) -> bytes:
        """Guest physical bytes; BrokenQueue outside RAM."""
        return self._core.read(self._place(pa, count), count)

    def write_ram(self, pa: int, data: bytes) -> None:
        """Writes guest physical bytes; BrokenQueue outside RAM."""
        self._core.write(self._place(pa, len(data)), data)
        self._core.call("ram_written", pa, len(data))

    def _place(self, pa: int, count: int) -> int:
        if pa < RAM_BASE or pa + count > RAM_BASE + self._ram_bytes:
            raise BrokenQueue(f"{count} bytes at {pa:#x} are outside RAM")
        return self._ram_offset + pa - RAM_BASE

    # --- the queue ----------------------------------------------------------

    def _queue(self, index: int) -> Queue | None:
        base = field("Machine.virtio.queue", self.slot, index).offset
        raw = self._core.read(base, LAYOUT["Virtqueue"].size)
        slots = LAYOUT["Virtqueue"].fields

        def get(name: str) -> int:
            slot = slots[name]
            return int.from_bytes(raw[slot.offset : slot.offset + slot.size], "little")

        if not get("ready"):
            return None
        return Queue(
            index, get("num"), get("desc"), get("avail"), get("used"), get("last_avail"), get("used_index")
        )

    def _store16(self, queue: Queue, name: str, value: int) -> None:
        offset = field(f"Machine.virtio.queue.{name}", self.slot, queue.index).offset
        self._core.write(offset, value.to_bytes(2, "little"))

    def _drain(self, index: int) -> None:
        queue = self._queue(index)
        while queue is not None:
            available = int.from_bytes(self.read_ram(queue.avail + 2, 2), "little")
            waiting = (available - queue.last_avail) & 0xFFFF
            if waiting > queue.num:
                raise BrokenQueue(f"{waiting} chains made available in a queue of {queue.num}")
            if not waiting:
                if not self._ask_notify(queue, available):
                    return
                continue
            at = queue.avail + 4 + 2 * (queue.last_avail % queue.num)
            head = int.from_bytes(self.read_ram(at, 2), "little")
            queue.last_avail = (queue.last_avail + 1) & 0xFFFF
            self._store16(queue, "last_avail", queue.last_avail)
            self.on_request(index, Chain(self, queue, head, self._follow(queue, head)))
            queue = self._queue(index)  # on_request may have completed some

    def _ask_notify(self, queue: Queue, seen: int) -> bool:
        """Asks to be told of the next; True when one has come meanwhile."""
        if not self._negotiated(FEATURE_EVENT_IDX):
            return False
        self.write_ram(queue.used + 4 + 8 * queue.num, seen.to_bytes(2, "little"))
        return int.from_bytes(self.read_ram(queue.avail + 2, 2), "little") != seen

    def _negotiated(self, feature: int) -> bool:
        offset = field("Machine.virtio.driver_features", self.slot).offset
        return bool(int.from_bytes(self._core.read(offset, 8), "little") & feature)

    def _follow(self, queue: Queue, head: int) -> list[tuple[int, int, bool]]:
        buffers: list[tuple[int, int, bool]] = []
        table, entries, index, indirect = queue.desc, queue.num, head, False
        while len(buffers) < LONGEST_CHAIN:
            if index >= entries:
                raise BrokenQueue(f"descriptor {index} in a table of {entries}")
            raw = self.read_ram(table + 16 * index, 16)
            address, length = int.from_bytes(raw[0:8], "little"), int.from_bytes(raw[8:12], "little")
            flags, following = int.from_bytes(raw[12:14], "little"), int.from_bytes(raw[14:16], "little")
            if flags & DESC_INDIRECT:
                if indirect or length == 0 or length % 16 or flags & DESC_NEXT:
                    raise BrokenQueue("an indirect table in an indirect table, or of a wrong size")
                table, entries, index, indirect = address, length // 16, 0, True
                continue
            self._place(address, length)
            writable = bool(flags & DESC_WRITE)
            if buffers and buffers[-1][2] and not writable:
                raise BrokenQueue("a device-readable buffer after a writable one")
            buffers.append((address, length, writable))
            if not flags & DESC_NEXT:
                return buffers
            index = following
        raise BrokenQueue(f"a chain of more than {LONGEST_CHAIN} buffers, or a loop")

    def push(self, queue: Queue, head: int, written: int) -> None:
        """Puts a chain into the used ring; `Chain.complete` calls it."""
        now = self._queue(queue.index)
        if now is None or now.used != queue.used:
            return  # the driver reset the queue meanwhile
        at = now.used + 4 + 8 * (now.used_index % now.num)
        self.write_ram(at, head.to_bytes(4, "little") + written.to_bytes(4, "little"))
        index = (now.used_index + 1) & 0xFFFF
        self._store16(now, "used_index", index)
        self.write_ram(now.used + 2, index.to_bytes(2, "little"))
        if self._negotiated(FEATURE_EVENT_IDX):
            event = int.from_bytes(self.read_ram(now.avail + 4 + 2 * now.num, 2), "little")
            wanted = event == now.used_index
        else:
            wanted = not int.from_bytes(self.read_ram(now.avail, 2), "little") & NO_INTERRUPT
        if wanted:
            self._core.call("virtio_interrupt", self.slot, USED_BUFFER)


def _word(core: Core, path: str) -> int:
    return core.load(field(path).offset)

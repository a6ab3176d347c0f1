"""A guest's virtio driver, in Python: it drives a slot by device_read and
device_write and lays its queues into guest RAM.  Virtio 1.2, 2.7 and 4.2."""

from __future__ import annotations

from dataclasses import dataclass

from hartwell.devices.board import VIRTIO, VIRTIO_STRIDE
from hartwell.layout import RAM_BASE, RAM_OFFSET
from hartwell.platform import Core

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET = 1, 2, 4, 8, 64
NEXT, WRITE, INDIRECT = 1, 2, 4
VERSION_1, EVENT_IDX, INDIRECT_DESC = 1 << 32, 1 << 29, 1 << 28
FAULT = (1 << 64) - 1
FIRST_BYTE = RAM_BASE + 0x8_0000  # of what the driver allocates


def bus_read(core: Core, pa: int, size: int = 4) -> int:
    """What a hart would read; FAULT for an access fault."""
    return core.call("device_read", pa, size) & FAULT


def bus_write(core: Core, pa: int, value: int, size: int = 4) -> bool:
    """False for an access fault."""
    return bool(core.call("device_write", pa, size, value))


@dataclass
class VirtQueue:
    """Addresses of a queue's parts, and how far driver and device have come."""

    index: int
    num: int
    desc: int
    avail: int
    used: int
    offered: int = 0
    seen: int = 0
    next_free: int = 0


class Driver:
    """Drives slot `slot` of `core`'s machine."""

    def __init__(self, core: Core, slot: int) -> None:
        self.core, self.slot, self.base = core, slot, VIRTIO + slot * VIRTIO_STRIDE
        self.free = FIRST_BYTE + slot * 0x4_0000
        self.queues: list[VirtQueue] = []

    # --- registers and RAM ---------------------------------------------------

    def read(self, offset: int, size: int = 4) -> int:
        return bus_read(self.core, self.base + offset, size)

    def write(self, offset: int, value: int, size: int = 4) -> bool:
        return bus_write(self.core, self.base + offset, value, size)

    @property
    def status(self) -> int:
        return self.read(0x70)

    @property
    def interrupts(self) -> int:
        """InterruptStatus; acknowledges what it shows."""
        bits = self.read(0x60)
        self.write(0x64, bits)
        return bits

    def peek(self, pa: int, count: int) -> bytes:
        return self.core.read(RAM_OFFSET + pa - RAM_BASE, count)

    def poke(self, pa: int, data: bytes) -> None:
        self.core.write(RAM_OFFSET + pa - RAM_BASE, data)

    def allocate(self, count: int, align: int = 16) -> int:
        """Fresh zeroed bytes of RAM."""
        pa = (self.free + align - 1) & -align
        self.free = pa + count
        self.poke(pa, bytes(count))
        return pa

    # --- set-up (3.1.1) ---------------------------------------------------------

    def offered_features(self) -> int:
        self.write(0x14, 0)
        low = self.read(0x10)
        self.write(0x14, 1)
        return low | self.read(0x10) << 32

    def negotiate(self, features: int) -> bool:
        """From reset up to FEATURES_OK; does the device take them?"""
        for value in (0, ACKNOWLEDGE, ACKNOWLEDGE | DRIVER):
            self.write(0x70, value)
        for half in (0, 1):
            self.write(0x24, half)
            self.write(0x20, features >> 32 * half & 0xFFFF_FFFF)
        self.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK)
        return bool(self.status & FEATURES_OK)

    def place_queue(self, index: int, num: int, desc: int, avail: int, used: int) -> None:
        self.write(0x30, index)
        self.write(0x38, num)
        for offset, address in ((0x80, desc), (0x90, avail), (0xA0, used)):
            self.write(offset, address & 0xFFFF_FFFF)
            self.write(offset + 4, address >> 32)
        self.write(0x44, 1)

    def start(self, queues: int = 1, *, num: int = 16, features: int = VERSION_1, live: bool = True) -> None:
        assert self.negotiate(features)
        self.queues = []
        for index in range(queues):
            queue = VirtQueue(
                index, num, self.allocate(16 * num), self.allocate(6 + 2 * num), self.allocate(6 + 8 * num)
            )
            self.place_queue(index, num, queue.desc, queue.avail, queue.used)
            self.queues.append(queue)
        if live:
            self.go()

    def go(self) -> None:
        self.write(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)

    # --- queues -------------------------------------------------------------------

    def describe(self, queue: VirtQueue, index: int, address: int, count: int, flags: int = 0, then: int = 0) -> None:
        self.poke(queue.desc + 16 * index, descriptor(address, count, flags, then))

    def offer(self, queue: VirtQueue, head: int, *, notify: bool = True) -> None:
        """Makes a chain available."""
        self.poke(queue.avail + 4 + 2 * (queue.offered % queue.num), head.to_bytes(2, "little"))
        queue.offered = (queue.offered + 1) & 0xFFFF
        self.poke(queue.avail + 2, queue.offered.to_bytes(2, "little"))
        if notify:
            self.notify(queue)

    def notify(self, queue: VirtQueue) -> None:
        self.write(0x50, queue.index)

    def buffers(self, readable: list[bytes], writable: list[int]) -> list[tuple[int, int, int]]:
        """Allocates them; (address, bytes, flags) each."""
        made = [(self.allocate(len(data)), len(data), 0) for data in readable]
        for (pa, _, _), data in zip(made, readable, strict=True):
            self.poke(pa, data)
        return made + [(self.allocate(count), count, WRITE) for count in writable]

    def request(
        self, number: int, readable: list[bytes], writable: list[int], *, indirect: bool = False, notify: bool = True
    ) -> tuple[int, list[int]]:
        """Offers a chain of such buffers: its head, the addresses of the writable ones."""
        queue = self.queues[number]
        made = self.buffers(readable, writable)
        head = queue.next_free % queue.num
        if indirect:
            table = b"".join(
                descriptor(pa, count, flags | (NEXT if at + 1 < len(made) else 0), at + 1)
                for at, (pa, count, flags) in enumerate(made)
            )
            place = self.allocate(len(table))
            self.poke(place, table)
            self.describe(queue, head, place, len(table), INDIRECT)
            queue.next_free += 1
        else:
            for at, (pa, count, flags) in enumerate(made):
                last = at + 1 == len(made)
                here = (queue.next_free + at) % queue.num
                self.describe(queue, here, pa, count, flags | (0 if last else NEXT), (here + 1) % queue.num)
            queue.next_free += len(made)
        self.offer(queue, head, notify=notify)
        return head, [pa for pa, _, flags in made if flags & WRITE]

    def used(self, number: int) -> list[tuple[int, int]]:
        """(head, bytes written) of each chain that came back since the last time."""
        queue = self.queues[number]
        index = int.from_bytes(self.peek(queue.used + 2, 2), "little")
        back = []
        while queue.seen != index:
            raw = self.peek(queue.used + 4 + 8 * (queue.seen % queue.num), 8)
            back.append((int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:], "little")))
            queue.seen = (queue.seen + 1) & 0xFFFF
        return back

    def want_interrupt_after(self, number: int, index: int) -> None:
        """used_event: interrupt once used index passes `index`."""
        queue = self.queues[number]
        self.poke(queue.avail + 4 + 2 * queue.num, (index & 0xFFFF).to_bytes(2, "little"))

    def notify_wanted_at(self, number: int) -> int:
        """avail_event: the device wants a notification when this index is passed."""
        queue = self.queues[number]
        return int.from_bytes(self.peek(queue.used + 4 + 8 * queue.num, 2), "little")


def descriptor(address: int, count: int, flags: int = 0, then: int = 0) -> bytes:
    """One entry of a descriptor table."""
    return (
        address.to_bytes(8, "little") + count.to_bytes(4, "little")
        + flags.to_bytes(2, "little") + then.to_bytes(2, "little")
    )

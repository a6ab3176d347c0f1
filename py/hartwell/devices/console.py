"""The two consoles: the UART and virtio-console, both served in C.

What the guest sends lies in a ring until `read` takes it; what `write` puts in
is delivered at once.  Neither blocks.
"""

from __future__ import annotations

from hartwell.devices.ring import Ring
from hartwell.devices.slot import STATUS_DRIVER_OK, put_virtio
from hartwell.errors import BadConfiguration
from hartwell.layout import CONSTANTS, RAM_OFFSET, RING_BASE, RING_SIZE, field
from hartwell.platform import Core

VIRTIO_ID_CONSOLE = 3
FEATURE_SIZE = 1 << 0


def ring_place(number: int) -> int:
    """Where ring `number`'s bytes lie: 0 and 1 are the UART's."""
    place = RING_BASE + number * RING_SIZE
    if place + RING_SIZE > RAM_OFFSET:
        most = ((RAM_OFFSET - RING_BASE) // RING_SIZE - 2) // 2
        raise BadConfiguration(f"console {(number - 2) // 2}: a machine has memory for {most} virtio consoles")
    return place


class UartConsole:
    """The 16550A's two directions."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tx = Ring(core, field("Machine.uart.tx").offset, ring_place(0))
        self._rx = Ring(core, field("Machine.uart.rx").offset, ring_place(1))

    def write(self, data: bytes) -> int:
        """Bytes to the guest; how many there was room for."""
        count = self._rx.write(data)
        self._core.call("uart_input")
        return count

    def read(self) -> bytes:
        """Bytes from the guest since the last time."""
        data = self._tx.read()
        if data:  # the ring may have been full for a moment, and the transmitter have stopped
            self._core.call("uart_input")
        return data


class VirtioConsole:
    """virtio-console in a slot; Virtio 1.2, 5.3.

    `number` (0 to 6) tells several consoles' rings apart.
    """

    def __init__(self, core: Core, slot: int, number: int = 0) -> None:
        self._core, self.slot = core, slot
        tx, rx = ring_place(2 + 2 * number), ring_place(3 + 2 * number)
        put_virtio(
            core, slot, VIRTIO_ID_CONSOLE, CONSTANTS["VIRTIO_BACKEND_CONSOLE"],
            FEATURE_SIZE, queues=2, config=bytes(12),
        )
        self._status = field("Machine.virtio.status", slot).offset
        self._tx = Ring(core, field("Machine.virtio.tx", slot).offset, tx)
        self._rx = Ring(core, field("Machine.virtio.rx", slot).offset, rx)

    @property
    def ready(self) -> bool:
        """Has a driver taken it?"""
        return bool(self._core.load(self._status) & STATUS_DRIVER_OK)

    def write(self, data: bytes) -> int:
        """Bytes to the guest; how many there was room for."""
        count = self._rx.write(data)
        self._core.call("virtio_input", self.slot)
        return count

    def read(self) -> bytes:
        """Bytes from the guest since the last time."""
        data = self._tx.read()
        if data:  # what had no room may be waiting in the queue
            self._core.call("virtio_output_drained", self.slot)
        return data

    def resize(self, cols: int, rows: int) -> None:
        """Tells the guest the terminal's size in characters."""
        self._core.call("console_resize", self.slot, cols & 0xFFFF, rows & 0xFFFF)


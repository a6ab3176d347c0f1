"""A virtio-serial port with a name, served in Python: VIRTIO_CONSOLE_F_MULTIPORT, Virtio 1.2, 5.3.

One port on a device of its own, number 0, which the guest sees as
/dev/virtio-ports/NAME.  It is no console: hvc0 stays the console's.
"""

from __future__ import annotations

import struct

from hartwell.devices.virtio import Chain, VirtioDevice

RECEIVE, TRANSMIT, CONTROL_TO_GUEST, CONTROL_FROM_GUEST = range(4)
DEVICE_READY, PORT_ADD, PORT_READY, PORT_OPEN, PORT_NAME = 0, 1, 3, 6, 7
_CONTROL = struct.Struct("<IHH")  # port, event, value
MOST_INPUT = 64 << 20  # bytes that wait here for their reader
MOST_CONTROL = 64  # messages that wait for a driver's buffers; the guest may not fill Python's memory


class PortDevice(VirtioDevice):
    """Bytes both ways, once a program in the guest has opened the port."""

    device_id = 3
    features = 1 << 1  # MULTIPORT
    queue_count = 4
    config = struct.pack("<HHII", 0, 0, 1, 0)  # cols, rows, max_nr_ports, emerg_wr

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = False
        """Has a program in the guest the port open?"""
        self._control: list[bytes] = []
        self._input = bytearray()
        self._output = bytearray()

    def write(self, data: bytes) -> None:
        """Bytes for the guest; they wait until it has room."""
        self._output += data
        self._send(RECEIVE)

    def read(self) -> bytes:
        """Bytes of the guest since the last time."""
        data = bytes(self._input)
        self._input.clear()
        return data

    # --- what VirtioDevice calls -------------------------------------------------

    def on_notify(self, queue: int) -> None:
        """The driver gave buffers, or sent something."""
        if queue in (RECEIVE, CONTROL_TO_GUEST):
            self._send(queue)
            return
        while (chain := self.take(queue)) is not None:
            data = chain.read()
            chain.complete()
            if queue == CONTROL_FROM_GUEST:
                self._heard(data)
            elif len(self._input) < MOST_INPUT:
                self._input += data

    def on_reset(self) -> None:
        """The driver is gone, and with it whoever had the port open."""
        self.open = False
        self._control.clear()
        self._output.clear()

    def on_woken(self, queue: int, chain: Chain) -> None:
        """No chain is kept open here."""
        chain.complete()

    def saved(self) -> bool:
        """For a snapshot: is the port open?"""
        return self.open

    def restored(self, state: object) -> None:
        self.open = bool(state)

    # --- inside ------------------------------------------------------------------

    def _heard(self, message: bytes) -> None:
        if len(message) < _CONTROL.size:
            return
        port, event, value = _CONTROL.unpack_from(message)
        if event == DEVICE_READY and value:
            self._tell(PORT_ADD, 1)
        elif port == 0 and event == PORT_READY and value:
            self._tell(PORT_NAME, 1, self.name.encode() + b"\0")
            self._tell(PORT_OPEN, 1)
        elif port == 0 and event == PORT_OPEN:
            self.open = bool(value)

    def _tell(self, event: int, value: int, more: bytes = b"") -> None:
        if len(self._control) < MOST_CONTROL:
            self._control.append(_CONTROL.pack(0, event, value) + more)
        self._send(CONTROL_TO_GUEST)

    def _send(self, queue: int) -> None:
        """As much as the driver has buffers for."""
        while self._control if queue == CONTROL_TO_GUEST else self._output:
            chain = self.take(queue)
            if chain is None:
                return
            if queue == CONTROL_TO_GUEST:
                chain.write(self._control.pop(0))
            else:
                del self._output[: chain.write(bytes(self._output[: chain.writable]))]
            chain.complete()

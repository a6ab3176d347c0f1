"""A network card in a slot.  Virtio 1.2, 5.1.

Its queues are C's (cpu/virtio/net.c) and the network's worker's; here is what
it is made of.
"""

from __future__ import annotations

from hartwell.devices.slot import put_virtio
from hartwell.errors import BadConfiguration
from hartwell.layout import CONSTANTS, NET_AREA, NET_CARDS, NET_FRAME, PAGE, field
from hartwell.platform import Core

VIRTIO_ID_NET = 1
CSUM, GUEST_CSUM, MTU_GIVEN, MAC_GIVEN, MRG_RXBUF, STATUS = 1 << 0, 1 << 1, 1 << 3, 1 << 5, 1 << 15, 1 << 16
MTU = 65520  # the largest IP packet; few large frames cost less than many small ones
QUEUES = 2


class NetCard:
    """Card `number` (0 or 1) with a MAC address; the link is down until `link(True)`."""

    def __init__(self, core: Core, slot: int, number: int, mac: bytes) -> None:
        if not 0 <= number < NET_CARDS:
            raise BadConfiguration(f"network card {number}: a machine has memory for {NET_CARDS}")
        if len(mac) != 6 or mac[0] & 1:
            raise BadConfiguration(f"network card {number}: {mac.hex(':')} is no address for one card")
        self._core, self.slot, self.number, self.mac = core, slot, number, mac
        config = mac + bytes(2) + (1).to_bytes(2, "little") + MTU.to_bytes(2, "little")
        put_virtio(
            core, slot, VIRTIO_ID_NET, CONSTANTS["VIRTIO_BACKEND_NET"],
            CSUM | GUEST_CSUM | MTU_GIVEN | MAC_GIVEN | MRG_RXBUF | STATUS, queues=QUEUES, config=config,
        )
        self.area = core.load(field("Machine.net_offset").offset) + number * NET_AREA
        self.refresh()

    def refresh(self) -> None:
        """Before harts run: the area where this machine has it, the address that a
        machine which woke had before."""
        self._core.store(field("Machine.virtio.image_offset", self.slot).offset, self.area)
        self.mac = self._core.read(field("Machine.virtio.config", self.slot).offset, 6)

    def link(self, up: bool) -> None:
        """Plugs the cable in or out, as the guest sees it."""
        self._core.call("net_link", self.slot, int(up))

    def take(self) -> bytes | None:
        """The next frame from the guest; for those who have no worker for it."""
        count = self._core.call("net_take", self.slot)
        return self._core.read(self.area + PAGE, count) if count else None

    def give(self, frame: bytes) -> int:
        """A frame for the guest; net_give's answer (1: it has it)."""
        self._core.write(self.area + PAGE + NET_FRAME, frame)
        return self._core.call("net_give", self.slot, len(frame))

"""What joins a machine to the world beside console and disks: the shared folder,
sockets between host and guest, network cards.

Each device has a slot of its own at the upper end, so that disks may count up
from below.  A bare program gets none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hartwell.devices.ninep import NinepDevice
from hartwell.devices.virtio import VirtioDevice
from hartwell.devices.vsock import Stream, VsockDevice
from hartwell.files import Files, make_share
from hartwell.http import PROXY_PORT
from hartwell.layout import MAX_VIRTIO
from hartwell.net import Network, parse_segments
from hartwell.ninep.backend import Folder
from hartwell.platform import Core, Platform

if TYPE_CHECKING:
    from hartwell.machine import Machine

SHARE_SLOT = MAX_VIRTIO - 1
VSOCK_SLOT = MAX_VIRTIO - 2
SHARE_TAG = "host"


class Links:
    """Checked before a machine is made, joined when it is there."""

    def __init__(
        self, place: Platform, *, share: str | Path | Folder | None = "default",
        network: str | Sequence[str] | None = "default",
    ) -> None:
        """Arguments of Machine.boot; BadConfiguration for what can't be."""
        self._place = place
        self._folder = make_share(share)
        if network == "default":
            network = "relay" if place.relay else None
        self._segments = parse_segments(network)
        self._network: Network | None = None
        self._vsock: VsockDevice | None = None

    @classmethod
    def of(cls, place: Platform, options: dict[str, str]) -> Links:
        """Those of a machine that wakes: network cards as it was booted with (one for
        a relay that this place has not stays without its cable), and the share
        that this place has."""
        return cls(place, network=[word for word in options.get("network", "").split(",") if word])

    @property
    def options(self) -> dict[str, str]:
        """For a snapshot; `of` takes it back."""
        return {"network": ",".join(segment.word for segment in self._segments)}

    def join(self, machine: Machine, core: Core) -> tuple[list[VirtioDevice], list[int]]:
        """Puts the devices into their slots, and `files`, `vsock` and `network` into
        the machine; the devices that Python serves, and the slots."""
        if machine._request.bare:
            self._folder, self._segments = None, []
        machine.files = Files(self._folder, machine.run)
        machine.network = self._network = Network(core, self._place, self._segments)
        devices: list[VirtioDevice] = []
        slots = list(self._network.slots)
        machine.vsock = VsockDevice()
        if not machine._request.bare:
            machine.vsock.attach(core, VSOCK_SLOT)
            self._vsock = machine.vsock
            devices.append(machine.vsock)
            machine.vsock.listen(PROXY_PORT, self._serve_proxy)
            slots.append(VSOCK_SLOT)
        if self._folder is not None:
            device = NinepDevice(self._folder, SHARE_TAG)
            device.attach(core, SHARE_SLOT)
            devices.append(device)
            slots.append(SHARE_SLOT)
        return devices, sorted(slots)

    async def _serve_proxy(self, stream: Stream) -> None:
        # Here, since the set-up imports this package where h11 is not yet.
        from hartwell.http.proxy import Proxy

        await Proxy(self._place.request, self._place.mirror).serve(stream)

    def start(self) -> None:
        """The harts are about to run, for the first time or after a wake.  What was
        connected when the machine fell asleep is not: cables go out and in again."""
        if self._network is not None:
            self._network.start()
        if self._vsock is not None:
            self._vsock.began()

    def ended(self) -> None:
        """The machine has stopped or sleeps: who waits for its guest hears of it."""
        if self._vsock is not None:
            self._vsock.ended()

    def close(self) -> None:
        """The machine has ended."""
        if self._network is not None:
            self._network.close()

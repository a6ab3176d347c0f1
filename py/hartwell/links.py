"""What joins a machine to the world beside console and disks: the shared folder,
sockets between host and guest, network cards.

Each device has a slot of its own at the upper end, so that disks may count up
from below.  A bare program gets none of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hartwell.devices.ninep import NinepDevice
from hartwell.devices.virtio import VirtioDevice
from hartwell.files import Files, make_share
from hartwell.layout import MAX_VIRTIO
from hartwell.ninep.backend import Folder
from hartwell.platform import Core

if TYPE_CHECKING:
    from hartwell.machine import Machine

SHARE_SLOT = MAX_VIRTIO - 1
SHARE_TAG = "host"


class Links:
    """Checked before a machine is made, joined when it is there."""

    def __init__(self, *, share: str | Path | Folder | None = "default") -> None:
        """Arguments of Machine.boot; BadConfiguration for what can't be."""
        self._folder = make_share(share)

    def join(self, machine: Machine, core: Core) -> tuple[list[VirtioDevice], list[int]]:
        """Puts the devices into their slots, and files into `machine`; the devices
        that Python serves, and the slots."""
        machine.files = Files(self._folder, machine.run)
        devices: list[VirtioDevice] = []
        slots: list[int] = []
        if self._folder is not None:
            device = NinepDevice(self._folder, SHARE_TAG)
            device.attach(core, SHARE_SLOT)
            devices.append(device)
            slots.append(SHARE_SLOT)
        return devices, slots

    def close(self) -> None:
        """The machine has ended."""

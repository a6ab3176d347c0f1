"""virtio 9P transport: a shared folder.  Virtio 1.2 has only its number; the
registers are those of Linux's net/9p/trans_virtio.c (virtio_9p.h)."""

from __future__ import annotations

from hartwell.devices.tasks import Tasks
from hartwell.devices.virtio import Chain, VirtioDevice
from hartwell.errors import BadConfiguration
from hartwell.ninep.backend import Folder
from hartwell.ninep.server import Server

MOUNT_TAG = 1 << 0


class NinepDevice(VirtioDevice):
    """Shares `folder` under the mount tag `tag`."""

    device_id = 9
    features = MOUNT_TAG
    queue_count = 1

    def __init__(self, folder: Folder, tag: str = "host") -> None:
        name = tag.encode()
        if not 0 < len(name) <= 64:
            raise BadConfiguration(f"share: the mount tag {tag!r} must have 1 to 64 bytes")
        self.tag = tag
        self.config = len(name).to_bytes(2, "little") + name
        self.server = Server(folder)
        self._tasks = Tasks()

    def on_request(self, queue: int, chain: Chain) -> None:
        self._tasks.start(self._serve(chain))

    def on_reset(self) -> None:
        self._tasks.start(self.server.reset())

    def saved(self) -> object:
        return self.server.saved()

    def restored(self, state: object) -> None:
        self._tasks.start(self.server.restore(state))

    async def _serve(self, chain: Chain) -> None:
        reply = await self.server.handle(chain.read(), chain.writable)
        chain.write(reply)
        chain.complete()

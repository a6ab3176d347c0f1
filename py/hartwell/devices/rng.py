"""virtio entropy device, served in Python.  Virtio 1.2, 5.4."""

from __future__ import annotations

import os
from collections.abc import Callable

from hartwell.devices.virtio import Chain, VirtioDevice


class RngDevice(VirtioDevice):
    """Fills each request with the platform's random bytes."""

    device_id = 4
    queue_count = 1

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """entropy: so many random bytes."""
        self._entropy = entropy

    def on_request(self, queue: int, chain: Chain) -> None:
        chain.write(self._entropy(min(chain.writable, 65536)))
        chain.complete()

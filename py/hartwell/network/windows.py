"""How much a guest's TCP connections may have under way towards it.

passt puts what a peer has sent into its stream as far as the guest's receive
window allows, and drops what the stream has no room for; it sends that again
after its retransmission timeout of seconds.  So the window that it sees is
never wider than the stream's room (RFC 9293, 3.8.6: a receiver may offer what
it likes).
"""

from __future__ import annotations

from collections import OrderedDict

from hartwell.network.packets import TCP, adjusted, read_ipv4

_SYN = 0x02
_CONNECTIONS = 1024  # whose scale is remembered
_HEADER = 20


class Windows:
    """Narrows windows to `limit` bytes, frame by frame."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._scales: OrderedDict[tuple[int | None, int, int | None], int] = OrderedDict()

    def narrow(self, frame: bytes) -> bytes:
        """The frame as passt is to see it; itself where nothing is to be changed."""
        packet = read_ipv4(frame)
        if packet is None or packet.protocol != TCP or packet.fragment or packet.end - packet.start < _HEADER:
            return frame
        at = packet.start
        key = packet.source_port, packet.target, packet.target_port
        if frame[at + 13] & _SYN:  # its own window is not scaled (RFC 7323, 2.2)
            self._scales[key] = _scale(frame[at + _HEADER : min(packet.end, at + (frame[at + 12] >> 4) * 4)])
            self._scales.move_to_end(key)
            if len(self._scales) > _CONNECTIONS:
                self._scales.popitem(last=False)
            return frame
        widest = self.limit >> self._scales.get(key, 0)
        old = frame[at + 14] << 8 | frame[at + 15]
        if old <= widest:
            return frame
        new = widest.to_bytes(2, "big")
        total = adjusted(frame[at + 16 : at + 18], frame[at + 14 : at + 16], new)
        return b"".join((frame[: at + 14], new, total, frame[at + 18 :]))


def _scale(options: bytes) -> int:
    """The window scale that a SYN's options offer (RFC 7323, 2.2); 0 for none."""
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2:
            break
        if options[at] == 3 and size == 3 and at + 2 < len(options):
            return min(options[at + 2], 14)
        at += size
    return 0

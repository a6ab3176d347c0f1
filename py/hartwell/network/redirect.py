"""A service of this host's that the guest has at an address of its own.

passt reaches this host's loopback by the gateway's address alone, and the
service's port is whatever was free.  So frames to the service go on to the
gateway and that port, and those that come from there come from the service
(the translation of RFC 3022, for one fixed pair).
"""

from __future__ import annotations

import ipaddress

from hartwell.network.packets import ETHERNET, ETHERTYPE_IPV4, TCP, adjusted, ethertype, read_ipv4

End = tuple[str, int]  # address, port

_SOURCE, _TARGET = (12, 0), (16, 2)  # of address and port, in the headers of IPv4 and TCP


class Redirect:
    """TCP to `service` is TCP to `real`; a service at port 80 is not at another."""

    def __init__(self, service: End, real: End) -> None:
        self._service, self._real = _bytes(service), _bytes(real)

    def outwards(self, frame: bytes) -> bytes:
        """A frame from the guest."""
        return _replace(frame, _TARGET, self._service, self._real)

    def inwards(self, frame: bytes) -> bytes:
        """A frame to the guest."""
        return _replace(frame, _SOURCE, self._real, self._service)


def _bytes(end: End) -> tuple[bytes, bytes]:
    return ipaddress.IPv4Address(end[0]).packed, end[1].to_bytes(2, "big")


def _replace(frame: bytes, where: tuple[int, int], old: tuple[bytes, bytes], new: tuple[bytes, bytes]) -> bytes:
    at = ETHERNET + where[0]
    # Most frames have nothing to do with it: they pay for two comparisons.
    if frame[at : at + 4] != old[0] or frame[23:24] != bytes([TCP]) or ethertype(frame) != ETHERTYPE_IPV4:
        return frame
    packet = read_ipv4(frame)
    if packet is None or packet.fragment or packet.end - packet.start < 20:
        return frame
    port, sums = packet.start + where[1], (ETHERNET + 10, packet.start + 16)
    if frame[port : port + 2] != old[1]:
        return frame
    out = bytearray(frame)
    out[at : at + 4], out[port : port + 2] = new
    out[sums[0] : sums[0] + 2] = adjusted(frame[sums[0] : sums[0] + 2], old[0], new[0])
    out[sums[1] : sums[1] + 2] = adjusted(frame[sums[1] : sums[1] + 2], old[0] + old[1], new[0] + new[1])
    return bytes(out)

"""Ethernet, IPv4, UDP, ICMP: as much as is read or made here.

IEEE 802.3; RFC 791, 768, 792, 1071.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ETHERNET = 14
ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
ICMP, TCP, UDP = 1, 6, 17
BROADCAST = b"\xff" * 6


@dataclass(frozen=True)
class Ipv4:
    """An IPv4 packet in a frame.  Ports are None where there is no head of TCP or UDP."""

    frame: bytes
    source: int
    target: int
    protocol: int
    start: int  # of what follows its header, in the frame
    end: int
    fragment: bool
    target_port: int | None
    source_port: int | None

    @property
    def payload(self) -> bytes:
        return self.frame[self.start : self.end]


def ethertype(frame: bytes) -> int:
    """0 for what is too short to have one."""
    return int.from_bytes(frame[12:14], "big") if len(frame) >= ETHERNET else 0


def read_ipv4(frame: bytes) -> Ipv4 | None:
    """None for a frame that has no whole, sensible IPv4 header."""
    if len(frame) < ETHERNET + 20 or frame[ETHERNET] >> 4 != 4:
        return None
    header = (frame[ETHERNET] & 15) * 4
    length, flags = int.from_bytes(frame[16:18], "big"), int.from_bytes(frame[20:22], "big")
    if header < 20 or length < header or ETHERNET + length > len(frame):
        return None
    start, end = ETHERNET + header, ETHERNET + length
    fragment = bool(flags & 0x1FFF)
    ports = not fragment and frame[23] in (TCP, UDP) and end - start >= 8
    return Ipv4(
        frame, int.from_bytes(frame[26:30], "big"), int.from_bytes(frame[30:34], "big"), frame[23], start, end,
        fragment, int.from_bytes(frame[start + 2 : start + 4], "big") if ports else None,
        int.from_bytes(frame[start : start + 2], "big") if ports else None,
    )


def checksum(data: bytes) -> int:
    """The Internet checksum of RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def adjusted(before: bytes, old: bytes, new: bytes) -> bytes:
    """A checksum's two bytes after `old` in what it covers became `new`, of the
    same even size (RFC 1624, equation 3)."""
    form = struct.Struct(f">{len(old) // 2}H")
    total: int = ~int.from_bytes(before, "big") & 0xFFFF
    total += sum(~word & 0xFFFF for word in form.unpack(old)) + sum(form.unpack(new))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def ipv4_frame(to: bytes, by: bytes, source: int, target: int, protocol: int, payload: bytes) -> bytes:
    """A frame with an IPv4 packet."""
    head = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0, source, target)
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    return to + by + ETHERTYPE_IPV4.to_bytes(2, "big") + head + payload


def udp_frame(to: bytes, by: bytes, source: tuple[int, int], target: tuple[int, int], payload: bytes) -> bytes:
    """A frame with a UDP datagram; ends are (address, port).  Its checksum says "none"."""
    head = struct.pack(">HHHH", source[1], target[1], 8 + len(payload), 0)
    return ipv4_frame(to, by, source[0], target[0], UDP, head + payload)


def prohibited(packet: Ipv4) -> bytes:
    """The answer to a packet that may not pass: ICMP destination unreachable,
    communication administratively prohibited (RFC 1812, 5.2.7.1)."""
    quoted = packet.frame[ETHERNET : packet.start + 8]
    body = struct.pack(">BBHI", 3, 13, 0, 0) + quoted
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    to, by = packet.frame[6:12], packet.frame[0:6]
    return ipv4_frame(to, by, packet.target, packet.source, ICMP, body)

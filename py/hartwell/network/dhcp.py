"""DHCP on segments between machines: each guest gets an address made of its
card's, so nobody has to remember who has which.  RFC 2131, 2132.
"""

from __future__ import annotations

import ipaddress

from hartwell.network.packets import UDP, ethertype, read_ipv4, udp_frame

NETWORK = ipaddress.IPv4Network("10.77.0.0/16")
SERVER = ipaddress.IPv4Address("10.77.255.254")
SERVER_MAC = bytes.fromhex("025700fffffe")
LEASE_SECONDS = 86400
_COOKIE = b"\x63\x82\x53\x63"
_FIXED = 236  # bytes before the cookie
_DISCOVER, _OFFER, _REQUEST, _ACK, _NAK = 1, 2, 3, 5, 6
_ANSWERS = {_DISCOVER: _OFFER, _REQUEST: _ACK}


def address_of(mac: bytes) -> ipaddress.IPv4Address:
    """10.77.x.y from the last two bytes; those that are taken give way to 10.77.254.x."""
    host = int.from_bytes(mac[4:6], "big")
    if host in (0, 0xFFFF, int(SERVER) & 0xFFFF):
        host = 0xFE00 | mac[5] & 0x7F | 1
    return NETWORK[host]


def is_request(frame: bytes) -> bool:
    """A frame from a client to a DHCP server?"""
    return ethertype(frame) == 0x0800 and len(frame) > 42 and frame[23] == UDP and frame[36:38] == b"\0\x43"


def answer(frame: bytes, mtu: int) -> bytes | None:
    """The reply to a client's message; None where none is due."""
    packet = read_ipv4(frame)
    if packet is None or packet.target_port != 67:
        return None
    message = packet.payload[8:]
    if len(message) < _FIXED + 4 or message[0] != 1 or message[2] != 6 or message[_FIXED : _FIXED + 4] != _COOKIE:
        return None
    options = _options(message[_FIXED + 4 :])
    kind = options.get(53, b"\0")[0]
    if kind not in _ANSWERS:
        return None
    mac = message[28:34]
    mine = address_of(mac)
    wanted = options.get(50) or message[12:16]
    reply = _ANSWERS[kind]
    if kind == _REQUEST and wanted != mine.packed and any(wanted):
        reply = _NAK
    head = b"\2" + message[1:4] + message[4:8] + bytes(2) + message[10:12] + bytes(4)
    head += (mine.packed if reply != _NAK else bytes(4)) + SERVER.packed + bytes(4) + message[28:44] + bytes(192)
    given = [(53, bytes([reply])), (54, SERVER.packed)]
    if reply != _NAK:
        given += [(51, LEASE_SECONDS.to_bytes(4, "big")), (1, NETWORK.netmask.packed), (26, mtu.to_bytes(2, "big"))]
    body = head + _COOKIE + b"".join(bytes([number, len(value)]) + value for number, value in given) + b"\xff"
    return udp_frame(mac, SERVER_MAC, (int(SERVER), 67), (0xFFFF_FFFF, 68), body)


def _options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        length = data[at + 1]
        if value := data[at + 2 : at + 2 + length]:
            found[data[at]] = value
        at += 2 + length
    return found

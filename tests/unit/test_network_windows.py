"""Receive windows that the relay narrows, on frames made by hand."""

from __future__ import annotations

import ipaddress

import pytest

from hartwell.network.packets import TCP, UDP, checksum, ipv4_frame, read_ipv4
from hartwell.network.windows import Windows

GUEST, PEER = (int(ipaddress.IPv4Address(each)) for each in ("10.0.2.15", "1.1.1.1"))
SYN, ACK = 0x02, 0x10
LIMIT = 1 << 20
SCALE = bytes([2, 4, 0xFF, 0xC8, 1, 3, 3, 6])  # a segment size, a filler, the scale 6


def segment(flags: int, window: int, options: bytes = b"", payload: bytes = b"", port: int = 40000) -> bytes:
    options += bytes(-len(options) % 4)
    body = port.to_bytes(2, "big") + (80).to_bytes(2, "big") + bytes(8) + bytes([(5 + len(options) // 4) << 4, flags])
    body += window.to_bytes(2, "big") + bytes(4) + options + payload
    body = body[:16] + checksum(pseudo(len(body)) + body).to_bytes(2, "big") + body[18:]
    return ipv4_frame(b"\2" * 6, b"\4" * 6, GUEST, PEER, TCP, body)


def pseudo(count: int) -> bytes:
    return GUEST.to_bytes(4, "big") + PEER.to_bytes(4, "big") + bytes([0, TCP]) + count.to_bytes(2, "big")


def window_of(frame: bytes) -> int:
    """What a frame offers; its checksum must hold."""
    packet = read_ipv4(frame)
    assert packet is not None
    assert checksum(pseudo(len(packet.payload)) + packet.payload) == 0
    return int.from_bytes(packet.payload[14:16], "big")


def test_a_wide_window_is_narrowed_by_its_connections_own_scale() -> None:
    windows = Windows(LIMIT)
    syn = segment(SYN, 65535, SCALE)
    assert windows.narrow(syn) is syn
    for wide in (65535, 44472, (LIMIT >> 6) + 1):
        narrowed = windows.narrow(segment(ACK, wide, payload=b"odd"))
        assert window_of(narrowed) == LIMIT >> 6
        assert narrowed.endswith(b"odd")
    for narrow in (0, 1, LIMIT >> 6):
        frame = segment(ACK, narrow)
        assert windows.narrow(frame) is frame
    other = segment(ACK, 65535, port=40001)  # one that never said a scale has none
    assert windows.narrow(other) is other


def test_a_new_connection_of_the_same_port_has_a_scale_of_its_own() -> None:
    windows = Windows(LIMIT)
    windows.narrow(segment(SYN, 65535, SCALE))
    windows.narrow(segment(SYN | ACK, 65535))
    assert window_of(windows.narrow(segment(ACK, 65535))) == 65535


def test_few_connections_are_remembered() -> None:
    windows = Windows(1 << 16)
    for port in range(1, 3000):
        windows.narrow(segment(SYN, 65535, SCALE, port=port))
    assert window_of(windows.narrow(segment(ACK, 65535, port=2999))) == 1 << 10
    assert window_of(windows.narrow(segment(ACK, 65535, port=1))) == 65535


@pytest.mark.parametrize("options", [
    b"", bytes(4), b"\3", b"\3\3", b"\3\0\6\0", b"\3\2\6\0", b"\2\1\1\1", b"\1" * 40, b"\3\xff\6\0", b"\xff\3\3\6",
])
def test_options_that_are_none(options: bytes) -> None:
    windows = Windows(1 << 15)
    windows.narrow(segment(SYN, 65535, options))
    assert window_of(windows.narrow(segment(ACK, 65535))) in (1 << 15, 1 << 9)


def test_what_is_no_tcp_stays_as_it_is() -> None:
    windows = Windows(1)
    whole = segment(ACK, 65535)
    fragment = whole[:20] + b"\0\1" + whole[22:]
    for frame in (b"", whole[:30], whole[:53], fragment, ipv4_frame(b"\2" * 6, b"\4" * 6, GUEST, PEER, UDP, bytes(40))):
        assert windows.narrow(frame) is frame

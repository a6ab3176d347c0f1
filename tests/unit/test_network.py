"""The relay's policy, DHCP on segments without a server, names; frames made by hand."""

from __future__ import annotations

import ipaddress
import os
import random
import socket
import threading
from pathlib import Path

import pytest

from hartwell.errors import BadConfiguration
from hartwell.net import parse_segments
from hartwell.network import dhcp, dns
from hartwell.network.packets import ICMP, TCP, UDP, checksum, ipv4_frame, read_ipv4, udp_frame
from hartwell.network.policy import DNS, GATEWAY, Policy, dns_question, parse_rule
from hartwell.setup.relay import own_addresses, parse_forward

MAC = bytes.fromhex("025701020304")
GATEWAY_MAC = bytes.fromhex("0200000000fe")


def number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))


def packet(target: str, port: int = 80, protocol: int = TCP, source: str = "10.0.2.15") -> bytes:
    body = (40000).to_bytes(2, "big") + port.to_bytes(2, "big") + bytes(16)
    return ipv4_frame(GATEWAY_MAC, MAC, number(source), number(target), protocol, body)


@pytest.mark.parametrize("target", ["1.1.1.1", "8.8.8.8", "93.184.215.14", "223.255.255.1"])
@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
def test_the_internet_may_be_reached(target: str, protocol: int) -> None:
    assert Policy().check(packet(target, protocol=protocol)) == (True, None)


@pytest.mark.parametrize("target", [
    "127.0.0.1", "127.255.255.255", "10.0.0.1", "10.0.2.2", "10.0.2.4", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "169.254.169.254", "100.64.0.1", "0.0.0.0", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1",
    "255.255.255.255", "224.0.0.251", "239.255.255.250", "192.0.0.8",
])
def test_what_is_not_of_the_internet_is_refused(target: str) -> None:
    policy = Policy()
    passes, answer = policy.check(packet(target))
    assert not passes
    assert policy.refused == 1
    if number(target) >> 28 >= 0xE:
        assert answer is None  # nobody answers a multicast
        return
    assert answer is not None
    reply = read_ipv4(answer)
    assert reply is not None
    assert (reply.protocol, reply.source, reply.target) == (ICMP, number(target), number("10.0.2.15"))
    assert answer[:12] == MAC + GATEWAY_MAC
    assert reply.payload[:2] == bytes([3, 13])
    assert checksum(reply.payload) == checksum(answer[14:34]) == 0
    assert reply.payload[8:] == packet(target)[14:42]


def test_this_hosts_own_addresses_are_refused() -> None:
    assert Policy(own=["8.8.4.4"]).check(packet("8.8.4.4"))[0] is False
    assert "127.0.0.1" in own_addresses()


def test_own_addresses_are_read_from_the_kernels_table(tmp_path: Path) -> None:
    table = "Main:\n  +-- 0.0.0.0/0 3\n     |-- 203.0.113.7\n        /32 host LOCAL\n"
    table += "     |-- 203.0.113.0\n        /24 link UNICAST\n"
    (tmp_path / "fib").write_text(table)
    assert own_addresses(tmp_path / "fib") == {"203.0.113.7"}
    assert own_addresses(tmp_path / "none") == set()


def test_rules_allow_addresses_and_ports() -> None:
    policy = Policy([parse_rule("192.168.1.0/24"), parse_rule("127.0.0.1:8080"), parse_rule("10.1.2.3:22")])
    for target, port, passes in [
        ("192.168.1.7", 5, True), ("192.168.2.7", 5, False), ("10.1.2.3", 22, True), ("10.1.2.3", 23, False),
        (GATEWAY, 8080, True), (GATEWAY, 8081, False), ("127.0.0.1", 8081, False),
    ]:
        assert policy.check(packet(target, port))[0] is passes, (target, port)
    assert policy.reaches_host
    assert not Policy([parse_rule("192.168.1.0/24")]).reaches_host
    assert policy.describe() == "the internet, and 192.168.1.0/24, 127.0.0.1/32:8080, 10.1.2.3/32:22"


@pytest.mark.parametrize("text", ["", "host", "1.2.3", "1.2.3.4/33", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4/8", "::1"])
def test_rules_that_are_none(text: str) -> None:
    with pytest.raises(BadConfiguration, match="--allow"):
        parse_rule(text)


@pytest.mark.parametrize("text", ["", "22", "22:", ":22", "0:22", "22:65536", "a:b", "1:2:3"])
def test_forwards_that_are_none(text: str) -> None:
    with pytest.raises(BadConfiguration, match="--forward"):
        parse_forward(text)


def test_addresses_and_names_of_the_relay_itself() -> None:
    policy = Policy()
    assert policy.check(udp_frame(b"\xff" * 6, MAC, (0, 68), (0xFFFF_FFFF, 67), b"x"))[0]
    assert policy.check(packet(GATEWAY, 67, UDP))[0]
    assert policy.check(packet(DNS, 53, UDP))[0]
    for port, protocol in ((53, TCP), (54, UDP), (80, TCP)):
        assert not policy.check(packet(DNS, port, protocol))[0]
    assert dns_question(packet(DNS, 53, UDP)) is not None
    assert dns_question(packet("8.8.8.8", 53, UDP)) is None


def test_answers_to_a_forwarded_port_pass_and_begin_nothing() -> None:
    policy = Policy(forwarded=[40000])
    segment = bytearray(packet(GATEWAY, 5000))
    for flags, passes in ((0x12, True), (0x10, True), (0x14, True), (0x02, False), (0xC2, False)):
        segment[14 + 20 + 13] = flags
        assert policy.check(bytes(segment))[0] is passes
        assert not Policy(forwarded=[40001]).check(bytes(segment))[0]
        assert not Policy().check(bytes(segment))[0]


def test_a_rule_for_a_port_has_no_hole_for_fragments() -> None:
    policy = Policy([parse_rule("10.1.2.3:22")])
    whole = bytearray(packet("10.1.2.3", 22))
    whole[20:22] = b"\x00\x01"  # a later fragment: its first bytes are no ports
    assert policy.check(bytes(whole)) == (False, None)
    short = ipv4_frame(GATEWAY_MAC, MAC, 1, number("10.1.2.3"), TCP, b"\0\1\0")  # too short for ports
    assert not policy.check(short)[0]


def test_frames_that_are_none_never_pass() -> None:
    rng = random.Random(7)
    policy = Policy()
    good = packet("8.8.8.8")
    for length in range(len(good)):
        assert policy.check(good[:length])[0] is False
    assert policy.check(good[:12] + b"\x86\xdd" + good[14:])[0] is False  # IPv6
    assert policy.check(good[:12] + b"\x81\x00\0\1\x08\0" + good[14:])[0] is False  # a VLAN's tag in front
    for protocol in (0, 2, 41, 47, 50, 255):
        assert policy.check(packet("8.8.8.8", protocol=protocol))[0] is False
    for _ in range(2000):
        frame = bytearray(packet("192.168.0.1"))
        for _ in range(rng.randrange(1, 6)):
            frame[rng.randrange(12, 30)] = rng.randrange(256)
        frame[30:34] = ipaddress.IPv4Address("192.168.0.1").packed
        passes, _ = policy.check(bytes(frame))
        assert not passes or frame[12:14] == b"\x08\x06"


# --- DHCP -------------------------------------------------------------------------


def request(kind: int, mac: bytes = MAC, wanted: bytes = b"", **changes: bytes) -> bytes:
    head = b"\1\1\6\0" + b"ABCD" + bytes(20) + mac + bytes(10) + bytes(192)
    options = bytes([53, 1, kind]) + (bytes([50, 4]) + wanted if wanted else b"") + b"\0\xff"
    body = head + changes.get("cookie", b"\x63\x82\x53\x63") + options
    return udp_frame(b"\xff" * 6, mac, (0, 68), (0xFFFF_FFFF, 67), body)


def test_a_machine_gets_an_address_that_is_its_own() -> None:
    offer = dhcp.answer(request(1), 1500)
    assert offer is not None
    assert offer[:6] == MAC
    reply = read_ipv4(offer)
    assert reply is not None
    assert checksum(offer[14:34]) == 0
    assert (reply.source_port, reply.target_port) == (67, 68)
    message = reply.payload[8:]
    assert (message[0], message[4:8]) == (2, b"ABCD")
    given = message[16:20]
    assert ipaddress.IPv4Address(given) == dhcp.address_of(MAC) == ipaddress.IPv4Address("10.77.3.4")
    assert bytes([53, 1, 2]) in message
    assert b"\x1a\x02" + (1500).to_bytes(2, "big") in message
    ack = dhcp.answer(request(3, wanted=given), 1500)
    assert ack is not None
    assert bytes([53, 1, 5]) in ack
    nak = dhcp.answer(request(3, wanted=b"\1\2\3\4"), 1500)
    assert nak is not None
    assert bytes([53, 1, 6]) in nak


def test_addresses_are_of_hosts() -> None:
    for end in (b"\0\0", b"\xff\xff", dhcp.SERVER.packed[2:]):
        address = dhcp.address_of(b"\2W\0\0" + end)
        assert address not in (dhcp.SERVER, dhcp.NETWORK.network_address, dhcp.NETWORK.broadcast_address)


def test_what_is_no_request_gets_no_answer() -> None:
    for frame in (b"", request(1)[:-60], request(4), request(1, cookie=b"abcd"), packet("10.77.0.1"), request(1)[:100]):
        assert dhcp.answer(frame, 1500) is None
    rng = random.Random(3)
    for _ in range(500):
        frame = bytearray(request(1))
        for _ in range(8):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        dhcp.answer(bytes(frame), 1500)


# --- names ---------------------------------------------------------------------------


def test_questions_and_answers_find_each_other() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(120)
        frames: list[bytes] = []
        came = threading.Event()

        def take(frame: bytes) -> None:
            frames.append(frame)
            came.set()

        forwarder = dns.Forwarder(server.getsockname(), take)
        asked = read_ipv4(udp_frame(GATEWAY_MAC, MAC, (1, 5000), (number(DNS), 53), b"ID" + b"question--"))
        assert asked is not None
        forwarder.ask(asked)
        question, sender = server.recvfrom(4096)
        assert question[2:] == b"question--"
        server.sendto(bytes([question[0] ^ 1]) + os.urandom(11), sender)  # an answer to nothing
        server.sendto(question[:2] + b"answer----", sender)
        server.sendto(question[:2] + b"once more-", sender)
        assert came.wait(120)
        forwarder.close()
    [frame] = frames
    reply = read_ipv4(frame)
    assert reply is not None
    assert (reply.source, reply.source_port, reply.target_port) == (number(DNS), 53, 5000)
    assert reply.payload[8:] == b"IDanswer----"


def test_what_is_no_question_is_dropped() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.2)
        forwarder = dns.Forwarder(server.getsockname(), lambda frame: None)
        for frame in (packet(DNS, 53, TCP), udp_frame(GATEWAY_MAC, MAC, (1, 5000), (number(DNS), 53), b"short")):
            parsed = read_ipv4(frame)
            assert parsed is not None
            forwarder.ask(parsed)
        with pytest.raises(TimeoutError):
            server.recv(100)
        forwarder.close()


def test_resolvers_of_this_host(tmp_path: Path) -> None:
    (tmp_path / "some").write_text("# comment\nsearch x\nnameserver 9.9.9.9\nnameserver ::1\nnameserver junk\n")
    assert dns.resolvers(tmp_path / "some") == ["9.9.9.9", "::1"]
    assert dns.resolvers(tmp_path / "none") == []


def test_what_network_means() -> None:
    assert parse_segments(None) == []
    assert [(s.kind, s.name) for s in parse_segments(["relay", "switch"])] == [("relay", ""), ("switch", "main")]
    for bad in ("wire", "relay:x", "switch:" + "x" * 65, ["relay"] * 3):
        with pytest.raises(BadConfiguration, match="network"):
            parse_segments(bad)

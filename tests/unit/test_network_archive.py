"""Debian's archive for guests on the relay: its name, its address, its server."""

from __future__ import annotations

import contextlib
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hartwell.network import dns
from hartwell.network.packets import TCP, UDP, checksum, ipv4_frame, read_ipv4, udp_frame
from hartwell.network.policy import ARCHIVE, DNS, GATEWAY, Policy
from hartwell.network.redirect import Redirect
from hartwell.setup import relay
from hartwell.setup.archive import ArchiveServer
from hartwell.setup.relay import Relay
from tests.unit.test_network import GATEWAY_MAC, MAC, number, packet
from tests.unit.test_setup_relay import SECONDS, plug

GUEST = "10.0.2.15"


def segment(source: str, target: str, ports: tuple[int, int], flags: int = 0x10, payload: bytes = b"odd") -> bytes:
    body = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + bytes(8) + bytes([0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0])
    body += payload
    ends = number(source).to_bytes(4, "big") + number(target).to_bytes(4, "big")
    pseudo = ends + bytes([0, TCP]) + len(body).to_bytes(2, "big")
    body = body[:16] + checksum(pseudo + body).to_bytes(2, "big") + body[18:]
    return ipv4_frame(GATEWAY_MAC, MAC, number(source), number(target), TCP, body)


@pytest.mark.parametrize("port", [1, 8080, 65535])
def test_frames_to_the_archive_go_to_this_hosts_port_and_back(port: int) -> None:
    redirect = Redirect((ARCHIVE, 80), (GATEWAY, port))
    assert redirect.outwards(segment(GUEST, ARCHIVE, (40000, 80))) == segment(GUEST, GATEWAY, (40000, port))
    assert redirect.inwards(segment(GATEWAY, GUEST, (port, 40000))) == segment(ARCHIVE, GUEST, (80, 40000))


def test_other_frames_stay_as_they_are() -> None:
    redirect = Redirect((ARCHIVE, 80), (GATEWAY, 8080))
    whole = segment(GUEST, ARCHIVE, (40000, 80))
    for frame in (
        b"", whole[:33], whole[:50], whole[:20] + b"\0\1" + whole[22:], segment(GUEST, ARCHIVE, (40000, 81)),
        segment(GUEST, GATEWAY, (40000, 80)), ipv4_frame(GATEWAY_MAC, MAC, 1, number(ARCHIVE), UDP, bytes(30)),
    ):
        assert redirect.outwards(frame) is frame
        assert redirect.inwards(frame) is frame


def test_a_service_is_one_port_and_no_more_of_this_host() -> None:
    policy = Policy(services=[8080])
    assert policy.reaches_host and policy.describe() == "the internet"
    for target, port, protocol, passes in [
        (GATEWAY, 8080, TCP, True), (GATEWAY, 8080, UDP, False), (GATEWAY, 8081, TCP, False), (ARCHIVE, 80, TCP, False),
        ("127.0.0.1", 8080, TCP, False),
    ]:
        assert policy.check(packet(target, port, protocol))[0] is passes


def answer(question: bytes) -> bytes | None:
    """What the relay's names say to a question of their own."""
    frames: list[bytes] = []
    forwarder = dns.Forwarder(("127.0.0.1", 9), frames.append, {"debian.hartwell": ARCHIVE})
    asked = read_ipv4(udp_frame(GATEWAY_MAC, MAC, (number(GUEST), 5000), (number(DNS), 53), question))
    assert asked is not None
    forwarder.ask(asked)
    forwarder.close()
    found = read_ipv4(frames[0]) if frames else None
    return found.payload[8:] if found else None


NAME = b"\6debian\x08hartwell\0"
HEAD = b"ID\1\0" + b"\0\1" + bytes(6)


def test_the_archive_has_a_name() -> None:
    for name in (NAME, NAME.replace(b"debian", b"DebiaN")):
        said = answer(HEAD + name + b"\0\1\0\1")
        assert said == b"ID\x85\x80\0\1\0\1\0\0\0\0" + name + b"\0\1\0\1" + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\0\2\4"
    # It has no IPv6 address; with further records (EDNS) the question is the same.
    assert answer(HEAD + NAME + b"\0\x1c\0\1") == b"ID\x85\x80\0\1\0\0\0\0\0\0" + NAME + b"\0\x1c\0\1"
    extra = answer(HEAD[:-1] + b"\1" + NAME + b"\0\1\0\1" + b"\0\0\x29" + bytes(8))
    assert extra is not None and extra.endswith(b"\x0a\0\2\4")


@pytest.mark.parametrize("question", [
    HEAD + b"\5other\x08hartwell\0\0\1\0\1", HEAD + NAME[:-1], HEAD + NAME, HEAD, b"ID\x81\0" + HEAD[4:] + NAME + b"\0\1\0\1",
    b"ID\1\0\0\2" + bytes(6) + NAME + b"\0\1\0\1",
])
def test_questions_that_are_not_for_it(question: bytes) -> None:
    assert answer(question) is None


@pytest.fixture
def mirror(tmp_path: Path) -> str:
    (tmp_path / "debian/dists/trixie").mkdir(parents=True)
    (tmp_path / "debian/dists/trixie/InRelease").write_bytes(b"signed\n" * 1000)
    (tmp_path / "secret").write_bytes(b"not of the archive")
    return (tmp_path / "debian").as_uri()


def test_the_server_has_the_archive_and_nothing_else(mirror: str) -> None:
    with contextlib.closing(ArchiveServer(mirror)) as server:
        base = f"http://127.0.0.1:{server.port}"
        with urllib.request.urlopen(f"{base}/debian/dists/trixie/InRelease") as got:
            assert got.read() == b"signed\n" * 1000
        for path in ("/", "/debian", "/static/x", "/debian/../../etc/passwd", "/debian/%2e%2e/secret", "/debian//etc/passwd",
                     "/debian/dists/..%2f..%2fsecret", "/debian/dists%2F..%2F%2E%2E%2Fsecret", "/debian/%00"):
            with pytest.raises(urllib.error.HTTPError) as failed:
                urllib.request.urlopen(base + path)
            assert failed.value.code == 404
            failed.value.close()


@pytest.fixture
def url(mirror: str) -> Iterator[str]:
    with relay.local(Relay(mirror=mirror)) as url:
        yield url


def test_a_guest_reaches_it_by_the_relay(url: str) -> None:
    cable, said = plug(url)
    if "error" in said:
        pytest.skip(f"no relay on this machine: {said['error']}")
    with contextlib.closing(cable):
        cable.send(segment(GUEST, ARCHIVE, (40000, 80), flags=0x02, payload=b""))
        while True:
            frame = cable.recv(SECONDS)
            assert isinstance(frame, bytes)
            if (found := read_ipv4(frame)) and found.protocol == TCP:
                break
        assert (found.source, found.source_port, found.target_port) == (number(ARCHIVE), 80, 40000)
        assert found.payload[13] == 0x12  # it takes the connection
        with socket.socket() as nobody:  # no other port of this host is there
            nobody.bind(("127.0.0.1", 0))
            nobody.listen()
            cable.send(segment(GUEST, GATEWAY, (40001, nobody.getsockname()[1]), flags=0x02, payload=b""))
            while (refused := read_ipv4(cable.recv(SECONDS))) is None or refused.source_port in (80, 67):  # type: ignore[arg-type]
                pass
            assert refused.payload[:2] == bytes([3, 13])

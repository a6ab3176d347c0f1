"""The relay with a real passt behind it, driven by frames made by hand; skipped where passt can't run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hartwell.network.packets import read_ipv4
from hartwell.setup import passt, relay
from hartwell.setup.relay import CONNECTIONS, Relay
from tests.unit.test_network import packet, request

SECONDS = 120


@pytest.fixture
def url() -> Iterator[str]:
    with relay.local(Relay()) as url:
        yield url


def plug(url: str) -> tuple[ClientConnection, dict[str, object]]:
    socket = connect(url, open_timeout=SECONDS, compression=None, max_size=None, legacy=True)
    return socket, json.loads(socket.recv(SECONDS))


@pytest.fixture
def cable(url: str) -> Iterator[ClientConnection]:
    socket, said = plug(url)
    if "error" in said:
        pytest.skip(f"no relay on this machine: {said['error']}")
    assert said == {"ready": {"reaches": "the internet", "forwards": []}}
    yield socket
    socket.close()


def passts() -> set[int]:
    """Process numbers of passts that this process started."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        if status["Name"].startswith("passt") and status["PPid"] == str(os.getpid()) and status["State"][0] != "Z":
            found.add(int(folder.name))
    return found


def test_addresses_are_handed_out(cable: ClientConnection) -> None:
    cable.send(request(1))
    while True:
        frame = cable.recv(SECONDS)
        assert isinstance(frame, bytes)
        if (offer := read_ipv4(frame)) and offer.target_port == 68:
            break
    assert offer.payload[8 + 16 : 8 + 20] == bytes([10, 0, 2, 15])
    assert bytes([6, 4, 10, 0, 2, 3]) in offer.payload  # the name server


@pytest.mark.parametrize("target", ["10.0.2.2", "127.0.0.1", "192.168.0.1"])
def test_a_refused_packet_is_answered_by_the_relay_itself(cable: ClientConnection, target: str) -> None:
    cable.send(packet(target))
    while True:
        frame = cable.recv(SECONDS)
        assert isinstance(frame, bytes)
        if (answer := read_ipv4(frame)) and answer.protocol == 1:
            break
    assert answer.payload[:2] == bytes([3, 13])


def test_hostile_frames_end_nothing(cable: ClientConnection) -> None:
    for frame in (b"", b"x", b"\xff" * 14, b"\xff" * 65536, packet("8.8.8.8")[:33], "text"):
        cable.send(frame)
    cable.send(packet("127.0.0.1"))
    assert cable.recv(SECONDS)


def test_an_oversized_frame_ends_the_connection_by_name(cable: ClientConnection) -> None:
    cable.send(bytes(65537))
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            cable.recv(SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_a_passt_ends_with_its_connection(cable: ClientConnection) -> None:
    assert len(passts()) == 1
    cable.close()
    end = time.monotonic() + SECONDS
    while passts() and time.monotonic() < end:
        time.sleep(0.05)
    assert passts() == set()


def test_a_machine_without_passt_is_told(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(passt, "find", lambda: (None, "for this test"))
    socket, said = plug(url)
    with socket:
        assert said == {"error": "no relay to the internet: for this test"}
        with pytest.raises(ConnectionClosed):
            socket.recv(SECONDS)


@pytest.mark.parametrize(("text", "why"), [
    ("#!/bin/sh\necho cannot >&2\nexit 3\n", "status 3 (cannot)"), ("#!/nowhere\n", "does not start"),
])
def test_a_passt_that_does_not_run_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, text: str, why: str
) -> None:
    (tmp_path / "passt").write_text(text)
    (tmp_path / "passt").chmod(0o755)
    monkeypatch.setattr(passt, "find", lambda: (tmp_path / "passt", ""))
    socket, said = plug(url)
    with socket:
        assert why in str(said["error"])


def test_connections_have_a_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    (tmp_path / "passt").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "passt").chmod(0o755)
    monkeypatch.setattr(passt, "find", lambda: (tmp_path / "passt", ""))
    cables = [plug(url) for _ in range(CONNECTIONS)]
    assert all("ready" in said for _, said in cables)
    socket, said = plug(url)
    with socket:
        assert "close one" in str(said["error"])
    for each, _ in cables:
        each.close()

"""gdb's way to a page: who gets a port, and who does not."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from hartwell.setup import gdb_bridge
from hartwell.setup.server import Server
from hartwell.setup.websocket import WebSocket

SECONDS = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root: Path = tmp_path_factory.mktemp("checkout")
    with Server(port=0, web=root, static=root) as server:
        server.endpoints[gdb_bridge.PATH] = gdb_bridge.endpoint()
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield server
        server.shutdown()


def page(server: Server, host: str = "", origin: str = "", query: str = "port=0") -> ClientConnection:
    """A browser's handshake: what it has in Host and Origin, over a connection to the server."""
    own = f"127.0.0.1:{server.port}"
    return connect(
        f"ws://{host or own}{gdb_bridge.PATH}?{query}", origin=origin or f"http://{host or own}",  # type: ignore[arg-type]
        sock=socket.create_connection(("127.0.0.1", server.port), SECONDS), open_timeout=SECONDS, compression=None,
    )


def test_bytes_go_both_ways_and_the_port_ends_with_the_page(server: Server) -> None:
    with page(server) as there:
        port = json.loads(there.recv(SECONDS))["listening"]
        with socket.create_connection(("127.0.0.1", port), SECONDS) as gdb:
            assert json.loads(there.recv(SECONDS)) == {"open": True}
            gdb.sendall(b"+$g#67")
            assert there.recv(SECONDS) == b"+$g#67"
            there.send(b"$00#60")
            assert gdb.recv(100) == b"$00#60"
            there.send(json.dumps({"close": True}))
            assert gdb.recv(100) == b""
        assert json.loads(there.recv(SECONDS)) == {"closed": True}
    # The server is told of the page's end in a moment of its own.
    for _ in range(2400):
        try:
            socket.create_connection(("127.0.0.1", port), SECONDS).close()
        except ConnectionRefusedError:
            break
        except ConnectionResetError:
            pass  # it ended while this connection was still in its queue
        time.sleep(0.05)
    else:
        pytest.fail("the port is still there")


def test_the_port_is_of_one_loopback_address(server: Server) -> None:
    with page(server) as there:
        port = json.loads(there.recv(SECONDS))["listening"]
        for other in ("127.0.0.2", "::1"):
            with pytest.raises(OSError):
                socket.create_connection((other, port), SECONDS)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example"])
def test_a_foreign_page_gets_no_port(server: Server, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        page(server, origin=origin)
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"])
def test_a_name_that_was_pointed_here_gets_no_port(server: Server, host: str) -> None:
    """DNS rebinding: Host and Origin agree with each other, but are none of this server's."""
    with pytest.raises(InvalidStatus) as refused:
        page(server, host=host)
    assert refused.value.response.status_code == 421


class Peer:
    """A connection's socket as the server has it, from a peer at some address."""

    def __init__(self, address: str) -> None:
        self._address = address

    def getpeername(self) -> tuple[Any, ...]:
        return (self._address, 40_000)


@pytest.mark.parametrize(("address", "local"), [
    ("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("127.9.9.9", True),
    ("192.0.2.7", False), ("10.0.0.1", False), ("2001:db8::1", False), ("::ffff:192.0.2.7", False), ("fe80::1%eth0", False),
    ("", False),
])
def test_who_is_on_this_computer(address: str, local: bool) -> None:
    assert WebSocket(Peer(address), io.BytesIO(), None, "/ws/gdb").local is local  # type: ignore[arg-type]


def test_another_computer_gets_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that serve.py --host shows elsewhere opens no port of this computer."""
    said: list[str] = []
    visitor = WebSocket(Peer("192.0.2.7"), io.BytesIO(), None, "/ws/gdb?port=0")  # type: ignore[arg-type]
    monkeypatch.setattr(WebSocket, "send", lambda _, message: said.append(message))
    gdb_bridge.endpoint().serve(visitor)
    assert [list(json.loads(one)) for one in said] == [["error"]]
    assert "of this computer only" in said[0]


@pytest.mark.parametrize("query", ["port=65536", "port=-1", "port=x", "port=1e3"])
def test_what_is_no_port(server: Server, query: str) -> None:
    with page(server, query=query) as there:
        assert "a port is a number" in json.loads(there.recv(SECONDS))["error"]

"""WebSockets of the server, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from hartwell.setup.server import Server
from hartwell.setup.websocket import Endpoint, WebSocket

LIMIT = 4096


def echo(opened: WebSocket) -> None:
    while (message := opened.receive()) is not None:
        if message == "query":
            opened.send(opened.query["a"])
        elif message == "leave":
            return
        elif message == "fail":
            raise RuntimeError("on purpose")
        else:
            opened.send(message)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root: Path = tmp_path_factory.mktemp("checkout")
    (root / "index.html").write_bytes(b"page")
    with Server(port=0, web=root, static=root) as server:
        server.endpoints["/ws/echo"] = Endpoint(echo, largest=LIMIT)
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield server
        server.shutdown()


def client(server: Server, path: str = "/ws/echo", origin: str | None = "own") -> ClientConnection:
    own = f"http://127.0.0.1:{server.port}"
    return connect(
        f"ws://127.0.0.1:{server.port}{path}", origin=own if origin == "own" else origin,  # type: ignore[arg-type]
        open_timeout=120, compression=None,
    )


def test_messages_of_both_kinds_come_back_whole(server: Server) -> None:
    with client(server) as there:
        for message in ("text é", b"\0\xff" * 1000, b"", "x" * LIMIT):
            there.send(message)
            assert there.recv(120) == message


def test_a_message_in_fragments_is_one_message(server: Server) -> None:
    with client(server) as there:
        there.send([b"one", b"two", b"three"])
        assert there.recv(120) == b"onetwothree"


def test_a_ping_is_answered(server: Server) -> None:
    with client(server) as there:
        assert there.ping().wait(120)


def test_the_query_is_the_endpoints(server: Server) -> None:
    with client(server, "/ws/echo?a=b%20c") as there:
        there.send("query")
        assert there.recv(120) == "b c"


@pytest.mark.parametrize("origin", ["http://example.org", "null", "http://127.0.0.1:1", "http://localhost.example.org"])
def test_a_foreign_page_is_refused(server: Server, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        client(server, origin=origin)
    assert refused.value.response.status_code == 403
    assert origin in bytes(refused.value.response.body).decode()


def test_a_program_needs_the_token(server: Server) -> None:
    for path in ("/ws/echo", "/ws/echo?token=guess"):
        with pytest.raises(InvalidStatus) as refused:
            client(server, path, origin=None)
        assert refused.value.response.status_code == 403
    with client(server, f"/ws/echo?token={server.token}", origin=None) as there:
        there.send("hello")
        assert there.recv(120) == "hello"


def test_an_unknown_path_is_refused(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        client(server, "/ws/none")
    assert refused.value.response.status_code == 404


def test_a_message_over_the_limit_ends_the_connection_by_name(server: Server) -> None:
    for message in (b"x" * (LIMIT + 1), [b"x" * LIMIT, b"y"]):
        with client(server) as there:
            with pytest.raises(ConnectionClosed) as closed:
                there.send(message)
                there.recv(120)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009


def test_the_end_of_an_endpoint_ends_the_connection(server: Server) -> None:
    with client(server) as there:
        there.send("leave")
        with pytest.raises(ConnectionClosed) as closed:
            there.recv(120)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


def test_a_failing_endpoint_is_told_and_the_server_goes_on(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with client(server) as there:
        there.send("fail")
        with pytest.raises(ConnectionClosed) as closed:
            there.recv(120)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
    with client(server) as there:
        there.send("again")
        assert there.recv(120) == "again"


@pytest.mark.parametrize("bad", ["Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: short", "Connection: close"])
def test_a_bad_handshake_gets_an_answer(server: Server, bad: str) -> None:
    fields = {
        "Host": f"127.0.0.1:{server.port}", "Origin": f"http://127.0.0.1:{server.port}", "Upgrade": "websocket",
        "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    name, _, value = bad.partition(": ")
    fields[name] = value
    text = "GET /ws/echo HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 120) as raw:
        raw.sendall(text.encode())
        assert raw.recv(4096).split(b" ")[1] in (b"400", b"426")


@pytest.mark.parametrize("junk", [b"\xff" * 64, b"\x81\x05hello", b"\x8f\x80\0\0\0\0", b"\x82\xff" + b"\xff" * 12])
def test_frames_that_break_the_rules_end_only_their_connection(server: Server, junk: bytes) -> None:
    with client(server) as there:
        there.socket.sendall(junk)
        with pytest.raises(ConnectionClosed):
            there.recv(120)
    with client(server) as there:
        there.send("still here")
        assert there.recv(120) == "still here"

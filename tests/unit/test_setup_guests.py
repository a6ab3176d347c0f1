"""Guests' web servers at names of their own, and Debian's archive passed on: over real sockets."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from hartwell.setup.guests import Guests
from hartwell.setup.server import Server

NAME = "0123456789abcdef" * 2
SECONDS = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root: Path = tmp_path_factory.mktemp("checkout")
    (root / "index.html").write_bytes(b"page")
    with Server(port=0, web=root, static=root) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield server
        server.shutdown()


def line(server: Server, name: str = NAME, origin: str | None = None) -> ClientConnection:
    own = f"http://127.0.0.1:{server.port}"
    opened = connect(f"ws://127.0.0.1:{server.port}/ws/guest?name={name}", origin=origin or own,  # type: ignore[arg-type]
                   open_timeout=SECONDS, compression=None, max_size=None, legacy=True)
    assert opened.recv(SECONDS) == "ready"
    return opened


def unpack(message: bytes | str) -> tuple[dict[str, Any], bytes]:
    assert isinstance(message, bytes)
    count = int.from_bytes(message[:4], "big")
    return json.loads(message[4 : 4 + count]), message[4 + count :]


def pack(head: dict[str, Any], body: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return len(text).to_bytes(4, "big") + text + body


@pytest.fixture
def page(server: Server) -> Iterator[ClientConnection]:
    """Answers each request with what it was asked; /hang gets no answer, /bad a strange one."""
    opened = line(server)

    def answer() -> None:
        try:
            for message in opened:
                head, body = unpack(message)
                if head["path"] == "/hang":
                    opened.close()
                elif head["path"] == "/refused":
                    opened.send(pack({"id": head["id"], "error": "port 1: nobody"}))
                elif head["path"] == "/bad":
                    for junk in ("text", b"", b"\xff\xff\xff\xff", pack({"id": head["id"]}), pack({"id": 99, "error": ""})):
                        opened.send(junk)
                    headers = [["X-Bad", "a\r\nX-Worse: b"], ["Connection", "upgrade"], ["X-Good", "c"],
                               ["Cross-Origin-Resource-Policy", "same-origin"]]
                    opened.send(pack({"id": head["id"], "status": 204, "headers": headers}))
                else:
                    text = json.dumps([head["port"], head["method"], head["path"], dict(head["headers"]).get("X-Mine")])
                    answered = {"id": head["id"], "status": 201, "headers": [["Content-Type", "a/b"]]}
                    opened.send(pack(answered, text.encode() + body))
        except ConnectionClosed:
            pass

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield opened
    opened.close()
    thread.join(SECONDS)


def ask(server: Server, path: str, method: str = "GET", host: str = f"8000-{NAME}.guest.localhost", body: bytes | None = None,
        **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request(method, path, body, {"Host": f"{host}:{server.port}", **headers})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_requests_go_to_the_page_and_answers_come_back(server: Server, page: ClientConnection, method: str) -> None:
    status, headers, body = ask(server, "/a?b", method, body=b"sent", **{"X-Mine": "m"})
    assert (status, headers["Content-Type"]) == (201, "a/b")
    assert body == json.dumps([8000, method, "/a?b", "m"]).encode() + b"sent"
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"


def test_nothing_of_this_server_is_at_those_names(server: Server, page: ClientConnection) -> None:
    assert ask(server, "/index.html")[2] != b"page"
    assert ask(server, "/index.html", host="127.0.0.1")[2] == b"page"
    for size in (1, 1 << 20):  # more than the connection holds: it must be read to its end for the answer to arrive
        assert ask(server, "/", "POST", host="127.0.0.1", body=bytes(size))[0] == 501


def test_strange_answers_do_no_harm(server: Server, page: ClientConnection) -> None:
    status, headers, body = ask(server, "/bad")
    assert (status, headers["X-Good"], headers["X-Bad"], headers["X-Worse"], body) == (204, "c", None, None, b"")
    assert headers.get_all("Cross-Origin-Resource-Policy") == ["cross-origin"]
    assert ask(server, "/refused")[2] == b"port 1: nobody\n"


def test_a_page_that_is_not_there(server: Server, page: ClientConnection) -> None:
    other = "f" * 32
    assert ask(server, "/", host=f"8000-{other}.guest.localhost")[0] == 503
    assert ask(server, "/hang")[0] == 503
    assert ask(server, "/")[0] == 503


def test_bodies_have_a_limit(server: Server, page: ClientConnection) -> None:
    lengths = [{"Content-Length": length} for length in (str(1 << 30), "-1", "x")]
    for headers in (*lengths, {"Transfer-Encoding": "chunked"}):
        assert ask(server, "/", "POST", **headers)[0] == 413


def test_who_may_open_a_line(server: Server, page: ClientConnection) -> None:
    with pytest.raises(InvalidStatus):
        line(server, "a" * 32, "http://example.org")
    with pytest.raises(InvalidStatus):  # not a page of the guest's either
        line(server, "a" * 32, f"http://8000-{NAME}.guest.localhost:{server.port}")
    host = f"8000-{NAME}.guest.localhost:{server.port}"
    for path in ("/ws/guest?name=" + "a" * 32, f"/ws/guest?token={server.token}"):
        with pytest.raises(InvalidStatus):  # nor at the guest's own name, where its origin is the host's
            connect(f"ws://{host}{path}", sock=socket.create_connection(("127.0.0.1", server.port)), origin=f"http://{host}",  # type: ignore[arg-type]
                    open_timeout=SECONDS, legacy=True)
    for name in (NAME, "", "A" * 32, "../x"):
        with pytest.raises(ConnectionClosed) as closed:
            line(server, name)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


class Line:
    """A page's line as the server has it, whose thread hears of its end late."""

    def __init__(self) -> None:
        self.query, self.open = {"name": NAME}, True
        self.said: list[object] = []
        self.heard, self.over = threading.Event(), threading.Event()

    def send(self, message: object) -> None:
        self.said.append(message)
        self.heard.set()

    def close(self, code: int, reason: str) -> None:
        self.said.append(code)

    def receive(self) -> None:
        self.over.wait(SECONDS)


def test_a_page_that_comes_back_at_once_has_its_name() -> None:
    guests, lines = Guests(), [Line() for _ in range(3)]
    threads = [threading.Thread(target=guests.serve, args=[line], daemon=True) for line in lines]
    threads[0].start()
    assert lines[0].heard.wait(SECONDS)
    lines[0].open = False  # it has been closed, and its thread is not through with it
    threads[1].start()
    assert lines[1].heard.wait(SECONDS)
    lines[0].over.set()
    threads[0].join(SECONDS)
    guests.serve(lines[2])  # type: ignore[arg-type]
    assert [line.said for line in lines] == [["ready"], ["ready"], [1008]]
    lines[1].over.set()
    threads[1].join(SECONDS)


class Mirror(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/archive/dists/a~b+1/Release":
            self.send_error(404)
            return
        self.send_response(206 if self.headers["Range"] else 200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Set-Cookie", "a=b")
        self.send_header("Content-Length", "4")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"data")

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


def test_the_archive_is_passed_on_as_plain_bytes(server: Server) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as mirror:
        threading.Thread(target=mirror.serve_forever, args=[0.02], daemon=True).start()
        server.mirror = f"http://127.0.0.1:{mirror.server_address[1]}/archive"
        status, headers, body = ask(server, "/mirror/dists/a~b+1/Release", host="localhost")
        assert (status, headers["Content-Type"], headers["Set-Cookie"], body) == (200, "application/octet-stream", None, b"data")
        assert ask(server, "/mirror/dists/a~b+1/Release", host="localhost", Range="bytes=0-3")[0] == 206
        assert ask(server, "/mirror/dists/a~b+1/Release", "HEAD", host="localhost")[2] == b""
        assert ask(server, "/mirror/none", host="localhost")[0] == 404
        for bad in ("/mirror/../secret", "/mirror/%2e%2e/x", "/mirror//x", "/mirror/a\\b", "/mirror/a%00"):
            assert ask(server, bad, host="localhost")[0] == 404
        other = ask(server, "/mirror/dists/a~b+1/Release", host="localhost", **{"Sec-Fetch-Site": "cross-site"})
        assert other[0] == 403
        mirror.shutdown()
    assert ask(server, "/mirror/x", host="localhost")[0] == 502
    server.mirror = None

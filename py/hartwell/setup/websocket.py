"""WebSockets of the server: what the page reaches on this machine beside files.

An endpoint is a function that is called with an open `WebSocket`, on a thread
of its own; when it returns, or the server ends, the connection ends with it.

    def echo(socket: WebSocket) -> None:
        while (message := socket.receive()) is not None:
            socket.send(message)

    server.endpoints["/ws/echo"] = Endpoint(echo)

Only pages of this server's own address get one: a browser names a page's
origin in each handshake (RFC 6455, 10.2).  A program that is no browser names
none, and shows the server's token instead (`?token=`).
"""

from __future__ import annotations

import contextlib
import hmac
import importlib.util
import ipaddress
import site
import socket as sockets
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, BinaryIO

LARGEST_MESSAGE = 1 << 20  # bytes; one that is larger closes the connection with status 1009
SEND_SECONDS = 30.0  # for a peer that does not read; then the connection is given up


@dataclass(frozen=True)
class Endpoint:
    """What serves one path; `largest` bytes a message may have."""

    serve: Callable[[WebSocket], None]
    largest: int = LARGEST_MESSAGE


@dataclass
class Refusal(Exception):
    """Why a handshake fails: an HTTP status and a sentence."""

    status: HTTPStatus
    text: str
    headers: dict[str, str] = field(default_factory=dict)


def check(headers: Any, query: dict[str, str], token: str) -> None:
    """Raises Refusal unless the handshake's sender may have a connection."""
    origin = headers.get("Origin")
    if origin is None:
        if not hmac.compare_digest(query.get("token", "").encode(), token.encode()):
            raise Refusal(HTTPStatus.FORBIDDEN, "WebSocket refused: neither an Origin nor this server's token.\n")
        return
    # Host was checked before: it names this server.
    if origin.lower() not in (f"http://{headers.get('Host', '').lower()}", f"https://{headers.get('Host', '').lower()}"):
        raise Refusal(
            HTTPStatus.FORBIDDEN, f"WebSocket refused: the page at {origin} is not of this server ({headers.get('Host')}).\n"
        )


class WebSocket:
    """One open connection.  `receive` is for one thread, `send` for any."""

    def __init__(self, stream: sockets.socket, incoming: BinaryIO, protocol: Any, path: str) -> None:
        self._socket, self._incoming, self._protocol = stream, incoming, protocol
        parts = urllib.parse.urlsplit(path)
        self.path = parts.path
        self.query = dict(urllib.parse.parse_qsl(parts.query))
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._parts: list[bytes] = []
        self._text = False
        self._waiting: list[Any] = []

    @property
    def local(self) -> bool:
        """Is the peer on this computer, on its loopback?"""
        try:
            peer = ipaddress.ip_address(str(self._socket.getpeername()[0]).partition("%")[0])
        except (OSError, ValueError):
            return False
        return (getattr(peer, "ipv4_mapped", None) or peer).is_loopback

    @property
    def open(self) -> bool:
        """Has nobody begun to end it?  Its thread may not know yet."""
        with self._lock:
            return bool(self._protocol.state.name == "OPEN")

    def receive(self) -> bytes | str | None:
        """The next message; None once the connection is over, by whoever's wish."""
        while True:
            while self._waiting:
                frame = self._waiting.pop(0)
                if frame.opcode in (1, 2):  # text, binary; then 0: continuation (RFC 6455, 5.4)
                    self._parts, self._text = [], frame.opcode == 1
                elif frame.opcode != 0:
                    continue
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    data, self._parts = b"".join(self._parts), []
                    return data.decode(errors="replace") if self._text else data
            if not self._read():
                return None

    def send(self, message: bytes | str) -> None:
        """Sends a message whole.  ConnectionError when the connection is over."""
        with self._sending:
            with self._lock:
                self._need_open()
                if isinstance(message, str):
                    self._protocol.send_text(message.encode())
                else:
                    self._protocol.send_binary(message)
                data = self._protocol.data_to_send()
            self._write(data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Ends the connection, from any thread; the second time does nothing.

        A reason is cut to the 123 bytes that a close frame has for it."""
        with contextlib.suppress(ConnectionError, OSError), self._sending:
            with self._lock:
                self._need_open()
                self._protocol.send_close(code, reason.encode()[:123].decode(errors="ignore"))
                data = self._protocol.data_to_send()
            self._write(data)
        with contextlib.suppress(OSError):
            self._socket.shutdown(sockets.SHUT_RDWR)

    def _need_open(self) -> None:
        if self._protocol.state.name != "OPEN":
            raise ConnectionError("the WebSocket is closed")

    def _read(self) -> bool:
        """Takes what came; False at the end."""
        try:
            data = self._incoming.read1(1 << 18)  # type: ignore[attr-defined]
        except (OSError, ValueError):
            data = b""
        with self._lock:
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._waiting += self._protocol.events_received()
        # Pongs, the answer to a close frame, or a close frame about a broken rule.
        with contextlib.suppress(ConnectionError, OSError), self._sending:
            with self._lock:
                answers = self._protocol.data_to_send()
            self._write(answers)
        return bool(self._waiting) or bool(data) and self._protocol.state.name == "OPEN"

    def _write(self, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            if chunk:
                self._socket.sendall(chunk)
            else:  # the protocol's sign for the end of our side
                self._socket.shutdown(sockets.SHUT_WR)


def serve(
    endpoint: Endpoint, stream: sockets.socket, incoming: BinaryIO, path: str, headers: list[tuple[str, str]]
) -> Refusal | None:
    """Takes an HTTP connection over whose request has been read: answers the
    handshake and runs the endpoint.  What is wrong with the handshake comes back."""
    try:
        protocol_class = _library()
    except ImportError:
        return Refusal(HTTPStatus.NOT_IMPLEMENTED, "This server has no WebSockets: run `python3 serve.py` once more.\n")
    protocol = protocol_class(max_size=endpoint.largest)
    # The library wants to read the request itself.
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    protocol.receive_data("\r\n".join(lines).encode("latin-1"))
    requests = protocol.events_received()
    if not requests:
        return Refusal(HTTPStatus.BAD_REQUEST, f"No WebSocket handshake: {protocol.handshake_exc}.\n")
    response = protocol.accept(requests[0])
    if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
        extra = {name: value for name, value in response.headers.raw_items() if name.startswith(("Upgrade", "Sec-WebSocket"))}
        return Refusal(HTTPStatus(response.status_code), bytes(response.body).decode(), extra)
    protocol.send_response(response)
    stream.settimeout(None)
    # Only writing has an end: a page may have nothing to say for hours.
    seconds = int(SEND_SECONDS)
    stream.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDTIMEO, seconds.to_bytes(8, "little") + bytes(8))
    stream.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
    open_socket = WebSocket(stream, incoming, protocol, path)
    open_socket._write(protocol.data_to_send())
    try:
        endpoint.serve(open_socket)
        open_socket.close()
    except ConnectionError:
        pass
    except Exception:
        open_socket.close(1011, "the server's endpoint failed")
        raise
    return None


def _library() -> Any:
    """websockets' protocol without its I/O, from the checkout's environment if need be."""
    if importlib.util.find_spec("websockets") is None:
        from hartwell.setup import venv

        if folder := venv.site_packages():
            site.addsitedir(str(folder))
    from websockets.server import ServerProtocol

    return ServerProtocol

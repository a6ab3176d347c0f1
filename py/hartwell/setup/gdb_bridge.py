"""gdb's way to a page's machine: a port on this computer's loopback, bytes over
a WebSocket.

The page opens the socket when somebody asks for it; before that, and after it
has gone, nothing listens.  Text messages are JSON: {"listening": port} or
{"error": words} first, {"open": true} and {"closed": true} as gdb comes and
goes; {"close": true} from the page sends it away.  Binary messages are bytes.
"""

from __future__ import annotations

import contextlib
import json
import socket as sockets
import threading

from hartwell.setup.websocket import Endpoint, WebSocket

PATH = "/ws/gdb"
HOST = "127.0.0.1"
_BLOCK = 1 << 16


def endpoint() -> Endpoint:
    """What serve.py offers at PATH; `?port=N` says which port, 0 any that is free."""
    return Endpoint(_serve)


def _serve(page: WebSocket) -> None:
    if not page.local:
        # serve.py --host lets other computers see the page; a port of this one is not for them.
        _tell(page, error="gdb is let in for pages of this computer only; open the page as http://localhost, or by ssh -L")
        return
    text = page.query.get("port", "0")
    if not (text.isdecimal() and int(text) <= 65535):
        _tell(page, error=f"port {text}: a port is a number from 0 to 65535")
        return
    with sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM) as listener:
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, int(text)))
        except OSError as error:
            _tell(page, error=f"port {text} of this computer can't be had: {error.strerror}; take another")
            return
        listener.listen(1)
        _tell(page, listening=listener.getsockname()[1])
        bridge = _Bridge(page, listener)
        thread = threading.Thread(target=bridge.accept, name="gdb bridge", daemon=True)
        thread.start()
        try:
            bridge.from_page()
        finally:
            bridge.end()
            thread.join(5)


class _Bridge:
    """Between one page and the gdb that is connected, one at a time."""

    def __init__(self, page: WebSocket, listener: sockets.socket) -> None:
        self._page, self._listener = page, listener
        self._lock = threading.Lock()
        self._gdb: sockets.socket | None = None
        self._over = False

    def accept(self) -> None:
        """Takes connections until the end; a second one waits for the first."""
        while not self._over:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
                with self._lock:
                    self._gdb = connection
                with contextlib.suppress(OSError):
                    _tell(self._page, open=True)
                    while data := connection.recv(_BLOCK):
                        self._page.send(data)
                with self._lock:
                    self._gdb = None
                with contextlib.suppress(OSError):
                    _tell(self._page, closed=True)

    def from_page(self) -> None:
        """Until the page goes."""
        while (message := self._page.receive()) is not None:
            with self._lock, contextlib.suppress(OSError):
                if self._gdb is None:
                    continue
                if isinstance(message, str):
                    self._gdb.shutdown(sockets.SHUT_RDWR)
                else:
                    self._gdb.sendall(message)

    def end(self) -> None:
        self._over = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(sockets.SHUT_RDWR)
        with self._lock, contextlib.suppress(OSError):
            if self._gdb:
                self._gdb.shutdown(sockets.SHUT_RDWR)


def _tell(page: WebSocket, **message: object) -> None:
    page.send(json.dumps(message))

"""Serves the page: web/ at the root and static/ below it, on this machine for itself.

The page's shared memory needs an isolated origin, hence the Cross-Origin
headers on every answer (answers.py).  Only to a request that names this
machine: a foreign name in Host means that some web page made its own name
point here (DNS rebinding).
"""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import socket
import socketserver
import sys
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hartwell.setup import bundle, guests, paths, websocket
from hartwell.setup.answers import Handler, host_of
from hartwell.setup.site import version_of
from hartwell.setup.steps import SetupError

DEFAULT_PORT = 8000


class Code(NamedTuple):
    """What a page is made of."""

    version: str
    joined: Path | None
    """The folder with it in few files, where there is one of just that."""


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection; none of them keeps the process."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, host: str = "127.0.0.1", port: int | None = None, web: Path | None = None, static: Path | None = None
    ) -> None:
        """Raises SetupError when the address can't be had; port None is the default one, 0 any free one."""
        self.web = web or paths.ROOT / "web"
        self.static = static or paths.STATIC
        self.mirror: str | None = None
        """The Debian mirror to pass on, if not that of this machine's apt."""
        self.guests = guests.Guests()
        self.endpoints: dict[str, websocket.Endpoint] = {guests.PATH: self.guests.endpoint()}
        """WebSockets by path; add to it before or while the server runs."""
        self.answers: dict[str, Callable[[], dict[str, Any]]] = {}
        """What is said anew each time, as JSON, by path; before files."""
        self.token = secrets.token_urlsafe(16)
        """What programs that are no browsers show to get a WebSocket."""
        self._code = Code("", None)
        self._looked = 0.0
        self.host = host.strip("[]")
        chosen = DEFAULT_PORT if port is None else port
        if not 0 <= chosen <= 65535:
            raise SetupError(f"--port {chosen}: a port is a number from 0 to 65535; 0 takes a free one")
        try:
            found = socket.getaddrinfo(self.host, chosen, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise SetupError(f"--host {host}: no such name or address ({error})") from error
        self.address_family = found[0][0]
        try:
            super().__init__(found[0][4][:2], Handler)  # type: ignore[arg-type]
        except OSError as error:
            raise SetupError(_refused(error, host, chosen)) from error
        self.port: int = self.server_address[1]

    def code(self, age: float = 0.0) -> Code:
        """The page's, as it was at most `age` seconds ago."""
        if not self._code.version or time.monotonic() - self._looked > age:
            version = version_of(self.web, self.static)
            if version != self._code.version:
                joined = self.static / bundle.FOLDER.name
                self._code = Code(version, joined if bundle.fresh(joined, self.web) else None)
            self._looked = time.monotonic()
        return self._code

    def url(self) -> str:
        """The address to open."""
        host = self.host if self.host not in ("0.0.0.0", "::") else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def knows(self, header: str) -> bool:
        """Whether a request's Host names this server."""
        name = host_of(header)
        if name in ("localhost", "127.0.0.1", "::1", self.host.lower()) or name.endswith(".localhost"):
            return True
        # Whoever asked for all addresses is reached by any of them; a name that
        # a foreign page controls is still refused.
        return self.host in ("0.0.0.0", "::") and (_is_address(name) or name == socket.gethostname().lower())

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            print(f"hartwell: the server could not answer a request: {error!r}", file=sys.stderr)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refused(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken: another program, perhaps another `serve.py`, listens there. "
            "Say another with --port N, or --port 0 for any that is free"
        )
    if error.errno == errno.EACCES:
        return f"port {port} is for the administrator only; say one above 1023 with --port N"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: this machine does not have that address"
    return f"listening on port {port} of {host}: {error}"


def open_browser(url: str) -> bool:
    """Opens the page for the user; False where there is no screen to show it on."""
    screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(screen) and webbrowser.open(url)

"""Serves the page: web/ at the root and static/ below it, on this machine for itself.

The page's shared memory needs an isolated origin, hence the Cross-Origin
headers on every answer.  Only files of those two folders are given, none whose
path has a part that begins with a dot, and only to a request that names this
machine: a foreign name in Host means that some web page made its own name
point here (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import json
import os
import re
import secrets
import socket
import socketserver
import stat
import sys
import time
import urllib.parse
import webbrowser
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, BinaryIO

from hartwell.setup import archive, guests, paths, websocket
from hartwell.setup.steps import SetupError

DEFAULT_PORT = 8000
LINGER_SECONDS = 2.0
_HOP = {
    "connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "content-length", "host", "accept-encoding",
    "proxy-authorization", "proxy-connection", "date", "server",
}
_ISOLATION = {"cross-origin-embedder-policy", "cross-origin-resource-policy", "cross-origin-opener-policy"}
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # keep it, but ask each time whether it changed
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".wasm": "application/wasm",
    ".whl": "application/zip",
    ".zip": "application/zip",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}


# What a page is made of, and nobody writes to while it is open, below a path that changes with any of it:
# kept for ever, and not asked for again.
_CODE = re.compile(r"(?!static/|ws/|mirror/).+|static/(cpu\.wasm|python\.heap|(pyodide|wheels|xterm|zstd)/.+)")
_VERSIONED = re.compile(r"/v/([0-9a-f]{16})(/.*)")
_LASTING = {"Cache-Control": "max-age=31536000, immutable"}


def version_of(web: Path, static: Path) -> str:
    """Another one whenever a file of the page's code is another."""
    whole = hashlib.sha256()
    for root, prefix in ((web, ""), (static, "static/")):
        folders = [root] if root == web else [root / name for name in ("pyodide", "wheels", "xterm", "zstd")]
        files = [path for folder in folders for path in folder.rglob("*")]
        files += [] if root == web else [root / "cpu.wasm", root / "python.heap"]
        for path in sorted(files):
            with contextlib.suppress(OSError):
                facts = path.stat()
                if stat.S_ISREG(facts.st_mode):
                    name = prefix + path.relative_to(root).as_posix()
                    whole.update(f"{name}\0{facts.st_mtime_ns}\0{facts.st_size}\n".encode())
    return whole.hexdigest()[:16]


class BadRange(Exception):
    """A byte range that no byte of the file lies in."""


def find_file(path: str, web: Path, static: Path) -> Path | None:
    """The file for a request's path, None when there is none to give."""
    name = urllib.parse.unquote(path.split("?")[0].split("#")[0])
    parts = name.strip("/").split("/") if name.strip("/") else ["index.html"]
    if any(part.startswith(".") or not part or "\\" in part or "\0" in part for part in parts):
        return None
    root, rest = (static, parts[1:]) if parts[0] == "static" else (web, parts)
    file = root.joinpath(*rest)
    try:
        # A link may not lead out of the folder either.
        real = file.resolve(strict=True)
        return real if real.is_relative_to(root.resolve()) and real.is_file() else None
    except (OSError, RuntimeError):
        return None


def byte_range(text: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end of a Range header's one range (RFC 9110, 14); None means the whole file."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", (text or "").replace(" ", ""))
    if not match or match[0] == "bytes=-":
        return None  # several ranges, or no range that we know: allowed to be ignored
    if not match[1]:
        count = min(int(match[2]), size)
        first, end = size - count, size
    else:
        first = int(match[1])
        if match[2] and int(match[2]) < first:
            return None
        end = min(int(match[2]) + 1, size) if match[2] else size
    if first >= end:
        raise BadRange
    return first, end


def host_of(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:\d+)?", header.strip())
    return match[1].strip("[]").rstrip(".").lower() if match else ""


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    protocol_version = "HTTP/1.1"
    server_version = "Hartwell"
    disable_nagle_algorithm = True  # else a small answer's body waits 40 ms for the acknowledgement of its head
    timeout = 60  # an idle connection does not keep its thread for ever
    server: Server
    _unread = False  # is there a body that came with a request and that nobody took?

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # for guests' servers

    def _answer(self, with_body: bool) -> None:
        lasting = False
        if not self.server.knows(self.headers.get("Host", "")):
            self._say(HTTPStatus.MISDIRECTED_REQUEST, "This server answers to the address that serve.py printed only.\n")
            return
        # Before WebSockets: a guest's page is of a host's origin, but of no page of this server's.
        if guest := guests.HOST.fullmatch(host_of(self.headers.get("Host", ""))):
            self._ask_guest(int(guest[1]), guest[2])
            return
        if versioned := _VERSIONED.fullmatch(self.path):
            self.path = versioned[2]
            lasting = _CODE.fullmatch(self.path[1:].split("?")[0]) is not None and versioned[1] == self.server.version(1.0)
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._open_websocket()
            return
        if self.command not in ("GET", "HEAD"):
            self._say(HTTPStatus.NOT_IMPLEMENTED, "There is nothing here to send anything to.\n")
            return
        if self.path.startswith(archive.PREFIX):
            self._pass_on(with_body)
            return
        if (answer := self.server.answers.get(self.path.split("?")[0])) is not None:
            self._say(HTTPStatus.OK, json.dumps(answer()), {"Content-Type": TYPES[".json"], "Cache-Control": "no-store"})
            return
        file = find_file(self.path, self.server.web, self.server.static)
        try:
            opened = file.open("rb") if file else None
        except OSError:
            opened = None
        if opened is None:
            self._say(HTTPStatus.NOT_FOUND, "There is no such file.\n")
            return
        assert file is not None
        with opened:
            if file == self.server.web.resolve() / "index.html" and not versioned:
                self._give_page(opened.read(), with_body)
            else:
                self._give(opened, file.suffix.lower(), with_body, _LASTING if lasting else {})

    def _give_page(self, text: bytes, with_body: bool) -> None:
        """The page itself, which says below which path its code is."""
        base = f'<base href="v/{self.server.version()}/" />'.encode()
        text = text.replace(b"<head>", b"<head>\n    " + base, 1)
        headers = {"ETag": f'"{hashlib.sha256(text).hexdigest()[:32]}"', "Content-Type": TYPES[".html"]}
        if headers["ETag"] in self.headers.get("If-None-Match", ""):
            self._head(HTTPStatus.NOT_MODIFIED, headers)
            return
        self._head(HTTPStatus.OK, {**headers, "Content-Length": str(len(text))})
        if with_body:
            self.wfile.write(text)

    def _open_websocket(self) -> None:
        """Hands the connection to an endpoint, or says why not."""
        self.close_connection = True
        parts = urllib.parse.urlsplit(self.path)
        endpoint = self.server.endpoints.get(parts.path)
        try:
            if endpoint is None:
                raise websocket.Refusal(HTTPStatus.NOT_FOUND, "There is no such WebSocket.\n")
            websocket.check(self.headers, dict(urllib.parse.parse_qsl(parts.query)), self.server.token)
            refused = websocket.serve(
                endpoint, self.connection, self.rfile, self.path, list(self.headers.items())  # type: ignore[arg-type]
            )
            if refused:
                raise refused
        except websocket.Refusal as refusal:
            self._say(refusal.status, refusal.text, {**refusal.headers, "Connection": "close"})

    def _ask_guest(self, port: int, name: str) -> None:
        """A web server of a guest's (guests.py); nothing of this server's is at those names."""
        try:
            size = int(self.headers.get("Content-Length", "0"))
        except ValueError:
            size = -1
        if self.headers.get("Transfer-Encoding") or not 0 <= size <= guests.LARGEST_BODY:
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body of known length, at most {guests.LARGEST_BODY} bytes.\n")
            return
        body = self.rfile.read(size)
        asked = [(key, value) for key, value in self.headers.items() if key.lower() not in _HOP]
        answer = self.server.guests.ask(name, port, self.command, self.path, asked, body)
        self.send_response_only(answer.status)
        for key, value in answer.headers:
            if key.lower() not in _HOP | _ISOLATION and "\r" not in value and "\n" not in value:
                self.send_header(key, value)
        # The page that shows it is isolated and of another origin.
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "cross-origin")
        if answer.status >= 200 and answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD" and answer.status not in (204, 304):
            self.wfile.write(answer.body)

    def _pass_on(self, with_body: bool) -> None:
        """A file of Debian's archive, to pages of this server's."""
        if self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            self._say(HTTPStatus.FORBIDDEN, "The archive is for this server's own pages.\n")
            return
        path = self.path[len(archive.PREFIX) :].split("?")[0]
        try:
            with archive.open_file(self.server.mirror, path, self.headers, not with_body) as (status, headers, body):
                self.close_connection = "Content-Length" not in headers  # its end is the body's
                # Whatever it says of itself, it is nothing for this page to run.
                self._head(HTTPStatus(status), {**headers, "Content-Type": "application/octet-stream"})
                while with_body and (block := body.read(1 << 18)):
                    self.wfile.write(block)
        except FileNotFoundError:
            self._say(HTTPStatus.NOT_FOUND, "There is no such file.\n")
        except SetupError as error:
            self._say(HTTPStatus.BAD_GATEWAY, f"{error}\n")

    def _give(self, file: BinaryIO, suffix: str, with_body: bool, more: dict[str, str]) -> None:
        facts = os.fstat(file.fileno())
        tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
        headers = {"ETag": tag, "Last-Modified": formatdate(facts.st_mtime, usegmt=True), "Accept-Ranges": "bytes", **more}
        asked = self.headers.get("If-None-Match", "")
        if asked.strip() == "*" or tag in (word.strip().removeprefix("W/") for word in asked.split(",")):
            self._head(HTTPStatus.NOT_MODIFIED, headers)
            return
        headers["Content-Type"] = TYPES.get(suffix, "application/octet-stream")
        condition = self.headers.get("If-Range")
        wanted = self.headers.get("Range") if condition in (None, tag) and with_body else None
        try:
            part = byte_range(wanted, facts.st_size)
        except BadRange:
            headers["Content-Range"] = f"bytes */{facts.st_size}"
            self._say(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "", headers)
            return
        first, end = part or (0, facts.st_size)
        if part:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{facts.st_size}"
        self._head(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK, {**headers, "Content-Length": str(end - first)})
        if with_body:
            file.seek(first)
            self._copy(file, end - first)

    def _copy(self, file: BinaryIO, count: int) -> None:
        while count:
            block = file.read(min(count, 1 << 18))
            if not block:  # it became shorter: the promised length can't be kept
                self.close_connection = True
                return
            self.wfile.write(block)
            count -= len(block)

    def _say(self, status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self._head(status, {"Content-Type": TYPES[".txt"], **(headers or {}), "Content-Length": str(len(data))})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **headers}.items():
            self.send_header(name, value)
        if self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            # A body came that nobody reads; it must not be taken for a request.
            self.send_header("Connection", "close")
            self.close_connection = self._unread = True
        self.end_headers()

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the other side went away: nobody to tell

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
            if self._unread:
                self._linger()

    def _linger(self) -> None:
        """Lets the other side read the answer: closed with bytes unread, a connection
        is reset, and the answer may be lost with it (RFC 9112, 9.6)."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_SECONDS)
        end = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < end and self.connection.recv(1 << 16):
            pass

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing: one line per request would hide what set-up says."""


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
        self._version = (0.0, "")
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

    def version(self, age: float = 0.0) -> str:
        """Of the page's code, as it was at most `age` seconds ago."""
        known, text = self._version
        if not text or time.monotonic() - known > age:
            text = version_of(self.web, self.static)
            self._version = (time.monotonic(), text)
        return text

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

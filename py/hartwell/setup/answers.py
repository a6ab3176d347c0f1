"""What the page's server answers to a request: a file, a WebSocket, a guest's own web server, a file of Debian's archive."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import time
import urllib.parse
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, BinaryIO

from hartwell.setup import archive, guests, site, websocket
from hartwell.setup.steps import SetupError

if TYPE_CHECKING:
    from hartwell.setup.server import Server

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
        if versioned := site.VERSIONED.fullmatch(self.path):
            self.path = versioned[2]
            is_code = site.CODE.fullmatch(self.path[1:].split("?")[0]) is not None
            lasting = is_code and versioned[1] == self.server.code(1.0).version
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
            self._say(HTTPStatus.OK, json.dumps(answer()), {"Content-Type": site.TYPES[".json"], "Cache-Control": "no-store"})
            return
        is_page = not versioned and self.path.split("?")[0] in ("/", "/index.html")
        code = self.server.code(0.0 if is_page else 1.0)
        file = site.find_file(self.path, self.server.web, self.server.static, code.joined)
        try:
            opened = file.open("rb") if file else None
        except OSError:
            opened = None
        if opened is None:
            self._say(HTTPStatus.NOT_FOUND, "There is no such file.\n")
            return
        assert file is not None
        with opened:
            if is_page:
                self._give_page(opened.read(), code.version, with_body)
            else:
                self._give(opened, file.suffix.lower(), with_body, site.LASTING if lasting else {})

    def _give_page(self, text: bytes, version: str, with_body: bool) -> None:
        """The page itself, which says below which path its code is."""
        base = f'<base href="v/{version}/" />'.encode()
        text = text.replace(b"<head>", b"<head>\n    " + base, 1)
        headers = {"ETag": f'"{hashlib.sha256(text).hexdigest()[:32]}"', "Content-Type": site.TYPES[".html"]}
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
        headers["Content-Type"] = site.TYPES.get(suffix, "application/octet-stream")
        condition = self.headers.get("If-Range")
        wanted = self.headers.get("Range") if condition in (None, tag) and with_body else None
        try:
            part = site.byte_range(wanted, facts.st_size)
        except site.BadRange:
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
        self._head(status, {"Content-Type": site.TYPES[".txt"], **(headers or {}), "Content-Length": str(len(data))})
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

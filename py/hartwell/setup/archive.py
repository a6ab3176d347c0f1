"""Debian's archive for the guest, from the mirror that this machine uses: GET
/mirror/... for the page, a server of its own for guests on the relay.

Only that archive is passed on, as it is: its own signatures protect what a
guest installs from it.
"""

from __future__ import annotations

import contextlib
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO

from hartwell.setup.download import opener
from hartwell.setup.mirror import find_mirrors
from hartwell.setup.steps import SetupError

PREFIX = "/mirror/"
HOST, PLACE = "debian.hartwell", "/debian/"  # what it is called in the guest
SECONDS = 60.0  # without a byte
_ASKED = ("Range", "If-Modified-Since", "If-Range", "If-None-Match")
_TOLD = ("Content-Length", "Content-Range", "Last-Modified", "ETag", "Accept-Ranges")
_PATH = re.compile(r"(?:[A-Za-z0-9._~%+:=@-]+/)*[A-Za-z0-9._~%+:=@-]*")


@contextlib.contextmanager
def open_file(
    given: str | None, path: str, headers: Mapping[str, str] | Message, head: bool
) -> Iterator[tuple[int, dict[str, str], IO[bytes]]]:
    """Status, headers and body of a file below the mirror.

    Raises SetupError when there is no mirror, or none answers.
    """
    meant = urllib.parse.unquote(path)  # as a mirror takes it, one that is a folder too
    if not _PATH.fullmatch(path) or ".." in meant.split("/") or "\0" in meant:
        raise FileNotFoundError(path)
    asked = {name: headers[name] for name in _ASKED if name in headers}
    trouble: Exception | None = None
    for mirror in find_mirrors(given):
        url = f"{mirror}/{path}"
        request = urllib.request.Request(url, headers=asked, method="HEAD" if head else "GET")
        try:
            answer = opener(url).open(request, timeout=SECONDS)
        except urllib.error.HTTPError as error:
            answer = error  # a status of the mirror's, such as 304 or 404
        except OSError as error:
            trouble = error
            continue
        with answer:
            told: Message = answer.headers
            yield answer.status or HTTPStatus.OK, {name: told[name] for name in _TOLD if told[name]}, answer
        return
    raise SetupError(f"no Debian mirror answers ({trouble})")


class ArchiveServer(ThreadingHTTPServer):
    """The archive alone, on a port of loopback, for guests on the relay: http://debian.hartwell/debian/."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, given: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.given = given
        self.port: int = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=[0.5], name="archive", daemon=True).start()

    def close(self) -> None:
        """Ends it."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ArchiveServer

    def do_GET(self) -> None:
        self._pass_on(with_body=True)

    def do_HEAD(self) -> None:
        self._pass_on(with_body=False)

    def _pass_on(self, with_body: bool) -> None:
        path = urllib.parse.urlsplit(self.path).path
        try:
            if not path.startswith(PLACE):
                raise FileNotFoundError(path)
            with open_file(self.server.given, path[len(PLACE) :], self.headers, not with_body) as (status, headers, body):
                self.close_connection = "Content-Length" not in headers and status != HTTPStatus.NOT_MODIFIED
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                while with_body and (block := body.read(1 << 18)):
                    self.wfile.write(block)
        except FileNotFoundError:
            self._say(HTTPStatus.NOT_FOUND, f"There is nothing here but {PLACE}.\n")
        except SetupError as error:
            self._say(HTTPStatus.BAD_GATEWAY, f"{error}\n")
        except OSError:  # either end has gone in the middle
            self.close_connection = True

    def _say(self, status: HTTPStatus, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass

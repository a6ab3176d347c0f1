"""An HTTP proxy for the guest, where there is no relay: the browser's fetch does
the asking, so what other sites allow by CORS, or this page's own server has,
can be had.

`http_proxy=http://127.0.0.1:3128` in the guest leads here.  A proxy sees no
inside of TLS, so https is asked for as `http://HOST:443/`: the browser then
speaks TLS with the site.  Debian's archive is had from the page's own server,
which passes it on from the mirror that its machine uses.

Names of this host and addresses of private networks are refused, as by the
relay's policy; see docs/network.md for what a name can hide.
"""

from __future__ import annotations

import http.client
import ipaddress
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Protocol

import h11

from hartwell.devices.vsock import Stream
from hartwell.errors import HartwellError
from hartwell.network.policy import Policy

LARGEST_BODY = 16 << 20  # of a request
DEBIAN = ("debian.hartwell", "/debian/")  # a name of ours: which mirror it is, the server knows
_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "host", "content-length", "accept-encoding", "cookie", "origin", "referer",
}
_ANSWER_HOP = {"connection", "keep-alive", "transfer-encoding", "content-encoding", "upgrade", "trailer", "set-cookie"}
_HERE = ("localhost", "local", "internal", "home.arpa", "onion")


class Response(Protocol):
    """What a fetch gave: `read` gives the body in pieces, b"" at its end."""

    status: int
    url: str
    headers: list[tuple[str, str]]

    async def read(self) -> bytes: ...


Fetch = Callable[[str, str, list[tuple[str, str]], bytes], Awaitable[Response]]


class Refused(Exception):
    """An answer that the proxy itself gives: status and words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Proxy:
    """Serves connections; `fetch` raises HartwellError where it fails."""

    def __init__(self, fetch: Fetch | None, mirror: str = "") -> None:
        self._fetch, self._mirror = fetch, mirror
        self._policy = Policy()

    async def serve(self, stream: Stream) -> None:
        """One connection, with as many requests as come."""
        connection = h11.Connection(h11.SERVER)
        while True:
            try:
                asked = await _request(connection, stream)
                if asked is None:
                    return
                await self._answer(connection, stream, *asked)
            except h11.RemoteProtocolError as error:
                await _say(connection, stream, 400, f"the request is no HTTP: {error}\n")
                return
            except Refused as refused:
                await _say(connection, stream, refused.status, refused.text)
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _answer(self, connection: h11.Connection, stream: Stream, head: h11.Request, body: bytes) -> None:
        method, target = head.method.decode("latin-1"), head.target.decode("latin-1")
        url = self.target(method, target)
        if self._fetch is None:
            raise Refused(501, "there is no browser here whose fetch this proxy could use; give the machine a network card\n")
        sent = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers if n.decode("latin-1") not in _HOP]
        try:
            answer = await self._fetch(method, url, sent, body)
        except HartwellError as error:
            raise Refused(502, f"{error}\n") from None
        if not self._mirror or not answer.url.startswith(self._mirror):
            self.check(urllib.parse.urlsplit(answer.url).hostname or "")  # where redirections led
        encoded = any(name.lower() == "content-encoding" for name, _ in answer.headers)
        drop = _ANSWER_HOP | ({"content-length"} if encoded else set())
        headers = [(name, value) for name, value in answer.headers if name.lower() not in drop]
        await _send(connection, stream, h11.Response(status_code=answer.status, headers=headers, reason=_reason(answer.status)))
        if method != "HEAD" and answer.status not in (204, 304):
            while piece := await answer.read():
                await _send(connection, stream, h11.Data(piece))
        await _send(connection, stream, h11.EndOfMessage())

    def target(self, method: str, target: str) -> str:
        """The address to fetch for a request's target.  Refused says why not."""
        if method == "CONNECT":
            raise Refused(501, f"https can't pass a proxy unseen here: ask for http://{target}/ and the browser speaks TLS\n")
        parts = urllib.parse.urlsplit(target)
        if parts.scheme != "http" or not parts.hostname:
            raise Refused(400, "this is a proxy: ask it for a whole address, such as http://debian.hartwell/debian/\n")
        try:
            port = parts.port
        except ValueError:
            raise Refused(400, f"{target}: no such port\n") from None
        if self._mirror and parts.hostname == DEBIAN[0] and parts.path.startswith(DEBIAN[1]):
            return self._mirror + parts.path[len(DEBIAN[1]) :] + (f"?{parts.query}" if parts.query else "")
        self.check(parts.hostname)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        place = host if port in (None, 80, 443) else f"{host}:{port}"
        return urllib.parse.urlunsplit(("https" if port == 443 else "http", place, parts.path or "/", parts.query, ""))

    def check(self, host: str) -> None:
        """Refuses names of this host and addresses that are not of the internet."""
        name = host.lower().rstrip(".")
        if not name or any(name == word or name.endswith("." + word) for word in _HERE) or "." not in name and ":" not in name:
            raise Refused(403, f"{host}: names of this host and its networks are not for the guest\n")
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            if name.rsplit(".", 1)[-1].isdecimal() or name.rsplit(".", 1)[-1].startswith("0x"):
                raise Refused(403, f"{host}: an address in a form that is not taken\n") from None
            return
        if isinstance(address, ipaddress.IPv6Address) or not self._policy.public(int(address)):
            raise Refused(403, f"{host}: only IPv4 addresses of the internet are for the guest\n")


async def _request(connection: h11.Connection, stream: Stream) -> tuple[h11.Request, bytes] | None:
    head, body = None, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                await _send(connection, stream, h11.InformationalResponse(status_code=100, headers=[]))
            connection.receive_data(await stream.read())
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > LARGEST_BODY:
                raise Refused(413, f"a body of more than {LARGEST_BODY >> 20} MiB\n")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return head, bytes(body)
        else:
            return None  # the guest has hung up


async def _say(connection: h11.Connection, stream: Stream, status: int, text: str) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    data = f"hartwell: {text}".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(data)))]
    await _send(connection, stream, h11.Response(status_code=status, headers=headers, reason=_reason(status)))
    await _send(connection, stream, h11.Data(data))
    await _send(connection, stream, h11.EndOfMessage())


async def _send(connection: h11.Connection, stream: Stream, event: h11.Event) -> None:
    if data := connection.send(event):
        await stream.write(data)


def _reason(status: int) -> bytes:
    """Some clients show nothing else."""
    return http.client.responses.get(status, "").encode()

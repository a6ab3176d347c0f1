"""A request to a web server in the guest, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import h11

from hartwell.devices.vsock import CONNECT_SECONDS, Stream, VsockDevice
from hartwell.errors import BadConfiguration, ConnectionRefused, HartwellError
from hartwell.http import FORWARD_PORT

LARGEST_BODY = 256 << 20
SECONDS = 120.0
_OWN = {"host", "connection", "content-length", "transfer-encoding", "upgrade", "keep-alive", "te", "trailer"}


@dataclass(frozen=True)
class Answer:
    """What the guest's server said; header names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


async def connect(vsock: VsockDevice, port: int, timeout: float = CONNECT_SECONDS) -> Stream:
    """A connection to a port of the guest's loopback.  ConnectionRefused where nobody listens."""
    if not 0 < port < 65536:
        raise BadConfiguration(f"port {port}: TCP's ports are 1 to 65535")
    stream = await vsock.connect(FORWARD_PORT, timeout)
    try:
        await stream.write(port.to_bytes(2, "big"))
        async with asyncio.timeout(timeout):
            refused = await stream.read(1)
    except (TimeoutError, ConnectionResetError):
        refused = b""
    if refused != b"\0":
        stream.close()
        raise ConnectionRefused(f"port {port}: no program in the guest listens there (on 127.0.0.1 or all addresses)")
    return stream


async def request(
    vsock: VsockDevice, port: int, method: str = "GET", path: str = "/",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (), body: bytes = b"", *, timeout: float = SECONDS,
) -> Answer:
    """One request to `http://guest:PORT/path`.

    Raises ConnectionRefused, and HartwellError for what is no HTTP, is larger
    than 256 MiB or takes longer than `timeout` seconds.
    """
    given = headers.items() if isinstance(headers, Mapping) else headers
    sent = [("Host", f"localhost:{port}"), ("Connection", "close")]
    sent += [(name, value) for name, value in given if name.lower() not in _OWN]
    if body or method not in ("GET", "HEAD"):
        sent.append(("Content-Length", str(len(body))))
    try:
        head = h11.Request(method=method, target=path, headers=sent)
    except h11.LocalProtocolError as error:
        raise HartwellError(f"port {port}: {method} {path}: no HTTP request can say that ({error})") from None
    stream = await connect(vsock, port)
    try:
        async with asyncio.timeout(timeout):
            return await _ask(stream, head, body)
    except TimeoutError:
        raise HartwellError(f"port {port}: {method} {path}: no whole answer within {timeout} s") from None
    except (h11.RemoteProtocolError, ConnectionResetError) as error:
        raise HartwellError(f"port {port}: {method} {path}: what answers is no HTTP server ({error})") from None
    finally:
        stream.close()


async def _ask(stream: Stream, head: h11.Request, body: bytes) -> Answer:
    connection = h11.Connection(h11.CLIENT)
    data = connection.send(head) or b""
    data += (connection.send(h11.Data(body)) or b"") if body else b""
    await stream.write(data + (connection.send(h11.EndOfMessage()) or b""))
    answer, parts, size = None, [], 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.read())
        elif isinstance(event, h11.Response):
            answer = event
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > LARGEST_BODY:
                raise HartwellError(f"the guest's answer is larger than {LARGEST_BODY >> 20} MiB")
            parts.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and answer is not None:
            names = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
            return Answer(answer.status_code, names, b"".join(parts))
        elif not isinstance(event, h11.InformationalResponse):
            raise ConnectionResetError("the connection ended")

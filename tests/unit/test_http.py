"""The proxy and the client of HTTP over vsock, with a stream in memory in the place of a socket."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from hartwell.errors import HartwellError
from hartwell.http import client
from hartwell.http.proxy import Proxy, Refused


class Pipe:
    """Both ends of a stream: what is fed is read, what is written is kept."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = deque(pieces)
        self.written = b""
        self.closed = False

    async def read(self, count: int = 65536) -> bytes:
        return self.pieces.popleft() if self.pieces else b""

    async def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


class Answer:
    def __init__(self, url: str, status: int = 200, headers: list[tuple[str, str]] | None = None, body: bytes = b"body") -> None:
        self.url, self.status, self.headers = url, status, headers or [("Content-Length", str(len(body)))]
        self._pieces = deque([body])

    async def read(self) -> bytes:
        return self._pieces.popleft() if self._pieces else b""


MIRROR = "http://127.0.0.1:8000/mirror/"


class Browser:
    """A fetch that notes what it was asked."""

    def __init__(self, **answer: object) -> None:
        self.asked: list[tuple[str, str, list[tuple[str, str]], bytes]] = []
        self.answer = answer

    async def __call__(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        self.asked.append((method, url, headers, body))
        if "fails" in url:
            raise HartwellError("the browser could not fetch it")
        return Answer(**{"url": url, **self.answer})  # type: ignore[arg-type]


async def through(text: str, browser: Browser | None = None) -> tuple[bytes, Browser]:
    browser = browser or Browser()
    pipe = Pipe(text.replace("\n", "\r\n").encode())
    await Proxy(browser, MIRROR).serve(pipe)  # type: ignore[arg-type]
    return pipe.written, browser


async def test_a_request_passes() -> None:
    said, browser = await through("GET http://example.com/a?b HTTP/1.1\nHost: example.com\nAccept: x\nCookie: c\nOrigin: o\n\n")
    assert browser.asked == [("GET", "http://example.com/a?b", [("accept", "x")], b"")]
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(b"\r\n\r\nbody")


async def test_requests_follow_each_other_on_a_connection() -> None:
    one = "POST http://example.com/ HTTP/1.1\nHost: e\nContent-Length: 2\n\nhi"
    said, browser = await through(one + one)
    assert [body for *_, body in browser.asked] == [b"hi", b"hi"]
    assert said.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(("target", "url"), [
    ("http://example.com:443/x", "https://example.com/x"), ("http://example.com:8080", "http://example.com:8080/"),
    ("http://8.8.8.8/", "http://8.8.8.8/"), ("http://debian.hartwell/debian/dists/x?y", MIRROR + "dists/x?y"),
])
async def test_addresses(target: str, url: str) -> None:
    assert Proxy(None, MIRROR).target("GET", target) == url


@pytest.mark.parametrize("target", [
    "http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://printer.local/", "http://router/", "http://127.0.0.1/",
    "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://10.1.2.3/", "http://192.168.1.1/", "http://[::1]/",
    "http://169.254.169.254/", "http://metadata.google.internal/", "http://0.0.0.0/", "http://[::ffff:127.0.0.1]/",
    "http://8.8.8.8:443@127.0.0.1/",
])
async def test_this_host_and_its_networks_are_refused(target: str) -> None:
    with pytest.raises(Refused) as refused:
        Proxy(None, "").target("GET", target)
    assert refused.value.status == 403


async def test_a_redirection_leads_to_no_private_place() -> None:
    said, _ = await through("GET http://example.com/ HTTP/1.1\nHost: e\n\n", Browser(url="http://127.0.0.1/secret"))
    assert b" 403 " in said
    assert b"body" not in said


@pytest.mark.parametrize(("text", "status"), [
    ("CONNECT example.com:443 HTTP/1.1\nHost: e\n\n", 501), ("GET / HTTP/1.1\nHost: e\n\n", 400),
    ("GET ftp://example.com/ HTTP/1.1\nHost: e\n\n", 400), ("GET http://example.com:99999/ HTTP/1.1\nHost: e\n\n", 400),
    ("nonsense\n\n", 400), ("GET http://e.com/ HTTP/1.1\n\n", 400), ("GET http://fails.com/ HTTP/1.1\nHost: e\n\n", 502),
])
async def test_what_can_not_be_done_is_said(text: str, status: int) -> None:
    said, _ = await through(text)
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"hartwell: " in said


async def test_without_a_browser_it_says_so() -> None:
    pipe = Pipe(b"GET http://example.com/ HTTP/1.1\r\nHost: e\r\n\r\n")
    await Proxy(None).serve(pipe)  # type: ignore[arg-type]
    assert b" 501 " in pipe.written


async def test_an_answer_that_was_packed_has_no_length() -> None:
    packed = [("Content-Length", "2"), ("Content-Encoding", "gzip"), ("Set-Cookie", "x")]
    said, _ = await through("GET http://e.com/ HTTP/1.1\nHost: e\n\n", Browser(headers=packed))
    assert b"chunked" in said.lower()
    assert b"gzip" not in said
    assert b"ookie" not in said


async def ask(pipe: Pipe, **request: object) -> client.Answer:
    class Vsock:
        async def connect(self, port: int, timeout: float) -> Pipe:
            assert port == 1024
            return pipe

    return await client.request(Vsock(), 8000, **request)  # type: ignore[arg-type]


async def test_the_client_asks_and_hears() -> None:
    pipe = Pipe(b"\0", b"HTTP/1.0 200 OK\r\nX-A: b\r\n", b"\r\nhel", b"lo")
    answer = await ask(pipe, path="/p", headers={"Accept": "x", "Host": "evil", "Connection": "y"})
    assert (answer.status, answer.headers, answer.body) == (200, [("x-a", "b")], b"hello")
    assert pipe.closed
    port, text = pipe.written[:2], pipe.written[2:].decode()
    assert int.from_bytes(port, "big") == 8000
    assert text == "GET /p HTTP/1.1\r\nHost: localhost:8000\r\nConnection: close\r\nAccept: x\r\n\r\n"


@pytest.mark.parametrize("pieces", [
    [b"\0", b"nonsense\r\n\r\n"], [b"\0"], [b"\0", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"],
    [b"\0", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000],
])
async def test_what_is_no_http_is_said(pieces: list[bytes]) -> None:
    with pytest.raises(HartwellError, match="port 8000"):
        await ask(Pipe(*pieces))


@pytest.mark.parametrize("pieces", [[b"\1"], []])
async def test_nobody_listens(pieces: list[bytes]) -> None:
    with pytest.raises(HartwellError, match="no program in the guest listens"):
        await ask(Pipe(*pieces))


async def test_requests_that_can_not_be_said() -> None:
    for request in ({"method": "GE T"}, {"path": "/\r\nX: y"}, {"headers": {"A\n": "b"}}):
        with pytest.raises(HartwellError, match="no HTTP request"):
            await ask(Pipe(b"\0"), **request)
    with pytest.raises(HartwellError, match="ports are 1 to 65535"):
        await client.connect(None, 0)  # type: ignore[arg-type]


async def test_an_answer_in_time() -> None:
    class Slow(Pipe):
        async def read(self, count: int = 65536) -> bytes:
            if not self.pieces:
                await asyncio.sleep(30)
            return await super().read(count)

    with pytest.raises(HartwellError, match=r"within 0.05 s"):
        await ask(Slow(b"\0"), timeout=0.05)

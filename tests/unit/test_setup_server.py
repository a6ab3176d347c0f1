"""The server, asked over real sockets."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hartwell.setup import commands, paths
from hartwell.setup.answers import host_of
from hartwell.setup.server import Server
from hartwell.setup.site import BadRange, byte_range
from hartwell.setup.steps import SetupError

BODY = bytes(range(256)) * 4000  # more than one block of the server's


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("checkout")
    files = {
        "web/index.html": b"<p>page", "web/main.mjs": b"1;", "web/panels/a.mjs": b"2;", "web/.hidden": b"secret",
        "static/cpu.wasm": BODY, "static/a.whl": b"PK", "static/a.json": b"[]", "static/.state/lock": b"secret",
        "static/empty": b"", "secret": b"secret", "web/with space.css": b"p{}",
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "web" / "link").symlink_to(root / "secret")
    with Server(port=0, web=root / "web", static=root / "static") as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield server
        server.shutdown()


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        return Answer(connection.getresponse())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/", "text/html; charset=utf-8", b"<p>page"),
        ("/?harts=2", "text/html; charset=utf-8", b"<p>page"),
        ("/main.mjs", "text/javascript; charset=utf-8", b"1;"),
        ("/panels/a.mjs", "text/javascript; charset=utf-8", b"2;"),
        ("/with%20space.css", "text/css; charset=utf-8", b"p{}"),
        ("/static/cpu.wasm", "application/wasm", BODY),
        ("/static/a.whl", "application/zip", b"PK"),
        ("/static/a.json", "application/json", b"[]"),
        ("/static/empty", "application/octet-stream", b""),
    ],
)
def test_files_and_their_types(server: Server, path: str, kind: str, body: bytes) -> None:
    answer = ask(server, path)
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, kind, body)
    assert answer.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("path", ["/", "/static/cpu.wasm", "/absent"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_answer_isolates_the_page(server: Server, path: str, method: str) -> None:
    headers = ask(server, path, method).headers
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/absent", "/static", "/static/", "/panels", "/panels/", "/.hidden", "/static/.state/lock", "/static/%2estate/lock",
        "/../secret", "/%2e%2e/secret", "/static/../../secret", "/static/..%2f..%2fsecret", "/panels/../../secret",
        "//etc/passwd", "/static//etc/passwd", "/link", "/main.mjs%00.html", "/..\\secret", "/web/main.mjs",
        "/" + "a" * 5000,
    ],
)
def test_no_other_file_is_given(server: Server, path: str) -> None:
    answer = ask(server, path)
    assert answer.status == 404
    assert b"secret" not in answer.body
    assert b"root:" not in answer.body


def test_code_is_kept_for_ever_below_the_path_of_its_version(tmp_path: Path) -> None:
    files = {
        "web/index.html": b"<head><p>page", "web/main.mjs": b"1;", "static/cpu.wasm": b"cpu", "static/wheels/a.whl": b"PK",
        "static/images/disk": b"disk", "static/snapshots/one.hartwell": b"one",
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)

    def base(server: Server) -> str:
        page = ask(server, "/?harts=2")
        assert page.headers["Cache-Control"] == "no-cache"
        assert ask(server, "/", If_None_Match=page.headers["ETag"]).status == 304
        assert int(page.headers["Content-Length"]) == len(page.body)
        found = re.fullmatch(r'<head>\s*<base href="(v/[0-9a-f]{16}/)" /><p>page', page.body.decode())
        assert found
        return "/" + found[1]

    with Server(port=0, web=tmp_path / "web", static=tmp_path / "static") as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        first = base(server)
        for path, lasts in [
            ("main.mjs", True), ("static/cpu.wasm", True), ("static/wheels/a.whl", True),
            ("static/images/disk", False), ("static/snapshots/one.hartwell", False), ("absent.mjs", False),
        ]:
            assert ("immutable" in ask(server, first + path).headers["Cache-Control"]) == lasts, path
            assert ask(server, "/" + path).headers["Cache-Control"] == "no-cache"
        (tmp_path / "static/images/disk").write_bytes(b"another disk")
        assert base(server) == first
        (tmp_path / "web/main.mjs").write_bytes(b"two;")
        second = base(server)
        assert second != first
        # A page of before goes on, and what it gets now is not kept for what it was.
        old, new = ask(server, first + "main.mjs"), ask(server, second + "main.mjs")
        assert (old.body, old.headers["Cache-Control"]) == (b"two;", "no-cache")
        assert (new.body, "immutable" in new.headers["Cache-Control"]) == (b"two;", True)
        assert ask(server, second + "../secret").status == 404
        server.shutdown()


def test_a_file_that_did_not_change_is_not_sent_again(server: Server) -> None:
    tag = ask(server, "/static/cpu.wasm").headers["ETag"]
    for sent in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = ask(server, "/static/cpu.wasm", If_None_Match=sent)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert ask(server, "/static/cpu.wasm", If_None_Match='"other"').status == 200


def test_a_file_that_changed_has_another_tag(server: Server) -> None:
    file = server.static / "changing"
    file.write_bytes(b"one")
    before = ask(server, "/static/changing").headers["ETag"]
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    after = ask(server, "/static/changing", If_None_Match=before)
    assert (after.status, after.body) == (200, b"two")


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [("0-0", 0, 1), ("10-19", 10, 20), ("1023990-", 1023990, len(BODY)), ("-7", len(BODY) - 7, len(BODY)),
     ("5-99999999", 5, len(BODY)), ("-99999999", 0, len(BODY))],
)
def test_a_byte_range(server: Server, asked: str, first: int, end: int) -> None:
    answer = ask(server, "/static/cpu.wasm", Range=f"bytes={asked}")
    assert (answer.status, answer.body) == (206, BODY[first:end])
    assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(BODY)}"


@pytest.mark.parametrize("asked", [f"{len(BODY)}-", "-0", "99999999-99999999"])
def test_a_range_beyond_the_end_is_refused(server: Server, asked: str) -> None:
    answer = ask(server, "/static/cpu.wasm", Range=f"bytes={asked}")
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(BODY)}")


@pytest.mark.parametrize("asked", ["bytes=1-2,4-5", "lines=1-2", "bytes=5-2", "bytes=-", "bytes=x", f"bytes=0-{'9' * 5000}"])
def test_a_range_of_another_kind_gives_the_whole_file(server: Server, asked: str) -> None:
    answer = ask(server, "/static/cpu.wasm", Range=asked)
    assert (answer.status, len(answer.body)) == (200, len(BODY))


def test_a_range_of_an_older_file_gives_the_whole_new_one(server: Server) -> None:
    assert ask(server, "/static/cpu.wasm", Range="bytes=0-1", If_Range='"other"').status == 200
    tag = ask(server, "/static/cpu.wasm").headers["ETag"]
    assert ask(server, "/static/cpu.wasm", Range="bytes=0-1", If_Range=tag).status == 206


def test_head_says_the_length_only(server: Server) -> None:
    answer = ask(server, "/static/cpu.wasm", "HEAD")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", str(len(BODY)))


def test_other_methods_are_refused(server: Server) -> None:
    assert ask(server, "/", "POST", Content_Length="0").status == 501


def test_one_connection_serves_many_requests(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.connect()
    line = connection.sock
    for path, status in (("/", 200), ("/absent", 404), ("/static/cpu.wasm", 200), ("/main.mjs", 200)):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        assert connection.sock is line
    connection.close()


def test_a_body_is_not_taken_for_a_request(server: Server) -> None:
    body = b"GET /main.mjs HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = f"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as line:
        line.sendall(head + body)
        line.shutdown(socket.SHUT_WR)
        answer = bytearray()
        try:
            while block := line.recv(65536):
                answer += block
        except ConnectionResetError:
            pass  # the server closed with our body unread
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("name", "status"),
    [("127.0.0.1:{port}", 200), ("localhost:{port}", 200), ("LOCALHOST", 200), ("[::1]:{port}", 200),
     ("evil.example", 421), ("evil.example:{port}", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421),
     ("192.168.1.1", 421), ("", 421), ("a b", 421)],
)
def test_only_requests_that_name_this_machine_are_answered(server: Server, name: str, status: int) -> None:
    answer = ask(server, "/", Host=name.format(port=server.port))
    assert answer.status == status
    assert (b"page" in answer.body) == (status == 200)


def test_all_addresses_answer_to_numbers_but_to_no_foreign_name() -> None:
    with Server("0.0.0.0", 0) as server:
        assert server.knows("10.1.2.3:80")
        assert server.knows("localhost")
        assert not server.knows("evil.example")
        assert server.url() == f"http://127.0.0.1:{server.port}/"


def test_hosts() -> None:
    assert host_of("[::1]:80") == "::1"
    assert host_of("Localhost.:80") == "localhost"
    assert host_of("a:b:c") == ""


def test_ranges_of_an_empty_file() -> None:
    assert byte_range(None, 0) is None
    with pytest.raises(BadRange):
        byte_range("bytes=0-", 0)


def test_a_port_that_is_taken_says_what_to_do(server: Server) -> None:
    with pytest.raises(SetupError, match=rf"port {server.port} of 127\.0\.0\.1 is taken.*--port N"):
        Server(port=server.port)


@pytest.mark.parametrize(
    ("host", "port", "said"), [("127.0.0.1", 70000, "0 to 65535"), ("no.such.invalid", 0, "--host no.such.invalid"),
                               ("192.0.2.1", 0, "does not have that address")],
)
def test_an_address_that_cannot_be_had(host: str, port: int, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        Server(host, port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_and_ends(number: signal.Signals) -> None:
    command = [sys.executable, str(paths.ROOT / "serve.py"), "--no-open", "--no-preboot", "--port", "0"]
    pipe = subprocess.PIPE
    # A shell's background jobs, as these tests may be, are started with SIGINT ignored, and hand that down.
    heed = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=Path("/"), preexec_fn=heed) as process:
        assert process.stdout is not None
        word, url = process.stdout.readline().split()
        assert word == "ready"
        connection = http.client.HTTPConnection(url.split("/")[2], timeout=120)
        connection.request("GET", "/static/wheels/wheels.json")
        assert b"hartwell-" in connection.getresponse().read()
        process.send_signal(number)
        try:
            rest, said = process.communicate(timeout=120)
        finally:
            process.kill()
            connection.close()
    assert (process.returncode, rest) == (0, "")
    assert "Traceback" not in said


def test_a_mirror_that_is_none_is_said_before_anything_is_set_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "set_up", lambda *_: pytest.fail("set-up began"))
    assert commands.serve(["--port", "0", "--no-open", "--mirror", "ftp://debian.invalid"]) == 1
    assert "--mirror ftp://debian.invalid: not an http, https or file address" in capsys.readouterr().err

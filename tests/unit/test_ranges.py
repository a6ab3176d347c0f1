"""web/storage/ranges.mjs against servers that fall silent, break off or refuse."""

from __future__ import annotations

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from hartwell.setup import node, paths

DATA = bytes(range(256)) * 40
SILENT_MS = 3000  # a busy computer shall not be taken for a silent server

SCRIPT = """
import { askRange } from "./web/storage/ranges.mjs";
const [url, wanted, silentMs] = process.argv.slice(1);
const said = await askRange(url, 10, 5000, JSON.parse(wanted), Number(silentMs)).then(
    ({ status, bytes }) => ({ status, bytes: Buffer.from(bytes).toString("hex") }),
    (error) => ({ error: error.message }));
console.log(JSON.stringify(said));
"""


class Lossy(BaseHTTPRequestHandler):
    """Answers byte ranges; the path says what goes wrong first, and how often."""

    asked: ClassVar[list[str]]
    done: ClassVar[threading.Event]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        _, kind, times = self.path.split("/")
        self.asked.append(self.headers["Range"])
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        part = DATA[first : last + 1]
        if kind == "refuse":
            self.send_error(503)
            return
        wrong = len(self.asked) <= int(times)
        if wrong and kind == "silent":
            self.done.wait(60)
            return
        status, part = (200, DATA) if kind == "all" else (206, part)
        self.send_response(status)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[:1000])
        self.wfile.flush()
        if wrong and kind == "stalls":
            self.done.wait(60)
        elif wrong and kind == "breaks":
            self.close_connection = True
        else:
            self.wfile.write(part[1000:])

    def log_message(self, *_: Any) -> None:
        pass


def ask(path: str, wanted: list[int], silent_ms: int = SILENT_MS) -> dict[str, Any]:
    """What askRange makes of it."""
    Lossy.asked, Lossy.done = [], threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Lossy) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        done = subprocess.run(
            [str(node.find()), "--input-type=module", "--no-warnings", "-e", SCRIPT,
             f"http://127.0.0.1:{server.server_address[1]}/{path}", json.dumps(wanted), str(silent_ms)],
            cwd=paths.ROOT, capture_output=True, text=True, timeout=120, check=False)
        Lossy.done.set()
        server.shutdown()
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("kind", ["silent", "stalls"])
def test_an_answer_that_does_not_come_is_asked_for_again(kind: str) -> None:
    assert ask(f"{kind}/1", [206]) == {"status": 206, "bytes": DATA[10:5010].hex()}
    assert set(Lossy.asked) == {"bytes=10-5009"} and len(Lossy.asked) >= 2


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    assert ask("breaks/2", [206], 60_000) == {"status": 206, "bytes": DATA[10:5010].hex()}
    assert Lossy.asked == ["bytes=10-5009"] * 3


def test_after_three_times_it_is_an_error() -> None:
    assert "nothing came for 3 s" in ask("stalls/3", [206])["error"]
    assert len(Lossy.asked) <= 3


def test_what_a_server_says_is_final() -> None:
    assert ask("refuse/9", [206]) == {"status": 503, "bytes": ""}
    assert len(Lossy.asked) == 1


def test_a_body_that_nobody_wants_is_not_read() -> None:
    assert ask("all/0", [206]) == {"status": 200, "bytes": ""}
    assert ask("all/0", [200, 206]) == {"status": 200, "bytes": DATA.hex()}

"""Disks whose store or base fails under a running guest: it gets an I/O error, and the machine lives."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.e2e.tab import Tab
from tests.e2e.test_storage import run_in_node

CHUNK = 65536
CHUNKS = 48

READ = """
import json
from hartwell.disks import Disk
machine = await Machine.boot("shell", show=False, share=None, network=None, disks=[Disk(SOURCE, cache="16M")])
await machine.console.expect("[#$] $", timeout=400)
async def read(chunk):
    # Directly, so that no read-ahead of the guest's mixes neighbours in.
    command = f"dd if=/dev/vda of=/tmp/c bs=64k skip={chunk} count=1 iflag=direct 2>&1 && sha256sum </tmp/c"
    done = await machine.run(command, timeout=300)
    return done.stdout.split()[-2] if done.returncode == 0 else done.stdout
"""


def image(folder: Path) -> list[str]:
    """A disk of Hartwell's format (docs/images.md) with noise in each chunk; the chunks' digests."""
    folder.mkdir()
    chunks = [hashlib.shake_128(bytes([i])).digest(CHUNK) for i in range(CHUNKS)]
    table = b"".join(struct.pack("<I", i) + hashlib.sha256(chunk).digest() for i, chunk in enumerate(chunks))
    (folder / "disk.bin").write_bytes(b"".join(chunks))
    (folder / "disk.table").write_bytes(table)
    facts = {"version": 1, "bytes": CHUNK * CHUNKS, "chunk": CHUNK, "stored": CHUNKS, "table": hashlib.sha256(table).hexdigest()}
    (folder / "disk.json").write_text(json.dumps(facts))
    return [hashlib.sha256(chunk).hexdigest() for chunk in chunks]


def test_a_damaged_chunk_is_an_io_error_and_no_more(tmp_path: Path) -> None:
    digests = image(tmp_path / "image")
    with (tmp_path / "image/disk.bin").open("r+b") as file:
        file.seek(20 * CHUNK + 7)
        byte = file.read(1)
        file.seek(20 * CHUNK + 7)
        file.write(bytes([byte[0] ^ 1]))
    told = run_in_node(f"SOURCE = {str(tmp_path / 'image/disk.json')!r}\n" + READ + """
told = {"read": [await read(chunk) for chunk in (19, 20, 21)], "errors": await machine.disks.errors(), "alive": machine.alive}
await machine.close()
print(json.dumps(told))
""", tmp_path / "store")
    assert [told["read"][0], told["read"][2]] == [digests[19], digests[21]]
    assert "I/O error" in told["read"][1] or "Input/output error" in told["read"][1]
    assert re.search("chunk 20 .*damaged", told["errors"][0]) and told["alive"]


class Ranges(http.server.BaseHTTPRequestHandler):
    """A folder by byte ranges, as long as `there`."""

    folder: ClassVar[Path]
    there: ClassVar = True
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, with_body: bool) -> None:
        if self.path == "/gone":
            type(self).there = False
        if self.path == "/back":
            type(self).there = True
        file = self.folder / self.path.strip("/")
        if not self.there or not file.is_file():
            self.send_response(503 if not self.there else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = file.read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        part = data[int(match[1]) : int(match[2]) + 1] if match else data
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if with_body:
            self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """An image by HTTP: its address, its chunks' digests."""
    digests = image(tmp_path / "image")
    Ranges.folder, Ranges.there = tmp_path / "image", True
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", digests
        server.shutdown()


def test_a_server_that_goes_is_an_io_error_until_it_is_back(served: tuple[str, list[str]], tmp_path: Path) -> None:
    address, digests = served
    told = run_in_node(f"SOURCE, ADDRESS = {address + 'disk.json'!r}, {address!r}\n" + READ + """
from pyodide.http import pyfetch
told = {"read": [await read(2)]}
await pyfetch(ADDRESS + "gone")
told["read"] += [await read(2), await read(30)]
told["errors"] = await machine.disks.errors()
await pyfetch(ADDRESS + "back")
told["read"] += [await read(30)]
told["alive"] = machine.alive
await machine.close()
print(json.dumps(told))
""", tmp_path / "store")
    assert [told["read"][i] for i in (0, 1, 3)] == [digests[2], digests[2], digests[30]], "what was there stays there"
    assert "I/O error" in told["read"][2] or "Input/output error" in told["read"][2]
    assert "503" in told["errors"][0] and told["alive"]


def test_a_quota_that_is_used_up_is_an_io_error_until_there_is_room(tab: Tab) -> None:
    origin = tab.address.rstrip("/")
    tab.open("?boot=no")
    tab.python("from hartwell.disks import Disk")
    tab.python("machine = await Machine.boot('shell', share=None, network=None, disks=[Disk(size='64M', overlay='quota')])")
    tab.expect("[#$] $", 400)
    write = "head -c 12000000 /dev/urandom >/tmp/noise; dd if=/tmp/noise of=/dev/vda bs=1M conv=fsync 2>&1"
    protocol = tab.page.context.new_cdp_session(tab.page)
    protocol.send("Storage.overrideQuotaForOrigin", {"origin": origin, "quotaSize": 1_000_000})
    refused = tab.python(f"r = await machine.run({write!r}, timeout=300); [r.returncode, r.stdout]")
    assert refused[0] != 0 and ("I/O error" in refused[1] or "Input/output error" in refused[1])
    assert "no more storage" in tab.python("(await machine.disks.errors())[0]")
    assert tab.run("echo alive") == "alive\n"
    protocol.send("Storage.overrideQuotaForOrigin", {"origin": origin})
    assert tab.python(f"(await machine.run({write!r}, timeout=300)).returncode") == 0
    same = tab.run("head -c 12000000 /dev/vda | sha256sum; sha256sum </tmp/noise").split()
    assert same[0] == same[2]
    tab.python("await machine.close()")
    tab.python("from hartwell import overlays; await overlays.reset('quota')")

"""Snapshots as files, and what damage to them does: named errors, and nothing else lost.  In Node."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Playwright

from hartwell.snapshot.manifest import parse
from tests.e2e.conftest import ROOT
from tests.e2e.tab import Tab
from tests.e2e.test_storage import run_in_node

MAKE = """
machine = await Machine.boot(harts=1, memory="128M", show=False)
await machine.console.expect(r"# $", timeout=400)
await machine.run("echo kept > /tmp/kept", timeout=240)
await machine.checkpoint("one")
await machine.hibernate("one")
copy = await Machine.wake("one", fork=True, show=False)
await copy.hibernate("two")
await Machine.export_snapshot("one", {file!r})
print("{{}}")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, in which `one` and `two` sleep, and `one.hartwell`."""
    folder = tmp_path_factory.mktemp("made")
    run_in_node(MAKE.format(file=str(folder / "one.hartwell")), folder / "data")
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy of the store, to be damaged."""
    shutil.copytree(made / "data", tmp_path / "data")
    return tmp_path / "data"


TRY = """
import json
from hartwell.errors import HartwellError
told = []
for code in {codes!r}:
    try:
        value = eval(code, globals())
        value = await value
        told.append(repr(value)[:40])
        if isinstance(value, Machine):
            await value.close()
    except HartwellError as error:
        told.append(f"{{type(error).__name__}}: {{error}}")
shelf = sorted(one.name for one in await Machine.snapshots())
whole = await Machine.wake("two", lazy=False, show=False)
kept = (await whole.run("cat /tmp/kept", timeout=240)).stdout
await whole.close()
print(json.dumps([told, shelf, kept]))
"""


def attempt(data: Path, *codes: str) -> tuple[list[str], list[str]]:
    """What each call of the API came to, and the shelf afterwards; `two` must wake whole."""
    told, shelf, kept = run_in_node(TRY.format(codes=codes), data)
    assert kept == "kept\n"
    return told, shelf


def test_damaged_files_are_refused(made: Path, data: Path, tmp_path: Path) -> None:
    whole = (made / "one.hartwell").read_bytes()
    manifest = int.from_bytes(whole[12:16], "little")
    count = int.from_bytes(whole[16:20], "little")
    frames = 56 + manifest + 48 * count

    def flipped(at: int) -> bytes:
        return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]

    def signed(body: bytes) -> bytes:
        """With a right digest, as an enemy writes it."""
        return whole[:24] + hashlib.sha256(body).digest() + body + whole[frames:]

    body = whole[56:frames]
    entry = manifest  # of the first chunk, in body
    variants = {
        "magic": flipped(0), "format": whole[:8] + b"\x02" + whole[9:], "length": flipped(12), "count": flipped(16),
        "digest": flipped(30), "manifest": flipped(60), "index": flipped(56 + manifest + 3),
        "frame": flipped((frames + len(whole)) // 2), "empty": b"", "head": whole[:40], "cut in the manifest": whole[:1000],
        "cut in the frames": whole[: (frames + len(whole)) // 2], "huge manifest": whole[:12] + b"\xff" * 4 + whole[16:],
        "huge count": whole[:16] + b"\xff" * 4 + whole[20:],
        "huge frame": signed(body[: entry + 40] + b"\xff" * 4 + body[entry + 44 :]),
        "frame far away": signed(body[: entry + 32] + b"\xff" * 8 + body[entry + 40 :]),
        "another chunk's name": signed(body[:entry] + bytes(32) + body[entry + 32 :]),
        "no file of ours": b"PK\x03\x04" + bytes(1000),
    }
    codes = []
    for name, content in variants.items():
        file = tmp_path / f"{name}.hartwell"
        file.write_bytes(content)
        codes.append(f"Machine.import_snapshot({str(file)!r})")
    for name in ("one", "two"):
        shutil.copy(made / "one.hartwell", tmp_path / f"{name}.hartwell")
    # An import reads only what the store does not have, so it begins with an empty one.
    empty = tmp_path / "empty"
    codes.append(f"Machine.import_snapshot({str(tmp_path / 'two.hartwell')!r}, 'two')")
    told, shelf = attempt(empty, *codes)
    for name, answer in zip(variants, told, strict=False):
        expected = ("SnapshotVersion: ",) if name == "format" else ("SnapshotCorrupt: ",)
        assert answer.startswith(expected), (name, answer)
    assert told[-1] == "'two'"
    assert shelf == ["two"], "nothing that was refused is on the shelf"


def test_a_damaged_store_names_what_is_damaged(data: Path) -> None:
    record = data / "records" / "snapshot" / "one.json"
    kept = json.loads(record.read_text())
    other = json.loads((data / "records" / "snapshot" / "two.json").read_text())

    def put(name: str, text: str) -> None:
        (record.parent / f"{name}.json").write_text(json.dumps({**kept, "text": text}))

    put("flipped", kept["text"].replace('"harts":1', '"harts":2'))
    put("future", kept["text"].replace("hartwell-snapshot 1 ", "hartwell-snapshot 9 "))
    put("cut", kept["text"][:2000])
    (record.parent / "torn.json").write_text(record.read_text()[:500])
    # A chunk that `one` alone needs is missing, another is damaged.
    mine = _digests(kept["text"]) - _digests(other["text"])
    assert len(mine) >= 2
    missing, damaged = sorted(mine)[:2]
    (data / "chunks" / missing[:2] / missing).unlink()
    file = data / "chunks" / damaged[:2] / damaged
    file.write_bytes(file.read_bytes()[:-1])
    wakes = ("flipped", "future", "cut", "torn", "one", "none")
    calls = [f"Machine.wake({name!r}, lazy=False, show=False)" for name in wakes]
    told, shelf = attempt(data, *calls)
    corrupt = "SnapshotCorrupt"
    names = [answer.split(":")[0] for answer in told]
    assert names == [corrupt, "SnapshotVersion", corrupt, corrupt, corrupt, "SnapshotNotFound"]
    assert "missing" in told[4] or "damaged" in told[4]
    assert {"one", "two"} <= set(shelf)


LAZY = """
import asyncio, json
machine = await Machine.wake("one", show=False)
await asyncio.wait_for(machine.wait(), 240)
print(json.dumps([machine.state, machine.error]))
"""


def test_a_lazy_wake_that_meets_damage_stops(data: Path) -> None:
    kept = json.loads((data / "records" / "snapshot" / "one.json").read_text())
    missing = sorted(_digests(kept["text"]))[0]
    (data / "chunks" / missing[:2] / missing).unlink()
    state, error = run_in_node(LAZY, data)
    assert state == "crashed"
    assert error.startswith(f"SnapshotCorrupt: chunk {missing[:16]} is missing")


def _digests(text: str) -> set[str]:
    return {digest.hex() for digest, _ in parse(text, "it").areas["ram"].chunks.values()}


def hartwell(data: Path, *arguments: str, keys: str = "") -> subprocess.CompletedProcess[str]:
    """The command, with a store of its own."""
    command = [sys.executable, "-m", "hartwell.cli", *arguments]
    environment: dict[str, Any] = {**os.environ, "HARTWELL_DATA": str(data), "PYTHONPATH": str(ROOT / "py")}
    return subprocess.run(command, env=environment, input=keys, capture_output=True, text=True, timeout=600, cwd=ROOT)


def test_the_command(made: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    file = str(made / "one.hartwell")
    assert hartwell(data, "snapshot", "import", file, "--name", "mine").stdout == "mine\n"
    listed = hartwell(data, "snapshot", "list").stdout
    assert "mine" in listed
    assert "128 MB" in listed
    woken = hartwell(data, "run", "--wake", "mine", keys="cat /tmp/kept; echo $((6*7))-out; poweroff\n")
    assert woken.returncode == 0, woken.stderr
    assert "kept" in woken.stdout
    assert "42-out" in woken.stdout
    assert hartwell(data, "run", "--wake", file, keys="poweroff\n").returncode == 0
    for refused, words in (
        (("run", "--wake", "mine", "--harts", "2"), "there can be no --harts"),
        (("run", "--wake", "nobody"), "SnapshotNotFound"),
        (("snapshot", "delete", "nobody"), "SnapshotNotFound"),
        (("snapshot", "import", str(tmp_path / "no")), "is not there"),
        (("snapshot", "export", "mine", str(tmp_path / "file.txt")), "ends in .hartwell"),
    ):
        done = hartwell(data, *refused)
        assert done.returncode != 0
        assert words in done.stderr, (refused, done.stderr)
        assert "Traceback" not in done.stderr


@pytest.mark.firefox
def test_wakes_in_firefox(playwright: Playwright, server: str, made: Path) -> None:
    """A machine that slept in Node is imported, woken, put to sleep in Firefox's IndexedDB and woken again."""
    path = shutil.which("firefox-esr") or shutil.which("firefox")
    assert path, "no firefox or firefox-esr on the PATH"
    browser = playwright.firefox.launch(executable_path=path, channel="moz-firefox", headless=True)
    try:
        tab = Tab(browser.new_page(), server)
        tab.open("?boot=no")
        tab.page.get_by_role("button", name="Shelf").click()
        panel = tab.page.locator("hw-shelf-panel")
        panel.locator('input[type="file"]').set_input_files(made / "one.hartwell")
        panel.get_by_role("button", name="Wake one").click()
        tab.wait_for_state("running")
        assert tab.run("cat /tmp/kept") == "kept\n"
        tab.run("echo firefox > /tmp/kept")
        tab.press("Sleep")
        tab.wait_for_state("asleep")
        tab.open()
        tab.wait_for_state("running")
        assert tab.run("cat /tmp/kept; echo $((6*7))") == "firefox\n42\n"
        assert tab.errors == []
    finally:
        browser.close()

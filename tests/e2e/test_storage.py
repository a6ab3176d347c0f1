"""The store, over IndexedDB in the page and over files in Node: one Python, run on both."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hartwell.setup import node
from tests.e2e.conftest import ROOT
from tests.e2e.tab import Tab

# `told` is printed or given back.  A memory of 4 MiB with a page of text, a
# page of noise, and zeros goes in and comes back into another memory.
SCRIPT = """
import os
from hartwell import platform
from hartwell.errors import HartwellError
from hartwell.layout import RAM_OFFSET
from hartwell.memory_plan import plan_memory
from hartwell.platform.store import CHUNK, DIGEST, ZEROS, saving

told = {}
place = platform.current()
store = place.store
plan, ram = plan_memory(4 << 20, 1), RAM_OFFSET
core = await place.create(plan)
core.write(ram + 5, b"text " * 2000)
core.write(ram + 3 * CHUNK, os.urandom(100))
core.write(ram + 4 * CHUNK - 1, b"e")
ranges = [(ram, 4 << 20), (ram + 3 * CHUNK, 100)]
captured = []
async with saving(store):
    saved = await store.save(core, ranges, captured=lambda: captured.append(1))
    await store.put_record("test", "one/two. three", about="{}", text="the text", refs=saved.digests)
digests = [saved.digests[i:i + DIGEST] for i in range(0, len(saved.digests), DIGEST)]
told["chunks"] = [i for i, digest in enumerate(digests) if digest != ZEROS]
told["captured"] = len(captured)
told["sizes"] = [size > 0 for size in saved.sizes if size]
again = await store.save(core, ranges)
told["again"] = [again.digests == saved.digests, again.written]
other = await place.create(plan)
await store.load(other, saved.digests[:-DIGEST], ranges[:1])
told["same"] = other.read(ram, 4 << 20) == core.read(ram, 4 << 20)
told["text"] = [await store.get_record("test", name) for name in ("one/two. three", "one")]
told["list"] = [record.name for record in await store.records("test")]
told["locks"] = [await store.lock("m"), await store.lock("m")]
await store.unlock("m")
told["unlocked"] = await store.lock("m")
await store.unlock("m")
told["errors"] = []
for digest, at in ((bytes([7]) * DIGEST, ram), (digests[0], ram + 8 << 20)):
    try:
        await store.load(other, digest, [(at, CHUNK)])
    except HartwellError as error:
        told["errors"].append(f"{type(error).__name__}: {error}")
told["room"] = (await store.room()).quota > 0
told["dropped"] = [await store.drop_record("test", "one/two. three"), await store.drop_record("test", "one")]
await store.collect()
core.terminate(); other.terminate()
"""


def _check(told: dict[str, object]) -> None:
    chunks = told.pop("chunks")
    assert chunks == [0, 3, 64]
    errors = told.pop("errors")
    assert isinstance(errors, list)
    assert errors[0].startswith("SnapshotCorrupt: chunk 0707070707070707 is missing")
    assert "outside the machine's" in errors[1]
    assert told == {
        "captured": 1, "sizes": [True] * 3, "again": [True, 0], "same": True, "text": ["the text", None],
        "list": ["one/two. three"], "locks": [True, False], "unlocked": True, "room": True, "dropped": [True, False],
    }


def test_in_the_page(new_tab: Callable[..., Tab]) -> None:
    tab = new_tab()
    tab.open("?boot=no")
    _check(tab.python(SCRIPT + "\ntold"))
    # Nobody names the chunks any more, so they went.
    assert tab.page.evaluate(CHUNK_KEYS) == []
    assert tab.errors == []


# IndexedDB keeps a frame of 60,000 bytes and more in two parts; one of noise is a little longer than what it holds.
NOISE = """
import os
from hartwell import platform
from hartwell.layout import RAM_OFFSET
from hartwell.memory_plan import plan_memory
from hartwell.platform.store import CHUNK, saving

store, plan = platform.current().store, plan_memory(4 << 20, 1)
core, other = await platform.current().create(plan), await platform.current().create(plan)
for index, count in enumerate([CHUNK, *range(59_000, 60_000, 25)]):
    core.write(RAM_OFFSET + index * CHUNK, os.urandom(count))
ranges = [(RAM_OFFSET, 4 << 20)]
async with saving(store):
    saved = await store.save(core, ranges)
    await store.put_record("test", "noise", about="{}", text="", refs=saved.digests)
sizes = [size for size in saved.sizes if size]
await store.load(other, saved.digests, ranges)
told = [len(sizes), min(sizes) < 60_000 < max(sizes), other.read(RAM_OFFSET, 4 << 20) == core.read(RAM_OFFSET, 4 << 20)]
core.terminate(); other.terminate()
told
"""


def test_noise_in_the_page(new_tab: Callable[..., Tab]) -> None:
    tab = new_tab()
    tab.open("?boot=no")
    count, both, same = tab.python(NOISE)
    assert count == 41 and both and same
    keys = tab.page.evaluate(CHUNK_KEYS)
    assert 41 < len(keys) < 82 and len(whole_chunks(keys)) == 41, "those that are long lie in two parts"
    tab.python("await store.drop_record('test', 'noise')\nawait store.collect()")
    assert tab.page.evaluate(CHUNK_KEYS) == []


def whole_chunks(keys: list[str]) -> set[str]:
    """Names of the chunks that IndexedDB has; second parts must be of one of them."""
    names = {key for key in keys if not key.endswith("+")}
    assert names.issuperset(key[:-1] for key in keys if key.endswith("+"))
    return names


CHUNK_KEYS = """() => new Promise((resolve, reject) => {
    const opening = indexedDB.open("hartwell");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
        const counting = opening.result.transaction("chunks").objectStore("chunks").getAllKeys();
        counting.onsuccess = () => { opening.result.close(); resolve(counting.result); };
    };
})"""


def test_in_node(tmp_path: Path) -> None:
    _check(run_in_node(SCRIPT + "\nprint(__import__('json').dumps(told))", tmp_path))


def test_a_damaged_chunk_in_node(tmp_path: Path) -> None:
    """Flipped, cut short, of other contents: named, and nothing of it is placed."""
    run_in_node(SCRIPT.split("told[\"dropped\"]")[0] + "\nprint('{}')", tmp_path)
    files = sorted((tmp_path / "chunks").glob("*/*"), key=lambda file: file.stat().st_size)
    names = [file.name for file in files]
    whole = files[-1].read_bytes()
    files[0].write_bytes(files[0].read_bytes()[:-3])
    files[1].write_bytes(whole)
    files[2].write_bytes(whole[:8] + bytes([whole[8] ^ 1]) + whole[9:])
    told = run_in_node(
        f"""
import hashlib
import json
from hartwell import platform
from hartwell.errors import SnapshotCorrupt
from hartwell.layout import RAM_OFFSET
from hartwell.memory_plan import plan_memory
place = platform.current()
core, ram = await place.create(plan_memory(4 << 20, 1)), RAM_OFFSET
told = []
for name in {names!r}:
    for count in (65536, 100):
        try:
            await place.store.load(core, bytes.fromhex(name), [(ram, count)])
        except SnapshotCorrupt as error:
            told.append(str(error))
print(json.dumps([told, any(core.read(ram, 65536))]))
""",
        tmp_path,
    )
    assert isinstance(told, list)
    assert len(told[0]) == 6
    assert all("is damaged" in message for message in told[0])
    assert told[1] is False


def run_in_node(code: str, data: Path, seconds: float = 1500) -> Any:
    """Runs Python in Hartwell's Node host; the JSON that it prints last."""
    command = [str(node.find()), str(ROOT / "web/node/host.mjs"), json.dumps({"script": code})]
    environment = {**os.environ, "HARTWELL_DATA": str(data)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    if done.returncode:
        pytest.fail(f"status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


# Whoever asks the store for something may be cancelled before the answer is there.
CUT = """
import asyncio, json, os
from hartwell import platform
from hartwell.layout import RAM_OFFSET
from hartwell.memory_plan import plan_memory

store = platform.current().store
core = await platform.current().create(plan_memory(16 << 20, 1))
told = {"left": []}

async def cut(work, turns):
    "Cancels `work` after so many turns of the event loop; was it in time?"
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False

for turns in (1, 2, 3):
    told[f"cut {turns}"] = await cut(store.lock("one"), turns)
    if not await store.lock("one"):  # at once: what was on its way to nobody is back
        told["left"].append(turns)
    await store.unlock("one")
told["guard"] = await cut(store.begin(), 1)
core.write(RAM_OFFSET, os.urandom(8 << 20))
captured = []
told["save"] = await cut(store.save(core, [(RAM_OFFSET, 16 << 20)], captured=lambda: captured.append(1), report=print), 2)
await store.room()
await asyncio.sleep(0.3)  # the worker tells of its progress, and ends, meanwhile
told["captured"] = len(captured)
told["works"] = len((await store.save(core, [(RAM_OFFSET, 64 << 10)])).sizes)
core.terminate()
"""


def test_who_is_cancelled_has_nothing_of_the_store_in_node(tmp_path: Path) -> None:
    told = run_in_node(CUT + "\nprint(json.dumps(told))", tmp_path)
    assert told == {
        "left": [], "cut 1": True, "cut 2": True, "cut 3": True, "guard": True, "save": True, "captured": 0, "works": 1,
    }


# Names as people give them, and locks whose holders are gone.
NAMES = """
import asyncio, hashlib, json, os
from hartwell import platform

store = platform.current().store
told = {}
names = ["\\U0001f600" * 200, "名" * 100, "a" * 200, "%.x", "..", "a/b"]
for name in names:
    await store.put_record("test", name, about="{}", text=name, refs=b"")
told["names"] = sorted(one.name for one in await store.records("test")) == sorted(names)
told["texts"] = [await store.get_record("test", name) == name for name in names]
told["dropped"] = [await store.drop_record("test", name) for name in names]
told["left"] = len(await store.records("test"))

asked = await asyncio.gather(*(store.lock(f"lock {i // 4}") for i in range(16)))
told["one holder each"] = [sum(asked[i:i + 4]) for i in range(0, 16, 4)]
"""
OTHERS = """
import hashlib
import json
from hartwell import platform

store = platform.current().store
print(json.dumps([await store.lock(f"lock {i}") for i in range(6)]))
"""


def test_names_and_locks_in_node(tmp_path: Path) -> None:
    told = run_in_node(NAMES + "\nprint(json.dumps(told))", tmp_path)
    assert told == {"names": True, "texts": [True] * 6, "dropped": [True] * 6, "left": 0, "one holder each": [1] * 4}
    locks = tmp_path / "locks"
    locks.mkdir(exist_ok=True)
    assert all(len(file.name) == 64 for file in locks.iterdir()), "nothing but locks is left"

    def held(number: int, text: str) -> None:
        (locks / hashlib.sha256(f"lock {number}".encode()).hexdigest()).write_text(text)

    began = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    held(0, f"{os.getpid()} {began}\n")  # by this process
    held(1, f"{os.getpid()} 1\n")  # by one that had its number before
    held(2, f"{os.getpid()}\n")  # as an older version wrote it
    held(3, "999999999 5\n")
    held(4, "")
    held(5, "x y z")
    assert run_in_node(OTHERS, tmp_path) == [False, True, False, True, True, True]

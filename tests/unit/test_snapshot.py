"""The text of a snapshot, its structures and the terminal's transcript: written, read back, damaged."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from hartwell.disks import DiskPlan, kept_disk
from hartwell.errors import HartwellError, SnapshotCorrupt, SnapshotVersion
from hartwell.layout import LAYOUT, STRUCTS, field, layout_digest
from hartwell.platform.store import CHUNK, DIGEST
from hartwell.snapshot import recipe, structures
from hartwell.snapshot.manifest import Area, Manifest, parse
from hartwell.snapshot.transcript import LONGEST, Transcript
from tests.unit.fake import make_core

DISKS = [
    {"name": "given.img", "bytes": 4096},
    {
        "name": "debian", "bytes": 1 << 20, "kind": "chunks", "source": "images/debian/disk.json", "digest": "ab" * 32,
        "size": 72, "frames": 8, "read_only": False, "overlay": "debian", "born": 7, "generation": 3,
        "changed": bytes(4) + b"d" * DIGEST + (5).to_bytes(4, "little") + bytes(DIGEST),
    },
]


def chunks(index: int, digest: bytes) -> str:
    """A list of one, as a manifest has it."""
    return base64.b64encode(index.to_bytes(4, "little") + bytes(4) + digest).decode()


def manifest() -> Manifest:
    core = make_core(8 << 20, harts=2)
    ram = Area(8 << 20, {0: (b"a" * DIGEST, 100), 5: (b"b" * DIGEST, 200), 127: (b"a" * DIGEST, 100)})
    return Manifest(
        identity="0123-abc", name="desk", image="shell", harts=2, memory=8 << 20, bare=False, firmware=False,
        options={"append": "quiet"}, disks=DISKS, structures=structures.read(core),
        areas={"ram": ram, "rings": Area(1 << 20), "blob": Area(0)},
        devices={"1": {"open": [[0, 3]], "own": None}}, console={"screen": "# ü"}, order=[5, 0], time=1.5,
    )


def test_what_is_written_is_read() -> None:
    before = manifest()
    after = parse(before.text(), "it")
    assert after == before
    assert after.refs() == b"a" * DIGEST + b"b" * DIGEST + b"d" * DIGEST, "zeros are not stored"
    assert after.stored() == 300, "an equal chunk counts once"
    assert json.loads(after.about())["screen"] == "# ü"


def test_every_flipped_or_missing_character_is_named() -> None:
    text = manifest().text()
    chance = random.Random(4)
    for at in [*range(90), *(chance.randrange(len(text)) for _ in range(300))]:
        for damaged in (text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :], text[:at], text[:at] + text[at + 1 :]):
            with pytest.raises((SnapshotCorrupt, SnapshotVersion)) as caught:
                parse(damaged, "snapshot 'desk'")
            assert "snapshot 'desk'" in str(caught.value)


def test_another_format_says_so() -> None:
    text = manifest().text()
    with pytest.raises(SnapshotVersion, match="format 2, this Hartwell reads format 1"):
        parse(text.replace("hartwell-snapshot 1", "hartwell-snapshot 2"), "it")


def _changed(change: Callable[[dict[str, Any]], None]) -> str:
    """A manifest with a right digest and wrong contents, as an enemy makes it."""
    head, body = manifest().text().split("\n", 1)
    tree = json.loads(body)
    change(tree)
    body = json.dumps(tree)
    return f"{head[:20]}{hashlib.sha256(body.encode()).hexdigest()}\n{body}"


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(tree: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        node: Any = tree
        for name in parents:
            node = node[int(name)] if isinstance(node, list) else node[name]
        node[int(last) if isinstance(node, list) else last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("machine/harts", 9), ("machine/harts", "2"), ("machine/harts", True), ("machine/memory", 1 << 40),
        ("machine/memory", (8 << 20) + 1), ("machine/identity", "../x"), ("machine/disks", [{"name": "d", "bytes": -1}]),
        ("machine/options", 7), ("machine/time", "late"), ("areas/ram/bytes", 4 << 20), ("areas/blob/bytes", 1 << 32),
        ("areas/ram/chunks", chunks(128, b"a" * 32)), ("areas/ram/chunks", chunks(0, bytes(32))),
        ("areas/ram/chunks", chunks(0, b"a" * 32) + chunks(0, b"b" * 32)), ("areas/ram/chunks", chunks(0, b"a" * 31)),
        ("areas/ram/chunks", "&"), ("areas/ram/chunks", [0]),
        ("areas/more", {"bytes": 0, "chunks": []}), ("structures/Machine", "%%%"),
        ("structures/Hart.7", ""), ("structures", {}), ("order", [128]), ("order", 3), ("layout/Ring", []),
        ("layout/Ring/0/2", 1 << 30), ("layout", []), ("devices", 3), ("areas", {}), ("machine", None),
        ("machine/options/append", 7), ("machine/disks", [{"name": "d", "bytes": 512}] * 9), ("devices/1", 7),
        ("devices/1/open", 7), ("devices/1/open", [[0]]), ("devices/1/open", [[9, 0]]), ("devices/1/open", [[0, -1]]),
        *((f"console/{key}", value) for key, value in (
            ("cols", "x"), ("cols", 0), ("rows", 1 << 16), ("since", "x"), ("typed", 5), ("base", 7), ("screen", []))),
        ("agent", 5), ("agent/next", None), ("agent/next", -1), ("agent/line", "x"), ("agent/unsent", 3),
        *((f"machine/disks/1/{key}", value) for key, value in (
            ("bytes", 0), ("bytes", 1 << 50), ("kind", "file"), ("source", None), ("source", {}), ("frames", 0), ("frames", 17),
            ("size", -1), ("generation", "1"), ("changed", "AAAA"), ("changed", 3), ("overlay", 7),
            ("changed", base64.b64encode((16).to_bytes(4, "little") + bytes(32)).decode()),
            ("changed", base64.b64encode(bytes(72)).decode()),
        )),
    ],
)
def test_hostile_values(path: str, value: Any) -> None:
    with pytest.raises(SnapshotCorrupt, match="it: "):
        parse(_changed(_set(path, value)), "it")


def test_structures_come_back_but_for_what_belongs_to_the_memory() -> None:
    old, new = make_core(8 << 20, 2), make_core(16 << 20, 2)
    old.store(field("Machine.plic.pending").offset, 0x12345678)
    old.store(field("Machine.plic.lock").offset, 1)
    old.store(field("Machine.virtio.queue.notified", 3, 1).offset, 7)
    old.store(field("Hart.pc", 1).offset, 0x8000_1234)
    old.store(field("Hart.reservation_valid", 1).offset, 1)
    old.store(field("Machine.tlb_offset").offset, 99)
    old.store(field("Machine.virtio.tx.offset", 3).offset, 99)
    structures.restore(new, structures.read(old), structures.description())
    assert new.load(field("Machine.plic.pending").offset) == 0x12345678
    assert new.load(field("Machine.virtio.queue.notified", 3, 1).offset) == 7
    assert new.load(field("Hart.pc", 1).offset) == 0x8000_1234
    for path in ("Machine.plic.lock", "Machine.tlb_offset"):
        assert new.load(field(path).offset) == 0, path
    assert new.load(field("Hart.reservation_valid", 1).offset) == 0
    assert new.load(field("Machine.virtio.tx.offset", 3).offset) == 0
    assert b"".join(structures.digest_input(old)) == b"".join(structures.digest_input(new))


def test_structures_of_another_version_are_found_by_name() -> None:
    """Fields that moved, grew, went away or are new."""
    core = make_core(8 << 20, 1)
    theirs = {"Machine": [["gone", "u64", 3], ["tohost", "u64", 1], ["plic", "Plic", 1]], "Plic": [["threshold", "u32", 2]],
              "Hart": [["pc", "u64", 1], ["later", "u8", 5]]}
    assert structures.size_of("Machine", theirs) == 40
    data = bytes(24) + (0x8000_1000).to_bytes(8, "little") + (5).to_bytes(4, "little") + (6).to_bytes(4, "little")
    hart = (0x8000_2000).to_bytes(8, "little") + bytes(8)
    core.store(field("Machine.fromhost").offset, 44)
    structures.restore(core, {"Machine": data, "Hart.0": hart}, theirs)
    assert core.load(field("Machine.tohost").offset) == 0x8000_1000
    assert [core.load(field("Machine.plic.threshold", i).offset) for i in range(3)] == [5, 6, 0]
    assert core.load(field("Hart.pc").offset) == 0x8000_2000
    assert core.load(field("Machine.fromhost").offset) == 44, "what they do not have stays"


def test_a_recipe_says_what_restoring_writes() -> None:
    """JavaScript gets the very bytes that Python's wake would write, and the next recipe begins with them."""
    fresh, asleep = make_core(8 << 20, 2), make_core(8 << 20, 2)
    fresh.store(field("Machine.tlb_offset").offset, 99)
    asleep.store(field("Hart.pc", 1).offset, 0x8000_1234)
    asleep.store(field("Machine.plic.lock").offset, 1)
    asleep.store(field("Machine.virtio.reset_count", 15).offset, 3)
    began = structures.read(fresh)
    state = {name: structures.merged(began[name], name, data) for name, data in structures.read(asleep).items()}
    written = [[structures.base_of(name), base64.b64encode(data).decode()] for name, data in state.items()]
    structures.restore(fresh, structures.read(asleep), structures.description())
    assert state == structures.read(fresh)
    assert recipe.fresh_of({"state": written}) == state
    assert recipe.resets(state, 15) == 3
    numbers = {"core": {"harts": 2}, "places": {}}
    assert recipe.fits({"layout": layout_digest(), **numbers}, numbers, [])
    assert not recipe.fits({"layout": layout_digest() ^ 1, **numbers}, numbers, [])
    assert not recipe.fits({"layout": layout_digest(), **numbers, "core": {"harts": 1}}, numbers, [])
    assert not recipe.fits({}, numbers, [])
    assert not recipe.fits({"layout": layout_digest(), **numbers}, None, [])
    kept = kept_disk("vda", 1 << 20)
    served = DiskPlan("vdb", 1 << 20, {"kind": "zeros", "name": "vdb"}, None, "data", False, 16, offset=1 << 20)
    disks = recipe.disk_places([kept, served])
    assert disks[0] is None and disks[1] is not None and disks[1]["durable"] == field("Machine.disk.durable", 1).offset
    whole = {"layout": layout_digest(), **numbers, "disks": disks}
    assert recipe.fits(whole, numbers, [kept, served])
    needs = {"digest": layout_digest(), **numbers, "disks": disks, "needs": ["disks"]}
    assert recipe.fits(needs, numbers, [kept, served])
    assert not recipe.fits({**needs, "needs": ["disks", "more"]}, numbers, [kept, served])
    assert not recipe.fits({**needs, "digest": layout_digest() ^ 1}, numbers, [kept, served])
    assert not recipe.fits(whole, numbers, [kept, served.at(2 << 20)]), "its cache would lie elsewhere"
    assert not recipe.fits(whole, numbers, []) and not recipe.fits(whole, numbers, [served, kept])


def test_structures_of_a_wrong_size_or_a_circle() -> None:
    core = make_core(8 << 20, 1)
    with pytest.raises(SnapshotCorrupt, match=r"Hart\.0: 3 bytes"):
        structures.restore(core, {"Hart.0": b"abc"}, structures.description())
    circle = {"Hart": [["a", "Hart", 2]]}
    with pytest.raises(HartwellError, match="in terms of itself"):
        structures.restore(core, {"Hart.0": b""}, circle)


def test_the_description_agrees_with_the_layout() -> None:
    for kind in ("Machine", "Hart", "Virtio"):
        assert structures.size_of(kind, structures.description()) == LAYOUT[kind].size
    assert structures.places("Hart", structures.description())["pc"] == (LAYOUT["Hart"].fields["pc"].offset, 8)
    assert set(structures.description()) == set(STRUCTS)


def test_transcript_begins_anew_where_the_terminal_was_asked() -> None:
    one = Transcript()
    one.add(b"hello ")
    position = one.end
    one.add(b"world")
    one.rebase(position, "<hello >")
    assert one.replay() == b"<hello >world"
    one.rebase(position - 1, "late")
    assert one.replay() == b"<hello >world", "an older answer is of no use"
    two = Transcript()
    two.restore(one.state())
    assert two.replay() == one.replay()
    assert two.end == len(b"world")


def test_transcript_is_bounded() -> None:
    one = Transcript()
    for _ in range(40):
        one.add(b"x" * (LONGEST // 10))
    assert len(one.replay()) <= 2 * LONGEST
    assert one.end == 40 * (LONGEST // 10)


def test_a_chunk_at_the_end_may_be_short() -> None:
    assert [Area(CHUNK + 4096).length(i) for i in (0, 1)] == [CHUNK, 4096]

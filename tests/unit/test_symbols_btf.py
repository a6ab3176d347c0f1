"""BTF, made here by the rules of Documentation/bpf/btf.rst."""

from __future__ import annotations

import struct

import pytest

from hartwell.symbols import btf
from hartwell.symbols.btf import BadBtf, Btf


class Maker:
    """Types one after the other; each gives its number."""

    def __init__(self) -> None:
        self.types, self.strings, self.count = b"", b"\0", 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(self, name: str, kind: int, count: int, third: int, rest: bytes = b"", flag: int = 0) -> int:
        self.types += struct.pack("<III", self.name(name), flag << 31 | kind << 24 | count, third) + rest
        self.count += 1
        return self.count

    def struct(self, name: str, size: int, members: list[tuple[str, int, int]], kind: int = btf.STRUCT, flag: int = 0) -> int:
        rest = b"".join(struct.pack("<III", self.name(label), number, bits) for label, number, bits in members)
        return self.add(name, kind, len(members), size, rest, flag)

    def bytes(self) -> bytes:
        header = struct.pack("<HBBIIIII", btf.MAGIC, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return header + self.types + self.strings


@pytest.fixture
def maker() -> Maker:
    made = Maker()
    u32 = made.add("u32", btf.INT, 0, 4, struct.pack("<I", 32))
    alias = made.add("pid_t", btf.TYPEDEF, 0, u32)
    comm = made.add("", btf.ARRAY, 0, 0, struct.pack("<III", alias, u32, 16))
    inner = made.struct("", 8, [("low", u32, 0), ("high", alias, 32)], btf.UNION)
    embedded = made.struct("list_head", 16, [("next", 7, 0), ("prev", 7, 64)])
    made.struct("task", 120, [("pid", alias, 0), ("", inner, 64), ("comm", comm, 128), ("tasks", embedded, 704), ("up", 7, 832)])
    made.add("", btf.PTR, 0, 6)
    made.struct("bits", 4, [("a", u32, 3 << 24), ("b", u32, 5 << 24 | 8)], flag=1)
    made.add("state", btf.ENUM, 2, 4, struct.pack("<IiIi", made.name("RUN"), 0, made.name("WAIT"), -2))
    return made


def test_members(maker: Maker) -> None:
    types = Btf(maker.bytes())
    assert len(types) == 9 and "task" in types and "nothing" not in types and "pid_t" not in types
    task = types.struct("task")
    assert task.size == 120 and types.struct("task") is task
    assert (task["pid"].offset, task["pid"].size) == (0, 4)
    assert (task["comm"].offset, task["comm"].size, types.length(task["comm"])) == (16, 64, 16)
    assert (task["tasks"].offset, task["tasks"].size) == (88, 16) and task["up"].size == 8
    assert (task["high"].offset, task["low"].offset) == (12, 8)  # of the anonymous union
    assert types.structure_of(task["tasks"])["prev"].offset == 8
    assert types.structure_of(task["up"]).name == "task"  # through the pointer
    assert types.length(task["pid"]) == 1


def test_bit_fields(maker: Maker) -> None:
    bits = Btf(maker.bytes()).struct("bits")
    assert (bits["a"].bits, bits["b"].bits, bits["b"].offset) == (3, 5, 1)


def test_enums(maker: Maker) -> None:
    types = Btf(maker.bytes())
    assert types.enum("state") == {"RUN": 0, "WAIT": -2}
    with pytest.raises(BadBtf, match="no enum task"):
        types.enum("task")


def test_what_is_not_there(maker: Maker) -> None:
    types = Btf(maker.bytes())
    with pytest.raises(BadBtf, match="no struct nothing"):
        types.struct("nothing")
    with pytest.raises(BadBtf, match="struct task of this kernel has no member 'x'"):
        types.struct("task")["x"]
    with pytest.raises(BadBtf, match="no structure"):
        types.structure_of(types.struct("task")["pid"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [(lambda data: data[:10], "too few"), (lambda data: b"\0\0" + data[2:], "magic"),
     (lambda data: data[:40], "reach past"), (lambda data: data[:2] + b"\2" + data[3:], "version 2"),
     (lambda data: data[:28] + struct.pack("<I", 30 << 24) + data[32:], "kind 30"),
     (lambda data: data[:28] + struct.pack("<I", btf.STRUCT << 24 | 9999) + data[32:], "ends at")],
)
def test_damage(maker: Maker, damage: object, message: str) -> None:
    with pytest.raises(BadBtf, match=message):
        Btf(damage(maker.bytes()))  # type: ignore[operator]


def test_types_that_lead_to_themselves(maker: Maker) -> None:
    loop = maker.add("loop", btf.TYPEDEF, 0, maker.count + 1)
    maker.struct("bad", 8, [("loop", loop, 0)])
    nest = maker.count + 1
    maker.struct("nest", 8, [("", nest, 0)])
    types = Btf(maker.bytes())
    with pytest.raises(BadBtf, match="itself"):
        types.struct("bad")
    with pytest.raises(BadBtf, match="nested in itself"):
        types.struct("nest")

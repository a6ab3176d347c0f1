"""The kernel's symbol tables, made here by the rules of scripts/kallsyms.c."""

from __future__ import annotations

import struct

import pytest

from hartwell.symbols.kallsyms import Kallsyms, find

BASE = 0xFFFFFFFF_80000000
START = 0x8000_0000
# Tokens: each printable character stands for itself, which digits always do; the rest are pieces of names.
PIECES = {0x80: "do_", 0x81: "sys_", 0x82: "open", 0x83: "Tdo_sys_"}


def symbols(count: int) -> list[tuple[str, str, int]]:
    """(type, name, offset), in order of address; some share one."""
    made = [("T", "_start", 0), ("t", "$x", 0), ("T", "do_sys_open", 0x100), ("t", "twice", 0x200), ("t", "twice", 0x300),
            ("t", "long_" + "n" * 200, 0x380)]
    return made + [("t", f"f{i}", 0x400 + 16 * i) for i in range(count)]


def encode(text: str) -> bytes:
    """As few tokens as possible, as the kernel's compressor would."""
    out, at = bytearray(), 0
    while at < len(text):
        token = max((number for number, piece in PIECES.items() if text.startswith(piece, at)),
                    key=lambda number: len(PIECES[number]), default=ord(text[at]))
        out.append(token)
        at += len(PIECES.get(token, "c"))
    return bytes(out)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def tables(table: list[tuple[str, str, int]]) -> bytes:
    names, markers = b"", []
    for i, (kind, name, _) in enumerate(table):
        if i % 256 == 0:
            markers.append(len(names))
        tokens = encode(kind + name)
        size = bytes([len(tokens)]) if len(tokens) < 128 else bytes([len(tokens) & 0x7F | 0x80, len(tokens) >> 7])
        names += size + tokens
    texts = [PIECES.get(i, chr(i) if 32 <= i < 127 else "") for i in range(256)]
    index, at = [], 0
    for text in texts:
        index.append(at)
        at += len(text) + 1
    order = sorted(range(len(table)), key=lambda i: (table[i][1], i))
    return b"".join([
        padded(struct.pack("<I", len(table))), padded(names), padded(struct.pack(f"<{len(markers)}I", *markers)),
        padded(b"".join(text.encode() + b"\0" for text in texts)), padded(struct.pack("<256H", *index)),
        padded(struct.pack(f"<{len(table)}I", *(offset for *_, offset in table))), struct.pack("<Q", BASE),
        padded(b"".join(i.to_bytes(3, "big") for i in order)),
    ])


def load(table: list[tuple[str, str, int]], before: bytes = b"\x55" * 4096) -> Kallsyms | None:
    memory = before + tables(table) + bytes(64)
    return find(lambda address, count: memory[address - START : address - START + count], START, len(memory))


@pytest.fixture(scope="module")
def found() -> Kallsyms:
    made = load(symbols(1000))
    assert made is not None
    return made


def test_all_symbols_in_order(found: Kallsyms) -> None:
    assert [(one.kind, one.name, one.address - BASE) for one in found] == symbols(1000)


def test_by_name(found: Kallsyms) -> None:
    assert [one.address - BASE for one in found.named("twice")] == [0x200, 0x300]
    assert [one.address - BASE for one in found.named("f999")] == [0x400 + 16 * 999]
    assert found.named("do_sys_open")[0].kind == "T"
    assert found.named("nobody") == [] and found.named("") == [] and found.named("~") == []


def test_by_address(found: Kallsyms) -> None:
    inside = found.containing(BASE + 0x123)
    assert inside is not None and (inside.name, inside.size) == ("do_sys_open", 0x100)
    first = found.containing(BASE)
    assert first is not None and first.name == "_start"  # not the mapping symbol beside it
    assert found.containing(BASE - 1) is None
    assert found.containing(BASE + (1 << 40)) is None
    last = found.containing(BASE + 0x400 + 16 * 999 + 8)
    assert last is not None and last.name == "f999"


def test_by_pattern(found: Kallsyms) -> None:
    assert [one.name for one in found.matching("do_*")] == ["do_sys_open"]
    assert len(found.matching("f?")) == 10


def test_names_of_more_than_127_tokens(found: Kallsyms) -> None:
    assert found.named("long_" + "n" * 200)[0].address == BASE + 0x380


@pytest.mark.parametrize("shift", range(0, 4096, 1024))
def test_wherever_it_lies(shift: int) -> None:
    made = load(symbols(300), bytes(8192 + shift))
    assert made is not None and len(made) == 306


def test_what_is_no_table() -> None:
    def look(memory: bytes) -> Kallsyms | None:
        return find(lambda address, count: memory[address - START : address - START + count], START, len(memory))

    digits = b"".join(b"%d\0" % i for i in range(10))
    assert look(bytes(1 << 16)) is None
    assert look(digits * 1000) is None
    assert look(bytes(3000) + digits + bytes(3000)) is None
    assert look(digits) is None


def test_damaged_tables_are_refused_or_readable() -> None:
    """A byte that is wrong gives no table, or one that can still be asked for anything."""
    good = bytes(512) + tables(symbols(600)) + bytes(64)
    for at in range(512, len(good), 97):
        memory = bytearray(good)
        memory[at] ^= 0xFF
        view = bytes(memory)
        made = find(lambda address, count, view=view: view[address - START : address - START + count], START, len(view))
        if made is not None:
            made.named("twice")
            made.containing(BASE + 0x123)

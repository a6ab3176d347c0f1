"""The disassembler against what GNU binutils says (data/objdump.xz, which
tests/oracle/generate_objdump.py made)."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hartwell.isa import BY_NAME, COMPRESSED, INSTRUCTIONS, decode, disassemble
from hartwell.isa.aliases import ALIASES
from hartwell.isa.c import Compressed
from hartwell.isa.disassemble import OPERANDS
from hartwell.isa.instruction import Instruction


class Known(NamedTuple):
    address: int
    code: bytes
    aliases: bool
    text: str


def load() -> list[Known]:
    lines = lzma.decompress((Path(__file__).parent / "data" / "objdump.xz").read_bytes()).decode().splitlines()
    rows = []
    for line in lines:
        address, size, word, aliases, text = line.split(" ", 4)
        rows.append(Known(int(address, 16), int(word, 16).to_bytes(int(size), "little"), aliases == "1", text))
    return rows


KNOWN = load()


def said(row: Known) -> str:
    (line,) = disassemble(row.code, row.address, aliases=row.aliases)
    assert line.address == row.address
    assert line.code == row.code
    return line.text


def test_every_text_is_binutils_own() -> None:
    wrong = [(row.code[::-1].hex(), row.text, said(row)) for row in KNOWN if said(row) != row.text]
    assert not wrong, f"{len(wrong)} of {len(KNOWN)}, such as {wrong[:10]}"


def test_the_record_covers_the_tables() -> None:
    plain = {row.text.split("\t")[0] for row in KNOWN if not row.aliases}
    for instruction in INSTRUCTIONS:
        orders = ["", ".aq", ".rl", ".aqrl"] if "aqrl" in instruction.fields else [""]
        assert {instruction.name + order for order in orders} <= plain
    assert {row.name for row in COMPRESSED} <= plain
    assert {".word", ".half", "fence.tso", "pause"} <= plain
    assert {alias.name for alias in ALIASES} <= {row.text.split("\t")[0] for row in KNOWN if row.aliases}


def test_the_record_covers_rounding_modes_and_fences() -> None:
    texts = {row.text for row in KNOWN}
    for mode in ("rne", "rtz", "rdn", "rup", "rmm", "unknown"):
        assert any(text.endswith(f",{mode}") for text in texts)
    assert any(text.startswith("fence\t") and "unknown" not in text for text in texts)


@pytest.mark.parametrize("row", [*INSTRUCTIONS, *COMPRESSED], ids=lambda row: row.name)
def test_a_row_decodes_to_itself(row: Instruction | Compressed) -> None:
    """With every operand bit set (none of the narrower encodings has that)."""
    if isinstance(row, Compressed):
        found = decode(row.match | 0xFFFF & ~row.mask)
        assert found is not None
        assert (found.compressed, found.size, found.instruction.name) == (row, 2, row.base)
    else:
        found = decode(row.match | 0xFFFF_FFFF & ~row.mask)
        assert found is not None
        assert (found.instruction, found.size, found.compressed) == (row, 4, None)
        assert set(found.operands) == {"imm" if name.startswith("shamt") else name for name in row.fields} | (
            {"imm"} if row.immediate else set()
        )


@pytest.mark.parametrize("row", [*INSTRUCTIONS, *COMPRESSED], ids=lambda row: row.name)
def test_a_row_shows_all_its_operands(row: Instruction | Compressed) -> None:
    shown = {word.strip("f") for word in row.syntax.replace("(", ",").replace(")", "").split(",") if word}
    if isinstance(row, Compressed):
        assert {"imm" if word in ("upper", "target", "shamt") else word for word in shown} <= set(row.operands)
    else:
        silent = {"aqrl"} | ({"rs1", "rd"} if row.name.startswith("fence") else set())
        same = {"upper": "imm", "target": "imm", "rm_exact": "rm", "ence": "fence"}
        needed = {*row.fields, *(["imm"] if row.immediate and row.name != "fence.i" else [])}
        assert {same.get(word, word) for word in shown} == needed - silent


def test_syntax_words_are_known() -> None:
    for syntax in [r.syntax for r in INSTRUCTIONS] + [r.syntax for r in COMPRESSED] + [r.syntax for r in ALIASES]:
        assert set(syntax.replace("(", ",").replace(")", "").split(",")) - {""} <= set(OPERANDS)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("2e85", "mv\ta0,a1"),
        ("8280", "ret"),
        ("0100", "nop"),
        ("1545", "li\ta0,5"),
        ("1545f1ff", "li\ta0,5"),
        ("ffffffff", ".word\t0xffffffff"),
        ("0000", ".half\t0x0"),
        ("13", ".byte\t0x13"),
        ("1305", ".half\t0x513"),
        ("130500", ".half\t0x513"),
    ],
)
def test_first_line_with_aliases(code: str, text: str) -> None:
    assert next(disassemble(bytes.fromhex(code), aliases=True)).text == text


def test_targets_are_addresses() -> None:
    jump_back = (0xFFDFF06F).to_bytes(4, "little")
    assert [line.text for line in disassemble(jump_back, 0xFFFF_FFFF_8000_0004)] == ["jal\tzero,0xffffffff80000000"]
    assert [line.text for line in disassemble(jump_back)] == ["jal\tzero,0xfffffffffffffffc"]


@given(st.binary(max_size=64), st.integers(0, (1 << 64) - 64), st.booleans())
def test_any_bytes_have_a_text_and_none_is_lost(code: bytes, address: int, aliases: bool) -> None:
    lines = list(disassemble(code, address, aliases=aliases))
    assert b"".join(line.code for line in lines) == code
    at = address
    for line in lines:
        assert line.address == at
        assert line.text
        assert "\0" not in line.text
        at += len(line.code)


@given(st.integers(0, 0xFFFF_FFFF))
def test_an_instruction_is_what_its_row_says(word: int) -> None:
    found = decode(word)
    if found is None:
        narrow = word & 3 != 3
        rows = COMPRESSED if narrow else INSTRUCTIONS
        matching = [row for row in rows if (word & 0xFFFF if narrow else word) & row.mask == row.match]
        assert all(isinstance(row, Compressed) and not row.allowed(word & 0xFFFF) for row in matching)
    elif found.compressed:
        assert word & found.compressed.mask == found.compressed.match
        assert found.instruction is BY_NAME[found.compressed.base]
    else:
        assert word & found.instruction.mask == found.instruction.match


def test_what_the_hart_ignores_in_a_fence_does_not_hide_it() -> None:
    for word in (0x0FF0_000F, 0x0FF5_050F, 0x4FF0_000F):
        found = decode(word)
        assert found is not None
        assert found.text() == "fence\tiorw,iorw"

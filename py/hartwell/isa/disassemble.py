"""Instructions as text, in the syntax of GNU objdump.

The tables say everything: which instruction a word is (mask and match), where
its operands lie (encoding) and how they are written (syntax).  What the hart
takes as an instruction has a text, also where the specification reserves an
operand's value (a rounding mode of 5 is "unknown").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeVar

from hartwell.isa.aliases import BY_BASE
from hartwell.isa.c import COMPRESSED, Compressed
from hartwell.isa.csrs import NAMES
from hartwell.isa.instruction import FIELDS, Instruction
from hartwell.isa.registers import F_NAMES, X_NAMES
from hartwell.isa.tables import BY_NAME, INSTRUCTIONS

Row = TypeVar("Row", Instruction, Compressed)

ROUNDING_MODES = ["rne", "rtz", "rdn", "rup", "rmm", "unknown", "unknown", "dyn"]
DYN = 7
_MASK64 = (1 << 64) - 1
_FENCE_TSO, _PAUSE = 0x833, 0x010
_AQRL = ["", ".rl", ".aq", ".aqrl"]
_HIDDEN = "\0"  # an operand that is not written, nor the comma before it


@dataclass(frozen=True)
class Decoded:
    """A word that is an instruction.

    instruction  the table's row; of a compressed one the row that it stands for
    operands     rd, rs1, rs2, rs3, imm, csr, zimm, rm, aqrl, fence: the values
                 of those that the instruction has (imm also for shift amounts)
    size         bytes: 2 or 4
    compressed   the row of the compressed table, None for 4 bytes
    """

    instruction: Instruction
    operands: dict[str, int]
    size: int
    compressed: Compressed | None = None

    def text(self, address: int = 0, aliases: bool = False) -> str:
        """What objdump prints for it at `address`: with `aliases` the names
        that programmers use (li, mv, ret), else what stands in the code."""
        name, syntax = self.instruction.name, self.instruction.syntax
        if aliases:
            alias = next((one for one in BY_BASE.get(name, []) if one.fits(self.operands)), None)
            if alias:
                name, syntax = alias.name, alias.syntax
        elif self.compressed:
            name, syntax = self.compressed.name, self.compressed.syntax
        if "fence" in self.operands and self.operands["fence"] in (_FENCE_TSO, _PAUSE):
            return "fence.tso" if self.operands["fence"] == _FENCE_TSO else "pause"
        name += _AQRL[self.operands.get("aqrl", 0)]
        shown = re.sub(r"\w+", lambda word: OPERANDS[word[0]](self.operands, address), syntax)
        shown = shown.replace("," + _HIDDEN, "")
        return f"{name}\t{shown}" if shown else name


class Line(NamedTuple):
    """One line of a disassembly."""

    address: int
    code: bytes
    text: str


def decode(word: int) -> Decoded | None:
    """The instruction that `word` begins with (its low half when that is a
    compressed one); None for what the hart takes as illegal."""
    if word & 3 != 3:
        return _decode16(word & 0xFFFF)
    word &= 0xFFFF_FFFF
    for instruction in _by_opcode().get(word & 0x7F, ()):
        if word & instruction.mask == instruction.match:
            return Decoded(instruction, _operands(instruction, word), 4)
    return None


def disassemble(code: bytes, address: int = 0, *, aliases: bool = False) -> Iterator[Line]:
    """Lines of the instructions in `code`, which lies at `address`.

    What is no instruction comes as ``.word`` or ``.half``; a last odd byte, as
    ``.byte``.  Branch targets are addresses.
    """
    at = 0
    while at < len(code):
        rest = code[at : at + 4]
        word = int.from_bytes(rest, "little")
        size = 4 if word & 3 == 3 else 2
        if len(rest) < size:
            size = 2 if len(rest) >= 2 else 1
            found = None
        else:
            found = decode(word)
        if found:
            text = found.text(address + at, aliases)
        else:
            name = {1: ".byte", 2: ".half", 4: ".word"}[size]
            text = f"{name}\t{word & (1 << 8 * size) - 1:#x}"
        yield Line(address + at, bytes(rest[:size]), text)
        at += size


def fixed_first(rows: Iterable[Row]) -> list[Row]:
    """In the order in which rows must be tried: more fixed bits first."""
    return sorted(rows, key=lambda row: -row.mask.bit_count())


@cache
def _by_opcode() -> dict[int, list[Instruction]]:
    groups: dict[int, list[Instruction]] = {}
    for instruction in fixed_first(INSTRUCTIONS):
        groups.setdefault(instruction.match & 0x7F, []).append(instruction)
    return groups


@cache
def _compressed() -> list[Compressed]:
    return fixed_first(COMPRESSED)


def _decode16(half: int) -> Decoded | None:
    for row in _compressed():
        if half & row.mask == row.match and row.allowed(half):
            return Decoded(BY_NAME[row.base], row.values(half), 2, row)
    return None


def _operands(instruction: Instruction, word: int) -> dict[str, int]:
    values = {}
    for name in instruction.fields:
        low, width = FIELDS[name]
        values["imm" if name in ("shamt", "shamtw") else name] = word >> low & (1 << width) - 1
    if instruction.immediate:
        values["imm"] = instruction.imm(word)
    return values


def _mode(silent: int) -> Callable[[dict[str, int], int], str]:
    """A rounding mode, not written when it is `silent`."""
    return lambda values, _: _HIDDEN if values["rm"] == silent else ROUNDING_MODES[values["rm"]]


def _fence_set(bits: int) -> str:
    return "".join(letter for i, letter in enumerate("iorw") if bits >> (3 - i) & 1) or "unknown"


def _csr(number: int) -> str:
    return NAMES.get(number, f"{number:#x}")


def _x(name: str) -> Callable[[dict[str, int], int], str]:
    return lambda values, _: X_NAMES[values[name]]


def _f(name: str) -> Callable[[dict[str, int], int], str]:
    return lambda values, _: F_NAMES[values[name]]


def _shift(values: dict[str, int], _: int) -> str:
    return f"{values['imm']:#x}"


# How each word of a row's `syntax` is written, from (operands, address).
OPERANDS: dict[str, Callable[[dict[str, int], int], str]] = {
    "rd": _x("rd"), "rs1": _x("rs1"), "rs2": _x("rs2"),
    "frd": _f("rd"), "frs1": _f("rs1"), "frs2": _f("rs2"), "frs3": _f("rs3"),
    "imm": lambda values, _: str(values["imm"]),
    "zimm": lambda values, _: str(values["zimm"]),
    "shamt": _shift, "shamtw": _shift,
    "upper": lambda values, _: f"{values['imm'] >> 12 & 0xFFFFF:#x}",
    "target": lambda values, address: f"{(address + values['imm']) & _MASK64:#x}",
    "csr": lambda values, _: _csr(values["csr"]),
    "fence": lambda values, _: f"{_fence_set(values['fence'] >> 4 & 15)},{_fence_set(values['fence'] & 15)}",
    "rm": _mode(DYN),
    "rm_exact": _mode(0),  # nothing to round: the assembler puts 0
}

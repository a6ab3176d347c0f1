"""What an instruction is: the one record that everything else is made from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

# Named operand fields of 32-bit encodings: (low bit, width).  A field that is
# not here is an immediate's piece, spelled as in the manual: imm[11:5].
FIELDS = {"rd": (7, 5), "rs1": (15, 5), "rs2": (20, 5), "rs3": (27, 5), "rm": (12, 3), "csr": (20, 12),
          "zimm": (15, 5), "shamt": (20, 6), "shamtw": (20, 5), "aqrl": (25, 2), "fence": (20, 12)}


class Encoded:
    """What its encoding's pieces of 0s and 1s say."""

    @cached_property
    def pieces(self) -> list[tuple[str, int, int]]:
        """(text, low bit, width) of each piece of the encoding."""
        raise NotImplementedError

    @cached_property
    def mask(self) -> int:
        """Which bits are fixed."""
        return sum(((1 << width) - 1) << at for word, at, width in self.pieces if set(word) <= {"0", "1"})

    @cached_property
    def match(self) -> int:
        """What those are."""
        return sum(int(word, 2) << at for word, at, _ in self.pieces if set(word) <= {"0", "1"})


@dataclass(frozen=True)
class Instruction(Encoded):
    """One instruction.

    name       as the assembler writes it
    encoding   32 bits, most significant first: words of 0 and 1, names of
               FIELDS, and imm[...] pieces, as in the manual's tables
    syntax     operands as the assembler writes them: words of
               `disassemble.OPERANDS`, what stands between them as it is
    meaning    a C statement over RD, RS1, RS2, FRD..., IMM, PC (cpu/hart/interp.c)
    extension  the extension that brings it
    kind       alu, load, store, branch, jump, amo, fp, csr, system
    """

    name: str
    encoding: str
    syntax: str
    meaning: str
    extension: str
    kind: str = "alu"

    @cached_property
    def pieces(self) -> list[tuple[str, int, int]]:
        """(text, low bit, width) of each piece of the encoding."""
        at, out = 32, []
        for word in self.encoding.split():
            if set(word) <= {"0", "1"}:
                width = len(word)
            elif word.startswith("imm["):
                width = len(list(imm_bits(word)))
            else:
                width = FIELDS[word][1]
            at -= width
            out.append((word, at, width))
            if word in FIELDS and FIELDS[word][0] != at:
                raise ValueError(f"{self.name}: {word} stands at bit {at}")
        if at != 0:
            raise ValueError(f"{self.name}: encoding has {32 - at} bits, not 32")
        return out

    @property
    def fields(self) -> set[str]:
        return {word for word, _, _ in self.pieces if word in FIELDS}

    @cached_property
    def immediate(self) -> list[tuple[int, int]]:
        """(bit of the word, bit of the immediate) pairs; empty without one."""
        return [(at + width - 1 - i, bit)
                for word, at, width in self.pieces if word.startswith("imm[")
                for i, bit in enumerate(imm_bits(word))]

    def imm(self, word: int) -> int:
        """The sign-extended immediate of an encoded word."""
        bits = self.immediate
        value = sum((word >> source & 1) << bit for source, bit in bits)
        top = max(bit for _, bit in bits)
        return value - (1 << (top + 1)) if value >> top else value


def imm_bits(piece: str) -> Iterable[int]:
    """Bit numbers of ``imm[12|10:5]``, most significant first."""
    for part in re.sub(r"^imm\[|\]$", "", piece).split("|"):
        high, _, low = part.partition(":")
        yield from range(int(high), int(low or high) - 1, -1)

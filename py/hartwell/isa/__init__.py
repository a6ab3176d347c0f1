"""The instruction set, written down once.

A file per group of extensions declares instructions (encoding, operands,
meaning); from them come the decoder and the cases of the interpreter
(`generate`), and the disassembler (`disassemble`).  Nothing here imports a
platform.
"""

from __future__ import annotations

from hartwell.isa import a, b, base, fd, m, privileged
from hartwell.isa.c import COMPRESSED
from hartwell.isa.instruction import Instruction

INSTRUCTIONS: list[Instruction] = [
    *base.INSTRUCTIONS, *m.INSTRUCTIONS, *a.INSTRUCTIONS, *fd.INSTRUCTIONS, *b.INSTRUCTIONS,
    *privileged.INSTRUCTIONS,
]
BY_NAME = {instruction.name: instruction for instruction in INSTRUCTIONS}

__all__ = ["BY_NAME", "COMPRESSED", "INSTRUCTIONS", "Instruction"]

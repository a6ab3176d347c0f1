"""All instructions of 32 bits, from the files of their extensions."""

from __future__ import annotations

from hartwell.isa import a, b, base, fd, m, privileged
from hartwell.isa.instruction import Instruction

INSTRUCTIONS: list[Instruction] = [
    *base.INSTRUCTIONS, *m.INSTRUCTIONS, *a.INSTRUCTIONS, *fd.INSTRUCTIONS, *b.INSTRUCTIONS,
    *privileged.INSTRUCTIONS,
]
BY_NAME = {instruction.name: instruction for instruction in INSTRUCTIONS}

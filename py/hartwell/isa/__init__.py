"""The instruction set, written down once.

A file per group of extensions declares instructions (encoding, operands,
meaning); from them come the decoder and the cases of the interpreter
(`generate`), and the disassembler (`disassemble`).  Nothing here imports a
platform.
"""

from __future__ import annotations

from hartwell.isa.c import COMPRESSED
from hartwell.isa.disassemble import Decoded, Line, decode, disassemble
from hartwell.isa.instruction import Instruction
from hartwell.isa.tables import BY_NAME, INSTRUCTIONS

__all__ = ["BY_NAME", "COMPRESSED", "INSTRUCTIONS", "Decoded", "Instruction", "Line", "decode", "disassemble"]

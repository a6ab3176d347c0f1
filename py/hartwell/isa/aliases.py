"""Names that the assembler gives to special cases of instructions.

RISC-V Assembly Programmer's Manual, "pseudoinstructions".  A row: the
instruction, what its operands must be, the alias and its syntax (as in
`Instruction.syntax`).  The first row that fits is taken, so the narrower
one stands above.
"""

from __future__ import annotations

from typing import NamedTuple


class Alias(NamedTuple):
    base: str
    when: dict[str, int | str]  # operand -> its value, or the operand that it must equal
    name: str
    syntax: str

    def fits(self, operands: dict[str, int]) -> bool:
        return all(
            operands.get(name) == (operands.get(value) if isinstance(value, str) else value)
            for name, value in self.when.items()
        )


ALIASES = [
    Alias("addi", {"rd": 0, "rs1": 0, "imm": 0}, "nop", ""),
    Alias("addi", {"rs1": 0}, "li", "rd,imm"),
    Alias("addi", {"imm": 0}, "mv", "rd,rs1"),
    Alias("add", {"rs1": 0}, "mv", "rd,rs2"),  # what c.mv stands for
    Alias("xori", {"imm": -1}, "not", "rd,rs1"),
    Alias("sub", {"rs1": 0}, "neg", "rd,rs2"),
    Alias("subw", {"rs1": 0}, "negw", "rd,rs2"),
    Alias("addiw", {"imm": 0}, "sext.w", "rd,rs1"),
    Alias("andi", {"imm": 255}, "zext.b", "rd,rs1"),
    Alias("add.uw", {"rs2": 0}, "zext.w", "rd,rs1"),
    Alias("sltiu", {"imm": 1}, "seqz", "rd,rs1"),
    Alias("sltu", {"rs1": 0}, "snez", "rd,rs2"),
    Alias("slt", {"rs2": 0}, "sltz", "rd,rs1"),
    Alias("slt", {"rs1": 0}, "sgtz", "rd,rs2"),
    Alias("beq", {"rs2": 0}, "beqz", "rs1,target"),
    Alias("bne", {"rs2": 0}, "bnez", "rs1,target"),
    Alias("bge", {"rs1": 0}, "blez", "rs2,target"),
    Alias("bge", {"rs2": 0}, "bgez", "rs1,target"),
    Alias("blt", {"rs2": 0}, "bltz", "rs1,target"),
    Alias("blt", {"rs1": 0}, "bgtz", "rs2,target"),
    Alias("jal", {"rd": 0}, "j", "target"),
    Alias("jal", {"rd": 1}, "jal", "target"),
    Alias("jalr", {"rd": 0, "rs1": 1, "imm": 0}, "ret", ""),
    Alias("jalr", {"rd": 0, "imm": 0}, "jr", "rs1"),
    Alias("jalr", {"rd": 0}, "jr", "imm(rs1)"),
    Alias("jalr", {"rd": 1, "imm": 0}, "jalr", "rs1"),
    Alias("jalr", {"rd": 1}, "jalr", "imm(rs1)"),
    Alias("fence", {"fence": 0x0FF}, "fence", ""),
    Alias("csrrs", {"csr": 0xC00, "rs1": 0}, "rdcycle", "rd"),
    Alias("csrrs", {"csr": 0xC01, "rs1": 0}, "rdtime", "rd"),
    Alias("csrrs", {"csr": 0xC02, "rs1": 0}, "rdinstret", "rd"),
    Alias("csrrs", {"csr": 0x003, "rs1": 0}, "frcsr", "rd"),
    Alias("csrrs", {"csr": 0x002, "rs1": 0}, "frrm", "rd"),
    Alias("csrrs", {"csr": 0x001, "rs1": 0}, "frflags", "rd"),
    Alias("csrrs", {"rs1": 0}, "csrr", "rd,csr"),
    Alias("csrrw", {"csr": 0xC00, "rd": 0, "rs1": 0}, "unimp", ""),
    Alias("csrrw", {"rd": 0}, "csrw", "csr,rs1"),
    Alias("csrrs", {"rd": 0}, "csrs", "csr,rs1"),
    Alias("csrrc", {"rd": 0}, "csrc", "csr,rs1"),
    Alias("csrrwi", {"rd": 0}, "csrwi", "csr,zimm"),
    Alias("csrrsi", {"rd": 0}, "csrsi", "csr,zimm"),
    Alias("csrrci", {"rd": 0}, "csrci", "csr,zimm"),
    Alias("sfence.vma", {"rs1": 0, "rs2": 0}, "sfence.vma", ""),
    Alias("sfence.vma", {"rs2": 0}, "sfence.vma", "rs1"),
    *(Alias(f"fsgnj{kind}.{letter}", {"rs1": "rs2"}, f"{name}.{letter}", "frd,frs1")
      for letter in "sd" for kind, name in (("", "fmv"), ("n", "fneg"), ("x", "fabs"))),
]
BY_BASE: dict[str, list[Alias]] = {}
for _alias in ALIASES:
    BY_BASE.setdefault(_alias.base, []).append(_alias)

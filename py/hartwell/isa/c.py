"""C: compressed instructions (Unprivileged ISA chapter 28), each as the
32-bit instruction that it stands for.

An encoding is 16 bits: 0s and 1s, imm[...] pieces as in the manual, and the
registers rd, rs2 (all 32) and rd', rs1', rs2' (x8 to x15).  ``expands`` names
the instruction and gives its operands: a number, a register field, or imm.
``syntax`` shows some of those operands, as in `Instruction.syntax`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from hartwell.isa.instruction import Encoded, imm_bits

WIDTHS = {"rd": 5, "rs1": 5, "rs2": 5, "rd'": 3, "rs1'": 3, "rs2'": 3}


@dataclass(frozen=True)
class Compressed(Encoded):
    """One compressed instruction; `require` is a C condition over imm, rd, rs2
    that must hold (else the encoding is reserved), `signed` that of imm."""

    name: str
    encoding: str
    syntax: str
    expands: str
    signed: bool = True
    require: str = ""

    @cached_property
    def pieces(self) -> list[tuple[str, int, int]]:
        at, out = 16, []
        for word in self.encoding.split():
            fixed = set(word) <= {"0", "1"}
            width = len(word) if fixed else WIDTHS.get(word) or len(list(imm_bits(word)))
            at -= width
            out.append((word, at, width))
        if at != 0:
            raise ValueError(f"{self.name}: encoding has {16 - at} bits, not 16")
        return out

    @cached_property
    def immediate(self) -> list[tuple[int, int]]:
        """(bit of the halfword, bit of the immediate) pairs."""
        return [(at + width - 1 - i, bit)
                for word, at, width in self.pieces if word.startswith("imm[")
                for i, bit in enumerate(imm_bits(word))]

    @property
    def base(self) -> str:
        return self.expands.split()[0]

    @property
    def operands(self) -> dict[str, str]:
        return dict(item.split("=") for item in self.expands.split()[1:])

    def values(self, half: int) -> dict[str, int]:
        """Operand values of the expansion for an encoded halfword."""
        fields = {word: (half >> at & (1 << width) - 1) + (8 if word.endswith("'") else 0)
                  for word, at, width in self.pieces if word in WIDTHS}
        if self.immediate:
            value = sum((half >> source & 1) << bit for source, bit in self.immediate)
            top = max(bit for _, bit in self.immediate)
            fields["imm"] = value - (1 << (top + 1)) if self.signed and value >> top else value
        return {name: fields[text] if text in fields else int(text) for name, text in self.operands.items()}

    def allowed(self, half: int) -> bool:
        if not self.require:
            return True
        name = self.require.split()[0]
        if name == "imm":
            return any(half >> source & 1 for source, _ in self.immediate)
        at, width = next((at, width) for word, at, width in self.pieces if word == name)
        return (half >> at & (1 << width) - 1) != 0


def _c(
    name: str, encoding: str, syntax: str, expands: str, unsigned: bool = False, require: str = ""
) -> Compressed:
    return Compressed(f"c.{name}", encoding, syntax, expands, not unsigned, require)


COMPRESSED = [
    _c("addi4spn", "000 imm[5:4|9:6|2|3] rd' 00", "rd,rs1,imm", "addi rd=rd' rs1=2 imm=imm", True, "imm != 0"),
    _c("fld", "001 imm[5:3] rs1' imm[7:6] rd' 00", "frd,imm(rs1)", "fld rd=rd' rs1=rs1' imm=imm", True),
    _c("lw", "010 imm[5:3] rs1' imm[2|6] rd' 00", "rd,imm(rs1)", "lw rd=rd' rs1=rs1' imm=imm", True),
    _c("ld", "011 imm[5:3] rs1' imm[7:6] rd' 00", "rd,imm(rs1)", "ld rd=rd' rs1=rs1' imm=imm", True),
    _c("fsd", "101 imm[5:3] rs1' imm[7:6] rs2' 00", "frs2,imm(rs1)", "fsd rs2=rs2' rs1=rs1' imm=imm", True),
    _c("sw", "110 imm[5:3] rs1' imm[2|6] rs2' 00", "rs2,imm(rs1)", "sw rs2=rs2' rs1=rs1' imm=imm", True),
    _c("sd", "111 imm[5:3] rs1' imm[7:6] rs2' 00", "rs2,imm(rs1)", "sd rs2=rs2' rs1=rs1' imm=imm", True),
    _c("addi", "000 imm[5] rd imm[4:0] 01", "rd,imm", "addi rd=rd rs1=rd imm=imm"),
    _c("addiw", "001 imm[5] rd imm[4:0] 01", "rd,imm", "addiw rd=rd rs1=rd imm=imm", require="rd != 0"),
    _c("li", "010 imm[5] rd imm[4:0] 01", "rd,imm", "addi rd=rd rs1=0 imm=imm"),
    _c("addi16sp", "011 imm[9] 00010 imm[4|6|8:7|5] 01", "rd,imm", "addi rd=2 rs1=2 imm=imm", require="imm != 0"),
    _c("lui", "011 imm[17] rd imm[16:12] 01", "rd,upper", "lui rd=rd imm=imm", require="imm != 0"),
    _c("srli", "100 imm[5] 00 rd' imm[4:0] 01", "rd,shamt", "srli rd=rd' rs1=rd' imm=imm", True),
    _c("srai", "100 imm[5] 01 rd' imm[4:0] 01", "rd,shamt", "srai rd=rd' rs1=rd' imm=imm", True),
    _c("andi", "100 imm[5] 10 rd' imm[4:0] 01", "rd,imm", "andi rd=rd' rs1=rd' imm=imm"),
    _c("sub", "100011 rd' 00 rs2' 01", "rd,rs2", "sub rd=rd' rs1=rd' rs2=rs2'"),
    _c("xor", "100011 rd' 01 rs2' 01", "rd,rs2", "xor rd=rd' rs1=rd' rs2=rs2'"),
    _c("or", "100011 rd' 10 rs2' 01", "rd,rs2", "or rd=rd' rs1=rd' rs2=rs2'"),
    _c("and", "100011 rd' 11 rs2' 01", "rd,rs2", "and rd=rd' rs1=rd' rs2=rs2'"),
    _c("subw", "100111 rd' 00 rs2' 01", "rd,rs2", "subw rd=rd' rs1=rd' rs2=rs2'"),
    _c("addw", "100111 rd' 01 rs2' 01", "rd,rs2", "addw rd=rd' rs1=rd' rs2=rs2'"),
    _c("j", "101 imm[11|4|9:8|10|6|7|3:1|5] 01", "target", "jal rd=0 imm=imm"),
    _c("beqz", "110 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "rs1,target", "beq rs1=rs1' rs2=0 imm=imm"),
    _c("bnez", "111 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "rs1,target", "bne rs1=rs1' rs2=0 imm=imm"),
    _c("slli", "000 imm[5] rd imm[4:0] 10", "rd,shamt", "slli rd=rd rs1=rd imm=imm", True),
    _c("fldsp", "001 imm[5] rd imm[4:3|8:6] 10", "frd,imm(rs1)", "fld rd=rd rs1=2 imm=imm", True),
    _c("lwsp", "010 imm[5] rd imm[4:2|7:6] 10", "rd,imm(rs1)", "lw rd=rd rs1=2 imm=imm", True, "rd != 0"),
    _c("ldsp", "011 imm[5] rd imm[4:3|8:6] 10", "rd,imm(rs1)", "ld rd=rd rs1=2 imm=imm", True, "rd != 0"),
    _c("ebreak", "1001000000000010", "", "ebreak"),
    _c("jr", "1000 rs1 00000 10", "rs1", "jalr rd=0 rs1=rs1 imm=0", require="rs1 != 0"),
    _c("mv", "1000 rd rs2 10", "rd,rs2", "add rd=rd rs1=0 rs2=rs2", require="rs2 != 0"),
    _c("jalr", "1001 rs1 00000 10", "rs1", "jalr rd=1 rs1=rs1 imm=0", require="rs1 != 0"),
    _c("add", "1001 rd rs2 10", "rd,rs2", "add rd=rd rs1=rd rs2=rs2", require="rs2 != 0"),
    _c("fsdsp", "101 imm[5:3|8:6] rs2 10", "frs2,imm(rs1)", "fsd rs2=rs2 rs1=2 imm=imm", True),
    _c("swsp", "110 imm[5:2|7:6] rs2 10", "rs2,imm(rs1)", "sw rs2=rs2 rs1=2 imm=imm", True),
    _c("sdsp", "111 imm[5:3|8:6] rs2 10", "rs2,imm(rs1)", "sd rs2=rs2 rs1=2 imm=imm", True),
]

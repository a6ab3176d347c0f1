"""An assembler for test programs, from the tables in hartwell.isa.

Lines as GNU as takes them: labels, instructions of 32 bits, the directives
.half .word .dword .align .org, and the pseudoinstructions of `PSEUDO`, li and
la.  Numbers are Python expressions without spaces or parentheses, over labels
and the caller's symbols.  ABI and x names for registers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hartwell.isa import BY_NAME
from hartwell.isa.csrs import CSRS
from tests.oracle.programs import encode

_ABI = ("zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6").split()
_F_ABI = [*(f"ft{i}" for i in range(8)), "fs0", "fs1", *(f"fa{i}" for i in range(8)),
          *(f"fs{i}" for i in range(2, 12)), *(f"ft{i}" for i in range(8, 12))]
REGISTERS = {name: number for names in (_ABI, [f"x{i}" for i in range(32)], _F_ABI, [f"f{i}" for i in range(32)])
             for number, name in enumerate(names)}
_REGISTER_OPERANDS = {"rd", "rs1", "rs2", "rs3", "frd", "frs1", "frs2", "frs3"}

PSEUDO = {
    "nop": "addi zero,zero,0", "mv": "addi {0},{1},0", "j": "jal zero,{0}", "jr": "jalr zero,0({0})",
    "call": "jal ra,{0}", "ret": "jalr zero,0(ra)", "beqz": "beq {0},zero,{1}", "bnez": "bne {0},zero,{1}",
    "csrr": "csrrs {0},{1},zero", "csrw": "csrrw zero,{0},{1}", "csrs": "csrrs zero,{0},{1}",
    "csrc": "csrrc zero,{0},{1}", "csrwi": "csrrwi zero,{0},{1}", "csrsi": "csrrsi zero,{0},{1}",
    "csrci": "csrrci zero,{0},{1}",
}


@dataclass(frozen=True)
class Code:
    """Machine code for `base`, and where its labels are."""

    base: int
    data: bytes
    labels: dict[str, int]

    def __getitem__(self, label: str) -> int:
        return self.labels[label]


def assemble(text: str, base: int, **symbols: int) -> Code:
    """The code of `text` at address `base`."""
    labels: dict[str, int] = {}
    for final in (False, True):
        data = bytearray()
        for statement in re.split(r"[;\n]", re.sub(r"#.*", "", text)):
            *names, rest = re.split(r":\s*", statement.strip())
            labels.update({name.strip(): base + len(data) for name in names})
            if rest:
                data += b"".join(_statement(rest, base, len(data), {**symbols, **labels}, final))
    return Code(base, bytes(data), labels)


def _statement(text: str, base: int, at: int, symbols: dict[str, int], final: bool) -> Iterator[bytes]:
    name, _, operands = text.partition(" ")
    tokens = [token for token in re.split(r"[,()\s]+", operands) if token]

    def number(token: str) -> int:
        if not final:
            symbols.update({word: base + at for word in re.findall(r"[A-Za-z_]\w*", token) if word not in symbols})
        return int(eval(token, {}, symbols))  # noqa: S307 - the tests' own text

    if name in (".half", ".word", ".dword"):
        size = {".half": 2, ".word": 4, ".dword": 8}[name]
        yield from ((number(token) & (1 << 8 * size) - 1).to_bytes(size, "little") for token in tokens)
    elif name == ".align":
        yield bytes(-(base + at) % (1 << number(tokens[0])))
    elif name == ".org":
        yield bytes(number(tokens[0]) - base - at)
    elif name == "li":
        yield from _load(REGISTERS[tokens[0]], number(tokens[1]))
    elif name == "la":
        distance, rd = number(tokens[1]) - base - at, REGISTERS[tokens[0]]
        yield encode("auipc", (distance + 0x800) & ~0xFFF, rd=rd)
        yield encode("addi", distance, rd=rd, rs1=rd)
    elif name in PSEUDO:
        yield from _statement(PSEUDO[name].format(*tokens), base, at, symbols, final)
    else:
        fields, immediate = {}, 0
        for operand, token in zip(re.findall(r"\w+", BY_NAME[name].syntax), tokens, strict=False):
            if operand in _REGISTER_OPERANDS:
                fields[operand.removeprefix("f")] = REGISTERS[token]
            elif operand == "csr":
                fields["csr"] = CSRS[token] if token in CSRS else number(token)
            elif operand in ("imm", "upper", "target"):
                immediate = number(token) << (12 if operand == "upper" else 0)
                immediate -= base + at if operand == "target" else 0
            else:
                fields[operand] = number(token)
        word = encode(name, immediate, **fields)
        if final and BY_NAME[name].immediate and operands and "csr" not in fields:
            got = BY_NAME[name].imm(int.from_bytes(word, "little"))
            assert got & 0xFFFF_FFFF == immediate & 0xFFFF_FFFF, f"{text}: {immediate:#x} does not fit"
        yield word


def _load(rd: int, value: int) -> Iterator[bytes]:
    value = (value + (1 << 63)) % (1 << 64) - (1 << 63)
    low = (value + 0x800) % 0x1000 - 0x800
    if value == low:
        yield encode("addi", value, rd=rd)
    elif -(1 << 31) <= value < (1 << 31):
        yield encode("lui", value - low, rd=rd)
        yield encode("addiw", low, rd=rd, rs1=rd)
    else:
        yield from _load(rd, (value - low) >> 12)
        yield encode("slli", rd=rd, rs1=rd, shamt=12)
        yield encode("addi", low, rd=rd, rs1=rd)

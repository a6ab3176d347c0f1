"""Random programs that loop, call, jump through tables and fault, for M mode on the bench.

A program never ends: its main loop is closed.  Faults go to a handler that
skips the instruction, so a program is the same however often one occurs.
"""

from __future__ import annotations

import random

from hartwell.isa import INSTRUCTIONS

BASE = 0x8000_1000
DATA = 0x8020_0000
NOWHERE = 0x4000_0000  # neither RAM nor a device
FREE = ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2", "s5", "s6", "s7"]
FLOATS = ["fa0", "fa1", "fa2", "fa3", "ft0", "ft1", "fs0"]
ALU = [i for i in INSTRUCTIONS if i.kind == "alu" and i.name not in ("lui", "auipc")]
LOADS = [i for i in INSTRUCTIONS if i.kind == "load"]
STORES = [i for i in INSTRUCTIONS if i.kind == "store"]
FP = [i for i in INSTRUCTIONS if i.kind == "fp"]
AMO = [i for i in INSTRUCTIONS if i.kind == "amo"]
BRANCHES = ["beq", "bne", "blt", "bge", "bltu", "bgeu"]

HANDLER = """
handler: csrr t6, mepc
    addi t6, t6, 4
    csrw mepc, t6
    addi gp, gp, 1
    mret
"""


class Wild:
    """Text of one program, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.labels = 0
        functions = self.random.randrange(1, 5)
        parts = [self.function(k, functions) for k in range(functions)]
        self.text = f"""
    la t6, handler
    csrw mtvec, t6
    li t6, 0x6000
    csrs mstatus, t6
    li s0, {DATA}
    li s1, {NOWHERE}
    li sp, {DATA + 0x10000}
    li gp, 0
{self.seeds()}
main: {self.body(12, functions, 0)}
    {self.loop(functions)}
    {self.stream()}
    {self.table()}
    {self.stream()}
    j main
{"".join(parts)}
{HANDLER}
"""

    def pick(self, names: list[str]) -> str:
        return self.random.choice(names)

    def label(self) -> str:
        self.labels += 1
        return f"l{self.labels}"

    def seeds(self) -> str:
        lines = [f"li {name}, {self.random.getrandbits(self.random.choice([3, 16, 32, 62]))}" for name in FREE]
        lines += [f"fcvt.d.l {name}, {self.pick(FREE)}, 0" for name in FLOATS]
        return "\n".join(lines)

    def operands(self, syntax: str) -> str:
        draw = self.random
        words = {"rd": self.pick([*FREE, "zero"]), "rs1": self.pick(FREE), "rs2": self.pick(FREE),
                 "shamt": str(draw.randrange(64)), "shamtw": str(draw.randrange(32)),
                 "imm": str(draw.randrange(-2048, 2048)), "frd": self.pick(FLOATS),
                 "frs1": self.pick(FLOATS), "frs2": self.pick(FLOATS), "frs3": self.pick(FLOATS),
                 "rm": str(draw.choice([0, 0, 0, 1, 2, 3, 4, 7]))}
        return ",".join(words[word] for word in syntax.split(",") if word in words)

    def access(self, name: str, register: str) -> str:
        place = self.random.choice([0, 8, 16, 24, 40, 44, 46, 47, 0xFF8 - 0x1000, 0xFFC - 0x1000, 0xFFE - 0x1000, 1])
        base = "s1" if self.random.random() < 0.02 else "s3" if self.random.random() < 0.3 else "s0"
        return f"{name} {register},{place}({base})"

    def line(self) -> str:
        kind = self.random.random()
        if kind < 0.06:
            return f"addiw {self.pick(FREE)}, {self.pick(FREE)}, 0"
        if kind < 0.55:
            i = self.random.choice(ALU)
            return f"{i.name} {self.operands(i.syntax)}"
        if kind < 0.70:
            i = self.random.choice(LOADS)
            return self.access(i.name, self.pick(FLOATS if i.syntax.startswith("f") else FREE))
        if kind < 0.82:
            i = self.random.choice(STORES)
            return self.access(i.name, self.pick(FLOATS if i.syntax.startswith("f") else FREE))
        if kind < 0.93:
            i = self.random.choice(FP)
            return f"{i.name} {self.operands(i.syntax)}"
        if kind < 0.96:
            i = self.random.choice(AMO)
            first = f"andi s4,{self.pick(FREE)},0x78; add s4,s4,s0; "
            return first + (f"{i.name} {self.pick(FREE)},(s4)" if i.name.startswith("lr")
                            else f"{i.name} {self.pick(FREE)},{self.pick(FREE)},(s4)")
        return self.pick(["fence 0xff", "csrr a3, fflags", "csrrwi a4, fflags, 0", "csrrs a5, instret, zero", "csrr a6, frm",
                          "csrrsi zero, fflags, 1",
                          "csrrw a2, mscratch, a2", "li s3, 0x80201000; addi s3, s3, -32", "addi s3, s0, 0x100"])

    def body(self, lines: int, functions: int, first: int) -> str:
        out = ["addi s3, s0, 0x200"]
        for _ in range(lines):
            draw = self.random.random()
            if draw < 0.12:
                label = self.label()
                out.append(f"{self.pick(BRANCHES)} {self.pick(FREE)},{self.pick(FREE)},{label}")
                out += [self.line() for _ in range(self.random.randrange(1, 4))]
                out.append(f"{label}: {self.line()}")
            elif draw < 0.20 and first < functions:
                out.append(self.call(self.random.randrange(first, functions), functions))
            else:
                out.append(self.line())
        return "\n".join(out)

    def call(self, number: int, functions: int) -> str:
        """Of f<number>, or through a register that is another's now and then."""
        if self.labels % 2:
            return f"call f{number}"
        label, other = self.label(), functions - 1 if number < functions - 1 else number
        return f"la s11, f{number}; andi s4, gp, 3; bnez s4, {label}; la s11, f{other}; {label}: jalr ra, 0(s11)"

    def loop(self, functions: int) -> str:
        label = self.label()
        return f"li s2, {self.random.randrange(2, 30)}\n{label}: {self.body(8, functions, 0)}\naddi s2,s2,-1\nbnez s2,{label}"

    def stream(self) -> str:
        """A loop that calls nothing and walks through pages, up or down; now and then out of memory."""
        draw, label, lines, ends = self.random, self.label(), [], []
        count, walkers = draw.randrange(3, 60), draw.sample(["s8", "s9", "s10"], draw.randrange(1, 4))
        begin = []
        for name in walkers:
            stride = draw.choice([1, 2, 4, 8, 8, 8, 16, 24, 56, 64, -8, -1, -40])
            start = 0x1000 - draw.choice([0, 8, 64, 3, abs(stride) * (count // 2), 0x10])
            place = NOWHERE if draw.random() < 0.03 else DATA + max(0, start)
            begin.append(f"li {name}, {place}")
            ends.append((name, stride, place + stride * count))
            for _ in range(draw.randrange(1, 4)):
                i = draw.choice(LOADS + STORES)
                register = self.pick(FLOATS if i.syntax.startswith("f") else FREE)
                lines.append(f"{i.name} {register},{draw.choice([0, 0, 0, 8, -8, 16, 1, 60])}({name})")
            lines.append(f"addi {name}, {name}, {stride}")
        if draw.random() < 0.3:  # an address that the turn makes
            access = draw.choice(["ld a0", "sd a1", "lbu a2"])
            lines.append(f"andi s11, {self.pick(FREE)}, 0x7f8; add s11, s11, s0; {access},8(s11)")
        for _ in range(draw.randrange(0, 4)):
            i = draw.choice(ALU if draw.random() < 0.5 else FP)
            lines.insert(draw.randrange(len(lines) + 1), f"{i.name} {self.operands(i.syntax)}")
        if draw.random() < 0.3:  # one that follows a walker
            name = self.pick(walkers)
            begin.append(f"mv t5, {name}")
            lines.insert(draw.randrange(2), f"{draw.choice(['ld a0', 'sd a1', 'lbu a2'])},{draw.choice([0, 8, -8])}(t5)")
            lines.append(f"addi t5, {name}, {draw.choice([0, 0, 8, -16])}")
        if draw.random() < 0.2:
            skip = self.label()
            branch = f"{self.pick(BRANCHES)} {self.pick(FREE)},{self.pick(FREE)},{skip}"
            lines.insert(draw.randrange(len(lines)), f"{branch}; {self.line()}; {skip}:")
        begin.append(f"li s2, {count}")
        lines.insert(draw.randrange(len(lines) + 1), "addi s2,s2,-1")
        name, stride, end = draw.choice(ends)
        kind = draw.choice(["count", "count", "pointer", "bound", "middle"])
        back = f"bnez s2,{label}"
        if kind == "pointer":
            begin.append(f"li t3, {end}")
            back = f"bne {name},t3,{label}"
        elif kind == "bound":  # the end need not be met
            begin.append(f"li t3, {end + draw.randrange(-3, 4)}")
            back = f"{draw.choice(['bltu', 'blt'] if stride > 0 else ['bgeu', 'bge'])} {name},t3,{label}"
        elif kind == "middle":
            out = self.label()
            lines.insert(draw.randrange(len(lines) + 1), f"beqz s2,{out}")
            back = f"j {label}; {out}:"
        return "\n".join([*begin, f"{label}: {lines[0]}", *lines[1:], back])

    def table(self) -> str:
        """A jump to one of four places, by a register."""
        labels = [self.label() for _ in range(4)]
        end = self.label()
        arms = "\n".join(f"{name}: {self.line()}; j {end}" for name in labels)
        choose = "\n".join(f"la t4, {name}; beqz t5, {end}x; addi t5, t5, -1" for name in labels)
        return f"andi t5, {self.pick(FREE)}, 3\n{choose}\n{end}x: jr t4\n{arms}\n{end}: nop"

    def function(self, number: int, functions: int) -> str:
        loop = self.label()
        repeat = f"li t3, {self.random.randrange(1, 5)}\n{loop}: {self.line()}\naddi t3,t3,-1\nbnez t3,{loop}"
        return f"""
f{number}: addi sp, sp, -16
    sd ra, 0(sp)
    {self.body(5, functions, number + 1)}
    {repeat}
    ld ra, 0(sp)
    addi sp, sp, 16
    ret
"""

"""Random loops of floating point, whose flags, rounding and NaNs must be exact, for M mode on the bench.

Most numbers are ordinary, so that the translator asks for several results at
once; now and then one is zero, tiny, huge, infinite or not a number.
"""

from __future__ import annotations

import random
import struct

from tests.core.wild import DATA

NUMBERS = 48  # doubles that loops read and write, from DATA on
FLOATS = [f"fa{k}" for k in range(6)] + ["fs0", "fs1", "ft0"]
SMALL = [2.0**-512, -(2.0**-511), 1.75 * 2.0**-511, 2.0**-520, -1.1 * 2.0**-600, 1.3 * 2.0**-400, 2.0**-900, 1.1 * 2.0**-1021,
         2.0**-300]
ODD = [0.0, -0.0, 5e-324, -2.0**-1022, 2.0**-1021, *SMALL, 1.5 * 2.0**1023, 1e300, float("inf"), float("-inf"), float("nan")]
SIGNALING = 0x7FF0_0000_0000_0001
ARITHMETIC = ["fadd.d", "fsub.d", "fmul.d", "fmul.d", "fmul.d", "fdiv.d"]
FUSED = ["fmadd.d", "fmsub.d", "fnmadd.d", "fnmsub.d"]
COMPARISONS = ["feq.d", "flt.d", "fle.d"]


class WildFp:
    """Text of one program, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.labels = 0
        self.odd = self.random.choice([0, 0.02, 0.02, 0.3, 0.3])
        self.pool = self.random.choice([ODD, SMALL, SMALL])
        loops = "\n".join(self.loop() for _ in range(8))
        self.text = f"""
    li t6, 0x6000
    csrs mstatus, t6
main: {self.numbers()}
{loops}
    j main
"""

    def label(self) -> str:
        self.labels += 1
        return f"l{self.labels}"

    def bits(self) -> int:
        if self.random.random() >= self.odd:
            value = self.random.uniform(0.5, 2) * self.random.choice([1, -1, 1e3, 1e-6])
            return int(struct.unpack("<Q", struct.pack("<d", value))[0])
        if self.pool is ODD and self.random.random() < 0.05:
            return SIGNALING
        return int(struct.unpack("<Q", struct.pack("<d", self.random.choice(self.pool)))[0])

    def numbers(self) -> str:
        places = (DATA + 0x800 + 8 * k for k in range(NUMBERS))
        return "\n".join(f"li t0, {place}; li t1, {self.bits()}; sd t1, 0(t0)" for place in places)

    def float(self) -> str:
        return self.random.choice(FLOATS)

    def line(self) -> str:
        draw = self.random
        kind = draw.random()
        rounding = draw.choice(["", "", ",0", ",1", ",4"]) if draw.random() < 0.1 else ""
        if kind < 0.5:
            return f"{draw.choice(ARITHMETIC)} {self.float()},{self.float()},{self.float()}{rounding}"
        if kind < 0.62:
            return f"{draw.choice(FUSED)} {self.float()},{self.float()},{self.float()},{self.float()}{rounding}"
        if kind < 0.75:
            name = draw.choice(["fld", "fld", "fld", "fsd"])
            return f"{name} {self.float()},{8 * draw.randrange(5)}({draw.choice(['s2', 's3'])})"
        if kind < 0.79:
            return f"{draw.choice(COMPARISONS)} a{draw.randrange(4)},{self.float()},{self.float()}"
        if kind < 0.82:
            return f"{draw.choice(['fmin.d', 'fmax.d'])} {self.float()},{self.float()},{self.float()}"
        return draw.choice([
            f"fsqrt.d {self.float()},{self.float()}", f"fsgnj.d {self.float()},{self.float()},{self.float()}",
            f"fsgnjn.d {self.float()},{self.float()},{self.float()}", f"fmv.x.d a{draw.randrange(4)},{self.float()}",
            f"fmv.d.x {self.float()},a5", f"fcvt.d.w {self.float()},s1", f"fcvt.l.d a{draw.randrange(4)},{self.float()},1",
            f"addi a{draw.randrange(4)},a{draw.randrange(4)},{draw.randrange(-99, 99)}", f"fclass.d a0,{self.float()}",
            f"slli a{draw.randrange(4)},a{draw.randrange(4)},{draw.randrange(64)}",
            f"fcvt.s.d ft1,{self.float()}; fadd.s ft1,ft1,ft1; fcvt.d.s {self.float()},ft1",
            "csrr a4, fflags" if draw.random() < 0.1 else "nop"])

    def loop(self) -> str:
        """Two walkers through the numbers; a6 is a checksum of the flags and results of all loops."""
        draw, begin = self.random, []
        count = draw.randrange(3, 30)
        strides = {"s2": draw.choice([0, 8, 8, 8, 16, -8]), "s3": draw.choice([0, 8, 8, 384, 520])}
        begin += [f"li {name}, {DATA + 0x800 + (8 * count if stride < 0 else 0)}" for name, stride in strides.items()]
        begin += [f"li t0, {DATA + 0x800}", *(f"fld {name}, {8 * draw.randrange(NUMBERS)}(t0)" for name in FLOATS)]
        begin += ["li a5, 0x3ff8000000000000", f"csrwi fflags, {draw.choice([1, 1, 1, 1, 0])}",
                  f"csrwi frm, {draw.choice([0, 0, 0, 0, 0, 0, 1])}"]
        lines = [self.line() for _ in range(draw.choice([1, 2, 2, 3, 3, 4, 5, 9, 14, 30]))]
        label, out = self.label(), self.label()
        if draw.random() < 0.3:
            compare = f"{draw.choice(COMPARISONS)} a0,{self.float()},{self.float()}"
            lines.insert(draw.randrange(len(lines) + 1), f"{compare}; {draw.choice(['beqz', 'bnez'])} a0,{out}")
        if draw.random() < 0.2:
            skip = self.label()
            lines.insert(draw.randrange(len(lines)), f"andi a0,s1,3; bnez a0,{skip}; {self.line()}; {skip}:")
        for name, stride in strides.items():
            if stride:
                lines.insert(draw.randrange(len(lines) + 1), f"addi {name},{name},{stride}")
        body = "\n".join(lines)
        return "\n".join([*begin, f"li s1, {count}", f"{label}: {body}", f"addi s1,s1,-1; bnez s1,{label}",
                          f"{out}: csrr a4, fflags", "slli a7,a6,2; add a6,a6,a7; add a6,a6,a4",
                          *(f"slli a7,a6,3; xor a6,a6,a7; fmv.x.d a7,{name}; add a6,a6,a7" for name in FLOATS)])

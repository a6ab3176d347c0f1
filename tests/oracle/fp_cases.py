"""What the floating-point tests try: the operations and operands on edges.

`generate_fp` asks QEMU for the outcome of every case that `cases` makes, in
this order, so the data holds outcomes only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

BOX = 0xFFFF_FFFF_0000_0000
MODES = range(5)  # RNE RTZ RDN RUP RMM

_BINARY = ["add", "sub", "mul", "div"]
_FUSED = ["madd", "msub", "nmsub", "nmadd"]
_COMPARE = ["min", "max", "eq", "lt", "le"]
_INTEGERS = ["w", "wu", "l", "lu"]


def _of(s: str) -> list[str]:
    return [
        *(f"{name}_{s}" for name in [*_BINARY, "sqrt", *_FUSED, *_COMPARE, "class"]),
        *(f"cvt_{i}_{s}" for i in _INTEGERS),
        *(f"cvt_{s}_{i}" for i in _INTEGERS),
    ]


OPERATIONS = [*_of("s"), *_of("d"), "cvt_s_d", "cvt_d_s"]
"""Names as in cpu/fp/fp.h; a case has the number in this list (fp_operations.inc has the same order)."""


class Case(NamedTuple):
    """One call: registers as they are, singles boxed (or not, on purpose)."""

    operation: int
    rm: int
    a: int
    b: int = 0
    c: int = 0

    def pack(self, flags: int = 0) -> bytes:
        """`struct Case` of fp_batch.c: 40 bytes."""
        return struct.pack("<4I3Q", self.operation, self.rm, flags, 0, self.a, self.b, self.c)


def _edges(bits: int, precision: int) -> list[int]:
    """Numbers of one format where something changes, as raw bits."""
    fraction = precision - 1
    one = ((1 << (bits - precision - 1)) - 1) << fraction
    infinity = ((1 << (bits - precision)) - 1) << fraction
    step = 1 << fraction  # doubles a number
    positive = [
        0,
        1,  # smallest subnormal
        step // 2 + 1,
        step - 1,  # largest subnormal
        step,  # smallest normal
        step + 1,
        one - step * (precision + 1),  # vanishes beside 1
        one - step * precision + 1,
        one - step,  # 0.5
        one - 1,
        one,
        one + 1,
        one + step // 2,  # 1.5
        one + step + step // 4,  # 2.5
        one + step // 3,
        one + step * (precision - 1) + 1,
        one + step * 31,  # 2**31 and around
        one + step * 31 - 1,
        one + step * 32 - step // 2,
        one + step * 63 - 1,
        one + step * 63,
        one + step * 64 - 1,
        one + step * 64,
        infinity - step,  # largest power of 2
        infinity - 1,  # largest finite
        infinity,
        infinity + step // 2,  # canonical NaN
        infinity + 1,  # signalling
    ]
    sign = 1 << (bits - 1)
    return positive + [raw | sign for raw in positive]


EDGES = {
    "s": [raw | BOX for raw in _edges(32, 24)] + [0, 0x3F80_0000, BOX - (1 << 32) | 0x3F80_0000],
    "d": _edges(64, 53),
}
"""Register values worth trying, per format; the last singles are not boxed."""

INTEGERS = sorted(
    {
        ((sign * ((1 << power) + offset)) & (1 << 64) - 1)
        for power in (0, 1, 23, 24, 25, 30, 31, 32, 52, 53, 54, 62, 63)
        for offset in (-2, -1, 0, 1, 2, 3)
        for sign in (1, -1)
    }
    | {0, (1 << 64) - 1, (1 << 64) - (1 << 10), (1 << 64) - (1 << 11), 0x0123_4567_89AB_CDEF}
)


def cases() -> Iterator[Case]:
    """Every case that the data has the outcome of, in its order."""
    for number, operation in enumerate(OPERATIONS):
        name, last = operation.rsplit("_", 1)
        if last in _INTEGERS:
            operands = [(x, 0, 0) for x in INTEGERS]
        elif name in _BINARY or name in _COMPARE:
            operands = [(a, b, 0) for a, b in product(EDGES[last], repeat=2)]
        elif name in _FUSED:
            half = len(_edges(64, 53)) // 2
            few = [EDGES[last][i] for i in (0, 1, 3, 4, 9, 10, 11, 15, 24, 25, 26, 27)]
            negative = [EDGES[last][i + half] for i in (0, 1, 3, 4, 9, 10, 11, 15, 24, 25, 27)]
            operands = list(product(few, [*few[3:7], few[9]], [*few, *negative]))
        else:
            operands = [(a, 0, 0) for a in EDGES[last]]
        rounds = name not in _COMPARE and name != "class" and operation != "cvt_d_s"
        for rm in MODES if rounds else (0,):
            for a, b, c in operands:
                yield Case(number, rm, a, b, c)

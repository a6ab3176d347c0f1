"""Where a random program runs, what it starts from, and how outcomes are kept.

A program runs in M mode at `PROGRAM_BASE + number * PROGRAM_STRIDE`, works on
a window of memory at `WINDOW`, and ends with ecall.  Its initial registers and
window are a function of its number alone, so the file keeps only the code and
what the run changed: final values XOR initial ones, mostly zeros, compressed.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import struct
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1
DATA = Path(__file__).parent.parent / "core" / "data" / "differential.xz"

PROGRAM_BASE = 0x8002_0000
PROGRAM_STRIDE = 0x400
WINDOW = 0x8040_0000
WINDOW_BYTES = 1024
STACK_POINTER, FRAME_POINTER, LOOP_COUNTER, ADDRESS = 2, 8, 5, 9  # registers with a task

# Values at which arithmetic turns: signs, carries, shift amounts, halves.
INTEGERS = [0, 1, 2, 3, 7, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000,
            0xFFFF_FFFF, 0x1_0000_0000, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 2, 0xFFFF_FFFF_8000_0000,
            0xFFFF_FFFF_7FFF_FFFF, 0x5555_5555_5555_5555, 0x8000_0000_0000_0001, 0x0123_4567_89AB_CDEF]
# Doubles: zeros, ones, infinities, quiet and signalling NaNs, extremes of
# normal and subnormal, limits of the integer types, halves that round.
DOUBLES = [0x0000000000000000, 0x8000000000000000, 0x3FF0000000000000, 0xBFF0000000000000, 0x7FF0000000000000,
           0xFFF0000000000000, 0x7FF8000000000000, 0x7FF0000000000001, 0xFFF8000000000123, 0xFFF4000000000000,
           0x0000000000000001, 0x800FFFFFFFFFFFFF, 0x0010000000000000, 0x8010000000000001, 0x7FEFFFFFFFFFFFFF,
           0xFFEFFFFFFFFFFFFF, 0x41DFFFFFFFC00000, 0x41E0000000000000, 0xC1E0000000200000, 0x41EFFFFFFFE00000,
           0x43E0000000000000, 0xC3E0000000000000, 0x43F0000000000000, 0x3FE0000000000000, 0xBFE0000000000000,
           0x3FF8000000000000, 0x4004000000000000, 0x36A0000000000000, 0x47EFFFFFE0000000, 0x47EFFFFFF0000000,
           0x380FFFFFFFFFFFFF, 0x4330000000000001]
SINGLES = [0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001,
           0xFFC00123, 0xFFA00000, 0x00000001, 0x807FFFFF, 0x00800000, 0x80800001, 0x7F7FFFFF, 0xFF7FFFFF,
           0x4EFFFFFF, 0x4F000000, 0xCF000001, 0x4F7FFFFF, 0x5F000000, 0xDF000000, 0x5F800000, 0x3F000000,
           0xBF000000, 0x3FC00000, 0x40200000, 0x4B000001]


@dataclass(frozen=True)
class State:
    """x[0..31], f[0..31] as bits, fcsr, the window's bytes."""

    x: tuple[int, ...]
    f: tuple[int, ...]
    fcsr: int
    window: bytes

    PACK = struct.Struct(f"<32Q32QQ{WINDOW_BYTES}s")

    def pack(self) -> bytes:
        return self.PACK.pack(*self.x, *self.f, self.fcsr, self.window)

    @classmethod
    def unpack(cls, data: bytes) -> State:
        *values, window = cls.PACK.unpack(data)
        return cls(tuple(values[:32]), tuple(values[32:64]), values[64], window)


@dataclass(frozen=True)
class Record:
    """One program and its outcome."""

    number: int
    group: str
    code: bytes
    final: State

    @property
    def address(self) -> int:
        return PROGRAM_BASE + self.number * PROGRAM_STRIDE

    @property
    def end(self) -> int:
        """Address of the ecall that ends it."""
        return self.address + len(self.code) - 4


class Stream:
    """Pseudo-random numbers that are the same everywhere: SHAKE-256 of a label."""

    def __init__(self, label: str) -> None:
        self.data = hashlib.shake_256(label.encode()).digest(1 << 14)
        self.at = 0

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, below: int) -> int:
        return int.from_bytes(self.take(4), "little") % below

    def word(self) -> int:
        return int.from_bytes(self.take(8), "little")


def initial(number: int) -> State:
    """What program `number` starts from."""
    stream = Stream(f"hartwell differential {FORMAT} state {number}")

    def integer() -> int:
        kind = stream.number(8)
        if kind < 4:
            return INTEGERS[stream.number(len(INTEGERS))]
        return stream.word() >> (32 if kind == 4 else 0)

    def real() -> int:
        kind = stream.number(10)
        if kind < 4:
            return DOUBLES[stream.number(len(DOUBLES))]
        if kind < 8:
            return 0xFFFF_FFFF_0000_0000 | SINGLES[stream.number(len(SINGLES))]
        return stream.word() if kind == 8 else 0xFFFF_FFFF_0000_0000 | stream.word() >> 32

    x = [0] + [integer() for _ in range(31)]
    x[STACK_POINTER], x[FRAME_POINTER] = WINDOW, WINDOW + WINDOW_BYTES // 2
    f = tuple(real() for _ in range(32))
    return State(tuple(x), f, stream.number(5) << 5 | stream.number(32), stream.take(WINDOW_BYTES))


def _difference(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little")


def save(records: list[Record], oracle: str) -> None:
    """Writes `DATA`: one JSON line, then all codes, then all differences, xz."""
    start = hashlib.sha256(b"".join(initial(record.number).pack() for record in records)).hexdigest()
    head = {"format": FORMAT, "oracle": oracle, "initial_sha256": start,
            "programs": [[record.group, len(record.code)] for record in records]}
    body = b"".join(record.code for record in records)
    body += b"".join(_difference(record.final.pack(), initial(record.number).pack()) for record in records)
    DATA.parent.mkdir(parents=True, exist_ok=True)
    DATA.write_bytes(lzma.compress(json.dumps(head).encode() + b"\n" + body, preset=9 | lzma.PRESET_EXTREME))


def load() -> list[Record]:
    """All records of `DATA`, in order of their numbers."""
    head_line, _, body = lzma.decompress(DATA.read_bytes()).partition(b"\n")
    head = json.loads(head_line)
    if head["format"] != FORMAT:
        raise ValueError(f"{DATA.name}: format {head['format']}, expected {FORMAT}; run tests.oracle.generate again")
    starts = [initial(number).pack() for number in range(len(head["programs"]))]
    if hashlib.sha256(b"".join(starts)).hexdigest() != head["initial_sha256"]:
        raise ValueError(f"{DATA.name}: was made from other initial states than records.py makes now; "
                         "run tests.oracle.generate again")
    records, at = [], 0
    codes = []
    for _, length in head["programs"]:
        codes.append(body[at : at + length])
        at += length
    for number, ((group, _), code, start) in enumerate(zip(head["programs"], codes, starts, strict=True)):
        final = _difference(body[at : at + State.PACK.size], start)
        at += State.PACK.size
        records.append(Record(number, group, code, State.unpack(final)))
    return records

"""What a floating-point operation must give, worked out with fractions.

Numbers are exact (`Fraction`) until the one rounding at the end, so this shares
no method with cpu/fp/.  Operands and results are registers, as in cpu/fp/fp.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
RNE, RTZ, RDN, RUP, RMM = range(5)
BOX = 0xFFFF_FFFF_0000_0000


@dataclass(frozen=True)
class Format:
    """A binary interchange format (IEEE 754-2019, 3.6)."""

    bits: int
    precision: int

    @property
    def emax(self) -> int:
        return (1 << (self.bits - self.precision - 1)) - 1

    @property
    def sign(self) -> int:
        return 1 << (self.bits - 1)

    @property
    def infinity(self) -> int:
        return (2 * self.emax + 1) << (self.precision - 1)

    @property
    def nan(self) -> int:
        return self.infinity | 1 << (self.precision - 2)

    def unbox(self, register: int) -> int:
        if self.bits == 64:
            return register
        return register & 0xFFFF_FFFF if register >= BOX else self.nan

    def box(self, raw: int) -> int:
        return raw if self.bits == 64 else raw | BOX

    def is_nan(self, raw: int) -> bool:
        return raw & (self.sign - 1) > self.infinity

    def is_signalling(self, raw: int) -> bool:
        return self.is_nan(raw) and not raw & 1 << (self.precision - 2)

    def is_infinite(self, raw: int) -> bool:
        return raw & (self.sign - 1) == self.infinity

    def negative(self, raw: int) -> bool:
        return bool(raw & self.sign)

    def value(self, raw: int) -> Fraction:
        """A finite number's value."""
        field = raw >> (self.precision - 1) & (2 * self.emax + 1)
        fraction = raw & ((1 << (self.precision - 1)) - 1)
        if field:
            fraction |= 1 << (self.precision - 1)
        scale = max(field, 1) - self.emax - (self.precision - 1)
        magnitude = Fraction(fraction << max(scale, 0), 1 << max(-scale, 0))
        return -magnitude if self.negative(raw) else magnitude


SINGLE, DOUBLE = Format(32, 24), Format(64, 53)


def _to_integer(x: Fraction, negative: bool, rm: int) -> int:
    """Rounds x >= 0, the magnitude of a number of that sign."""
    whole, rest = divmod(x.numerator, x.denominator)
    twice = 2 * rest
    up = {
        RNE: twice > x.denominator or (twice == x.denominator and whole % 2 == 1),
        RTZ: False,
        RDN: negative and rest > 0,
        RUP: not negative and rest > 0,
        RMM: twice >= x.denominator,
    }[rm]
    return whole + up


def _scaled(x: Fraction, exponent: int) -> Fraction:
    return x / (1 << exponent) if exponent >= 0 else x * (1 << -exponent)


def round_number(f: Format, x: Fraction, rm: int) -> tuple[int, int]:
    """x, not 0, in the format: raw bits and flags (IEEE 754-2019, 4.3 and 7)."""
    negative, x = x < 0, abs(x)
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    if _scaled(x, exponent) < 1:
        exponent -= 1
    smallest = 1 - f.emax
    # 7.5: tiny after rounding means below 2**emin though exponents had no end
    unbounded = _to_integer(_scaled(x, exponent - f.precision + 1), negative, rm)
    tiny = unbounded < 1 << (smallest - exponent + f.precision - 1) if exponent < smallest else False
    quantum = max(exponent, smallest) - f.precision + 1
    steps = _scaled(x, quantum)
    rounded = _to_integer(steps, negative, rm)
    inexact = rounded != steps
    sign = f.sign if negative else 0
    if rounded.bit_length() + quantum - 1 > f.emax:
        away = rm in (RNE, RMM) or (rm == RDN and negative) or (rm == RUP and not negative)
        return sign | f.infinity - (0 if away else 1), OF | NX
    if rounded.bit_length() > f.precision:
        rounded, quantum = rounded >> 1, quantum + 1
    if rounded >> (f.precision - 1):
        field = quantum + f.precision - 1 + f.emax
        rounded &= (1 << (f.precision - 1)) - 1
    else:
        field = 0
    return sign | field << (f.precision - 1) | rounded, NX * inexact | UF * (inexact and tiny)


def _sum(f: Format, x: Fraction, y: Fraction, x_negative: bool, y_negative: bool, rm: int) -> tuple[int, int]:
    if x + y:
        return round_number(f, x + y, rm)
    same = x_negative == y_negative and not x and not y
    return (f.sign if (x_negative if same else rm == RDN) else 0), 0


def _arithmetic(f: Format, name: str, a: int, b: int, rm: int) -> tuple[int, int]:
    if name == "sub":
        b ^= f.sign
    if f.is_nan(a) or f.is_nan(b):
        return f.nan, NV if f.is_signalling(a) or f.is_signalling(b) else 0
    sign = (a ^ b) & f.sign
    if name in ("add", "sub"):
        if f.is_infinite(a) or f.is_infinite(b):
            if f.is_infinite(a) and f.is_infinite(b) and sign:
                return f.nan, NV
            return (a if f.is_infinite(a) else b), 0
        return _sum(f, f.value(a), f.value(b), f.negative(a), f.negative(b), rm)
    zero_a, zero_b = not a & (f.sign - 1), not b & (f.sign - 1)
    if name == "mul":
        if f.is_infinite(a) or f.is_infinite(b):
            return (f.nan, NV) if zero_a or zero_b else (sign | f.infinity, 0)
        return (sign, 0) if zero_a or zero_b else round_number(f, f.value(a) * f.value(b), rm)
    if (zero_a and zero_b) or (f.is_infinite(a) and f.is_infinite(b)):
        return f.nan, NV
    if f.is_infinite(a) or zero_b:
        return sign | f.infinity, 0 if f.is_infinite(a) else DZ
    return (sign, 0) if zero_a or f.is_infinite(b) else round_number(f, f.value(a) / f.value(b), rm)


def _root(f: Format, a: int, rm: int) -> tuple[int, int]:
    if f.is_nan(a):
        return f.nan, NV if f.is_signalling(a) else 0
    if not a & (f.sign - 1):
        return a, 0
    if f.negative(a):
        return f.nan, NV
    if f.is_infinite(a):
        return a, 0
    x = f.value(a)
    shift = 1200  # the root to some hundred bits, and one more that says "not exact"
    square = x * (1 << 2 * shift)
    root = isqrt(square.numerator)  # the denominator is 1: no double is finer than 2**-1074
    return round_number(f, Fraction(2 * root + (root * root != square), 2 << shift), rm)


def _fused(f: Format, name: str, a: int, b: int, c: int, rm: int) -> tuple[int, int]:
    if name in ("nmsub", "nmadd"):
        a ^= f.sign
    if name in ("msub", "nmadd"):
        c ^= f.sign
    infinite = f.is_infinite(a) or f.is_infinite(b)
    if infinite and not (a & (f.sign - 1) and b & (f.sign - 1)):
        return f.nan, NV
    if any(map(f.is_nan, (a, b, c))):
        return f.nan, NV if any(map(f.is_signalling, (a, b, c))) else 0
    sign = (a ^ b) & f.sign
    if infinite:
        if f.is_infinite(c) and (c ^ sign) & f.sign:
            return f.nan, NV
        return sign | f.infinity, 0
    if f.is_infinite(c):
        return c, 0
    return _sum(f, f.value(a) * f.value(b), f.value(c), bool(sign), f.negative(c), rm)


def _compare(f: Format, name: str, a: int, b: int) -> tuple[int, int]:
    signalling = f.is_signalling(a) or f.is_signalling(b)
    if name in ("min", "max"):
        flags = NV if signalling else 0
        if f.is_nan(a) or f.is_nan(b):
            return (f.nan if f.is_nan(a) and f.is_nan(b) else b if f.is_nan(a) else a), flags
        low, high = sorted((a, b), key=lambda raw: _order(f, raw))
        return (low if name == "min" else high), flags
    if f.is_nan(a) or f.is_nan(b):
        return 0, NV if signalling or name != "eq" else 0
    x, y = _order(f, a)[0], _order(f, b)[0]
    return int({"eq": x == y, "lt": x < y, "le": x <= y}[name]), 0


def _order(f: Format, raw: int) -> tuple[Fraction, bool]:
    value = Fraction(1 << 3000) if f.is_infinite(raw) else abs(f.value(raw))
    return (-value if f.negative(raw) else value), not f.negative(raw)


def _class(f: Format, a: int) -> int:
    if f.is_nan(a):
        return 1 << (8 if f.is_signalling(a) else 9)
    magnitude = a & (f.sign - 1)
    subnormal = magnitude < 1 << (f.precision - 1)
    kind = 3 if f.is_infinite(a) else 0 if not magnitude else 1 if subnormal else 2
    return 1 << (3 - kind if f.negative(a) else 4 + kind)


def _from_float(f: Format, kind: str, a: int, rm: int) -> tuple[int, int]:
    bits, signed = 32 if kind[0] == "w" else 64, len(kind) == 1
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    flags = NV
    if f.is_nan(a):
        result = high
    elif f.is_infinite(a):
        result = low if f.negative(a) else high
    else:
        x = f.value(a)
        exact = _to_integer(abs(x), x < 0, rm) * (-1 if x < 0 else 1)
        result = min(max(exact, low), high)
        if result == exact:
            flags = NX * (exact != x)
    if result > 0 and result >> (bits - 1):  # sign-extended, unsigned ones too
        result -= 1 << bits
    return result & (1 << 64) - 1, flags


def _from_integer(f: Format, kind: str, x: int, rm: int) -> tuple[int, int]:
    bits, signed = 32 if kind[0] == "w" else 64, len(kind) == 1
    x &= (1 << bits) - 1
    if signed and x >> (bits - 1):
        x -= 1 << bits
    return round_number(f, Fraction(x), rm) if x else (0, 0)


def _change(source: Format, to: Format, a: int, rm: int) -> tuple[int, int]:
    if source.is_nan(a):
        return to.nan, NV if source.is_signalling(a) else 0
    sign = to.sign if source.negative(a) else 0
    if source.is_infinite(a):
        return sign | to.infinity, 0
    x = source.value(a)
    return round_number(to, x, rm) if x else (sign, 0)


def expected(operation: str, a: int, b: int, c: int, rm: int) -> tuple[int, int]:
    """The register and the flags that `operation` of cpu/fp/fp.h gives."""
    name, last = operation.rsplit("_", 1)
    if name.startswith("cvt_") and last in ("w", "wu", "l", "lu"):
        f = SINGLE if name == "cvt_s" else DOUBLE
        raw, flags = _from_integer(f, last, a, rm)
        return f.box(raw), flags
    f = SINGLE if last == "s" else DOUBLE
    a, b, c = f.unbox(a), f.unbox(b), f.unbox(c)
    if name in ("cvt_s", "cvt_d"):
        to = SINGLE if name == "cvt_s" else DOUBLE
        raw, flags = _change(f, to, a, rm)
        return to.box(raw), flags
    if name.startswith("cvt_"):
        return _from_float(f, name[4:], a, rm)
    if name == "class":
        return _class(f, a), 0
    if name in ("eq", "lt", "le"):
        return _compare(f, name, a, b)
    if name in ("min", "max"):
        raw, flags = _compare(f, name, a, b)
    elif name == "sqrt":
        raw, flags = _root(f, a, rm)
    elif name in ("madd", "msub", "nmsub", "nmadd"):
        raw, flags = _fused(f, name, a, b, c, rm)
    else:
        raw, flags = _arithmetic(f, name, a, b, rm)
    return f.box(raw), flags

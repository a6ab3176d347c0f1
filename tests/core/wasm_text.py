"""The translator's Wasm as text, for golden tests: names in place of numbers that a build or a layout may change.

Knows the instructions that the translator emits (Core spec 5.4, and the
threads, tail-call and relaxed-SIMD proposals); any other is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hartwell.layout import LAYOUT, RAM_OFFSET
from hartwell.wasm_format import Reader, bodies, sections

_PLAIN = {
    0x00: "unreachable", 0x05: "else", 0x0B: "end", 0x0F: "return", 0x1A: "drop", 0x1B: "select",
    **dict(enumerate("eqz eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u".split(), 0x45)),
}
_PLAIN = {code: name if code < 0x45 else f"i32.{name}" for code, name in _PLAIN.items()}
_PLAIN.update({code: f"i64.{name}" for code, name in enumerate(
    "eqz eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u".split(), 0x50)})
for _first, _kind, _names in (
    (0x5B, "f32", "eq ne lt gt le ge"), (0x61, "f64", "eq ne lt gt le ge"),
    (0x67, "i32", "clz ctz popcnt add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr"),
    (0x79, "i64", "clz ctz popcnt add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr"),
    (0x8B, "f32", "abs neg ceil floor trunc nearest sqrt add sub mul div min max copysign"),
    (0x99, "f64", "abs neg ceil floor trunc nearest sqrt add sub mul div min max copysign"),
    (0xA7, "i32", "wrap_i64"), (0xAC, "i64", "extend_i32_s extend_i32_u"),
    (0xB2, "f32", "convert_i32_s convert_i32_u convert_i64_s convert_i64_u demote_f64"),
    (0xB7, "f64", "convert_i32_s convert_i32_u convert_i64_s convert_i64_u promote_f32"),
    (0xBC, "i32", "reinterpret_f32"), (0xBD, "i64", "reinterpret_f64"), (0xBE, "f32", "reinterpret_i32"),
    (0xBF, "f64", "reinterpret_i64"), (0xC0, "i32", "extend8_s extend16_s"), (0xC2, "i64", "extend8_s extend16_s extend32_s"),
):
    _PLAIN.update({code: f"{_kind}.{name}" for code, name in enumerate(_names.split(), _first)})
_ACCESS = dict(enumerate(
    ("i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u i64.load8_s i64.load8_u "
     "i64.load16_s i64.load16_u i64.load32_s i64.load32_u i32.store i64.store f32.store f64.store i32.store8 i32.store16 "
     "i64.store8 i64.store16 i64.store32").split(), 0x28))
_ATOMIC = {0x11: "i64.atomic.load", 0x16: "i64.atomic.load32_u"}
for _first, _name in ((0x1E, "add"), (0x2C, "and"), (0x33, "or"), (0x3A, "xor"), (0x41, "xchg"), (0x48, "cmpxchg")):
    _ATOMIC |= {_first + 1: f"i64.atomic.rmw.{_name}", _first + 6: f"i64.atomic.rmw32.{_name}_u"}
_SIMD = {0x00: "v128.load", 0x0B: "v128.store", 0x0D: "i8x16.shuffle", 0x0F: "i8x16.splat", 0x10: "i16x8.splat",
         0x11: "i32x4.splat", 0x12: "i64x2.splat", 0x14: "f64x2.splat", 0x21: "f64x2.extract_lane",
         0x22: "f64x2.replace_lane", 0xAE: "i32x4.add", 0xB7: "i32x4.min_u", 0x107: "f64x2.relaxed_madd"}
_TYPES = {0x40: "", 0x7F: " i32", 0x7E: " i64", 0x7C: " f64", 0x7B: " v128"}
_LOCALS = ["hart", "depth", "base", "fuel", "exit", "tlb_read", "jump", "fpknown", "fpok",
           *(f"host{k}" for k in range(6)), "pc", "va", "d", "word", "limit"]


@dataclass
class Names:
    """What numbers of this machine stand for."""

    i32: dict[int, str]
    i64: dict[int, str]


def functions(module: bytes) -> list[bytes]:
    """The bodies of a module's functions."""
    for kind, body in sections(module):
        if kind == 10:
            return bodies(body)
    raise ValueError("a module without code")


def text(body: bytes, names: Names) -> str:
    """One function, an instruction a line, indented as its blocks are."""
    reader, depth, lines = Reader(body), 1, ["func"]
    registers = [(reader.unsigned(), reader.byte()) for _ in range(reader.unsigned())]
    lines[0] += "".join(f" {count}x{_TYPES[kind].strip()}" for count, kind in registers)
    for line in _instructions(reader, names):
        if line in ("end", "else"):
            depth -= 1
        lines.append("  " * depth + line)
        if line.split()[0] in ("block", "loop", "if", "else"):
            depth += 1
    return "\n".join(lines) + "\n"


def _simd(number: int, reader: Reader) -> str:
    if number in (0x00, 0x0B):
        reader.unsigned()
        return _SIMD[number] + _field(reader.unsigned())
    operands = [reader.byte() for _ in range({0x0D: 16, 0x21: 1, 0x22: 1}.get(number, 0))]
    return " ".join([_SIMD[number], *map(str, operands)])


def _field(offset: int) -> str:
    fields = LAYOUT["Hart"].fields
    for name, slot in fields.items():
        if offset >= fields["pc"].offset and slot.offset <= offset < slot.offset + slot.size * slot.count:
            return f" {name}" + (f"[{(offset - slot.offset) // slot.size}]" if slot.count > 1 else "")
    if offset >= RAM_OFFSET:
        return f" ram+{offset - RAM_OFFSET}"
    return f" offset={offset}" if offset else ""


def _instructions(reader: Reader, names: Names) -> Iterator[str]:
    while reader.at < len(reader.data):
        code = reader.byte()
        if code in (2, 3, 4):
            yield {2: "block", 3: "loop", 4: "if"}[code] + _TYPES[reader.byte()]
        elif code in (0x0C, 0x0D, 0x10):
            yield f"{ {0x0C: 'br', 0x0D: 'br_if', 0x10: 'call'}[code]} {reader.unsigned()}"
        elif code == 0x0E:
            yield "br_table " + " ".join(str(reader.unsigned()) for _ in range(reader.unsigned() + 1))
        elif code in (0x11, 0x13):
            yield f"{'call_indirect' if code == 0x11 else 'return_call_indirect'} type={reader.unsigned()}"
            reader.unsigned()
        elif code in (0x20, 0x21, 0x22):
            number = reader.unsigned()
            name = _LOCALS[number] if number < len(_LOCALS) else f"r{number - len(_LOCALS)}"
            yield f"local.{ {0x20: 'get', 0x21: 'set', 0x22: 'tee'}[code]} {name}"
        elif code == 0x41:
            value = reader.signed()
            helper = reader.data[reader.at] == 0x11
            yield f"i32.const {'helper' if helper else names.i32.get(value & 0xFFFF_FFFF, value)}"
        elif code == 0x42:
            value = reader.signed()
            yield f"i64.const {names.i64.get(value, value)}"
        elif code == 0x44:
            yield f"f64.const {reader.data[reader.at : reader.at + 8].hex()}"
            reader.at += 8
        elif code in _ACCESS:
            reader.unsigned()
            yield _ACCESS[code] + _field(reader.unsigned())
        elif code == 0xFC:
            yield {6: "i64.trunc_sat_f64_s"}[reader.unsigned()]
        elif code == 0xFD:
            number = reader.unsigned()
            yield _simd(number, reader)
        elif code == 0xFE:
            number = reader.unsigned()
            if number != 3:
                reader.unsigned()
            reader.unsigned()
            yield "atomic.fence" if number == 3 else _ATOMIC[number]
        else:
            yield _PLAIN[code]

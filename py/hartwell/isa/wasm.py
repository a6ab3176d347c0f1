"""The translator's half of an instruction's meaning, made from the same C text.

`Instruction.meaning` and the functions of cpu/hart/arith.h that it uses are read
as the C expressions they are and turned into calls of the translator's
emitters (cpu/jit/wasm.h), so interpreter and translator cannot disagree.

    isa_wasm.inc        cases that emit "rd = expression"
    isa_condition.inc   cases that emit a branch's condition, an i32
    isa_fp.inc          cases that compute the other floating-point instructions
    isa_operands.inc    op_facts[]: kind and operands of each operation

C's rules of conversion are kept: four types (u64, i64, u32, i32), whose Wasm
types are i64 and i32.  What isn't an expression over registers (memory,
system, floating point) gets no case; cpu/jit_*.c knows it by kind or name.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from hartwell.isa.instruction import Instruction

ARITH = Path(__file__).resolve().parents[3] / "cpu" / "hart" / "arith.h"

Node = tuple[Any, ...]
"""("num", value, type), ("name", n), ("cast", type, node), ("unary", op, node),
("binary", op, left, right), ("choose", condition, yes, no), ("call", name, arguments)."""

_TOKEN = re.compile(r"\s*(0x[0-9a-fA-F]+[ulUL]*|\d+[ulUL]*|\w+|<<=|>>=|\|=|<<|>>|<=|>=|==|!=|&&|\|\||.)")
_LEVELS = [["|"], ["^"], ["&"], ["==", "!="], ["<", ">", "<=", ">="], ["<<", ">>"], ["+", "-"], ["*", "/", "%"]]
_TYPES = {"uint64_t": "u64", "int64_t": "i64", "uint32_t": "u32", "int32_t": "i32", "int": "i32",
          "uint8_t": "u8", "uint16_t": "u16", "int8_t": "i8", "int16_t": "i16"}
_NAMES = {"RS1": "u64", "RS2": "u64", "FRS1": "u64", "FRS2": "u64", "PC": "u64", "IMM": "i32"}
_RANK = ["i32", "u32", "i64", "u64"]

# What Wasm has an operator for.  name: (operand type, opcode, result type)
_NATIVE = {
    "rotate_left": ("u64", 0x89, "u64"), "rotate_left_w": ("u32", 0x77, "u32"),
    "__builtin_clzll": ("u64", 0x79, "u64"), "__builtin_ctzll": ("u64", 0x7A, "u64"),
    "__builtin_popcountll": ("u64", 0x7B, "u64"),
    "__builtin_clz": ("u32", 0x67, "u32"), "__builtin_ctz": ("u32", 0x68, "u32"), "__builtin_popcount": ("u32", 0x69, "u32"),
}
_OPCODES = {  # (32-bit, 64-bit), signed and unsigned where they differ
    "+": (0x6A, 0x7C), "-": (0x6B, 0x7D), "*": (0x6C, 0x7E), "&": (0x71, 0x83), "|": (0x72, 0x84), "^": (0x73, 0x85),
    "<<": (0x74, 0x86), "s>>": (0x75, 0x87), "u>>": (0x76, 0x88), "s/": (0x6D, 0x7F), "u/": (0x6E, 0x80),
    "s%": (0x6F, 0x81), "u%": (0x70, 0x82), "==": (0x46, 0x51), "!=": (0x47, 0x52),
    "s<": (0x48, 0x53), "u<": (0x49, 0x54), "s>": (0x4A, 0x55), "u>": (0x4B, 0x56),
    "s<=": (0x4C, 0x57), "u<=": (0x4D, 0x58), "s>=": (0x4E, 0x59), "u>=": (0x4F, 0x5A),
}
# C that arith.h or the compiler has no body for, in C.
_BODIES = {"__builtin_bswap64": (["v"], (
    "(v << 56) | ((v & 0xff00ull) << 40) | ((v & 0xff0000ull) << 24) | ((v & 0xff000000ull) << 8) | "
    "(v >> 8 & 0xff000000ull) | (v >> 24 & 0xff0000ull) | (v >> 40 & 0xff00ull) | v >> 56"))}


class _Parser:
    """A C expression's tree."""

    def __init__(self, text: str) -> None:
        self.tokens = [token for token in _TOKEN.findall(text) if token.strip()]
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise ValueError(f"{expected or 'more'} expected at {self.tokens[self.at:]} of {' '.join(self.tokens)}")
        self.at += 1
        return token

    def expression(self) -> Node:
        condition = self.binary(0)
        if self.peek() != "?":
            return condition
        self.take()
        yes = self.expression()
        self.take(":")
        return ("choose", condition, yes, self.expression())

    def binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek() in _LEVELS[level]:
            left = ("binary", self.take(), left, self.binary(level + 1))
        return left

    def unary(self) -> Node:
        token = self.take()
        if token in ("~", "-"):
            return ("unary", token, self.unary())
        if token == "(":
            if self.peek() in _TYPES:
                kind = _TYPES[self.take()]
                self.take(")")
                return ("cast", kind, self.unary())
            inside = self.expression()
            self.take(")")
            return inside
        if token[0].isdigit():
            digits = token.rstrip("ulUL")
            suffix, value = token[len(digits):].lower(), int(digits, 0)
            wide = "ll" in suffix or value >> 32
            return ("num", value, ("u" if "u" in suffix or value >> 31 == 1 else "i") + ("64" if wide else "32"))
        if self.peek() != "(":
            return ("name", token)
        self.take()
        arguments = []
        while self.peek() != ")":
            arguments.append(self.expression())
            if self.peek() == ",":
                self.take()
        self.take(")")
        return ("call", token, arguments)


def parse(text: str) -> Node:
    """The tree of a whole expression."""
    parser = _Parser(text)
    tree = parser.expression()
    if parser.peek():
        raise ValueError(f"{parser.peek()} is left over in {text}")
    return tree


@cache
def functions() -> dict[str, tuple[list[str], str]]:
    """The functions and function-like macros of cpu/hart/arith.h: parameters (with
    their types, "u64 a"), and body."""
    text = re.sub(r"/\*.*?\*/", "", ARITH.read_text(), flags=re.S)
    found = {}
    for name, parameters, body in re.findall(r"#define (\w+)\((\w+)\) (.+)", text):
        found[name] = ([f"any {parameters}"], f"return {body};")
    for name, parameters, body in re.findall(r"static inline \w+ (\w+)\(([^)]*)\)\s*\{(.*?)\}", text, flags=re.S):
        found[name] = ([f"{_TYPES[kind]} {word}" for kind, word in re.findall(r"(\w+) (\w+)", parameters)], body)
    return found


def _substitute(node: Node, values: dict[str, Node]) -> Node:
    if node[0] == "name":
        return values.get(node[1], node)
    if node[0] == "call":
        return ("call", node[1], [_substitute(argument, values) for argument in node[2]])
    return tuple(_substitute(part, values) if isinstance(part, tuple) else part for part in node)


def _inline(name: str, arguments: list[Node]) -> Node:
    """A call as its body's value.  Bodies are pure, so names stand for trees."""
    if name in _BODIES:
        parameters, text = _BODIES[name]
        return _substitute(parse(text), dict(zip(parameters, arguments, strict=True)))
    declared, body = functions()[name]
    values: dict[str, Node] = {}
    for parameter, argument in zip(declared, arguments, strict=True):
        kind, word = parameter.split()
        values[word] = argument if kind == "any" else ("cast", kind, argument)
    for statement in filter(None, (part.strip() for part in body.split(";"))):
        if statement.startswith("__asm__"):
            continue
        if statement.startswith("return "):
            return _substitute(parse(statement.removeprefix("return ")), values)
        kind, _, rest = statement.partition(" ")
        if kind in _TYPES:
            for part in rest.split(","):
                word, _, text = part.partition("=")
                values[word.strip()] = ("cast", _TYPES[kind], _substitute(parse(text), values))
        elif rest.startswith("|= "):
            values[kind] = _substitute(("binary", "|", ("name", kind), parse(rest.removeprefix("|= "))), values)
        else:
            raise ValueError(f"{name}: can't read {statement!r}")
    raise ValueError(f"{name} returns nothing")


class _Compiler:
    """Emits a tree as calls of the translator's emitters, in Wasm's order."""

    def __init__(self, rs2: str) -> None:
        self.out: list[str] = []
        self.rs2 = rs2

    def op(self, code: int) -> None:
        self.out.append(f"op(e, {code:#x});")

    def value(self, node: Node) -> str:
        """Emits `node`; its C type."""
        return getattr(self, f"_{node[0]}")(*node[1:])  # type: ignore[no-any-return]

    def value_as(self, node: Node, kind: str) -> None:
        """Emits `node` converted to u64, i64, u32 or i32."""
        if node[0] == "num":
            self._num(node[1], kind)
        elif node == ("name", "IMM") and kind.endswith("64"):
            self.out.append("push64(e, (uint64_t)(int64_t)i->imm);")
        else:
            self._convert(self.value(node), kind)

    def _convert(self, have: str, want: str) -> None:
        if have.endswith("64") and want.endswith("32"):
            self.op(0xA7)
        elif have.endswith("32") and want.endswith("64"):
            self.op(0xAC if have == "i32" else 0xAD)

    def _num(self, value: int, kind: str) -> str:
        self.out.append(f"push64(e, {value:#x}ull);" if kind.endswith("64") else f"push32(e, {value:#x}u);")
        return kind

    def _name(self, name: str) -> str:
        if name not in _NAMES:
            raise ValueError(f"{name} is no operand")
        self.out.append({
            "RS1": "push_x(e, i->rs1);", "RS2": f"push_x(e, {self.rs2});", "PC": "push_pc(e);",
            "IMM": "push32(e, (uint32_t)i->imm);",
            "FRS1": "push_f_bits(e, i->rs1);", "FRS2": f"push_f_bits(e, {self.rs2});"}[name])
        return _NAMES[name]

    def _cast(self, kind: str, node: Node) -> str:
        if node[0] == "cast" and node[1] in ("i32", "i8", "i16") and kind in ("i64", "u64"):
            self._sign_extend(node[1], node[2])
            return kind
        if node[0] == "cast" and node[1] == "i64" and kind == "u64":
            self._cast("i64", node[2])
            return kind
        if kind in ("u8", "u16"):
            self.value_as(node, "u32")
            self._num(0xFF if kind == "u8" else 0xFFFF, "u32")
            self.op(0x71)
            return "u32"
        if kind in ("i8", "i16"):
            self.value_as(node, "u32")
            self.op(0xC0 if kind == "i8" else 0xC1)
            return "i32"
        self.value_as(node, kind)
        return kind

    def _sign_extend(self, kind: str, node: Node) -> None:
        """(int64_t)(intN_t)node without a detour through 32 bits."""
        if kind == "i32" and node[0] == "binary" and node[1] in ("+", "-"):
            self.value_as(node[2], "u32")  # the engine adds registers' low halves without truncating them first
            self.value_as(node[3], "u32")
            self.op(_OPCODES[node[1]][0])
            have = "u32"
        else:
            have = self.value(node)
        if have.endswith("32"):
            if kind != "i32":
                self.op({"i8": 0xC0, "i16": 0xC1}[kind])
            self.op(0xAC)
        else:
            self.op({"i8": 0xC2, "i16": 0xC3, "i32": 0xC4}[kind])

    def _unary(self, operator: str, node: Node) -> str:
        kind = self._kind(node)
        wide = kind.endswith("64")
        if operator == "~":
            self.value_as(node, kind)
            self._num((1 << (64 if wide else 32)) - 1, kind)
            self.op(0x85 if wide else 0x73)
        else:
            self._num(0, kind)
            self.value_as(node, kind)
            self.op(0x7D if wide else 0x6B)
        return kind

    def _binary(self, operator: str, left: Node, right: Node) -> str:
        shift = operator in ("<<", ">>")
        kind = self._kind(left) if shift else self._common(left, right)
        wide = int(kind.endswith("64"))
        if operator == "==" and right == ("num", 0, "i32"):
            self.value_as(left, kind)
            self.op(0x50 if wide else 0x45)
            return "i32"
        if shift and right[:2] == ("binary", "&") and right[3][:2] == ("num", 63 if wide else 31):
            right = right[2]  # Wasm's shifts take their distance modulo the width
        self.value_as(left, kind)
        self.value_as(right, "u64" if wide else "u32") if shift else self.value_as(right, kind)
        self.op((_OPCODES.get(operator) or _OPCODES[kind[0].replace("i", "s") + operator])[wide])
        return "i32" if operator in ("==", "!=", "<", ">", "<=", ">=") else kind

    def _choose(self, condition: Node, yes: Node, no: Node) -> str:
        kind = self._common(yes, no)
        if _divides(yes) or _divides(no):  # division traps: only the arm that is chosen may run
            self.truth(condition)
            self.out.append(f"op(e, 0x04); op(e, {0x7E if kind.endswith('64') else 0x7F:#x});")
            self.value_as(yes, kind)
            self.op(0x05)
            self.value_as(no, kind)
            self.op(0x0B)
        else:
            self.value_as(yes, kind)
            self.value_as(no, kind)
            self.truth(condition)
            self.op(0x1B)
        return kind

    def truth(self, node: Node) -> None:
        """Emits `node` as an i32 that is 0 when it is."""
        if self.value(node).endswith("64"):
            self._num(0, "u64")
            self.op(0x52)

    def _call(self, name: str, arguments: list[Node]) -> str:
        if name in _NATIVE:
            operand, code, result = _NATIVE[name]
            for argument in arguments:
                self.value_as(argument, operand)
            self.op(code)
            return result
        return self.value(_inline(name, arguments))

    def _kind(self, node: Node) -> str:
        """The C type of `node`, promoted; emits nothing."""
        kind = _Compiler(self.rs2).value(node)
        return kind if kind in _RANK else "i32"

    def _common(self, left: Node, right: Node) -> str:
        return max(self._kind(left), self._kind(right), key=_RANK.index)


def _divides(node: Any) -> bool:
    if isinstance(node, list):
        return any(_divides(part) for part in node)
    if not isinstance(node, tuple):
        return False
    if node[:2] in (("binary", "/"), ("binary", "%")):
        return True
    if node[0] == "call" and node[1] in functions():
        return _divides(_inline(node[1], list(node[2])))
    return any(_divides(part) for part in node[1:])


def expression(text: str, rs2: str = "i->imm & 31") -> str:
    """C statements that emit the value of `text` as an i64."""
    compiler = _Compiler(rs2)
    compiler.value_as(parse(text), "u64")
    return " ".join(compiler.out)


def condition(text: str, rs2: str = "i->rd") -> str:
    """C statements that emit the truth of `text` as an i32."""
    compiler = _Compiler(rs2)
    compiler.truth(parse(text))
    return " ".join(compiler.out)


def assignment(instruction: Instruction) -> str | None:
    """C statements that emit an instruction that is one assignment to rd, else None."""
    for pattern, begin, end in (
        (r"RD = (.+);", "", "set_x(e, i->rd);"),
        (r"FP_QUIET\((.+)\);", "need_fp(e); ", "set_f_bits(e, i->rd);"),
        (r"FP_TO_X_QUIET\((.+)\);", "need_fp(e); ", "set_x(e, i->rd);"),
    ):
        found = re.fullmatch(pattern, instruction.meaning)
        if found and "(h, " not in found[1]:
            return f"{begin}{expression(found[1])} {end}"
    return None


def branch_condition(instruction: Instruction) -> str:
    found = re.fullmatch(r"if \((.+)\) BRANCH\(\);", instruction.meaning)
    assert found, instruction.name
    return condition(found[1])


def fp_call(instruction: Instruction) -> str | None:
    """The C expression of a floating-point instruction over operands a, b, c and rm."""
    found = re.fullmatch(r"FP\w*\((.+)\);", instruction.meaning)
    if not found or assignment(instruction):
        return None
    names = {"FRS1": "a", "FRS2": "b", "FRS3": "c", "RS1": "a", "RM": "rm"}
    return re.sub(r"\b[A-Z][A-Z0-9]*\b", lambda word: names.get(word[0], word[0]), found[1])


def _kind(instruction: Instruction) -> str:
    name, kind = instruction.name, instruction.kind
    if kind == "jump":
        return "CALL" if name == "jal" else "INDIRECT"
    if kind in ("load", "store"):
        return ("F" if instruction.extension in ("F", "D") else "") + kind.upper()
    if kind in ("branch", "amo", "csr"):
        return kind.upper()
    if kind == "fp":
        return "ASSIGN" if assignment(instruction) else "FP"
    if name == "fence":
        return "FENCE"
    return "ASSIGN" if kind == "alu" else "OTHER"


def operands(instruction: Instruction, compressed: bool) -> str:
    """The entry of op_facts[] (cpu/jit/region.h)."""
    words = re.findall(r"\w+", instruction.syntax)
    facts = [f"KIND_{_kind(instruction)}"]
    names = {"rs1": "X_RS1", "rs2": "X_RS2", "rd": "X_RD", "frs1": "F_RS1", "frs2": "F_RS2", "frs3": "F_RS3", "frd": "F_RD"}
    facts += [names[word] for word in words if word in names]
    if instruction.kind in ("store", "branch"):
        facts.append("RS2_IN_RD")
    if compressed:
        facts.append("SHORT")
    return " | ".join(facts)

"""Makes random programs out of the instruction tables.

A program is straight code with short forward jumps and counted loops, so it
ends; its loads and stores stay in the window because the registers that hold
addresses (records.STACK_POINTER, FRAME_POINTER, ADDRESS) and the loop counter
are written only where that is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hartwell.isa import BY_NAME, COMPRESSED, INSTRUCTIONS, Instruction
from hartwell.isa.c import WIDTHS, Compressed
from hartwell.isa.instruction import FIELDS
from tests.oracle.records import ADDRESS, FRAME_POINTER, LOOP_COUNTER, STACK_POINTER, WINDOW_BYTES, Stream

KEPT = {STACK_POINTER, FRAME_POINTER, LOOP_COUNTER, ADDRESS}
FREE = [number for number in range(32) if number not in KEPT]
FREE_SHORT = [number for number in range(8, 16) if number not in KEPT]
ROUNDING = [0, 1, 2, 3, 4, 7, 7]
FFLAGS, FRM, FCSR = 1, 2, 3
ACCESS = {"b": 1, "h": 2, "w": 4, "d": 8}
ECALL = 0x73


def encode(name: str, imm: int = 0, **fields: int) -> bytes:
    """An instruction as bytes; operands that are not given are 0."""
    instruction = BY_NAME[name]
    word = instruction.match
    for source, bit in instruction.immediate:
        word |= (imm >> bit & 1) << source
    for text, value in fields.items():
        at, width = FIELDS[text]
        if text not in instruction.fields or value >> width:
            raise ValueError(f"{name}: {text}={value} does not fit")
        word |= value << at
    return word.to_bytes(4, "little")


def encode_compressed(entry: Compressed, imm: int, **fields: int) -> bytes:
    """A compressed instruction; primed registers are given by their full number."""
    half = entry.match
    for source, bit in entry.immediate:
        half |= (imm >> bit & 1) << source
    for text, at, width in entry.pieces:
        if text in WIDTHS:
            value = fields[text.replace("'", "_")]
            half |= (value - (8 if text.endswith("'") else 0) & (1 << width) - 1) << at
    return half.to_bytes(2, "little")


@dataclass
class Program:
    """Code under construction; `items` are instructions' bytes in order."""

    stream: Stream
    items: list[bytes] = field(default_factory=list)

    def add(self, name: str, imm: int = 0, **fields: int) -> None:
        self.items.append(encode(name, imm, **fields))

    def target(self) -> int:
        """A register to write."""
        return FREE[self.stream.number(len(FREE))]

    def source(self) -> int:
        return self.stream.number(32)

    def fp(self) -> int:
        # Few registers, so that results are used again.
        return self.stream.number(12) + 8 * self.stream.number(2)

    @property
    def size(self) -> int:
        return sum(map(len, self.items))


def arithmetic(program: Program, instruction: Instruction) -> None:
    """Any register-to-register or immediate instruction without memory or jumps."""
    stream, values = program.stream, {}
    for name in instruction.fields:
        if name == "rd":
            values[name] = program.fp() if instruction.syntax.startswith("frd") else program.target()
        elif name == "rm":
            values[name] = ROUNDING[stream.number(len(ROUNDING))]
        elif name in ("rs1", "rs2", "rs3"):
            values[name] = program.fp() if f"f{name}" in instruction.syntax else program.source()
        else:
            values[name] = stream.number(1 << FIELDS[name][1])
    program.add(instruction.name, stream.number(1 << 32), **values)


def memory(program: Program, instruction: Instruction) -> None:
    """A load or store in the window; one in four may be misaligned."""
    stream = program.stream
    size = ACCESS[next(letter for letter in reversed(instruction.name) if letter in ACCESS)]
    offset = stream.number(WINDOW_BYTES - 8)
    if stream.number(4):
        offset -= offset % size
    values = {"rs1": FRAME_POINTER}
    if "rd" in instruction.fields:
        values["rd"] = program.fp() if instruction.syntax.startswith("f") else program.target()
    else:
        values["rs2"] = program.fp() if instruction.syntax.startswith("f") else program.source()
    program.add(instruction.name, offset - WINDOW_BYTES // 2, **values)


def atomic(program: Program, instruction: Instruction) -> None:
    """An AMO, or LR and SC with or without something between them."""
    stream, suffix = program.stream, instruction.name[-1]
    size = ACCESS[suffix]
    offset = stream.number(16) * 8 + (4 * stream.number(2) if size == 4 else 0)
    program.add("addi", offset - 64, rd=ADDRESS, rs1=FRAME_POINTER)
    order = stream.number(4)
    if not instruction.name.startswith(("lr", "sc")):
        program.add(instruction.name, rd=program.target(), rs1=ADDRESS, rs2=program.source(), aqrl=order)
        return
    if stream.number(5):
        program.add(f"lr.{suffix}", rd=program.target(), rs1=ADDRESS, aqrl=order)
    kind = stream.number(6)
    if kind == 0:
        program.add("addi", offset - 64 + 8, rd=ADDRESS, rs1=FRAME_POINTER)  # another address: SC fails
    elif kind == 1:
        program.add("xori", 5, rd=program.target(), rs1=program.source())
    program.add(f"sc.{suffix}", rd=program.target(), rs1=ADDRESS, rs2=program.source(), aqrl=order)
    if kind == 2:
        program.add(f"sc.{suffix}", rd=program.target(), rs1=ADDRESS, rs2=program.source())  # used up: fails


def csr(program: Program, _: Instruction) -> None:
    """fflags, frm and fcsr, with legal rounding modes only."""
    stream = program.stream
    kind = stream.number(5)
    if kind == 0:
        program.add("csrrwi", rd=program.target(), csr=FRM, zimm=stream.number(5))
    elif kind == 1:
        name = ("csrrw", "csrrs", "csrrc")[stream.number(3)]
        program.add(name, rd=program.target(), csr=FFLAGS, rs1=program.source())
    elif kind == 2:
        name = ("csrrwi", "csrrsi", "csrrci")[stream.number(3)]
        program.add(name, rd=program.target(), csr=FFLAGS, zimm=stream.number(32))
    else:
        program.add("csrrs", rd=program.target(), csr=(FFLAGS, FRM, FCSR)[stream.number(3)], rs1=0)


def compressed(program: Program, entry: Compressed) -> None:
    """A compressed instruction that neither jumps nor traps."""
    stream = program.stream
    imm = stream.number(1 << 20)
    values: dict[str, int] = {}
    base = BY_NAME[entry.base]
    for text in (piece[0] for piece in entry.pieces):
        if text not in WIDTHS:
            continue
        short = text.endswith("'")
        real = base.syntax.startswith("f") and text.rstrip("'") in ("rd", "rs2")
        written = text.startswith("rd")
        if base.kind in ("load", "store") and text == "rs1'":
            value = FRAME_POINTER
        elif real:
            value = 8 + stream.number(8)
        elif short:
            value = FREE_SHORT[stream.number(len(FREE_SHORT))] if written else 8 + stream.number(8)
        else:
            value = program.target() if written else program.source()
        values[text.replace("'", "_")] = value
    if entry.name == "c.addi16sp":
        return
    if base.kind in ("load", "store"):
        imm %= 248
    code = encode_compressed(entry, imm, **values)
    if entry.allowed(int.from_bytes(code, "little")):
        program.items.append(code)


def jump(program: Program, instruction: Instruction) -> None:
    """A branch or jump over the next few instructions, each of 4 bytes."""
    stream = program.stream
    over = 1 + stream.number(3)
    if instruction.name == "jal":
        program.add("jal", 4 * (over + 1), rd=program.target())
    elif instruction.name == "jalr":
        program.add("auipc", 0, rd=ADDRESS)
        program.add("jalr", 4 * (over + 2), rd=program.target(), rs1=ADDRESS)
    else:
        program.add(instruction.name, 4 * (over + 1), rs1=program.source(), rs2=program.source())
    for _ in range(over):
        arithmetic(program, SKIPPED[stream.number(len(SKIPPED))])


def compressed_jump(program: Program, entry: Compressed) -> None:
    """c.j, c.beqz, c.bnez over compressed or full instructions; c.jr and c.jalr by a register."""
    stream = program.stream
    skipped = Program(stream)
    for _ in range(1 + stream.number(3)):
        if stream.number(2):
            arithmetic(skipped, SKIPPED[stream.number(len(SKIPPED))])
        else:
            compressed(skipped, SHORT_PLAIN[stream.number(len(SHORT_PLAIN))])
    distance = 2 + skipped.size
    if entry.name in ("c.jr", "c.jalr"):
        program.add("auipc", 0, rd=ADDRESS)
        program.add("addi", 8 + distance, rd=ADDRESS, rs1=ADDRESS)
        program.items.append(encode_compressed(entry, 0, rs1=ADDRESS))
    else:
        program.items.append(encode_compressed(entry, distance, rs1_=8 + stream.number(8)))
    program.items += skipped.items


def loop(program: Program, body: Callable[[Program], None]) -> None:
    """Runs `body` two to nine times."""
    program.add("addi", 2 + program.stream.number(8), rd=LOOP_COUNTER, rs1=0)
    before = program.size
    for _ in range(4):
        body(program)
    program.add("addi", -1, rd=LOOP_COUNTER, rs1=LOOP_COUNTER)
    program.add("bne", before - program.size, rs1=LOOP_COUNTER, rs2=0)


def _of(*extensions: str, kinds: tuple[str, ...] = ("alu", "fp")) -> list[Instruction]:
    return [i for i in INSTRUCTIONS if i.extension in extensions and i.kind in kinds]


SKIPPED = _of("I", "M", "Zbb", kinds=("alu",))
SHORT_PLAIN = [c for c in COMPRESSED if BY_NAME[c.base].kind == "alu"]
SHORT_MEMORY = [c for c in COMPRESSED if BY_NAME[c.base].kind in ("load", "store")]
SHORT_JUMPS = [c for c in COMPRESSED if BY_NAME[c.base].kind in ("jump", "branch")]

Maker = Callable[[Program], None]


def _any(make: Callable[[Program, Instruction], None], choice: list[Instruction]) -> Maker:
    return lambda program: make(program, choice[program.stream.number(len(choice))])


def _short(make: Callable[[Program, Compressed], None], choice: list[Compressed]) -> Maker:
    return lambda program: make(program, choice[program.stream.number(len(choice))])


def _mixed(*makers: Maker) -> Maker:
    return lambda program: makers[program.stream.number(len(makers))](program)


_LOADS = _any(memory, _of("I", "F", "D", kinds=("load", "store")))
_CSR = _any(csr, _of("Zicsr", kinds=("csr",)))
_REAL = _any(arithmetic, _of("F", "D"))
_ATOMIC = _any(atomic, _of("A", kinds=("amo",)))
_JUMPS = _any(jump, _of("I", kinds=("jump", "branch")))
_SHORT = _mixed(_short(compressed, SHORT_PLAIN), _short(compressed, SHORT_MEMORY),
                _short(compressed_jump, SHORT_JUMPS))
_BITS = _any(arithmetic, _of("Zba", "Zbb", "Zbs", "Zicond"))
_WHOLE = _any(arithmetic, _of("I", "M"))

GROUPS: dict[str, Maker] = {
    "integer": _any(arithmetic, _of("I")),
    "muldiv": _any(arithmetic, _of("M")),
    "zba": _any(arithmetic, _of("Zba")),
    "zbb": _any(arithmetic, _of("Zbb")),
    "zbs": _any(arithmetic, _of("Zbs")),
    "zicond": _any(arithmetic, _of("Zicond") * 3 + _of("I")),
    "memory": _LOADS,
    "atomic": _ATOMIC,
    "single": _mixed(*[_any(arithmetic, _of("F"))] * 9, _CSR),
    "double": _mixed(*[_any(arithmetic, _of("D"))] * 9, _CSR),
    "compressed": _SHORT,
    "jumps": _mixed(_JUMPS, _JUMPS, _WHOLE),
    "mixed": _mixed(_LOADS, _CSR, _REAL, _ATOMIC, _JUMPS, _SHORT, _BITS, _WHOLE),
}
INSTRUCTIONS_EACH = 40


def make(number: int, group: str) -> bytes:
    """The code of program `number`, ending with ecall."""
    program = Program(Stream(f"hartwell differential program {number}"))
    maker = GROUPS[group]
    if group in ("jumps", "mixed") or number % 4 == 0:
        loop(program, maker)
    while len(program.items) < INSTRUCTIONS_EACH:
        maker(program)
    return b"".join(program.items) + ECALL.to_bytes(4, "little")

"""Asks GNU binutils how instructions are written and keeps the answers.

    PYTHONPATH=py:. python -m tests.oracle.generate_objdump [--each N]

Needs riscv64-linux-gnu-as, -objcopy and -objdump (2.40), and ziglang for what
they do not know.  Writes tests/unit/data/objdump.xz, lines of

    address  size of the instruction in bytes  word  aliases (0 or 1)  text

Words come from the instruction tables with random operands, and from chance
alone; texts come from objdump with ``-M no-aliases``.  For aliases it is the
other way round: the text is ours, the word is what the assembler makes of it.

Left out is what binutils 2.40 has a view of its own on: shifts by 0 of c.slli,
c.srli, c.srai (names of RV128), rounding modes of exact conversions, reserved
fences, CSRs that this hart has not.  Zicond it does not know; there the assembler is clang's.
"""

from __future__ import annotations

import argparse
import lzma
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from hartwell.isa import BY_NAME, COMPRESSED, INSTRUCTIONS, decode
from hartwell.isa.aliases import ALIASES
from hartwell.isa.c import Compressed
from hartwell.isa.csrs import CSRS
from hartwell.isa.instruction import FIELDS, Instruction

DATA = Path(__file__).parents[1] / "unit" / "data" / "objdump.xz"
ARCH = "rv64gc_zba_zbb_zbs_zicbom_zicboz_svinval_zihintpause"
TOOLS = "riscv64-linux-gnu-"
NO_SUCH_CSRS = [0x123, 0x5C5, 0x8AB, 0xFED]  # binutils has no name for them
FENCES = [*range(0x100), 0x833, 0x010]

Row = tuple[int, int, int, int, str]


def run(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def operands(instruction: Instruction, chance: random.Random) -> int:
    """A word of this instruction with random operands."""
    word = instruction.match | chance.getrandbits(32) & ~instruction.mask

    def put(name: str, value: int) -> None:
        nonlocal word
        low, width = FIELDS[name]
        word = word & ~(((1 << width) - 1) << low) | value << low

    if "csr" in instruction.fields:
        put("csr", chance.choice([*CSRS.values(), *NO_SUCH_CSRS]))
    if instruction.syntax.endswith("rm_exact"):
        put("rm", 0)
    if instruction.name == "fence":
        word = instruction.match
        put("fence", chance.choice(FENCES))
    if instruction.name == "fence.i":
        word = instruction.match
    return word


def compressed(row: Compressed, chance: random.Random) -> int:
    """A halfword of this row with random operands."""
    while True:
        half = row.match | chance.getrandbits(16) & ~row.mask
        shift_by_0 = row.base in ("slli", "srli", "srai") and row.values(half)["imm"] == 0
        if row.allowed(half) and not shift_by_0:
            return half


def agreed(word: int) -> bool:
    """Of a word of chance: is it outside what binutils has its own view on?"""
    if word & 3 == 3:
        zicond = word & 0xFE00_507F == 0x0E00_5033
        exact = word & 0xFE00_007F in (0xD200_0053, 0x4200_0053)
        return not (zicond or exact or word & 0x7F in (0x0F, 0x73)) and word & 0x1C != 0x1C
    found = decode(word)
    shift_by_0 = found and found.instruction.name in ("slli", "srli", "srai") and found.operands["imm"] == 0
    return not shift_by_0 and word != 0  # 0 is c.unimp to binutils


def dump(words: list[int]) -> list[Row]:
    """What objdump says of these words, one after the other from address 0."""
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder) / "a.s", Path(folder) / "a.o"
        data = "".join(f".word {word:#x}\n" if word & 3 == 3 else f".half {word:#x}\n" for word in words)
        source.write_text(f'.attribute arch, "{ARCH}"\n{data}')
        run(TOOLS + "as", "-o", built, source)
        run(TOOLS + "objcopy", "--strip-all", built)  # with mapping symbols it would all be data
        text = run(TOOLS + "objdump", "-d", "-z", "-M", "no-aliases", built)
    rows: list[Row] = []
    for address, code, said in re.findall(r"^ *([0-9a-f]+):\t([0-9a-f]+) +\t(.*)$", text, re.MULTILINE):
        said = re.sub(r"\s+#.*", "", said).replace(".2byte", ".half").replace(".4byte", ".word")
        rows.append((int(address, 16), len(code) // 2, int(code, 16), 0, said))
    del rows[len(words) :]  # the section is padded to a multiple of 4
    if [row[2] for row in rows] != words:
        raise SystemExit("objdump did not print every word once")
    return rows


def assemble(texts: list[str], *, clang: bool = False) -> list[int]:
    """The words of 4 bytes that an assembler makes of these lines."""
    with tempfile.TemporaryDirectory() as folder:
        source, built, raw = (Path(folder) / name for name in ("a.s", "a.o", "a.bin"))
        source.write_text(".option norvc\n.option norelax\n" + "\n".join(texts) + "\n")
        if clang:
            run(sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-freestanding",
                "-mcpu=generic_rv64+zicond", "-c", "-o", built, source)
        else:
            run(TOOLS + "as", f"-march={ARCH}", "-o", built, source)
        run(TOOLS + "objcopy", "-O", "binary", "-j", ".text", built, raw)
        data = raw.read_bytes()
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


def alias_texts(each: int, chance: random.Random) -> list[str]:
    """Lines for every alias, with operands as the disassembler writes them;
    branch targets relative to the line."""
    texts = []
    for alias in ALIASES:
        row = BY_NAME[alias.base]
        if alias.base == "add":
            continue  # mv: the assembler makes an addi of it
        for _ in range(each):
            word = operands(row, chance)
            found = decode(word)
            assert found
            values = dict(found.operands)
            values |= {name: values[value] if isinstance(value, str) else value for name, value in alias.when.items()}
            texts.append(type(found)(row, values, 4).text(0, aliases=True))
    return texts


def aliases(each: int, chance: random.Random) -> list[Row]:
    texts = alias_texts(each, chance)
    sources, shown = [], []
    for at, text in enumerate(texts):
        target = re.search(r"\b0x[0-9a-f]+$", text) if re.match(r"(j|jal|b\w+z)\t", text) else None
        if target:
            offset = int(target[0], 16)
            offset -= offset >> 63 << 64
            sources.append(text[: target.start()] + f". + {offset}")
            shown.append(text[: target.start()] + f"{(4 * at + offset) & (1 << 64) - 1:#x}")
        else:
            sources.append(text)
            shown.append(text)
    words = assemble(sources)
    if len(words) != len(texts):
        raise SystemExit("the assembler made more than one instruction of a line")
    return [(4 * at, 4, word, 1, text) for at, (word, text) in enumerate(zip(words, shown, strict=True))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=24, help="words of each instruction")
    each = parser.parse_args().each
    chance = random.Random(64)
    words = [operands(row, chance) for row in INSTRUCTIONS for _ in range(each) if row.extension != "Zicond"]
    words += [compressed(row, chance) for row in COMPRESSED for _ in range(each)]
    words += [word | 3 for word in (chance.getrandbits(32) for _ in range(100 * each)) if agreed(word | 3)]
    words += [half for half in (chance.getrandbits(16) for _ in range(100 * each)) if half & 3 != 3 and agreed(half)]
    rows = dump([*words, 0x8330_000F, 0x0100_000F])
    zicond = [operands(row, chance) for row in INSTRUCTIONS for _ in range(each) if row.extension == "Zicond"]
    texts = [found.text() for word in zicond if (found := decode(word))]
    rows += [(0, 4, word, 0, text) for word, text in zip(assemble(texts, clang=True), texts, strict=True)]
    rows += aliases(max(4, each // 4), chance)
    lines = "".join(f"{at:x} {size} {word:x} {alias} {text}\n" for at, size, word, alias, text in rows)
    DATA.write_bytes(lzma.compress(lines.encode(), preset=9))
    print(f"{len(rows)} lines, {DATA.stat().st_size} bytes")


if __name__ == "__main__":
    main()

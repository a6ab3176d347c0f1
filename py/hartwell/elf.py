"""Just enough ELF to put a program into memory, strictly checked.

ELF-64 Object File Format 1.5; RISC-V ELF psABI.  Debuggers use pyelftools;
this reads what is hostile until proven otherwise.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hartwell.errors import BadElf

EM_RISCV = 243
PT_LOAD = 1
SHT_SYMTAB = 2
SYMBOL_BYTES = 4096  # a longer name is left out
_MACHINES = {3: "x86", 62: "x86-64", 40: "ARM", 183: "AArch64", 8: "MIPS", 21: "PowerPC64"}
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYM = struct.Struct("<IBBHQQ")


@dataclass(frozen=True)
class Segment:
    """A PT_LOAD: file bytes [offset, offset + file_bytes) at `physical`, then zeros."""

    physical: int
    offset: int
    file_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class Elf:
    """What loading a program needs."""

    entry: int
    segments: list[Segment]
    symbols: dict[str, int]


def is_elf(data: bytes) -> bool:
    return data[:4] == b"\x7fELF"


def read_elf(data: bytes, name: str = "program") -> Elf:
    """Parses an RV64 ELF executable.  Raises BadElf."""
    if not is_elf(data):
        raise BadElf(f"{name}: it does not begin with the ELF magic; a RISC-V ELF program is expected")
    if len(data) < _EHDR.size:
        raise BadElf(f"{name}: it ends within the ELF header, at byte {len(data)} of {_EHDR.size}")
    ident, kind, machine, _, entry, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, _ = _EHDR.unpack_from(data)
    if machine != EM_RISCV:
        what = _MACHINES.get(machine, f"machine number {machine}")
        raise BadElf(f"{name}: it is for {what}; RISC-V is expected (build it with a riscv64 compiler)")
    if ident[4] != 2 or ident[5] != 1:
        raise BadElf(f"{name}: it is not 64-bit little-endian; RV64 is expected")
    if kind not in (2, 3):
        raise BadElf(f"{name}: its type is {kind}; an executable (2) is expected, not an object file or a core dump")
    if phnum and (phentsize != _PHDR.size or phoff + phnum * phentsize > len(data)):
        raise BadElf(f"{name}: its program headers lie at {phoff:#x}, past its end at {len(data):#x}")
    segments = []
    for i in range(phnum):
        p_type, _, offset, _, physical, file_bytes, memory_bytes, _ = _PHDR.unpack_from(data, phoff + i * phentsize)
        if p_type != PT_LOAD or memory_bytes == 0:
            continue
        if offset + file_bytes > len(data) or file_bytes > memory_bytes:
            raise BadElf(
                f"{name}: segment {i} claims bytes {offset:#x} to {offset + file_bytes:#x}, "
                f"but the file ends at {len(data):#x}; it is truncated"
            )
        segments.append(Segment(physical, offset, file_bytes, memory_bytes))
    if not segments:
        raise BadElf(f"{name}: it has nothing to load (no PT_LOAD segment)")
    return Elf(entry, segments, _symbols(data, shoff, shentsize, shnum))


def _symbols(data: bytes, shoff: int, shentsize: int, shnum: int) -> dict[str, int]:
    """The symbol table, empty when there is none or it is damaged: it only adds.

    A file has one at most (System V ABI, "Sections"); further ones are left."""
    if shentsize != _SHDR.size or shoff + shnum * shentsize > len(data):
        return {}
    headers = [_SHDR.unpack_from(data, shoff + i * shentsize) for i in range(shnum)]
    found: dict[str, int] = {}
    for _, kind, _, _, offset, size, link, _, _, entsize in headers:
        if kind != SHT_SYMTAB or entsize != _SYM.size or link >= shnum or offset + size > len(data):
            continue
        strings, length = headers[link][4], headers[link][5]
        table = data[strings : strings + length]
        for at in range(offset, offset + size - _SYM.size + 1, _SYM.size):
            name, _, _, _, value, _ = _SYM.unpack_from(data, at)
            end = table.find(b"\0", name, name + SYMBOL_BYTES)
            if 0 < name < len(table) and end >= 0:
                found[table[name:end].decode("latin-1")] = value
        break
    return found

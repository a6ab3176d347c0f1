"""An ELF file that has symbols and nothing else, for a gdb that asks the target
for its program (qXfer:exec-file).  System V ABI, "Symbol Table"."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable

EM_RISCV, ET_EXEC = 243, 2
SHT_NOBITS, SHT_SYMTAB, SHT_STRTAB = 8, 2, 3
SHF_ALLOC, SHF_EXECINSTR = 2, 4
STT_OBJECT, STT_FUNC, STB_GLOBAL = 1, 2, 1
EF_RVC_DOUBLE = 0x5  # compressed code, floats in double registers
BATCH = 4000  # symbols between two looks at what else there is to do
_EHDR, _SHDR, _SYM = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ")
_NAMES = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"


async def symbol_file(symbols: Iterable[tuple[str, str, int]]) -> bytes:
    """The file's bytes, from (letter as nm prints it, name, address) of each
    symbol; b"" without any.  Gives way to others meanwhile.

    One section without contents spans all of them, so that gdb takes each for
    what it is, and reads code from the target's memory.
    """
    table, strings = bytearray(_SYM.size), bytearray(b"\0")
    low, high, count = 1 << 64, 0, 0
    for number, (letter, name, address) in enumerate(symbols):
        if number % BATCH == BATCH - 1:
            await asyncio.sleep(0)
        if not useful(name):
            continue
        kind = STT_FUNC if letter in "tTwW" else STT_OBJECT
        table += _SYM.pack(len(strings), STB_GLOBAL << 4 | kind, 0, 1, address, 0)
        strings += name.encode() + b"\0"
        low, high, count = min(low, address), max(high, address), count + 1
    return _elf(bytes(table), bytes(strings), low, high - low + 4) if count else b""


def useful(name: str) -> bool:
    """Not the compiler's own labels, nor tables that only the kernel's linker wants."""
    return bool(name) and name[0] not in "$." and not name.startswith(("__pfx_", "__ksym", "__kstr", "__crc_", "__event_", "L0"))


def _elf(table: bytes, strings: bytes, low: int, size: int) -> bytes:
    at = _EHDR.size
    parts = [table, strings, _NAMES]
    places = []
    for part in parts:
        places.append(at)
        at += len(part)
    at = (at + 7) & ~7
    header = _EHDR.pack(b"\x7fELF\x02\x01\x01", ET_EXEC, EM_RISCV, 1, 0, 0, at, EF_RVC_DOUBLE, 64, 56, 0, 64, 5, 4)
    sections = [
        _SHDR.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        _SHDR.pack(1, SHT_NOBITS, SHF_ALLOC | SHF_EXECINSTR, low, at, size, 0, 0, 4, 0),
        _SHDR.pack(7, SHT_SYMTAB, 0, 0, places[0], len(table), 3, 1, 8, _SYM.size),
        _SHDR.pack(15, SHT_STRTAB, 0, 0, places[1], len(strings), 0, 0, 1, 0),
        _SHDR.pack(23, SHT_STRTAB, 0, 0, places[2], len(_NAMES), 0, 0, 1, 0),
    ]
    body = header + b"".join(parts)
    return body.ljust(at, b"\0") + b"".join(sections)



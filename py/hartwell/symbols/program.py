"""Symbols, source lines and call frames of ELF files: programs, libraries, a vmlinux.

Files come from a guest, so they may be damaged or lie: what can't be read
gives no symbols, never an error further up than `Program`.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property

from hartwell.errors import BadElf
from hartwell.symbols.frames import Frames
from hartwell.symbols.lines import Lines
from hartwell.symbols.table import Symbol, SymbolTable

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_PHDR = struct.Struct("<IIQQQQQQ")
_SYM = struct.Struct("<IBBHQQ")
_PT_LOAD, _PF_X, _SYMTAB, _DYNSYM = 1, 1, 2, 11
_KINDS = {1: "d", 2: "t", 6: "b", 10: "i"}  # STT_OBJECT, FUNC, TLS, GNU_IFUNC
_LONGEST_NAME = 4096


class Program:
    """An ELF file with addresses as it was linked, RV64 or any other 64-bit one.

    name: what it is called.  Raises BadElf for what is no ELF.
    """

    def __init__(self, data: bytes, name: str = "program") -> None:
        if len(data) < _EHDR.size or data[:6] != b"\x7fELF\x02\x01":
            raise BadElf(f"{name}: it is no 64-bit little-endian ELF file")
        self.name, self._data = name, data
        header = _EHDR.unpack_from(data)
        self.relocated = header[1] == 3  # ET_DYN: linked at 0, placed by the kernel
        self._phoff, self._shoff, self._phnum, self._shnum = header[5], header[6], header[10], header[12]

    @cached_property
    def code(self) -> list[tuple[int, int, int]]:
        """(file offset, address, bytes in the file) of each part that is mapped to be run."""
        found = []
        for i in range(self._phnum):
            if self._phoff + (i + 1) * _PHDR.size > len(self._data):
                break
            kind, flags, offset, address, _, size, _, _ = _PHDR.unpack_from(self._data, self._phoff + i * _PHDR.size)
            if kind == _PT_LOAD and flags & _PF_X:
                found.append((offset, address, size))
        return found

    def linked_at(self, offset: int) -> int | None:
        """The address of code at a file offset as it was linked; None where no code
        is.  Mappings begin at a page, code need not: the page's start will do."""
        for start, address, size in self.code:
            if start & ~0xFFF <= offset < start + size:
                return int(address + offset - start)
        return None

    @cached_property
    def symbols(self) -> SymbolTable:
        """Functions and variables: .symtab, or .dynsym where it was stripped."""
        found: dict[int, list[Symbol]] = {}
        headers = [
            _SHDR.unpack_from(self._data, self._shoff + i * _SHDR.size)
            for i in range(self._shnum) if self._shoff + (i + 1) * _SHDR.size <= len(self._data)
        ]
        for kind in (_SYMTAB, _DYNSYM):
            for header in headers:
                if header[1] == kind and header[6] < len(headers) and not found.get(kind):
                    found[kind] = list(self._table(header, headers[header[6]]))
        return SymbolTable(found.get(_SYMTAB) or found.get(_DYNSYM) or ())

    def _table(self, header: tuple[int, ...], strings: tuple[int, ...]) -> Iterator[Symbol]:
        offset, size = header[4], header[5]
        text = self._data[strings[4] : strings[4] + strings[5]]
        end = min(offset + size, len(self._data))
        whole = self._data[offset : offset + (end - offset) // _SYM.size * _SYM.size]
        for name, info, _, section, value, length in _SYM.iter_unpack(whole):
            kind = _KINDS.get(info & 15)
            if kind is None and not (info & 15 == 0 and info >> 4):  # a global of no type is a label of assembly
                continue
            stop = text.find(b"\0", name, name + _LONGEST_NAME)
            if section == 0 or not 0 < name < len(text) or stop < 0:
                continue
            letter = kind or "t"
            yield Symbol(text[name:stop].decode("latin-1"), value, length, letter.upper() if info >> 4 else letter, self.name)

    @cached_property
    def lines(self) -> Lines:
        """Its source lines, where it was built with -g."""
        return Lines(self._data)

    @cached_property
    def frames(self) -> Frames:
        """How its functions' callers are found."""
        return Frames(self._data, self._section(".debug_frame"))

    def line(self, address: int) -> tuple[str, int] | None:
        """(file, line) of an address as linked; None where DWARF says nothing."""
        return self.lines.at(address)

    def _section(self, name: str) -> bytes:
        """A section's contents, b"" where there is none."""
        from elftools.elf.elffile import ELFFile

        with suppress(Exception):  # whatever pyelftools says of a damaged file
            section = ELFFile(io.BytesIO(self._data)).get_section_by_name(name)
            return bytes(section.data()) if section else b""
        return b""

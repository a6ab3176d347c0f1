"""Kernel modules without what only a linker, or nobody, asks for.

On RISC-V an assembler leaves a label for each pc-relative pair and for each
place that relaxation may move: of netfs.ko's 54,000 symbols one in eight is
named by a relocation or is a function's.  Loading copies them, resolves them
and looks at each several times.  What stays is what relocations name, and what
has a name of its own, for backtraces, profiles and tracing.

The types in .BTF are for BPF programs that call functions of the module; .comment
names the compiler.  Sections keep their numbers; these two become empty.

ELF-64 object files: System V ABI, chapter 4.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEADER = 64
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_SYMTAB, _RELA, _NOBITS = 2, 4, 8
_LOCAL, _SECTION_TYPE = 0, 3
_EMPTIED = {b".BTF", b".comment"}


@dataclass
class _Section:
    name: bytes
    fields: list[int]  # name, type, flags, address, offset, size, link, info, alignment, entry size
    data: bytes

    @property
    def kind(self) -> int:
        return self.fields[1]


def slim(data: bytes) -> bytes:
    """The module with the symbols that a kernel needs; raises ValueError when it is no ELF-64 object."""
    sections = _read(data)
    symbols = next((section for section in sections if section.kind == _SYMTAB), None)
    if symbols is None:
        return data
    for section in sections:
        if section.name in _EMPTIED:
            section.data = b""
    _drop_symbols(sections, symbols)
    return _write(data, sections)


def _read(data: bytes) -> list[_Section]:
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a little-endian ELF-64 file")
    (at,) = struct.unpack_from("<Q", data, 0x28)
    _, count, strings = struct.unpack_from("<HHH", data, 0x3A)
    headers = [list(_SECTION.unpack_from(data, at + i * _SECTION.size)) for i in range(count)]
    names = headers[strings][4]

    def name(header: list[int]) -> bytes:
        start = names + header[0]
        return data[start : data.index(b"\0", start)]

    return [
        _Section(name(fields), fields, b"" if fields[1] == _NOBITS else data[fields[4] : fields[4] + fields[5]])
        for fields in headers
    ]


def _drop_symbols(sections: list[_Section], symbols: _Section) -> None:
    strings = sections[symbols.fields[6]]
    relocations = [s for s in sections if s.kind == _RELA and sections[s.fields[6]] is symbols]
    named = {info >> 32 for section in relocations for _, info, _ in _RELOCATION.iter_unpack(section.data)}
    number: dict[int, int] = {}
    texts, kept, local = bytearray(b"\0"), bytearray(), 0
    for old, (name, info, other, section, value, size) in enumerate(_SYMBOL.iter_unpack(symbols.data)):
        text = strings.data[name : strings.data.index(b"\0", name)]
        binding, kind = info >> 4, info & 15
        if old and old not in named and binding == _LOCAL and kind != _SECTION_TYPE and _labels_a_place(text):
            continue
        number[old] = len(number)
        local += binding == _LOCAL
        if _labels_a_place(text):
            text = b""  # its relocations go by number
        kept += _SYMBOL.pack(len(texts) if text else 0, info, other, section, value, size)
        if text:
            texts += text + b"\0"
    for section in relocations:
        section.data = b"".join(
            _RELOCATION.pack(place, number[info >> 32] << 32 | info & 0xFFFFFFFF, addend)
            for place, info, addend in _RELOCATION.iter_unpack(section.data)
        )
    symbols.data, strings.data = bytes(kept), bytes(texts)
    symbols.fields[7] = local  # one more than the last local symbol's number


def _labels_a_place(name: bytes) -> bool:
    """Is it the assembler's: a label of its own, or a mark that code or data begins?"""
    return not name or name.startswith((b".L", b"$"))


def _write(data: bytes, sections: list[_Section]) -> bytes:
    made = bytearray(data[:_HEADER])
    for section in sorted(sections[1:], key=lambda section: section.fields[4]):
        made += bytes(-len(made) % max(section.fields[8], 1))
        section.fields[4] = len(made)
        if section.kind != _NOBITS:
            section.fields[5] = len(section.data)
            made += section.data
    made += bytes(-len(made) % 8)
    struct.pack_into("<Q", made, 0x28, len(made))
    for section in sections:
        made += _SECTION.pack(*section.fields)
    return bytes(made)

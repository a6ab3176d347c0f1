"""ELF programs: real ones, damaged ones and hostile ones."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from hartwell.elf import Segment, is_elf, read_elf
from hartwell.errors import BadElf

EHDR, PHDR, SHDR, SYM = "<16sHHIQQQIHHHHHH", "<IIQQQQQQ", "<IIQQQQIIQQ", "<IBBHQQ"
IDENT = b"\x7fELF\x02\x01\x01"
PROGRAM = """
.globl _start, tohost
.section .text
_start:
    la a0, tohost
    j .
.section .data
.balign 8
tohost: .dword 0
.section .bss
room: .zero 5000
"""


def header(
    *, ident: bytes = IDENT, kind: int = 2, machine: int = 243, entry: int = 0x8000_0000, phoff: int = 64,
    shoff: int = 0, phentsize: int = 56, phnum: int = 0, shentsize: int = 64, shnum: int = 0,
) -> bytes:
    return struct.pack(
        EHDR, ident.ljust(16, b"\0"), kind, machine, 1, entry, phoff, shoff, 0, 64, phentsize, phnum, shentsize, shnum, 0
    )


def segment(kind: int = 1, offset: int = 0, at: int = 0x8000_0000, filed: int = 64, memory: int = 128) -> bytes:
    return struct.pack(PHDR, kind, 5, offset, at, at, filed, memory, 4096)


def with_symbols(symbols: bytes, strings: bytes) -> bytes:
    """A program with a symbol table (section 1) and its strings (section 2)."""
    at = 64 + 56 + 3 * 64
    sections = bytes(64)
    sections += struct.pack(SHDR, 0, 2, 0, 0, at, len(symbols), 2, 0, 8, 24)
    sections += struct.pack(SHDR, 0, 3, 0, 0, at + len(symbols), len(strings), 0, 0, 1, 0)
    return header(phnum=1, shoff=64 + 56, shnum=3) + segment() + sections + symbols + strings


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program that clang and lld made."""
    folder: Path = tmp_path_factory.mktemp("elf")
    source, built = folder / "program.S", folder / "program"
    source.write_text(PROGRAM)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-freestanding", "-nostdlib", "-static"]
    subprocess.run([*command, "-Wl,--image-base=0x80000000", "-o", str(built), str(source)], check=True, timeout=900)
    return built.read_bytes()


def test_a_real_program_is_as_pyelftools_sees_it(real: bytes, tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(real)
    elf = read_elf(real)
    with (tmp_path / "program").open("rb") as file:
        known = ELFFile(file)
        loads = [one.header for one in known.iter_segments("PT_LOAD") if one.header.p_memsz]
        assert elf.entry == known.header.e_entry
        assert elf.segments == [Segment(one.p_paddr, one.p_offset, one.p_filesz, one.p_memsz) for one in loads]
        table = known.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        symbols = {one.name: one["st_value"] for one in table.iter_symbols() if one.name}
    assert elf.symbols == symbols
    assert {"_start", "tohost", "room"} <= set(elf.symbols)
    assert elf.symbols["_start"] == elf.entry
    assert any(one.memory_bytes > one.file_bytes for one in elf.segments), "the program has no bss"


def test_a_real_program_cut_off_anywhere_is_bad_or_whole(real: bytes) -> None:
    whole = read_elf(real)
    end = max(one.offset + one.file_bytes for one in whole.segments)
    for length in [*range(200), *range(200, len(real), 97)]:
        try:
            elf = read_elf(real[:length])
        except BadElf:
            assert length < end
        else:
            assert length >= end
            assert elf.segments == whole.segments


@given(st.data())
def test_a_real_program_with_damage_is_read_or_bad(real: bytes, data: st.DataObject) -> None:
    damaged = bytearray(real)
    for _ in range(data.draw(st.integers(1, 8))):
        near = data.draw(st.sampled_from([0, 64, len(real) - 64 * 12]))
        damaged[near + data.draw(st.integers(0, 500)) % (len(real) - near)] = data.draw(st.integers(0, 255))
    check(bytes(damaged))


@given(st.binary(max_size=400))
def test_any_bytes_behind_the_magic_are_read_or_bad(data: bytes) -> None:
    check(IDENT + data)


@given(
    kind=st.sampled_from([2, 3]), phoff=st.integers(0, 300), phnum=st.integers(0, 5),
    phentsize=st.sampled_from([0, 55, 56, 57]), shoff=st.integers(0, 300), shnum=st.integers(0, 5),
    shentsize=st.sampled_from([0, 64]), rest=st.binary(max_size=400),
)
def test_any_headers_are_read_or_bad(
    kind: int, phoff: int, phnum: int, phentsize: int, shoff: int, shnum: int, shentsize: int, rest: bytes
) -> None:
    check(header(kind=kind, phoff=phoff, phnum=phnum, phentsize=phentsize, shoff=shoff, shnum=shnum,
                 shentsize=shentsize) + rest)


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_any_segment_is_inside_the_file_or_bad(offset: int, filed: int, memory: int) -> None:
    check(header(phnum=1) + segment(offset=offset, filed=filed, memory=memory))


@given(st.binary(max_size=240), st.binary(max_size=100))
def test_any_symbol_table_is_read(symbols: bytes, strings: bytes) -> None:
    elf = read_elf(with_symbols(symbols, strings))
    assert len(elf.symbols) <= len(symbols) // 24


def check(data: bytes) -> None:
    """What was read may be used without another look."""
    try:
        elf = read_elf(data, "it")
    except BadElf as error:
        assert str(error).startswith("it: ")
        return
    assert elf.segments
    for one in elf.segments:
        assert 0 <= one.offset <= one.offset + one.file_bytes <= len(data)
        assert one.file_bytes <= one.memory_bytes


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not begin with the ELF magic"),
        (b"#!/bin/sh\n", "does not begin with the ELF magic"),
        (IDENT, "ends within the ELF header, at byte 7 of 64"),
        (header(machine=62), "it is for x86-64; RISC-V is expected"),
        (header(machine=183), "it is for AArch64"),
        (header(machine=999), "it is for machine number 999"),
        (header(ident=b"\x7fELF\x01\x01"), "not 64-bit little-endian"),
        (header(ident=b"\x7fELF\x02\x02"), "not 64-bit little-endian"),
        (header(kind=1), "its type is 1; an executable"),
        (header(kind=4), "its type is 4; an executable"),
        (header(phnum=1, phoff=1 << 63), "its program headers lie at 0x8000000000000000"),
        (header(phnum=1) + segment()[:-1], "its program headers lie at 0x40, past its end at 0x77"),
        (header(phnum=1, phentsize=32) + segment(), "its program headers"),
        (header(), "it has nothing to load"),
        (header(phnum=1) + segment(kind=2), "it has nothing to load"),
        (header(phnum=1) + segment(filed=0, memory=0), "it has nothing to load"),
        (header(phnum=1) + segment(filed=500, memory=500), "segment 0 claims bytes 0x0 to 0x1f4, .* it is truncated"),
        (header(phnum=1) + segment(filed=64, memory=63), "segment 0 claims"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, says: str) -> None:
    with pytest.raises(BadElf, match=f"^hello: .*{says}"):
        read_elf(data, "hello")


def test_is_elf() -> None:
    assert is_elf(header())
    assert not is_elf(b"\x7fEL")


def test_symbols_by_name() -> None:
    strings = b"\0tohost\0fromhost\0cut"
    symbols = b"".join(
        struct.pack(SYM, name, 0x11, 0, 1, value, 8)
        for name, value in ((0, 1), (1, 0x8000_1000), (8, 0x8000_1008), (17, 3), (1000, 4))
    )
    assert read_elf(with_symbols(symbols, strings)).symbols == {"tohost": 0x8000_1000, "fromhost": 0x8000_1008}


def test_hostile_symbols_take_no_time() -> None:
    """Many names that all run on to the end of a long table."""
    symbols = b"".join(struct.pack(SYM, 1 + i, 0, 0, 1, i, 0) for i in range(20_000))
    data = with_symbols(symbols, b"a" * 4_000_000 + b"\0")
    before = time.process_time()
    assert read_elf(data).symbols == {}
    assert time.process_time() - before < 2

"""kmod_slim: relocations must mean the same in what is left, and real names must be there."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from hartwell.setup.kmod_slim import slim

# A module's kinds of relocation: calls, pairs of pc-relative halves, data, strings.
SOURCE = """
static int table[40];
extern int other(const char *, int *);
__attribute__((section(".BTF"))) const char types[] = "what BPF asks for";
static __attribute__((noinline)) int helper(int n) { return n > 3 ? table[n & 7] : other("text", table); }
int entry(int n) { for (int k = 0; k < n; k++) table[k % 40] += helper(k); return helper(n); }
"""
Symbol = tuple[int, int, int, int]  # binding and type, section, value, size


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An object file as a kernel's build makes it, relaxation's labels included."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "m.c").write_text(SOURCE)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-freestanding-none", "-O1", "-g", "-c",
               "-fno-sanitize=all", "-mrelax", str(folder / "m.c"), "-o", str(folder / "m.o")]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return (folder / "m.o").read_bytes()


class Elf:
    """Sections by name, symbols and relocations, read apart from the code under test."""

    def __init__(self, data: bytes) -> None:
        (at,) = struct.unpack_from("<Q", data, 0x28)
        size, count, strings = struct.unpack_from("<HHH", data, 0x3A)
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, at + i * size) for i in range(count)]
        names = [_text(data, headers[strings][4] + header[0]) for header in headers]
        self.bytes = {name: data[h[4] : h[4] + h[5]] for name, h in zip(names, headers, strict=True) if h[1] != 8}
        self.facts = [(name, h[1], h[2], h[6]) for name, h in zip(names, headers, strict=True)]
        table = headers[names.index(".symtab")]
        texts = headers[table[6]][4]
        self.names: list[str] = []
        self.symbols: list[Symbol] = []
        for name, info, _, section, value, length in struct.iter_unpack("<IBBHQQ", self.bytes[".symtab"]):
            self.names.append(_text(data, texts + name))
            self.symbols.append((info, section, value, length))
        self.first_global = table[7]
        self.relocations = {
            name: [(where, info & 0xFFFFFFFF, self.symbols[info >> 32], addend)
                   for where, info, addend in struct.iter_unpack("<QQq", self.bytes[name])]
            for name, header in zip(names, headers, strict=True) if header[1] == 4
        }


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def test_relocations_name_the_same_places(plain: bytes) -> None:
    before, after = Elf(plain), Elf(slim(plain))
    assert sum(map(len, before.relocations.values())) > 10
    assert after.relocations == before.relocations


def test_what_is_loaded_is_unchanged(plain: bytes) -> None:
    before, after = Elf(plain), Elf(slim(plain))
    assert after.facts == before.facts
    assert after.bytes[".text"] == before.bytes[".text"]
    assert before.bytes[".BTF"] and not after.bytes[".BTF"]


def test_names_stay_and_labels_go(plain: bytes) -> None:
    before, after = Elf(plain), Elf(slim(plain))
    real = [name for name in before.names if name and not name.startswith((".L", "$"))]
    assert {"helper", "entry", "other", "table"} <= set(real)
    assert [name for name in after.names if name] == real
    assert len(after.symbols) < len(before.symbols)
    local = [info >> 4 == 0 for info, _, _, _ in after.symbols]
    assert local == [True] * after.first_global + [False] * (len(local) - after.first_global)


def test_again_changes_nothing(plain: bytes) -> None:
    once = slim(plain)
    assert slim(once) == once


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="ELF-64"):
        slim(b"\x7fELF\x01\x01" + bytes(100))

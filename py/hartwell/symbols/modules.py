"""Symbols of the kernel's loadable modules: struct module's own copies of their
ELF symbol tables (include/linux/module.h: mod_kallsyms)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hartwell.errors import BadAddress
from hartwell.linux.kernel import Kernel
from hartwell.symbols.table import Symbol, SymbolTable

_SYM = struct.Struct("<IBBHQQ")
_MOST_SYMBOLS = 1 << 18
_STRINGS = 1 << 16


def module_symbols(kernel: Kernel) -> SymbolTable:
    """Symbols of all modules that are loaded now, each with its module's name."""
    found: list[Symbol] = []
    for module in kernel.list(kernel.address("modules"), "module", "list"):
        try:
            found += _symbols(kernel, module)
        except BadAddress:
            continue  # it is being loaded, or goes
    return SymbolTable(found)


def settled(kernel: Kernel) -> bool:
    """Has no module its initialisation's symbols any more?  Until then what
    module_symbols says of it changes."""
    own, core = kernel.offset("module", "kallsyms"), kernel.offset("module", "core_kallsyms")
    return all(
        kernel.u64(module + own) == module + core for module in kernel.list(kernel.address("modules"), "module", "list")
    )


def _symbols(kernel: Kernel, module: int) -> Iterator[Symbol]:
    name = kernel.space.text(module + kernel.offset("module", "name"), 56)
    table = kernel.field(module, "module", "kallsyms")
    count = kernel.field(table, "mod_kallsyms", "num_symtab")
    symtab, strtab, typetab = (kernel.field(table, "mod_kallsyms", part) for part in ("symtab", "strtab", "typetab"))
    count = min(count, _MOST_SYMBOLS)
    symbols = kernel.space.read(symtab, _SYM.size * count)
    kinds = kernel.space.read(typetab, count)
    text = _strings(kernel, strtab, max((at for at, *_ in _SYM.iter_unpack(symbols)), default=0))
    for (at, _, _, section, value, size), kind in zip(_SYM.iter_unpack(symbols), kinds, strict=True):
        end = text.find(b"\0", at)
        label = text[at : end if end >= 0 else len(text)].decode("latin-1")
        if label and section and not label.startswith(("$", ".L")):
            yield Symbol(label, value, size, chr(kind), name)


def _strings(kernel: Kernel, start: int, last: int) -> bytes:
    """The string table up to and with the string at offset `last`."""
    parts, at = b"", 0
    want = last + 512
    while at < want:
        size = min(4096 - (start + at) % 4096, want - at)
        try:
            parts += kernel.space.read(start + at, size)
        except BadAddress:
            break
        at += size
    return parts

"""Reads the few facts of a Wasm module that the build checks.

WebAssembly Core Specification 2.0, section 5.5 (modules).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_IMPORT, _GLOBAL, _EXPORT = 2, 6, 7
_KINDS = {0: "function", 1: "table", 2: "memory", 3: "global"}


@dataclass
class Module:
    """Imports and exports by "module.name" and name; i32 constants of exported globals."""

    imports: dict[str, str] = field(default_factory=dict)
    exports: dict[str, str] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    memory_pages: tuple[int, int] = (0, 0)  # of the imported memory: minimum, maximum
    memory_shared: bool = False


class _Reader:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def u32(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def signed(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value - (1 << shift) if byte & 0x40 else value

    def name(self) -> str:
        length = self.u32()
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def limits(self) -> tuple[int, int, bool]:
        flags = self.byte()
        low = self.u32()
        return low, self.u32() if flags & 1 else 0, bool(flags & 2)


def parse(data: bytes) -> Module:
    """The module's interface; ValueError when this is no Wasm module."""
    if data[:8] != b"\0asm\x01\0\0\0":
        raise ValueError("not a WebAssembly module of version 1")
    module = Module()
    globals_: list[int | None] = []
    exported: dict[str, int] = {}
    for kind, reader in _sections(data):
        if kind == _IMPORT:
            for _ in range(reader.u32()):
                _import(module, reader, globals_)
        elif kind == _GLOBAL:
            for _ in range(reader.u32()):
                globals_.append(_global(reader))
        elif kind == _EXPORT:
            for _ in range(reader.u32()):
                name, what, index = reader.name(), reader.byte(), reader.u32()
                module.exports[name] = _KINDS.get(what, "tag")
                if what == 3:
                    exported[name] = index
    for name, index in exported.items():
        if (value := globals_[index]) is not None:
            module.constants[name] = value
    return module


def _sections(data: bytes) -> Iterator[tuple[int, _Reader]]:
    reader = _Reader(data, 8)
    while reader.at < len(data):
        kind, size = reader.byte(), reader.u32()
        yield kind, _Reader(data, reader.at)
        reader.at += size


def _import(module: Module, reader: _Reader, globals_: list[int | None]) -> None:
    name = f"{reader.name()}.{reader.name()}"
    kind = reader.byte()
    module.imports[name] = _KINDS.get(kind, "tag")
    if kind == 0:
        reader.u32()
    elif kind == 1:
        reader.byte()
        reader.limits()
    elif kind == 2:
        low, high, module.memory_shared = reader.limits()
        module.memory_pages = (low, high)
    elif kind == 3:
        reader.at += 2
        globals_.append(None)


def _global(reader: _Reader) -> int | None:
    """The value of a global that a lone i32.const or i64.const sets, else None."""
    reader.at += 2  # type, mutability
    value: int | None = None
    while (opcode := reader.byte()) != 0x0B:
        if opcode in (0x41, 0x42):
            value = reader.signed()
        elif opcode in (0x43, 0x44):
            reader.at += 4 if opcode == 0x43 else 8
        else:
            reader.u32()
    return value

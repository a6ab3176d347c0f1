"""Reads the few facts of a Wasm module that the build checks.

WebAssembly Core Specification 2.0, section 5.5 (modules).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hartwell.wasm_format import MAGIC, Reader, sections

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


def parse(data: bytes) -> Module:
    """The module's interface; ValueError when this is no Wasm module."""
    if data[:8] != MAGIC:
        raise ValueError("not a WebAssembly module of version 1")
    module = Module()
    globals_: list[int | None] = []
    exported: dict[str, int] = {}
    for kind, body in sections(data):
        reader = Reader(body)
        if kind == _IMPORT:
            for _ in range(reader.unsigned()):
                _import(module, reader, globals_)
        elif kind == _GLOBAL:
            for _ in range(reader.unsigned()):
                globals_.append(_global(reader))
        elif kind == _EXPORT:
            for _ in range(reader.unsigned()):
                name, what, index = reader.name(), reader.byte(), reader.unsigned()
                module.exports[name] = _KINDS.get(what, "tag")
                if what == 3:
                    exported[name] = index
    for name, index in exported.items():
        if (value := globals_[index]) is not None:
            module.constants[name] = value
    return module


def _limits(reader: Reader) -> tuple[int, int, bool]:
    flags = reader.byte()
    low = reader.unsigned()
    return low, reader.unsigned() if flags & 1 else 0, bool(flags & 2)


def _import(module: Module, reader: Reader, globals_: list[int | None]) -> None:
    name = f"{reader.name()}.{reader.name()}"
    kind = reader.byte()
    module.imports[name] = _KINDS.get(kind, "tag")
    if kind == 0:
        reader.unsigned()
    elif kind == 1:
        reader.byte()
        _limits(reader)
    elif kind == 2:
        low, high, module.memory_shared = _limits(reader)
        module.memory_pages = (low, high)
    elif kind == 3:
        reader.at += 2
        globals_.append(None)


def _global(reader: Reader) -> int | None:
    """The value of a global that a lone i32.const or i64.const sets, else None."""
    reader.at += 2  # type, mutability
    value: int | None = None
    while (opcode := reader.byte()) != 0x0B:
        if opcode in (0x41, 0x42):
            value = reader.signed()
        elif opcode in (0x43, 0x44):
            reader.at += 4 if opcode == 0x43 else 8
        else:
            reader.unsigned()
    return value

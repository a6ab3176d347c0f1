"""A flattened device tree from nested Python, and back.

Devicetree Specification 0.4, chapter 5 (format version 17).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from hartwell.errors import BadConfiguration

MAGIC = 0xD00D_FEED
BEGIN_NODE, END_NODE, PROP, NOP, END = 1, 2, 3, 4, 9
_HEADER = struct.Struct(">10I")

Value = bytes | str | int | list[int] | list[str] | None


@dataclass
class Node:
    """A node: properties in order, then children.

    A property's value is an int (one cell), a list of ints (cells), a string
    or list of strings, bytes as they are, or None (present, no value).
    """

    name: str
    properties: dict[str, Value] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def add(self, name: str, **properties: Value) -> Node:
        """Appends a child; ``_`` in keyword names becomes ``-``."""
        child = Node(name, {key.replace("_", "-"): value for key, value in properties.items()})
        self.children.append(child)
        return child

    def find(self, path: str) -> Node:
        """The node at a path like ``/soc/serial@10000000``; KeyError if none."""
        node = self
        for part in filter(None, path.split("/")):
            for child in node.children:
                if child.name == part:
                    node = child
                    break
            else:
                raise KeyError(path)
        return node


def cells64(*values: int) -> list[int]:
    """Each value as two cells, high first."""
    return [half for value in values for half in (value >> 32, value & 0xFFFF_FFFF)]


def _encode(value: Value) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return struct.pack(">I", value)
    if isinstance(value, str):
        return value.encode() + b"\0"
    if all(isinstance(item, int) for item in value):
        return struct.pack(f">{len(value)}I", *value)
    return b"".join(str(item).encode() + b"\0" for item in value)


def encode(root: Node) -> bytes:
    """The flattened tree."""
    strings = bytearray()
    offsets: dict[str, int] = {}
    out = bytearray()

    def pad() -> None:
        out.extend(bytes(-len(out) % 4))

    def walk(node: Node) -> None:
        out.extend(struct.pack(">I", BEGIN_NODE) + node.name.encode() + b"\0")
        pad()
        for name, value in node.properties.items():
            if name not in offsets:
                offsets[name] = len(strings)
                strings.extend(name.encode() + b"\0")
            data = _encode(value)
            out.extend(struct.pack(">III", PROP, len(data), offsets[name]) + data)
            pad()
        for child in node.children:
            walk(child)
        out.extend(struct.pack(">I", END_NODE))

    walk(root)
    out.extend(struct.pack(">I", END))
    reserve = bytes(16)
    structure = _HEADER.size + len(reserve)
    total = structure + len(out) + len(strings)
    header = _HEADER.pack(MAGIC, total, structure, structure + len(out), _HEADER.size, 17, 16, 0, len(strings), len(out))
    return header + reserve + bytes(out) + bytes(strings)


def decode(blob: bytes) -> Node:
    """Reads a flattened tree back; property values stay bytes.

    Raises BadConfiguration for what is no device tree.
    """
    if len(blob) < _HEADER.size or _HEADER.unpack_from(blob)[0] != MAGIC:
        raise BadConfiguration("device tree: it does not begin with the magic d00dfeed")
    _, total, at, strings, _, version, *_ = _HEADER.unpack_from(blob)
    if total > len(blob) or version < 16:
        raise BadConfiguration(
            f"device tree: {total} bytes of version {version} in {len(blob)} bytes; version 16 or 17 is expected"
        )
    try:
        return _read_nodes(blob[:total], at, strings)
    except (struct.error, ValueError, IndexError):
        raise BadConfiguration("device tree: a node, a property or a string goes past its end") from None


def _read_nodes(blob: bytes, at: int, strings: int) -> Node:
    def text(offset: int) -> str:
        return blob[offset : blob.index(0, offset)].decode()

    top = Node("")
    stack = [top]
    while True:
        (token,) = struct.unpack_from(">I", blob, at)
        at += 4
        if token == BEGIN_NODE:
            child = Node(text(at))
            at = (at + len(child.name.encode()) + 4) & ~3
            stack[-1].children.append(child)
            stack.append(child)
        elif token == PROP:
            length, name_at = struct.unpack_from(">II", blob, at)
            if at + 8 + length > len(blob):
                raise IndexError(length)
            stack[-1].properties[text(strings + name_at)] = blob[at + 8 : at + 8 + length]
            at = (at + 8 + length + 3) & ~3
        elif token == END_NODE:
            stack.pop()
        elif token == END:
            if len(stack) != 1:
                raise BadConfiguration(f"device tree: it ends inside node {stack[-1].name!r}")
            return top.children[0]
        elif token != NOP:
            raise BadConfiguration(f"device tree: unknown token {token:#x} at byte {at - 4}")

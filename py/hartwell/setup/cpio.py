"""Writes initramfs archives: the "newc" format of cpio(5), as the kernel unpacks it.

Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's
sources.  Owners are root and times are zero, so the same tree gives the same
bytes, and no right to make device nodes is needed.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass

_ALIGN = 4
_BLOCK = 512


@dataclass(frozen=True)
class Node:
    """One file: `mode` with its type bits, `data` the content or a link's target."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


class Tree:
    """Paths without a leading slash, each a Node; parent folders come by themselves."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def folder(self, path: str, mode: int = 0o755) -> None:
        self._add(path, Node(stat.S_IFDIR | mode))

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self._add(path, Node(stat.S_IFREG | mode, data))

    def link(self, path: str, target: str) -> None:
        self._add(path, Node(stat.S_IFLNK | 0o777, target.encode()))

    def device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """A character device."""
        self._add(path, Node(stat.S_IFCHR | mode, device=(major, minor)))

    def _add(self, path: str, node: Node) -> None:
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"{path!r}: a path in the archive is relative and has no ..")
        parent = ""
        for part in path.split("/")[:-1]:
            parent = f"{parent}/{part}".lstrip("/")
            self.nodes.setdefault(parent, Node(stat.S_IFDIR | 0o755))
        self.nodes[path] = node

    def archive(self) -> bytes:
        """The whole tree as one newc archive; folders stand before what is in them."""
        out = bytearray()
        for inode, (path, node) in enumerate(sorted(self.nodes.items()), 1):
            _member(out, path, node, inode)
        _member(out, "TRAILER!!!", Node(0), 0)
        out.extend(bytes(-len(out) % _BLOCK))
        return bytes(out)


def _member(out: bytearray, path: str, node: Node, inode: int) -> None:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(node.mode) else 1
    fields = [
        inode, node.mode, 0, 0, links, 0, len(node.data),  # ino mode uid gid nlink mtime filesize
        0, 0, *node.device, len(name), 0,  # devmajor devminor rdevmajor rdevminor namesize check
    ]
    out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
    out.extend(bytes(-len(out) % _ALIGN))
    out += node.data
    out.extend(bytes(-len(out) % _ALIGN))

"""What a folder must be able to do to be shared.

Paths are tuples of names below the folder, () for the folder itself.  The
server has checked every name: none is empty, "." or "..", holds "/" or a zero
character, or is longer than 255 bytes.  Methods raise OSError or `Refused`.
All are coroutines; those of a folder that needs no waiting never suspend.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import Protocol

Path = tuple[str, ...]

# Linux's open flags (include/uapi/asm-generic/fcntl.h), as they stand in Tlopen.
O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND = 0o1, 0o2, 0o100, 0o200, 0o1000, 0o2000
O_ACCMODE = 3


@dataclass(frozen=True)
class Attributes:
    """What stat tells.  Times in nanoseconds since 1970, `inode` the folder's own number."""

    mode: int
    size: int
    inode: int
    links: int = 1
    atime: int = 0
    mtime: int = 0
    ctime: int = 0

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


@dataclass(frozen=True)
class Change:
    """What Tsetattr wants; None: leave it.  Times in nanoseconds."""

    mode: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None


@dataclass(frozen=True)
class Space:
    """Of the file system: bytes of a block, blocks in all and free, names there are and may be."""

    block: int = 4096
    blocks: int = 0
    free: int = 0
    files: int = 0
    files_free: int = 0


class File(Protocol):
    """An open file."""

    async def read(self, offset: int, count: int) -> bytes: ...
    async def write(self, offset: int, data: bytes) -> int: ...
    async def sync(self) -> None: ...
    async def close(self) -> None: ...


class Folder(Protocol):
    """A tree of files."""

    writable: bool
    """False: the server refuses every change with EROFS, without asking."""

    async def stat(self, path: Path) -> Attributes: ...
    async def list(self, path: Path) -> list[str]: ...
    async def open(self, path: Path, flags: int) -> File: ...
    async def create(self, path: Path, flags: int, mode: int) -> File: ...
    async def make_folder(self, path: Path, mode: int) -> None: ...
    async def make_link(self, path: Path, target: str) -> None:
        """A symbolic link; nobody on this side ever follows it."""

    async def read_link(self, path: Path) -> str: ...
    async def link(self, path: Path, existing: Path) -> None:
        """A further name for a file."""

    async def rename(self, old: Path, new: Path) -> None: ...
    async def unlink(self, path: Path) -> None: ...
    async def remove_folder(self, path: Path) -> None: ...
    async def change(self, path: Path, change: Change) -> None: ...
    async def space(self) -> Space: ...

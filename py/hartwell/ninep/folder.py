"""A folder that Python's `os` reaches: of the host (CPython), of the host
through Emscripten's NODEFS (Node), or Emscripten's own in memory (the page).

No path leads out of it: every part but the last is looked at and must be a
real folder, and the last is never followed when it is a link.  Who changes
the folder from outside in between those two steps is trusted with it anyway.

Files belong to the guest's root, whoever owns them here; a change of owner is
taken and forgotten.  Of the mode only the nine permission bits pass.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path as HostPath

from hartwell.errors import BadConfiguration
from hartwell.ninep.backend import (
    O_ACCMODE,
    O_CREAT,
    O_EXCL,
    O_RDWR,
    O_TRUNC,
    O_WRONLY,
    Attributes,
    Change,
    File,
    Path,
    Space,
)
from hartwell.ninep.errno import Refused

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
# What must not happen when a name turns out to be a FIFO or a terminal.
_CALM = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)
PERMISSIONS = 0o777


class OsFile:
    """An open file of an OsFolder."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def read(self, offset: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, offset)

    async def write(self, offset: int, data: bytes) -> int:
        return os.pwrite(self._descriptor, data, offset)

    async def sync(self) -> None:
        os.fsync(self._descriptor)

    async def close(self) -> None:
        os.close(self._descriptor)


class OsFolder:
    """Shares the folder at `root`."""

    def __init__(self, root: str | HostPath, *, writable: bool = True) -> None:
        self.root = os.path.realpath(root)
        self.writable = writable
        if not HostPath(self.root).is_dir():
            raise BadConfiguration(f"share: {root} is not a folder")

    async def stat(self, path: Path) -> Attributes:
        found = os.lstat(self._place(path))
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            raise Refused("EACCES", "a device, a socket or a pipe of the host's")
        return Attributes(
            found.st_mode & ~0o7000, found.st_size, found.st_ino, found.st_nlink,
            found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns,
        )

    async def list(self, path: Path) -> list[str]:
        return os.listdir(self._place(path))

    async def open(self, path: Path, flags: int) -> File:
        place = self._place(path)
        if not stat.S_ISREG(os.lstat(place).st_mode):
            raise Refused("EACCES", "not an ordinary file")
        return OsFile(os.open(place, _host_flags(flags & ~(O_CREAT | O_EXCL))))

    async def create(self, path: Path, flags: int, mode: int) -> File:
        place = self._place(path)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(place).st_mode):
                raise Refused("EEXIST", "not an ordinary file")
        return OsFile(os.open(place, _host_flags(flags | O_CREAT), mode & PERMISSIONS))

    async def make_folder(self, path: Path, mode: int) -> None:
        os.mkdir(self._place(path), mode & PERMISSIONS)

    async def make_link(self, path: Path, target: str) -> None:
        os.symlink(target, self._place(path))

    async def read_link(self, path: Path) -> str:
        return os.readlink(self._place(path))

    async def link(self, path: Path, existing: Path) -> None:
        if not hasattr(os, "link"):  # Pyodide's has none
            raise Refused("EOPNOTSUPP", "hard links")
        os.link(self._place(existing), self._place(path), follow_symlinks=False)

    async def rename(self, old: Path, new: Path) -> None:
        os.rename(self._place(old), self._place(new))

    async def unlink(self, path: Path) -> None:
        os.unlink(self._place(path))

    async def remove_folder(self, path: Path) -> None:
        os.rmdir(self._place(path))

    async def change(self, path: Path, change: Change) -> None:
        place = self._place(path)
        now = os.lstat(place)
        if change.mode is not None and not stat.S_ISLNK(now.st_mode):
            os.chmod(place, change.mode & PERMISSIONS)
        if change.size is not None:
            if not stat.S_ISREG(now.st_mode):
                raise Refused("EINVAL", "only an ordinary file has a size to set")
            descriptor = os.open(place, os.O_WRONLY | _NOFOLLOW | _CALM)
            try:
                os.ftruncate(descriptor, change.size)
            finally:
                os.close(descriptor)
        if (change.atime is not None or change.mtime is not None) and not stat.S_ISLNK(now.st_mode):
            atime = now.st_atime_ns if change.atime is None else change.atime
            mtime = now.st_mtime_ns if change.mtime is None else change.mtime
            os.utime(place, ns=(atime, mtime))

    async def space(self) -> Space:
        try:
            found = os.statvfs(self.root)
        except OSError:
            return Space()
        return Space(found.f_frsize or 4096, found.f_blocks, found.f_bavail, found.f_files, found.f_ffree)

    def _place(self, path: Path) -> str:
        """The host's path.  Refused where a part on the way is no real folder."""
        place = self.root
        for name in path[:-1]:
            place = f"{place}/{name}"
            mode = os.lstat(place).st_mode
            if not stat.S_ISDIR(mode):
                raise Refused("ELOOP" if stat.S_ISLNK(mode) else "ENOTDIR", place)
        return f"{place}/{path[-1]}" if path else place


def _host_flags(flags: int) -> int:
    """Linux's open flags as this host numbers them.  O_APPEND is not passed on:
    the guest says where it writes, and pwrite would not heed it."""
    wanted = {0: os.O_RDONLY, O_WRONLY: os.O_WRONLY, O_RDWR: os.O_RDWR}.get(flags & O_ACCMODE, os.O_RDONLY)
    for bit, here in ((O_CREAT, os.O_CREAT), (O_EXCL, os.O_EXCL), (O_TRUNC, os.O_TRUNC)):
        if flags & bit:
            wanted |= here
    return wanted | _NOFOLLOW | _CALM

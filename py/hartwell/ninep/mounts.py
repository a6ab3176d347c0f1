"""Several folders as one: a folder at the root, and others under a name of their own in it."""

from __future__ import annotations

from hartwell.errors import BadConfiguration
from hartwell.ninep.backend import Attributes, Change, File, Folder, Path, Space
from hartwell.ninep.errno import Refused

_INODE_BITS = 56  # of a file's number; the byte above them says which folder


class Mounts:
    """`root`, with `at[name]` in place of what root has under that name."""

    writable = True  # each folder says it for itself

    def __init__(self, root: Folder) -> None:
        self.root = root
        self.at: dict[str, Folder] = {}
        self._numbers: dict[int, int] = {}

    def attach(self, name: str, folder: Folder) -> None:
        """Puts a folder there under `name`; one that had the name before is replaced."""
        if not name or name in (".", "..") or "/" in name or "\0" in name or len(name.encode()) > 255:
            raise BadConfiguration(f"share: {name!r} is no name for a folder")
        self.at[name] = folder

    def detach(self, name: str) -> None:
        """Takes a folder away; what is open in it stays so."""
        if name not in self.at:
            raise BadConfiguration(f"share: no folder is attached as {name!r}; there are {', '.join(self.at) or 'none'}")
        del self.at[name]

    async def stat(self, path: Path) -> Attributes:
        folder, inner = self._which(path)
        found = await folder.stat(inner)
        number = self._numbers.setdefault(id(folder), len(self._numbers))
        inode = found.inode & (1 << _INODE_BITS) - 1 | (number & 0xFF) << _INODE_BITS
        mode = found.mode if folder.writable else found.mode & ~0o222
        return Attributes(mode, found.size, inode, found.links, found.atime, found.mtime, found.ctime)

    async def list(self, path: Path) -> list[str]:
        folder, inner = self._which(path)
        names = await folder.list(inner)
        return names if path else [*(name for name in names if name not in self.at), *self.at]

    async def open(self, path: Path, flags: int) -> File:
        folder, inner = self._which(path)
        if flags & 0o1003:
            _need_writable(folder)
        return await folder.open(inner, flags)

    async def create(self, path: Path, flags: int, mode: int) -> File:
        folder, inner = self._to_change(path)
        return await folder.create(inner, flags, mode)

    async def make_folder(self, path: Path, mode: int) -> None:
        folder, inner = self._to_change(path)
        await folder.make_folder(inner, mode)

    async def make_link(self, path: Path, target: str) -> None:
        folder, inner = self._to_change(path)
        await folder.make_link(inner, target)

    async def read_link(self, path: Path) -> str:
        folder, inner = self._which(path)
        return await folder.read_link(inner)

    async def link(self, path: Path, existing: Path) -> None:
        folder, inner = self._to_change(path)
        there, old = self._which(existing)
        if there is not folder:
            raise Refused("EXDEV")
        await folder.link(inner, old)

    async def rename(self, old: Path, new: Path) -> None:
        folder, inner = self._to_change(old)
        there, wanted = self._to_change(new)
        if there is not folder:
            raise Refused("EXDEV")
        await folder.rename(inner, wanted)

    async def unlink(self, path: Path) -> None:
        folder, inner = self._to_change(path)
        await folder.unlink(inner)

    async def remove_folder(self, path: Path) -> None:
        folder, inner = self._to_change(path)
        await folder.remove_folder(inner)

    async def change(self, path: Path, change: Change) -> None:
        folder, inner = self._which(path)
        _need_writable(folder)
        await folder.change(inner, change)

    async def space(self) -> Space:
        return await self.root.space()

    def _which(self, path: Path) -> tuple[Folder, Path]:
        if path and path[0] in self.at:
            return self.at[path[0]], path[1:]
        return self.root, path

    def _to_change(self, path: Path) -> tuple[Folder, Path]:
        """For what makes or takes a name: an attached folder's own can't be touched."""
        folder, inner = self._which(path)
        _need_writable(folder)
        if not inner:
            raise Refused("EBUSY", "an attached folder")
        return folder, inner


def _need_writable(folder: Folder) -> None:
    if not folder.writable:
        raise Refused("EROFS")

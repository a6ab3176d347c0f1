"""A folder that the page holds: the origin's private files, or a folder of the
person's that they picked (File System Access).

web/folders.mjs does the work; each of its calls gives an answer with `error`,
one of Linux's names for it, or with what was asked.  Neither kind of folder has
links, permissions or several names for a file.
"""

from __future__ import annotations

import stat
from typing import Any

from hartwell.ninep.backend import O_EXCL, O_TRUNC, Attributes, Change, File, Path, Space
from hartwell.ninep.errno import NUMBERS, Refused


class HandleFile:
    """An open file; the page writes it to the disk at `sync` and `close`."""

    def __init__(self, folder: HandleFolder, path: Path) -> None:
        self._folder, self._path = folder, path

    async def read(self, offset: int, count: int) -> bytes:
        return bytes(await self._folder.ask("read", self._path, offset, count))

    async def write(self, offset: int, data: bytes) -> int:
        await self._folder.ask("write", self._path, offset, data)
        return len(data)

    async def sync(self) -> None:
        await self._folder.ask("flush", self._path)

    async def close(self) -> None:
        await self._folder.ask("flush", self._path)


class HandleFolder:
    """`host.call(method, path, ...)` is an awaitable of a mapping or bytes."""

    def __init__(self, host: Any, *, writable: bool = True) -> None:
        self._host = host
        self.writable = writable

    async def ask(self, method: str, path: Path, *arguments: Any) -> Any:
        answer = await self._host.call(method, "/".join(path), *arguments)
        if isinstance(answer, dict) and (name := answer.get("error")):
            raise Refused(name if name in NUMBERS else "EIO", "/".join(path))
        return answer

    async def stat(self, path: Path) -> Attributes:
        found = await self.ask("stat", path)
        mode = stat.S_IFDIR | 0o755 if found["folder"] else stat.S_IFREG | 0o644
        when = int(found["modified"]) * 10**6
        return Attributes(mode, int(found["size"]), int(found["number"]), 1, when, when, when)

    async def list(self, path: Path) -> list[str]:
        names = (await self.ask("list", path))["names"]
        return [name for name in names if "/" not in name and "\0" not in name and name not in ("", ".", "..")]

    async def open(self, path: Path, flags: int) -> File:
        if flags & O_TRUNC:
            await self.ask("truncate", path, 0)
        return HandleFile(self, path)

    async def create(self, path: Path, flags: int, mode: int) -> File:
        await self.ask("create", path, bool(flags & O_EXCL))
        if flags & O_TRUNC:
            await self.ask("truncate", path, 0)
        return HandleFile(self, path)

    async def make_folder(self, path: Path, mode: int) -> None:
        await self.ask("make_folder", path)

    async def make_link(self, path: Path, target: str) -> None:
        raise Refused("EPERM", "a folder of the browser's has no links")

    async def read_link(self, path: Path) -> str:
        raise Refused("EINVAL")

    async def link(self, path: Path, existing: Path) -> None:
        raise Refused("EPERM", "a folder of the browser's has no links")

    async def rename(self, old: Path, new: Path) -> None:
        await self.ask("rename", old, "/".join(new))

    async def unlink(self, path: Path) -> None:
        await self.ask("remove", path, False)

    async def remove_folder(self, path: Path) -> None:
        await self.ask("remove", path, True)

    async def change(self, path: Path, change: Change) -> None:
        """Only a size can be set; permissions and times are taken and forgotten."""
        if change.size is not None:
            await self.ask("truncate", path, change.size)

    async def space(self) -> Space:
        found = await self.ask("space", ())
        return Space(4096, int(found["quota"]) // 4096, max(0, int(found["quota"]) - int(found["usage"])) // 4096)

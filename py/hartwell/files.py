"""`machine.files`: files of the guest, by the guest's own paths.

What is below /mnt/host is the shared folder, which is on this side and needs
no guest that answers.  Any other path goes through the guest's agent and a
folder that is shared for as long as that takes.

In the page the shared folder is /share of Python's own file system, in memory,
for all machines of the page; the origin's private files and folders that the
person picked are attached to it by name.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import posixpath
import shlex
import sys
import tarfile
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as HostPath
from typing import Any, TypeVar

from hartwell.errors import BadConfiguration, BadPath, NotSupported
from hartwell.ninep.backend import O_CREAT, O_RDWR, O_TRUNC, Attributes, Folder, Path
from hartwell.ninep.errno import Refused
from hartwell.ninep.folder import OsFolder
from hartwell.ninep.mounts import Mounts

MOUNT = "/mnt/host"
PAGE_FOLDER = "/share"
PIECE = 1 << 20
_TRANSFER = ".transfer"
_choosing = asyncio.Lock()  # a name for an upload: of two at once both would find the same one free
_transfers = itertools.count(1)  # of all machines, since they may have one shared folder

T = TypeVar("T")

_shared: Mounts | None = None


def shared() -> Mounts | None:
    """The folder that machines share when they are not told another; None where
    Python's file system is the host's own (CPython)."""
    global _shared
    if _shared is None and sys.platform == "emscripten":
        HostPath(PAGE_FOLDER).mkdir(exist_ok=True)
        _shared = Mounts(OsFolder(PAGE_FOLDER))
    return _shared


def make_share(share: str | HostPath | Folder | None) -> Mounts | None:
    """What `Machine.boot(share=...)` means: "default", None for none, a folder's
    path (":ro" at its end: read only), or a Folder.  BadConfiguration if it is not there."""
    if share is None or share == "default":
        return None if share is None else shared()
    if isinstance(share, (str, HostPath)):
        text = str(share)
        if not text.removesuffix(":ro"):
            raise BadConfiguration("share: an empty path; None shares nothing")
        return Mounts(OsFolder(text.removesuffix(":ro"), writable=not text.endswith(":ro")))
    if not callable(getattr(share, "stat", None)):
        raise BadConfiguration(f"share: {share!r} is no path, and no Folder")
    return share if isinstance(share, Mounts) else Mounts(share)


@dataclass(frozen=True)
class Entry:
    """A file or folder of a listing; `modified` in seconds since 1970."""

    name: str
    kind: str  # "file", "folder", "link"
    size: int
    modified: float


class Files:
    """Reads and writes; see the module.  Raises BadPath for what is not there or refused."""

    def __init__(self, folder: Mounts | None, run: Callable[[str], Awaitable[Any]]) -> None:
        self.folder = folder
        self._run = run

    async def read(self, path: str) -> bytes:
        """All of a file."""
        inner = self._inner(path)
        if inner is None:
            return await self._from_guest(path)
        return await _told(path, self._read(inner))

    async def write(self, path: str, data: bytes | str) -> None:
        """Makes a file, or puts `data` in place of what it held."""
        inner = self._inner(path)
        data = data.encode() if isinstance(data, str) else bytes(data)
        if inner is None:
            await self._to_guest(path, data)
        else:
            await _told(path, self._write(inner, data))

    async def list(self, path: str = MOUNT) -> list[dict[str, Any]]:
        """Entries of a shared folder: name, kind, size, modified."""
        inner = self._need_inner(path)
        return [asdict(entry) for entry in await _told(path, self._list(inner))]

    async def make_folder(self, path: str) -> None:
        """Makes a shared folder, and those above it."""
        inner = self._need_inner(path)
        await _told(path, self._make_folders(inner))

    async def remove(self, path: str) -> None:
        """Removes a shared file, or a folder with all that is in it."""
        inner = self._need_inner(path)
        if not inner:
            raise BadPath(f"{path}: the shared folder itself can't be removed")
        await _told(path, self._remove(inner))

    async def upload(self, path: str, data: bytes) -> str:
        """As write, but never over a file that is there; the path it got."""
        inner = self._need_inner(path)
        if not inner:
            raise BadPath(f"{path}: a name for the file is missing")
        return await _told(path, self._upload(inner, data))

    async def download(self, path: str) -> bytes:
        """A file's bytes, or a tar archive of a shared folder."""
        inner = self._inner(path)
        if inner is None or not (await _told(path, self._need_folder().stat(inner))).is_folder:
            return await self.read(path)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            await _told(path, self._pack(archive, inner, inner[-1] if inner else "host"))
        return packed.getvalue()

    def attach(self, name: str, folder: Folder | str, *, writable: bool = True) -> str:
        """Shares a further folder as /mnt/host/NAME; the path it has in the guest."""
        made = OsFolder(folder, writable=writable) if isinstance(folder, str) else folder
        self._need_folder().attach(name, made)
        return f"{MOUNT}/{name}"

    def detach(self, name: str) -> None:
        """Takes an attached folder away again."""
        self._need_folder().detach(name)

    # --- paths ---------------------------------------------------------------

    def _inner(self, path: str) -> Path | None:
        """The parts below the shared folder; None for a path of the guest's own."""
        if "\0" in path or not path:
            raise BadPath(f"{path!r} is no path")
        whole = posixpath.normpath(path if path.startswith("/") else f"{MOUNT}/{path}")
        if whole != MOUNT and not whole.startswith(MOUNT + "/"):
            return None
        return tuple(part for part in whole[len(MOUNT) :].split("/") if part)

    def _need_inner(self, path: str) -> Path:
        inner = self._inner(path)
        if inner is None:
            raise BadPath(f"{path}: this works in the shared folder only, below {MOUNT}; use machine.run for the rest")
        self._need_folder()
        return inner

    def _need_folder(self) -> Mounts:
        if self.folder is None:
            raise NotSupported("this machine shares no folder; boot it with share=FOLDER")
        return self.folder

    # --- the shared folder -----------------------------------------------------

    async def _read(self, inner: Path) -> bytes:
        folder = self._need_folder()
        inner = await self._followed(inner)
        file = await folder.open(inner, 0)
        try:
            parts, at = [], 0
            while piece := await file.read(at, PIECE):
                parts.append(piece)
                at += len(piece)
            return b"".join(parts)
        finally:
            await file.close()

    async def _write(self, inner: Path, data: bytes) -> None:
        file = await self._need_folder().create(inner, O_RDWR | O_CREAT | O_TRUNC, 0o644)
        try:
            at = 0
            while at < len(data):
                at += await file.write(at, data[at : at + PIECE])
        finally:
            await file.close()

    async def _list(self, inner: Path) -> Sequence[Entry]:
        folder = self._need_folder()
        entries = []
        for name in sorted(await folder.list(inner)):
            if not inner and name.startswith(_TRANSFER):
                continue
            try:
                found = await folder.stat((*inner, name))
            except (Refused, OSError):
                continue  # gone meanwhile, or nothing that is shared
            entries.append(Entry(name, _kind(found), found.size, found.mtime / 1e9))
        return entries

    async def _make_folders(self, inner: Path) -> None:
        folder = self._need_folder()
        for depth in range(1, len(inner) + 1):
            try:
                await folder.stat(inner[:depth])
            except (Refused, OSError):
                await folder.make_folder(inner[:depth], 0o755)

    async def _remove(self, inner: Path) -> None:
        folder = self._need_folder()
        if not (await folder.stat(inner)).is_folder:
            await folder.unlink(inner)
            return
        for name in await folder.list(inner):
            await self._remove((*inner, name))
        await folder.remove_folder(inner)

    async def _upload(self, inner: Path, data: bytes) -> str:
        folder = self._need_folder()
        await self._make_folders(inner[:-1])
        stem, dot, ending = inner[-1].partition(".") if not inner[-1].startswith(".") else (inner[-1], "", "")
        async with _choosing:
            for number in itertools.count(1):
                chosen = (*inner[:-1], inner[-1] if number == 1 else f"{stem}-{number}{dot}{ending}")
                try:
                    await folder.stat(chosen)
                except (Refused, OSError):
                    break
            await self._write(chosen, b"")
        await self._write(chosen, data)
        return "/".join([MOUNT, *chosen])

    async def _pack(self, archive: tarfile.TarFile, inner: Path, name: str) -> None:
        folder = self._need_folder()
        found = await folder.stat(inner)
        item = tarfile.TarInfo(name)
        item.mode, item.mtime = found.mode & 0o777, found.mtime / 1e9
        if found.is_folder:
            item.type = tarfile.DIRTYPE
            archive.addfile(item)
            for entry in await self._list(inner):
                await self._pack(archive, (*inner, entry.name), f"{name}/{entry.name}")
        elif found.is_link:
            item.type, item.linkname = tarfile.SYMTYPE, await folder.read_link(inner)
            archive.addfile(item)
        else:
            data = await self._read(inner)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))

    async def _followed(self, inner: Path) -> Path:
        """Where a link in the shared folder leads, if that is in it."""
        folder = self._need_folder()
        for _ in range(8):
            if not (await folder.stat(inner)).is_link:
                return inner
            target = posixpath.join(MOUNT, *inner[:-1], await folder.read_link(inner))
            following = self._inner(target)
            if following is None:
                raise BadPath(f"{'/'.join([MOUNT, *inner])}: a link to {target}, which is not in the shared folder")
            inner = following
        raise BadPath(f"{'/'.join([MOUNT, *inner])}: too many links")

    # --- the guest's own files -----------------------------------------------------

    async def _from_guest(self, path: str) -> bytes:
        with tempfile.TemporaryDirectory() as place:
            number = await self._through(place, f'cat {shlex.quote(path)} >"$T"', path)
            return (HostPath(place) / number).read_bytes()

    async def _to_guest(self, path: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as place:
            await self._through(place, f'cat "$T" >{shlex.quote(path)}', path, data)

    async def _through(self, place: str, command: str, path: str, data: bytes = b"") -> str:
        """Runs `command` in the guest, where $T is a file of `place`; its name there."""
        number = str(next(_transfers))
        (HostPath(place) / number).write_bytes(data)
        folder, name = self._need_folder(), f"{_TRANSFER}-{number}"
        folder.attach(name, OsFolder(place))
        try:
            result = await self._run(f"T={MOUNT}/{name}/{number}; {command}")
        finally:
            folder.detach(name)
        if result.returncode:
            raise BadPath(f"{path}: the guest says {result.stderr.strip() or f'status {result.returncode}'}")
        return number


def _kind(found: Attributes) -> str:
    return "folder" if found.is_folder else "link" if found.is_link else "file"


async def _told(path: str, work: Awaitable[T]) -> T:
    """Puts the path into what goes wrong."""
    try:
        return await work
    except (Refused, OSError) as error:
        raise BadPath(f"{path}: {error}") from None

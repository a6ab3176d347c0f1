"""The protocol: fids, and what each request does with a folder.

One `Server` is one mount.  Whatever comes in, a reply goes out: a message that
can't be read is answered with EPROTO, and nothing it names is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import stat
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hartwell.ninep.backend import O_ACCMODE, O_CREAT, O_EXCL, O_TRUNC, Attributes, Change, File, Folder, Path
from hartwell.ninep.errno import NUMBERS, Refused, of
from hartwell.ninep.messages import (
    HEADER,
    IO_HEADER,
    NOFID,
    NOTAG,
    QID,
    Message,
    ProtocolError,
    Qid,
    decode,
    encode,
    entry,
)

VERSION = "9P2000.L"
LARGEST = 512000  # bytes of a message: what virtio transport of Linux sends at most, in pages of 4 KiB
SMALLEST = 4096
MOST_FIDS = 65536
MOST_OPEN = 1024
LONGEST_NAME = 255

_SET_MODE, _SET_SIZE, _SET_ATIME, _SET_MTIME, _ATIME_GIVEN, _MTIME_GIVEN = 0x1, 0x8, 0x10, 0x20, 0x80, 0x100
_BASIC = 0x7FF  # P9_GETATTR_BASIC
_REMOVE_FOLDER = 0x200  # AT_REMOVEDIR
_UNLOCKED = 2  # F_UNLCK
_MAGIC = 0x01021997  # V9FS_MAGIC
_DT = {stat.S_IFDIR: 4, stat.S_IFLNK: 10}


@dataclass
class Fid:
    """A client's name for a file: where it is, and the open file, if it is open."""

    path: Path
    flags: int | None = None  # what it was opened with
    file: File | None = None
    writes: bool = False
    names: list[str] | None = None  # of a folder, as they were when it was read from the beginning


class Server:
    """Serves one client of one folder."""

    def __init__(self, folder: Folder, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.folder = folder
        self.size = LARGEST
        self.fids: dict[int, Fid] = {}
        self.requests = 0
        self._open = 0
        self._pending: dict[int, asyncio.Event] = {}
        self._clock = clock

    async def handle(self, data: bytes, room: int = LARGEST) -> bytes:
        """The reply to a message, at most `room` bytes of it."""
        self.requests += 1
        tag = int.from_bytes(data[5:7], "little") if len(data) >= HEADER.size else NOTAG
        try:
            message = decode(data)
            if message.tag in self._pending:
                raise ProtocolError(f"tag {message.tag} is in use")
        except ProtocolError:
            return encode("Rlerror", tag, ecode=NUMBERS["EPROTO"])
        done = self._pending[tag] = asyncio.Event()
        try:
            reply = await self._answer(message, room)
        except Refused as refused:
            reply = encode("Rlerror", tag, ecode=refused.number)
        except NotImplementedError:  # on this host
            reply = encode("Rlerror", tag, ecode=NUMBERS["EOPNOTSUPP"])
        except (OverflowError, ValueError):  # a number that no host's call takes
            reply = encode("Rlerror", tag, ecode=NUMBERS["EINVAL"])
        except OSError as error:
            reply = encode("Rlerror", tag, ecode=of(error))
        except Exception:  # noqa: BLE001 - a folder's mistake: who asked must not wait for ever
            traceback.print_exc()
            reply = encode("Rlerror", tag, ecode=NUMBERS["EIO"])
        finally:
            del self._pending[tag]
            done.set()
        return reply if len(reply) <= room else encode("Rlerror", tag, ecode=NUMBERS["EMSGSIZE"])

    async def reset(self) -> None:
        """Forgets all fids, as when the client went away."""
        fids, self.fids = list(self.fids.values()), {}
        for fid in fids:
            await self._close(fid)

    def saved(self) -> dict[str, object]:
        """For a snapshot: which fid is what, and how it was opened."""
        fids = [[number, list(fid.path), fid.flags] for number, fid in self.fids.items()]
        return {"size": self.size, "fids": fids}

    async def restore(self, state: object) -> None:
        """What `saved` gave, or a stranger wrote into a snapshot: what can't be is left out.
        A file that is not there any more leaves its fid closed."""
        await self.reset()
        if not isinstance(state, dict):
            return
        size, fids = state.get("size"), state.get("fids")
        if isinstance(size, int):
            self.size = max(SMALLEST, min(size, LARGEST))
        for one in fids if isinstance(fids, list) else ():
            with contextlib.suppress(Refused, OSError, TypeError, ValueError):
                await self._restore_fid(*one)

    async def _restore_fid(self, number: object, path: object, flags: object) -> None:
        if not isinstance(number, int) or not isinstance(path, list) or not all(isinstance(name, str) for name in path):
            raise TypeError(f"fid {number!r}, {path!r}")
        fid = Fid(tuple(_checked(name) for name in path))
        self._add(number, fid)
        if isinstance(flags, int):
            flags &= ~(O_TRUNC | O_CREAT | O_EXCL)
            if flags & O_ACCMODE:
                self._need_writable()
            await self._opened(fid, functools.partial(self.folder.open, fid.path, flags), flags)

    async def _answer(self, message: Message, room: int) -> bytes:
        handler: Callable[[Message, int], Awaitable[dict[str, object]]] | None
        handler = getattr(self, f"_{message.kind[1:]}", None) if message.kind.startswith("T") else None
        if handler is None:
            raise Refused("EOPNOTSUPP", message.kind)
        fields = await handler(message, room)
        return encode("R" + message.kind[1:], message.tag, **fields)

    # --- session -------------------------------------------------------------

    async def _version(self, m: Message, room: int) -> dict[str, object]:
        await self.reset()
        if m.msize < SMALLEST:
            raise Refused("EINVAL", f"msize {m.msize}")
        self.size = min(m.msize, LARGEST)
        return {"msize": self.size, "version": VERSION if m.version == VERSION else "unknown"}

    async def _attach(self, m: Message, room: int) -> dict[str, object]:
        if m.afid != NOFID:
            raise Refused("EOPNOTSUPP", "no authentication is needed")
        attributes = await self.folder.stat(())
        self._add(m.fid, Fid(()))
        return {"qid": qid_of(attributes)}

    async def _flush(self, m: Message, room: int) -> dict[str, object]:
        # The reply to the flushed request goes out first (flush(5)).
        if m.oldtag != m.tag and (pending := self._pending.get(m.oldtag)):
            await pending.wait()
        return {}

    async def _walk(self, m: Message, room: int) -> dict[str, object]:
        fid = self._fid(m.fid)
        if m.newfid != m.fid and m.newfid in self.fids:
            raise Refused("EBADF", f"newfid {m.newfid} is in use")
        if fid.file is not None and m.newfid == m.fid:
            raise Refused("EBUSY", "an open fid can't walk")
        path = fid.path
        qids: list[Qid] = []
        for name in m.names:
            try:
                following = path[:-1] if name == ".." else (*path, _checked(name))
                attributes = await self.folder.stat(following)
            except (Refused, OSError):
                if not qids:
                    raise
                break
            path = following
            qids.append(qid_of(attributes))
        if len(qids) == len(m.names):  # else newfid stays as it was (walk(5))
            if m.newfid == m.fid:
                fid.path = path
            else:
                self._add(m.newfid, Fid(path))
        return {"qids": qids}

    async def _clunk(self, m: Message, room: int) -> dict[str, object]:
        fid = self._fid(m.fid)
        del self.fids[m.fid]
        await self._close(fid)
        return {}

    async def _remove(self, m: Message, room: int) -> dict[str, object]:
        fid = self._fid(m.fid)
        del self.fids[m.fid]  # gone even if it fails (remove(5))
        await self._close(fid)
        self._need_writable()
        _not_root(fid.path)
        if (await self.folder.stat(fid.path)).is_folder:
            await self.folder.remove_folder(fid.path)
        else:
            await self.folder.unlink(fid.path)
        return {}

    # --- files ----------------------------------------------------------------

    async def _lopen(self, m: Message, room: int) -> dict[str, object]:
        fid = self._fid(m.fid)
        if fid.file is not None:
            raise Refused("EBADF", "it is open already")
        attributes = await self.folder.stat(fid.path)
        writes = m.flags & O_ACCMODE != 0
        if writes or m.flags & O_TRUNC:
            self._need_writable()
        if attributes.is_folder:
            if writes:
                raise Refused("EISDIR")
            fid.names = None
        elif attributes.is_link:
            raise Refused("ELOOP")
        else:
            await self._opened(fid, lambda: self.folder.open(fid.path, m.flags), m.flags)
            if m.flags & O_TRUNC:
                attributes = await self.folder.stat(fid.path)
        return {"qid": qid_of(attributes), "iounit": 0}

    async def _lcreate(self, m: Message, room: int) -> dict[str, object]:
        fid = self._fid(m.fid)
        if fid.file is not None:
            raise Refused("EBADF", "it is open already")
        self._need_writable()
        path = (*fid.path, _checked(m.name))
        await self._opened(fid, lambda: self.folder.create(path, m.flags, m.mode), m.flags)
        fid.path = path
        return {"qid": qid_of(await self.folder.stat(path)), "iounit": 0}

    async def _read(self, m: Message, room: int) -> dict[str, object]:
        fid = self._fid(m.fid)
        if fid.file is None:
            raise Refused("EBADF", "it is not open")
        count = min(m.count, self.size - IO_HEADER, room - HEADER.size - 4)
        return {"data": await fid.file.read(_offset(m.offset), max(0, count))}

    async def _write(self, m: Message, room: int) -> dict[str, object]:
        fid = self._fid(m.fid)
        if fid.file is None or not fid.writes:
            raise Refused("EBADF", "it is not open for writing")
        return {"count": await fid.file.write(_offset(m.offset), m.data)}

    async def _fsync(self, m: Message, room: int) -> dict[str, object]:
        fid = self._fid(m.fid)
        if fid.file is not None and fid.writes:
            await fid.file.sync()
        return {}

    async def _readdir(self, m: Message, room: int) -> dict[str, object]:
        fid = self._fid(m.fid)
        if m.offset == 0 or fid.names is None:
            fid.names = [".", "..", *sorted(await self.folder.list(fid.path))]
        left = min(m.count, self.size - IO_HEADER, room - HEADER.size - 4)
        parts = []
        for index in range(min(m.offset, len(fid.names)), len(fid.names)):
            name = fid.names[index]
            encoded = name.encode("utf-8", "surrogateescape")
            left -= QID.size + 11 + len(encoded)
            if left < 0:
                break
            path = fid.path if name == "." else fid.path[:-1] if name == ".." else (*fid.path, name)
            try:
                attributes = await self.folder.stat(path)
            except (Refused, OSError):
                left += QID.size + 11 + len(encoded)  # it has gone, or is nothing that is shared
                continue
            kind = _DT.get(stat.S_IFMT(attributes.mode), 8)
            parts.append(entry(qid_of(attributes), index + 1, kind, encoded))
        return {"data": b"".join(parts)}

    # --- attributes -------------------------------------------------------------

    async def _getattr(self, m: Message, room: int) -> dict[str, object]:
        found = await self.folder.stat(self._fid(m.fid).path)
        times = {}
        for name, value in (("atime", found.atime), ("mtime", found.mtime), ("ctime", found.ctime)):
            times[name], times[f"{name}_ns"] = divmod(max(0, value), 10**9)
        return {
            "valid": _BASIC, "qid": qid_of(found), "mode": found.mode, "uid": 0, "gid": 0, "nlink": found.links,
            "rdev": 0, "size": found.size, "blksize": 4096, "blocks": -(-found.size // 512), **times,
            "btime": 0, "btime_ns": 0, "gen": 0, "data_version": 0,
        }

    async def _setattr(self, m: Message, room: int) -> dict[str, object]:
        fid = self._fid(m.fid)
        self._need_writable()
        now = self._clock()
        atime = m.atime * 10**9 + m.atime_ns if m.valid & _ATIME_GIVEN else now
        mtime = m.mtime * 10**9 + m.mtime_ns if m.valid & _MTIME_GIVEN else now
        await self.folder.change(fid.path, Change(
            mode=m.mode if m.valid & _SET_MODE else None,
            size=_offset(m.size) if m.valid & _SET_SIZE else None,
            atime=atime if m.valid & _SET_ATIME else None,
            mtime=mtime if m.valid & _SET_MTIME else None,
        ))
        return {}

    async def _statfs(self, m: Message, room: int) -> dict[str, object]:
        self._fid(m.fid)
        space = await self.folder.space()
        return {
            "type": _MAGIC, "bsize": space.block, "blocks": space.blocks, "bfree": space.free, "bavail": space.free,
            "files": space.files, "ffree": space.files_free, "fsid": 0, "namelen": LONGEST_NAME,
        }

    async def _readlink(self, m: Message, room: int) -> dict[str, object]:
        return {"target": await self.folder.read_link(self._fid(m.fid).path)}

    async def _lock(self, m: Message, room: int) -> dict[str, object]:
        self._fid(m.fid)
        return {"status": 0}  # the guest's kernel keeps its own locks; there is nobody else

    async def _getlock(self, m: Message, room: int) -> dict[str, object]:
        self._fid(m.fid)
        same = {name: m.fields[name] for name in ("start", "length", "proc_id", "client_id")}
        return {"type": _UNLOCKED, **same}

    # --- names -------------------------------------------------------------------

    async def _mkdir(self, m: Message, room: int) -> dict[str, object]:
        path = self._new(m)
        await self.folder.make_folder(path, m.mode)
        return {"qid": qid_of(await self.folder.stat(path))}

    async def _symlink(self, m: Message, room: int) -> dict[str, object]:
        path = self._new(m)
        if not m.target or "\0" in m.target:
            raise Refused("EINVAL", "target")
        await self.folder.make_link(path, m.target)
        return {"qid": qid_of(await self.folder.stat(path))}

    async def _mknod(self, m: Message, room: int) -> dict[str, object]:
        path = self._new(m)
        if not stat.S_ISREG(m.mode) and stat.S_IFMT(m.mode) != 0:
            raise Refused("EPERM", "devices, pipes and sockets have no place in a shared folder")
        await (await self.folder.create(path, 0o201, m.mode)).close()
        return {"qid": qid_of(await self.folder.stat(path))}

    async def _link(self, m: Message, room: int) -> dict[str, object]:
        self._need_writable()
        await self.folder.link((*self._fid(m.dfid).path, _checked(m.name)), self._fid(m.fid).path)
        return {}

    async def _rename(self, m: Message, room: int) -> dict[str, object]:
        await self._move(self._fid(m.fid).path, (*self._fid(m.dfid).path, _checked(m.name)))
        return {}

    async def _renameat(self, m: Message, room: int) -> dict[str, object]:
        await self._move(
            (*self._fid(m.olddirfid).path, _checked(m.oldname)), (*self._fid(m.newdirfid).path, _checked(m.newname))
        )
        return {}

    async def _unlinkat(self, m: Message, room: int) -> dict[str, object]:
        self._need_writable()
        path = (*self._fid(m.fid).path, _checked(m.name))
        if m.flags & _REMOVE_FOLDER:
            await self.folder.remove_folder(path)
        elif (await self.folder.stat(path)).is_folder:
            raise Refused("EISDIR")
        else:
            await self.folder.unlink(path)
        return {}

    # --- inside --------------------------------------------------------------------

    def _fid(self, number: int) -> Fid:
        try:
            return self.fids[number]
        except KeyError:
            raise Refused("EBADF", f"fid {number} is not known") from None

    def _add(self, number: int, fid: Fid) -> None:
        if number in self.fids or number == NOFID:
            raise Refused("EBADF", f"fid {number} is in use, or none")
        if len(self.fids) >= MOST_FIDS:
            raise Refused("ENFILE", f"more than {MOST_FIDS} fids")
        self.fids[number] = fid

    def _need_writable(self) -> None:
        if not self.folder.writable:
            raise Refused("EROFS")

    def _new(self, m: Message) -> Path:
        """Where a new name goes."""
        fid = self._fid(m.fid)
        self._need_writable()
        return (*fid.path, _checked(m.name))

    async def _opened(self, fid: Fid, opening: Callable[[], Awaitable[File]], flags: int) -> None:
        if self._open >= MOST_OPEN:
            raise Refused("ENFILE", f"more than {MOST_OPEN} open files")
        self._open += 1
        try:
            file = await opening()
        except BaseException:
            self._open -= 1
            raise
        fid.file, fid.flags, fid.writes = file, flags, flags & O_ACCMODE != 0

    async def _close(self, fid: Fid) -> None:
        if fid.file is not None:
            file, fid.file, fid.flags = fid.file, None, None
            self._open -= 1
            await file.close()

    async def _move(self, old: Path, new: Path) -> None:
        self._need_writable()
        _not_root(old)
        if new[: len(old)] == old and new != old:
            raise Refused("EINVAL", "into itself")
        await self.folder.rename(old, new)
        for fid in self.fids.values():  # those that stand in it have moved along
            if fid.path[: len(old)] == old:
                fid.path = new + fid.path[len(old) :]


def qid_of(attributes: Attributes) -> Qid:
    """A file's identity; its version changes with what it holds."""
    kind = 0x80 if attributes.is_folder else 0x02 if attributes.is_link else 0
    return Qid(kind, (attributes.mtime // 1000 ^ attributes.size) & 0xFFFF_FFFF, attributes.inode & (1 << 64) - 1)


def _checked(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise Refused("EINVAL" if name else "ENOENT", f"name {name!r}")
    if len(name.encode("utf-8", "surrogateescape")) > LONGEST_NAME:
        raise Refused("ENAMETOOLONG")
    return name


def _not_root(path: Path) -> None:
    if not path:
        raise Refused("EBUSY", "the shared folder itself")


def _offset(value: int) -> int:
    if value >= 1 << 63:
        raise Refused("EINVAL", f"offset {value}")
    return value

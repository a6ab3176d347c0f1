"""A 9P client for tests: asks a Server as a kernel would."""

from __future__ import annotations

from typing import Any

from hartwell.ninep.messages import NOFID, QID, Message, decode, encode
from hartwell.ninep.server import LARGEST, Server


class Failed(Exception):
    """Rlerror, by its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"errno {number}")
        self.number = number


class Client:
    """`await client.ask("Twalk", ...)`; fid 0 is the root."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.next = 1

    async def ask(self, kind: str, /, room: int = LARGEST, tag: int = 1, **fields: Any) -> Message:
        reply = decode(await self.server.handle(encode(kind, tag, **fields), room))
        assert reply.tag == tag
        if reply.kind == "Rlerror":
            raise Failed(reply.ecode)
        assert reply.kind == "R" + kind[1:]
        return reply

    async def attach(self) -> Client:
        assert (await self.ask("Tversion", msize=LARGEST, version="9P2000.L")).version == "9P2000.L"
        await self.ask("Tattach", fid=0, afid=NOFID, uname="root", aname="", n_uname=0)
        return self

    async def walk(self, path: str, fid: int = 0) -> int:
        """A fid for a path; Failed when a part of it is not there."""
        self.next += 1
        names = [name for name in path.split("/") if name]
        reply = await self.ask("Twalk", fid=fid, newfid=self.next, names=names)
        if len(reply.qids) != len(names):
            raise Failed(2)
        return self.next

    async def open(self, path: str, flags: int = 0) -> int:
        fid = await self.walk(path)
        await self.ask("Tlopen", fid=fid, flags=flags)
        return fid

    async def create(self, folder: str, name: str, flags: int = 2, mode: int = 0o644) -> int:
        fid = await self.walk(folder)
        await self.ask("Tlcreate", fid=fid, name=name, flags=flags | 0o100, mode=mode, gid=0)
        return fid

    async def read(self, path: str) -> bytes:
        fid, data = await self.open(path), b""
        while piece := (await self.ask("Tread", fid=fid, offset=len(data), count=8192)).data:
            data += piece
        await self.ask("Tclunk", fid=fid)
        return data

    async def list(self, path: str = "", count: int = 8192) -> dict[str, int]:
        """Names and DT_ kinds, read as the kernel does, page by page."""
        fid, offset, names = await self.open(path), 0, {}
        while data := (await self.ask("Treaddir", fid=fid, offset=offset, count=count)).data:
            at = 0
            while at < len(data):
                at += QID.size
                offset, kind, length = int.from_bytes(data[at : at + 8], "little"), data[at + 8], data[at + 9]
                at += 11
                names[data[at : at + length].decode("utf-8", "surrogateescape")] = kind
                at += length
        await self.ask("Tclunk", fid=fid)
        return names

    async def attributes(self, path: str) -> Message:
        return await self.ask("Tgetattr", fid=await self.walk(path), mask=0x7FF)

"""The storage side of disks under wasmtime: what web/storage/disks.mjs does, for tests and CPython.

Changes end with the machine; there is no store here.
"""

from __future__ import annotations

import hashlib
import threading
import urllib.parse
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hartwell.errors import HartwellError
from hartwell.layout import CONSTANTS, DISK_CHUNK

NONE = 0xFFFF_FFFF
FILLED, ZEROES, FAILED = 0, 1, 2
LOOK_SECONDS = 0.1  # between two looks without a ring
ENTRY = 36  # bytes of the table: chunk number, SHA-256

Call = Callable[..., int]


class Base:
    """A disk before anybody wrote to it."""

    def __init__(self, base: Mapping[str, Any]) -> None:
        self._kind, self._size = str(base["kind"]), int(base.get("size", 0))
        self._places: dict[int, tuple[int, bytes]] = {}
        self._file = None
        if url := base.get("url"):
            self._file = _path(url).open("rb")
        if self._kind == "chunks":
            table = _path(str(base["table"])).read_bytes()
            if hashlib.sha256(table).hexdigest() != base["digest"]:
                raise HartwellError(f"{base['name']}: its table of chunks is damaged (SHA-256)")
            for number, at in enumerate(range(0, len(table), ENTRY)):
                self._places[int.from_bytes(table[at : at + 4], "little")] = number, table[at + 4 : at + ENTRY]

    def has(self, chunk: int) -> bool:
        """False: it is all zeros."""
        return chunk in self._places if self._kind == "chunks" else chunk * DISK_CHUNK < self._size

    def read(self, chunk: int) -> bytes:
        """A whole chunk; HartwellError when it is damaged or cut off."""
        if self._kind == "chunks":
            number, digest = self._places[chunk]
            data = self._part(number * DISK_CHUNK, DISK_CHUNK)
            if hashlib.sha256(data).digest() != digest:
                raise HartwellError(f"chunk {chunk} is damaged: its SHA-256 is another")
            return data
        wanted = min(DISK_CHUNK, self._size - chunk * DISK_CHUNK)
        data = self._part(chunk * DISK_CHUNK, wanted)
        if len(data) != wanted:
            raise HartwellError(f"chunk {chunk}: {len(data)} bytes of {wanted}")
        return data.ljust(DISK_CHUNK, b"\0")

    def _part(self, offset: int, count: int) -> bytes:
        assert self._file is not None
        self._file.seek(offset)
        return self._file.read(count)


def _path(url: str) -> Path:
    return Path(urllib.parse.unquote(urllib.parse.urlparse(url).path))


class DiskThread:
    """Serves one machine's disks on a thread; `call` is that thread's instance, `memory` the machine's bytes."""

    def __init__(self, plan: Mapping[str, Any], call: Call, memory: memoryview) -> None:
        self._bell = int(plan["bell"])
        self._call, self._memory = call, memory
        self._disks = list(plan["disks"])
        self._bases = [Base(disk["base"]) for disk in self._disks]
        self._overlays: list[dict[int, bytes | None]] = [{} for _ in self._disks]
        self._asked: deque[threading.Event] = deque()  # who waits for a commit; `call` is for one thread alone
        self._ended = False
        self.errors: list[str | None] = [None for _ in self._disks]
        for disk, base in zip(self._disks, self._bases, strict=True):
            call("disk_open", disk["index"])
            for chunk in range(disk["chunks"]):
                if not base.has(chunk):
                    memory[disk["marks"] + chunk] |= CONSTANTS["DISK_ZERO"]
        self._thread = threading.Thread(target=self._run, name="disks", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            seen = self._call("atomic_load", self._bell)
            asked = [self._asked.popleft() for _ in range(len(self._asked))]
            for number, disk in enumerate(self._disks):
                self._fetch(number, disk["index"])
                if asked or self._call("disk_commit_wanted", disk["index"]):
                    self._commit(number)
            for done in asked:
                done.set()
            self._call("atomic_wait", self._bell, seen, LOOK_SECONDS)

    def _fetch(self, number: int, index: int) -> None:
        while (chunk := self._call("disk_next", index) & NONE) != NONE:
            try:
                data = self._read(number, chunk)
            except (HartwellError, OSError) as error:
                self.errors[number] = str(error)
                self._call("disk_filled", index, chunk, 0, FAILED)
            else:
                if data is None:
                    self._call("disk_filled", index, chunk, 0, ZEROES)
                else:
                    self._place(number, chunk, data)
            self._call("disk_serve", index)

    def _read(self, number: int, chunk: int) -> bytes | None:
        overlay, base = self._overlays[number], self._bases[number]
        if chunk in overlay:
            return overlay[chunk]
        return base.read(chunk) if base.has(chunk) else None

    def _place(self, number: int, chunk: int, data: bytes) -> None:
        index = self._disks[number]["index"]
        place = self._call("disk_place", index, chunk) & NONE
        if not place:
            self._commit(number)
            place = self._call("disk_place", index, chunk) & NONE
        if place:
            self._memory[place : place + DISK_CHUNK] = data
        self._call("disk_filled", index, chunk, place, FILLED if place else FAILED)

    def _commit(self, number: int) -> None:
        disk, call = self._disks[number], self._call
        call("disk_commit_begin", disk["index"])
        for frame in range(disk["frames"]):
            at = disk["frameTable"] + 8 * frame
            chunk, flags = (int.from_bytes(self._memory[at + i : at + i + 4], "little") for i in (0, 4))
            if flags & CONSTANTS["FRAME_WRITING"]:
                begin = disk["data"] + frame * DISK_CHUNK
                call("disk_lock", disk["index"])
                data = self._memory[begin : begin + DISK_CHUNK].tobytes()
                call("disk_unlock", disk["index"])
                self._overlays[number][chunk] = data
        for chunk in range(disk["chunks"]):
            if self._memory[disk["marks"] + chunk] & CONSTANTS["DISK_ZERO_WRITING"]:
                self._overlays[number][chunk] = None
        call("disk_commit_end", disk["index"], 1)

    def commit(self) -> list[int]:
        """All that was written is in the overlays; how many chunks each has."""
        done = threading.Event()
        self._asked.append(done)
        if not done.wait(10) and not self._ended:
            raise HartwellError("the disks' thread does not answer")
        return [len(overlay) for overlay in self._overlays]

    def close(self) -> None:
        self._ended = True
        self._thread.join()

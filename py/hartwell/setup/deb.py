"""Reads Debian packages: deb(5), an ar archive with a tar archive of the files in it."""

from __future__ import annotations

import contextlib
import io
import lzma
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hartwell.setup.steps import SetupError

_MAGIC = b"!<arch>\n"
_HEADER = 60  # bytes of an ar member's header


@dataclass(frozen=True)
class Entry:
    """A file of a package: `path` without a leading slash, `kind` file, link or folder."""

    path: str
    kind: str
    mode: int
    target: str
    data: bytes


@contextlib.contextmanager
def _members(deb: Path) -> Iterator[tuple[IO[bytes], dict[str, tuple[int, int]]]]:
    """The open file, and name -> (offset, size) of the ar archive's members."""
    with deb.open("rb") as file:
        if file.read(8) != _MAGIC:
            raise SetupError(f"{deb.name}: not a Debian package (no ar archive)")
        members = {}
        whole = deb.stat().st_size
        while header := file.read(_HEADER):
            if len(header) < _HEADER or header[58:] != b"`\n":
                raise SetupError(f"{deb.name}: damaged at byte {file.tell() - len(header)}: no ar header there")
            name = header[:16].decode("ascii", "replace").strip().rstrip("/")
            size = int(header[48:58])
            members[name] = (file.tell(), size)
            if file.tell() + size > whole:
                raise SetupError(f"{deb.name}: damaged: it ends at byte {whole}, in the middle of {name}")
            file.seek(size + size % 2, io.SEEK_CUR)
        yield file, members


class _Part(io.RawIOBase):
    """The bytes of one ar member as a file."""

    def __init__(self, file: IO[bytes], offset: int, size: int) -> None:
        self._file, self._left = file, size
        file.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


@contextlib.contextmanager
def opened(deb: Path, part: str = "data") -> Iterator[tarfile.TarFile]:
    """The package's tar archive `part` (data or control), to be read front to back.

    Raises SetupError when the package is damaged or packed in a way that this
    Python can't undo, also for what goes wrong inside the block.
    """
    with _members(deb) as (file, members):
        name = next((name for name in members if name.startswith(f"{part}.tar")), None)
        if name is None:
            raise SetupError(f"{deb.name}: no {part}.tar in it; members are {', '.join(members)}")
        raw = io.BufferedReader(_Part(file, *members[name]), 1 << 20)
        stream: IO[bytes] = raw
        mode = "r|*"
        if name.endswith(".zst"):
            stream, mode = _zstd(raw, deb), "r|"
        try:
            with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
                yield archive
        except (tarfile.TarError, EOFError, KeyError, lzma.LZMAError, zlib.error) as error:
            raise SetupError(f"{deb.name}: {name} is damaged: {error}") from error


def entries(deb: Path, want: tuple[str, ...] | None = None) -> Iterator[Entry]:
    """The package's files, in its order; with `want`, those whose path begins with one of its words.

    Hard links come as files.  Raises SetupError as `opened` does.
    """
    seen: dict[str, bytes] = {}  # for hard links
    with opened(deb) as archive:
        for item in archive:
            path = item.name.removeprefix("./").strip("/")
            if not path or (want is not None and not path.startswith(want)):
                continue
            if item.isdir():
                yield Entry(path, "folder", item.mode, "", b"")
            elif item.issym():
                yield Entry(path, "link", 0o777, item.linkname, b"")
            elif item.islnk():
                data = seen[item.linkname.removeprefix("./")]
                yield Entry(path, "file", item.mode, "", data)
            elif item.isfile():
                content = archive.extractfile(item)
                seen[path] = content.read() if content else b""
                yield Entry(path, "file", item.mode, "", seen[path])


def control(deb: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of the package's control files (deb-control(5), deb-postinst(5), ...) by name."""
    found = {}
    with opened(deb, "control") as archive:
        for item in archive:
            content = archive.extractfile(item) if item.isfile() else None
            if content:
                found[item.name.removeprefix("./")] = (item.mode, content.read())
    if "control" not in found:
        raise SetupError(f"{deb.name}: its control.tar has no control file")
    return found


def _zstd(part: IO[bytes], deb: Path) -> IO[bytes]:
    """Debian packs with xz; derivatives' zstd needs the command of that name."""
    if not shutil.which("zstd"):
        raise SetupError(f"{deb.name}: packed with zstd; install the package zstd, or use a Debian mirror")
    result = subprocess.run(["zstd", "-dc"], input=part.read(), capture_output=True)
    if result.returncode:
        raise SetupError(f"{deb.name}: zstd: {result.stderr.decode(errors='replace').strip()}")
    return io.BytesIO(result.stdout)

"""Steps that are done once: each has a key, and is skipped while its key and outputs stand.

A step's key is a digest of all that its result depends on.  After the step it
is written, with the outputs' sizes, to `static/.state/NAME.json`, by rename
and last.  So a set-up that was interrupted goes on at the step it was in, and
one that is complete reads some small files and does nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hartwell.errors import HartwellError
from hartwell.setup import paths


class SetupError(HartwellError):
    """A step of the set-up cannot be done; the message says what to do."""


class Progress:
    """One line per step: rewritten in place on a terminal, printed when it ends elsewhere."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out if out is not None else sys.stderr
        self._span = (0.0, 1.0)
        self._name = ""
        self._begun = 0.0
        self._shown = 0.0
        self._percent = -1

    def begin(self, name: str) -> None:
        self._name, self._begun, self._shown, self._percent = name, time.monotonic(), 0.0, -1
        self._write(f"{name} ...", last=not self.out.isatty())

    def bytes(self, done: int, total: int) -> None:
        """How far a download or an unpacking is."""
        percent = 100 * done // total if total else 0
        now = time.monotonic()
        if not self.out.isatty():
            if percent // 25 > self._percent // 25 and self._percent >= 0 and percent < 100:
                self._write(f"  {percent} % of {size_words(total)}", last=True)
            self._percent = percent
        elif now - self._shown > 0.1:
            self._shown = now
            self._write(f"{self._name} ... {percent} % of {size_words(total)}", last=False)

    @contextlib.contextmanager
    def within(self, first: float, last: float) -> Iterator[None]:
        """What is done in it is that part of the whole; the whole is 0.0 to 1.0."""
        before = self._span
        begin, end = before
        self._span = (begin + first * (end - begin), begin + last * (end - begin))
        try:
            self.part(0.0)
            yield
        finally:
            self._span = before

    def part(self, share: float) -> None:
        """How far it is, 0.0 to 1.0; for those who watch the whole (`whole`)."""
        first, last = self._span
        self.whole(first + min(1.0, share) * (last - first))

    def whole(self, share: float) -> None:
        """Hears how far all of it is.  Nothing here: lines tell what is done."""

    def note(self, text: str) -> None:
        """A line of its own."""
        self._write(text, last=True)

    def end(self) -> None:
        self._write(f"{self._name}: done in {time.monotonic() - self._begun:.1f} s", last=True)

    def _write(self, text: str, last: bool) -> None:
        if self.out.isatty():
            text = f"\r\x1b[K{text}"
        self.out.write(text + ("\n" if last else ""))
        self.out.flush()


def size_words(count: int) -> str:
    """A number of bytes for people: 1.5 MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


@dataclass(frozen=True)
class Step:
    """Something that is done once for each key.

    `outputs` are files or folders it leaves; when one is missing, or a file
    has another size than the step left, the step is done again.
    """

    name: str
    says: str
    key: str
    outputs: tuple[Path, ...]
    act: Callable[[Progress], None]


class Runner:
    """Runs steps and remembers them."""

    def __init__(self, progress: Progress | None = None, state: Path | None = None) -> None:
        self.progress = progress or Progress()
        self.state = state or paths.STATE
        self.done: list[str] = []  # names of the steps that had work to do

    def run(self, step: Step) -> bool:
        """Does the step unless it is done; True when there was work."""
        if self.is_done(step):
            return False
        self.progress.begin(step.says)
        try:
            step.act(self.progress)
        except OSError as error:
            raise disk_error(error, step.says) from error
        missing = [str(path) for path in step.outputs if not path.exists()]
        if missing:
            raise SetupError(f"{step.says}: the step ended without leaving {', '.join(missing)}")
        record = {"key": step.key, "sizes": _sizes(step.outputs)}
        write_file(self._record(step), json.dumps(record).encode())
        self.done.append(step.name)
        self.progress.end()
        return True

    def is_done(self, step: Step) -> bool:
        try:
            record = json.loads(self._record(step).read_bytes())
        except (OSError, ValueError):
            return False
        return (
            isinstance(record, dict)
            and record.get("key") == step.key
            and all(path.exists() for path in step.outputs)
            and record.get("sizes") == _sizes(step.outputs)
        )

    def _record(self, step: Step) -> Path:
        return self.state / f"{step.name}.json"


def _sizes(outputs: Iterable[Path]) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in outputs if path.is_file()}


def disk_error(error: OSError, what: str) -> SetupError:
    """An OSError in words; a full disk is the one that people meet."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(paths.ROOT).free
        return SetupError(
            f"{what}: the disk is full ({size_words(free)} free under {paths.ROOT}); set-up needs about 2 GB. "
            "Make room and run the same command again, it goes on where it stopped"
        )
    return SetupError(f"{what}: {error}")


def keep_file(path: Path, data: bytes) -> None:
    """Writes a whole file unless it is that already."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return
    write_file(path, data)


def write_file(path: Path, data: bytes) -> None:
    """Writes a whole file or leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def replace_folder(new: Path, path: Path) -> None:
    """Puts the finished folder `new` where `path` is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def scratch_folder(near: Path) -> Iterator[Path]:
    """A folder on the disk of `near`, gone afterwards; those of processes that were killed go too."""
    folder = near.with_name(f".{near.name}.{os.getpid()}.part")
    for left in near.parent.glob(f".{near.name}.*.part"):
        number = left.name.removeprefix(f".{near.name}.").removesuffix(".part")
        if number.isdecimal() and not _lives(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def digest(*parts: str | bytes) -> str:
    """A digest of words and bytes in their order."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()


def digest_files(files: Iterable[Path], root: Path) -> str:
    """A digest of files' names and contents."""
    return digest(*(part for path in sorted(files) for part in (path.relative_to(root).as_posix(), path.read_bytes())))


@contextlib.contextmanager
def only_one(progress: Progress, state: Path | None = None) -> Iterator[None]:
    """Holds the checkout's set-up; a second one waits for the first."""
    def waits() -> None:
        progress.note("another set-up of this checkout is at work; waiting for it")

    with locked((state or paths.STATE) / "lock", waits):
        yield


def _lock_file(path: Path) -> TextIO:
    try:
        return path.open("w")
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES) and path.is_file():
            return path.open()
        raise


@contextlib.contextmanager
def locked(path: Path, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds a lock of this name among all processes; `waits` is told when another one has it.

    Where nobody may write, one that is there is as good: what is complete can be used from there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock_file(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield

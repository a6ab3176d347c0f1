"""The page's files: which one a path means, what type it has, which part of it is asked for.

Only files of web/ and, below /static/, of static/ are given, none whose path
has a part that begins with a dot.  What bundle.py made of web/ comes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import stat
import urllib.parse
from pathlib import Path

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".wasm": "application/wasm",
    ".whl": "application/zip",
    ".zip": "application/zip",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}

# What a page is made of, and nobody writes to while it is open, below a path that changes with any of it:
# kept for ever, and not asked for again.
CODE = re.compile(r"(?!static/|ws/|mirror/).+|static/(cpu\.wasm|python\.heap|(pyodide|wheels|xterm|zstd)/.+)")
VERSIONED = re.compile(r"/v/([0-9a-f]{16})(/.*)")
LASTING = {"Cache-Control": "max-age=31536000, immutable"}


def version_of(web: Path, static: Path) -> str:
    """Another one whenever a file of the page's code is another."""
    whole = hashlib.sha256()
    for root, prefix in ((web, ""), (static, "static/")):
        folders = [root] if root == web else [root / name for name in ("pyodide", "wheels", "xterm", "zstd", "page")]
        files = [path for folder in folders for path in folder.rglob("*")]
        files += [] if root == web else [root / "cpu.wasm", root / "python.heap"]
        for path in sorted(files):
            with contextlib.suppress(OSError):
                facts = path.stat()
                if stat.S_ISREG(facts.st_mode):
                    name = prefix + path.relative_to(root).as_posix()
                    whole.update(f"{name}\0{facts.st_mtime_ns}\0{facts.st_size}\n".encode())
    return whole.hexdigest()[:16]


class BadRange(Exception):
    """A byte range that no byte of the file lies in."""


def find_file(path: str, web: Path, static: Path, joined: Path | None = None) -> Path | None:
    """The file for a request's path, None when there is none to give.

    joined: a folder with files to be given in place of `web`'s of the same path.
    """
    name = urllib.parse.unquote(path.split("?")[0].split("#")[0])
    parts = name.strip("/").split("/") if name.strip("/") else ["index.html"]
    if any(part.startswith(".") or not part or "\\" in part or "\0" in part for part in parts):
        return None
    if parts[0] == "static":
        return _inside(static, parts[1:])
    return (joined and _inside(joined, parts)) or _inside(web, parts)


def _inside(root: Path, parts: list[str]) -> Path | None:
    """The file in that folder, None when it has none there."""
    file = root.joinpath(*parts)
    try:
        # A link may not lead out of the folder either.
        real = file.resolve(strict=True)
        return real if real.is_relative_to(root.resolve()) and real.is_file() else None
    except (OSError, RuntimeError):
        return None


def byte_range(text: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end of a Range header's one range (RFC 9110, 14); None means the whole file."""
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", (text or "").replace(" ", ""))
    if not match or match[0] == "bytes=-":
        return None  # several ranges, or no range that we know: allowed to be ignored
    if not match[1]:
        count = min(int(match[2]), size)
        first, end = size - count, size
    else:
        first = int(match[1])
        if match[2] and int(match[2]) < first:
            return None
        end = min(int(match[2]) + 1, size) if match[2] else size
    if first >= end:
        raise BadRange
    return first, end

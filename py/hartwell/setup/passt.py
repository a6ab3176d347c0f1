"""Finds passt, the user-mode network stack that the relay stands on: the
system's, or one unpacked from Debian's package, which needs no root.

A machine that can have none (no Linux, no mirror) gets no relay, and a line
that says so; everything else works.
"""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from hartwell.errors import HartwellError
from hartwell.setup import deb, packages, paths
from hartwell.setup.steps import Progress, Step, digest, replace_folder, scratch_folder, write_file

FOLDER = paths.STATIC / "passt"
# passt of Debian 12: it needs nothing but a C library of that time or newer.
PINS = {
    "x86_64": "passt 0.0~git20230309.7c7625d-1 amd64 160168 86cbbf887b293caa4602babeae6b2a903b3303ff61ca9b8c383f684d2d8b5e6c "
    "pool/main/p/passt/passt_0.0~git20230309.7c7625d-1_amd64.deb",
    "aarch64": "passt 0.0~git20230309.7c7625d-1 arm64 99360 f1302a24d91425dfabef2b6778fd33f5848e36ae6e0efe146dd47da5d80b6bc9 "
    "pool/main/p/passt/passt_0.0~git20230309.7c7625d-1_arm64.deb",
}


def step(mirror: str | None) -> Step:
    key = digest("passt 1", *PINS.values(), str(shutil.which("passt")))
    return Step("passt", "looking for passt, for the guest's network", key, (FOLDER,), lambda p: _fetch(mirror, p))


def _fetch(mirror: str | None, progress: Progress) -> None:
    why = "this system has its own"
    with scratch_folder(FOLDER) as folder:
        if not shutil.which("passt"):
            try:
                why = _unpack(mirror, progress, folder)
            except HartwellError as error:
                why = str(error)
            if why:
                progress.note(f"  no passt, so machines get no network by the relay: {why}")
        write_file(folder / "why", why.encode())
        replace_folder(folder, FOLDER)


def _unpack(mirror: str | None, progress: Progress, folder: Path) -> str:
    """Leaves the programs in `folder`; why not, or nothing."""
    pin = PINS.get(platform.machine())
    if sys.platform != "linux" or pin is None:
        return f"passt is for Linux on {' and '.join(PINS)}; this is {sys.platform} on {platform.machine()}"
    [file] = packages.fetch(packages.read_lock(pin), mirror, progress).values()
    for entry in deb.entries(file, ("usr/bin/passt",)):
        name = entry.path.rsplit("/", 1)[-1]
        if entry.kind == "file":
            (folder / name).write_bytes(entry.data)
            (folder / name).chmod(0o755)
    return ""


def find() -> tuple[Path | None, str]:
    """The program, or why there is none."""
    if found := shutil.which("passt"):
        return Path(found), ""
    if (FOLDER / "passt").is_file():
        return FOLDER / "passt", ""
    try:
        return None, (FOLDER / "why").read_text()
    except OSError:
        return None, "it was not set up; run `python3 serve.py` once more"

"""Finds a Chromium for the end-to-end tests, or gets one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from hartwell.setup import paths
from hartwell.setup.steps import Progress, SetupError

VARIABLE = "HARTWELL_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_WHERE = (
    "import playwright.sync_api as p\n"
    "with p.sync_playwright() as play: print(play.chromium.executable_path)"
)


def find_or_install(progress: Progress) -> Path:
    """A browser that starts: the named one, the machine's, Playwright's, or the distribution's.

    Raises SetupError when none can be had.
    """
    if named := os.environ.get(VARIABLE):
        if (path := shutil.which(named)) and _starts(path):
            return Path(path)
        raise SetupError(f"{VARIABLE}={named}: there is no Chromium that starts; name its program, or unset the variable")
    return _on_path() or _playwright(progress) or _distribution(progress) or _none()


def _on_path() -> Path | None:
    # Some distributions have a program of that name that only says how to get it.
    return next((Path(path) for name in NAMES if (path := shutil.which(name)) and _starts(path)), None)


def _starts(program: str | Path) -> bool:
    try:
        result = subprocess.run([program, "--version"], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


def _playwright(progress: Progress) -> Path | None:
    """Playwright's own build; None when it can't be fetched or lacks libraries here."""
    python = str(paths.venv_python())
    where = subprocess.run([python, "-c", _WHERE], capture_output=True, text=True)
    path = Path(where.stdout.strip() or "/nonexistent")
    if where.returncode == 0 and not path.exists():
        progress.begin("fetching Playwright's Chromium (170 MB)")
        result = subprocess.run([python, "-m", "playwright", "install", "chromium"], capture_output=True, text=True)
        if result.returncode:
            progress.note("  it cannot be fetched")
            return None
        progress.end()
    return path if _starts(path) else None


def _distribution(progress: Progress) -> Path | None:
    """The distribution's package, where this user may install it."""
    if os.geteuid() or not shutil.which("apt-get"):
        return None
    progress.begin("installing the distribution's package chromium")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "-y", "install", "--no-install-recommends", "chromium"]
    for command in (install, ["apt-get", "-qq", "update"], install):
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        if command is install and result.returncode == 0:
            progress.end()
            return _on_path()
    progress.note(f"  apt-get: {result.stderr.strip()}")
    return None


def _none() -> Path:
    raise SetupError(
        "the tests of the page need a Chromium, and none could be found or fetched. Install your distribution's package "
        f"(chromium or google-chrome), or name the program in {VARIABLE}"
    )

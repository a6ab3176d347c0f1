"""Finds a gdb that knows RISC-V for the tests of the debugger, or gets one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from hartwell.setup.steps import Progress, SetupError

VARIABLE = "HARTWELL_GDB"
NAMES = ("gdb-multiarch", "riscv64-unknown-elf-gdb", "riscv64-linux-gnu-gdb", "riscv64-elf-gdb", "gdb")
PACKAGE = "gdb-multiarch"


def find_or_install(progress: Progress) -> Path:
    """A gdb that takes riscv:rv64: the named one, the machine's, or the distribution's.

    Raises SetupError when none can be had.
    """
    found = named() or find() or _distribution(progress)
    if found is None:
        raise SetupError(
            "the tests of the debugger need a gdb that knows RISC-V, and none could be found or installed. Install your "
            f"distribution's package ({PACKAGE}), or name the program in {VARIABLE}"
        )
    return found


def named() -> Path | None:
    """The one that HARTWELL_GDB names, if it does.  SetupError when that is none."""
    if not (name := os.environ.get(VARIABLE)):
        return None
    if (path := shutil.which(name)) and knows_riscv(path):
        return Path(path)
    raise SetupError(f"{VARIABLE}={name}: that is no gdb that knows riscv:rv64; name its program, or unset the variable")


def find() -> Path | None:
    """One that is on the PATH."""
    return next((Path(path) for name in NAMES if (path := shutil.which(name)) and knows_riscv(path)), None)


def knows_riscv(program: str | Path) -> bool:
    """Does it start, and take the architecture?"""
    command = [program, "-nx", "-batch", "-ex", "set architecture riscv:rv64"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0 and "is set to" in result.stdout


def _distribution(progress: Progress) -> Path | None:
    """The distribution's package, where this user may install it."""
    if os.geteuid() or not shutil.which("apt-get"):
        return None
    progress.begin(f"installing the distribution's package {PACKAGE}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "-y", "install", "--no-install-recommends", PACKAGE]
    for command in (install, ["apt-get", "-qq", "update"], install):
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        if command is install and result.returncode == 0:
            progress.end()
            return find()
    progress.note(f"  apt-get: {result.stderr.strip()}")
    return None

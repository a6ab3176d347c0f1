"""Builds the programs here: static, for riscv64 Linux, by the pinned compiler."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / "cpu" / "build" / "zig"
FLAGS = ["-target", "riscv64-linux-musl", "-static", "-O1", "-Wall", "-Wextra", "-Werror"]
DEBUGGED = ["elf"]  # keeps its DWARF, which the test reads; the others are stripped
SECTOR = 512


def sources() -> dict[str, Path]:
    """Each program's source by its name."""
    return {path.stem: path for path in sorted(HERE.iterdir()) if path.suffix in (".c", ".cpp")}


def build(folder: Path) -> dict[str, Path]:
    """Builds all into `folder`.  RuntimeError with the compiler's words when one fails."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(lambda item: (item[0], _compile(item[1], folder / item[0])), sources().items())
        return dict(made)


def _compile(source: Path, output: Path) -> Path:
    driver = "c++" if source.suffix == ".cpp" else "cc"
    keep = ["-g"] if source.stem in DEBUGGED else ["-g0", "-Wl,-s"]
    command = [sys.executable, "-m", "ziglang", driver, *FLAGS, *keep, str(source), "-o", str(output)]
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(CACHE), "ZIG_LOCAL_CACHE_DIR": str(CACHE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1200)
    if done.returncode:
        raise RuntimeError(f"{source.name}: the compiler ended with {done.returncode}:\n{done.stderr}")
    return output


def disk(programs: dict[str, Path]) -> bytes:
    """A raw disk that holds the programs as a tar archive: `tar x < /dev/vda` unpacks it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, path in programs.items():
            tar.add(path, name)
    data = archive.getvalue()
    return data + bytes(-len(data) % SECTOR)

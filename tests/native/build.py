"""Builds C of `cpu/` and `tests/native/` for tests.

Nothing but the ziglang wheel is needed.  Outputs go where the caller says (a
test's temporary folder); only the generated headers go to `cpu/generated/`, as
they do in a build.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hartwell import layout

ROOT = Path(__file__).parent.parent.parent
CPU = ROOT / "cpu"
NATIVE = ROOT / "tests" / "native"

_WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{CPU}"]
_WASM_FEATURES = "generic+atomics+bulk_memory+simd128+mutable_globals+nontrapping_fptoint+sign_ext"


def write_headers() -> None:
    """Brings cpu/generated/ up to date with the Python it comes from."""
    generated = CPU / "generated"
    generated.mkdir(exist_ok=True)
    header, text = generated / "layout.h", layout.c_header()
    if not header.exists() or header.read_text() != text:
        with tempfile.NamedTemporaryFile("w", dir=generated, delete=False) as file:
            file.write(text)
        os.replace(file.name, header)


def _compile(arguments: Sequence[str], output: Path) -> Path:
    command = [sys.executable, "-m", "ziglang", "cc", *_WARNINGS, *arguments, "-o", str(output)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise RuntimeError(f"building {output.name} failed:\n{' '.join(command)}\n{done.stderr}")
    return output


def shared_library(output: Path, sources: Sequence[Path], *flags: str) -> Path:
    """A native shared library, optimised; `flags` go to the compiler."""
    arguments = ["-O2", "-fPIC", "-shared", "-fno-math-errno", "-fno-sanitize=all", *flags]
    return _compile([*arguments, *map(str, sources)], output)


def program(output: Path, sources: Sequence[Path], *flags: str) -> Path:
    """A native program; `flags` say how (optimisation, sanitizers)."""
    return _compile([*flags, *map(str, sources)], output)


def wasm_module(output: Path, sources: Sequence[Path], *flags: str) -> Path:
    """A Wasm module with its own memory, exporting what the C marks EXPORT."""
    arguments = ["-target", "wasm32-freestanding", f"-mcpu={_WASM_FEATURES}", "-O2", "-nostdlib"]
    linker = ["-Wl,--no-entry", "-Wl,--export-dynamic", "-Wl,--export-memory", "-Wl,--export=__heap_base"]
    return _compile([*arguments, *flags, *map(str, sources), *linker], output)

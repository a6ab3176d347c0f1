"""Builds cpu.wasm: ``python -m hartwell.setup.build``.

First the C that Python's tables determine (cpu/generated/), then one link of
all C in cpu/ by the pinned compiler, then a check of what came out against
the contract that every instance and every machine's memory relies on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hartwell.errors import HartwellError
from hartwell.isa import generate
from hartwell.layout import MACHINE_BASE, c_header
from hartwell.setup import paths, wasm
from hartwell.setup.steps import Progress, Runner, SetupError, Step, digest, digest_files, scratch_folder, write_file

CPU = paths.ROOT / "cpu"
GENERATED = CPU / "generated"
OUTPUT = paths.STATIC / "cpu.wasm"

MEMORY_MIN = 64 * 65536  # low enough for every machine's memory to fit the import
MEMORY_MAX = 65535 * 65536
GLOBAL_BASE = 1024

FLAGS = [
    "-target", "wasm32-freestanding",
    "-mcpu=generic+atomics+bulk_memory+simd128+mutable_globals+nontrapping_fptoint+sign_ext",
    "-std=gnu11", "-O2", "-nostdlib", "-ffreestanding", "-Wall", "-Wextra", "-Werror",
    "-I", ".",
    "-Wl,--no-entry", "-Wl,--import-memory", "-Wl,--shared-memory",
    f"-Wl,--initial-memory={MEMORY_MIN}", f"-Wl,--max-memory={MEMORY_MAX}",
    f"-Wl,--global-base={GLOBAL_BASE}",
    # The glue gives each instance a stack of its own (layout.py); this one, below the data, is never used.
    "-Wl,-z,stack-size=1024",
    "-Wl,--export-table", "-Wl,--growable-table", "-Wl,--export-dynamic",
    "-Wl,--export=__stack_pointer", "-Wl,--export=__heap_base",
]
IMPORTS = {"env.memory": "memory", "host.clock": "function", "host.install": "function"}


def generated_files() -> dict[str, str]:
    """Names and texts of cpu/generated/."""
    return {"layout.h": c_header(), **{name: make() for name, make in generate.FILES.items()}}


def generate_sources(folder: Path = GENERATED) -> None:
    """Writes cpu/generated/; a file that is as it should be keeps its time."""
    for name, text in generated_files().items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            write_file(path, text.encode())


def sources() -> list[Path]:
    """The translation units."""
    return sorted(CPU.glob("*/*.c"))


def hand_written() -> list[Path]:
    """The C that is nobody's output: units and headers."""
    return [*sources(), *(path for path in CPU.glob("*/*.h") if path.parent != GENERATED)]


def key() -> str:
    """What cpu.wasm depends on."""
    texts = [part for name, text in sorted(generated_files().items()) for part in (name, text)]
    return digest("cpu.wasm 1", *FLAGS, *texts, digest_files(hand_written(), CPU))


def compile_wasm(output: Path = OUTPUT, flags: list[str] | None = None) -> None:
    """Compiles and links cpu/*/*.c into `output`, checked against the contract.

    Raises SetupError with the compiler's own words when it refuses.
    """
    generate_sources()
    output.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(output) as folder:
        made = folder / "cpu.wasm"
        command = [*compiler(), *FLAGS, *(flags or []), *(str(path.relative_to(CPU)) for path in sources()), "-o", str(made)]
        cache = CPU / "build" / "zig"
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)}
        result = subprocess.run(command, cwd=CPU, env=environment, capture_output=True, text=True)
        if result.returncode:
            raise SetupError(f"cpu.wasm: the compiler stopped with status {result.returncode}:\n{result.stderr.strip()}")
        data = made.read_bytes()
        check(data)
        write_file(output, data)


def compiler() -> list[str]:
    """The command of the pinned C compiler: the environment's, or this interpreter's."""
    python = paths.venv_python()
    return [str(python if python.exists() else sys.executable), "-m", "ziglang", "cc"]


def check(data: bytes) -> None:
    """Holds a cpu.wasm against docs/contracts.md; SetupError names what differs."""
    module = wasm.parse(data)
    wrong = []
    if module.imports != IMPORTS:
        wrong.append(f"it imports {sorted(module.imports)}, not {sorted(IMPORTS)}")
    if not module.memory_shared or module.memory_pages[1] != MEMORY_MAX // 65536:
        wrong.append(f"its memory is not shared with a maximum of {MEMORY_MAX // 65536} pages")
    for name, kind in (("__stack_pointer", "global"), ("__indirect_function_table", "table")):
        if module.exports.get(name) != kind:
            wrong.append(f"it does not export the {kind} {name}")
    end = module.constants.get("__heap_base", 0)
    if not GLOBAL_BASE <= end <= MACHINE_BASE:
        wrong.append(
            f"the C data ends at {end:#x} but struct Machine begins at {MACHINE_BASE:#x}: "
            "make the tables in cpu/ smaller, or raise MACHINE_BASE in py/hartwell/layout.py"
        )
    if wrong:
        raise SetupError("cpu.wasm breaks its contract (docs/contracts.md): " + "; ".join(wrong))


def step() -> Step:
    return Step("cpu", "building cpu.wasm", key(), (OUTPUT,), lambda _: compile_wasm())


def main() -> int:
    try:
        runner = Runner(Progress())
        if not runner.run(step()):
            print(f"{OUTPUT} is up to date", file=sys.stderr)
    except HartwellError as error:
        print(f"hartwell: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

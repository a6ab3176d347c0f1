"""The twelve kernels on the bare core in Node, without kernel, page or browser.

For work on the translator: a run takes half a minute, `--cores` names cpu.wasm
files of earlier or other builds (of the same memory layout), and all take turns
in one process, so that what a change did shows on a busy computer, too.
Nothing is written into results/.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from bench import prepare, results
from hartwell.elf import read_elf
from hartwell.layout import CONSTANTS, RAM_BASE, RAM_OFFSET, STACK_BASE, STACK_SIZE, field
from hartwell.memory_plan import plan_memory
from hartwell.setup import node, paths

HERE = Path(__file__).parent / "bare"
KERNELS = {  # scale of a run at 100 percent
    "sieve": 50, "quicksort": 100, "matmul": 300, "crc32": 60, "queens": 500, "bytecode": 200, "memcpy": 60, "sha256": 40,
    "nbody": 250, "chase": 60, "fib": 500, "virtual": 60,
}
FLAGS = [flag for flag in prepare.FLAGS if flag != "-s"]
TIMEOUT = 1200.0


def build() -> tuple[Path, Path]:
    """The guest and the native program."""
    guest, native = prepare.FOLDER / "bare.elf", prepare.FOLDER / "bare-native"
    kernels = [str(source) for source in sorted(prepare.PROGRAMS.glob("*.c")) if source.name != "main.c"]
    include = f"-I{prepare.PROGRAMS}"
    subprocess.run(["gcc", *FLAGS, include, str(HERE / "native.c"), *kernels, "-lm", "-o", str(native)], check=True)
    sources = [str(HERE / "start.S"), str(HERE / "bare.c"), *kernels]
    linking = ["-nostartfiles", "-mcmodel=medany", "-Wl,--no-warn-rwx-segments,--build-id=none", "-T", str(HERE / "link.ld")]
    subprocess.run(["riscv64-linux-gnu-gcc", *FLAGS, *linking, include, *sources, "-lm", "-o", str(guest)], check=True)
    return guest, native


def memory() -> dict[str, Any]:
    """What a core's memory begins with."""
    plan = plan_memory(512 << 20, 1, 0)
    values = [(f"Machine.{name}", value) for name, value in plan.values.items()]
    values += [("Machine.hart_count", 1), ("Machine.firmware", CONSTANTS["FIRMWARE_GUEST"]), ("Machine.jit.threshold", 4000)]
    slots = [(field(name), value) for name, value in values]
    return {"pages": plan.wasm_pages, "writes": [[slot.offset, slot.size, value] for slot, value in slots],
            "ram_base": RAM_BASE, "ram_offset": RAM_OFFSET, "stack": STACK_BASE + STACK_SIZE,
            "nowait": CONSTANTS["RUN_NOWAIT"], "instret": field("Hart.instret", 0).offset}


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    guest, native = build()
    elf = read_elf(guest.read_bytes())
    cores = [*(options.cores or []), str(paths.STATIC / "cpu.wasm")]
    kernels = [{"name": name, "number": number, "scale": max(1, scale * options.percent // 500)}
               for number, (name, scale) in enumerate(KERNELS.items()) if not options.only or name in options.only]
    job = {**memory(), "cores": cores, "guest": str(guest), "native": str(native), "kernels": kernels,
           "rounds": options.rounds, "repeats": min(options.repeats, 8), "entry": elf.entry, "mailbox": elf.symbols["mailbox"],
           "segments": [[part.physical, part.offset, part.file_bytes] for part in elf.segments]}
    command = [str(node.find()), "--experimental-wasm-branch-hinting", str(HERE / "run.mjs"), json.dumps(job)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=TIMEOUT).stdout)
    names = [Path(core).stem if k < len(cores) - 1 else "this" for k, core in enumerate(cores)]
    rows = []
    for name, row in found.items():
        each = (1000 * best / insns for best, insns in zip(row["best"], row["insns"], strict=True))
        rows.append([name, row["native"] / 1000, *(best / row["native"] for best in row["best"]), *each])
    means = [results.geometric_mean(row["best"][k] / row["native"] for row in found.values()) for k in range(len(cores))]
    rows.append(["**geometric mean**", "", *means, *("" for _ in cores)])
    print(results.table(["kernel", "native, ms", *names, *(f"{name}, ns/instruction" for name in names)], rows))


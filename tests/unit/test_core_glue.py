"""web/core.mjs without a page: harts' workers that never come."""

from __future__ import annotations

import json
import subprocess

from hartwell.layout import CONSTANTS, MAX_HARTS, STACK_BASE, STACK_SIZE, field
from hartwell.memory_plan import plan_memory
from hartwell.setup import node, paths

SCRIPT = """
import { readFile } from "node:fs/promises";
import { createCore } from "./web/core.mjs";

const bytes = await readFile("static/cpu.wasm");
const cpu = { bytes, module: await WebAssembly.compile(bytes) };
const told = [];
let started = 0;
const spawn = () => (started++, { post: () => {}, terminate: () => {} });
const starting = async (/** @type {any} */ core) => core.startHarts().then(() => "runs", (error) => error.message);
const limit = () => new Promise((resolve) => setTimeout(resolve, 500, "waits for ever"));

const waiting = await createCore(cpu, PLAN, spawn, () => null);
const first = starting(waiting);
await new Promise((resolve) => setTimeout(resolve, 20));
waiting.terminate();
told.push(await Promise.race([first, limit()]));

const early = await createCore(cpu, PLAN, spawn, () => null);
const before = started;
const second = starting(early);
early.terminate(); // before its first worker
told.push(await Promise.race([second, limit()]), started - before);
console.log(JSON.stringify(told));
process.exit();
"""


def test_who_starts_harts_that_end_before_they_begin_hears_of_it() -> None:
    plan = plan_memory(4 << 20, 1)
    numbers = {
        "pages": plan.wasm_pages, "harts": 1, "stackBase": STACK_BASE, "stackSize": STACK_SIZE, "supervisorThread": MAX_HARTS,
        "budget": 1000, "again": CONSTANTS["RUN_BUDGET"], "crash": CONSTANTS["STOP_CRASH"],
        "aheadTable": plan.values["jit_ahead_offset"], "aheadBytes": field("Machine.jit.ahead_bytes").offset,
    }
    script = SCRIPT.replace("PLAN", json.dumps(numbers))
    result = subprocess.run(
        [str(node.find()), "--input-type=module", "--no-warnings", "-e", script], cwd=paths.ROOT, capture_output=True, text=True,
        check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    first, second, workers = json.loads(result.stdout)
    assert "ended before it began" in first and "closed meanwhile" in second and workers == 0

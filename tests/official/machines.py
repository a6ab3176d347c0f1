"""Runs bare programs one after another and prints one JSON line for each.

    hartwell script tests/official/machines.py '{"jit": true}' SECONDS ELF...

The first argument is Machine.boot's; `run.py` beside this starts it.
"""

import asyncio
import json
import sys
from typing import Any

from hartwell import Machine

options, seconds, programs = json.loads(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]


async def run(program: str) -> dict[str, Any]:
    """One machine from start to HTIF exit."""
    machine = await Machine.boot(bare=program, memory="32M", show=False, **options)
    try:
        code = await asyncio.wait_for(machine.wait(), seconds)
        verdict = {"code": code, "error": machine.error}
    except (TimeoutError, asyncio.TimeoutError):
        machine.pause()
        hart = machine.harts[0]
        verdict = {"error": f"no result after {seconds:g} s: pc {hart.pc:#x}, privilege {hart.privilege}, "
                   f"mcause {hart.csr['mcause']:#x}, mepc {hart.csr['mepc']:#x}, gp {hart.x[3]}"}
    statistics = machine.statistics()
    await machine.close()
    return {"program": program, "instructions": sum(hart["instructions"] for hart in statistics["harts"]), **verdict}


async def main() -> None:
    for program in programs:
        try:
            line = await run(program)
        except Exception as error:  # noqa: BLE001 - the next program is another machine
            line = {"program": program, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(line), flush=True)


await main()  # noqa: F704 - as in the page's Python console

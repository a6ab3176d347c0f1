"""Where a jump through a register was seen to lead is known for later translations, too."""

from __future__ import annotations

import pytest

from hartwell.layout import CONSTANTS, LAYOUT, RAM_BASE
from tests.core.bench import Bench, fresh_core, get, put

EXACT = CONSTANTS["RUN_EXACT"] | CONSTANTS["RUN_NOWAIT"]
TURNING = """
            la s0, one
            la s1, two
    loop:   mv t1, s0
            mv s0, s1
            mv s1, t1
            {0}
    back:   addi a0, a0, 1
            bne a0, a1, loop
    rest:   j rest
    enter:  jr t2
            {1}"""
WAYS = {  # a return and a jump forwards make the place hot where they lead to least
    "a call": ("jalr ra, 0(s0)", "one: addi a2, a2, 1; ret; two: addi a3, a3, 1; ret"),
    "a table": ("jr s0; one: addi a2, a2, 1; j back; two: addi a3, a3, 1; j back", ""),
}
INSNS = 10  # all but the set-up, rest and enter


def region_insns(bench: Bench, pc: int) -> int:
    """Instructions of the region at pc, those that were taken in included; 0: there is none."""
    core, layout = bench.core, LAYOUT["JitRegion"]
    for index in range(get(core, "Machine.jit.region_count")):
        data = core.read(core.plan.values["jit_regions_offset"] + index * layout.size, layout.size)
        key, insns = (int.from_bytes(data[(slot := layout.fields[name]).offset :][: slot.size], "little")
                      for name in ("key", "insns"))
        if key == (pc - RAM_BASE) // 2 + 1:
            return insns
    return 0


@pytest.mark.parametrize("way", WAYS)
def test_targets_outlast_the_interpreters_memory_of_them(way: str) -> None:
    """A loop that is translated is not interpreted, so what was seen of its jumps gets overwritten."""
    bench = Bench(fresh_core(harts=1, threshold=99))
    code = bench.load(TURNING.format(*WAYS[way]))
    bench.start()
    bench.x_set("a1", 1 << 40)
    for _ in range(20):
        bench.core.call("hart_run", 0, 540, EXACT)
        if region_insns(bench, code["loop"]) or region_insns(bench, code["back"]):
            break
    entries = sorted(("loop", "back"), key=lambda name: region_insns(bench, code[name]))
    assert [region_insns(bench, code[name]) for name in entries] == [0, INSNS]

    own, seen = bench.core.plan.values["jit_hart_offset"], LAYOUT["JitHart"].fields["indirect"]
    bench.x_set("t2", code[entries[0]])
    for _ in range(40):
        bench.core.write(own + seen.offset, bytes(CONSTANTS["JIT_INDIRECTS"] * LAYOUT["JitIndirect"].size))
        put(bench.core, "Hart.pc", code["enter"], 0)
        bench.core.call("hart_run", 0, 540, EXACT)
    assert region_insns(bench, code[entries[0]]) == INSNS

"""Which callees and targets of jumps become part of a region."""

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


RECURSION = """
    main:   li a0, 50
            jal ra, again
            j main
    again:  beqz a0, out
            addi sp, sp, -16
            sd ra, 0(sp)
            addi a0, a0, -1
            {0}
            jal ra, again
            ld ra, 0(sp)
            addi sp, sp, 16
    out:    ret"""


@pytest.mark.parametrize(("work", "deep"), [(1, 6), (22, 6), (23, 4), (32, 4), (51, 4), (52, 0)])
def test_how_deep_a_function_is_taken_into_itself(work: int, deep: int) -> None:
    """One of up to 30 instructions six deep, larger ones four, of 60 and more not at all."""
    bench = Bench(fresh_core(harts=1, threshold=99))
    code = bench.load(RECURSION.format("; ".join(["addi a1, a1, 1"] * work)))
    bench.start()
    bench.x_set("sp", bench.DATA)
    for _ in range(100):
        bench.core.call("hart_run", 0, 3000, EXACT)
    own, joined = 8 + work, 5 + work  # the call's block and the callee's first are one, a copy of both
    assert region_insns(bench, code["again"]) == (1 + deep) * own + deep * joined

"""Frames on a stack whose pages lie elsewhere than their neighbours, in translation."""

from __future__ import annotations

import pytest

from hartwell.layout import field
from tests.core import bench, wild
from tests.core.bench import get
from tests.core.test_translator import EXACT, assert_same_course
from tests.core.test_translator_loops import TABLES, paged

FAR = "xor a4, a4, a2; addi a4, a4, 3; " * 31  # makes a callee too large to be taken in
RECURSION = """
f:  li t0, 2; bltu a0, t0, out
    addi sp, sp, -48; sd ra, 40(sp); sd s5, 0(sp); sd s6, 8(sp); sw a0, 20(sp)
    mv s5, a0; addi a0, a0, -1; call f
    mv s6, a0; addi a0, s5, -2; call f
    lw a1, 20(sp); add a0, a0, s6; add a0, a0, a1
    ld ra, 40(sp); ld s5, 0(sp); ld s6, 8(sp); addi sp, sp, 48
out: ret
"""

# Each begins anew with another a6, 8 to 504; s1 leads to the last of four pages.  a3 counts.
STACKS = {
    "frames in frames": f"addi sp, s1, 0x80; sub sp, sp, a6; li a0, 8; call f; mv a3, a0; j next; {RECURSION}",
    "a frame that is moved": f"""addi sp, s1, 0x80; sub sp, sp, a6; call f; j next
    f:  {FAR}
        addi sp, sp, -64; sd ra, 56(sp); sd s5, 0(sp); sd a6, 8(sp); sd s2, 16(sp); call long; ld a3, 8(sp); ld s5, 0(sp)
        ld a4, 16(sp); add a3, a3, a4; ld ra, 56(sp); addi sp, sp, 64; ret
    long: {FAR}
        andi a5, s2, 1; beqz a5, back; andi a5, s2, 2; beqz a5, below
        ld a5, 56(sp); sd a5, 0x4a8(sp); sd a4, 0x460(sp); addi sp, sp, 0x450; ret
    below: ld a5, 56(sp); sd a5, -0x448(sp); addi sp, sp, -0x480
    back: ret""",
    "a frame by another register": """addi sp, s1, 0x80; sub sp, sp, a6; call f; j next
    f:  addi sp, sp, -64; sd s5, 0(sp); addi s5, sp, 64; sd a6, -8(s5); sd s2, -16(s5); andi a5, s2, 1; beqz a5, f1
        ld a3, 48(sp); sb s2, 57(sp); j f2
    f1: ld a3, 56(sp); sb s2, 50(sp)
    f2: ld a4, -16(s5); add a3, a3, a4; ld a4, -8(s5); add a3, a3, a4; ld s5, 0(sp); addi sp, sp, 64; ret""",
    "a register that a callee moves": f"""addi sp, s1, 0x80; sub sp, sp, a6; call f; j next
    f:  {FAR}
        addi sp, sp, -64; sd ra, 56(sp); addi s5, sp, 64; sd a6, -16(s5); sd s2, -24(s5); call long
        ld a3, 48(sp); ld a4, -16(s5); add a3, a3, a4; sd s2, -24(s5); ld ra, 56(sp); addi sp, sp, 64; ret
    long: {FAR}
        andi a5, s2, 1; beqz a5, back; addi s5, s5, 16
    back: ret""",
    "a frame of some size": """addi sp, s1, 0x200; call f; j next
    f:  mv t2, sp; addi sp, sp, -16; sd ra, 8(sp); sub sp, sp, a6; sd a6, 0(sp); sd s2, 8(sp); andi a5, s2, 3; beqz a5, f1
        ld a3, 0(sp); add sp, sp, a6; ld ra, 8(sp); addi sp, sp, 16; ret
    f1: ld a3, 8(sp); add sp, sp, a6; ld ra, 8(sp); addi sp, sp, 16; ret""",
    "a stack that is mapped anew": f"""addi sp, s1, 0x80; sub sp, sp, a6; call f; j next
    f:  {FAR}
        addi sp, sp, -32; sd ra, 24(sp); sd a6, 8(sp); li t0, {TABLES + 0x2000}
        li a5, 0x20000; csrc mstatus, a5; ld t1, 0(t0); ld t2, 24(t0); sd t2, 0(t0); sd t1, 24(t0); csrs mstatus, a5; sfence.vma
        ld a3, 8(sp); sd s2, 8(sp); csrc mstatus, a5; sd t1, 0(t0); sd t2, 24(t0); csrs mstatus, a5; sfence.vma
        ld a4, 8(sp); add a3, a3, a4; ld ra, 24(sp); addi sp, sp, 32; ret""",
}


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_from_page_to_page(name: str) -> None:
    counted = assert_same_course(paged(f"{STACKS[name]}\nnext: nop"), 8)
    assert counted["ran"] > 30_000


def test_a_stack_that_is_only_read_is_not_looked_for_again_and_again() -> None:
    """The function stores to its frame now and then, but no longer when the page must not be written."""
    core = bench.fresh_core(harts=1, threshold=1)
    hart = bench.Bench(core)
    hart.load(paged(f"""li a5, 64; bne s2, a5, go
        li t0, {TABLES + 0x2000}; li a5, 0x20000; csrc mstatus, a5; ld t1, 24(t0); andi t1, t1, -133
        sd t1, 24(t0); csrs mstatus, a5; sfence.vma
    go: mv sp, s1; call f; li a5, 64; blt s2, a5, main; j go
    f:  {FAR}
        ld a3, 16(sp); li a5, 60; bge s2, a5, f1
        sd a3, 8(sp)
    f1: ld a4, 24(sp); add a3, a3, a4; ret"""), wild.BASE)
    hart.start(wild.BASE)
    for _ in range(40):
        core.call("hart_run", 0, 5000, EXACT)
    assert get(core, "Hart.mcause", 0) == 0
    assert hart.x("s2") >= 64
    assert get(core, "Hart.stat_jit_insns", 0) > 100_000
    assert get(core, "Hart.stat_jit_slow", 0) < 1000
    core.terminate()


def test_frames_that_lie_in_two_pages_are_given_up_for_a_while_and_groups_are_not() -> None:
    """What two frames have crosses a border together, and no group of one of them does."""
    core = bench.fresh_core(harts=1, threshold=1)
    hart = bench.Bench(core)
    hart.load(paged(f"""addi sp, s1, 32; call f; beqz s9, main; call new; j main
        f: {FAR}
           addi sp, sp, -32; sd a6, 8(sp); sd s2, 16(sp); andi a5, s2, 1; bnez a5, f1; addi a4, a4, 1
        f1: addi sp, sp, -32; sd a6, 8(sp); sd s2, 16(sp); ld a3, 8(sp); andi a5, s2, 2; bnez a5, f2; addi a4, a4, 1
        f2: addi sp, sp, 32; ld a3, 8(sp); ld a4, 16(sp); addi sp, sp, 32; ret
        new: {FAR} ret"""), wild.BASE)
    hart.start(wild.BASE)
    since = field("Machine.jit.crossed_since")

    def run() -> tuple[int, int]:
        for _ in range(40):
            core.call("hart_run", 0, 5000, EXACT)
        assert get(core, "Hart.mcause", 0) == 0
        return get(core, "Machine.jit.stat_unframed"), get(core, "Machine.jit.stat_ungrouped")

    assert run() == (1, 0)
    assert get(core, "Hart.stat_jit_insns", 0) > 100_000
    assert get(core, "Hart.stat_jit_slow", 0) < 1000
    assert get(core, "Machine.jit.crossed_since") > 0
    core.write(since.offset, (1).to_bytes(8, "little"))  # long ago
    hart.x_set("s9", 1)  # something is to be translated
    assert run() == (2, 0)
    core.terminate()

"""The translator against the interpreter, and against what QEMU recorded."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from typing import Any

import pytest
import wasmtime

from hartwell.layout import CONSTANTS, RAM_BASE, RAM_OFFSET, field
from hartwell.platform import wasmtime as platform
from hartwell.platform.wasmtime import WasmtimeCore
from tests.core import bench, wild, wild_fp
from tests.core.bench import get, put
from tests.oracle import run as oracle
from tests.oracle.records import WINDOW, Record, initial, load

RECORDS = load()
GROUPS = sorted({record.group for record in RECORDS})
ONCE = 1  # Jit.threshold at which everything is hot at its first visit
EACH = 8  # of so many records, one is run here; all of them are in test_differential
EXACT = CONSTANTS["RUN_EXACT"] | CONSTANTS["RUN_NOWAIT"]


def translated(core: WasmtimeCore) -> int:
    """Guest instructions that ran in translations."""
    return get(core, "Hart.stat_jit_insns", 0)


def again(core: WasmtimeCore, record: Record) -> oracle.State:
    """A record's program from its begin, without writing its code anew."""
    start = initial(record.number)
    core.write(RAM_OFFSET + WINDOW - RAM_BASE, start.window)
    core.write(field("Hart.x").offset, b"".join(value.to_bytes(8, "little") for value in start.x))
    core.write(field("Hart.f").offset, b"".join(value.to_bytes(8, "little") for value in start.f))
    for name, value in (("fcsr_flags", start.fcsr & 31), ("frm", start.fcsr >> 5), ("mstatus", oracle.FS_DIRTY),
                        ("privilege", oracle.PRIV_M), ("pc", record.address), ("mcause", 0)):
        put(core, f"Hart.{name}", value, 0)
    core.call("hart_run", 0, oracle.BUDGET, EXACT)
    assert get(core, "Hart.pc", 0) == oracle.PARKED
    assert get(core, "Hart.mepc", 0) == record.end
    return oracle.state(core)


@pytest.mark.parametrize("group", GROUPS)
def test_translated_programs_end_as_in_qemu(group: str) -> None:
    """Each program runs four times: decoded, translated, and twice in its translation."""
    core = bench.fresh_core(harts=1, threshold=ONCE)
    core.call("hart_start", 0, RAM_BASE, 0, 0, 3)
    records = [record for record in RECORDS if record.group == group][::EACH]
    bench.ram_write(core, oracle.PARKED, oracle.SELF_JUMP.to_bytes(4, "little"))
    put(core, "Hart.mtvec", oracle.PARKED, 0)
    for record in records:
        bench.ram_write(core, record.address, record.code)
    wrong, ran = {}, []
    for record in records:
        for turn in range(4):
            before = translated(core)
            if lines := oracle.differences(again(core, record), record.final):
                wrong[record.number, turn] = lines
            ran.append(translated(core) - before)
    assert not wrong
    assert sum(count > 0 for count in ran) >= len(ran) // 4
    assert get(core, "Machine.jit.stat_refused") == 0
    core.terminate()


SEEDS = [*range(24), 214]  # 214: instret read in a loop that is unrolled
STEPS = [2003, 1, 3001, 700, 17, 5000, 4099]  # instructions between two looks; some are fewer than a region may do


def course(threshold: int | None, text: str, turns: int = 4, ahead: bytes = b"") -> tuple[list[bytes], Counter[str]]:
    """A program's states, a digest each, and what the translator counted."""
    core = bench.fresh_core(harts=1, threshold=threshold)
    if ahead:
        core.use_translations(ahead)
    hart = bench.Bench(core)
    hart.load(text, wild.BASE)
    hart.start(wild.BASE)
    seen = []
    for _ in range(turns):
        for count in STEPS:
            core.call("hart_run", 0, count, EXACT)
            state = hashlib.sha256()
            for name in ("x", "f", "pc", "instret", "fcsr_flags", "frm", "mstatus", "mepc", "mcause", "mtval", "mscratch"):
                slot = field(f"Hart.{name}", 0)
                state.update(core.read(slot.offset, slot.size * (32 if name == "x" else slot.count)))
            for at in (wild.DATA - 0x1000, wild.DATA, wild.DATA + 0x1000, wild.DATA + 0xF000):
                state.update(core.read(RAM_OFFSET + at - RAM_BASE, 0x1000))
            seen.append(state.digest())
    names = ("refused", "stale", "revalidated", "regions", "ahead", "ahead_refused")
    counted = Counter({name: get(core, f"Machine.jit.stat_{name}") for name in names})
    counted["ran"] = translated(core)
    counted["exact"] = get(core, "Hart.stat_jit_exact")
    assert not counted["refused"], core._own.refused
    core.terminate()
    return seen, counted


def assert_same_course(text: str, turns: int = 4) -> Counter[str]:
    """Off, at once and in between; what was counted at once."""
    expected, counted = course(None, text, turns)
    assert counted["ran"] == counted["regions"] == 0
    for threshold in (40, ONCE):
        got, counted = course(threshold, text, turns)
        first = next((k for k, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b), None)
        assert first is None, f"threshold {threshold}: differs after look {first}"
        assert counted["ran"] > 1000
    return counted


@pytest.mark.parametrize("seed", SEEDS)
def test_translated_or_not_a_program_takes_the_same_course(seed: int) -> None:
    assert_same_course(wild.Wild(seed).text)


RUNS = {  # fs0 2^-600, fs1 1.5, fs2 2^-250, fs3 0, fs4 infinite, fs5 the greatest number, fs6 a signaling NaN; s2 leads to fs0
    "one product": "fmul.d fa0,fs0,fs0",
    "a product among sums": "fmul.d fa0,fs0,fs0; fadd.d fa1,fs1,fs1",
    "two products": "fmul.d fa0,fs0,fs0; fmul.d fa1,fs1,fs1",
    "the second product": "fmul.d fa0,fs1,fs1; fmul.d fa1,fs0,fs0",
    "three products": "fmul.d fa0,fs1,fs1; fmul.d fa1,fs1,fs1; fmul.d fa2,fs0,fs0",
    "a product of products": "fmul.d fa0,fs2,fs2; fmul.d fa1,fa0,fa0; fmul.d fa2,fa1,fa1",
    "a product of a product that became a sum": "fmul.d fa0,fs1,fs1; fmul.d fa5,fs2,fs2; fadd.d fa0,fs0,fs0; fmul.d fa2,fa0,fa5",
    "a product of a product that was loaded": "fmul.d fa0,fs1,fs1; fmul.d fa5,fs2,fs2; fld fa0,0(s2); fmul.d fa2,fa0,fa5",
    "an infinity that is divided by": "fdiv.d fa0,fs1,fs3; fdiv.d fa1,fs1,fa0; fld fa0,0(s2)",
    "a NaN that is forgotten": "fadd.d fa0,fs4,fs1; fsub.d fa0,fa0,fa0; fld fa0,0(s2); fadd.d fa1,fs1,fs1",
    "an overflow": "fadd.d fa0,fs5,fs5; fsgnj.d fa1,fa0,fs1; fld fa0,0(s2)",
    "an accumulator": "fmul.d fa1,fa2,fs1; fadd.d fa2,fa2,fa1",
    "a NaN that is compared": "fadd.d fa1,fs1,fs1; flt.d a1,fs6,fa1; fld fa1,0(s2)",
    "a NaN's minimum": "fadd.d fa1,fs1,fs1; fmin.d fa0,fs6,fa1",
    "fused": "fmadd.d fa0,fs0,fs0,fs3; fmul.d fa1,fs1,fs1",
    "products with zero": "fmul.d fa0,fs0,fs3; fsgnjn.d fa0,fa0,fa0; fmul.d fa1,fa0,fs1",
    "a product with zero, and one that becomes zero": "fmul.d fa0,fs3,fs1; fmul.d fa1,fs0,fs0",
    "zero and infinity": "fmul.d fa0,fs4,fs3; fmul.d fa1,fs3,fs1",
    "zero that is divided": "fdiv.d fa0,fs3,fs1; fdiv.d fa1,fs3,fs4",
    "zero divided by zero": "fdiv.d fa0,fs3,fs3; fdiv.d fa1,fs3,fs1",
    "a quotient that becomes zero": "fdiv.d fa0,fs0,fs5; fmul.d fa1,fs3,fs3",
    "behind a store": "fmul.d fa0,fs1,fs1; fsd fa0,8(s2); fmul.d fa0,fs0,fs0; fadd.d fa1,fa0,fs1",
    "more registers than are kept": "; ".join(f"fadd.d f{k},f{k},fs1" for k in (10, 11, 12, 13, 14, 15, 16, 17, 28, 29)),
}


@pytest.mark.parametrize("name", RUNS)
def test_results_that_are_asked_for_together(name: str) -> None:
    """Flags, NaNs and values of a loop whose results nobody sees before its end, or a
    store.  A checksum keeps them: a look is preceded by interpreted instructions."""
    values = [0x1A7 << 52, 0x3FF8 << 48, 0x305 << 52, 0, 0x7FF << 52, (0x7FF << 52) - 1, (0x7FF << 52) + 1]
    counted = assert_same_course(f"""
    li t6, 0x6000
    csrs mstatus, t6
    li s2, {wild.DATA}
    {"".join(f"li t0, {value}; fmv.d.x fs{k}, t0; " for k, value in enumerate(values))}
    fsd fs0, 0(s2)
main: csrwi fflags, 1
    fsgnj.d fa2, fs1, fs1
    addi s3, s3, 1
    andi s1, s3, 7
    addi s1, s1, 1
loop: {RUNS[name]}
    addi s1, s1, -1
    bnez s1, loop
    csrr a0, fflags
    slli a4, s4, 2; add s4, s4, a4; add s4, s4, a0
    fmv.x.d a4, fa0; xor s4, s4, a4; fmv.x.d a4, fa1; xor s4, s4, a4
    j main
    """)
    assert counted["ran"] > 40_000


@pytest.mark.parametrize("rounding", [0, 2])
@pytest.mark.parametrize("operation", ["fmul.d fa0, fs0, fs1", "fmul.d fa0, fs1, fs0", "fdiv.d fa0, fs0, fs1"])
def test_zero_by_zero_is_exact_without_the_exact_function(operation: str, rounding: int) -> None:
    """Whatever the rounding, and with no flag set yet."""
    counted = assert_same_course(f"""
    li t6, 0x6000
    csrs mstatus, t6
    li t0, 0xbff8000000000000
    fmv.d.x fs1, t0
    csrwi frm, {rounding}
main: {operation}
    csrr a0, fcsr
    slli a4, s4, 2; add s4, s4, a4; add s4, s4, a0
    fmv.x.d a4, fa0; xor s4, s4, a4
    j main
    """)
    assert counted["exact"] < 100 < counted["ran"] / 100


@pytest.mark.parametrize("seed", range(12))
def test_loops_of_floating_point_take_the_same_course(seed: int) -> None:
    assert_same_course(wild_fp.WildFp(seed).text)


WORDS = {  # s3 0x7fffffff, s4 0xfedcba9876543210, which s2 leads to; what a1 becomes counts
    "a doubleword": "ld a0, 0(s2); addiw a1, a0, 0",
    "an unsigned word": "lwu a0, 4(s2); addiw a1, a0, 0",
    "a word": "lw a0, 4(s2); addiw a1, a0, 0",
    "a sum of words": "addi a0, s3, 1; addiw a1, a0, 0",
    "a difference": "sub a0, zero, s4; addiw a1, a0, 0",
    "a shifted doubleword": "srli a0, s4, 32; addiw a1, a0, 0",
    "bits of a doubleword": "lhu a2, 4(s2); or a0, a2, s4; addiw a1, a0, 0",
    "either": "andi a2, s6, 1; addiw a0, s4, 0; beqz a2, 1f; addi a0, s4, 0; 1f: addiw a1, a0, 0",
    "a loop": "li a0, 5; li a3, 4; 1f: addiw a1, a0, 0; add s5, s5, a1; slli a0, a0, 9; addi a3, a3, -1; bnez a3, 1f",
    "the middle of a loop":
        "li a3, 3; 1f: add a0, s4, a3; beqz a3, 2f; addiw a0, a0, 0; addi a3, a3, -1; j 1f; 2f: addiw a1, a0, 0",
    "what a call leaves": "addiw a0, s3, 0; call long; addiw a1, a0, 0",
    "what a small callee leaves": "addiw a0, s3, 0; call short; addiw a1, a0, 0",
}


@pytest.mark.parametrize("name", WORDS)
def test_words_are_extended_where_they_must_be(name: str) -> None:
    body = WORDS[name].replace("1f", "one").replace("2f", "two")
    counted = assert_same_course(f"""
    li s2, {wild.DATA}
    li s3, 0x7fffffff
    li s4, 0xfedcba9876543210
    sd s4, 0(s2)
main: addi s6, s6, 1
    {body}
    slli a2, s5, 3; xor s5, s5, a2; add s5, s5, a1
    j main
long: add a0, a0, s4; {"addi a4, a4, 1; " * 61}
    ret
short: add a0, a0, s4; ret
    """)
    assert counted["ran"] > 40_000


# Adds 1 to the immediate of the instruction at `patched`, every 1,000 calls of f.
CHANGES = """
    li t2, 0x100000
main: li s2, 1000
loop: call f
    addi s2, s2, -1
    bnez s2, loop
    la t0, patched
    lw t1, 0(t0)
    add t1, t1, t2
    sw t1, 0(t0)
    fence.i
    j main
f: {} addi a0, a0, 1
    ret
    .align 6
{} nop
"""


def test_code_that_changes_is_translated_anew() -> None:
    counted = assert_same_course(CHANGES.format("patched:", ""), 12)
    assert counted["stale"] > 3


def test_a_change_beside_a_region_costs_a_comparison() -> None:
    counted = assert_same_course(CHANGES.format("", "patched:"), 12)
    assert counted["revalidated"] > 3
    assert counted["stale"] == 0


def test_accesses_that_cross_pages_are_checked_one_by_one() -> None:
    """A group of accesses whose span never lies in one page."""
    text = f"li s0, {wild.DATA + 0xFF8}; again: ld a0, 0(s0); ld a1, 8(s0); addi a0, a0, 3; sd a0, 8(s0); sd a1, 0(s0); j again"
    assert_same_course(text)


def test_a_frame_that_crosses_pages_looks_by_itself() -> None:
    """Its group is kept for frames that don't; one that ends outside of memory faults where it should."""
    assert_same_course(f"""
        la t6, handler; csrw mtvec, t6; li s4, {wild.DATA + 0x1010}; li s5, {wild.NOWHERE}
    main: andi a1, s2, 15; slli a2, a1, 3; sub sp, s4, a2; li a3, 12
        bne a1, a3, near; addi sp, s5, 8
    near: call f; addi s2, s2, 1; j main
    f:  addi sp, sp, -32; sd s2, 24(sp); sw a1, 20(sp); sb a2, 19(sp); sd ra, 8(sp); sd s3, 0(sp)
        lw a4, 20(sp); ld a5, 24(sp); add s3, s3, a4; xor s3, s3, a5; lbu a4, 19(sp); add s3, s3, a4
        addi sp, sp, 32; ret
    {wild.HANDLER}""")


def test_more_loops_than_a_region_remembers_pages_for() -> None:
    loop = "li s3, 3; l{0}: {1}; addi s3, s3, -1; bnez s3, l{0}"
    access = "ld a0, 0(s2); add a0, a0, s3; sd a0, 0(s2); addi s2, s2, 8"
    loops = "; ".join(loop.format(k, access if k % 16 > 12 else "addi a0, a0, 1") for k in range(32))
    assert_same_course(f"li s0, {wild.DATA + 0xFE0}; again: mv s2, s0; {loops}; j again")


# Each is called often enough to become part of its caller's region.
CALLEES = {
    "itself": f"""
        li sp, {wild.DATA + 0x2000}
    main: li a0, 9; call f; add s1, s1, a0; j main
    f:  li t0, 2; bltu a0, t0, out
        addi sp, sp, -32; sd ra, 0(sp); sd s2, 8(sp); sd s3, 16(sp)
        mv s2, a0; addi a0, a0, -1; call f
        mv s3, a0; addi a0, s2, -2; call f
        add a0, a0, s3; ld ra, 0(sp); ld s2, 8(sp); ld s3, 16(sp); addi sp, sp, 32
    out: ret""",
    "not back": """
    main: call f; addi s2, s2, 100; addi s2, s2, 1; j main
    f:  addi a0, a0, 1; andi a1, a0, 7; bnez a1, out
        addi ra, ra, 4
    out: ret""",
    "a fault": f"""
        li s0, {wild.DATA}
    main: andi a2, s2, 31; li a3, 1; add a2, a2, s0; call f; addi s2, s2, 3; j main
    f:  addi a3, a3, 5; ld a4, 0(a2); add s3, s3, a4; sd s3, 8(a2); add s3, s3, a3
        ret""",
    "a loop": f"""
        li s0, {wild.DATA}
    main: call f; addi s2, s2, 1; j main
    f:  li a3, 20; mv a2, s0
    again: ld a4, 0(a2); add s3, s3, a4; sd s3, 8(a2); addi a2, a2, 8; addi a3, a3, -1; bnez a3, again
        ret""",
    "through a register": f"""
        li s0, {wild.DATA}; la t0, one; sd t0, 0(s0); la t0, two; sd t0, 8(s0); la t0, three; sd t0, 16(s0)
        la t0, four; sd t0, 24(s0); la t0, five; sd t0, 32(s0); la t0, far; sd t0, 40(s0)
    main: addi s2, s2, 1; li a1, 6; remu a1, s2, a1; slli a1, a1, 3; add a1, a1, s0; ld a2, 0(a1); jalr ra, 0(a2)
        xor s3, s3, a0; bnez s3, main; addi s3, s3, 1; j main
    one: addi a0, s2, 1; ret
    two: addi a0, s2, 2; mv t1, ra; j out
    three: ld a0, 0(a1); sd a0, 64(s0); ret
    four: addi ra, ra, 4; li a0, 9; ret
    five: mv a2, ra; la ra, one; jalr ra, 0(ra); mv ra, a2; ret
    out: jr t1
        .org {wild.BASE + 0x5000}
    far: addi a0, s2, 3; ret""",
}


@pytest.mark.parametrize("name", CALLEES)
def test_a_callee_that_is_taken_in(name: str) -> None:
    assert_same_course(CALLEES[name])


@pytest.mark.parametrize("way_out", ("beqz a1, main", "bnez a1, on; addi s2, s2, 7; j main; on:", "beqz a1, far; on:"))
def test_a_loop_that_is_left_in_its_middle(way_out: str) -> None:
    """Registers that the rest of a turn writes may not have been written at the way out."""
    assert_same_course(f"""
        li s0, {wild.DATA + 0xF80}
    main: andi a1, s2, 31; addi a1, a1, 1; mv a2, s0; addi s2, s2, 3
    again: ld a4, 0(a2); add s3, s3, a4; addi a1, a1, -1; {way_out}
        addi a5, a4, 1; sd a5, 8(a2); add a6, a6, a5; addi a2, a2, 8; j again
        .align 3
    far: add s4, s4, a5; add s4, s4, a6; li a6, 1; j main""")


def test_a_loop_that_is_entered_in_its_middle() -> None:
    """As the C library's memcpy: its blocks become one, which looks ahead for registers that are moved by mv."""
    assert_same_course(f"""
        la t6, handler; csrw mtvec, t6; li s0, {wild.DATA + 0xF80}; li s1, {wild.DATA}
    main: andi a2, s2, 31; addi a2, a2, 2; addi s2, s2, 5; mv a1, s0; mv a5, s1; addi a0, a5, 8
        andi a4, s2, 15; beqz a4, top; ld a4, 0(a1); j middle
    top: ld a4, 0(a1); addi a3, a5, 16; sd a6, 0(a0); addi a1, a1, 24; addi a5, a5, 24; addi a2, a2, -1; mv a0, a5
        beqz a2, out
    middle: ld a6, 8(a1); add s3, s3, a6; sd a4, 0(a5); mv a0, a5; j top
    out: add s3, s3, a1; andi a4, s3, 63; bnez a4, main; li a1, {wild.NOWHERE}; j middle
    {wild.HANDLER}""")


def test_a_table_that_an_index_leads_into() -> None:
    """Looked up at a turn's begin, where all that an index may reach lies in one page; now and then it isn't memory."""
    assert_same_course(f"""
        la t6, handler; csrw mtvec, t6; li s0, {wild.DATA}; li s4, {wild.DATA + 0x280}; li s5, {wild.NOWHERE}
    main: li a3, 9; mv a2, s0; addi s2, s2, 1; andi a7, s2, 7; slli a7, a7, 9; add s1, s4, a7; bnez a7, again; mv s1, s5
    again: lbu a4, 0(a2); addi a2, a2, 1; slli a4, a4, 2; add a4, a4, s1; lw a5, 8(a4); xor s3, s3, a5; add s3, s3, s2
        andi a6, s3, 0x1f8; add a6, s1, a6; sd s3, -8(a6); addi s1, s1, 16; ld a5, 8(a6); add s3, s3, a5
        addi a3, a3, -1; bnez a3, again; j main
    {wild.HANDLER}""")


def test_rotations_by_two_shifts() -> None:
    """What is one, and what only looks like one."""
    text = "li a0, 0x9e3779b97f4a7c15; main: mul a0, a0, a0; addi a0, a0, 7"
    for k, (left, right) in enumerate((("slliw", "srliw"), ("slli", "srli"), ("slliw", "srli"), ("slli", "srliw"))):
        for by, back in ((7, 25), (20, 44), (31, 1), (7, 24), (1, 31)):
            back -= 32 if back > 31 and right == "srliw" else 0
            text += f"; {left} a1, a0, {by}; {right} a2, a0, {back}; or a{3 + k}, a1, a2; add s2, s2, a{3 + k}; xor s3, s3, a1"
            text += f"; {right} a1, a0, {back}; {left} a0, a0, {by}; or a0, a1, a0; add s4, s4, a0"
    assert_same_course(f"{text}; j main")


def test_an_index_of_32_bits() -> None:
    """The two shifts that extend one are done as one; nothing else is."""
    shifts = "; ".join(f"slli {rd}, {rs}, {left}; srli {rd}, {rd}, {right}" for rd, rs, left, right in (
        ("a1", "a0", 32, 32), ("a2", "a2", 32, 30), ("a3", "a0", 32, 1), ("a4", "a0", 31, 32), ("a5", "a0", 32, 33)))
    assert_same_course(f"li a0, 0x9e3779b97f4a7c15; main: mul a0, a0, a0; addi a0, a0, 7; add a2, a2, a0; {shifts}; j main")


LOOP = "li a1, 0; again: addi a1, a1, 1; xor a0, a0, a1; j again"


def test_what_one_hart_translated_serves_the_other() -> None:
    core = bench.fresh_core(harts=2, threshold=40)
    hart = bench.Bench(core)
    hart.load(LOOP)
    for index in range(2):
        hart.start(hart=index)
        hart.x_set("a0", 0, index)
        for _ in range(4):
            core.call("hart_run", index, 5000, EXACT)
        if index == 0:
            made = get(core, "Machine.jit.stat_insns")
    assert made == get(core, "Machine.jit.stat_insns") > 0
    assert get(core, "Hart.stat_jit_insns", 1) > 10_000
    assert hart.x("a0", 0) == hart.x("a0", 1)


def test_an_instance_that_is_new_takes_the_modules_in() -> None:
    """As after a worker's death: the memory knows of translations, the table doesn't."""
    core = bench.fresh_core(harts=1, threshold=ONCE)
    hart = bench.Bench(core)
    hart.load(LOOP)
    hart.start()
    for _ in range(3):
        core.call("hart_run", 0, 5000, EXACT)
    before, made = translated(core), get(core, "Machine.jit.stat_modules")
    core.renew()
    core.call("hart_run", 0, 5000, EXACT)
    assert translated(core) > before + 3000
    assert get(core, "Machine.jit.stat_modules") == made
    assert get(core, "Hart.instret", 0) == 20_000
    assert hart.x("a1") == (20_000 - 1 + 2) // 3


def test_a_hot_place_does_not_wait_longer_for_others_than_the_clock_allows() -> None:
    core = bench.fresh_core(harts=1, threshold=8000)
    hart = bench.Bench(core)
    hart.load("main: addi a0, a0, 1; j main", wild.BASE)
    hart.start(wild.BASE)
    while not get(core, "Hart.jit_queued", 0):
        core.call("hart_run", 0, 1000, EXACT)
    while get(core, "Machine.jit.stat_modules") == 0:
        time.sleep(0.003)
        core.call("hart_run", 0, 30_000, EXACT)
        core.call("hart_run", 0, 1, EXACT)
        assert get(core, "Hart.instret", 0) < 100_000  # by their number it would be 400,000
    assert get(core, "Hart.jit_queued", 0) == 0
    core.terminate()


def test_a_run_without_a_trap_comes_back_for_what_waits() -> None:
    core = bench.fresh_core(harts=1, threshold=8000)
    hart = bench.Bench(core)
    hart.load("main: addi a0, a0, 1; j main", wild.BASE)
    hart.start(wild.BASE)
    core.call("hart_run", 0, 1_500_000, CONSTANTS["RUN_NOWAIT"])
    assert get(core, "Machine.jit.stat_modules") == 1
    assert translated(core) > 1_000_000
    core.terminate()


def test_what_is_too_much_for_one_module_is_made_into_several() -> None:
    """The first in the queue don't wait for all of it."""
    functions = 16
    core = bench.fresh_core(harts=1, threshold=400)
    hart = bench.Bench(core)
    code = hart.load("main: " + "; ".join(f"call f{k}" for k in range(functions)) + "; j main; " + "; ".join(
        f"f{k}: addi a0, a0, {k}; " + "addi a1, a1, 1; " * 200 + "ret" for k in range(functions)))
    hart.start(code["main"])
    turn = functions * 203 + 1  # instructions
    for _ in range(5):
        core.call("hart_run", 0, 100 * turn, EXACT)
    insns = get(core, "Machine.jit.stat_insns")
    assert insns > 3000
    assert insns <= get(core, "Machine.jit.stat_modules") * (1000 + 400)  # so many the last may have
    assert hart.x("a0") == 500 * sum(range(functions))
    assert hart.x("a1") == 500 * 200 * functions
    before = translated(core)
    core.call("hart_run", 0, 100 * turn, EXACT)
    assert translated(core) - before > 90 * turn
    core.terminate()


def test_a_guest_that_makes_code_without_end_stays_bounded() -> None:
    core = bench.fresh_core(harts=1, threshold=ONCE)
    hart = bench.Bench(core)
    functions = CONSTANTS["JIT_MODULES"] + 100
    code = hart.load("; ".join(f"f{k}: addi a0, a0, {k % 1000}; jr a1" for k in range(functions)))
    hart.load("stay: j stay", bench.Bench.DATA)
    sums = 0
    for k in [*range(functions), 0, 1, 2]:
        hart.start(code[f"f{k}"])
        hart.x_set("a0", 0)
        hart.x_set("a1", code[f"f{k}"])
        core.call("hart_run", 0, 2, EXACT)
        core.call("hart_run", 0, 600, EXACT)
        sums += hart.x("a0") == 301 * (k % 1000)
    assert sums == functions + 3
    assert get(core, "Machine.jit.stat_evictions") >= 1
    assert get(core, "Machine.jit.region_live") <= CONSTANTS["JIT_MODULES"]


def test_an_engine_that_refuses_modules_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    core = bench.fresh_core(harts=1, threshold=ONCE)
    hart = bench.Bench(core)
    functions = 40
    code = hart.load("; ".join(f"f{k}: addi a0, a0, {k}; jr a1" for k in range(functions)))
    asked = []
    monkeypatch.setattr(wasmtime, "Instance", lambda *_: asked.append(1) or refuse())
    for k in range(functions):
        hart.start(code[f"f{k}"])
        hart.x_set("a0", 0)
        hart.x_set("a1", code[f"f{k}"])
        for count in (2, 600, 600):
            core.call("hart_run", 0, count, EXACT)
        assert hart.x("a0") == 601 * k
    assert get(core, "Machine.jit.threshold") == CONSTANTS["JIT_NEVER"]
    assert len(asked) < 20
    assert translated(core) == 0
    core.terminate()


def test_an_engine_that_is_full_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, install = [], platform._Thread._install

    def answer(*arguments: Any) -> int:
        asked.append(1)
        return install(*arguments) if len(asked) <= 4 else 2

    monkeypatch.setattr(platform._Thread, "_install", answer)
    core = bench.fresh_core(harts=1, threshold=ONCE)
    hart = bench.Bench(core)
    code = hart.load("; ".join(f"f{k}: addi a0, a0, {k}; jr a1" for k in range(8)))
    ran = []
    for k in [*range(8), 0]:
        hart.start(code[f"f{k}"])
        hart.x_set("a0", 0)
        hart.x_set("a1", code[f"f{k}"])
        before = translated(core)
        for count in (2, 600, 600):
            core.call("hart_run", 0, count, EXACT)
        assert hart.x("a0") == 601 * k
        ran.append(translated(core) > before)
    assert ran == [True] * 3 + [False] * 5 + [True]  # the first that was asked for is the probe
    assert get(core, "Machine.jit.full") == 1
    assert get(core, "Machine.jit.threshold") != CONSTANTS["JIT_NEVER"]
    assert len(asked) == 5
    core.terminate()


def refuse() -> None:
    raise wasmtime.WasmtimeError("no tail calls here")

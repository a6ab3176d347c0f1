"""Loops that walk through memory, in translation: pages that lie elsewhere than their neighbours."""

from __future__ import annotations

import pytest

from tests.core import wild, wild_copies
from tests.core.test_translator import assert_same_course

VIRTUAL = 0x4000_0000
# Of the four virtual pages, from DATA on: assert_same_course looks at these.
PHYSICAL = {"apart": [0xF000, 0, -0x1000, 0x1000], "in a row": [-0x1000, 0, 0x1000, 0xF000]}
TABLES = wild.DATA + 0x2_0000


def paged(text: str, layout: str = "apart") -> str:
    """`text` in machine mode, whose loads and stores go through page tables; s0 leads to the four pages."""
    leaves = "; ".join(f"li t1, {(wild.DATA + at) >> 2 | 0xC7}; sd t1, {8 * k}(t0)" for k, at in enumerate(PHYSICAL[layout]))
    return f"""
    li t0, {TABLES}; li t1, {(TABLES + 0x1000) >> 2 | 1}; sd t1, 8(t0)
    li t0, {TABLES + 0x1000}; li t1, {(TABLES + 0x2000) >> 2 | 1}; sd t1, 0(t0)
    li t0, {TABLES + 0x2000}; {leaves}
    li t1, {8 << 60 | TABLES >> 12}; csrw satp, t1; sfence.vma
    li t1, 0x1000; csrc mstatus, t1; li t1, 0x20800; csrs mstatus, t1
    li s0, {VIRTUAL}; li s1, {VIRTUAL + 0x3000}; li s3, 0
    li t0, {VIRTUAL + 0x4000}; li t1, 0x9e3779b97f4a7c15
fill: addi t0, t0, -8; slli t2, t1, 13; xor t1, t1, t2; srli t2, t1, 7; xor t1, t1, t2; sd t1, 0(t0); bne t0, s0, fill
main: addi s2, s2, 1; andi a6, s2, 63; slli a6, a6, 3; add a1, s0, a6; sub a0, s1, a6
    {text}
    slli t2, s3, 1; xor s3, s3, t2; add s3, s3, a3; sd s3, 0x700(s0); sd s2, 0x708(s1)
    j main
"""


BEHIND = "".join(f"ld a{3 + k % 2}, {8 * k}(a1); sd a{4 - k % 2}, {8 * k}(a0); " for k in range(1, 16)) + "addi a7, a7, 1; " * 4
WORD = "slli a4, a5, 32; srli a4, a4, 32;"
# From a1 on upwards, or from a0 on; what a3 holds behind it counts.
LOOPS = {
    "words that are counted":
        "li a2, 300; loop: ld a3, 0(a1); addi a1, a1, 8; sd a3, 0(a0); addi a0, a0, 8; addi a2, a2, -1; bnez a2, loop",
    "bytes up to an end":
        "addi a2, a1, 1000; loop: lbu a3, 0(a1); addi a1, a1, 1; addi a3, a3, 1; sb a3, -1(a1); bne a1, a2, loop",
    "bytes down to an end":
        "addi a2, a0, -1500; loop: lbu a3, -1(a0); addi a0, a0, -1; add a3, a3, s2; sb a3, 0(a0); bne a0, a2, loop",
    "below a bound": "addi a2, a1, 2001; loop: lw a3, 0(a1); add s3, s3, a3; addi a1, a1, 4; bltu a1, a2, loop",
    "not below a bound": "addi a2, a0, -2001; loop: lw a3, 0(a0); add s3, s3, a3; addi a0, a0, -12; bge a0, a2, loop",
    "a bound that comes closer":
        "li a4, 4000; loop: lh a3, 0(a1); sub s3, s3, a3; addi a1, a1, 2; addi a4, a4, -10; bltu zero, a4, loop",
    "an end that is long past":
        "addi a4, a1, -800; li a2, 150; loop: ld a3, 0(a1); add s3, s3, a3; addi a1, a1, 8; addi a2, a2, -1; "
        "beqz a2, out; bne a1, a4, loop; out: nop",
    "left in the middle":
        "li a2, 200; loop: ld a3, 0(a1); addi a2, a2, -1; beqz a2, out; addi a1, a1, 16; sd a3, 8(a0); addi a0, a0, 8; "
        "j loop; out: nop",
    "left by what it reads":
        "sd zero, 0x500(s1); loop: ld a3, 0(a0); addi a0, a0, 8; add s3, s3, a3; bnez a3, loop; addi a3, a0, 0",
    "one that follows":
        "li a2, 120; mv a5, s1; loop: ld a4, 0(a1); sd a3, 0(a5); ld a3, 8(a1); addi a1, a1, 16; sd a4, 8(a0); "
        "addi a0, a0, 16; addi a5, a0, 0; addi a2, a2, -1; bnez a2, loop",
    "one that is ahead":
        "li a2, 120; mv a5, a0; loop: ld a4, 0(a1); sd a4, 0(a5); addi a1, a1, 16; addi a5, a0, 64; addi a0, a0, 16; "
        "addi a2, a2, -1; bnez a2, loop",
    "one that comes to where it is read":
        f"li a2, 14; mv a0, a1; addi a1, a1, 64; mv a5, s1; loop: ld a3, 0(a1); sd a4, 0(a5); {BEHIND}"
        "addi a1, a1, 128; addi a0, a0, 128; addi a5, a0, 64; addi a2, a2, -1; bnez a2, loop",
    "words that are shifted further and further":
        "li a2, 100; li t3, 8; li t4, 56; loop: ld a3, 0(a1); srl a5, a4, t3; sll a7, a3, t4; or a5, a5, a7; sd a5, 0(a0); "
        "ld a4, 8(a1); srl a5, a3, t3; sll a7, a4, t4; or a5, a5, a7; sd a5, 8(a0); addi a1, a1, 16; addi a0, a0, 16; "
        "addi t3, t3, 8; addi t4, t4, -8; addi a2, a2, -1; bnez a2, loop",
    "words by one register":
        "li a2, 100; loop: ld a3, 0(a1); sd a3, 8(a1); ld a4, 8(a1); sd a4, 16(a1); ld a5, 16(a1); sd a5, 24(a1); "
        "addi a1, a1, 24; addi a2, a2, -1; bnez a2, loop",
    "words that go on in a sum":
        "li a2, 100; loop: ld a4, 0(a1); ld a5, 8(a1); sd a4, 0(a0); sd a5, 8(a0); add a3, a3, a5; addi a1, a1, 16; "
        "addi a0, a0, 16; addi a2, a2, -1; bnez a2, loop",
    "a table":
        "sb s2, 255(s1); addi a2, a1, 900; loop: lbu a4, 0(a1); addi a1, a1, 1; xor a3, a3, a4; andi a3, a3, 255; "
        "slli a3, a3, 2; add a3, a3, s1; lw a3, 0(a3); bne a1, a2, loop",
    "turns that are a multiple of those that are unrolled":
        "li a2, 296; loop: ld a3, 0(a1); addi a1, a1, 8; sd a3, 0(a0); addi a0, a0, 8; addi a2, a2, -1; bnez a2, loop",
    "words that go around before they meet":  # 1,030 turns, the end being below where it began
        f"li a4, {0x7FEFF000}; li a2, {0x7FEFF000 + 2047 * 1030 - (1 << 32)}; loop: lw a3, 0(a1); "
        "addiw a4, a4, 2047; bne a4, a2, loop",
    "a word below a bound that is none":
        f"li a4, {0x7FFFFF00}; li a2, {1 << 40}; loop: lw a3, 0(a1); add s3, s3, a3; addiw a4, a4, 16; bltu a4, a2, loop",
    "a word that moves by a register, down to a bound":
        "li a4, 3000; andi a5, s2, 15; addi a5, a5, 3; sub a5, zero, a5; loop: lw a3, 0(a1); add s3, s3, a3; addw a4, a4, a5; "
        "blt zero, a4, loop",
    "a bound that moves by a register":
        "li a4, 3000; andi a5, s2, 15; addi a5, a5, 3; li a2, 0; loop: lw a3, 0(a1); add s3, s3, a3; addw a2, a2, a5; "
        "bgeu a4, a2, loop",
    "a sieve":
        f"li a3, 15000; andi a2, s2, 511; addi a2, a2, 1; mv a5, a6; loop: {WORD} add a4, a4, s0; sb s2, 0(a4); "
        "addw a5, a5, a2; bltu a5, a3, loop",
    "a sieve of words, behind the step":
        "li a3, 3800; andi a2, s2, 255; addi a2, a2, 1; mv a5, zero; loop: addw a5, a5, a2; slli a4, a5, 32; srli a4, a4, 30; "
        "add a4, s0, a4; lw a7, 4(a4); add a7, a7, s2; sw a7, 4(a4); bge a3, a5, loop",
    "a sieve that doesn't move, or backwards":
        f"li a3, 4000; li a7, 40; andi a2, s2, 3; addi a2, a2, -2; li a5, 2000; loop: {WORD} add a4, a4, s0; sb s2, 0(a4); "
        "addi a7, a7, -1; beqz a7, out; addw a5, a5, a2; bltu a5, a3, loop; out: nop",
    "an index by a constant":
        f"li a2, 1500; mv a5, zero; loop: {WORD} slli a7, a4, 3; add a4, a4, s0; add a7, a7, s0; lbu a3, 5(a4); ld a7, 0(a7); "
        "add s3, s3, a3; xor s3, s3, a7; addiw a5, a5, 1; bne a5, a2, loop",
    "an index that begins below zero":
        f"li a2, 64; li a5, -64; addi a7, s0, 256; loop: add a4, a5, a7; sb s2, 0(a4); {WORD} andi a4, a4, 255; add a4, a4, s0; "
        "lbu a3, 0(a4); add s3, s3, a3; addiw a5, a5, 1; bne a5, a2, loop",
    "columns":
        "li a2, 35; loop: ld a3, 0(a1); ld a4, 96(a1); add s3, s3, a3; sub s3, s3, a4; ld a5, 0(a0); addi a0, a0, 8; "
        "xor s3, s3, a5; addi a1, a1, 400; addi a2, a2, -1; bnez a2, loop",
    "columns, and one that is ahead of them":
        "li a2, 33; mv a5, s1; loop: ld a3, 0(a1); ld a4, 0(a5); add s3, s3, a3; xor s3, s3, a4; addi a5, a1, 700; "
        "addi a1, a1, 400; addi a2, a2, -1; bnez a2, loop",
    "columns that are written, and behind the step":
        "li a2, 40; loop: ld a3, 0(a1); addi a1, a1, 320; add a3, a3, s2; sd a3, -200(a1); sd a3, 64(a1); addi a2, a2, -1; "
        "bnez a2, loop",
    "a table of words by bytes, and by what is masked":
        "sb s2, 255(s1); addi a2, a1, 900; loop: lbu a4, 0(a1); addi a1, a1, 1; slli a5, a4, 1; add a5, a5, s1; lh a5, 2(a5); "
        "xor a3, a3, a4; andi a7, a3, 127; slli a7, a7, 3; add a7, s1, a7; ld a7, 16(a7); xor a3, a5, a7; bne a1, a2, loop",
    "a table that moves":
        "mv a5, s1; addi a2, a1, 500; loop: lbu a4, 0(a1); addi a1, a1, 1; slli a4, a4, 1; add a4, a4, a5; lh a3, 0(a4); "
        "addi a5, a5, 1; add s3, s3, a3; bne a1, a2, loop",
    "logic of words":
        "addi a2, a1, 800; loop: lw a4, 0(a1); lw a5, 4(a1); addi a1, a1, 8; xor a7, a4, a5; and a4, a4, a5; or a3, a7, a3; "
        "or a4, a4, a7; addiw a3, a3, 0; add s3, s3, a4; xor s3, s3, a3; bne a1, a2, loop",
    "products of columns":
        "csrwi fcsr, 1; li a2, 40; fcvt.d.l fa0, s2; loop: fld fa1, 0(a1); fld fa2, 0(a0); addi a0, a0, 8; addi a1, a1, 320; "
        "fmul.d fa1, fa1, fa2; fadd.d fa0, fa0, fa1; addi a2, a2, -1; bnez a2, loop; fmv.x.d a3, fa0; csrr a4, fflags; "
        "add a3, a3, a4",
    "products":
        "csrwi fcsr, 1; li a2, 100; fcvt.d.l fa0, s2; loop: fld fa1, 0(a1); fmul.d fa0, fa0, fa1; "
        "fadd.d fa0, fa0, fa1; fsd fa0, 0(a1); addi a1, a1, 8; addi a2, a2, -1; bnez a2, loop; fmv.x.d a3, fa0; "
        "csrr a4, fflags; add a3, a3, a4",
}


@pytest.mark.parametrize("layout", PHYSICAL)
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_from_page_to_page(name: str, layout: str) -> None:
    fp = "li t6, 0x6000; csrs mstatus, t6" if name.startswith("products") else ""
    counted = assert_same_course(f"{fp}\n{paged(LOOPS[name], layout)}", 8)
    assert counted["ran"] > 50_000


@pytest.mark.parametrize("seed", range(16))
def test_copies_take_the_same_course(seed: int) -> None:
    assert_same_course(wild_copies.WildCopies(seed).text)

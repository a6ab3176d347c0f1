"""What the translator emits for a dozen snippets, against the text kept in golden/.

After a change that is meant: `HARTWELL_GOLDEN=write python3 -m tests
tests/core/test_translator_golden.py` writes them anew; read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hartwell.layout import CONSTANTS, LAYOUT, RAM_BASE
from hartwell.platform.wasmtime import WasmtimeCore
from tests.core import bench, wasm_text
from tests.core.bench import get

GOLDEN = Path(__file__).parent / "golden"
EXACT = CONSTANTS["RUN_EXACT"] | CONSTANTS["RUN_NOWAIT"]

SNIPPETS = {
    "add": "addi a0, a0, 1; add a1, a0, a2; sub a3, a1, zero; addi zero, a0, 5; ret",
    "words": "addiw a0, a0, 1; sllw a1, a0, a2; sraiw a3, a1, 7; ret",
    "divide": "div a0, a1, a2; remuw a3, a1, a2; ret",
    "bits": "andn a0, a1, a2; rori a1, a1, 9; clz a2, a1; max a3, a1, a2; czero.eqz a1, a2, a3; ret",
    "load": "ld a0, 8(a1); ret",
    "store": "sw a0, 4(a1); ret",
    "group": "ld a0, 0(s0); ld a2, 8(s0); sd a0, 24(s0); addi s0, s0, 32; lbu a3, 0(s0); ret",
    "loop": "again: addi a0, a0, -1; bnez a0, again; ret",
    "middle": "again: ld a0, 0(s0); beqz a1, out; addi s0, s0, 8; addi a1, a1, -1; j again; out: ret",
    "stream": "again: ld a0, 0(s0); sd a0, 8(s0); addi s0, s0, 16; addi a1, a1, -1; bnez a1, again; ret",
    "copy": "addi s1, s0, 1024; again: ld a0, 0(s0); ld a2, 8(s0); sd a0, 0(s1); sd a2, 8(s1); addi s0, s0, 16; "
            "addi s1, s1, 16; addi a1, a1, -1; bnez a1, again; ret",
    "sum": "again: fld fa0, 0(s0); fadd.d fa1, fa1, fa0, 7; addi a1, a1, -1; bnez a1, again; ret",
    "diamond": "beq a0, a1, one; addi a2, a2, 1; j two; one: addi a2, a2, 2; two: xor a3, a2, a0; ret",
    "call": "addi sp, sp, -16; call leaf; addi a0, a0, 1; mv ra, t2; ret; leaf: addi a1, a1, 2; ret",
    "indirect": "la a5, leaf; jalr ra, 0(a5); addi a0, a0, 1; mv ra, t2; ret; leaf: addi a1, a1, 2; ret",
    "table": "again: lbu a2, 0(s0); slli a2, a2, 2; add a2, a2, a1; lw a4, 0(a2); addi s0, s0, 1; bnez a4, again; ret",
    "sieve": "again: slli a3, a2, 32; srli a3, a3, 32; add a3, a3, s0; sb a0, 0(a3); addw a2, a2, a0; bltu a2, a1, again; ret",
    "column": "again: ld a0, 0(s0); addi s0, s0, 400; add a2, a2, a0; addi a1, a1, -1; bnez a1, again; ret",
    "rotate": "slliw a2, a1, 7; srliw a3, a1, 25; or a2, a2, a3; ret",
    "index": "slli a1, a0, 32; srli a1, a1, 30; ret",
    "atomic": "amoadd.w a0, a1, (s0); lr.d a2, (s0); sc.d a3, a1, (s0); fence 0xff; ret",
    "double": "fld fa0, 0(s0); fadd.d fa1, fa0, fa2, 7; fmul.d fa2, fa1, fa1, 0; fsd fa2, 8(s0); ret",
    "csr": "csrrs a0, mscratch, zero; addi a0, a0, 1; ret",
    "irreducible": "beqz a0, middle; top: addi a1, a1, 1; middle: addi a0, a0, -1; bgt0: blt zero, a0, top; ret",
}


def emitted(core: WasmtimeCore, entry: int) -> bytes:
    """The body of the function for the region at `entry`."""
    region, module = LAYOUT["JitRegion"], LAYOUT["JitModule"]

    def number(base: int, struct: str, name: str) -> int:
        slot = LAYOUT[struct].fields[name]
        return int.from_bytes(core.read(base + slot.offset, slot.size), "little")

    for index in range(get(core, "Machine.jit.region_count")):
        at = core.plan.values["jit_regions_offset"] + index * region.size
        if number(at, "JitRegion", "key") == (entry - RAM_BASE) // 2 + 1:
            made = core.plan.values["jit_modules_offset"] + number(at, "JitRegion", "module") * module.size
            code = core.read(number(made, "JitModule", "code"), number(made, "JitModule", "bytes"))
            place = number(at, "JitRegion", "slot") - number(made, "JitModule", "first_slot")
            return wasm_text.functions(code)[place]
    raise AssertionError(f"no region at {entry:#x}")


@pytest.mark.parametrize("name", SNIPPETS)
def test_what_is_emitted(name: str) -> None:
    core = bench.fresh_core(harts=1, threshold=1)
    hart = bench.Bench(core)
    entry = hart.CODE + 0x100
    set_up = f"""back: li a0, 3; li a1, 5; la s0, {hart.DATA}; la a1, {hart.DATA}; li t0, 0x6000; csrs mstatus, t0
        la t2, back; mv ra, t2; la t1, snip; jr t1; .org {entry}; snip: """
    hart.load(set_up + SNIPPETS[name])
    hart.start(hart.CODE)
    hart.x_set("sp", hart.DATA + 0x1000)
    for _ in range(6):
        core.call("hart_run", 0, 600, EXACT)
    mask, hit = get(core, "Hart.tlb_mask", 0), get(core, "Hart.tlb_hit", 0)
    bits = get(core, "Hart.ram_bits", 0)
    signed = hit - (1 << 64)
    names = wasm_text.Names({mask: "tlb_mask"}, {bits: "ram_bits", **{
        signed | size - 1: f"hit|{size - 1}" for size in (1, 2, 4, 8)}})
    text = f";; {SNIPPETS[name]}\n" + wasm_text.text(emitted(core, entry), names)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("HARTWELL_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()
    core.terminate()

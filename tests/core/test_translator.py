"""The translator against the interpreter, and against what QEMU recorded."""

from __future__ import annotations

import hashlib

import pytest

from hartwell.layout import CONSTANTS, RAM_BASE, field
from hartwell.platform.wasmtime import WasmtimeCore
from tests.core import bench, wild
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
    core.write(core.plan.values["ram_offset"] + WINDOW - RAM_BASE, start.window)
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


SEEDS = range(24)
STEPS = [2003, 1, 3001, 700, 17, 5000, 4099]  # instructions between two looks; some are fewer than a region may do


def course(threshold: int | None, text: str, turns: int = 4) -> tuple[list[bytes], int]:
    """A program's states, a digest each, and how much of it ran in translations."""
    core = bench.fresh_core(harts=1, threshold=threshold)
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
                state.update(core.read(core.plan.values["ram_offset"] + at - RAM_BASE, 0x1000))
            seen.append(state.digest())
    ran = translated(core)
    assert get(core, "Machine.jit.stat_refused") == 0, core._own.refused
    core.terminate()
    return seen, ran


@pytest.mark.parametrize("seed", SEEDS)
def test_translated_or_not_a_program_takes_the_same_course(seed: int) -> None:
    text = wild.Wild(seed).text
    expected, none = course(None, text)
    assert none == 0
    for threshold in (ONCE, 40):
        got, ran = course(threshold, text)
        first = next((k for k, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b), None)
        assert first is None, f"threshold {threshold}: differs after look {first}"
        assert ran > 1000

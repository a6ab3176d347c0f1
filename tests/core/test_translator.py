"""The translator against the interpreter, and against what QEMU recorded."""

from __future__ import annotations

import pytest

from hartwell.layout import CONSTANTS, RAM_BASE, field
from hartwell.platform.wasmtime import WasmtimeCore
from tests.core import bench
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

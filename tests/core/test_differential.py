"""Programs whose outcomes QEMU recorded, and the instructions they cover."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hartwell.isa import COMPRESSED, INSTRUCTIONS
from hartwell.layout import RAM_BASE
from hartwell.platform.wasmtime import WasmtimeCore
from tests.core import bench
from tests.oracle.records import Record, load
from tests.oracle.run import differences, run

RECORDS = load()
GROUPS = sorted({record.group for record in RECORDS})

# What they do is a trap, a change of privilege or of translation, or too
# narrow for a random program; a module here tests them.
ELSEWHERE = {
    "test_traps": ["ebreak", "c.ebreak", "c.addi16sp", "mret", "sret", "fence", "cbo.inval", "cbo.clean", "cbo.flush",
                   "cbo.zero"],
    "test_interrupts": ["wfi"],
    "test_mmu": ["sfence.vma", "sinval.vma", "sfence.w.inval", "sfence.inval.ir"],
    "test_selfmodifying": ["fence.i"],
}


@pytest.fixture(scope="module")
def machine() -> Iterator[WasmtimeCore]:
    core = bench.fresh_core(harts=1)
    core.call("hart_start", 0, RAM_BASE, 0, 0, 3)
    yield core
    core.terminate()


@pytest.mark.parametrize("group", GROUPS)
def test_programs_end_as_in_qemu(machine: WasmtimeCore, group: str) -> None:
    wrong = {record.number: lines for record in RECORDS
             if record.group == group and (lines := differences(run(machine, record), record.final))}
    assert not wrong


def test_a_wrong_result_is_seen(machine: WasmtimeCore) -> None:
    final = run(machine, RECORDS[0])
    x = list(RECORDS[0].final.x)
    x[7] ^= 1
    assert len(differences(final, type(final)(tuple(x), final.f, final.fcsr, final.window))) == 1


def words(record: Record) -> Iterator[int]:
    """The instructions of a program, in order."""
    at = 0
    while at < len(record.code):
        size = 4 if record.code[at] & 3 == 3 else 2
        yield int.from_bytes(record.code[at : at + size], "little")
        at += size


def test_every_instruction_occurs() -> None:
    seen: Counter[str] = Counter()
    for record in RECORDS:
        for word in words(record):
            if word & 3 == 3:
                # The most particular of those that match: fmv.x.w is not fclass.s.
                seen.update(i.name for i in INSTRUCTIONS if word & i.mask == i.match)
            else:
                seen.update(c.name for c in COMPRESSED if word & c.mask == c.match and c.allowed(word))
    names = {i.name for i in INSTRUCTIONS} | {c.name for c in COMPRESSED}
    elsewhere = {name for tested in ELSEWHERE.values() for name in tested}
    assert names - set(seen) == elsewhere - set(seen)


@pytest.mark.parametrize("module", ELSEWHERE)
def test_the_others_are_tested(module: str) -> None:
    text = (Path(__file__).parent / f"{module}.py").read_text()
    assert [name for name in ELSEWHERE[module] if name not in text] == []

"""Translations made ahead: of one machine, used by others, and never where the code is another."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from hartwell import translations
from hartwell.layout import LAYOUT
from hartwell.platform.wasmtime import WasmtimeCore
from tests.core import bench, wild
from tests.core.bench import get
from tests.core.test_translator import CHANGES, EXACT, ONCE, STEPS, course

SEVERAL = 40  # Jit.threshold; a place is looked for when it is hot at the latest
LATE = 31_992  # the usual one: nothing of these programs gets hot

# Two functions, called for ever; `b` may lie elsewhere and be something else.
CALLS = """
main: call a
    call b
    j main
a:  addi a0, a0, 1
    addi a1, a1, 2
    ret
    {place}
b:  addi a2, a2, 3
    {what}
    ret
"""


def run(text: str, base: int, threshold: int, ahead: bytes = b"", turns: int = 4) -> WasmtimeCore:
    """A machine that has run the program."""
    core = bench.fresh_core(harts=1, threshold=threshold)
    if ahead:
        core.use_translations(ahead)
    hart = bench.Bench(core)
    hart.load(text, base)
    hart.start(base)
    for count in STEPS * turns:
        core.call("hart_run", 0, count, EXACT)
    return core


def made(text: str, base: int = wild.BASE, turns: int = 4) -> bytes:
    """What a machine that ran the program had translated in the end."""
    core = run(text, base, ONCE, turns=turns)
    module = translations.collect(core)
    core.terminate()
    assert module
    return module


def test_modules_that_were_given_up_are_not_read() -> None:
    """Their entries stay in the table, and their code has become another's."""
    core = run(CALLS.format(place="", what="nop"), wild.BASE, ONCE)
    expected = translations.collect(core)
    assert expected
    size, modules = LAYOUT["JitModule"].size, get(core, "Machine.jit_modules_offset")
    first = struct.unpack("<IIII", core.read(modules, 16))[2]
    unused = modules + get(core, "Machine.jit.segment_modules") * size
    assert core.read(unused, 16) == bytes(16)
    core.write(unused, struct.pack("<IIII", core.plan.values["jit_code_offset"] + 77, 500, first, 100))
    assert translations.collect(core) == expected
    core.terminate()


def taken(core: WasmtimeCore) -> tuple[int, int]:
    """Regions from the table, and such as were made here."""
    return get(core, "Machine.jit.stat_ahead"), get(core, "Machine.jit.stat_regions")


SEEDS = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]  # of 5 nothing is left in the end: groups that cross pages were made anew


@pytest.mark.parametrize("seed", SEEDS)
def test_a_program_takes_the_same_course(seed: int) -> None:
    text = wild.Wild(seed).text
    ahead = made(text)
    expected, _ = course(None, text)
    for threshold in (LATE, SEVERAL, ONCE):
        got, counted = course(threshold, text, ahead=ahead)
        assert got == expected, f"threshold {threshold}"
        assert counted["ahead_refused"] == 0
        if threshold != LATE:
            assert counted["ahead"] > 0
            assert counted["ran"] > 1000


def test_what_gets_warm_runs_in_them_before_it_is_hot() -> None:
    text = CALLS.format(place="", what="nop")
    core = run(text, wild.BASE, LATE, made(text), turns=8)
    ahead, own = taken(core)
    assert ahead >= 2
    assert own == 0
    assert get(core, "Hart.stat_jit_insns", 0) > 10_000
    core.terminate()


RECURSION = """
main: li sp, 0x80100000
    li s1, 4000
first: call other
    addi s1, s1, -1
    bnez s1, first
again: call other
    li a0, 12
    call fib
    add s0, s0, a0
    j again
other: addi a2, a2, 3
    addi a3, a3, 1
    ret
fib: li t0, 2
    blt a0, t0, end
    addi sp, sp, -24
    sd ra, 0(sp)
    sd a0, 8(sp)
    addi a0, a0, -1
    call fib
    sd a0, 16(sp)
    ld a0, 8(sp)
    addi a0, a0, -2
    call fib
    ld t0, 16(sp)
    add a0, a0, t0
    ld ra, 0(sp)
    addi sp, sp, 24
end: ret
"""


def test_a_function_that_calls_itself_is_left_out() -> None:
    """It calls its number in its own module, here a later one than the first; in a module of all that is another."""
    ahead = made(RECURSION, turns=8)
    plain, used = run(RECURSION, wild.BASE, LATE, turns=16), run(RECURSION, wild.BASE, LATE, ahead, turns=16)
    assert taken(used)[0] >= 1
    for register in range(32):
        assert get(used, "Hart.x", 0, register) == get(plain, "Hart.x", 0, register), register
    assert get(used, "Hart.x", 0, 8) > 144  # several results were added up
    plain.terminate()
    used.terminate()


def test_they_are_found_wherever_the_code_lies() -> None:
    text = CALLS.format(place="", what="nop")
    core = run(text, wild.BASE + 0x5000, LATE, made(text), turns=8)
    assert taken(core)[0] >= 2
    core.terminate()


def test_other_code_is_not_taken_for_it() -> None:
    page = ".align 12"
    ahead = made(CALLS.format(place=page, what="nop"))
    other = CALLS.format(place=page, what="addi a3, a3, 5")
    plain, used = run(other, wild.BASE, LATE, turns=8), run(other, wild.BASE, LATE, ahead, turns=8)
    assert taken(used)[0] >= 1  # a, which is what it was
    for name in ("x", "pc", "instret"):
        assert [get(used, f"Hart.{name}", 0, k) for k in range(32 if name == "x" else 1)] == [
            get(plain, f"Hart.{name}", 0, k) for k in range(32 if name == "x" else 1)]
    plain.terminate()
    used.terminate()


@pytest.mark.parametrize("places", [("patched:", ""), ("", "patched:")], ids=["in it", "beside it"])
def test_code_that_changes_is_not_run_in_them(places: tuple[str, str]) -> None:
    text = CHANGES.format(*places)
    ahead = made(text, turns=1)
    expected, _ = course(None, text, 12)
    for threshold in (LATE, SEVERAL, ONCE):
        got, counted = course(threshold, text, 12, ahead)
        assert got == expected, f"threshold {threshold}"
        assert counted["ahead"] > 0


def test_a_machine_without_a_translator_leaves_them() -> None:
    text = CALLS.format(place="", what="nop")
    core = run(text, wild.BASE, 0, made(text))
    assert taken(core) == (0, 0)
    assert get(core, "Hart.stat_jit_insns", 0) == 0
    core.terminate()


def test_places_without_any_get_hot_as_ever() -> None:
    ahead = made("main: addi a0, a0, 1; j main")
    text = CALLS.format(place="", what="nop")
    with_table, without = run(text, wild.BASE, 2000, ahead, turns=40), run(text, wild.BASE, 2000, turns=40)
    assert taken(with_table)[1] == taken(without)[1] > 0
    with_table.terminate()
    without.terminate()


HEAD, RECORD = LAYOUT["JitAheadHead"].fields, LAYOUT["JitAhead"].fields


def _set(offset: int, kind: str, value: int) -> Callable[[bytes], bytes]:
    def change(table: bytes) -> bytes:
        data = bytearray(table)
        struct.pack_into(kind, data, offset, value)
        return bytes(data)

    return change


FIRST = LAYOUT["JitAheadHead"].size
DAMAGED = {
    "another version": _set(HEAD["magic"].offset, "<I", 0x0002_7748),
    "for other memory": _set(HEAD["tlb_bits"].offset, "<I", 5),
    "for another engine": _set(HEAD["features"].offset, "<I", 0x80),
    "more than it has": _set(HEAD["count"].offset, "<I", 4000),
    "no end of ranges": _set(HEAD["ranges"].offset, "<I", 0xFFFF_FFFF),
    "ranges outside": _set(FIRST + RECORD["ranges"].offset, "<I", 0xFFFF_FFFE),
    "too many ranges": _set(FIRST + RECORD["range_count"].offset, "<H", 65),
    "an entry between instructions": _set(FIRST + RECORD["entry"].offset, "<H", 3),
    "an entry outside of its page": _set(FIRST + RECORD["entry"].offset, "<H", 4096),
    "code in a page that it does not touch": _set(FIRST + RECORD["touched"].offset, "<H", 2 | 8),
    "cut off": lambda table: table[:-2],
    "nothing": lambda table: table[:4],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_table_is_not_used(name: str) -> None:
    text = CALLS.format(place="", what="nop")
    module = made(text, wild.BASE + 0xFF8)  # across a page
    table = translations.table_of(module)
    damaged = DAMAGED[name](table)
    core = run(text, wild.BASE + 0xFF8, LATE, module[: -len(table)] + damaged, turns=8)
    assert taken(core)[0] == 0
    assert get(core, "Machine.jit.stat_ahead_refused") == 1
    assert get(core, "Hart.instret", 0) > 0
    core.terminate()


def test_a_module_that_the_engine_refuses_is_left() -> None:
    text = CALLS.format(place="", what="nop")
    core = bench.fresh_core(harts=1, threshold=LATE)
    core.use_translations(made(text))
    core._own.ahead = b"\0asm\1\0\0\0\xff"
    hart = bench.Bench(core)
    hart.load(text, wild.BASE)
    hart.start(wild.BASE)
    for count in STEPS:
        core.call("hart_run", 0, count, EXACT)
    assert get(core, "Machine.jit.ahead_count") == get(core, "Machine.jit.ahead_live") == 0
    assert get(core, "Hart.stat_jit_insns", 0) == 0
    core.terminate()


def test_no_module_of_nothing() -> None:
    core = bench.fresh_core(harts=1, threshold=ONCE)
    assert translations.collect(core) == b""
    core.terminate()
    with pytest.raises(ValueError, match="no section"):
        translations.table_of(b"\0asm\1\0\0\0")

"""Code that is written: by the hart itself, through another mapping, by the
supervisor, by another hart.  Unprivileged spec, Zifencei."""

from __future__ import annotations

import pytest

from hartwell.layout import CONSTANTS, RAM_BASE
from tests.core.bench import Bench, get, ram_write
from tests.core.paging import LEAF, PAGE, R, Space, W, X
from tests.oracle.programs import encode

S, M = Bench.S, Bench.M
DATA = Bench.DATA


def returns(value: int) -> bytes:
    """A function that returns `value`."""
    return encode("addi", value, rd=10) + encode("jalr", rs1=1)


def number(value: int) -> int:
    """Its two instructions as a doubleword."""
    return int.from_bytes(returns(value), "little")


def run_to(hart: Bench, end: int, limit: int = 20_000) -> None:
    """Runs till the hart stands at `end`."""
    for _ in range(limit // 100):
        if hart.pc == end:
            return
        hart.step(100)
    raise AssertionError(f"hart stands at {hart.pc:#x}, not at {end:#x}")


@pytest.mark.parametrize("fence", ["fence.i", "sfence.vma"])
@pytest.mark.parametrize("distance", [0, 64, PAGE])
def test_new_code_after_a_fence(hart: Bench, distance: int, fence: str) -> None:
    """The function lies in the program's own page, beside its cache line, or elsewhere.

    The fence of the whole address space does what fence.i does: xv6 has no other.
    """
    text = f"""
        la s0, function
        jalr ra, 0(s0); mv s1, a0
        sd s2, 0(s0); {fence}; jalr ra, 0(s0); mv s3, a0
        sd s4, 0(s0); {fence}; jalr ra, 0(s0); mv s5, a0
        end: j end
        .align 6
        .org end+distance+64
        .align 3
        function: .dword first
    """
    code = hart.load(text, distance=distance, first=number(1))
    hart.start()
    hart.x_set("s2", number(2))
    hart.x_set("s4", number(3))
    run_to(hart, code["end"])
    assert [hart.x(name) for name in ("s1", "s3", "s5")] == [1, 2, 3]


@pytest.mark.parametrize("size", ["b", "h", "w", "d"])
def test_every_store_is_seen(hart: Bench, size: str) -> None:
    """An addi's immediate is changed by stores of each size."""
    code = hart.load(f"jalr ra, 0(s0); mv s1, a0; s{size} s2, {'0' if size != 'b' else '3'}(s0)\n"
                     "fence.i; jalr ra, 0(s0); end: j end")
    ram_write(hart.core, DATA, returns(0x010))
    hart.start()
    hart.x_set("s0", DATA)
    new = number(0x7F0)
    hart.x_set("s2", new >> 24 if size == "b" else new)
    if size == "h":
        ram_write(hart.core, DATA, (number(0x010) & ~0xFFFF | 0x1513).to_bytes(8, "little"))  # slli a0, a0, 1
        hart.x_set("a0", 4)
    run_to(hart, code["end"])
    expected = {"b": 0x7F0, "w": 0x7F0, "d": 0x7F0, "h": 0x010}
    assert hart.x("a0") == expected[size]


@pytest.mark.parametrize("text", ["amoswap.d zero, s2, (s0)", "lr.d a1, (s0); sc.d a1, s2, (s0)", "fsd fa0, 0(s0)",
                                  "c.sd", "sd s2, 0(s3)", "sw s2, 0(s0); sw s4, 4(s0)"])
def test_every_way_to_write_is_seen(hart: Bench, text: str) -> None:
    hart.csr_set("mstatus", 3 << 13)
    text = text.replace("c.sd", "mv s1, s2; .half 0xe004  # c.sd s1, 0(s0)")
    code = hart.load(f"fmv.d.x fa0, s2; jalr ra, 0(s0); {text}\nfence.i; jalr ra, 0(s0); end: j end")
    ram_write(hart.core, DATA, returns(1))
    hart.start()
    for name, value in {"s0": DATA, "s2": number(2), "s3": DATA, "s4": number(2) >> 32}.items():
        hart.x_set(name, value)
    run_to(hart, code["end"])
    assert hart.x("a0") == 2


def test_an_instruction_over_two_pages_is_written(hart: Bench) -> None:
    """Its second half, in the next page, changes: the immediate."""
    code = hart.load("jalr ra, 0(s0); mv s1, a0; sh s2, 2(s0); fence.i; jalr ra, 0(s0); end: j end")
    ram_write(hart.core, DATA + PAGE - 2, returns(1))
    hart.start()
    hart.x_set("s0", DATA + PAGE - 2)
    hart.x_set("s2", number(0x7FF) >> 16)
    run_to(hart, code["end"])
    assert (hart.x("s1"), hart.x("a0")) == (1, 0x7FF)


def test_code_written_through_another_mapping(hart: Bench) -> None:
    space = Space(hart)
    space.use()
    space.map(0x10_0000, DATA, LEAF | R | X)
    space.map(0x20_0000, DATA, LEAF | R | W)
    ram_write(hart.core, DATA, returns(1))
    code = hart.load("""
        sd s2, 0(s1)
        fence.i; jalr ra, 0(s0); mv s3, a0
        sd s4, 0(s1); fence.i; jalr ra, 0(s0); mv s5, a0
        sd s2, 0(s1); fence.i; jalr ra, 0(s0)
        end: j end""")
    space.map(code.base, code.base, LEAF | R | X)
    hart.start(code.base, S)
    for name, value in {"s0": 0x10_0000, "s1": 0x20_0000, "s2": number(2), "s4": number(3)}.items():
        hart.x_set(name, value)
    run_to(hart, code["end"])
    assert (hart.x("s3"), hart.x("s5"), hart.x("a0")) == (2, 3, 2)


def test_code_that_the_supervisor_wrote(hart: Bench) -> None:
    code = hart.load("again: fence.i; jalr ra, 0(s0); j again")
    ram_write(hart.core, DATA, returns(1))
    hart.start()
    hart.x_set("s0", DATA)
    for value in (1, 5, 6):
        ram_write(hart.core, DATA, returns(value))
        hart.step(20)
        assert hart.x("a0") == value and code.base <= hart.pc
    flags = hart.core.plan.values["page_flags_offset"] + (DATA - RAM_BASE) // PAGE
    assert hart.core.read(flags, 1)[0] & (CONSTANTS["PAGE_DIRTY"] | CONSTANTS["PAGE_CODE"]) == 3


def test_code_of_another_hart(hart: Bench) -> None:
    """Hart 1 runs the function; hart 0 has its page writable and writes."""
    ram_write(hart.core, DATA, returns(1))
    writer = hart.load("sd s1, 0(s0); nop; sd s2, 0(s0); fence.i; end: j end")
    caller = hart.load("again: fence.i; jalr ra, 0(s0); j again", hart.CODE + PAGE)
    hart.start(writer.base, hart=0)
    hart.start(caller.base, hart=1)
    for index in range(2):
        hart.x_set("s0", DATA, index)
    hart.x_set("s1", number(2))
    hart.x_set("s2", number(3))
    hart.step(1, hart=0)  # hart 0 now has the page for writing
    hart.step(20, hart=1)
    assert hart.x("a0", 1) == 2
    hart.step(4, hart=0)
    hart.step(20, hart=1)
    assert hart.x("a0", 1) == 3


def test_more_pages_of_code_than_are_kept_decoded(hart: Bench) -> None:
    """A function in each of more pages than there are slots, all called twice,
    all rewritten, all called again."""
    count = CONSTANTS["DECODE_SLOTS"] + 200
    for page in range(count):
        ram_write(hart.core, DATA + page * PAGE, returns(1))
    code = hart.load("""
        call_all: mv s1, s0
        loop: jalr ra, 0(s1); add s2, s2, a0; add s1, s1, s3; bltu s1, s4, loop
        addi s5, s5, -1; bnez s5, call_all
        mv s1, s0
        write: sd s6, 0(s1); add s1, s1, s3; bltu s1, s4, write
        fence.i
        mv s1, s0
        final: jalr ra, 0(s1); add s7, s7, a0; add s1, s1, s3; bltu s1, s4, final
        end: j end""")
    hart.start()
    for name, value in {"s0": DATA, "s3": PAGE, "s4": DATA + count * PAGE, "s5": 2, "s6": number(2)}.items():
        hart.x_set(name, value)
    run_to(hart, code["end"], 100_000)
    assert (hart.x("s2"), hart.x("s7")) == (2 * count, 2 * count)
    assert get(hart.core, "Hart.stat_decoded") >= 3 * count


def test_what_is_called_again_and_again_stays_decoded(hart: Bench) -> None:
    """Two functions called between any two of many others: those come and go, these stay."""
    count, rounds = CONSTANTS["DECODE_SLOTS"] + 200, 8
    for page in range(count + 2):
        ram_write(hart.core, DATA + page * PAGE, returns(1))
    code = hart.load("""
        call_all: mv s1, s0
        loop: jalr ra, 0(s8); jalr ra, 0(s9); jalr ra, 0(s1); add s2, s2, a0; add s1, s1, s3; bltu s1, s4, loop
        addi s5, s5, -1; bnez s5, call_all
        end: j end""")
    hart.start()
    last = DATA + count * PAGE
    for name, value in {"s0": DATA, "s3": PAGE, "s4": last, "s5": rounds, "s8": last, "s9": last + PAGE}.items():
        hart.x_set(name, value)
    run_to(hart, code["end"], 300_000)
    assert hart.x("s2") == rounds * count
    # First in, first out would be two more every time round, 20 in all.
    assert rounds * count <= get(hart.core, "Hart.stat_decoded") < rounds * count + 8

"""Physical memory protection, Privileged spec 3.7.  The grain is a page."""

from __future__ import annotations

import pytest

from tests.core.bench import MASK64, Bench, ram_write
from tests.core.paging import PAGE, A, D, R, Space, V, W

S, M = Bench.S, Bench.M
FETCH_ACCESS, BREAKPOINT, LOAD_ACCESS, STORE_ACCESS = 1, 3, 5, 7
PMP_R, PMP_W, PMP_X, TOR, NA4, NAPOT, LOCK = 1, 2, 4, 8, 16, 24, 128
DATA = Bench.DATA
LOAD, STORE, FETCH = "ld a1, 0(a0)", "sd a1, 0(a0)", "jr a0"
CASES = [(LOAD, LOAD_ACCESS, PMP_R), (STORE, STORE_ACCESS, PMP_W), (FETCH, FETCH_ACCESS, PMP_X)]
EBREAK = 0x0010_0073


@pytest.fixture(autouse=True)
def code_to_fetch(hart: Bench) -> None:
    for page in range(-1, 4):
        ram_write(hart.core, DATA + page * PAGE, EBREAK.to_bytes(8, "little"))


def protect(hart: Bench, *entries: tuple[int, int]) -> None:
    """(pmpaddr, configuration) from entry 0 on; behind them everything is open."""
    entries = (*entries, ((1 << 54) - 1, NAPOT | PMP_R | PMP_W | PMP_X))
    hart.csr_set("pmpcfg0", 0)
    for number, (address, _) in enumerate(entries):
        hart.csr_set(f"pmpaddr{number}", address)
    hart.csr_set("pmpcfg0", sum(config << 8 * number for number, (_, config) in enumerate(entries)))


def napot(base: int, size: int) -> int:
    return base >> 2 | size // 8 - 1


def cause(hart: Bench, text: str, address: int, privilege: int = S) -> int | None:
    """What becomes of the access; None when it is done (a fetch: the ebreak)."""
    hart.execute(text, privilege, a0=address, a1=EBREAK)
    got = hart.trap[1] if hart.trap else None
    if got is not None and got != BREAKPOINT:
        assert hart.trap and hart.trap[3] == address
    return None if text == FETCH and got == BREAKPOINT else got


@pytest.mark.parametrize(("text", "fault", "bit"), CASES)
@pytest.mark.parametrize("allowed", [0, PMP_R, PMP_R | PMP_W, PMP_X, PMP_R | PMP_X, PMP_R | PMP_W | PMP_X])
def test_a_region_says_what_may_be_done(hart: Bench, text: str, fault: int, bit: int, allowed: int) -> None:
    protect(hart, (napot(DATA, 2 * PAGE), NAPOT | allowed))
    for address, wanted in ((DATA - PAGE, None), (DATA, fault), (DATA + PAGE, fault), (DATA + 2 * PAGE, None)):
        assert cause(hart, text, address) == (None if allowed & bit else wanted)
        assert cause(hart, text, address, M) is None, "not locked: M mode may"


@pytest.mark.parametrize(("text", "fault", "bit"), CASES)
def test_locked_regions_hold_for_m_mode(hart: Bench, text: str, fault: int, bit: int) -> None:
    protect(hart, (napot(DATA, PAGE), NAPOT | LOCK), (napot(DATA + PAGE, PAGE), NAPOT | LOCK | PMP_R | PMP_W | PMP_X))
    for privilege in (S, M):
        assert cause(hart, text, DATA, privilege) == fault
        assert cause(hart, text, DATA + PAGE, privilege) is None


def test_a_locked_region_cannot_be_changed(hart: Bench) -> None:
    protect(hart, (DATA >> 2, 0), ((DATA + PAGE) >> 2, TOR | LOCK | PMP_R))
    for name in ("pmpaddr0", "pmpaddr1", "pmpcfg0"):
        before = hart.csr(name)
        hart.csr_set(name, 0)
        kept = before if name != "pmpcfg0" else before & 0xFF00
        assert hart.csr(name) == kept


@pytest.mark.parametrize(("text", "fault", "bit"), CASES)
def test_top_of_range(hart: Bench, text: str, fault: int, bit: int) -> None:
    protect(hart, (DATA >> 2, 0), ((DATA + 2 * PAGE) >> 2, TOR))
    for address, wanted in ((DATA - PAGE, None), (DATA, fault), (DATA + PAGE, fault), (DATA + 2 * PAGE, None)):
        assert cause(hart, text, address) == wanted


def test_the_lowest_matching_entry_decides(hart: Bench) -> None:
    protect(hart, (napot(DATA, PAGE), NAPOT | PMP_R), (napot(DATA, 4 * PAGE), NAPOT))
    assert cause(hart, LOAD, DATA) is None and cause(hart, STORE, DATA) == STORE_ACCESS
    assert cause(hart, LOAD, DATA + PAGE) == LOAD_ACCESS


def test_without_a_match_only_m_mode_may(hart: Bench) -> None:
    hart.csr_set("pmpaddr0", napot(DATA - (1 << 21), 1 << 21))
    assert cause(hart, LOAD, DATA) == LOAD_ACCESS and cause(hart, LOAD, DATA, M) is None


def test_protection_ends_as_it_begins(hart: Bench) -> None:
    assert cause(hart, LOAD, DATA) is None
    protect(hart, (napot(DATA, PAGE), NAPOT))
    assert cause(hart, LOAD, DATA) == LOAD_ACCESS, "also for a page that was in use"
    protect(hart)
    assert cause(hart, LOAD, DATA) is None


def test_the_second_half_of_an_access(hart: Bench) -> None:
    protect(hart, (napot(DATA + PAGE, PAGE), NAPOT))
    hart.execute(LOAD, S, a0=DATA + PAGE - 4)
    assert hart.trap and (hart.trap[1], hart.trap[3]) == (LOAD_ACCESS, DATA + PAGE)


@pytest.mark.parametrize(("text", "fault"), [(LOAD, LOAD_ACCESS), (STORE, STORE_ACCESS)])
def test_page_tables_are_protected_too(hart: Bench, text: str, fault: int) -> None:
    space, va = Space(hart), 0x10_0000
    space.use()
    at = space.map(va, DATA, V | R | W)
    hart.csr_set("menvcfg", 1 << 61)
    protect(hart, (napot(at & -PAGE, PAGE), NAPOT))
    assert space.execute(text, a0=va) == fault
    protect(hart, (napot(at & -PAGE, PAGE), NAPOT | PMP_R))
    assert space.execute(text, a0=va) == fault, "the walk may read the entry but not set its bits"
    assert space.read(at) & (A | D) == 0


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [("pmpcfg0", PMP_W, 0), ("pmpcfg0", NA4 | PMP_R, PMP_R), ("pmpcfg0", 0x7F, 0x1F), ("pmpcfg4", MASK64, 0),
     ("pmpaddr1", MASK64, (1 << 54) - 1 - 0x3FF), ("pmpaddr16", MASK64, 0), ("pmpaddr63", 1, 0)],
)
def test_fields_hold_legal_values_only(hart: Bench, name: str, written: int, read: int) -> None:
    hart.csr_set("pmpcfg0", 0)
    hart.csr_set(name, written)
    assert hart.csr(name) == read


def test_the_grain_shows_in_the_address(hart: Bench) -> None:
    hart.csr_set("pmpaddr0", 0)
    hart.csr_set("pmpcfg0", NAPOT)
    assert hart.csr("pmpaddr0") == 0x1FF
    hart.csr_set("pmpcfg0", TOR)
    assert hart.csr("pmpaddr0") == 0

"""How long a region may run over a run's end: as long as time allows, and never where stops must be exact."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hartwell.layout import CONSTANTS
from tests.core.bench import Bench, fresh_core, get, put

NOWAIT, EXACT = CONSTANTS["RUN_NOWAIT"], CONSTANTS["RUN_EXACT"]
BUDGET = 10_000
OVER = CONSTANTS["RUN_BUDGET"]
LONGEST = 512  # JIT_LONGEST
COUNT = "loop: addi a0, a0, 1\nj loop"


def counting() -> Bench:
    """A hart that counts in a region."""
    bench = Bench(fresh_core(harts=1, threshold=1))
    bench.load(COUNT)
    bench.start()
    for _ in range(20):
        assert bench.core.call("hart_run", 0, 1000, NOWAIT | EXACT) == OVER
    assert get(bench.core, "Hart.stat_jit_insns", 0) > 5000
    return bench


def runs(bench: Bench, flags: int = NOWAIT, count: int = 40) -> list[int]:
    """By how much each of so many runs, one after the other, went over."""
    over = []
    for _ in range(count):
        before = get(bench.core, "Hart.instret", 0)
        assert bench.core.call("hart_run", 0, BUDGET, flags) == OVER
        over.append(get(bench.core, "Hart.instret", 0) - before - BUDGET)
    return over


def test_a_region_runs_over_while_no_timer_is_due() -> None:
    over = runs(counting())
    assert max(over) > 2 * BUDGET
    assert all(after <= 4 * (before + BUDGET) + LONGEST for before, after in pairwise(over)), over


def test_an_exact_run_ends_where_it_was_asked_to() -> None:
    bench = counting()
    runs(bench)
    assert set(runs(bench, NOWAIT | EXACT)) == {0}


@pytest.mark.parametrize("why", ["the timer is due", "time goes by instructions", "samples are taken"])
def test_a_region_that_may_not_run_over(why: str) -> None:
    bench = counting()
    runs(bench)
    if why == "the timer is due":
        bench.csr_set("mie", 1 << 7)  # mtimecmp is 0; mstatus.MIE is off
        put(bench.core, "Machine.aclint.mtimecmp", 0, 0)
    elif why == "time goes by instructions":
        put(bench.core, "Machine.time_mode", CONSTANTS["TIME_INSTRET"])
        put(bench.core, "Machine.time_divisor", 10)
    else:
        put(bench.core, "Machine.trace.sample_ticks", 1 << 30)
    assert max(runs(bench)) <= LONGEST


@pytest.mark.parametrize("register", ["mscratch", "stimecmp"])
def test_a_timer_that_is_set_ends_the_stretch(register: str) -> None:
    """It may be due sooner than those that the stretch was measured by."""
    bench = counting()
    bench.csr_set("menvcfg", 1 << 63)
    bench.load(f"csrw {register}, a2\n{COUNT}", bench.CODE + 0x1000)
    bench.x_set("a2", (1 << 63) - 1)
    over = []
    for _ in range(40):
        put(bench.core, "Hart.pc", bench.CODE + 0x1000, 0)
        over += runs(bench, count=1)
    assert (max(over) <= LONGEST) == (register == "stimecmp")

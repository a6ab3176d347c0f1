"""The plan of the memory whose size depends on RAM and harts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hartwell.errors import BadConfiguration
from hartwell.layout import CONSTANTS, MAX_HARTS, PAGE, RAM_OFFSET
from hartwell.memory_plan import MemoryPlan, plan_memory

EACH_HART = ["fetch", "journal", "slot_map", "decode", "tlb"]
SHARED = ["page_flags", "page_gen", "code_ring", "blob"]


def areas(plan: MemoryPlan) -> list[tuple[int, int]]:
    """(first byte, end) of every area of the variable part, in order."""
    values, pages = plan.values, plan.ram_bytes // PAGE
    sizes = {"page_flags": pages, "page_gen": 4 * pages, "code_ring": 4 * CONSTANTS["CODE_RING_ENTRIES"],
             "blob": values["blob_bytes"]}
    spans = [(values[f"{name}_offset"], values[f"{name}_offset"] + sizes[name]) for name in SHARED]
    spans += [
        (values[f"{name}_offset"] + hart * values[f"{name}_stride"],
         values[f"{name}_offset"] + (hart + 1) * values[f"{name}_stride"])
        for name in EACH_HART for hart in range(plan.harts)
    ]
    spans.append((RAM_OFFSET, RAM_OFFSET + plan.ram_bytes))
    return sorted(spans)


@given(st.integers(256, 900_000), st.integers(1, MAX_HARTS), st.integers(0, 64 << 20))
def test_areas_of_a_plan_are_apart_and_inside(pages: int, harts: int, blob: int) -> None:
    try:
        plan = plan_memory(pages * PAGE, harts, blob)
    except BadConfiguration as error:
        assert "4 GiB" in str(error)
        assert pages * PAGE + blob > 2 << 30
        return
    end = RAM_OFFSET
    for first, last in areas(plan):
        assert first >= end
        assert first % PAGE == 0
        end = last
    assert end <= plan.total_bytes <= 65535 * 65536
    assert plan.total_bytes == plan.wasm_pages * 65536
    assert RAM_OFFSET % (2 << 20) == 0  # guest superpages are aligned here too


@given(st.integers(256, 900_000), st.integers(1, MAX_HARTS))
def test_a_plans_tlb_has_bits_for_its_ram(pages: int, harts: int) -> None:
    try:
        plan = plan_memory(pages * PAGE, harts)
    except BadConfiguration:
        assert pages * PAGE > 2 << 30
        return
    ram_bits = plan.values["tlb_bits"] + 11
    assert 1 << (ram_bits - 1) < plan.ram_bytes <= 1 << ram_bits
    assert plan.values["tlb_stride"] >= (8 << plan.values["tlb_bits"]) * CONSTANTS["TLB_SETS"] * 2


@pytest.mark.parametrize("harts", [0, -1, MAX_HARTS + 1])
def test_a_number_of_harts_that_cannot_be(harts: int) -> None:
    with pytest.raises(BadConfiguration, match=rf"harts: {harts} asked for, 1 to {MAX_HARTS}"):
        plan_memory(64 << 20, harts)


@pytest.mark.parametrize("size", [0, -PAGE, (1 << 20) - PAGE, (64 << 20) + 1, (64 << 20) + 2048])
def test_a_memory_that_cannot_be(size: int) -> None:
    with pytest.raises(BadConfiguration, match=f"memory: {size} bytes; it must be a multiple of {PAGE}"):
        plan_memory(size, 1)


@pytest.mark.parametrize(("size", "harts"), [(3 << 30, 4), (2816 << 20, MAX_HARTS), (3840 << 20, 1)])
def test_large_machines_that_fit(size: int, harts: int) -> None:
    assert plan_memory(size, harts).wasm_pages <= 65535


def test_4_gib_do_not_fit() -> None:
    with pytest.raises(BadConfiguration, match="ask for less memory or fewer harts"):
        plan_memory(4 << 30, 1)
    with pytest.raises(BadConfiguration):
        plan_memory(1 << 20, 1, blob_bytes=4 << 30)


def test_the_smallest_machine() -> None:
    assert plan_memory(1 << 20, 1).ram_bytes == 1 << 20

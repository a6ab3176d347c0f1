"""`Machine.boot`'s jit, and the counters of the translator."""

from __future__ import annotations

import pytest

from hartwell.errors import BadConfiguration
from hartwell.jit import DEFAULT_THRESHOLD, MAX_THRESHOLD, VISIT, jit_threshold
from hartwell.layout import CONSTANTS, LAYOUT


def test_on_off_and_a_number() -> None:
    assert jit_threshold(False) == CONSTANTS["JIT_NEVER"]
    assert jit_threshold(True) == jit_threshold(DEFAULT_THRESHOLD) == (DEFAULT_THRESHOLD - 1) * VISIT
    assert 0 < jit_threshold(1) < VISIT  # a first visit is over it
    assert jit_threshold(MAX_THRESHOLD) < 0xFFFF  # counters have 16 bits


@pytest.mark.parametrize("jit", [0, -1, MAX_THRESHOLD + 1, 2.5, "yes", None])
def test_what_is_no_threshold(jit: object) -> None:
    with pytest.raises(BadConfiguration, match="jit: "):
        jit_threshold(jit)  # type: ignore[arg-type]


def test_segments_divide_what_they_share() -> None:
    for name in ("JIT_MODULES", "JIT_SLOTS", "JIT_CODE_BYTES"):
        assert CONSTANTS[name] % CONSTANTS["JIT_SEGMENTS"] == 0
    assert CONSTANTS["JIT_MODULES"] // CONSTANTS["JIT_SEGMENTS"] % 32 == 0  # whole words of JitHart.installed
    assert LAYOUT["JitHart"].fields["installed"].count * 32 == CONSTANTS["JIT_MODULES"]


def test_generated_code_names_fields_of_a_hart_in_two_bytes() -> None:
    """Offsets under 16,384 take two bytes of LEB128 at most."""
    assert all(slot.offset < 1 << 14 for slot in LAYOUT["Hart"].fields.values())

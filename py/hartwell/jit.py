"""The translator as Python sees it: when it works, and what it counts."""

from __future__ import annotations

from typing import Any

from hartwell.errors import BadConfiguration
from hartwell.layout import CONSTANTS, LAYOUT, field
from hartwell.platform import Core

DEFAULT_THRESHOLD = 4000  # docs/translator.md says what was measured
MAX_THRESHOLD = 8000
VISIT = 8  # JIT_VISIT in cpu/jit/jit.h: what a visit adds to a counter of 16 bits

_COUNTERS = [name for name in LAYOUT["Jit"].fields if name.startswith("stat_")]


def jit_threshold(jit: bool | int) -> int:
    """Machine.boot's `jit` as Jit.threshold.  Raises BadConfiguration."""
    if isinstance(jit, bool):
        return (DEFAULT_THRESHOLD - 1) * VISIT if jit else CONSTANTS["JIT_NEVER"]
    if not isinstance(jit, int) or not 1 <= jit <= MAX_THRESHOLD:
        raise BadConfiguration(f"jit: {jit!r}; True, False or 1 to {MAX_THRESHOLD} visits are expected")
    return max(1, (jit - 1) * VISIT)


def collect(core: Core) -> dict[str, Any]:
    """What all harts share: regions and modules that are live, bytes of code;
    and since boot: regions and guest instructions translated, their bytes, the
    time it took in microseconds."""
    def number(path: str) -> int:
        slot = field(path)
        return int.from_bytes(core.read(slot.offset, slot.size), "little")

    live = {name: number(f"Machine.jit.{name}") for name in ("threshold", "region_live", "epoch", "features", "ahead_count")}
    return {**live, **{name.removeprefix("stat_"): number(f"Machine.jit.{name}") for name in _COUNTERS}}

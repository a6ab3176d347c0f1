"""Where the parts of a machine's memory lie whose size depends on its RAM and its harts.

What is the same for every machine stands in `layout.py`; the offsets made here
go into struct Machine, where C finds them.
"""

from __future__ import annotations

from dataclasses import dataclass

from hartwell.errors import BadConfiguration
from hartwell.layout import (
    CODE_RING_ENTRIES,
    DECODE_ENTRIES,
    DECODE_ENTRY_BYTES,
    DECODE_SLOTS,
    FETCH_TLB_ENTRIES,
    JIT_AHEAD_BYTES,
    JIT_CODE_BYTES,
    JIT_HASH,
    JIT_MODULES,
    JIT_REGIONS,
    JOURNAL_ENTRIES,
    LAYOUT,
    MAX_HARTS,
    NET_AREA,
    NET_CARDS,
    PAGE,
    RAM_OFFSET,
    SNAPSHOT_CHUNK,
    TLB_SETS,
    TRACE_OPEN_CALL_BYTES,
    TRACE_OPEN_CALLS,
    TRACE_SLOT_BYTES,
    TRACE_SLOTS,
    aligned,
)


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets of one machine's variable part, in bytes of linear memory."""

    harts: int
    ram_bytes: int
    values: dict[str, int]

    @property
    def total_bytes(self) -> int:
        return self.values["total_bytes"]

    @property
    def wasm_pages(self) -> int:
        return self.total_bytes // 65536


def plan_memory(ram_bytes: int, harts: int, blob_bytes: int = 0) -> MemoryPlan:
    """Lays out the variable part for `ram_bytes` of guest RAM and `harts`.

    Raises BadConfiguration when it cannot fit wasm32's 4 GiB.
    """
    if not 1 <= harts <= MAX_HARTS:
        raise BadConfiguration(f"harts: {harts} asked for, 1 to {MAX_HARTS} can be had")
    if ram_bytes % PAGE or ram_bytes < 1 << 20:
        raise BadConfiguration(
            f"memory: {ram_bytes} bytes; it must be a multiple of {PAGE} and at least 1M"
        )
    values = _plan(ram_bytes, harts, blob_bytes)
    if values["total_bytes"] <= 65535 * 65536:
        return MemoryPlan(harts, ram_bytes, values)
    raise BadConfiguration(
        f"memory: {ram_bytes >> 20}M of RAM with {harts} harts needs more than the 4 GiB "
        "that one WebAssembly memory can have; ask for less memory or fewer harts"
    )


def _plan(ram_bytes: int, harts: int, blob_bytes: int) -> dict[str, int]:
    pages = ram_bytes // PAGE
    at = RAM_OFFSET + ram_bytes
    ram_bits = (ram_bytes - 1).bit_length()
    tlb_bits = ram_bits - 12 + 1  # cpu/mmu/mmu.h
    values = {"ram_bytes": ram_bytes, "tlb_bits": tlb_bits}

    def area(name: str, size: int, each: bool = False) -> None:
        nonlocal at
        size = aligned(size, PAGE)
        values[f"{name}_offset"] = at
        if each:
            values[f"{name}_stride"] = size
        at += size * (harts if each else 1)

    area("page_flags", pages)
    area("page_gen", 4 * pages)
    area("code_ring", 4 * CODE_RING_ENTRIES)
    area("chunk_dirty", -(-ram_bytes // SNAPSHOT_CHUNK))
    area("fetch", 16 * FETCH_TLB_ENTRIES, each=True)
    area("journal", 4 * JOURNAL_ENTRIES * TLB_SETS * 4, each=True)
    area("slot_map", 2 * pages + (4 + 4 + 1) * DECODE_SLOTS, each=True)
    area("decode", DECODE_SLOTS * DECODE_ENTRIES * DECODE_ENTRY_BYTES, each=True)
    area("tlb", (8 << tlb_bits) * TLB_SETS * 2, each=True)
    area("net", NET_CARDS * NET_AREA)
    area("jit_regions", LAYOUT["JitRegion"].size * JIT_REGIONS)
    area("jit_hash", 4 * JIT_HASH)
    area("jit_modules", LAYOUT["JitModule"].size * JIT_MODULES)
    area("jit_code", JIT_CODE_BYTES)
    area("jit_hart", LAYOUT["JitHart"].size, each=True)
    area("jit_counter", 2 * DECODE_SLOTS * DECODE_ENTRIES + DECODE_SLOTS * DECODE_ENTRIES // 8, each=True)
    area("jit_ahead", JIT_AHEAD_BYTES)
    area("trace", TRACE_SLOTS * TRACE_SLOT_BYTES, each=True)
    area("trace_calls", TRACE_OPEN_CALLS * TRACE_OPEN_CALL_BYTES)
    area("blob", blob_bytes)
    values["blob_bytes"] = blob_bytes
    values["total_bytes"] = aligned(at, 65536)
    return values

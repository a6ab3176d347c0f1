"""A machine on the test bench: hart and devices without a kernel."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

from hartwell.layout import CONSTANTS, RAM_BASE, field, plan_memory
from hartwell.platform.wasmtime import WasmtimeCore, WasmtimePlatform

ROOT = Path(__file__).parent.parent.parent
MASK64 = (1 << 64) - 1


@cache
def platform() -> WasmtimePlatform:
    """cpu.wasm as it was last built, compiled once for all tests."""
    return WasmtimePlatform(ROOT / "static" / "cpu.wasm", ROOT / "static")


def fresh_core(ram: int = 8 << 20, harts: int = 2, firmware: str = "GUEST", blob_bytes: int = 0) -> WasmtimeCore:
    """A machine after machine_init: `harts` harts, all off.

    firmware: GUEST (M mode is the program's) or BUILTIN (the core answers SBI).
    """
    plan = plan_memory(ram, harts, blob_bytes)
    core = asyncio.run(platform().create(plan))
    assert isinstance(core, WasmtimeCore)
    for name, value in plan.values.items():
        slot = field(f"Machine.{name}")
        core.write(slot.offset, value.to_bytes(slot.size, "little"))
    core.store(field("Machine.hart_count").offset, harts)
    core.store(field("Machine.firmware").offset, CONSTANTS[f"FIRMWARE_{firmware}"])
    core.call("machine_init")
    return core


def get(core: WasmtimeCore, path: str, *indexes: int) -> int:
    """A field of Machine or Hart."""
    slot = field(path, *indexes)
    return int.from_bytes(core.read(slot.offset, slot.size), "little")


def put(core: WasmtimeCore, path: str, value: int, *indexes: int) -> None:
    """Sets a field of Machine or Hart."""
    slot = field(path, *indexes)
    core.write(slot.offset, (value & (1 << 8 * slot.size) - 1).to_bytes(slot.size, "little"))


def ram_read(core: WasmtimeCore, pa: int, count: int = 8) -> int:
    """A little-endian number in guest RAM."""
    return int.from_bytes(core.read(core.plan.values["ram_offset"] + pa - RAM_BASE, count), "little")


def ram_write(core: WasmtimeCore, pa: int, data: bytes) -> None:
    """Guest RAM as the supervisor writes it."""
    core.write(core.plan.values["ram_offset"] + pa - RAM_BASE, data)
    core.call("ram_written", pa, len(data))

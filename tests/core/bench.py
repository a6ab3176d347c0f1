"""A machine on the test bench: hart and devices without a kernel."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

from hartwell.isa.csrs import CSRS
from hartwell.layout import CONSTANTS, RAM_BASE, RAM_OFFSET, field
from hartwell.memory_plan import plan_memory
from hartwell.platform.wasmtime import WasmtimeCore, WasmtimePlatform
from tests.core.assembler import REGISTERS, Code, assemble

ROOT = Path(__file__).parent.parent.parent
MASK64 = (1 << 64) - 1


@cache
def platform() -> WasmtimePlatform:
    """cpu.wasm as it was last built, compiled once for all tests."""
    return WasmtimePlatform(ROOT / "static" / "cpu.wasm", ROOT / "static")


def fresh_core(ram: int = 8 << 20, harts: int = 2, firmware: str = "GUEST", blob_bytes: int = 0,
               threshold: int | None = None) -> WasmtimeCore:
    """A machine after machine_init: `harts` harts, all off.

    firmware: GUEST (M mode is the program's) or BUILTIN (the core answers SBI).
    threshold: of the translator; None: interpreter alone.
    """
    plan = plan_memory(ram, harts, blob_bytes)
    core = asyncio.run(platform().create(plan))
    assert isinstance(core, WasmtimeCore)
    for name, value in plan.values.items():
        slot = field(f"Machine.{name}")
        core.write(slot.offset, value.to_bytes(slot.size, "little"))
    core.store(field("Machine.hart_count").offset, harts)
    core.store(field("Machine.firmware").offset, CONSTANTS[f"FIRMWARE_{firmware}"])
    if threshold is not None:
        core.store(field("Machine.jit.threshold").offset, threshold)
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
    return int.from_bytes(core.read(RAM_OFFSET + pa - RAM_BASE, count), "little")


def ram_write(core: WasmtimeCore, pa: int, data: bytes) -> None:
    """Guest RAM as the supervisor writes it."""
    core.write(RAM_OFFSET + pa - RAM_BASE, data)
    core.call("ram_written", pa, len(data))


class Bench:
    """A core, and what tests do with its harts while no thread runs them.

    RAM: M mode's trap handler (a jump to itself) at M_HANDLER, S mode's at
    S_HANDLER, code from CODE on, the rest, from DATA on, is the test's.
    """

    CODE, M_HANDLER, S_HANDLER = RAM_BASE + 0x1000, RAM_BASE, RAM_BASE + 0x800
    DATA = RAM_BASE + 0x20_0000
    U, S, M = 0, 1, 3

    def __init__(self, core: WasmtimeCore) -> None:
        self.core = core
        self.free = self.CODE
        for handler in (self.M_HANDLER, self.S_HANDLER):
            self.load("loop: j loop", handler)
        for hart in range(core.plan.harts):
            self.csr_set("mtvec", self.M_HANDLER, hart)
            self.csr_set("stvec", self.S_HANDLER, hart)
            self.csr_set("pmpaddr0", (1 << 54) - 1, hart)
            self.csr_set("pmpcfg0", 0x1F, hart)

    def load(self, text: str, base: int = CODE, **symbols: int) -> Code:
        """Assembles `text` into RAM at `base`."""
        code = assemble(text, base, **symbols)
        ram_write(self.core, base, code.data)
        return code

    def start(self, pc: int = CODE, privilege: int = M, hart: int = 0) -> None:
        """The hart's next instruction is that at `pc`."""
        self.core.call("hart_start", hart, pc, hart, 0, privilege)

    def step(self, count: int = 1, hart: int = 0) -> int:
        """Runs `count` instructions; a RUN_* number.  One that traps does not count."""
        return self.core.call("hart_run", hart, count, CONSTANTS["RUN_EXACT"] | CONSTANTS["RUN_NOWAIT"])

    def execute(self, text: str, privilege: int = M, **registers: int) -> Code:
        """Loads and runs straight-line `text` to its end or its first trap.

        Stops at a trap handler, or at the jump to itself that is put after it.
        Each text gets a page of its own, so none needs a fence.i.
        """
        code = self.load(f"{text}\nend: j end", self.free)
        self.free += len(code.data) + 0xFFF & ~0xFFF
        self.start(code.base, privilege)
        for name, value in registers.items():
            self.x_set(name, value)
        for _ in range(2 + len(code.data) // 2):
            self.step()
            if self.pc in (code["end"], self.M_HANDLER, self.S_HANDLER):
                break
        return code

    @staticmethod
    def word(name: str, hart: int = 0) -> int:
        """Where a field of the hart lies."""
        return field(f"Hart.{name}", hart).offset

    @property
    def pc(self) -> int:
        return get(self.core, "Hart.pc")

    def x(self, name: str, hart: int = 0) -> int:
        """A register."""
        return get(self.core, "Hart.x", hart, REGISTERS[name])

    def x_set(self, name: str, value: int, hart: int = 0) -> None:
        put(self.core, "Hart.x", value, hart, REGISTERS[name])

    def csr(self, name: str, hart: int = 0) -> int:
        """A CSR as M mode reads it."""
        return self.core.call("csr_read", hart, CSRS[name]) & MASK64

    def csr_set(self, name: str, value: int, hart: int = 0) -> None:
        self.core.call("csr_write", hart, CSRS[name], value & MASK64)

    @property
    def trap(self) -> tuple[str, int, int, int] | None:
        """(mode, cause, epc, tval) of the handler that the hart is in, else None."""
        for mode, handler in (("m", self.M_HANDLER), ("s", self.S_HANDLER)):
            if self.pc == handler:
                return mode, self.csr(f"{mode}cause"), self.csr(f"{mode}epc"), self.csr(f"{mode}tval")
        return None

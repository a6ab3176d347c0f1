"""A Core of plain bytes, for logic that only places and reads bytes: it has no
hart and no devices.  Calls of exports are noted, not done."""

from __future__ import annotations

from dataclasses import dataclass, field

from hartwell.layout import RAM_BASE, RAM_OFFSET
from hartwell.memory_plan import MemoryPlan, plan_memory
from hartwell.platform import Blob


@dataclass
class Bytes:
    """A blob of bytes."""

    data: bytes

    def __post_init__(self) -> None:
        self.size = len(self.data)

    def read(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]


@dataclass
class Core:
    """Refuses, as a real memory does, what goes past its end."""

    plan: MemoryPlan
    called: list[tuple[str, tuple[int | float, ...]]] = field(default_factory=list)
    notified: list[int] = field(default_factory=list)
    failure: str | None = None
    settled: bool = False

    def __post_init__(self) -> None:
        self.memory = bytearray(self.plan.total_bytes)

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self.memory[self._check(offset, count) : offset + count])

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        self.memory[self._check(offset, len(data)) : offset + len(data)] = data

    def fill(self, offset: int, value: int, count: int) -> None:
        self.memory[self._check(offset, count) : offset + count] = bytes([value]) * count

    def place(self, blob: Blob, source: int, offset: int, count: int) -> None:
        data = blob.read(source, count)
        assert len(data) == count, "placed past the end of the blob"
        self.write(offset, data)

    def load(self, offset: int) -> int:
        assert offset % 4 == 0
        return int.from_bytes(self.read(offset, 4), "little")

    def store(self, offset: int, value: int) -> None:
        assert offset % 4 == 0
        self.write(offset, value.to_bytes(4, "little"))

    def or_(self, offset: int, bits: int) -> int:
        old = self.load(offset)
        self.store(offset, old | bits)
        return old

    def and_(self, offset: int, bits: int) -> int:
        old = self.load(offset)
        self.store(offset, old & bits)
        return old

    def notify(self, offset: int) -> None:
        self.notified.append(offset)

    def call(self, export: str, *arguments: int | float) -> int:
        self.called.append((export, arguments))
        return 0

    async def start_harts(self) -> None:
        raise AssertionError("there are no harts")

    async def wait(self, offset: int, value: int, timeout: float) -> None:
        raise AssertionError("nobody writes")

    def block(self, offset: int, value: int, timeout: float) -> bool:
        return self.load(offset) != value

    async def join(self) -> None:
        raise AssertionError("there are no harts")

    def terminate(self) -> None:
        raise AssertionError("there are no harts")

    def ram(self, pa: int, count: int) -> bytes:
        """Guest RAM at a physical address."""
        at = pa - RAM_BASE
        assert 0 <= at <= at + count <= self.plan.ram_bytes
        return self.read(RAM_OFFSET + at, count)

    def _check(self, offset: int, count: int) -> int:
        assert 0 <= offset <= offset + count <= len(self.memory), f"{count} bytes at {offset:#x} are outside"
        return offset


def make_core(ram_bytes: int = 32 << 20, harts: int = 1) -> Core:
    return Core(plan_memory(ram_bytes, harts))

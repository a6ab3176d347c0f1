"""Page tables in a test's RAM.  Privileged spec 4.3 to 4.5."""

from __future__ import annotations

from tests.core.bench import Bench, ram_read, ram_write

V, R, W, X, USER, G, A, D = (1 << bit for bit in range(8))
LEAF = V | A | D
PAGE = 4096


class Space:
    """An address space of `mode` (8: Sv39, 9: Sv48) whose tables grow from `tables` on."""

    def __init__(self, hart: Bench, mode: int = 8, tables: int = Bench.DATA + 0x20_0000) -> None:
        self.hart, self.mode, self.levels, self.next = hart, mode, mode - 5, tables
        self.root = self.table()

    def table(self) -> int:
        """A fresh empty table."""
        ram_write(self.hart.core, self.next, bytes(PAGE))
        self.next += PAGE
        return self.next - PAGE

    def satp(self, asid: int = 0) -> int:
        return self.mode << 60 | asid << 44 | self.root >> 12

    def entry(self, va: int, level: int = 0) -> int:
        """Where the entry of `va` at `level` lies; makes the tables above it."""
        table = self.root
        for above in range(self.levels - 1, level, -1):
            at = table + (va >> 12 + 9 * above & 511) * 8
            if not self.read(at) & V:
                self.write(at, self.table() >> 2 | V)
            table = (self.read(at) >> 10) << 12
        return table + (va >> 12 + 9 * level & 511) * 8

    def map(self, va: int, pa: int, flags: int, level: int = 0) -> int:
        """Maps a page (level 0) or superpage; where its entry lies."""
        at = self.entry(va, level)
        self.write(at, pa >> 2 | flags)
        return at

    def read(self, at: int) -> int:
        return ram_read(self.hart.core, at)

    def write(self, at: int, value: int) -> None:
        ram_write(self.hart.core, at, value.to_bytes(8, "little"))

    def use(self, asid: int = 0) -> None:
        self.hart.csr_set("satp", self.satp(asid))

    def execute(self, text: str, privilege: int = Bench.S, **registers: int) -> int | None:
        """Runs `text` from a page that is mapped where it lies; the cause of the trap, if any."""
        self.map(self.hart.free, self.hart.free, LEAF | R | X | (USER if privilege == Bench.U else 0))
        self.hart.execute(text, privilege, **registers)
        return self.hart.trap[1] if self.hart.trap else None

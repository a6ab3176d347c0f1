"""Copies of a machine at intervals: every page that is not zero once, later on
what was written since the copy before."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field

from hartwell.layout import (
    CONSTANTS,
    HART_BASE,
    HART_STRIDE,
    LAYOUT,
    MACHINE_BASE,
    PAGE,
    RAM_OFFSET,
    RING_BASE,
)
from hartwell.layout import field as place
from hartwell.platform import Core

_ZERO = bytes(PAGE)
_DIRTY = CONSTANTS["PAGE_DIRTY"]
_KEPT = ("wake", "state", "active", "executing")  # of a hart: its thread's, not the guest's
# Of a hart: where it came from, but not what caches say of it.
_ARCHITECTURAL = ("x", "pc", "f", "privilege", "mip", "fcsr_flags", "frm", "instret", "mstatus", "medeleg", "mideleg", "mie",
                  "mtvec", "mscratch", "mepc", "mcause", "mtval", "mcounteren", "menvcfg", "stvec", "sscratch", "sepc",
                  "scause", "stval", "satp", "scounteren", "senvcfg", "stimecmp", "hsm_state")


@dataclass
class Checkpoint:
    """The machine after `instret` instructions."""

    instret: int
    structs: bytes
    rings: bytes
    events: int  # of the recording, done
    entropy: int  # requests for random numbers, done
    digest: str
    pages: dict[int, bytes] = field(repr=False, default_factory=dict)  # written since the one before; all for the first


class Checkpoints:
    """All of one machine's, in order."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._pages = core.plan.ram_bytes // PAGE
        self._flags = core.plan.values["page_flags_offset"]
        self.list: list[Checkpoint] = []

    def take(self, instret: int, events: int, entropy: int) -> Checkpoint:
        """Copies the machine as it is now; nothing of it runs."""
        core = self._core
        numbers = self._dirty() if self.list else range(self._pages)
        pages = {}
        for number in numbers:
            page = core.read(RAM_OFFSET + number * PAGE, PAGE)
            if self.list or page != _ZERO:
                pages[number] = page
        digest = self._digest(pages, instret)
        taken = Checkpoint(instret, self._structs(), zlib.compress(core.read(RING_BASE, RAM_OFFSET - RING_BASE), 1),
                           events, entropy, digest, pages)
        self.list.append(taken)
        core.call("debug_checkpoint")
        return taken

    def passed(self) -> None:
        """The machine has come by a checkpoint that was taken before."""
        self._core.call("debug_checkpoint")

    def before(self, instret: int) -> int:
        """The number of the last one at or before `instret`."""
        found = 0
        for number, checkpoint in enumerate(self.list):
            if checkpoint.instret <= instret:
                found = number
        return found

    def restore(self, number: int) -> Checkpoint:
        """Makes the machine what it was then."""
        core, chosen = self._core, self.list[number]
        changed = set(self._dirty())
        for later in self.list[number + 1 :]:
            changed.update(later.pages)
        for page in changed:
            data = next((older.pages[page] for older in reversed(self.list[: number + 1]) if page in older.pages), _ZERO)
            core.write(RAM_OFFSET + page * PAGE, data)
        self._put_structs(chosen.structs)
        core.write(RING_BASE, zlib.decompress(chosen.rings))
        core.call("debug_restored")
        return chosen

    def _dirty(self) -> list[int]:
        flags = self._core.read(self._flags, self._pages)
        return [number for number, value in enumerate(flags) if value & _DIRTY]

    def _structs(self) -> bytes:
        machine = self._core.read(MACHINE_BASE, LAYOUT["Machine"].size)
        return machine + self._core.read(HART_BASE, HART_STRIDE * self._core.plan.harts)

    def _put_structs(self, data: bytes) -> None:
        core, size = self._core, LAYOUT["Machine"].size
        debug = place("Machine.debug").offset - MACHINE_BASE  # what is set now stays set
        core.write(MACHINE_BASE, data[:debug])
        for hart in range(core.plan.harts):
            kept = [(slot := place(f"Hart.{name}", hart), core.read(slot.offset, slot.size)) for name in _KEPT]
            core.write(HART_BASE + HART_STRIDE * hart, data[size + HART_STRIDE * hart : size + HART_STRIDE * (hart + 1)])
            for slot, value in kept:
                core.write(slot.offset, value)

    def _digest(self, pages: dict[int, bytes], instret: int) -> str:
        """Of the state, by way of the digest before and what was written since."""
        digest = hashlib.sha256(self.list[-1].digest.encode() if self.list else b"")
        digest.update(instret.to_bytes(8, "little"))
        for number in sorted(pages):
            digest.update(number.to_bytes(4, "little") + pages[number])
        for hart in range(self._core.plan.harts):
            for name in _ARCHITECTURAL:
                slot = place(f"Hart.{name}", hart)
                digest.update(self._core.read(slot.offset, slot.size * (slot.count - (name == "x"))))
        return digest.hexdigest()

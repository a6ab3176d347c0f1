"""`machine.harts[i]`: a hart's registers, read from and written to its struct.

Values of a running hart are as of its last return from compiled code, a
fraction of a millisecond ago; pause for exact ones.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from hartwell.errors import HartwellError
from hartwell.isa.csrs import CSRS
from hartwell.layout import field
from hartwell.platform import Core

_PRIVILEGES = {0: "U", 1: "S", 3: "M"}
_STATES = ["running", "waiting", "paused", "stopped", "off"]
_MASK64 = (1 << 64) - 1
SUSPEND_SECONDS = 5.0  # a hart comes to its next instruction within microseconds; a core may be busy


class Registers:
    """32 registers of 64 bits, as a sequence."""

    def __init__(self, core: Core, base: int, check: Callable[[], None], zero: bool) -> None:
        self._core, self._base, self._check, self._zero = core, base, check, zero

    def __getitem__(self, index: int) -> int:
        return int.from_bytes(self._core.read(self._at(index), 8), "little")

    def __setitem__(self, index: int, value: int) -> None:
        self._check()
        if index or not self._zero:
            self._core.write(self._at(index), (value & _MASK64).to_bytes(8, "little"))

    def __len__(self) -> int:
        return 32

    def __iter__(self) -> Iterator[int]:
        return iter(struct.unpack("<32Q", self._core.read(self._base, 256)))

    def _at(self, index: int) -> int:
        if not 0 <= index < 32:
            raise IndexError(f"register {index} is outside 0..31")
        return self._base + 8 * index


class Csrs:
    """Control and status registers by name or number, as M mode would see them."""

    def __init__(self, core: Core, hart: int, check: Callable[[], None]) -> None:
        self._core, self._hart, self._check = core, hart, check

    def __getitem__(self, name: str | int) -> int:
        return self._core.call("csr_read", self._hart, self._number(name)) & _MASK64

    def __setitem__(self, name: str | int, value: int) -> None:
        self._check()
        self._core.call("csr_write", self._hart, self._number(name), value & _MASK64)

    def _number(self, name: str | int) -> int:
        if isinstance(name, int):
            return name
        if name not in CSRS:
            raise KeyError(f"{name!r} is no CSR of this hart")
        return CSRS[name]


class Hart:
    """One hart.  Registers can be written while the machine is paused."""

    def __init__(self, core: Core, index: int, paused: Callable[[], bool]) -> None:
        self.index = index
        self._core, self._paused = core, paused
        self.x = Registers(core, field("Hart.x", index).offset, self._check, zero=True)
        self.f = Registers(core, field("Hart.f", index).offset, self._check, zero=False)
        self.csr = Csrs(core, index, self._check)

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        return self._u64("pc")

    @pc.setter
    def pc(self, value: int) -> None:
        self._check()
        self._core.write(field("Hart.pc", self.index).offset, (value & _MASK64).to_bytes(8, "little"))

    @property
    def privilege(self) -> str:
        """"U", "S" or "M"."""
        return _PRIVILEGES[self._core.load(field("Hart.privilege", self.index).offset)]

    def set_privilege(self, name: str) -> None:
        """Puts the hart into "U", "S" or "M" mode; ValueError for another name."""
        self._check()
        number = next((number for number, known in _PRIVILEGES.items() if known == name), None)
        if number is None:
            raise ValueError(f"privilege {name!r}: expected U, S or M")
        self._core.call("debug_set_privilege", self.index, number)

    @property
    def instret(self) -> int:
        """Instructions retired since reset."""
        return self._u64("instret")

    @property
    def state(self) -> str:
        """running, waiting (WFI), paused, stopped or off."""
        return _STATES[self._core.load(field("Hart.state", self.index).offset)]

    def suspend(self) -> None:
        """This hart stands still, at an instruction boundary, when this returns;
        the others go on.

        The guest's clock goes on too: a kernel that misses a hart for some
        seconds will say so.  For all harts, with the clock: machine.pause().
        """
        self._core.call("debug_hold", self.index, 1)
        active, state = field("Hart.active", self.index).offset, field("Hart.state", self.index).offset
        for _ in range(int(SUSPEND_SECONDS / 0.01)):
            if self._core.load(active):
                self._core.block(active, 1, 0.01)
            elif _STATES[now := self._core.load(state)] in ("running", "waiting"):
                self._core.block(state, now, 0.01)  # between two stretches: it stops as the next begins
            else:
                return
        if not self._core.load(active):
            return  # no thread runs it
        self._core.call("debug_hold", self.index, 0)
        raise HartwellError(f"hart {self.index} did not come to rest within {SUSPEND_SECONDS} s; it goes on")

    def resume(self) -> None:
        """Goes on after suspend(), or where the debugger holds it."""
        self._core.call("debug_hold", self.index, 0)

    def __repr__(self) -> str:
        return f"<hart {self.index} {self.state} {self.privilege} pc={self.pc:#x}>"

    def _u64(self, name: str) -> int:
        return int.from_bytes(self._core.read(field(f"Hart.{name}", self.index).offset, 8), "little")

    def _check(self) -> None:
        if not self._paused():
            raise HartwellError(f"hart {self.index} is running; pause the machine before you change its registers")

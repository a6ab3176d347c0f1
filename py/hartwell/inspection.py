"""What a machine offers to look inside its guest: joined to Machine by inheritance.

Each part is made when it is first asked for, so a machine that nobody looks
into pays nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from hartwell.linux import Linux
from hartwell.symbols.symbols import Symbols

if TYPE_CHECKING:
    from hartwell.harts import Hart
    from hartwell.memory import Memory
    from hartwell.platform import Core


class Inspection:
    """Symbols and Linux of the guest, from outside (docs/inspection.md)."""

    memory: Memory
    harts: list[Hart]
    _core: Core

    @cached_property
    def linux(self) -> Linux:
        """The guest's Linux: tasks, their memory, their stacks."""
        return Linux(self.memory, self.harts)

    @cached_property
    def symbols(self) -> Symbols:
        """Names of addresses: the kernel's, its modules', programs'."""
        return Symbols(self.linux)

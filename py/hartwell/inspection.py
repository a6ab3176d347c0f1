"""What a machine offers to look inside its guest: joined to Machine by inheritance.

Each part is made when it is first asked for, so a machine that nobody looks
into pays nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from hartwell.debugger.backtrace import backtrace
from hartwell.errors import HartwellError
from hartwell.linux import Linux
from hartwell.linux.backtrace import Frame
from hartwell.profiler import Profile, Profiler
from hartwell.symbols.symbols import Symbols
from hartwell.trace import Trace

if TYPE_CHECKING:
    from hartwell.debugger import Debugger
    from hartwell.harts import Hart
    from hartwell.linux.tasks import Task
    from hartwell.memory import Memory
    from hartwell.platform import Core


class Inspection:
    """Symbols, Linux, traces and profiles of the guest, from outside (docs/inspection.md)."""

    memory: Memory
    harts: list[Hart]
    _core: Core
    debugger: Debugger
    pause: Callable[[], None]

    @cached_property
    def linux(self) -> Linux:
        """The guest's Linux: tasks, their memory, their stacks."""
        return Linux(self.memory, self.harts)

    @cached_property
    def symbols(self) -> Symbols:
        """Names of addresses: the kernel's, its modules', programs'."""
        return Symbols(self.linux)

    @cached_property
    def trace(self) -> Trace:
        """System calls, traps, interrupts, switches of tasks, devices: as they happen."""
        return Trace(self._core, self.linux)

    # --- what the debugger asks for (hartwell.debugger.debugger.Names) ----------------

    def address_of(self, name: str, task: Task | None, program: str = "") -> int | None:
        """The address of a symbol or a `file.c:12`.  Without a task those are asked
        too which harts run now; with a program, one that runs it."""
        if program and task is None and self.linux.there():
            task = next((one for one in self.linux.tasks(threads=False) if one.comm == program[:15]), None)
        if (found := self.symbols.find(name, task)) is not None or task is not None or not self.linux.there():
            return found
        for hart in self.harts:
            if (one := self.linux.current(hart.index)) and one.mm and (found := self.symbols.find(name, one)) is not None:
                return found
        return None

    def program_on(self, hart: int) -> str:
        """The name of the task that a hart runs, "" where that is not known."""
        with contextlib.suppress(HartwellError):
            if self.linux.there() and (task := self.linux.current(hart)):
                return task.comm
        return ""

    def calls(self, hart: int = 0) -> list[Frame]:
        """A hart's stack, innermost first, with source lines where there is DWARF."""
        one, frames = self.harts[hart], list[Frame]()
        if one.privilege != "M" and one.csr["satp"] >> 60 and self.linux.there():
            with contextlib.suppress(HartwellError):  # memory that does not fit together, in a guest that runs
                frames = self.linux.hart_backtrace(hart)
        if not frames:
            frames = backtrace(self.debugger.view, one, self.symbols.name, self.symbols.rule)
        return [
            frame if frame.line else replace(frame, line=self.symbols.line(frame.address - bool(number)))
            for number, frame in enumerate(frames)
        ]

    def profiler(self, hz: float = 1000) -> Profiler:
        """Samples every hart from now until .stop(), which gives the Profile.

        hz: samples a second of each hart, 1 to 1000 (BadConfiguration).  They
        are taken between instructions by the harts themselves, which go on.
        """
        return Profiler(self.trace, self.linux, self.symbols, len(self.harts), hz)

    async def profile(self, seconds: float = 5, hz: float = 1000) -> Profile:
        """Where the guest spends its time in the next `seconds` (of the host's
        clock).  See profiler()."""
        profiler = self.profiler(hz)
        try:
            await asyncio.sleep(seconds)
        finally:
            profile = profiler.stop()
        return profile

    async def pause_when(self, condition: Callable[[], object], every: float = 0.01, timeout: float | None = None) -> None:
        """Asks `condition()` every `every` seconds and pauses the machine once it
        is true.  For conditions on code and data, where not an instruction may
        be missed, set a break- or watchpoint.  TimeoutError after `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(every)
        self.pause()

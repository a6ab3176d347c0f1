"""Takes samples and gives them names.

Each hart takes its own: between two stretches of some thousand instructions it
looks at the clock and, when a sample is due, puts pc, page table, task and the
stack (by frame pointers) into its trace ring.  So nothing stops, a hart that is
busy in translated code is seen as it is, and no other thread has to keep time.

Names are found while tasks live: each new process is looked at when its first
sample is read.
"""

from __future__ import annotations

import time
from collections import Counter

from hartwell.errors import BadConfiguration, HartwellError
from hartwell.linux.backtrace import KERNEL_HALF
from hartwell.linux.linux import Linux, Placed
from hartwell.profiler.profile import KERNEL, Profile, Stack
from hartwell.symbols.symbols import Symbols
from hartwell.trace.recorder import Wish
from hartwell.trace.records import SAMPLE, TICKS, Record
from hartwell.trace.trace import Trace

MOST_HZ = 1000
_SATP_PPN = (1 << 44) - 1


class Profiler:
    """A profile in the making: from now until stop()."""

    def __init__(self, trace: Trace, linux: Linux, symbols: Symbols, harts: int, hz: float) -> None:
        """hz: samples a second of each hart.  BadConfiguration outside 1 to 1000."""
        if not 1 <= hz <= MOST_HZ:
            raise BadConfiguration(f"hz: {hz!r} samples a second; 1 to {MOST_HZ} can be had")
        self._trace, self._linux, self._symbols = trace, linux, symbols
        self._harts, self._hz = harts, hz
        self._stacks: Counter[Stack] = Counter()
        self._programs: dict[tuple[int, int], list[Placed]] = {}
        self._spaces: dict[int, int] = {}  # satp of a task's program
        self._names: dict[int, str] = {}
        self._began, self._seconds = time.monotonic(), 0.0
        self._lost = trace.lost
        trace.prepare()
        self._wish: Wish | None = trace.recorder.listen(self._heard, sample_ticks=max(1, round(TICKS / hz)))

    def stop(self) -> Profile:
        """Ends it; what was seen."""
        if self._wish:
            wish, self._wish = self._wish, None
            self._seconds = time.monotonic() - self._began
            self._trace.recorder.leave(wish)
        return self.profile

    @property
    def profile(self) -> Profile:
        """What was seen so far."""
        if self._wish:
            self._trace.recorder.drain()
            self._seconds = time.monotonic() - self._began
        return Profile(Counter(self._stacks), self._seconds, self._hz, self._harts, self._trace.lost - self._lost)

    # --- inside ---------------------------------------------------------------

    def _heard(self, found: list[Record]) -> None:
        for record in found:
            if record.kind == SAMPLE:
                self._stacks[self._stack(record)] += 1

    def _stack(self, record: Record) -> Stack:
        kernel, user = record.number >> 8 & 0xFF, record.number >> 16 & 0xFF
        satp = record.word(0)
        frames = [record.word(1 + i) for i in range(kernel + user)]
        if user and self._spaces.get(record.task) != satp:
            self._spaces[record.task] = satp
            self._trace.forget(record.task)  # it has called execve
        task = self._trace.comm(record) if record.task else ""
        names = [f"{task or 'pid'} {record.pid}" if record.pid else (task or "no task")]
        placed = self._placed(record, satp) if user else []
        names += reversed(self._user_names(frames[kernel:], placed))
        # A return address may be its function's last byte + 1; the first is a pc.
        names += reversed([self._kernel_name(address - (i > 0)) for i, address in enumerate(frames[:kernel])])
        return tuple(names)

    def _kernel_name(self, address: int) -> str:
        name = self._names.get(address)
        if name is None:
            symbol = self._symbols.at(address)
            name = self._names[address] = f"{symbol}{KERNEL if address >= KERNEL_HALF else ''}" if symbol else f"{address:#x}"
        return name

    def _user_names(self, frames: list[int], placed: list[Placed]) -> list[str]:
        names: list[str] = []
        for i, address in enumerate(frames):
            where = next((one for one in placed if one.start <= address < one.end), None)
            if where is None:
                # Not code: without frame pointers s0 is any number.  A pc is always shown.
                if i == 0:
                    names.append(f"{address:#x}" if placed else "[unknown]")
                    continue
                break
            symbol = where.program.symbols.containing(address - where.offset - (i > 0))
            names.append(symbol.name if symbol else f"[{where.program.name.rsplit('/', 1)[-1]}]")
        return names

    def _placed(self, record: Record, satp: int) -> list[Placed]:
        # Another page table under the same pid: it has called execve.
        key = (record.tgid, satp & _SATP_PPN)
        if key not in self._programs:
            self._programs[key] = []
            try:
                task = self._linux.task(record.pid)
                if task.satp & _SATP_PPN == key[1]:
                    self._programs[key] = self._linux.programs(task)
            except HartwellError:
                pass  # it has ended already
        return self._programs[key]

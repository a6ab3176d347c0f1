"""`machine.trace`, under the names that people and scripts use.

    calls = machine.trace.syscalls(names=["openat", "execve"])
    await machine.run("ls /")
    calls.stop(); print(calls.text())

    events = machine.trace.events("syscalls", "interrupts", "switches")
    ...
    Path("boot.json").write_text(events.chrome())      # opens in ui.perfetto.dev
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

from hartwell.errors import BadAddress, BadConfiguration, HartwellError, NotSupported
from hartwell.linux import Linux
from hartwell.linux.kernel import Kernel
from hartwell.platform import Core
from hartwell.trace import names as words
from hartwell.trace.export import chrome
from hartwell.trace.recorder import Recorder, Wish, mask_of
from hartwell.trace.records import CALL, CLAIM, INTERRUPT, NOTIFY, RETURN, SWITCH, TICKS, TRAP, Record
from hartwell.trace.syscalls import Syscall, begun, returned
from hartwell.trace.table import by_name, calls

KINDS = ("syscalls", "traps", "interrupts", "switches", "devices")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 20.0  # between two looks for a kernel that is not there yet
MOST = 200_000  # events that a session keeps; the oldest go first
_CLONES = {"clone", "clone3"}
_EXECS = {"execve", "execveat"}


@dataclass(frozen=True)
class Event:
    """Something that happened on a hart.

    kind: trap, interrupt, switch, notify, claim.  time: seconds of the guest's
    clock.  number: exception code, interrupt, virtio slot, PLIC source; for a
    switch 0.  pc: where it happened, 0 where that is not known.
    """

    kind: str
    time: float
    hart: int
    pid: int
    tgid: int
    comm: str
    number: int
    name: str
    pc: int = 0
    detail: int = 0

    def __str__(self) -> str:
        who = f" [{self.pid} {self.comm}]" if self.comm else ""
        return f"{self.time:.6f} hart {self.hart}{who} {self.kind} {self.name}{f' at {self.pc:#x}' if self.pc else ''}"


class Session:
    """What is noted from now until stop(), or the end of a `with` block."""

    def __init__(self, trace: Trace, kinds: Iterable[str], pid: int | None, only: list[int] | None, follow: bool) -> None:
        self._trace, self._follow = trace, follow
        self._pids = None if pid is None else {pid}
        self._open: dict[int, _Call] = {}
        self._done: deque[Syscall | Event | _Call] = deque(maxlen=MOST)
        self._count = self._shown = self._cleared = 0
        self._lost_before, self._lost = trace.lost, 0
        self._calls = "syscalls" in kinds
        # Who follows needs to see how processes are made, wanted or not.
        also = {by_name()[name].number for name in _CLONES} if follow else set()
        wanted = {n: call.mask for n, call in calls().items() if only is None or n in only or n in also}
        chosen = wanted if self._calls else {}
        self._only = None if only is None else set(only)
        self._kinds = set(kinds)
        self._wish: Wish | None = trace.recorder.listen(
            self._heard, mask=mask_of(kinds), calls=chosen, tgid=pid or 0 if not follow and trace.is_process(pid) else 0)

    @property
    def running(self) -> bool:
        return self._wish is not None

    def stop(self) -> Session:
        """Nothing further is noted; what was stays.  Gives the session back."""
        if self._wish:
            wish, self._wish = self._wish, None
            self._trace.recorder.leave(wish)
            self._lost = self._trace.lost - self._lost_before
        return self

    def clear(self) -> None:
        """Forgets what was noted so far."""
        self._drain()
        self._done.clear()
        self._shown = self._cleared = self._count
        self._lost_before, self._lost = self._trace.lost, 0

    def new(self, most: int = 1000) -> list[Syscall | Event]:
        """What came since the last call of new(), the last `most` of it."""
        self._drain()
        count = min(self._count - self._shown, most, len(self._done))
        self._shown = self._count
        return [_decoded(one) for one in itertools.islice(self._done, len(self._done) - count, None)]

    @property
    def calls(self) -> list[Syscall]:
        """System calls that have returned (or never will), in order of return."""
        return [event for event in self if isinstance(event, Syscall)]

    @property
    def open(self) -> list[Syscall]:
        """System calls that have not returned yet."""
        self._drain()
        return [call.decoded() for call in self._open.values()]

    def is_of(self, trace: Trace) -> bool:
        """Is this a session of that machine's trace, and not of another one's before it?"""
        return self._trace is trace

    @property
    def lost(self) -> int:
        """Records that full rings had no room for since it began, or since clear(): of all that the machine noted then."""
        self._drain()
        return self._trace.lost - self._lost_before if self.running else self._lost

    @property
    def forgotten(self) -> int:
        """Events that went because a session keeps the last MOST of them."""
        self._drain()
        return self._count - self._cleared - len(self._done)

    @property
    def missing(self) -> str:
        """What is not here, in words; "" when all is."""
        words = []
        if lost := self.lost:
            words.append(f"{lost:,} lost, the machine was faster than Python")
        if forgotten := self.forgotten:
            words.append(f"the {forgotten:,} oldest forgotten")
        return "; ".join(words)

    def text(self) -> str:
        """A line for each, and a last one about what is missing."""
        lines = [str(event) for event in self]
        if missing := self.missing:
            lines.append(f"# events: {missing}")
        return "\n".join(lines)

    def chrome(self) -> str:
        """As JSON in the trace event format, which ui.perfetto.dev and chrome://tracing open."""
        return chrome(list(self), self.open, {"lost": self.lost, "forgotten": self.forgotten})

    def __iter__(self) -> Iterator[Syscall | Event]:
        self._drain()
        found = [_decoded(one) for one in self._done]
        self._done = deque(found, MOST)
        return iter(found)

    def __len__(self) -> int:
        self._drain()
        return len(self._done)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        words = [f"{len(self)} events", self.missing, "running" if self.running else ""]
        return f"<trace of {', '.join(sorted(self._kinds))}: {', '.join(filter(None, words))}>"

    # --- inside ---------------------------------------------------------------

    def _add(self, event: Event | _Call) -> None:
        self._done.append(event)
        self._count += 1

    def _drain(self) -> None:
        if self.running:
            self._trace.recorder.drain()

    def _wanted(self, record: Record) -> bool:
        return self._pids is None or record.pid in self._pids or record.tgid in self._pids

    def _heard(self, found: list[Record]) -> None:
        for record in found:
            if record.kind == CALL:
                self._began(record)
            elif record.kind == RETURN:
                self._returned(record)
            elif self._wanted(record) and (event := self._trace.event(record, self._kinds)):
                self._add(event)

    def _began(self, record: Record) -> None:
        if not self._calls or not self._wanted(record):
            return
        call = _Call(record, self._trace.comm(record))
        known = calls().get(record.number)
        if known and not known.returns:
            self._finished(call)
        else:
            self._open[record.task] = call

    def _finished(self, call: _Call) -> None:
        if self._only is None or call.begin.number in self._only:
            self._add(call)

    def _returned(self, record: Record) -> None:
        call = self._open.pop(record.task, None)
        if call is None or call.begin.number != record.number:
            return
        call.end = record
        self._finished(call)
        known = calls().get(record.number)
        result = record.word(0)
        if known is None or result >> 63:
            return
        if known.name in _EXECS:
            self._trace.forget(record.task)
        if self._follow and self._pids is not None and known.name in _CLONES and result:
            self._pids.add(result)


class _Call:
    """A call as its records: put into words when somebody looks, which takes longer than it did."""

    __slots__ = ("begin", "comm", "end")

    def __init__(self, begin: Record, comm: str) -> None:
        self.begin, self.comm = begin, comm
        self.end: Record | None = None

    def decoded(self) -> Syscall:
        call = begun(self.begin, self.comm)
        return returned(call, self.end) if self.end else call


def _decoded(one: Syscall | Event | _Call) -> Syscall | Event:
    return one.decoded() if isinstance(one, _Call) else one


class Trace:
    """What harts do, noted while somebody asks for it; nothing costs anything otherwise."""

    def __init__(self, core: Core, linux: Linux) -> None:
        self.recorder = Recorder(core, self._follow)
        self._linux = linux
        self._kernel: Kernel | None = None  # whose conventions the core was told
        self._search, self._pause = 0.0, 0.0
        self._names: dict[int, tuple[int, str]] = {}

    def syscalls(self, pid: int | None = None, names: Iterable[str] | str | None = None, *, follow: bool = False) -> Session:
        """Notes system calls from now on, decoded as strace does.

        pid: of one process or thread only; with follow=True also of the
        processes it makes.  names: only these calls ("openat", "read").
        What a call's pointers lead to is what was mapped when it was made: a
        page that was never touched shows as an address.  Raises
        BadConfiguration for a name that is no system call.
        """
        only = None
        if names is not None:
            asked = [names] if isinstance(names, str) else list(names)
            if unknown := [name for name in asked if name not in by_name()]:
                raise BadConfiguration(f"names: {unknown[0]!r} is no system call of riscv64 Linux 6.12")
            only = [by_name()[name].number for name in asked]
        self.prepare()
        return Session(self, ["syscalls"], pid, only, follow)

    def events(self, *kinds: str, pid: int | None = None) -> Session:
        """Notes these kinds of events from now on; all kinds when none is named.

        syscalls; traps (exceptions but system calls); interrupts; switches of
        tasks, as they are seen at traps, returns and waits; devices: virtqueue
        notifications by drivers and interrupts claimed from the PLIC.
        """
        if unknown := set(kinds) - set(KINDS):
            raise BadConfiguration(f"{sorted(unknown)[0]!r} is no kind of event; there are {', '.join(KINDS)}")
        self.prepare()
        return Session(self, kinds or KINDS, pid, None, False)

    @property
    def lost(self) -> int:
        """Records lost to full rings since the machine was made."""
        return self.recorder.lost

    # --- for sessions -----------------------------------------------------------

    def is_process(self, pid: int | None) -> bool:
        """Is this the pid of a process (and not of a further thread)?"""
        try:
            return pid is not None and self._linux.task(pid).tgid == pid
        except HartwellError:
            return False  # it is filtered here then, and not in the core

    def comm(self, record: Record) -> str:
        """The name of a record's task, as it is now; "" where no Linux is known."""
        if not record.task:
            return ""
        pid, name = self._names.get(record.task, (-1, ""))
        if pid != record.pid:
            name = self._read_name(record)
            self._names[record.task] = (record.pid, name)
        return name

    def forget(self, task: int) -> None:
        """A task has another program now, and so another name."""
        self._names.pop(task, None)

    def event(self, record: Record, kinds: set[str]) -> Event | None:
        """The event that a record tells of; None when it is not of these kinds."""
        number, pc, detail = record.number, 0, 0
        if record.kind == TRAP and "traps" in kinds:
            kind, name, pc, detail = "trap", words.EXCEPTIONS.get(number, f"cause {number}"), record.word(0), record.word(1)
        elif record.kind == INTERRUPT and "interrupts" in kinds:
            kind, name, pc = "interrupt", words.INTERRUPTS.get(number, f"number {number}"), record.word(0)
        elif record.kind == SWITCH and "switches" in kinds:
            kind, name = "switch", f"to {self.comm(record) or hex(record.task)}"
        elif record.kind == NOTIFY and "devices" in kinds:
            kind, detail = "notify", record.word(0)
            name = f"virtio {number} queue {detail}"
        elif record.kind == CLAIM and "devices" in kinds and number:
            kind, name = "claim", f"irq {number}"
        else:
            return None
        return Event(kind, record.time / TICKS, record.hart, record.pid, record.tgid, self.comm(record), number, name, pc, detail)

    # --- inside ---------------------------------------------------------------

    def _read_name(self, record: Record) -> str:
        try:
            kernel = self._linux.kernel
            layout = kernel.struct("task_struct")
            # A task that has ended may be another one by now, or none.
            if kernel.space.u32(record.task + layout.offset("pid")) != record.pid:
                return ""
            return kernel.space.text(record.task + layout.offset("comm"), layout["comm"].size)
        except (BadAddress, NotSupported):
            return ""

    def prepare(self) -> None:
        """Tells the core where this Linux keeps things; without Linux, that it has none."""
        self._kernel = None
        try:
            kernel = self._linux.kernel
            entry = kernel.kallsyms.named("handle_exception")[0]
            self.recorder.conventions(kernel.offset("task_struct", "pid"), (entry.address, entry.address + entry.size))
            self._kernel = kernel
        except (NotSupported, BadAddress, IndexError):
            self.recorder.conventions(0, (0, 0))

    def _follow(self) -> None:
        """Whoever listens from the first instruction on meets a kernel later, after a
        reset perhaps another one.  A search takes a moment: each waits longer."""
        if self._kernel and self._kernel.current:
            return
        now = time.monotonic()
        if self._kernel:
            self._pause = 0.0
        elif now < self._search:
            return
        self.prepare()
        self._pause = min(2 * self._pause + FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._search = time.monotonic() + self._pause

"""`machine.linux` and `machine.symbols`, under the names that people and scripts use.

    for task in machine.linux.tasks():
        print(task.pid, task.comm, task.state)
    print(*machine.linux.backtrace(1), sep="\\n")
    machine.symbols.find("do_sys_openat2")
    machine.symbols.name(machine.harts[0].pc)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from hartwell.errors import BadAddress, BadElf, HartwellError
from hartwell.harts import Hart
from hartwell.linux.backtrace import KERNEL_HALF, Frame, Registers, walk_kernel, walk_program
from hartwell.linux.files import PageCache
from hartwell.linux.kernel import Kernel
from hartwell.linux.tasks import Mapping, Task
from hartwell.memory import Memory
from hartwell.symbols.frames import Rule
from hartwell.symbols.modules import module_symbols, settled
from hartwell.symbols.program import Program
from hartwell.symbols.table import Symbol, SymbolTable, describe

QUIET_SECONDS = 20.0


class NoSuchTask(HartwellError):
    """The guest has no task of that pid (any more)."""


@dataclass(frozen=True)
class Placed:
    """A program or library in a process: its symbols are `offset` above where they were linked."""

    program: Program
    offset: int
    start: int
    end: int


class Linux:
    """Tasks, their memory and their stacks.

    Every question reads the guest's memory anew; while it runs an answer may
    mix two moments, so pause for one that fits together.  Raises NotSupported
    where no Linux is found or it was built without BTF.
    """

    def __init__(self, memory: Memory, harts: Sequence[Hart]) -> None:
        self._memory, self._harts = memory, harts
        self._kernel: Kernel | None = None
        self._cache: PageCache | None = None
        self._programs: dict[tuple[int, int], Program | None] = {}
        self._modules: tuple[int, SymbolTable] | None = None
        self._quiet_until = 0.0

    @property
    def kernel(self) -> Kernel:
        """The kernel in memory.  NotSupported when there is none (yet)."""
        if self._kernel is None or not self._kernel.current:
            self._kernel = Kernel(self._memory, self._harts)
            self._cache = None
            self._programs.clear()
            self._modules = None
        return self._kernel

    def there(self) -> bool:
        """Is there a Linux?  One that was not found is not searched for again at
        once, since that takes a moment: for those who ask again and again."""
        if self._kernel is None and time.monotonic() < self._quiet_until:
            return False
        try:
            return bool(self.kernel)
        except HartwellError:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            return False

    # --- tasks -------------------------------------------------------------------

    def tasks(self, threads: bool = True) -> list[Task]:
        """All tasks: kernel threads, processes and (unless threads=False) their further threads."""
        kernel = self.kernel
        found: list[Task] = []
        for leader in kernel.list(kernel.address("init_task") + kernel.offset("task_struct", "tasks"), "task_struct", "tasks"):
            signal = kernel.field(leader, "task_struct", "signal")
            if threads and signal:
                head = signal + kernel.offset("signal_struct", "thread_head")
                found += [Task(kernel, thread) for thread in kernel.list(head, "task_struct", "thread_node")]
            else:
                found.append(Task(kernel, leader))
        return found

    def task(self, pid: int) -> Task:
        """The task of a pid.  NoSuchTask when there is none."""
        for task in self.tasks():
            if task.pid == pid:
                return task
        raise NoSuchTask(f"there is no task {pid}; machine.linux.tasks() lists those that are")

    def current(self, hart: int = 0) -> Task | None:
        """The task that a hart runs now (pid 0 when it is idle); None before the kernel has one.

        In U mode Linux keeps it in sscratch, in S mode in tp.
        """
        one = self._harts[hart]
        address = one.csr["sscratch"] if one.privilege == "U" else one.x[4]
        if not address >= KERNEL_HALF:
            return None
        try:
            return Task(self.kernel, address)
        except BadAddress:
            return None

    # --- stacks ------------------------------------------------------------------

    def backtrace(self, task: Task | int) -> list[Frame]:
        """Kernel frames, then the program's; [] for a task that runs on a hart
        which does not stand still.  See hartwell.linux.backtrace for `sure`."""
        one = self.task(task) if isinstance(task, int) else task
        for hart in range(len(self._harts)):
            current = self.current(hart)
            if current is not None and current.address == one.address and one.running:
                return self.hart_backtrace(hart)
        if one.running or not one.stack:
            return []
        return self._from_kernel(one, Registers(one.saved("ra"), 0, one.saved("sp"), one.saved("s0")))

    def hart_backtrace(self, hart: int = 0) -> list[Frame]:
        """The stack of what a hart runs: as it stands in a pause, about so while it runs."""
        one, task = self._harts[hart], self.current(hart)
        start = Registers(one.pc, one.x[1], one.x[2], one.x[8])
        if one.pc >= KERNEL_HALF:
            return self._from_kernel(task, start)
        return self._from_user(task, start) if task else [Frame(one.pc, f"{one.pc:#x}", True)]

    def _from_kernel(self, task: Task | None, start: Registers) -> list[Frame]:
        frames: list[Frame] = []
        for address, interrupted in walk_kernel(self.kernel, start):
            # A call that never returns may be its function's last instruction.
            back = 1 if frames else 0
            frames.append(Frame(address, describe(self.symbol(address - back), address), False))
            if interrupted and interrupted.pc < KERNEL_HALF and task and task.mm:
                frames += self._from_user(task, interrupted)
        return frames

    def _from_user(self, task: Task, start: Registers) -> list[Frame]:
        placed = self.programs(task)
        code = [(mapping.start, mapping.end) for mapping in task.maps() if "x" in mapping.permissions]

        def is_code(address: int) -> bool:
            return any(low <= address < high for low, high in code)

        def rule(address: int) -> Rule | None:
            one = next((one for one in placed if one.start <= address < one.end), None)
            return one.program.frames.rule(address - one.offset) if one else None

        return [
            Frame(address, _name_in(placed, address), True, sure, line_in(placed, address - bool(number)))
            for number, (address, sure) in enumerate(walk_program(task.memory.space.read, start, is_code, rule))
        ]

    # --- symbols of the kernel -----------------------------------------------------

    @property
    def modules(self) -> SymbolTable:
        """Symbols of the kernel modules that are loaded now."""
        kernel = self.kernel
        newest = kernel.u64(kernel.address("modules"))
        if self._modules is None or self._modules[0] != newest:
            keep = settled(kernel)  # asked first: what settles while it is read was read before
            found = module_symbols(kernel)
            if not keep or kernel.u64(kernel.address("modules")) != newest:
                return found  # to be looked for again
            self._modules = (newest, found)
        return self._modules[1]

    def symbol(self, address: int) -> Symbol | None:
        """The kernel's or a module's symbol that an address is in."""
        found = self.kernel.kallsyms.containing(address)
        if found is None or address - found.address >= max(found.size, 1):
            found = self.modules.containing(address) or found
        return found

    # --- programs ----------------------------------------------------------------

    def programs(self, task: Task) -> list[Placed]:
        """The ELF files that a task has mapped to run, as far as they are in the guest's page cache."""
        found = []
        for mapping in task.maps():
            if "x" not in mapping.permissions or not mapping.file:
                continue
            program = self._program(task, mapping)
            linked = program.linked_at(mapping.offset) if program else None
            if program and linked is not None:
                found.append(Placed(program, mapping.start - linked, mapping.start, mapping.end))
        return found

    def _program(self, task: Task, mapping: Mapping) -> Program | None:
        kernel = self.kernel
        # A file that is replaced gets another inode, or at least another size.
        number = kernel.field(mapping.file, "file", "f_inode")
        inode = (number, kernel.field(number, "inode", "i_size"))
        if inode not in self._programs:
            self._cache = self._cache or PageCache(kernel)
            data, have = self._cache.read(mapping.file) if self._cache.learn(task, mapping) else (b"", 0)
            try:
                self._programs[inode] = Program(data, mapping.name) if have else None
            except BadElf:
                self._programs[inode] = None
        return self._programs[inode]

    def name(self, address: int, task: Task | None = None) -> str:
        """symbol+offset of a kernel address, or of one in a task's programs; in hex where nothing is known."""
        if address >= KERNEL_HALF:
            return describe(self.symbol(address), address)
        return _name_in(self.programs(task), address) if task else f"{address:#x}"


def line_in(placed: list[Placed], address: int) -> str | None:
    """`file.c:12` of an address, None where there is no DWARF."""
    for one in placed:
        if one.start <= address < one.end and (place := one.program.line(address - one.offset)):
            return f"{place[0]}:{place[1]}"
    return None


def _name_in(placed: list[Placed], address: int) -> str:
    for one in placed:
        if one.start <= address < one.end:
            symbol = one.program.symbols.containing(address - one.offset)
            if symbol:
                return describe(symbol, address - one.offset)
            return f"{one.program.name.rsplit('/', 1)[-1]}+{address - one.offset:#x}"
    return f"{address:#x}"

"""Tasks of the guest's kernel: struct task_struct, read from outside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from hartwell.errors import BadAddress
from hartwell.linux.kernel import Kernel
from hartwell.linux.maple import maple_entries
from hartwell.linux.space import AddressSpace

# include/linux/sched.h: task_struct.__state, and exit_state above it.
_STATES = [(0x1, "S"), (0x2, "D"), (0x4, "T"), (0x8, "t"), (0x10, "X"), (0x20, "Z"), (0x40, "P")]
_NOLOAD, _UNINTERRUPTIBLE = 0x400, 0x2
_KTHREAD = 0x00200000  # PF_KTHREAD
_VM_READ, _VM_WRITE, _VM_EXEC, _VM_SHARED = 1, 2, 4, 8
_VM_GROWSDOWN = 0x100
_LONGEST_PATH = 64  # names


@dataclass(frozen=True)
class Mapping:
    """A range of a process's addresses, as a line of /proc/PID/maps."""

    start: int
    end: int
    permissions: str
    offset: int
    name: str
    file: int = 0  # its struct file, 0: anonymous

    def __str__(self) -> str:
        return f"{self.start:08x}-{self.end:08x} {self.permissions} {self.offset:08x} {self.name}".rstrip()


class TaskMemory:
    """A task's virtual memory: what its program sees, and the kernel."""

    def __init__(self, space: AddressSpace) -> None:
        self.space = space

    def read(self, address: int, count: int) -> bytes:
        """`count` bytes.  BadAddress where a page was never touched or is swapped out."""
        return self.space.read(address, count)

    def text(self, address: int, longest: int = 4096) -> str:
        """The characters up to a zero."""
        return self.space.text(address, longest)

    def write(self, address: int, data: bytes) -> None:
        """Writes where all pages are mapped.  A page that the kernel holds as
        shared or read-only is written all the same, for everyone who has it."""
        parts, done = list(self.space._parts(address, len(data))), 0
        for place, size in parts:
            self.space.memory.write(place, data[done : done + size])
            done += size


class Task:
    """One thread; a process is named by its first, whose pid is the tgid.

    A task's fields are as they were when it was listed; maps and memory are
    read when asked for.  For a moment that fits together, pause the machine.
    """

    def __init__(self, kernel: Kernel, address: int) -> None:
        layout = kernel.struct("task_struct")
        data = kernel.space.read(address, layout.size)

        def number(name: str) -> int:
            member = layout[name]
            return int.from_bytes(data[member.offset : member.offset + member.size], "little")

        self._kernel = kernel
        self.address = address
        self.pid, self.tgid = number("pid"), number("tgid")
        at = layout.offset("comm")
        self.comm = data[at : at + layout["comm"].size].split(b"\0")[0].decode(errors="replace")
        self.flags, self.mm, self.stack = number("flags"), number("mm"), number("stack")
        self.running = bool(number("on_cpu"))
        self._parent = number("real_parent")
        thread = layout["thread"]
        self._thread = data[thread.offset : thread.offset + thread.size]
        self.state = _state(number("__state"), number("exit_state"))
        info = layout["thread_info"].offset + kernel.struct("thread_info").offset("cpu")
        self.cpu = int.from_bytes(data[info : info + 4], "little")

    @property
    def kernel_thread(self) -> bool:
        """Has it no user memory of its own?"""
        return bool(self.flags & _KTHREAD)

    @cached_property
    def parent(self) -> int:
        """The pid of the parent process; 0 for the first."""
        return self._kernel.field(self._parent, "task_struct", "tgid") if self._parent and self.pid else 0

    @cached_property
    def satp(self) -> int:
        """What satp holds while this task runs, but for the ASID: its page table.
        A kernel thread has the kernel's.  `debugger.break_at(..., space=task.satp)`
        stops this process only."""
        if not self.mm:
            return self._kernel.space.satp
        table = self._kernel.space.translate(self._kernel.field(self.mm, "mm_struct", "pgd"))
        if table is None:
            raise BadAddress(f"task {self.pid} has no page table any more")
        return self._kernel.satp_mode | table >> 12

    @property
    def memory(self) -> TaskMemory:
        """Its virtual memory, `task.memory.read(address, count)`."""
        return TaskMemory(AddressSpace(self._kernel.memory, self.satp))

    def maps(self) -> list[Mapping]:
        """What /proc/PID/maps shows: its VMAs, in order of address."""
        if not self.mm:
            return []
        tree = self.mm + self._kernel.offset("mm_struct", "mm_mt")
        return [self._mapping(vma) for _, _, vma in maple_entries(self._kernel, tree)]

    @property
    def arguments(self) -> list[str]:
        """The command line, as far as its pages are mapped; [] for a kernel thread."""
        if not self.mm:
            return []
        start, end = (self._kernel.field(self.mm, "mm_struct", name) for name in ("arg_start", "arg_end"))
        try:
            data = self.memory.read(start, min(end - start, 1 << 16))
        except BadAddress:
            return []
        return [part.decode(errors="replace") for part in data.split(b"\0")[:-1]]

    def saved(self, name: str) -> int:
        """ra, sp or s0 as the context switch saved them; meaningless while it runs."""
        layout = self._kernel.struct("thread_struct")
        at = layout.offset("s") if name == "s0" else layout.offset(name)
        return int.from_bytes(self._thread[at : at + 8], "little")

    def __repr__(self) -> str:
        return f"<task {self.pid} {self.comm} {self.state}{f' on cpu {self.cpu}' if self.running else ''}>"

    def _mapping(self, vma: int) -> Mapping:
        kernel, layout = self._kernel, self._kernel.struct("vm_area_struct")
        data = kernel.space.read(vma, layout.size)

        def number(name: str) -> int:
            member = layout[name]
            return int.from_bytes(data[member.offset : member.offset + member.size], "little")

        start, end, flags, file = number("vm_start"), number("vm_end"), number("vm_flags"), number("vm_file")
        permissions = "".join(
            letter if flags & bit else "-" for letter, bit in (("r", _VM_READ), ("w", _VM_WRITE), ("x", _VM_EXEC))
        ) + ("s" if flags & _VM_SHARED else "p")
        offset = number("vm_pgoff") << 12 if file else 0
        return Mapping(start, end, permissions, offset, file_path(kernel, file) if file else self._name(start, end, number), file)

    def _name(self, start: int, end: int, number: object) -> str:
        """The bracketed names of what has no file (fs/proc/task_mmu.c)."""
        kernel, mm = self._kernel, self.mm
        brk, start_brk, stack = (kernel.field(mm, "mm_struct", name) for name in ("brk", "start_brk", "start_stack"))
        vdso = kernel.u64(mm + kernel.offset("mm_struct", "context.vdso"))
        if start <= brk and end >= start_brk:
            return "[heap]"
        if start <= stack <= end:
            return "[stack]"
        if start == vdso:
            return "[vdso]"
        return "[vvar]" if end == vdso else ""


def _state(state: int, exit_state: int) -> str:
    """The letter that ps shows."""
    both = state | exit_state
    if state & _UNINTERRUPTIBLE and state & _NOLOAD:
        return "I"
    return next((letter for bit, letter in _STATES if both & bit), "R")


def file_path(kernel: Kernel, file: int) -> str:
    """The path of a struct file, through the mounts it is below."""
    path = file + kernel.offset("file", "f_path")
    dentry = kernel.u64(path + kernel.offset("path", "dentry"))
    mount = kernel.u64(path + kernel.offset("path", "mnt")) - kernel.offset("mount", "mnt")
    names: list[str] = []
    for _ in range(_LONGEST_PATH):
        parent = kernel.field(dentry, "dentry", "d_parent")
        root = kernel.u64(mount + kernel.offset("mount", "mnt") + kernel.offset("vfsmount", "mnt_root"))
        if dentry in (root, parent):
            above = kernel.field(mount, "mount", "mnt_parent")
            if above == mount:
                break
            dentry, mount = kernel.field(mount, "mount", "mnt_mountpoint"), above
            continue
        names.append(kernel.space.text(kernel.u64(dentry + kernel.offset("dentry", "d_name.name")), 256))
        dentry = parent
    return "/" + "/".join(reversed(names))

"""The kernel that a guest runs: its symbols, its types, its memory.

All three are found in the guest's RAM: the tables of /proc/kallsyms
(CONFIG_KALLSYMS_ALL) and the BTF that bpf programs are checked against
(CONFIG_DEBUG_INFO_BTF).  Debian's kernels have both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hartwell.errors import BadAddress, NotSupported
from hartwell.harts import Hart
from hartwell.layout import RAM_BASE
from hartwell.linux.space import AddressSpace
from hartwell.memory import Memory
from hartwell.symbols.btf import Btf, Structure
from hartwell.symbols.kallsyms import Kallsyms, find

_LONGEST_LIST = 100_000
_IMAGE_BYTES = 96 << 20  # a kernel lies at the beginning of RAM; tables further up are a file's


class Kernel:
    """Linux, once it has set up its page tables."""

    def __init__(self, memory: Memory, harts: Sequence[Hart]) -> None:
        self.memory = memory
        found = find(memory.read, RAM_BASE, min(memory.size, _IMAGE_BYTES))
        if found is None:
            raise NotSupported(
                "no Linux kernel's symbol table is in this guest's memory: no Linux runs, or one without CONFIG_KALLSYMS"
            )
        self.kallsyms: Kallsyms = found
        self._addresses: dict[str, int] = {}  # both are asked for again and again
        self._offsets: dict[tuple[str, str], int] = {}
        satp = next((value for hart in harts if (value := hart.csr["satp"]) >> 60), 0)
        if not satp:
            raise NotSupported("the kernel has not turned its page tables on yet; try again when it has started")
        self.space = AddressSpace(memory, satp)
        # User halves come and go; the kernel's own table stays.
        table = self.space.translate(self.address("swapper_pg_dir"))
        if table is None:
            raise NotSupported("the symbols in memory don't belong to the kernel that runs now; try again when it has started")
        self.satp_mode = satp & ~((1 << 60) - 1)
        self.space = AddressSpace(memory, self.satp_mode | table >> 12)
        self._btf: Btf | None = None
        self._mark = self.space.read(self.address("linux_banner"), 64)

    @property
    def banner(self) -> str:
        """What uname -a is made of."""
        return self.space.text(self.address("linux_banner"))

    @property
    def current(self) -> bool:
        """Is this still the kernel in memory?  (A machine may be reset.)"""
        try:
            return self.space.read(self.address("linux_banner"), 64) == self._mark
        except BadAddress:
            return False

    @property
    def btf(self) -> Btf:
        """The kernel's types.  NotSupported where it was built without them."""
        if self._btf is None:
            bounds = [symbol.address for name in ("__start_BTF", "__stop_BTF") for symbol in self.kallsyms.named(name)]
            if len(bounds) != 2:
                raise NotSupported("this kernel was built without CONFIG_DEBUG_INFO_BTF, so its structures are not known")
            self._btf = Btf(self.space.read(bounds[0], bounds[1] - bounds[0]))
        return self._btf

    def address(self, name: str) -> int:
        """Where a symbol is.  NotSupported when this kernel has none of that name."""
        if name not in self._addresses:
            found = self.kallsyms.named(name)
            if not found:
                raise NotSupported(f"this kernel has no symbol {name} (CONFIG_KALLSYMS_ALL is needed for data)")
            self._addresses[name] = found[0].address
        return self._addresses[name]

    def struct(self, name: str) -> Structure:
        return self.btf.struct(name)

    def offset(self, structure: str, path: str) -> int:
        """Where a member begins, in bytes; `path` goes through embedded structures ("f_path.dentry")."""
        if (structure, path) not in self._offsets:
            first, *rest = path.split(".")
            member = self.struct(structure)[first]
            offset = member.offset
            for name in rest:
                member = self.btf.structure_of(member)[name]
                offset += member.offset
            self._offsets[structure, path] = offset
        return self._offsets[structure, path]

    def u64(self, address: int) -> int:
        return self.space.u64(address)

    def field(self, address: int, structure: str, path: str) -> int:
        """A member that is a number or a pointer, unsigned."""
        size = 8
        if "." not in path:
            size = self.struct(structure)[path].size
        return int.from_bytes(self.space.read(address + self.offset(structure, path), size), "little")

    def list(self, head: int, structure: str, member: str) -> Iterator[int]:
        """The structures on a list_head, by address; `head` itself is not one of them."""
        offset = self.offset(structure, member)
        at = self.u64(head)
        for _ in range(_LONGEST_LIST):
            if at == head:
                return
            yield at - offset
            at = self.u64(at)
        raise BadAddress(f"the list at {head:#x} does not come back to its head")

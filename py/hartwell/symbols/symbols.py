"""`machine.symbols`, under the names that people and scripts use."""

from __future__ import annotations

from hartwell.errors import BadAddress, HartwellError, NotSupported
from hartwell.linux.backtrace import KERNEL_HALF
from hartwell.linux.linux import Linux
from hartwell.linux.tasks import Task
from hartwell.symbols.program import Program
from hartwell.symbols.table import Symbol, describe


class Symbols:
    """Names of the guest's kernel and programs.

    The kernel's come from its own memory, programs' from the page cache, and
    further ones from ELF files that are added.
    """

    def __init__(self, linux: Linux) -> None:
        self._linux = linux
        self._added: list[tuple[Program, int]] = []

    def add(self, elf: bytes, name: str = "program", base: int = 0) -> None:
        """Adds an ELF file: a vmlinux with DWARF, a program, firmware.

        base: what is added to its addresses (a position-independent one's load
        address).  It comes before what is in the guest.  BadElf for what is none.
        """
        self._added.insert(0, (Program(elf, name), base))

    def find(self, name: str, task: Task | None = None) -> int | None:
        """The address of a symbol, None where nothing has that name.

        With a task its programs are asked first, then what was added, the
        kernel, and its modules.  An exported symbol comes before a local one.
        """
        found = self.all(name, task)
        return found[0].address if found else None

    def all(self, name: str, task: Task | None = None) -> list[Symbol]:
        """All symbols of one name, where `find` takes the first."""
        found: list[Symbol] = []
        if task is not None:
            for placed in self._linux.programs(task):
                found += _moved(placed.program.symbols.named(name), placed.offset)
        for program, base in self._added:
            found += _moved(program.symbols.named(name), base)
        try:
            kernel = self._linux.kernel.kallsyms.named(name)
            found += sorted(kernel, key=lambda symbol: symbol.kind.islower())
            found += self._linux.modules.named(name)
        except (NotSupported, BadAddress):
            pass  # no Linux, or none yet
        return found

    def search(self, pattern: str) -> list[Symbol]:
        """Kernel and module symbols, and added ones, that fit a shell pattern ("*_openat*")."""
        found: list[Symbol] = []
        for program, base in self._added:
            found += _moved(program.symbols.matching(pattern), base)
        try:
            return found + self._linux.kernel.kallsyms.matching(pattern) + self._linux.modules.matching(pattern)
        except (NotSupported, BadAddress):
            return found

    def at(self, address: int, task: Task | None = None) -> Symbol | None:
        """The symbol whose code or data an address is in."""
        for program, base in self._added:
            if found := program.symbols.containing(address - base):
                return _moved([found], base)[0]
        if address < KERNEL_HALF:
            for placed in self._linux.programs(task) if task else ():
                if placed.start <= address < placed.end and (found := placed.program.symbols.containing(address - placed.offset)):
                    return _moved([found], placed.offset)[0]
            return None
        try:
            return self._linux.symbol(address)
        except (NotSupported, BadAddress):
            return None

    def name(self, address: int, task: Task | None = None) -> str:
        """`symbol+0x1c`, with the module or program in brackets; hex where nothing is known."""
        return describe(self.at(address, task), address)

    def line(self, address: int, task: Task | None = None) -> str | None:
        """`file.c:12` by DWARF: of an added file, or of a task's program that was
        built with -g; None where there is none.  Debian's kernel has none in it."""
        candidates = list(self._added)
        if task is not None and address < KERNEL_HALF:
            candidates += [
                (placed.program, placed.offset) for placed in self._linux.programs(task) if placed.start <= address < placed.end
            ]
        for program, base in candidates:
            if place := program.line(address - base):
                return f"{place[0]}:{place[1]}"
        return None

    def __repr__(self) -> str:
        try:
            return f"<symbols: {len(self._linux.kernel.kallsyms)} of the kernel, {len(self._linux.modules)} of its modules>"
        except HartwellError as error:
            return f"<symbols: {error}>"


def _moved(symbols: list[Symbol], base: int) -> list[Symbol]:
    return [Symbol(one.name, one.address + base, one.size, one.kind, one.module) for one in symbols]

"""`machine.symbols`, under the names that people and scripts use."""

from __future__ import annotations

import re
from contextlib import suppress

from hartwell.errors import BadAddress, HartwellError, NotSupported
from hartwell.linux.backtrace import KERNEL_HALF
from hartwell.linux.linux import Linux
from hartwell.linux.tasks import Task
from hartwell.symbols.frames import Rule
from hartwell.symbols.program import Program
from hartwell.symbols.table import Symbol, describe

_LINE = re.compile(r"([^:]*\.[^:]+|[^:]*/[^:]*):([1-9]\d{0,8})")  # file.c:12


class Symbols:
    """Names of the guest's kernel and programs.

    The kernel's come from its own memory, programs' from the page cache, and
    further ones from ELF files that are added.
    """

    def __init__(self, linux: Linux) -> None:
        self._linux = linux
        self._added: list[tuple[Program, int]] = []
        self._sources: dict[str, list[str]] = {}

    def add(self, elf: bytes, name: str = "program", base: int = 0) -> None:
        """Adds an ELF file: a vmlinux with DWARF, a program, firmware.

        base: what is added to its addresses (a position-independent one's load
        address).  It comes before what is in the guest.  BadElf for what is none.
        """
        self._added.insert(0, (Program(elf, name), base))

    def find(self, name: str, task: Task | None = None) -> int | None:
        """The address of a symbol, or where the code of a line begins
        ("file.c:12"); None where nothing has that name.

        With a task its programs are asked first, then what was added, the
        kernel, and its modules.  An exported symbol comes before a local one.
        """
        if match := _LINE.fullmatch(name):
            places = self.places(match[1], int(match[2]), task)
            return places[0] if places else None
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
        for program, base in self._programs(task, address):
            if found := program.symbols.containing(address - base):
                return _moved([found], base)[0]
        if address < KERNEL_HALF or not self._linux.there():
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
        for program, base in self._programs(task, address):
            if place := program.line(address - base):
                return f"{place[0]}:{place[1]}"
        return None

    def places(self, file: str, line: int, task: Task | None = None) -> list[int]:
        """Addresses where the code of a line begins, or of the next line that has
        any; several where it was inlined or a loop comes back to it."""
        for program, offset in self._programs(task):
            if found := program.lines.places(file, line):
                return [address + offset for address in found]
        return []

    def rule(self, address: int) -> Rule | None:
        """How to find who called the code at an address, by an added file."""
        return next((found for program, base in self._added if (found := program.frames.rule(address - base))), None)

    # --- sources -------------------------------------------------------------------

    def add_source(self, text: str, name: str) -> None:
        """Gives a source file's text, which DWARF only names, to show lines from.
        name: `file.c`, or a path whose end is as the compiler was given it.  The
        newest that fits is shown."""
        self._sources = {name: text.splitlines(), **{other: lines for other, lines in self._sources.items() if other != name}}

    def source(self, address: int, task: Task | None = None, around: int = 4) -> list[tuple[int, str]]:
        """(number, text) of the lines around the one that an address comes from;
        [] where DWARF or the text is missing."""
        path, line = self.place(address, task)
        for name, lines in self._sources.items():
            if path and (("/" + path).endswith("/" + name.lstrip("/")) or ("/" + name).endswith("/" + path)):
                first = max(1, line - around)
                return list(enumerate(lines[first - 1 : line + around], first))
        return []

    def place(self, address: int, task: Task | None = None) -> tuple[str, int]:
        """(path as the compiler was given it, line) of an address; ("", 0) without DWARF."""
        for program, offset in self._programs(task, address):
            if place := program.line(address - offset):
                return program.lines.path(address - offset), place[1]
        return "", 0

    def _programs(self, task: Task | None, address: int | None = None) -> list[tuple[Program, int]]:
        """What may have DWARF, and how far it was moved: of a task, and what was added."""
        found = list(self._added)
        if task is not None and (address is None or address < KERNEL_HALF):
            with suppress(BadAddress, NotSupported):  # a guest that runs: its maps may not fit together just now
                found += [
                    (placed.program, placed.offset) for placed in self._linux.programs(task)
                    if address is None or placed.start <= address < placed.end
                ]
        return found

    def __repr__(self) -> str:
        try:
            return f"<symbols: {len(self._linux.kernel.kallsyms)} of the kernel, {len(self._linux.modules)} of its modules>"
        except HartwellError as error:
            return f"<symbols: {error}>"


def _moved(symbols: list[Symbol], base: int) -> list[Symbol]:
    return [Symbol(one.name, one.address + base, one.size, one.kind, one.module) for one in symbols]

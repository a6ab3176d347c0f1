"""Source lines by DWARF's line programs (DWARF 5, 6.2), read with pyelftools.

A vmlinux has thousands of units, so only those that are asked for are read:
by .debug_aranges for an address, by a unit's name for a line.
"""

from __future__ import annotations

import io
import posixpath
import struct
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any

# What pyelftools raises for damaged files, beside its own two.
_DAMAGED = (KeyError, ValueError, IndexError, AssertionError, AttributeError, TypeError, OverflowError, struct.error)
_FEW = 64  # units: so many are read at once where no table says which one has an address


class Lines:
    """Addresses as linked, and the lines that they come from."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._units: dict[int, _Unit] = {}

    def at(self, address: int) -> tuple[str, int] | None:
        """(file's name, line) of an address; None where DWARF says nothing."""
        for unit in self._units_with(address):
            if place := unit.at(address):
                return posixpath.basename(place[0]), place[1]
        return None

    def path(self, address: int) -> str:
        """The file's name as the compiler was given it, with its folder; "" where nothing is known."""
        for unit in self._units_with(address):
            if place := unit.at(address):
                return place[0]
        return ""

    def places(self, file: str, line: int) -> list[int]:
        """Where the code of a line begins, lowest first: its own, or that of the
        next line below that has any.  file: a name, or the end of a path."""
        named = [unit for unit in self._every() if posixpath.basename(unit.name) == posixpath.basename(file)]
        for units in (named, self._every()):  # a header's code is in the units that include it
            starts = [start for unit in units for start in unit.starts(file) if start[0] >= line]
            if starts:
                nearest = min(found for found, _ in starts)
                return sorted({address for found, address in starts if found == nearest})
        return []

    @cached_property
    def _dwarf(self) -> Any:
        from elftools.common.exceptions import DWARFError, ELFError
        from elftools.elf.elffile import ELFFile

        try:
            elf = ELFFile(io.BytesIO(self._data))
            return elf.get_dwarf_info(follow_links=False) if elf.has_dwarf_info() else None
        except (ELFError, DWARFError, *_DAMAGED):
            return None

    @cached_property
    def _ranges(self) -> Any:
        from elftools.common.exceptions import DWARFError, ELFError

        try:
            return self._dwarf.get_aranges()
        except (ELFError, DWARFError, *_DAMAGED):
            return None

    @cached_property
    def _all(self) -> list[_Unit]:
        from elftools.common.exceptions import DWARFError, ELFError

        found: list[_Unit] = []
        try:
            for unit in self._dwarf.iter_CUs() if self._dwarf else ():
                found.append(self._units.setdefault(unit.cu_offset, _Unit(unit)))
        except (ELFError, DWARFError, *_DAMAGED):
            pass  # what was read up to there is kept
        return found

    def _every(self) -> list[_Unit]:
        return self._all

    def _units_with(self, address: int) -> list[_Unit]:
        from elftools.common.exceptions import DWARFError, ELFError

        if not self._dwarf:
            return []
        try:
            offset = self._ranges.cu_offset_at_addr(address) if self._ranges else None
            if offset is not None:
                if offset not in self._units:
                    self._units[offset] = _Unit(self._dwarf.get_CU_at(offset))
                return [self._units[offset]]
        except (ELFError, DWARFError, *_DAMAGED):
            return []
        # clang writes no .debug_aranges; gcc, and so each kernel of a distribution, does.
        return self._all if len(self._all) <= _FEW or not self._ranges else []


class _Unit:
    """One compilation unit's line program."""

    def __init__(self, unit: Any) -> None:
        self._unit = unit

    @cached_property
    def name(self) -> str:
        """Of its source, "" where that can't be read."""
        from elftools.common.exceptions import DWARFError, ELFError

        try:
            value = self._unit.get_top_DIE().attributes["DW_AT_name"].value
            return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        except (ELFError, DWARFError, *_DAMAGED):
            return ""

    @cached_property
    def _rows(self) -> list[tuple[int, tuple[str, int, bool] | None]]:
        from elftools.common.exceptions import DWARFError, ELFError

        rows: list[tuple[int, tuple[str, int, bool] | None]] = []
        try:
            rows.extend(_rows(self._unit.dwarfinfo.line_program_for_CU(self._unit)))
        except (ELFError, DWARFError, *_DAMAGED):
            pass  # what was read up to there is kept
        rows.sort(key=lambda row: (row[0], row[1] is not None))
        return rows

    @cached_property
    def _addresses(self) -> list[int]:
        return [address for address, _ in self._rows]

    def at(self, address: int) -> tuple[str, int] | None:
        index = bisect_right(self._addresses, address) - 1
        place = self._rows[index][1] if index >= 0 else None
        return place[:2] if place else None

    def starts(self, file: str) -> Iterator[tuple[int, int]]:
        """(line, address) where a run of code of a line of this file begins."""
        wanted, before = "/" + file.lstrip("/"), None
        for address, place in self._rows:
            if place and place[2] and ("/" + place[0]).endswith(wanted) and (before is None or before[:2] != place[:2]):
                yield place[1], address
            before = place


def _rows(program: Any) -> Iterator[tuple[int, tuple[str, int, bool] | None]]:
    """(address, (path, line, may a statement begin here) or None where code ends)."""
    if program is None:
        return
    header = program.header
    first = 0 if header["version"] >= 5 else 1
    names = [_path(header, entry, first) for entry in header["file_entry"]]
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if state.end_sequence:
            yield state.address, None
        elif state.line:  # line 0: code of no line (DWARF 5, 6.2.2)
            index = state.file - first
            yield state.address, (names[index] if 0 <= index < len(names) else "?", state.line, bool(state.is_stmt))


def _path(header: Any, entry: Any, first: int) -> str:
    folders = header["include_directory"]
    index = entry.dir_index - first
    folder = folders[index] if 0 <= index < len(folders) else b""
    name, folder = (part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in (entry.name, folder))
    return posixpath.normpath(posixpath.join(folder, name))

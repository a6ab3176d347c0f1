"""Source lines by DWARF's line programs (DWARF 5, 6.2), read with pyelftools.

A vmlinux has thousands of units, so only those that are asked for are read: by
.debug_aranges, or the ranges that a unit itself tells, for an address, and by a
unit's name for a line.  Files come from a guest: what pyelftools can't read, with
whatever error, is not there.
"""

from __future__ import annotations

import io
import posixpath
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any


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
        named = [unit for unit in self._all if posixpath.basename(unit.name) == posixpath.basename(file)]
        for units in (named, self._all):  # a header's code is in the units that include it
            starts = [start for unit in units for start in unit.starts(file) if start[0] >= line]
            if starts:
                nearest = min(found for found, _ in starts)
                return sorted({address for found, address in starts if found == nearest})
        return []

    @cached_property
    def _dwarf(self) -> Any:
        from elftools.elf.elffile import ELFFile

        with suppress(Exception):
            elf = ELFFile(io.BytesIO(self._data))
            return elf.get_dwarf_info(follow_links=False) if elf.has_dwarf_info() else None
        return None

    @cached_property
    def _ranges(self) -> Any:
        with suppress(Exception):
            return self._dwarf.get_aranges()
        return None

    @cached_property
    def _all(self) -> list[_Unit]:
        found: list[_Unit] = []
        with suppress(Exception):  # what was read up to there is kept
            for unit in self._dwarf.iter_CUs() if self._dwarf else ():
                found.append(self._units.setdefault(unit.cu_offset, _Unit(unit)))
        return found

    def _units_with(self, address: int) -> list[_Unit]:
        if not self._dwarf:
            return []
        with suppress(Exception):
            offset = self._ranges.cu_offset_at_addr(address) if self._ranges else None
            if offset is not None:
                if offset not in self._units:
                    self._units[offset] = _Unit(self._dwarf.get_CU_at(offset))
                return [self._units[offset]]
        # gcc, and so each kernel of a distribution, writes .debug_aranges; clang does not.
        return [unit for unit in self._all if unit.covers(address)]


class _Unit:
    """One compilation unit's line program."""

    def __init__(self, unit: Any) -> None:
        self._unit = unit

    @cached_property
    def name(self) -> str:
        """Of its source, "" where that can't be read."""
        return self._text("DW_AT_name")

    def _text(self, attribute: str) -> str:
        with suppress(Exception):
            return _decoded(self._unit.get_top_DIE().attributes[attribute].value)
        return ""

    @cached_property
    def _spans(self) -> list[tuple[int, int]] | None:
        """Its code, [first, last); None where the unit does not tell (DWARF 5, 2.17)."""
        with suppress(Exception):
            told = self._unit.get_top_DIE().attributes
            if "DW_AT_ranges" in told:
                lists = self._unit.dwarfinfo.range_lists()
                entries = lists.get_range_list_at_offset(told["DW_AT_ranges"].value, self._unit)
                base = told["DW_AT_low_pc"].value if "DW_AT_low_pc" in told else 0
                found = []
                for entry in entries:
                    if hasattr(entry, "base_address"):
                        base = entry.base_address
                    else:
                        moved = 0 if getattr(entry, "is_absolute", False) else base
                        found.append((entry.begin_offset + moved, entry.end_offset + moved))
                return found
            low, high = told["DW_AT_low_pc"].value, told["DW_AT_high_pc"]
            return [(low, high.value if high.form == "DW_FORM_addr" else low + high.value)]
        return None

    def covers(self, address: int) -> bool:
        """May the unit have code at this address?"""
        return self._spans is None or any(low <= address < high for low, high in self._spans)

    @cached_property
    def _rows(self) -> list[tuple[int, tuple[str, int, bool] | None]]:
        rows: list[tuple[int, tuple[str, int, bool] | None]] = []
        with suppress(Exception):  # what was read up to there is kept
            rows.extend(_rows(self._unit.dwarfinfo.line_program_for_CU(self._unit), self._text("DW_AT_comp_dir")))
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


def _rows(program: Any, home: str) -> Iterator[tuple[int, tuple[str, int, bool] | None]]:
    """(address, (path, line, may a statement begin here) or None where code ends).
    home: where the compiler ran."""
    if program is None:
        return
    header = program.header
    first = 0 if header["version"] >= 5 else 1
    names = [_path(header, entry, first, home) for entry in header["file_entry"]]
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if state.end_sequence:
            yield state.address, None
        elif state.line:  # line 0: code of no line (DWARF 5, 6.2.2)
            index = state.file - first
            yield state.address, (names[index] if 0 <= index < len(names) else "?", state.line, bool(state.is_stmt))


def _path(header: Any, entry: Any, first: int, home: str) -> str:
    folders = header["include_directory"]
    index = entry.dir_index - first
    folder = folders[index] if 0 <= index < len(folders) else b""  # before DWARF 5, 0 is where the compiler ran
    return posixpath.normpath(posixpath.join(home, _decoded(folder), _decoded(entry.name)))


def _decoded(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

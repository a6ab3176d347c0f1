"""Who called: call frame information of .eh_frame and .debug_frame.

DWARF 5, 6.4; LSB Core 5, 10.6 (".eh_frame", ".eh_frame_hdr"); RISC-V psABI,
"DWARF register numbers": x0 to x31 are 0 to 31.

Programs carry these tables for exceptions, also those without -g and without
frame pointers.  They come from a guest, so whatever does not fit gives no rule.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property

RA, SP, S0 = 1, 2, 8
_LONGEST = 1 << 16  # bytes of one entry, and entries that are looked through
_MOST = 200_000
_EHDR, _PHDR = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")
_PT_LOAD, _PT_EH_FRAME = 1, 0x6474_E550


class _NoRule(Exception):
    """What is not understood, or does not fit together."""


@dataclass(frozen=True)
class Rule:
    """How to get from a frame to its caller's.

    cfa: (register, offset).  saved: where a register is, as an offset from the
    CFA; one that is not named has kept its value.  ends: nobody called.
    """

    cfa: tuple[int, int]
    saved: dict[int, int]
    ends: bool = False


class Frames:
    """The rules of one ELF file, by address as linked.

    debug_frame: that section's contents, where the file has one.
    """

    def __init__(self, data: bytes, debug_frame: bytes = b"") -> None:
        self._data, self._debug = data, debug_frame

    def rule(self, address: int) -> Rule | None:
        """Of the instruction at an address; None where nothing is known."""
        try:
            if (place := self._in_header(address)) is not None:
                return _Entry(self._data, place, self._moved(place), eh=True).rule(address)
        except (_NoRule, IndexError, struct.error):
            pass
        at = bisect_right(self._debug_index, (address, 1 << 64)) - 1
        if at < 0:
            return None
        try:
            return _Entry(self._debug, self._debug_index[at][1], 0, eh=False).rule(address)
        except (_NoRule, IndexError, struct.error):
            return None

    @cached_property
    def _headers(self) -> list[tuple[int, int, int, int]]:
        """(type, file offset, address, bytes) of each segment."""
        found = []
        header = _EHDR.unpack_from(self._data)
        for i in range(header[10]):
            at = header[5] + i * _PHDR.size
            if at + _PHDR.size > len(self._data):
                break
            kind, _, offset, address, _, size, _, _ = _PHDR.unpack_from(self._data, at)
            found.append((kind, offset, address, size))
        return found

    def _moved(self, offset: int) -> int:
        """What is to be added to a file offset for its address."""
        for kind, start, address, size in self._headers:
            if kind == _PT_LOAD and start <= offset < start + size:
                return address - start
        raise _NoRule("not in a segment")

    def _offset(self, address: int) -> int:
        for kind, start, begin, size in self._headers:
            if kind == _PT_LOAD and begin <= address < begin + size:
                return start + address - begin
        raise _NoRule("not in a segment")

    def _in_header(self, address: int) -> int | None:
        """The file offset of the FDE that .eh_frame_hdr's table has for an address."""
        for kind, offset, base, size in self._headers:
            # Version 1; the table as everybody writes it: pairs of sdata4, relative to the header (LSB, 10.6.2).
            if kind != _PT_EH_FRAME or size < 12 or self._data[offset] != 1 or self._data[offset + 3] != 0x3B:
                continue
            reader = _Reader(self._data, offset + 4, base - offset)
            reader.pointer(self._data[offset + 1])
            count = reader.pointer(self._data[offset + 2])
            table = reader.at
            low, high = 0, min(count, (offset + size - table) // 8)
            while low < high:
                middle = (low + high) // 2
                if base + struct.unpack_from("<i", self._data, table + 8 * middle)[0] <= address:
                    low = middle + 1
                else:
                    high = middle
            if low:
                return self._offset(base + struct.unpack_from("<i", self._data, table + 8 * low - 4)[0])
        return None

    @cached_property
    def _debug_index(self) -> list[tuple[int, int]]:
        """(address, place) of each FDE in .debug_frame, in order."""
        found: list[tuple[int, int]] = []
        at = 0
        try:
            while at + 4 <= len(self._debug) and len(found) < _MOST:
                size = struct.unpack_from("<I", self._debug, at)[0]
                if size == 0xFFFF_FFFF:  # 64-bit DWARF, which nobody writes for RISC-V
                    break
                if size >= 12 and struct.unpack_from("<I", self._debug, at + 4)[0] != 0xFFFF_FFFF:
                    found.append((struct.unpack_from("<Q", self._debug, at + 8)[0], at))
                at += 4 + size
        except struct.error:
            pass
        return sorted(found)


class _Reader:
    """Numbers from a place on.  moved: what makes a place an address."""

    def __init__(self, data: bytes, at: int, moved: int) -> None:
        self.data, self.at, self._moved = data, at, moved

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def leb(self, signed: bool = False) -> int:
        value, shift = 0, 0
        while shift < 70:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value - (1 << shift) if signed and byte & 0x40 else value
        raise _NoRule("a LEB128 number without end")

    def pointer(self, encoding: int) -> int:
        """DW_EH_PE_*: LSB 10.5."""
        place = self.at + self._moved
        forms = {0x00: "Q", 0x02: "H", 0x03: "I", 0x04: "Q", 0x0A: "h", 0x0B: "i", 0x0C: "q"}
        if encoding & 0x0F in (0x01, 0x09):
            value = self.leb(encoding & 0x08 != 0)
        elif encoding & 0x0F in forms:
            value = self.take(forms[encoding & 0x0F])
        else:
            raise _NoRule(f"pointer encoding {encoding:#x}")
        if encoding & 0x70 == 0x10:  # pcrel
            value += place
        elif encoding & 0x70:
            raise _NoRule(f"pointer encoding {encoding:#x}")
        return value & (1 << 64) - 1


@dataclass
class _State:
    cfa: tuple[int, int] | None = None
    saved: dict[int, int] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)  # "undefined"

    def copy(self) -> _State:
        return _State(self.cfa, dict(self.saved), set(self.gone))


class _Entry:
    """An FDE with its CIE."""

    def __init__(self, data: bytes, at: int, moved: int, eh: bool) -> None:
        self._data, self._moved = data, moved
        reader, self._end = self._open(at)
        place = reader.at
        back = reader.take("I")
        self._read_cie(place - back if eh else back, eh)
        self.start = reader.pointer(self._encoding) if eh else reader.take("Q")
        self._size = reader.pointer(self._encoding & 0x0F) if eh else reader.take("Q")
        if self._augmented:
            reader.at += reader.leb()
        self._program = reader.at

    def _open(self, at: int) -> tuple[_Reader, int]:
        if not 0 <= at <= len(self._data) - 8:
            raise _NoRule("an entry outside of its section")
        reader = _Reader(self._data, at, self._moved)
        size = reader.take("I")
        if not 8 <= size <= _LONGEST:
            raise _NoRule(f"an entry of {size} bytes")
        return reader, min(reader.at + size, len(self._data))

    def _read_cie(self, at: int, eh: bool) -> None:
        reader, self._cie_end = self._open(at)
        if reader.take("I") != (0 if eh else 0xFFFF_FFFF):
            raise _NoRule("that is no CIE")
        version = reader.take("B")
        end = self._data.index(b"\0", reader.at, self._cie_end)
        augmentation, reader.at = self._data[reader.at : end].decode("latin-1"), end + 1
        if not eh and version >= 4:
            reader.at += 2  # address and segment selector sizes
        self._code, self._align = reader.leb(), reader.leb(signed=True)
        if (reader.take("B") if version == 1 else reader.leb()) != RA:
            raise _NoRule("the return address is not in ra")
        self._encoding, self._augmented = 0, augmentation[:1] == "z"
        if self._augmented:
            length = reader.leb()
            after = reader.at + length
            for letter in augmentation[1:]:
                if letter == "R":
                    self._encoding = reader.take("B")
                elif letter == "L":
                    reader.at += 1
                elif letter == "P":
                    reader.pointer(reader.take("B") & 0x0F)  # not followed
                else:
                    raise _NoRule(f"augmentation {augmentation!r}")  # "S": a signal's frame, which has no plain rule
            reader.at = after
        elif augmentation:
            raise _NoRule(f"augmentation {augmentation!r}")
        self._cie_program = reader.at

    def rule(self, address: int) -> Rule | None:
        """None for an address that the entry is not about."""
        if not self.start <= address < self.start + self._size:
            return None
        state = _State()
        self._run(state, None, self._cie_program, self._cie_end, None)
        self._run(state, state.copy(), self._program, self._end, address)
        if state.cfa is None:
            raise _NoRule("no CFA")
        return Rule(state.cfa, state.saved, RA in state.gone)

    def _run(self, state: _State, initial: _State | None, at: int, end: int, address: int | None) -> None:
        """Executes instructions up to the row that an address is in (6.4.2)."""
        reader, place, stack = _Reader(self._data, at, self._moved), self.start, list[_State]()
        while reader.at < end:
            op = reader.take("B")
            high, low = op & 0xC0, op & 0x3F
            if high == 0x40 or op in (0x02, 0x03, 0x04, 0x01):  # advance_loc
                if op == 0x01:
                    place = reader.pointer(self._encoding)
                else:
                    place += (low if high else reader.take({2: "B", 3: "H", 4: "I"}[op])) * self._code
                if address is not None and place > address:
                    return
            elif high == 0x80:
                self._saved(state, low, reader.leb() * self._align)
            elif high == 0xC0 or op == 0x06:  # restore
                register = low if high else reader.leb()
                state.gone.discard(register)
                state.saved.pop(register, None)
                if initial and register in initial.saved:
                    state.saved[register] = initial.saved[register]
            elif op in (0x05, 0x11):  # offset_extended, with a signed offset
                register = reader.leb()
                self._saved(state, register, reader.leb(op == 0x11) * self._align)
            elif op in (0x07, 0x08):  # undefined, same_value
                register = reader.leb()
                state.saved.pop(register, None)
                (state.gone.add if op == 0x07 else state.gone.discard)(register)
            elif op == 0x0A:
                stack.append(state.copy())
            elif op == 0x0B:
                if not stack:
                    raise _NoRule("restore_state without remember_state")
                older = stack.pop()
                state.cfa, state.saved, state.gone = older.cfa, older.saved, older.gone
            elif op in (0x0C, 0x12):  # def_cfa, with a signed offset
                register = reader.leb()
                state.cfa = register, reader.leb(True) * self._align if op == 0x12 else reader.leb()
            elif op in (0x0D, 0x0E, 0x13):  # def_cfa_register, def_cfa_offset, the same signed
                if state.cfa is None:
                    raise _NoRule("a change of no CFA")
                if op == 0x0D:
                    state.cfa = reader.leb(), state.cfa[1]
                else:
                    state.cfa = state.cfa[0], reader.leb(True) * self._align if op == 0x13 else reader.leb()
            elif op == 0x2E:  # GNU_args_size
                reader.leb()
            elif op != 0x00:
                raise _NoRule(f"instruction {op:#x}")  # expressions, and what is younger than this

    def _saved(self, state: _State, register: int, offset: int) -> None:
        state.gone.discard(register)
        state.saved[register] = offset

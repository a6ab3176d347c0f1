"""BPF Type Format: the types that a Linux kernel was compiled with, in its own
memory.  Linux Documentation/bpf/btf.rst.

A kernel has a hundred thousand of them and a debugger needs twenty, so the
file is only indexed (one pass over the types' headers), and a structure is
decoded when it is asked for.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass

from hartwell.errors import HartwellError

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
(INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT,
 DECL_TAG, TYPE_TAG, ENUM64) = range(1, 20)
# Bytes after the 12 of every type: some always, some per entry (btf_type.info's vlen).
_FIXED = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
_EACH = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}
_TRANSPARENT = {TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG}


class BadBtf(HartwellError):
    """These bytes are no BTF, or are damaged; or a type that is asked for is not in them."""


@dataclass(frozen=True)
class Member:
    """One member of a structure.  offset, size: bytes; bits: of a bit field, else 0."""

    name: str
    offset: int
    size: int
    type: int
    bits: int = 0


class Structure:
    """A struct or union: members by name, those of anonymous members among them."""

    def __init__(self, name: str, size: int, members: dict[str, Member]) -> None:
        self.name, self.size, self.members = name, size, members

    def __getitem__(self, name: str) -> Member:
        try:
            return self.members[name]
        except KeyError:
            raise BadBtf(f"struct {self.name} of this kernel has no member {name!r}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def offset(self, name: str) -> int:
        """Where a member begins, in bytes."""
        return self[name].offset


class Btf:
    """One blob of BTF.  `base`: of the kernel, where this one is a module's."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER.size:
            raise BadBtf(f"{len(data)} bytes are too few for a BTF header")
        magic, version, _, header, types_at, types, strings_at, strings = _HEADER.unpack_from(data)
        if magic != MAGIC or version != 1:
            raise BadBtf(f"the header says magic {magic:#x}, version {version}; expected {MAGIC:#x}, 1")
        if header < _HEADER.size or header + max(types_at + types, strings_at + strings) > len(data):
            raise BadBtf(f"its sections reach past the {len(data)} bytes that there are")
        self._types = data[header + types_at : header + types_at + types]
        self._strings = data[header + strings_at : header + strings_at + strings]
        self._at = _index(self._types)
        self._known: dict[str, Structure] = {}

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, name: str) -> bool:
        return self._find(name, (STRUCT, UNION)) is not None

    def struct(self, name: str) -> Structure:
        """A struct or union by its tag.  BadBtf when there is none."""
        known = self._known.get(name)
        if known is None:
            number = self._find(name, (STRUCT, UNION))
            if number is None:
                raise BadBtf(f"this kernel's types have no struct {name}")
            known = self._known[name] = self._structure(number, name)
        return known

    def structure_of(self, member: Member) -> Structure:
        """The structure that a member is, or an array of which it is, or that it points to."""
        number = member.type
        for _ in range(32):
            _, kind, _, third = self._header(number)
            if kind in (STRUCT, UNION):
                return self._structure(number, self._string(self._header(number)[0]))
            if kind == ARRAY:
                number = self._word(number, 0)
            elif kind == PTR or kind in _TRANSPARENT:
                number = third
            else:
                break
        raise BadBtf(f"member {member.name} is no structure")

    def length(self, member: Member) -> int:
        """Elements of a member that is an array; 1 for any other."""
        number = member.type
        while self._header(number)[1] in _TRANSPARENT:
            number = self._header(number)[3]
        return self._word(number, 2) if self._header(number)[1] == ARRAY else 1

    def enum(self, name: str) -> dict[str, int]:
        """Names and values of an enum.  BadBtf when there is none."""
        number = self._find(name, (ENUM, ENUM64))
        if number is None:
            raise BadBtf(f"this kernel's types have no enum {name}")
        return self._values(number)

    def enumerator(self, name: str) -> int | None:
        """The value of one enumerator, whatever enum it is in; None if there is none."""
        wanted = self._name_offset(name)
        if wanted is None:
            return None
        for number in range(1, len(self._at) + 1):
            if self._header(number)[1] == ENUM and name in (values := self._values(number)):
                return values[name]
        return None

    # --- inside -------------------------------------------------------------------

    def _values(self, number: int) -> dict[str, int]:
        _, kind, count, _ = self._header(number)
        at, size, form = self._at[number - 1] + 12, _EACH[kind], "<Ii" if kind == ENUM else "<IQ"
        entries = (struct.unpack_from(form, self._types, at + size * i) for i in range(count & 0xFFFF))
        return {self._string(name): value for name, value in entries}

    def _structure(self, number: int, name: str) -> Structure:
        members: dict[str, Member] = {}
        self._collect(number, 0, members, 0)
        return Structure(name, self._header(number)[3], members)

    def _collect(self, number: int, base: int, members: dict[str, Member], depth: int) -> None:
        if depth > 16:
            raise BadBtf(f"type {number} is nested in itself")
        _, _, info, _ = self._header(number)
        at, flagged = self._at[number - 1] + 12, info >> 31
        for i in range(info & 0xFFFF):
            name_at, kind, where = _TYPE.unpack_from(self._types, at + 12 * i)
            bits, place = (where >> 24, where & 0xFFFFFF) if flagged else (0, where)
            name, offset = self._string(name_at), base + place // 8
            if name:
                members.setdefault(name, Member(name, offset, self._size(kind), kind, bits))
            elif self._header(kind)[1] in (STRUCT, UNION):
                self._collect(kind, offset, members, depth + 1)

    def _size(self, number: int) -> int:
        count = 1
        for _ in range(32):
            if number == 0:
                return 0
            _, kind, _, third = self._header(number)
            if kind in (INT, STRUCT, UNION, ENUM, ENUM64, FLOAT):
                return count * third
            if kind == PTR:
                return count * 8
            if kind == ARRAY:
                count *= self._word(number, 2)
                number = self._word(number, 0)
            elif kind in _TRANSPARENT:
                number = third
            else:
                return 0
        raise BadBtf(f"type {number} leads to itself")

    def _header(self, number: int) -> tuple[int, int, int, int]:
        if not 1 <= number <= len(self._at):
            return 0, 0, 0, 0
        name, info, third = _TYPE.unpack_from(self._types, self._at[number - 1])
        return name, info >> 24 & 0x1F, info, third

    def _word(self, number: int, index: int) -> int:
        return int.from_bytes(self._types[self._at[number - 1] + 12 + 4 * index :][:4], "little")

    def _string(self, at: int) -> str:
        return self._strings[at : self._strings.find(b"\0", at)].decode("latin-1")

    def _name_offset(self, name: str) -> int | None:
        at = self._strings.find(b"\0" + name.encode() + b"\0")
        return None if at < 0 else at + 1

    def _find(self, name: str, kinds: tuple[int, ...]) -> int | None:
        """The number of a type: its name's offset is searched for, then the index says if it is a header."""
        wanted = self._name_offset(name)
        if wanted is None:
            return None
        key = wanted.to_bytes(4, "little")
        from bisect import bisect_left

        at = self._types.find(key)
        while at >= 0:
            index = bisect_left(self._at, at)
            if index < len(self._at) and self._at[index] == at and self._header(index + 1)[1] in kinds:
                return index + 1
            at = self._types.find(key, at + 1)
        return None


def _index(types: bytes) -> array[int]:
    """Where each type begins; type 1 is the first."""
    found, at, end = array("I"), 0, len(types)
    # Every header is a multiple of 4: as words, this loop is the one cost of a kernel's BTF.
    words = memoryview(types[: end & ~3]).cast("I")
    fixed = [_FIXED.get(kind, 0) // 4 + 3 for kind in range(32)]
    each = [_EACH.get(kind, 0) // 4 for kind in range(32)]
    count, append = len(words), found.append
    while at + 3 <= count:
        info = words[at + 1]
        kind = info >> 24 & 0x1F
        if not 1 <= kind <= ENUM64:
            raise BadBtf(f"type {len(found) + 1}, at {4 * at:#x}, is of kind {kind}; 1 to {ENUM64} are known")
        append(4 * at)
        at += fixed[kind] + each[kind] * (info & 0xFFFF)
    if 4 * at != end:
        raise BadBtf(f"the last type ends at {4 * at:#x}, the section at {end:#x}")
    return found

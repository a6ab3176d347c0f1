"""The symbol table that a running Linux kernel carries in its own memory.

Linux's scripts/kallsyms.c writes these tables, in this order since 6.5, each
aligned to 8 bytes:

    num_syms       u32
    names          per symbol: its length (a byte; with bit 7 set, 7 bits and 7
                   more), then that many tokens.  Token 0's first letter is the type
    markers        u32 for each 256th symbol: where it begins in names
    token_table    256 strings, each ended by a zero
    token_index    u16 for each token: where it begins in token_table
    offsets        u32 for each symbol, from relative_base; sorted
    relative_base  u64
    seqs_of_names  3 bytes (big endian) for each symbol: indexes in order of names

Nothing names them, but a token table can be told: digits are always tokens of
their own.  All else is found from there and must agree with it.  Symbols are
decoded when they are asked for: an address costs one bisection and one name,
a name seventeen names.
"""

from __future__ import annotations

import fnmatch
import re
import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator

from hartwell.symbols.table import Symbol

_DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
_GROUP = 256  # symbols per marker
_LONGEST = 512  # KSYM_NAME_LEN
_WINDOW = 8 << 20  # bytes of memory looked through at a time
_OVERLAP = 4096

Read = Callable[[int, int], bytes]


class Kallsyms:
    """The tables, decoded on demand.

    What is not a kernel's table is refused by `find`, so a damaged one is
    found while it is looked for, not while it is used.
    """

    def __init__(self, names: bytes, markers: array[int], tokens: list[bytes], offsets: array[int], base: int,
                 sequence: bytes) -> None:
        self._names, self._markers, self._tokens = names, markers, tokens
        self._offsets, self._base, self._sequence = offsets, base, sequence
        self._starts: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[Symbol]:
        """All symbols, in order of their addresses."""
        return map(self.at, range(len(self)))

    def at(self, index: int) -> Symbol:
        """The symbol of an index; its size reaches to the next address."""
        address = self._base + self._offsets[index]
        kind, name = self._decode(index)
        return Symbol(name, address, self._end(index) - address, kind, "")

    def containing(self, address: int) -> Symbol | None:
        """The symbol at or before an address, global ones and functions first."""
        offset = address - self._base
        if not self._offsets or not self._offsets[0] <= offset < self._end(len(self) - 1) - self._base:
            return None
        last = bisect_right(self._offsets, offset) - 1
        first = last
        while first and self._offsets[first - 1] == self._offsets[last]:
            first -= 1
        return min((self.at(index) for index in range(first, last + 1)), key=_rank)

    def plain(self) -> Iterator[tuple[str, str, int]]:
        """(letter, name, address) of all, several times quicker than as Symbols."""
        for index, offset in enumerate(self._offsets):
            kind, name = self._decode(index)
            yield kind, name, self._base + offset

    def named(self, name: str) -> list[Symbol]:
        """All symbols of that name, in order of their addresses."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._decode(self._ordered(middle))[1] < name:
                low = middle + 1
            else:
                high = middle
        found = []
        while low < len(self) and self._decode(index := self._ordered(low))[1] == name:
            found.append(self.at(index))
            low += 1
        return sorted(found, key=lambda symbol: symbol.address)

    def matching(self, pattern: str) -> list[Symbol]:
        """All whose name fits a shell pattern (`do_sys_*`).  Decodes the whole table."""
        fits = re.compile(fnmatch.translate(pattern)).match
        return [self.at(index) for index in range(len(self)) if fits(self._decode(index)[1])]

    # --- inside ---------------------------------------------------------------

    def _ordered(self, position: int) -> int:
        index = int.from_bytes(self._sequence[3 * position : 3 * position + 3], "big")
        return min(index, len(self) - 1)

    def _end(self, index: int) -> int:
        """The next greater address; a page more for the last."""
        after = bisect_right(self._offsets, self._offsets[index])
        return self._base + (self._offsets[after] if after < len(self) else self._offsets[index] + 4096)

    def _decode(self, index: int) -> tuple[str, str]:
        group = index // _GROUP
        starts = self._starts.get(group)
        if starts is None:
            starts = self._starts[group] = list(_walk(self._names, self._markers[group], _GROUP))
        at = starts[index % _GROUP]
        length, at = _length(self._names, at)
        text = b"".join([self._tokens[token] for token in self._names[at : at + length]]).decode("latin-1")
        return text[:1], text[1:]


def _rank(symbol: Symbol) -> tuple[bool, bool, bool]:
    return symbol.kind not in "tTwW", symbol.kind.islower(), symbol.name.startswith((".", "$", "__pi_"))


def find(read: Read, start: int, size: int) -> Kallsyms | None:
    """Looks through [start, start + size) of memory that `read(address, count)`
    gives; None when there is no kernel's table in it."""
    at = start
    while at < start + size:
        count = min(_WINDOW + _OVERLAP, start + size - at)
        window = read(at, count)
        position = window.find(_DIGITS)
        while position >= 0:
            if found := _from_digits(read, at + position, start, start + size):
                return found
            position = window.find(_DIGITS, position + 1)
        at += _WINDOW
    return None


def _from_digits(read: Read, digits: int, low: int, high: int) -> Kallsyms | None:
    """The tables around the tokens "0" to "9" at `digits`, if that is what they are."""
    before = read(max(low, digits - 2048), digits - max(low, digits - 2048))
    after = read(digits, min(8192, high - digits))
    # 48 tokens stand before "0": the table begins after the 49th zero from here, aligned.
    at = len(before)
    for _ in range(ord("0")):
        at = before.rfind(b"\0", 0, at - 1) + 1 if at else 0
    table = -(-(digits - len(before) + at) // 8) * 8
    for start in (table, table - 8):
        text = before[start - (digits - len(before)) :] + after if start >= digits - len(before) else b""
        tokens, index_at = _tokens(text)
        if not tokens:
            continue
        index = start + -(-index_at // 8) * 8
        expected, position = [], 0
        for token in tokens:
            expected.append(position)
            position += len(token) + 1
        if index + 512 > high or list(struct.unpack("<256H", read(index, 512))) != expected:
            continue
        return _tables(read, start, index + 512, tokens, low, high)
    return None


def _tokens(text: bytes) -> tuple[list[bytes], int]:
    tokens, at = [], 0
    for _ in range(256):
        end = text.find(b"\0", at)
        if end < 0 or end - at > 64:
            return [], 0
        tokens.append(text[at:end])
        at = end + 1
    return tokens, at


def _tables(read: Read, table: int, offsets_at: int, tokens: list[bytes], low: int, high: int) -> Kallsyms | None:
    markers, markers_at = _markers(read, table, low)
    if markers is None:
        return None
    names_end = markers_at
    longest = markers[-1] + _GROUP * _LONGEST + 16
    lowest = max(low, (names_end - longest) & ~7)
    region = read(lowest, names_end - lowest)
    # num_syms stands 8 bytes before names, whose last group begins at markers[-1].
    for at in range((len(region) - markers[-1] - 8) & ~7, -1, -8):
        count = int.from_bytes(region[at : at + 4], "little")
        if -(-count // _GROUP) != len(markers) or region[at + 4 : at + 8] != bytes(4):
            continue
        names = region[at + 8 :]
        if not _agrees(names, markers, count):
            continue
        sizes = -(-4 * count // 8) * 8
        if offsets_at + sizes + 8 + 3 * count > high:
            return None
        offsets = array("I", read(offsets_at, 4 * count))
        base = int.from_bytes(read(offsets_at + sizes, 8), "little")
        if list(offsets[:_GROUP]) != sorted(offsets[:_GROUP]):
            return None
        return Kallsyms(names, markers, tokens, offsets, base, read(offsets_at + sizes + 8, 3 * count))
    return None


def _markers(read: Read, table: int, low: int) -> tuple[array[int] | None, int]:
    """The rising numbers that end before the token table; (None, 0) if there are none."""
    start = max(low, table - (1 << 16))
    words = array("I", read(start, (table - start) & ~3))
    last = len(words) - 1
    if last > 0 and words[last] == 0:
        last -= 1  # alignment
    first = last
    while first > 0 and words[first - 1] < words[first]:
        first -= 1
    if last - first < 1 or words[first] != 0:
        return None, 0
    return words[first : last + 1], start + 4 * first


def _agrees(names: bytes, markers: array[int], count: int) -> bool:
    """Do the lengths in `names` lead from marker to marker, and does the last group end in bounds?"""
    for group in range(len(markers)):
        starts = list(_walk(names, markers[group], min(_GROUP, count - _GROUP * group)))
        if len(starts) < min(_GROUP, count - _GROUP * group) or starts[-1] + 2 > len(names):
            return False
        length, at = _length(names, starts[-1])
        if at + length > len(names) or (group + 1 < len(markers) and at + length != markers[group + 1]):
            return False
    return True


def _walk(names: bytes, at: int, count: int) -> Iterator[int]:
    for _ in range(count):
        if at + 2 > len(names):
            return
        yield at
        length, at = _length(names, at)
        at += length


def _length(names: bytes, at: int) -> tuple[int, int]:
    length = names[at]
    if length & 0x80:
        return (length & 0x7F) | names[at + 1] << 7, at + 2
    return length, at + 1

"""Symbols, and a table of them by address and by name."""

from __future__ import annotations

import fnmatch
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Symbol:
    """A named address.

    size: bytes; 0 where it is not known.  kind: a letter as nm prints it.
    module: the kernel module or the file it comes from, "" for the kernel.
    """

    name: str
    address: int
    size: int = 0
    kind: str = "t"
    module: str = ""

    def __str__(self) -> str:
        return f"{self.name} [{self.module}]" if self.module else self.name


class SymbolTable:
    """A sorted list of symbols, for what is small enough to be decoded at once."""

    def __init__(self, symbols: Iterable[Symbol]) -> None:
        self._symbols = sorted(symbols, key=lambda symbol: (symbol.address, not symbol.kind.isupper()))
        self._addresses = [symbol.address for symbol in self._symbols]

    def __len__(self) -> int:
        return len(self._symbols)

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._symbols)

    def containing(self, address: int) -> Symbol | None:
        """The symbol whose bytes hold the address; one of no size reaches to the next."""
        at = bisect_right(self._addresses, address) - 1
        while at > 0 and self._addresses[at - 1] == self._addresses[at]:
            at -= 1
        while 0 <= at < len(self._symbols) and self._addresses[at] <= address:
            symbol = self._symbols[at]
            if not symbol.size or address < symbol.address + symbol.size:
                return symbol
            at += 1
        return None

    def named(self, name: str) -> list[Symbol]:
        """All symbols of that name."""
        return [symbol for symbol in self._symbols if symbol.name == name]

    def matching(self, pattern: str) -> list[Symbol]:
        """All whose name fits a shell pattern."""
        return [symbol for symbol in self._symbols if fnmatch.fnmatchcase(symbol.name, pattern)]


def describe(symbol: Symbol | None, address: int) -> str:
    """symbol+0x1c [module], or the address in hex where there is no symbol."""
    if symbol is None:
        return f"{address:#x}"
    offset = address - symbol.address
    text = f"{symbol.name}+{offset:#x}" if offset else symbol.name
    return f"{text} [{symbol.module}]" if symbol.module else text

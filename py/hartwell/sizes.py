"""Sizes as people write them: 512M, 1G, 65536."""

from __future__ import annotations

import re
from fractions import Fraction

from hartwell.errors import BadConfiguration

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str | int, what: str = "memory") -> int:
    """Bytes of "512M", "1.5G", "64k", "512MiB" or a number.

    Raises BadConfiguration for anything else.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    found = re.fullmatch(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*([KMG]?)(?:i?B)?\s*", str(text), re.IGNORECASE)
    if not found:
        raise BadConfiguration(f"{what}: {text!r} is not a size; write a number with K, M or G, such as 512M")
    return int(Fraction(found[1]) * _UNITS[found[2].upper()])


def show_size(count: int) -> str:
    """The other way: 536870912 is "512M"."""
    for unit in ("G", "M", "K"):
        if count and count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]}{unit}"
    return str(count)

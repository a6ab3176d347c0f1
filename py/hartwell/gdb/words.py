"""Small words of the protocol: numbers, threads, errors."""

from __future__ import annotations

BAD_PACKET, NO_MEMORY, BAD_VALUE, NO_ROOM = b"E01", b"E14", b"E22", b"E28"
_HEX = frozenset("0123456789abcdefABCDEF")


class BadPacket(Exception):
    """A packet that does not have the form its letter asks for."""


def number(text: str) -> int:
    """A hexadecimal number of at most 64 bits."""
    if not text or len(text) > 16 or not _HEX.issuperset(text):
        raise BadPacket(f"{text[:40]!r} is no hexadecimal number of 64 bits")
    return int(text, 16)


def raw(text: str) -> bytes:
    """Bytes written as pairs of hexadecimal digits."""
    if len(text) % 2 or not _HEX.issuperset(text):
        raise BadPacket(f"{text[:40]!r} are no pairs of hexadecimal digits")
    return bytes.fromhex(text)


def thread_number(text: str) -> int:
    """A thread's id: from 1 on, 0 for any, -1 for all."""
    return -1 if text == "-1" else number(text)


def pair(text: str) -> tuple[int, int]:
    """`address,length`."""
    first, comma, second = text.partition(",")
    if not comma:
        raise BadPacket(f"{text[:40]!r} is not address,length")
    return number(first), number(second)

"""Records as the core writes them (cpu/inspect/trace.c): a head of 32 bytes, then payload."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hartwell.layout import CONSTANTS, TRACE_SLOT_BYTES

_HEAD = struct.Struct("<HBBIIIQQ")
_PIECE = struct.Struct("<HHHHI")
_UNKNOWN = 0xFFFFFFFF
TICKS = 10_000_000  # mtime's per second

CALL, RETURN, TRAP, INTERRUPT, SWITCH, NOTIFY, CLAIM, SAMPLE = (
    CONSTANTS[f"TRACE_KIND_{name}"] for name in ("CALL", "RETURN", "TRAP", "INTERRUPT", "SWITCH", "NOTIFY", "CLAIM", "SAMPLE"))


class Record(NamedTuple):
    """One thing that happened on a hart.

    time: mtime, 10 MHz, which stands still in a pause.  pid, tgid, task: whose
    it was, 0 where no Linux is known.
    """

    kind: int
    hart: int
    pid: int
    tgid: int
    number: int
    time: int
    task: int
    payload: bytes

    def word(self, index: int) -> int:
        """A 64-bit word of the payload."""
        return int.from_bytes(self.payload[8 * index : 8 * index + 8], "little")


@dataclass(frozen=True, slots=True)
class Piece:
    """Memory that an argument of a system call points to, as it was then.

    there: how many bytes there were; None when the copy ends first and nobody knows.
    """

    argument: int
    kind: int
    data: bytes
    there: int | None


def records(ring: bytes) -> Iterator[Record]:
    """The records of a stretch of a ring.  Ends where something is no record."""
    at = 0
    while at + TRACE_SLOT_BYTES <= len(ring):
        kind, hart, slots, pid, tgid, number, time, task = _HEAD.unpack_from(ring, at)
        if not slots or at + slots * TRACE_SLOT_BYTES > len(ring):
            return
        payload = ring[at + TRACE_SLOT_BYTES : at + slots * TRACE_SLOT_BYTES]
        yield Record(kind, hart, pid, tgid, number, time, task, payload)
        at += slots * TRACE_SLOT_BYTES


def pieces(payload: bytes, at: int) -> Iterator[Piece]:
    """The pieces of memory that follow a call's words."""
    while at + _PIECE.size <= len(payload):
        argument, kind, have, _, there = _PIECE.unpack_from(payload, at)
        if not kind or at + _PIECE.size + have > len(payload):
            return
        at += _PIECE.size
        yield Piece(argument, kind, payload[at : at + have], None if there == _UNKNOWN else there)
        at += have + -have % 4

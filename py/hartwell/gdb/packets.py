"""Framing: `$data#checksum`, acknowledgements, escapes.  Remote Protocol, "Overview".

What arrives is hostile until checked: a packet that is too long, or whose
checksum is wrong, is answered with "-" and otherwise ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

PACKET_BYTES = 0x4000  # the longest packet that we take, as qSupported says
_ESCAPE, _ESCAPED = 0x7D, frozenset(b"#$}*")
_HEX = frozenset(b"0123456789abcdefABCDEF")


@dataclass(frozen=True)
class Packet:
    """A whole packet, unescaped."""

    data: bytes


class Interrupt:
    """The single byte 0x03: gdb wants the target to stop."""


class Damaged:
    """A packet whose checksum is wrong or that is too long."""


class Nack:
    """gdb did not get what we sent last."""


Event = Packet | Interrupt | Damaged | Nack


def checksum(data: bytes) -> int:
    """The sum of the bytes between $ and #, as they are sent."""
    return sum(data) & 0xFF


def encode(data: bytes, lead: bytes = b"$") -> bytes:
    """A packet (or with `%` a notification) as it goes over the wire."""
    body = escape(data)
    return lead + body + b"#%02x" % checksum(body)


def escape(data: bytes) -> bytes:
    """Puts } before the bytes that mean something in a packet."""
    if _ESCAPED.isdisjoint(data):
        return data
    return b"".join(bytes((_ESCAPE, byte ^ 0x20)) if byte in _ESCAPED else bytes((byte,)) for byte in data)


def unescape(data: bytes) -> bytes:
    """The opposite of `escape`; a } at the very end stands for itself."""
    if _ESCAPE not in data:
        return data
    out, at = bytearray(), 0
    while at < len(data):
        if data[at] == _ESCAPE and at + 1 < len(data):
            at += 1
            out.append(data[at] ^ 0x20)
        else:
            out.append(data[at])
        at += 1
    return bytes(out)


class Decoder:
    """Takes bytes as they come, gives events as they are complete."""

    def __init__(self) -> None:
        self._body: bytearray | None = None  # between $ and #
        self._sum: bytearray | None = None  # the digits after #
        self._long = False
        self.checked = True  # are checksums looked at? (not after QStartNoAckMode)

    def feed(self, data: bytes) -> Iterator[Event]:
        for byte in data:
            if self._sum is not None:
                self._sum.append(byte)
                if len(self._sum) == 2:
                    yield self._complete()
            elif self._body is not None:
                if byte == 0x23:  # '#'
                    self._sum = bytearray()
                elif byte == 0x24:  # '$' never stands in a packet: the one before was cut off
                    self._body, self._long = bytearray(), False
                elif len(self._body) < 2 * PACKET_BYTES:
                    self._body.append(byte)
                else:
                    self._long = True
            elif byte == 0x24:
                self._body, self._long = bytearray(), False
            elif byte == 0x03:
                yield Interrupt()
            elif byte == 0x2D:  # '-'
                yield Nack()
            # '+' and what is between packets: nothing to do

    def _complete(self) -> Event:
        body, digits = bytes(self._body or b""), bytes(self._sum or b"")
        self._body = self._sum = None
        right = all(digit in _HEX for digit in digits) and int(digits, 16) == checksum(body)
        if self._long or (self.checked and not right):
            return Damaged()
        return Packet(unescape(body))

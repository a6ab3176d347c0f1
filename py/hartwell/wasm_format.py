"""The bytes of WebAssembly modules: numbers and sections.

WebAssembly Core Specification 2.0, sections 5.2.2 (LEB128) and 5.5 (modules).
"""

from __future__ import annotations

from collections.abc import Iterator

MAGIC = b"\0asm\1\0\0\0"


class Reader:
    """Bytes, one after the other."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def byte(self) -> int:
        """The next one."""
        self.at += 1
        return self.data[self.at - 1]

    def unsigned(self) -> int:
        """A u32 or u64."""
        return self._number()[0]

    def signed(self) -> int:
        """An s32 or s64."""
        value, bits, last = self._number()
        return value - (1 << bits) if last & 0x40 else value

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        self.at += count
        return self.data[self.at - count : self.at]

    def counted(self) -> bytes:
        """As many bytes as the number in front of them says."""
        return self.take(self.unsigned())

    def name(self) -> str:
        """A name."""
        return self.counted().decode()

    def _number(self) -> tuple[int, int, int]:
        value = bits = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << bits
            bits += 7
            if not byte & 0x80:
                return value, bits, byte


def sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and the contents of each."""
    reader = Reader(module, len(MAGIC))
    while reader.at < len(module):
        kind = reader.byte()
        yield kind, reader.counted()


def bodies(code: bytes) -> list[bytes]:
    """The functions of a code section: locals and instructions."""
    reader = Reader(code)
    return [reader.counted() for _ in range(reader.unsigned())]


def unsigned(value: int) -> bytes:
    """A number that is not negative, as u32 or u64."""
    return _number(value, 0x7F)


def signed(value: int) -> bytes:
    """The same as s32 or s64."""
    return _number(value, 0x3F)


def _number(value: int, most: int) -> bytes:
    """`most`: what the last byte may hold."""
    out = bytearray()
    while value > most:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def counted(data: bytes) -> bytes:
    """Bytes with their number in front."""
    return unsigned(len(data)) + data

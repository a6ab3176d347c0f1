"""vFile: the one file that gdb may read from "the target", the program's symbols.

Remote Protocol, "File-I/O", host I/O packets.  Nothing of the host's own file
system can be named.
"""

from __future__ import annotations

from hartwell.gdb.packets import PACKET_BYTES
from hartwell.gdb.words import BAD_PACKET, BadPacket, number, raw

NOT_FOUND, BAD_FILE, READ_ONLY = 2, 9, 30  # errno, as gdb numbers them
_NAME = "/hartwell/kernel"


class Files:
    """data: an ELF file with the guest kernel's symbols, b"" when there is none."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data
        self._open: set[int] = set()

    def program(self) -> str:
        """The file's name, "" when there is none."""
        return _NAME if self._data else ""

    def answer(self, packet: bytes) -> bytes:
        """One vFile packet."""
        operation, _, rest = packet[6:].decode("latin-1").partition(":")
        fields = rest.split(",")
        try:
            match operation, len(fields):
                case "setfs", 1:
                    return b"F0"
                case "open", 3:
                    return self._do_open(raw(fields[0]).decode("utf-8", "replace"), number(fields[1]))
                case "close", 1:
                    known = number(fields[0]) in self._open
                    self._open.discard(number(fields[0]))
                    return b"F0" if known else _failure(BAD_FILE)
                case "pread", 3:
                    return self._read(*(number(field) for field in fields))
                case "fstat", 1:
                    return self._stat(number(fields[0]))
                case "unlink" | "pwrite" | "readlink", _:
                    return _failure(READ_ONLY)
        except BadPacket:
            return BAD_PACKET
        return b""

    def _do_open(self, name: str, flags: int) -> bytes:
        if name != _NAME or not self._data:
            return _failure(NOT_FOUND)
        if flags & 3:
            return _failure(READ_ONLY)
        handle = next(candidate for candidate in range(3, 1000) if candidate not in self._open)
        if len(self._open) > 64:
            return _failure(BAD_FILE)
        self._open.add(handle)
        return b"F%x" % handle

    def _read(self, handle: int, count: int, offset: int) -> bytes:
        if handle not in self._open:
            return _failure(BAD_FILE)
        # Escapes may double what we send.
        part = self._data[offset : offset + min(count, PACKET_BYTES // 2 - 32)]
        return b"F%x;" % len(part) + part

    def _stat(self, handle: int) -> bytes:
        if handle not in self._open:
            return _failure(BAD_FILE)
        # struct stat of the protocol: big-endian, 64 bytes; size is the 64-bit word at 28.
        stat = bytearray(64)
        stat[8:12] = (0o100444).to_bytes(4, "big")
        stat[28:36] = len(self._data).to_bytes(8, "big")
        return b"F40;" + bytes(stat)


def _failure(code: int) -> bytes:
    return b"F-1,%x" % code

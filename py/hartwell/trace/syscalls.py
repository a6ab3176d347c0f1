"""System calls in words, as strace writes them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from hartwell.trace import names
from hartwell.trace.records import TICKS, Piece, Record, pieces
from hartwell.trace.table import Call, calls

_AT_FDCWD = -100
_MASK64 = (1 << 64) - 1
_SHOWN = 64  # bytes of a buffer, as text
_CALL_WORDS = 7
_ERRNO_MOST = 4095


@dataclass(frozen=True)
class Syscall:
    """One system call of the guest.

    start, duration: seconds of the guest's clock since it was started;
    duration is None until it returns, and for calls that never do.
    arguments: in words.  raw: the six registers.  result: None as duration;
    error: its name when the call failed, else "".
    """

    number: int
    name: str
    arguments: tuple[str, ...]
    raw: tuple[int, ...]
    start: float
    pid: int
    tgid: int
    hart: int
    pc: int
    comm: str = ""
    result: int | None = None
    error: str = ""
    duration: float | None = None
    task: int = field(default=0, repr=False)
    pieces: tuple[Piece, ...] = field(default=(), repr=False)

    @property
    def text(self) -> str:
        """`openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3`."""
        return f"{self.name}({', '.join(self.arguments)}) = {self.answer}"

    @property
    def answer(self) -> str:
        """What follows the equals sign."""
        if self.result is None:
            return "?"
        if self.error:
            return f"-1 {self.error}"
        return f"{self.result:#x}" if self.name in ("mmap", "brk", "mremap", "shmat") else str(self.result)

    def __str__(self) -> str:
        took = "" if self.duration is None else f" <{self.duration:.6f}>"
        return f"{self.start:.6f} [{self.pid}{f' {self.comm}' if self.comm else ''}] {self.text}{took}"


def begun(record: Record, comm: str = "") -> Syscall:
    """The call that a record of kind CALL tells of."""
    raw = struct.unpack_from("<6Q", record.payload)
    call = calls().get(record.number)
    copied = tuple(pieces(record.payload, 8 * _CALL_WORDS))
    return Syscall(
        record.number, call.name if call else f"syscall_{record.number}", _arguments(call, raw, copied, None), raw,
        record.time / TICKS, record.pid, record.tgid, record.hart, record.word(6), comm, task=record.task, pieces=copied)


def returned(call: Syscall, record: Record) -> Syscall:
    """The same call with what a record of kind RETURN adds."""
    value = record.word(0)
    signed = value - (1 << 64) if value >> 63 else value
    failed = -_ERRNO_MOST <= signed < 0
    copied = (*call.pieces, *pieces(record.payload, 8))
    return replace(
        call, result=signed, duration=max(0.0, record.time / TICKS - call.start), pieces=copied,
        error=names.ERRORS.get(-signed, f"errno {-signed}") if failed else "",
        arguments=_arguments(calls().get(call.number), call.raw, copied, signed))


def _arguments(call: Call | None, raw: tuple[int, ...], copied: tuple[Piece, ...], result: int | None) -> tuple[str, ...]:
    if call is None:
        return tuple(f"{value:#x}" for value in raw)
    shown = []
    for i, (_, kind) in enumerate(call.arguments):
        if kind == "mode" and not _makes_file(call, raw):
            continue
        shown.append(_argument(kind, raw[i], [piece for piece in copied if piece.argument == i], result))
    return tuple(shown)


def _makes_file(call: Call, raw: tuple[int, ...]) -> bool:
    flags = next((raw[i] for i, (_, kind) in enumerate(call.arguments) if kind == "open"), 0)
    return bool(flags & 0x400040)  # O_CREAT, __O_TMPFILE


def _argument(kind: str, value: int, copied: list[Piece], result: int | None) -> str:
    signed = value - (1 << 64) if value >> 63 else value
    small = (value & 0xFFFFFFFF) - (1 << 32 if value & 0x80000000 else 0)
    if kind in ("int", "fd"):
        return str(small)
    if kind == "dirfd":
        return "AT_FDCWD" if small == _AT_FDCWD else str(small)
    if kind == "off":
        return str(signed)
    if kind == "uint":
        return str(value)
    if kind in ("oct", "mode"):
        return f"0{value & 0o7777777:o}" if value else "0"
    if kind == "open":
        access = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")[value & 3]
        return f"{access}|{names.flags(kind, value & ~3)}" if value & 0xFFFFFFFC else access
    if kind == "prot" and not value:
        return "PROT_NONE"
    if kind == "access" and not value:
        return "F_OK"
    if kind == "clone":
        signal = names.SIGNALS.get(value & 0x7F, "") if value & 0x7F else ""
        return "|".join(part for part in (names.flags(kind, value & ~0x7F) if value & ~0x7F else "", signal) if part) or "0"
    if kind == "sig":
        return names.SIGNALS.get(small, f"SIGRT_{small - 32}" if small > 31 else str(small))
    if kind == "socktype":
        high = value & 0x80800
        return names.NUMBERS[kind].get(value & 15, str(value & 15)) + (f"|{names.flags(kind, high)}" if high else "")
    if kind == "futex":
        return names.NUMBERS[kind].get(value & 0x7F, str(value & 0x7F)) + (
            "_PRIVATE" if value & 0x80 else "") + ("|FUTEX_CLOCK_REALTIME" if value & 0x100 else "")
    if kind in names.FLAGS:
        return names.flags(kind, value & 0xFFFFFFFF)
    if kind in names.NUMBERS:
        return names.NUMBERS[kind].get(small, str(small))
    return _pointed(kind, value, copied, result)


def _pointed(kind: str, value: int, copied: list[Piece], result: int | None) -> str:
    """What an argument points to; its address where that was not to be had."""
    if not value:
        return "NULL" if kind not in ("hex",) else "0"
    if not copied:
        return f"{value:#x}"
    if kind == "strs":
        return f"[{', '.join(_quoted(piece.data, piece.there, 4096) for piece in copied)}]"
    piece = copied[0]
    if kind == "str":
        return _quoted(piece.data, piece.there, 4096)
    if kind in ("time", "timeout") and len(piece.data) == 16:
        seconds, nanoseconds = struct.unpack("<qq", piece.data)
        return f"{{{seconds}, {nanoseconds}}}"
    if kind == "pair" and len(piece.data) == 8:
        return f"[{', '.join(map(str, struct.unpack('<ii', piece.data)))}]"
    if kind == "sockaddr":
        return _socket_address(piece.data)
    if kind == "out" and result is not None and result < 0:
        return f"{value:#x}"
    return _quoted(piece.data, piece.there, _SHOWN)


def _socket_address(data: bytes) -> str:
    family = int.from_bytes(data[:2], "little")
    if family == 1:
        path = data[2:].split(b"\0")[0] if data[2:3] != b"\0" else b"@" + data[3:]
        return f"{{AF_UNIX, {_quoted(path, len(path), 108)}}}"
    if family == 2 and len(data) >= 8:
        return f"{{AF_INET, {'.'.join(map(str, data[4:8]))}:{int.from_bytes(data[2:4], 'big')}}}"
    if family == 10 and len(data) >= 24:
        groups = ":".join(f"{int.from_bytes(data[i : i + 2], 'big'):x}" for i in range(8, 24, 2))
        return f"{{AF_INET6, [{groups}]:{int.from_bytes(data[2:4], 'big')}}}"
    return f"{{{names.NUMBERS['family'].get(family, str(family))}, {data[2:].hex()}}}"


_ESCAPES = {10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 92: "\\\\"}


def _quoted(data: bytes, there: int | None, most: int) -> str:
    """`"text"`, with dots when there was more."""
    cut = data[:most]
    text = "".join(_ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in cut)
    return f'"{text}"' + ("..." if len(cut) < len(data) or there is None or there > len(data) else "")

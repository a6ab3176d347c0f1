"""9P2000.L messages: size[4] type[1] tag[2] and the fields of each type, little-endian.

One table says what each message has; both directions are made from it.
Field kinds: 1 2 4 8 (unsigned numbers of so many bytes), s (string, UTF-8),
d (bytes with a 4-byte count), q (qid), ns (several strings), nq (several qids).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

HEADER = struct.Struct("<IBH")
NOTAG = 0xFFFF
NOFID = 0xFFFF_FFFF
IO_HEADER = 24  # room that a client leaves for the head of a Rread, as Linux does
MAX_WALK = 16  # names in one Twalk (intro(5))


class ProtocolError(Exception):
    """A message that cannot be read: it says what, and where in it."""


class Qid(NamedTuple):
    """Which file: kind (high bits of its mode), version, and a number that is its own."""

    kind: int
    version: int
    path: int


QID = struct.Struct("<BIQ")

# number: (name, fields)
_TABLE: dict[int, tuple[str, str]] = {
    7: ("Rlerror", "ecode:4"),
    8: ("Tstatfs", "fid:4"),
    9: ("Rstatfs", "type:4 bsize:4 blocks:8 bfree:8 bavail:8 files:8 ffree:8 fsid:8 namelen:4"),
    12: ("Tlopen", "fid:4 flags:4"),
    13: ("Rlopen", "qid:q iounit:4"),
    14: ("Tlcreate", "fid:4 name:s flags:4 mode:4 gid:4"),
    15: ("Rlcreate", "qid:q iounit:4"),
    16: ("Tsymlink", "fid:4 name:s target:s gid:4"),
    17: ("Rsymlink", "qid:q"),
    18: ("Tmknod", "fid:4 name:s mode:4 major:4 minor:4 gid:4"),
    19: ("Rmknod", "qid:q"),
    20: ("Trename", "fid:4 dfid:4 name:s"),
    21: ("Rrename", ""),
    22: ("Treadlink", "fid:4"),
    23: ("Rreadlink", "target:s"),
    24: ("Tgetattr", "fid:4 mask:8"),
    25: ("Rgetattr", "valid:8 qid:q mode:4 uid:4 gid:4 nlink:8 rdev:8 size:8 blksize:8 blocks:8 atime:8 atime_ns:8 "
         "mtime:8 mtime_ns:8 ctime:8 ctime_ns:8 btime:8 btime_ns:8 gen:8 data_version:8"),
    26: ("Tsetattr", "fid:4 valid:4 mode:4 uid:4 gid:4 size:8 atime:8 atime_ns:8 mtime:8 mtime_ns:8"),
    27: ("Rsetattr", ""),
    30: ("Txattrwalk", "fid:4 newfid:4 name:s"),
    31: ("Rxattrwalk", "size:8"),
    32: ("Txattrcreate", "fid:4 name:s size:8 flags:4"),
    33: ("Rxattrcreate", ""),
    40: ("Treaddir", "fid:4 offset:8 count:4"),
    41: ("Rreaddir", "data:d"),
    50: ("Tfsync", "fid:4 datasync:4"),
    51: ("Rfsync", ""),
    52: ("Tlock", "fid:4 type:1 flags:4 start:8 length:8 proc_id:4 client_id:s"),
    53: ("Rlock", "status:1"),
    54: ("Tgetlock", "fid:4 type:1 start:8 length:8 proc_id:4 client_id:s"),
    55: ("Rgetlock", "type:1 start:8 length:8 proc_id:4 client_id:s"),
    70: ("Tlink", "dfid:4 fid:4 name:s"),
    71: ("Rlink", ""),
    72: ("Tmkdir", "fid:4 name:s mode:4 gid:4"),
    73: ("Rmkdir", "qid:q"),
    74: ("Trenameat", "olddirfid:4 oldname:s newdirfid:4 newname:s"),
    75: ("Rrenameat", ""),
    76: ("Tunlinkat", "fid:4 name:s flags:4"),
    77: ("Runlinkat", ""),
    100: ("Tversion", "msize:4 version:s"),
    101: ("Rversion", "msize:4 version:s"),
    102: ("Tauth", "afid:4 uname:s aname:s n_uname:4"),
    103: ("Rauth", "aqid:q"),
    104: ("Tattach", "fid:4 afid:4 uname:s aname:s n_uname:4"),
    105: ("Rattach", "qid:q"),
    108: ("Tflush", "oldtag:2"),
    109: ("Rflush", ""),
    110: ("Twalk", "fid:4 newfid:4 names:ns"),
    111: ("Rwalk", "qids:nq"),
    116: ("Tread", "fid:4 offset:8 count:4"),
    117: ("Rread", "data:d"),
    118: ("Twrite", "fid:4 offset:8 data:d"),
    119: ("Rwrite", "count:4"),
    120: ("Tclunk", "fid:4"),
    121: ("Rclunk", ""),
    122: ("Tremove", "fid:4"),
    123: ("Rremove", ""),
}
_FIELDS = {
    number: [tuple(word.split(":")) for word in fields.split()] for number, (_, fields) in _TABLE.items()
}
NAMES = {number: name for number, (name, _) in _TABLE.items()}
NUMBERS = {name: number for number, name in NAMES.items()}


@dataclass(frozen=True)
class Message:
    """A decoded message; what it has is there under the table's names."""

    kind: str
    tag: int
    fields: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(name) from None


def decode(data: bytes) -> Message:
    """Reads one message; ProtocolError for anything but a whole one that is known."""
    if len(data) < HEADER.size:
        raise ProtocolError(f"{len(data)} bytes are fewer than a message's head of {HEADER.size}")
    size, number, tag = HEADER.unpack_from(data)
    if not HEADER.size <= size <= len(data):
        raise ProtocolError(f"size {size} in a message of {len(data)} bytes")
    if number not in NAMES:
        raise ProtocolError(f"type {number} is not one of 9P2000.L's")
    reader = _Reader(data, HEADER.size, size, NAMES[number])
    fields = {name: reader.take(name, kind) for name, kind in _FIELDS[number]}
    if reader.at != size:
        raise ProtocolError(f"{NAMES[number]}: {size - reader.at} bytes are left over at byte {reader.at}")
    return Message(NAMES[number], tag, fields)


def encode(kind: str, tag: int, /, **fields: Any) -> bytes:
    """The bytes of a message."""
    number = NUMBERS[kind]
    parts = [_put(how, fields[name]) for name, how in _FIELDS[number]]
    size = HEADER.size + sum(map(len, parts))
    return b"".join([HEADER.pack(size, number, tag), *parts])


class _Reader:
    def __init__(self, data: bytes, at: int, end: int, name: str) -> None:
        self.data, self.at, self.end, self.name = data, at, end, name

    def take(self, field: str, kind: str) -> Any:
        if kind in "1248":
            return int.from_bytes(self.bytes(int(kind), field), "little")
        if kind == "s":
            # Names are bytes to a kernel; what is no UTF-8 comes back as it was.
            return self.bytes(self.number(2, field), field).decode("utf-8", "surrogateescape")
        if kind == "d":
            return self.bytes(self.number(4, field), field)
        if kind == "q":
            return Qid(*QID.unpack(self.bytes(QID.size, field)))
        count = self.number(2, field)
        if count > MAX_WALK:
            raise ProtocolError(f"{self.name}.{field}: {count} of them, at most {MAX_WALK} are allowed")
        return [self.take(field, kind[1]) for _ in range(count)]

    def number(self, size: int, field: str) -> int:
        return int.from_bytes(self.bytes(size, field), "little")

    def bytes(self, count: int, field: str) -> bytes:
        if self.at + count > self.end:
            raise ProtocolError(
                f"{self.name}.{field}: {count} bytes wanted at byte {self.at} of a message of {self.end}"
            )
        self.at += count
        return self.data[self.at - count : self.at]


def _put(kind: str, value: Any) -> bytes:
    if kind in "1248":
        return int(value).to_bytes(int(kind), "little")
    if kind == "s":
        data = value.encode("utf-8", "surrogateescape")
        return bytes(len(data).to_bytes(2, "little") + data)
    if kind == "d":
        return len(value).to_bytes(4, "little") + bytes(value)
    if kind == "q":
        return QID.pack(*value)
    return len(value).to_bytes(2, "little") + b"".join(_put(kind[1], each) for each in value)


def entry(qid: Qid, offset: int, kind: int, name: bytes) -> bytes:
    """One entry of Rreaddir's data: qid, offset of the next, DT_ type, name."""
    return QID.pack(*qid) + offset.to_bytes(8, "little") + bytes([kind]) + len(name).to_bytes(2, "little") + name

"""Records of the core and system calls in words."""

from __future__ import annotations

import struct
from collections import Counter

import pytest

from hartwell.layout import CONSTANTS
from hartwell.profiler.profile import Profile
from hartwell.trace.records import CALL, RETURN, Record, pieces, records
from hartwell.trace.syscalls import Syscall, begun, returned
from hartwell.trace.table import by_name, calls

STRING, IN, OUT, IN16 = (CONSTANTS[f"TRACE_{name}"] for name in ("STRING", "IN", "OUT", "IN16"))


def piece(argument: int, kind: int, data: bytes, there: int | None = None) -> bytes:
    count = len(data) if there is None else there
    return struct.pack("<HHHHI", argument, kind, len(data), 0, count) + data + bytes(-len(data) % 4)


def call(name: str, *arguments: int, copied: bytes = b"") -> Syscall:
    raw = [value & (1 << 64) - 1 for value in (*arguments, *[0] * (6 - len(arguments)))]
    payload = struct.pack("<7Q", *raw, 0x1000) + copied
    return begun(Record(CALL, 0, 7, 7, by_name()[name].number, 10_000_000, 1, payload))


def answer(made: Syscall, value: int, copied: bytes = b"") -> Syscall:
    payload = struct.pack("<Q", value & (1 << 64) - 1) + copied
    return returned(made, Record(RETURN, 1, 7, 7, made.number, 10_005_000, 1, payload))


def test_the_table() -> None:
    assert len(calls()) > 310 and by_name()["uname"].number == 160 and by_name()["mseal"].number == 462
    assert len(by_name()) >= len(calls())
    assert all(len(one.arguments) <= 6 and one.mask < 1 << 31 for one in calls().values())


@pytest.mark.parametrize(
    ("made", "text"),
    [(call("openat", -100, 0x5000, 0x80241, 0o644, copied=piece(1, STRING, b"/a\tb")),
      'openat(AT_FDCWD, "/a\\tb", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0644) = ?'),
     (call("openat", 3, 0x5000, 0, 0o644, copied=piece(1, STRING, b"x")), 'openat(3, "x", O_RDONLY) = ?'),
     (call("openat", -100, 0x5000, 0), "openat(AT_FDCWD, 0x5000, O_RDONLY) = ?"),
     (call("write", 1, 0x5000, 500, copied=piece(1, IN, b"a" * 70, 500)), f'write(1, "{"a" * 64}"..., 500) = ?'),
     (call("kill", -1, 9), "kill(-1, SIGKILL) = ?"),
     (call("mprotect", 0x1000, 4096, 0), "mprotect(0x1000, 4096, PROT_NONE) = ?"),
     (call("futex", 0x1000, 0x189, 5), "futex(0x1000, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 5, NULL, NULL, 0) = ?"),
     (call("nanosleep", 0x1000, 0, copied=piece(0, IN16, struct.pack("<qq", 1, 5))), "nanosleep({1, 5}, NULL) = ?"),
     (call("clone", 0x1200011), "clone(CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, NULL, NULL, NULL, NULL) = ?"),
     (call("connect", 3, 0x1000, 16, copied=piece(1, IN, b"\2\0\0\x50\x7f\0\0\1" + bytes(8))),
      "connect(3, {AF_INET, 127.0.0.1:80}, 16) = ?"),
     (call("connect", 3, 0x1000, 9, copied=piece(1, IN, b"\1\0/run/x\0")), 'connect(3, {AF_UNIX, "/run/x"}, 9) = ?'),
     (call("lseek", 3, -1, 2), "lseek(3, -1, SEEK_END) = ?"),
     (call("socket", 1, 0x80002, 0), "socket(AF_UNIX, SOCK_DGRAM|SOCK_CLOEXEC, 0) = ?"),
     (call("faccessat", -100, 0x1000, 5, copied=piece(1, STRING, b"p")), 'faccessat(AT_FDCWD, "p", R_OK|X_OK) = ?')],
)
def test_calls_in_words(made: Syscall, text: str) -> None:
    assert made.text == text


def test_answers() -> None:
    made = answer(call("read", 3, 0x5000, 100), 4, piece(1, OUT, b"ab\0\xff"))
    assert made.text == 'read(3, "ab\\x00\\xff", 100) = 4' and made.duration == pytest.approx(0.0005)
    failed = answer(call("read", 3, 0x5000, 100), -9)
    assert (failed.text, failed.error, failed.result) == ("read(3, 0x5000, 100) = -1 EBADF", "EBADF", -9)
    assert answer(call("brk", 0), 0x7000).text == "brk(NULL) = 0x7000"
    assert answer(call("read", 3, 0, 0), -4000).error == "errno 4000"
    assert str(failed).startswith("1.000000 [7] read(")


def test_a_call_that_nobody_knows() -> None:
    made = begun(Record(CALL, 0, 7, 7, 999, 0, 1, struct.pack("<7Q", 1, 2, 3, 4, 5, 6, 0)))
    assert made.text == "syscall_999(0x1, 0x2, 0x3, 0x4, 0x5, 0x6) = ?"


def test_records_and_pieces_end_where_sense_does() -> None:
    head = struct.pack("<HBBIIIQQ", CALL, 1, 2, 5, 5, 64, 77, 1 << 63)
    good = head + bytes(range(32))
    assert [(one.hart, one.pid, one.payload) for one in records(good * 2)] == [(1, 5, bytes(range(32)))] * 2
    assert list(records(good[:40])) == [] and list(records(bytes(64))) == []
    assert list(pieces(struct.pack("<HHHHI", 1, STRING, 900, 0, 900) + bytes(20), 0)) == []
    assert [one.data for one in pieces(piece(0, STRING, b"abcde") + piece(1, STRING, b"f"), 0)] == [b"abcde", b"f"]
    assert next(pieces(piece(0, STRING, b"abc", 0xFFFFFFFF), 0)).there is None


def test_profiles() -> None:
    stacks: Counter[tuple[str, ...]] = Counter({("a 1", "main", "hot"): 6, ("a 1", "main"): 2, ("b 2", "idle_[k]"): 2})
    made = Profile(stacks, 0.02, 1000, 1)
    assert made.samples == 10 and made.busy == 0.5
    assert [(line.name, line.own, line.total) for line in made.top(2)] == [("hot", 0.6, 0.6), ("main", 0.2, 0.8)]
    assert made.collapsed().splitlines() == ["a 1;main 2", "a 1;main;hot 6", "b 2;idle_[k] 2"]
    tree = made.tree(least=0.3)
    assert tree == {"name": "all", "value": 10, "children": [{"name": "a 1", "value": 8, "children": [
        {"name": "main", "value": 8, "children": [{"name": "hot", "value": 6, "children": []}]}]}]}
    empty = Profile(Counter(), 0, 1000, 1)
    assert empty.busy == 0 and empty.top() == [] and empty.collapsed() == ""

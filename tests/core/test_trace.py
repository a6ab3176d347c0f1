"""What the core notes of traps, system calls and samples, and that it notes nothing unasked."""

from __future__ import annotations

import json

import pytest

from hartwell.layout import CONSTANTS, TRACE_SLOTS
from hartwell.linux import Linux
from hartwell.memory import Memory
from hartwell.trace import Trace
from hartwell.trace import trace as trace_module
from hartwell.trace.recorder import Recorder, mask_of
from hartwell.trace.records import CALL, INTERRUPT, RETURN, SAMPLE, SWITCH, TRAP, Record
from hartwell.trace.syscalls import begun, returned
from hartwell.trace.table import by_name
from tests.core.bench import Bench, get, put, ram_write

U, S, M = Bench.U, Bench.S, Bench.M
TASK = 0xFFFF_FFFF_8000_1000
DATA = Bench.DATA
WRITE, READ = by_name()["write"], by_name()["read"]


class Log:
    """A recorder and all that it handed out."""

    def __init__(self, hart: Bench, *kinds: str, calls: tuple[str, ...] = (), **wish: int) -> None:
        self.recorder = Recorder(hart.core)
        self.found: list[Record] = []
        table = {by_name()[name].number: by_name()[name].mask for name in calls}
        self.wish = self.recorder.listen(self.found.extend, mask=mask_of(kinds), calls=table, **wish)

    def take(self) -> list[Record]:
        self.recorder.drain()
        taken, self.found = self.found, []
        self.wish.listener = self.found.extend
        return taken


def call(hart: Bench, number: int, a1: int = DATA, a2: int = 0) -> None:
    hart.execute(f"li a7, {number}; li a0, 3; ecall", U, a1=a1, a2=a2)


def test_nothing_is_noted_unasked(hart: Bench) -> None:
    call(hart, 64)
    hart.execute(".half 0")
    hart.core.call("hart_run", 0, 20_000, CONSTANTS["RUN_NOWAIT"])
    assert get(hart.core, "Hart.trace.head") == 0
    log = Log(hart, "traps")
    log.recorder.leave(log.wish)
    hart.execute(".half 0")
    assert get(hart.core, "Hart.trace.head") == 0 == get(hart.core, "Machine.trace.mask")


def test_traps(hart: Bench) -> None:
    log = Log(hart, "traps")
    code = hart.execute("nop; here: ld a1, 0(a0)", S, a0=0x4000_0000)
    (record,) = log.take()
    assert (record.kind, record.hart, record.number) == (TRAP, 0, 5)
    assert [record.word(i) for i in range(3)] == [code["here"], 0x4000_0000, S]
    call(hart, 64)
    assert log.take() == []  # system calls are a kind of their own


def test_interrupts(hart: Bench) -> None:
    log = Log(hart, "interrupts")
    hart.csr_set("mie", 1 << 3)
    code = hart.load("loop: j loop", hart.free)
    hart.start(code.base, U)
    put(hart.core, "Hart.mip", 1 << 3)
    hart.core.call("hart_run", 0, 10, CONSTANTS["RUN_NOWAIT"])
    record = next(one for one in log.take() if one.kind == INTERRUPT)
    assert (record.number, record.word(0), record.word(1)) == (3, code.base, U)


def test_a_system_call_with_what_it_points_to(hart: Bench) -> None:
    log = Log(hart, "syscalls", calls=("write",))
    ram_write(hart.core, DATA, b"hello\n")
    call(hart, WRITE.number, DATA, 6)
    (record,) = log.take()
    assert record.kind == CALL and begun(record).text == 'write(3, "hello\\n", 6) = ?'
    assert begun(record).pc == hart.trap[2] if hart.trap else False
    call(hart, WRITE.number, 0x4000_0000, 6)  # nothing is there
    assert begun(log.take()[0]).text == "write(3, 0x40000000, 6) = ?"
    call(hart, WRITE.number, DATA, 1 << 40)
    assert begun(log.take()[0]).pieces[0].data[:6] == b"hello\n"
    call(hart, by_name()["close"].number)  # not asked for
    call(hart, 5000)  # unknown numbers are noted: nobody can have asked to leave them out
    assert [one.number for one in log.take()] == [5000]


def test_strings_end_where_memory_does(hart: Bench) -> None:
    log = Log(hart, "syscalls", calls=("chdir",))
    number = by_name()["chdir"].number
    end = DATA & ~0xFFF | 0x1000
    last = 0x8000_0000 + hart.core.plan.ram_bytes
    for address, text, shown in ((end - 3, b"abcdef\0", '"abcdef"'), (last - 3, b"xyz", '"xyz"...'), (DATA, b"\0", '""'),
                                 (DATA, b"q" * 5000, f'"{"q" * 256}"...')):
        ram_write(hart.core, address, text)
        hart.execute(f"li a7, {number}; ecall", U, a0=address)
        assert begun(log.take()[0]).arguments == (shown,)


def test_a_return_finds_its_call(hart: Bench) -> None:
    """By the task, as Linux keeps it in sscratch and tp."""
    log = Log(hart, "syscalls", "switches", calls=("read",))
    log.recorder.conventions(16, (0, 0))
    hart.csr_set("medeleg", 1 << 8)
    hart.csr_set("sscratch", TASK)
    call(hart, READ.number, DATA, 100)
    assert hart.pc == Bench.S_HANDLER
    switch, made = log.take()
    assert (switch.kind, switch.task, switch.word(0)) == (SWITCH, TASK, 0)
    assert (made.kind, made.task) == (CALL, TASK)
    ram_write(hart.core, DATA, b"four...")
    # The kernel's work, and a return to the program with 4.
    hart.csr_set("sepc", hart.load("loop: j loop", hart.free).base)
    hart.csr_set("sstatus", 0)
    code = hart.load("sret", hart.free + 0x1000)
    hart.start(code.base, S)
    hart.x_set("a0", 4)
    hart.x_set("tp", TASK)
    hart.step()
    (back,) = log.take()
    assert (back.kind, back.task, back.word(0)) == (RETURN, TASK, 4)
    assert returned(begun(made), back).text == 'read(3, "four", 100) = 4'
    hart.start(code.base, S)  # an interrupt's return is none of a call
    hart.csr_set("sstatus", 0)
    hart.step()
    assert log.take() == []


def test_a_full_ring_loses_the_newest_and_counts(hart: Bench) -> None:
    log = Log(hart, "traps")
    hart.execute(".half 0")
    head = get(hart.core, "Hart.trace.head")
    put(hart.core, "Hart.trace.tail", head + 1 - TRACE_SLOTS & 0xFFFF_FFFF)
    hart.execute(".half 0")
    assert get(hart.core, "Hart.trace.head") == head and get(hart.core, "Hart.trace.lost") == 1
    put(hart.core, "Hart.trace.tail", head)
    hart.execute(".half 0")
    assert len(log.take()) == 1 and log.recorder.lost == 1
    put(hart.core, "Hart.trace.tail", head + TRACE_SLOTS * 3)  # set back by a reset: nonsense is not read
    assert log.take() == []


def test_a_session_tells_what_it_misses(hart: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rings had no room for, and what went because it was the oldest: in text, in JSON, until clear()."""
    monkeypatch.setattr(trace_module, "MOST", 3)
    session = Trace(hart.core, Linux(Memory(hart.core), [])).events("traps")
    for _ in range(3):
        hart.execute(".half 0")
    assert (len(session), session.missing, session.text().count("\n")) == (3, "", 2)
    hart.execute(".half 0")
    hart.execute(".half 0")
    assert (len(session), session.forgotten, session.lost) == (3, 2, 0)
    head = get(hart.core, "Hart.trace.head")
    put(hart.core, "Hart.trace.tail", head - TRACE_SLOTS & 0xFFFF_FFFF)
    hart.execute(".half 0")
    put(hart.core, "Hart.trace.tail", head - 1)
    session.stop()
    assert session.lost == 1
    assert session.text().splitlines()[-1] == "# events: 1 lost, the machine was faster than Python; the 2 oldest forgotten"
    assert json.loads(session.chrome())["otherData"] == {"lost": 1, "forgotten": 2}
    assert "1 lost" in repr(session)
    session.clear()
    assert (len(session), session.missing) == (0, "")


@pytest.mark.parametrize("head", [TRACE_SLOTS - 1, 0xFFFF_FFFF, 0xFFFF_FFFE])
def test_records_across_the_rings_end(hart: Bench, head: int) -> None:
    put(hart.core, "Hart.trace.head", head)
    log = Log(hart, "traps", "syscalls", calls=("write",))
    ram_write(hart.core, DATA, bytes(range(200)))
    call(hart, WRITE.number, DATA, 200)
    hart.execute(".half 0")
    made, trap = log.take()
    assert made.kind == CALL and begun(made).pieces[0].data == bytes(range(200))
    assert trap.kind == TRAP and trap.number == 2


def test_samples_with_the_stack(hart: Bench) -> None:
    log = Log(hart, sample_ticks=1)
    code = hart.load("loop: addi a0, a0, 1; j loop", hart.free)
    frames = DATA + 0x1000
    # Two frames: the caller's s0 and ra stand below each frame's pointer.
    ram_write(hart.core, frames - 16, (frames + 64).to_bytes(8, "little") + (0x8000_5554).to_bytes(8, "little"))
    ram_write(hart.core, frames + 48, bytes(8) + (0x8000_6664).to_bytes(8, "little"))
    hart.start(code.base)
    hart.x_set("sp", DATA)
    hart.x_set("s0", frames)
    hart.core.call("hart_run", 0, 100_000, CONSTANTS["RUN_NOWAIT"])
    found = [record for record in log.take() if record.kind == SAMPLE]
    assert len(found) >= 5
    for record in found:
        assert (record.number & 0xFF, record.number >> 8 & 0xFF) == (M, 3)
        assert code.base <= record.word(1) <= code.base + 4
        assert (record.word(2), record.word(3)) == (0x8000_5554, 0x8000_6664)
    hart.x_set("s0", 0x1234_5671)  # no frame pointer at all
    hart.core.call("hart_run", 0, 30_000, CONSTANTS["RUN_NOWAIT"])
    assert {record.number >> 8 & 0xFF for record in log.take()} == {1}


def test_samples_change_nothing(hart: Bench) -> None:
    code = hart.load("li a0, 50000; loop: addi a0, a0, -1; bnez a0, loop; end: j end", hart.free)
    ends = []
    for ticks in (0, 1):
        log = Log(hart, sample_ticks=ticks)
        hart.start(code.base)
        put(hart.core, "Hart.instret", 0)
        hart.core.call("hart_run", 0, 80_000, CONSTANTS["RUN_NOWAIT"] | CONSTANTS["RUN_EXACT"])
        ends.append((hart.pc, hart.x("a0"), get(hart.core, "Hart.instret")))
        log.recorder.leave(log.wish)
    assert ends[0] == ends[1] and ends[0][2] == 80_000

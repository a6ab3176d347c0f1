"""What arrives at gdb's port: framing, and packets from somebody who means harm."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hartwell.gdb import description, packets, registers, resume
from hartwell.gdb.packets import PACKET_BYTES, Damaged, Decoder, Interrupt, Nack, Packet
from hartwell.gdb.words import BadPacket, number
from hartwell.layout import RAM_BASE
from hartwell.symbols.program import Program
from tests.gdb.conftest import Target

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # others may have the processor
HEX = st.text("0123456789abcdefABCDEF,;:=-", max_size=40)
NAMES = st.sampled_from([
    "qXfer:features:read:target.xml:", "qXfer:threads:read::", "qXfer:memory-map:read::", "qXfer:exec-file:read::", "qRcmd,",
    "vCont;", "vCont;r", "vFile:open:", "vFile:pread:", "vFile:fstat:", "vFile:close:", "qThreadExtraInfo,", "QNonStop:",
    "qSupported:", "Qqemu.PhyMemMode:", "vStopped", "vCtrlC", "qfThreadInfo", "qC",
])
SAFE = st.one_of(  # all but what switches the machine off
    st.binary(max_size=60).filter(lambda data: data[:1] not in (b"k", b"D", b"R") and data[:5] != b"vKill"),
    st.builds(lambda letter, rest: (letter + rest).encode(), st.sampled_from("?gGpPmMXZzHTqQv!bi"), HEX),
    st.builds(lambda name, rest: (name + rest).encode(), NAMES, HEX),
)


@PATIENT
@given(st.lists(st.binary(max_size=100), max_size=5), st.data())
def test_packets_arrive_however_they_are_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(packets.encode(body) for body in bodies)
    decoder, events = Decoder(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        events += decoder.feed(stream[:cut])
        stream = stream[cut:]
    assert events == [Packet(body) for body in bodies]


@PATIENT
@given(st.binary(max_size=300))
def test_bytes_that_are_no_packets(stream: bytes) -> None:
    assert all(isinstance(event, Packet | Interrupt | Damaged | Nack) for event in Decoder().feed(stream))


def test_checksums_and_lengths() -> None:
    decoder = Decoder()
    assert [type(event) for event in decoder.feed(b"+$g#00\x03-$g#67")] == [Damaged, Interrupt, Nack, Packet]
    long = b"$" + b"m" * (3 * PACKET_BYTES) + b"#00"
    assert [type(event) for event in decoder.feed(long + b"$g#67")] == [Damaged, Packet]
    assert list(decoder.feed(b"$gg$g#67")) == [Packet(b"g")]  # the first was cut off
    decoder.checked = False
    assert list(decoder.feed(b"$g#zz")) == [Packet(b"g")]


def test_escapes() -> None:
    assert packets.escape(b"a#b$c}d*") == b"a}\x03b}\x04c}]d}\x0a"
    assert packets.unescape(b"a}\x03") == b"a#"
    assert packets.unescape(b"a}") == b"a}"


def test_the_target_description_is_whole() -> None:
    tree = ElementTree.fromstring(description.target().replace('<!DOCTYPE target SYSTEM "gdb-target.dtd">', ""))
    numbers = [int(reg.attrib["regnum"]) for reg in tree.iter("reg")]
    assert numbers == list(range(registers.COUNT))
    names = [feature.attrib["name"].rpartition(".")[2] for feature in tree.iter("feature")]
    assert names == ["cpu", "fpu", "csr", "virtual"]
    assert ElementTree.fromstring(description.memory_map()).tag == "memory-map"


def test_resume_actions() -> None:
    assert resume.parse(";s:2;c", 3) == {1: resume.Action("s"), 0: resume.Action("c"), 2: resume.Action("c")}
    assert resume.parse(";r10,20:1;C05:-1", 2) == {0: resume.Action("r", 16, 32), 1: resume.Action("c")}
    for wrong in ("", ";", ";x", ";s:9", ";r10", ";r1,z", ";c:-2"):
        with pytest.raises(BadPacket):
            resume.parse(wrong, 2)
    with pytest.raises(BadPacket):
        number("1" * 17)


class Wire:
    """The machine's end of a connection, without a socket."""

    def __init__(self, target: Target) -> None:
        self.target, self.sent = target, bytearray()
        session = target.call(lambda: target.server.connect(self.sent.extend))
        assert session
        self.session = session

    def say(self, data: bytes) -> bytes:
        """The answer to one packet."""
        self.sent.clear()
        self.target.call(lambda: self.session.receive(packets.encode(data)))
        return self.answer()

    def packets(self) -> list[bytes]:
        """What has come since the last packet was sent."""
        return [event.data for event in Decoder().feed(bytes(self.sent)) if isinstance(event, Packet)]

    def answer(self) -> bytes:
        """The last packet that came."""
        found = self.packets()
        return found[-1] if found else b""

    def stop(self, data: bytes) -> bytes:
        """The stop reply that comes, sooner or later, of a packet that lets harts go."""
        self.say(data)
        return self.stopped()

    def stopped(self) -> bytes:
        for _ in range(4800):
            if (last := self.answer())[:1] == b"T":
                return last
            time.sleep(0.05)
        raise AssertionError("no hart has stopped")


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    made = Wire(target)
    yield made
    target.call(made.session.close)


@pytest.mark.parametrize(("packet", "answer"), [
    (b"m0,8", b"E14"), (b"m80000000,4", b"7f454c46"), (b"mzz,1", b"E01"), (b"m80000000", b"E01"),
    (b"m80ffffff,10", b"00"), (b"m81000000,1", b"E14"),
    (b"m80fffffe,2", b"0000"), (b"M80200000,2:zz", b"E01"), (b"M80200000,2:01", b"E01"),
    (b"M80200000,2:0102", b"OK"), (b"X80200000,0:", b"OK"), (b"X80200000,1:ab", b"E01"), (b"Xffffffffffffffff,1:a", b"E14"),
    (b"p20000", b"E22"), (b"p", b"E01"), (b"P0", b"E01"), (b"P20=zz", b"E01"), (b"G00", b"E22"),
    (b"P20=", b"E22"), (b"P20=00", b"E22"), (b"P20=001000800000000000", b"E22"), (b"Pffff=0000000000000000", b"E22"),
    (b"P1=0100000000000000", b"OK"),
    (b"Z0,3,2", b"E28"), (b"Z2,0,0", b"E28"), (b"Z9,0,0", b""), (b"Z0", b"E01"), (b"z0,10,2", b"OK"),
    (b"Hg9", b"E01"), (b"Hx1", b"E01"), (b"T2", b"OK"), (b"T3", b"E01"), (b"vCont;s:9", b"E01"), (b"vCont;q", b"E01"),
    (b"qXfer:features:read:other.xml:0,10", b"E00"), (b"qXfer:features:read:target.xml:fffff,10", b"l"),
    (b"qRcmd,zz", b"E01"), (b"QNonStop:2", b"E01"), (b"vFile:open:2f,0,0", b"F-1,2"), (b"vFile:pread:3,10,0", b"F-1,9"),
    (b"vMustReplyEmpty", b""), (b"", b""), (b"\xff\xfe", b""), (b"qAttached", b"1"), (b"qC", b"QC1"),
])
def test_answers(wire: Wire, packet: bytes, answer: bytes) -> None:
    assert wire.say(packet) == answer


def test_a_watchpoint_table_that_is_full(wire: Wire) -> None:
    answers = [wire.say(b"Z2,%x,8" % (0x80200000 + 8 * i)) for i in range(40)]
    assert answers == [b"OK"] * 32 + [b"E28"] * 8


def test_physical_memory(wire: Wire) -> None:
    assert wire.say(b"qqemu.PhyMemMode") == b"0"
    assert wire.say(b"Qqemu.PhyMemMode:1") == b"OK"
    assert wire.say(b"m80000000,4") == b"7f454c46"


def test_a_range_is_stepped_through(wire: Wire, program: Path) -> None:
    """vCont;r: to the first instruction outside, which is that of the function that is called."""
    symbols = Program(program.read_bytes()).symbols
    (work,), (depth,) = symbols.named("work"), symbols.named("depth")
    assert wire.say(b"Z0,%x,2" % work.address) == b"OK"
    thread = re.search(rb"thread:(\d)", wire.stop(b"vCont;c"))
    assert thread
    hart = wire.target.machine.harts[int(thread[1]) - 1]
    assert hart.pc == work.address
    assert wire.say(b"z0,%x,2" % work.address) == b"OK"
    before = hart.instret
    stop = wire.stop(b"vCont;r%x,%x:%s" % (work.address, work.address + work.size, thread[1]))
    assert stop.startswith(b"T05thread:" + thread[1])
    assert hart.pc == depth.address
    assert hart.instret - before > 5
    # A breakpoint in the range ends it before.
    inside = depth.address + 2
    assert wire.say(b"Z0,%x,2" % inside) == b"OK"
    assert b"swbreak" in wire.stop(b"vCont;r%x,%x:%s;c" % (depth.address, depth.address + depth.size, thread[1]))
    assert hart.pc == inside
    assert wire.say(b"z0,%x,2" % inside) == b"OK"
    # One that is never left ends by an interrupt.
    wire.say(b"vCont;r%x,%x:%s" % (RAM_BASE, RAM_BASE + (1 << 20), thread[1]))
    wire.target.call(lambda: wire.session.receive(b"\x03"))
    assert wire.stopped().startswith(b"T02")


def test_a_hart_that_runs_is_not_stepped(wire: Wire) -> None:
    """By two threads at once it would come to be anywhere.  What a gdb would not ask for is refused."""
    wire.say(b"?")
    wire.say(b"vCont;c")
    for packet in (b"vCont;s:1", b"s", b"vCont;r80000000,90000000:1;c", b"vCont;c"):
        assert wire.say(packet) == b"E22"
    wire.target.call(lambda: wire.session.receive(b"\x03"))
    assert wire.stopped().startswith(b"T02")
    # Nor one of non-stop mode, by a command that gdb sends at any time.
    assert wire.say(b"QNonStop:1") == b"OK" and wire.say(b"vCont;c:1") == b"OK"
    assert monitor(wire, "step 3") == "monitor step: hart 0 runs, so it can't step; pause it first\n"
    assert wire.say(b"Hg2") == b"OK"
    before = wire.target.machine.harts[1].instret
    assert monitor(wire, "step 3").startswith("hart 1: 0x")
    assert wire.target.machine.harts[1].instret - before == 3


def test_steps_under_way_end_with_their_mode(wire: Wire) -> None:
    wire.say(b"?")
    wire.say(b"vCont;r%x,%x:1" % (RAM_BASE, RAM_BASE + (1 << 20)))
    assert wire.say(b"QNonStop:1") == b"OK"
    before = wire.target.machine.harts[0].instret
    for _ in range(3):
        wire.target.call(lambda: asyncio.sleep(0.01))
    assert wire.target.machine.harts[0].instret == before


def monitor(wire: Wire, line: str) -> str:
    """What a monitor command prints."""
    wire.say(b"qRcmd," + line.encode().hex().encode())
    printed = [packet[1:] for packet in wire.packets() if packet[:1] == b"O" and packet != b"OK"]
    return "".join(bytes.fromhex(text.decode()).decode() for text in printed)


@pytest.mark.parametrize(("line", "said"), [
    ("csr nope", "'nope' is no CSR of this hart"), ("csr satp 0x10000000000000000", "expected monitor csr"),
    ("csr satp -1", "expected monitor csr"), ("pmem", "monitor pmem: expected monitor pmem ADDRESS [COUNT]"),
    ("pmem 0x80000000 -5", "expected"), ("pmem 0", "are not all RAM"), ("translate x", "expected"),
    ("phys maybe", "expected monitor phys [on|off]"), ("step -1", "expected"), ("reset maybe", "monitor reset maybe: expected"),
    ("nope", "there is no monitor command 'nope'"),
])
def test_monitor_commands_that_are_none(wire: Wire, line: str, said: str) -> None:
    text = monitor(wire, line)
    assert said in text
    assert text.count("\n") == 1
    assert wire.say(b"qC") == b"QC1"


def test_binary_memory(wire: Wire) -> None:
    """X takes any byte, escaped where it means something in a packet."""
    data = bytes(range(256)) + b"#$}*" * 8
    assert wire.say(b"X80200000,%x:" % len(data) + data) == b"OK"  # Wire escapes
    assert wire.say(b"m80200000,%x" % len(data)) == data.hex().encode()


def test_a_device_is_told_of(wire: Wire) -> None:
    """gdb has no word for it: a line of output says that it was a device, and the
    watchpoint is named as hit."""
    assert wire.say(b"Z2,80200000,8") == b"OK"
    wire.say(b"vCont;c")
    wire.target.call(lambda: wire.target.machine._core.call("ram_written", 0x8020_0004, 16))
    assert wire.stopped().startswith(b"T05thread:1;core:0;watch:80200000;")
    (line,) = [bytes.fromhex(packet[1:].decode()) for packet in wire.packets() if packet[:1] == b"O"]
    assert line == b"hartwell: a device's write of 16 bytes at physical 0x80200004\n"


def test_who_leaves_takes_only_his_own(target: Target) -> None:
    """Points that a person has set stay when gdb goes."""
    point = target.call(lambda: target.machine.debugger.watch(0x8020_0000))
    for packet in (b"?", b"Z0,80300000,2"):
        wire = Wire(target)
        wire.say(packet)
        target.call(wire.session.close)
        assert target.machine.debugger.watchpoints == (point,)
        assert target.machine.debugger.breakpoints == ()


def test_the_machine_survives_anything(target: Target) -> None:
    """Fuzzed packets, in and out of frames: it answers afterwards, and runs."""
    wire = Wire(target)
    wire.say(b"?")

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(SAFE, st.booleans())
    def attack(data: bytes, framed: bool) -> None:
        target.call(lambda: wire.session.receive(packets.encode(data) if framed else data))

    attack()
    target.call(lambda: wire.session.receive(b"#00"))  # ends what was begun
    target.call(wire.session.close)
    again = Wire(target)
    assert again.say(b"p0").strip(b"0") == b""
    target.call(again.session.close)
    assert target.call(lambda: target.machine.state) == "running"


async def test_only_loopback_is_listened_on(target: Target) -> None:
    assert target.server.session is None
    _, writer = await asyncio.open_connection("127.0.0.1", target.port)
    assert writer.get_extra_info("peername")[0] == "127.0.0.1"
    writer.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.2", target.port)


def test_a_browser_is_sent_away(target: Target) -> None:
    """A page that makes its browser post packets to the port gets nowhere."""
    wire = Wire(target)
    post = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + packets.encode(b"M80200000,1:ff")
    target.call(lambda: wire.session.receive(post))
    assert wire.session.closed
    assert wire.answer() == b""
    assert target.machine.memory.read(0x8020_0000, 1) == b"\0"

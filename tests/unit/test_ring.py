"""Byte rings and the consoles' Python halves, on a memory without devices: the
other end of each ring is played here, by struct Ring's rules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hartwell.devices.console import FEATURE_SIZE, UartConsole, VirtioConsole, ring_place
from hartwell.devices.ring import Ring
from hartwell.devices.slot import FEATURE_VERSION_1, STATUS_DRIVER_OK
from hartwell.errors import BadConfiguration
from hartwell.layout import CONSTANTS, MAX_VIRTIO, RAM_OFFSET, RING_BASE, RING_SIZE, field
from tests.unit.fake import Core, make_core

HEAD, TAIL = field("Machine.debug_ring.head").offset, field("Machine.debug_ring.tail").offset
RING = field("Machine.debug_ring").offset


def make_ring(core: Core, at: int = 0) -> Ring:
    """An empty ring whose counters stand at `at`."""
    core.store(HEAD, at)
    core.store(TAIL, at)
    return Ring(core, RING, ring_place(0))


def other_end_writes(core: Core, name: str, data: bytes, slot: int = 0) -> None:
    """What a device in C does: bytes, then head."""
    indexes = (slot,) if "virtio" in name else ()
    head, place = (field(f"{name}.{word}", *indexes).offset for word in ("head", "offset"))
    at = core.load(head)
    for i, byte in enumerate(data):
        core.write(core.load(place) + (at + i) % RING_SIZE, bytes([byte]))
    core.store(head, at + len(data) & 0xFFFF_FFFF)


def other_end_reads(core: Core, name: str, slot: int = 0) -> bytes:
    """What a device in C does: bytes from tail to head, then tail."""
    indexes = (slot,) if "virtio" in name else ()
    head, tail, place = (field(f"{name}.{word}", *indexes).offset for word in ("head", "tail", "offset"))
    count = core.load(head) - core.load(tail) & 0xFFFF_FFFF
    at = core.load(tail)
    data = b"".join(core.read(core.load(place) + (at + i) % RING_SIZE, 1) for i in range(count))
    core.store(tail, core.load(head))
    return data


# --- Ring ----------------------------------------------------------------------------


def test_a_ring_tells_c_where_its_bytes_are() -> None:
    core = make_core()
    make_ring(core)
    assert core.load(field("Machine.debug_ring.offset").offset) == RING_BASE


@pytest.mark.parametrize("at", [0, 5, RING_SIZE - 3, (1 << 32) - 3, (1 << 32) - RING_SIZE])
def test_bytes_come_out_as_they_went_in(at: int) -> None:
    ring = make_ring(make_core(), at)
    assert ring.write(b"hello, ") == 7
    assert ring.write(b"world") == 5
    assert ring.used == 12
    assert ring.read() == b"hello, world"
    assert (ring.used, ring.read()) == (0, b"")


@pytest.mark.parametrize("at", [0, 1, RING_SIZE // 2, (1 << 32) - 100])
def test_a_full_ring_takes_no_more(at: int) -> None:
    core = make_core()
    ring = make_ring(core, at)
    data = bytes(range(256)) * (RING_SIZE // 256)
    assert ring.write(data + b"more") == RING_SIZE
    assert ring.used == RING_SIZE
    assert ring.write(b"x") == 0
    assert ring.read() == data
    assert ring.write(b"x") == 1


def test_bytes_stay_between_the_rings_bounds() -> None:
    core = make_core()
    ring = make_ring(core, RING_SIZE - 2)
    ring.write(b"abcd")
    assert core.read(RING_BASE + RING_SIZE - 2, 2) == b"ab"
    assert core.read(RING_BASE, 2) == b"cd"
    assert core.read(RING_BASE + RING_SIZE, 2) == bytes(2)


def test_taking_bytes_wakes_a_writer_that_waits_for_room() -> None:
    core = make_core()
    ring = make_ring(core)
    assert ring.read() == b""
    assert core.notified == []
    ring.write(b"x")
    ring.read()
    assert core.notified == [TAIL]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, (1 << 32) - 1),
    st.lists(st.one_of(st.none(), st.integers(0, RING_SIZE + 10)), min_size=1, max_size=20),
)
def test_a_ring_is_a_queue_with_bounds(at: int, steps: list[int | None]) -> None:
    """None reads, a number writes so many bytes; the model is a plain bytes."""
    ring, model, count = make_ring(make_core(), at), b"", 0
    for step in steps:
        if step is None:
            assert ring.read() == model
            model = b""
        else:
            count += 1
            data = (bytes([count % 251, 7, 9]) * (step // 3 + 1))[:step]
            taken = min(step, RING_SIZE - len(model))
            assert ring.write(data) == taken
            model += data[:taken]
        assert ring.used == len(model)


# --- places ----------------------------------------------------------------------------


def test_rings_lie_apart_in_their_area() -> None:
    places = [ring_place(number) for number in range(16)]
    assert places == [RING_BASE + number * RING_SIZE for number in range(16)]
    assert places[-1] + RING_SIZE == RAM_OFFSET


def test_there_is_no_room_for_an_eighth_virtio_console() -> None:
    with pytest.raises(BadConfiguration, match="console 7: a machine has memory for 7 virtio consoles"):
        ring_place(2 + 2 * 7)


# --- UartConsole -------------------------------------------------------------------------


def test_uart_output() -> None:
    core = make_core()
    console = UartConsole(core)
    assert console.read() == b""
    assert core.called == []
    other_end_writes(core, "Machine.uart.tx", b"login: ")
    assert console.read() == b"login: "
    assert core.called == [("uart_input", ())]  # it may have waited for room


def test_uart_input() -> None:
    core = make_core()
    console = UartConsole(core)
    assert console.write(b"root\n") == 5
    assert core.called == [("uart_input", ())]
    assert other_end_reads(core, "Machine.uart.rx") == b"root\n"
    assert console.read() == b""


# --- VirtioConsole -----------------------------------------------------------------------


def test_a_virtio_console_fills_its_slot() -> None:
    core = make_core()
    VirtioConsole(core, 3)
    words = {"device_id": 3, "backend": CONSTANTS["VIRTIO_BACKEND_CONSOLE"], "queue_count": 2, "config_size": 12}
    for name, value in words.items():
        assert core.load(field(f"Machine.virtio.{name}", 3).offset) == value
    features = int.from_bytes(core.read(field("Machine.virtio.device_features", 3).offset, 8), "little")
    assert features & FEATURE_SIZE
    assert features & FEATURE_VERSION_1
    for slot in (2, 4):
        assert core.load(field("Machine.virtio.device_id", slot).offset) == 0


def test_virtio_consoles_do_not_share_bytes() -> None:
    core = make_core()
    consoles = [VirtioConsole(core, slot, number) for number, slot in enumerate((0, 1, 9))]
    uart = UartConsole(core)
    for console in consoles:
        other_end_writes(core, "Machine.virtio.tx", b"from %d" % console.slot, console.slot)
        assert console.write(b"to %d" % console.slot) == 4
    other_end_writes(core, "Machine.uart.tx", b"from uart")
    assert uart.read() == b"from uart"
    for console in consoles:
        assert console.read() == b"from %d" % console.slot
        assert other_end_reads(core, "Machine.virtio.rx", console.slot) == b"to %d" % console.slot
    assert core.called.count(("virtio_input", (9,))) == core.called.count(("virtio_output_drained", (9,))) == 1


def test_a_virtio_console_is_ready_when_its_driver_is() -> None:
    core = make_core()
    console = VirtioConsole(core, 2)
    assert not console.ready
    core.store(field("Machine.virtio.status", 2).offset, 11)
    assert not console.ready
    core.store(field("Machine.virtio.status", 2).offset, 11 | STATUS_DRIVER_OK)
    assert console.ready


def test_reading_nothing_tells_nobody() -> None:
    core = make_core()
    assert VirtioConsole(core, 0).read() == b""
    assert core.called == []


def test_a_size_is_16_bits() -> None:
    core = make_core()
    VirtioConsole(core, 5).resize(0x1_0050, 25)
    assert core.called == [("console_resize", (5, 0x50, 25))]


def test_a_taken_or_absent_slot_is_refused() -> None:
    core = make_core()
    VirtioConsole(core, 0)
    with pytest.raises(BadConfiguration, match="virtio slot 0 has a device already"):
        VirtioConsole(core, 0, 1)
    for slot in (-1, MAX_VIRTIO):
        with pytest.raises(BadConfiguration, match=f"virtio slot {slot}: there are slots 0 to {MAX_VIRTIO - 1}"):
            VirtioConsole(core, slot, 1)

"""The board's devices other than virtio, as a hart meets them on the bus."""

from __future__ import annotations

import time

import pytest

from hartwell.devices.board import ACLINT, PLIC, RTC, SYSCON, UART, UART_IRQ, VIRTIO
from hartwell.devices.console import UartConsole
from hartwell.layout import CONSTANTS, MAX_VIRTIO, RING_SIZE, field
from hartwell.platform import Core
from tests.core.bench import Bench, fresh_core
from tests.core.virtio_driver import FAULT, bus_read, bus_write

MSI, MTI, SEI, MEI = 3, 7, 9, 11


def mip(core: Core, hart: int = 0) -> int:
    return core.load(field("Hart.mip", hart).offset)


# --- the bus -------------------------------------------------------------------


@pytest.mark.parametrize("pa", [0, SYSCON - 4, UART + 0x100, VIRTIO + MAX_VIRTIO * 0x1000, 0x4000_0000, 1 << 55])
def test_nothing_answers_where_no_device_is(core: Core, pa: int) -> None:
    assert bus_read(core, pa) == FAULT
    assert not bus_write(core, pa, 1)


def test_an_access_over_a_devices_end_faults(core: Core) -> None:
    assert bus_read(core, PLIC + 0x60_0000 - 4, 8) == FAULT


@pytest.mark.parametrize("size", [1, 2, 8])
def test_the_plic_takes_words_only(core: Core, size: int) -> None:
    assert bus_read(core, PLIC + 4, size) == FAULT
    assert not bus_write(core, PLIC + 4, 1, size)


# --- ACLINT ----------------------------------------------------------------------


def test_software_interrupts_go_to_their_hart(core: Core) -> None:
    bus_write(core, ACLINT + 4 * (core.plan.harts - 1), 0xFFFF_FFFF)
    assert bus_read(core, ACLINT + 4 * (core.plan.harts - 1)) == 1
    assert mip(core, core.plan.harts - 1) >> MSI & 1
    bus_write(core, ACLINT + 4 * (core.plan.harts - 1), 0)
    assert not mip(core, core.plan.harts - 1) >> MSI & 1


def test_msip_of_harts_that_are_not_there_is_zero(core: Core) -> None:
    assert bus_write(core, ACLINT + 4 * core.plan.harts, 1)
    assert bus_read(core, ACLINT + 4 * core.plan.harts) == 0


def test_mtimecmp_in_halves_and_whole(core: Core) -> None:
    assert bus_read(core, ACLINT + 0x4000, 8) == FAULT  # all ones after reset: never
    bus_write(core, ACLINT + 0x4000, 0x1122_3344_5566_7788, 8)
    assert bus_read(core, ACLINT + 0x4004) == 0x1122_3344
    bus_write(core, ACLINT + 0x4000, 0xAABB_CCDD)
    bus_write(core, ACLINT + 0x4004, 1)
    assert bus_read(core, ACLINT + 0x4000, 8) == 0x1_AABB_CCDD
    assert bus_read(core, ACLINT + 0x4000, 2) == FAULT


def test_mtime_runs_and_can_be_set(core: Core) -> None:
    first = bus_read(core, ACLINT + 0xBFF8, 8)
    time.sleep(0.01)
    assert bus_read(core, ACLINT + 0xBFF8, 8) >= first + 100_000 * 0.9
    bus_write(core, ACLINT + 0xBFF8, 5 << 32, 8)
    assert bus_read(core, ACLINT + 0xBFFC) == 5
    bus_write(core, ACLINT + 0xBFFC, 7)
    assert bus_read(core, ACLINT + 0xBFF8, 8) >> 32 == 7


# --- PLIC --------------------------------------------------------------------------


class Plic:
    """Context c: hart c // 2, M mode when even, S mode when odd."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def priority(self, irq: int, value: int) -> None:
        bus_write(self.core, PLIC + 4 * irq, value)

    def enable(self, context: int, *irqs: int) -> None:
        for word in (0, 1):
            bits = sum(1 << irq % 32 for irq in irqs if irq // 32 == word)
            bus_write(self.core, PLIC + 0x2000 + 0x80 * context + 4 * word, bits)

    def threshold(self, context: int, value: int) -> None:
        bus_write(self.core, PLIC + 0x20_0000 + 0x1000 * context, value)

    def claim(self, context: int) -> int:
        return bus_read(self.core, PLIC + 0x20_0004 + 0x1000 * context)

    def complete(self, context: int, irq: int) -> None:
        bus_write(self.core, PLIC + 0x20_0004 + 0x1000 * context, irq)

    def pending(self, irq: int) -> bool:
        return bool(bus_read(self.core, PLIC + 0x1000 + irq // 32 * 4) >> irq % 32 & 1)

    def raise_line(self, slot: int) -> None:
        """Drives a virtio slot's wire high."""
        self.core.call("virtio_interrupt", slot, 1)

    def lower_line(self, slot: int) -> None:
        slot_base = VIRTIO + 0x1000 * slot
        bus_write(self.core, slot_base + 0x64, 3)


@pytest.fixture
def plic(core: Core) -> Plic:
    for slot in range(MAX_VIRTIO):  # an id makes a slot answer
        core.store(field("Machine.virtio.device_id", slot).offset, 63)
    return Plic(core)


def test_claim_and_complete(core: Core, plic: Plic) -> None:
    plic.priority(1, 1)
    plic.enable(1, 1)
    plic.raise_line(0)
    assert plic.pending(1) and mip(core) >> SEI & 1 and not mip(core) >> MEI & 1
    assert plic.claim(1) == 1
    assert not plic.pending(1) and not mip(core) >> SEI & 1
    assert plic.claim(1) == 0
    plic.complete(1, 1)
    assert mip(core) >> SEI & 1, "the line is still high, so it is pending again"
    assert plic.claim(1) == 1
    plic.lower_line(0)
    plic.complete(1, 1)
    assert not plic.pending(1) and not mip(core) >> SEI & 1


def test_a_level_that_goes_before_it_was_claimed_is_forgotten(core: Core, plic: Plic) -> None:
    plic.priority(1, 1)
    plic.enable(0, 1)
    plic.raise_line(0)
    assert mip(core) >> MEI & 1
    plic.lower_line(0)
    assert not mip(core) >> MEI & 1 and plic.claim(0) == 0


def test_priorities_then_numbers_decide(plic: Plic) -> None:
    for irq, priority in ((1, 1), (2, 7), (3, 7), (17, 3)):
        plic.priority(irq, priority)
    plic.enable(1, 1, 2, 3, 17)
    for slot in (9, 2, 1, 0):  # irq 17, 3, 2, 1
        plic.raise_line(slot)
    assert [plic.claim(1) for _ in range(5)] == [2, 3, 17, 1, 0]


def test_the_threshold_masks_the_interrupt_but_not_the_claim(core: Core, plic: Plic) -> None:
    plic.priority(1, 3)
    plic.enable(1, 1)
    plic.threshold(1, 3)
    plic.raise_line(0)
    assert not mip(core) >> SEI & 1
    assert plic.claim(1) == 1
    plic.complete(1, 1)
    plic.threshold(1, 2)
    assert mip(core) >> SEI & 1


def test_priority_zero_never_interrupts(core: Core, plic: Plic) -> None:
    plic.enable(1, 1)
    plic.raise_line(0)
    assert plic.pending(1) and not mip(core) >> SEI & 1 and plic.claim(1) == 0


def test_contexts_are_independent_and_one_claim_wins(core: Core, plic: Plic) -> None:
    contexts = range(2 * core.plan.harts)
    plic.priority(1, 1)
    for context in contexts:
        plic.enable(context, 1)
    plic.raise_line(0)
    for context in contexts:
        assert mip(core, context // 2) >> (SEI if context & 1 else MEI) & 1
    last = contexts[-1]
    assert plic.claim(last) == 1
    for context in contexts:
        assert not mip(core, context // 2) >> (SEI if context & 1 else MEI) & 1
        assert plic.claim(context) == 0
    plic.complete(last, 1)
    assert plic.claim(0) == 1


def test_completion_of_a_source_that_is_not_enabled_is_ignored(plic: Plic) -> None:
    plic.priority(1, 1)
    plic.enable(0, 1)
    plic.raise_line(0)
    assert plic.claim(0) == 1
    plic.complete(1, 1)  # context 1 has it not enabled
    assert not plic.pending(1)
    plic.complete(0, 1)
    assert plic.pending(1)


def test_registers_past_the_last_context_read_zero(core: Core, plic: Plic) -> None:
    past = 2 * core.plan.harts
    plic.enable(past, 1)
    assert bus_read(core, PLIC + 0x2000 + 0x80 * past) == 0
    assert plic.claim(past) == 0
    plic.complete(past, 5)
    plic.complete(0, 0xFFFF_FFFF)
    assert bus_write(core, PLIC, 7) and bus_read(core, PLIC) == 0, "source 0 does not exist"


# --- UART --------------------------------------------------------------------------

DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)


@pytest.fixture
def uart(core: Core) -> UartConsole:
    return UartConsole(core)


def get(core: Core, register: int) -> int:
    return bus_read(core, UART + register, 1)


def put(core: Core, register: int, value: int) -> None:
    assert bus_write(core, UART + register, value, 1)


def irq_is_high(core: Core) -> bool:
    return bool(core.load(field("Machine.plic.level").offset) >> UART_IRQ & 1)


def test_bytes_out(core: Core, uart: UartConsole) -> None:
    for byte in b"hello":
        put(core, DATA, byte)
    assert core.load(field("Machine.doorbell").offset) & CONSTANTS["DOORBELL_CONSOLE"]
    assert uart.read() == b"hello" and uart.read() == b""


def test_words_and_doublewords_do_a_bytes_access(core: Core, uart: UartConsole) -> None:
    assert bus_write(core, UART, 0x1234_5600 + ord("A"), 4)
    assert bus_write(core, UART, ord("B"), 8)
    assert uart.read() == b"AB"
    assert bus_read(core, UART + LSR, 4) == 0x60


def test_bytes_in_with_interrupt(core: Core, uart: UartConsole) -> None:
    put(core, IER, 1)
    assert get(core, LSR) & 1 == 0 and not irq_is_high(core)
    assert uart.write(b"ab") == 2
    assert irq_is_high(core) and get(core, LSR) & 1 and get(core, IIR) & 0xF == 4
    assert [get(core, DATA), get(core, DATA)] == [ord("a"), ord("b")]
    assert not irq_is_high(core) and get(core, LSR) & 1 == 0 and get(core, IIR) & 0xF == 1


def test_the_transmitter_interrupt_goes_by_reading_iir(core: Core, uart: UartConsole) -> None:
    put(core, IER, 2)
    assert irq_is_high(core) and get(core, IIR) & 0xF == 2
    assert not irq_is_high(core) and get(core, IIR) & 0xF == 1
    put(core, DATA, 65)
    assert irq_is_high(core)
    put(core, IER, 0)
    assert not irq_is_high(core)


def test_received_data_come_before_the_transmitter(core: Core, uart: UartConsole) -> None:
    put(core, IER, 3)
    uart.write(b"x")
    assert get(core, IIR) & 0xF == 4
    get(core, DATA)
    assert get(core, IIR) & 0xF == 2


def test_a_full_ring_holds_the_transmitter_back(core: Core, uart: UartConsole) -> None:
    head = field("Machine.uart.tx.head").offset
    core.store(head, RING_SIZE - 1)
    put(core, DATA, ord("!"))
    put(core, IER, 2)
    assert get(core, LSR) & 0x60 == 0 and not irq_is_high(core)
    put(core, DATA, ord("?"))
    assert core.load(field("Machine.uart.tx.lost").offset) == 1
    assert uart.read()[-1:] == b"!"
    assert irq_is_high(core) and get(core, LSR) & 0x60 == 0x60


def test_input_beyond_the_ring_is_left_to_the_caller(core: Core, uart: UartConsole) -> None:
    assert uart.write(bytes(RING_SIZE + 10)) == RING_SIZE
    assert uart.write(b"x") == 0
    get(core, DATA)
    assert uart.write(b"xy") == 1


def test_rings_wrap(core: Core, uart: UartConsole) -> None:
    for ring in ("tx", "rx"):
        for end in ("head", "tail"):
            core.store(field(f"Machine.uart.{ring}.{end}").offset, 0xFFFF_FFFE)
    for byte in b"wrapped":
        put(core, DATA, byte)
    assert uart.read() == b"wrapped"
    assert uart.write(b"again") == 5
    assert bytes(get(core, DATA) for _ in range(5)) == b"again" and get(core, LSR) & 1 == 0


def test_clearing_the_fifo_drops_what_a_fifo_holds(core: Core, uart: UartConsole) -> None:
    uart.write(bytes(range(20)))
    put(core, IIR, 0x07)
    assert get(core, DATA) == 16
    assert get(core, IIR) & 0xC0 == 0xC0


def test_divisor_latch_scratch_and_modem_loop(core: Core, uart: UartConsole) -> None:
    put(core, SCR, 0x5A)
    put(core, LCR, 0x83)
    put(core, DATA, 0x12)
    put(core, IER, 0x34)
    assert (get(core, DATA), get(core, IER), get(core, SCR)) == (0x12, 0x34, 0x5A)
    put(core, LCR, 0x03)
    assert get(core, IER) == 0 and uart.read() == b""
    put(core, MCR, 0x10 | 0x0A)  # what Linux looks for: OUT2 and RTS come back as DCD and CTS
    assert get(core, MSR) & 0xF0 == 0x90


def test_what_the_sbi_console_takes_is_not_received_by_the_uart() -> None:
    core = fresh_core(firmware="BUILTIN")
    hart, uart = Bench(core), UartConsole(core)
    put(core, IER, 1)
    assert uart.write(b"abc") == 3 and irq_is_high(core)
    for count in (2, 1):  # DBCN: read
        hart.execute("ecall", Bench.S, a7=0x4442434E, a6=1, a0=8 if count == 1 else 2, a1=Bench.DATA, a2=0)
        assert (hart.x("a0"), hart.x("a1")) == (0, count)
        assert irq_is_high(core) == (count == 2)
    core.terminate()


# --- RTC and syscon ------------------------------------------------------------------


def rtc_now(core: Core) -> int:
    low = bus_read(core, RTC)
    return low | bus_read(core, RTC + 4) << 32


def test_the_clock_is_the_hosts_until_set(core: Core) -> None:
    before, now = time.time_ns(), rtc_now(core)
    assert before - 5_000_000_000 < now < time.time_ns() + 5_000_000_000
    bus_write(core, RTC + 4, 1)
    before = time.monotonic_ns()
    bus_write(core, RTC, 500)
    now = rtc_now(core)
    assert (1 << 32) + 500 <= now < (1 << 32) + 500 + time.monotonic_ns() - before + 5_000_000_000


def test_an_alarm_interrupts_when_due(core: Core) -> None:
    level = field("Machine.plic.level").offset
    bus_write(core, RTC + 0x10, 1)
    later = rtc_now(core) + 3_600_000_000_000
    bus_write(core, RTC + 0x0C, later >> 32)
    bus_write(core, RTC + 0x08, later & 0xFFFF_FFFF)
    assert bus_read(core, RTC + 0x18) == 1 and not core.load(level) >> 11 & 1
    bus_write(core, RTC + 0x14, 0)
    assert bus_read(core, RTC + 0x18) == 0
    bus_write(core, RTC + 0x0C, 0)
    bus_write(core, RTC + 0x08, 1)
    assert core.load(level) >> 11 & 1 and bus_read(core, RTC + 0x18) == 0
    bus_write(core, RTC + 0x1C, 1)
    assert not core.load(level) >> 11 & 1


@pytest.mark.parametrize(
    ("value", "reason", "code"),
    [(0x5555, "STOP_POWEROFF", 0), (0x7777, "STOP_REBOOT", 0), (0x3333 | 42 << 16, "STOP_EXIT", 42)],
)
def test_syscon_ends_the_machine(core: Core, value: int, reason: str, code: int) -> None:
    assert bus_write(core, SYSCON, 0x1234) and core.load(field("Machine.stop_reason").offset) == 0
    bus_write(core, SYSCON, value)
    assert core.load(field("Machine.stop_reason").offset) == CONSTANTS[reason]
    assert core.load(field("Machine.exit_code").offset) == code
    assert core.load(field("Machine.doorbell").offset) & CONSTANTS["DOORBELL_STOP"]


def test_a_reset_takes_interrupts_back(core: Core, uart: UartConsole) -> None:
    put(core, IER, 2)
    bus_write(core, ACLINT, 1)
    assert irq_is_high(core)
    core.call("machine_reset")
    assert not irq_is_high(core) and get(core, IER) == 0
    assert bus_read(core, ACLINT) == 0 and mip(core) == 0


@pytest.mark.parametrize("before", [0, 5, RING_SIZE - 4])
def test_what_rings_have_had_becomes_zeros(core: Core, uart: UartConsole, before: int) -> None:
    """A snapshot need not keep it; what nobody has read yet stays."""
    ring, sent = field("Machine.uart.rx").offset, b"ten bytes!"
    head, tail, bytes_at = ring, ring + 4, core.load(ring + 8)
    core.write(bytes_at, b"x" * RING_SIZE)
    for word in (head, tail):
        core.store(word, before)
    assert uart.write(sent) == len(sent)
    core.call("rings_clear")
    left = bytearray(RING_SIZE)
    for at, byte in enumerate(sent, before):
        left[at % RING_SIZE] = byte
    assert core.read(bytes_at, RING_SIZE) == left
    assert core.load(head) - core.load(tail) == len(sent)

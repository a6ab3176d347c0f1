"""virtio-mmio, its queues, and the devices served in C: whole requests as a
driver makes them, and drivers that break every rule."""

from __future__ import annotations

import pytest

from hartwell.devices.board import virtio_irq
from hartwell.devices.console import VirtioConsole
from hartwell.devices.virtio import Chain, VirtioDevice
from hartwell.errors import BadConfiguration
from hartwell.layout import MAX_VIRTIO, RAM_BASE, RAM_OFFSET, RING_SIZE, field
from hartwell.platform import Core
from tests.core.bench import fresh_core
from tests.core.memory_disk import Memory
from tests.core.virtio_driver import (
    DRIVER_OK,
    EVENT_IDX,
    FAULT,
    INDIRECT,
    INDIRECT_DESC,
    NEEDS_RESET,
    NEXT,
    VERSION_1,
    WRITE,
    Driver,
    descriptor,
)

RECEIVE, TRANSMIT = 0, 1


@pytest.fixture
def console(core: Core) -> VirtioConsole:
    return VirtioConsole(core, 0)


@pytest.fixture
def driver(core: Core, console: VirtioConsole) -> Driver:
    """A driver of the console, before its set-up."""
    return Driver(core, 0)


def line_is_high(core: Core, slot: int) -> bool:
    irq = virtio_irq(slot)
    return bool(core.load(field("Machine.plic.level").offset + irq // 32 * 4) >> irq % 32 & 1)


# --- registers -----------------------------------------------------------------


def test_an_empty_slot_says_so(core: Core) -> None:
    empty = Driver(core, MAX_VIRTIO - 1)
    assert (empty.read(0), empty.read(4), empty.read(8)) == (0x7472_6976, 2, 0)
    assert empty.write(0x70, 1) and empty.status == 0


def test_identity_features_and_missing_memory_regions(driver: Driver) -> None:
    assert (driver.read(0), driver.read(4), driver.read(8)) == (0x7472_6976, 2, 3)
    assert driver.read(0xC) == int.from_bytes(b"QEMU", "little"), "xv6 wants it so"
    assert driver.offered_features() == VERSION_1 | EVENT_IDX | INDIRECT_DESC | 1
    assert driver.read(0xB0) == driver.read(0xB4) == 0xFFFF_FFFF


@pytest.mark.parametrize(("offset", "size"), [(0, 1), (2, 2), (0, 8), (0x70, 2), (0x72, 4)])
def test_registers_are_aligned_words(driver: Driver, offset: int, size: int) -> None:
    assert driver.read(offset, size) == FAULT
    assert not driver.write(offset, 0, size)


def test_features_that_were_not_offered_are_refused(driver: Driver) -> None:
    assert not driver.negotiate(VERSION_1 | 1 << 40)
    assert not driver.negotiate(0), "a driver of the time before 1.0"
    assert driver.negotiate(VERSION_1)


def test_a_disk_takes_a_driver_that_never_heard_of_1_0(core: Core, disk: Memory) -> None:
    driver = Driver(core, 1)
    assert driver.negotiate(0)
    assert not driver.negotiate(1 << 40)


def test_features_are_fixed_once_agreed(core: Core, driver: Driver) -> None:
    driver.negotiate(VERSION_1)
    driver.write(0x24, 0)
    driver.write(0x20, INDIRECT_DESC)
    raw = core.read(field("Machine.virtio.driver_features", 0).offset, 8)
    assert int.from_bytes(raw, "little") == VERSION_1


def test_reset_forgets_everything(core: Core, driver: Driver) -> None:
    driver.start(2)
    count = core.load(field("Machine.virtio.reset_count", 0).offset)
    core.call("console_resize", 0, 80, 25)
    assert line_is_high(core, 0)
    driver.write(0x70, 0)
    assert driver.status == 0 and driver.read(0x60) == 0 and not line_is_high(core, 0)
    driver.write(0x30, 0)
    assert driver.read(0x44) == 0
    assert core.load(field("Machine.virtio.reset_count", 0).offset) == count + 1


def test_queues_that_do_not_exist(driver: Driver) -> None:
    driver.negotiate(VERSION_1)
    for index in (2, 4, 0xFFFF_FFFF):
        driver.write(0x30, index)
        driver.write(0x38, 8)
        driver.write(0x44, 1)
        assert driver.read(0x34) == driver.read(0x44) == 0
        driver.write(0x50, index)
    assert not driver.status & NEEDS_RESET


@pytest.mark.parametrize(
    ("num", "desc", "avail", "used"),
    [
        (0, 0, 0x1000, 0x2000), (3, 0, 0x1000, 0x2000), (512, 0, 0x4000, 0x8000), (0xFFFF_FFFF, 0, 0x1000, 0x2000),
        (8, 8, 0x1000, 0x2000), (8, 0, 0x1001, 0x2000), (8, 0, 0x1000, 0x2002),
        (8, -0x1000, 0x1000, 0x2000), (8, 0, 1 << 40, 0x2000), (8, 0, 0x1000, (1 << 64) - RAM_BASE - 4),
    ],
)
def test_a_queue_that_cannot_be(driver: Driver, num: int, desc: int, avail: int, used: int) -> None:
    driver.negotiate(VERSION_1)
    driver.place_queue(0, num, RAM_BASE + desc, RAM_BASE + avail, RAM_BASE + used)
    assert driver.read(0x44) == 0 and driver.status & NEEDS_RESET


def test_a_queue_over_the_end_of_ram(core: Core, driver: Driver) -> None:
    driver.negotiate(VERSION_1)
    driver.place_queue(0, 16, RAM_BASE + core.plan.ram_bytes - 240, RAM_BASE + 0x1000, RAM_BASE + 0x2000)
    assert driver.read(0x44) == 0 and driver.status & NEEDS_RESET


def test_nothing_is_taken_before_the_driver_is_ready(driver: Driver, console: VirtioConsole) -> None:
    driver.start(2, live=False)
    driver.request(TRANSMIT, [b"early"], [])
    assert driver.used(TRANSMIT) == [] and console.read() == b""
    driver.go()
    assert len(driver.used(TRANSMIT)) == 1 and console.read() == b"early"


def test_slots_are_given_once(core: Core, console: VirtioConsole) -> None:
    with pytest.raises(BadConfiguration, match="slot 0 has a device"):
        VirtioConsole(core, 0, 1)
    with pytest.raises(BadConfiguration, match="slots 0 to 15"):
        VirtioConsole(core, 16, 1)
    with pytest.raises(BadConfiguration, match="7 virtio consoles"):
        VirtioConsole(core, 2, 7)


# --- console -----------------------------------------------------------------------


def test_console_both_ways(core: Core, driver: Driver, console: VirtioConsole) -> None:
    assert not console.ready
    driver.start(2)
    assert console.ready
    head, _ = driver.request(TRANSMIT, [b"to the ", b"host"], [])
    assert driver.used(TRANSMIT) == [(head, 0)] and console.read() == b"to the host"
    assert driver.interrupts == 1 and not line_is_high(core, 0)
    head, [first, second] = driver.request(RECEIVE, [], [4, 16])
    assert driver.used(RECEIVE) == []
    assert console.write(b"to the guest") == 12
    assert driver.used(RECEIVE) == [(head, 12)]
    assert driver.peek(first, 4) + driver.peek(second, 8) == b"to the guest"
    assert line_is_high(core, 0)


def test_input_waits_for_buffers(driver: Driver, console: VirtioConsole) -> None:
    console.write(b"typed before Linux was up")
    driver.start(2)
    driver.request(RECEIVE, [], [10])
    driver.request(RECEIVE, [], [100])
    assert [count for _, count in driver.used(RECEIVE)] == [10, 15]


def test_resize_changes_config_and_interrupts(driver: Driver, console: VirtioConsole) -> None:
    driver.start(2, features=VERSION_1 | 1)
    generation = driver.read(0xFC)
    console.resize(132, 43)
    assert (driver.read(0x100, 2), driver.read(0x102, 2)) == (132, 43)
    assert driver.read(0xFC) != generation and driver.interrupts == 2


def test_drivers_cannot_write_the_consoles_config(driver: Driver, console: VirtioConsole) -> None:
    console.resize(80, 25)
    driver.write(0x100, 0xFFFF_FFFF)
    assert driver.read(0x100) == 80 | 25 << 16 and driver.read(0x1FC) == 0


def test_a_full_ring_leaves_buffers_in_the_queue(driver: Driver, console: VirtioConsole) -> None:
    driver.start(2)
    for _ in range(5):
        driver.request(TRANSMIT, [bytes(RING_SIZE // 4 + 1)], [])
    assert len(driver.used(TRANSMIT)) == 3
    assert len(console.read()) == 3 * (RING_SIZE // 4 + 1)
    assert len(driver.used(TRANSMIT)) == 2, "draining lets the rest go on"
    assert len(console.read()) == 2 * (RING_SIZE // 4 + 1)


def test_output_larger_than_the_ring_is_refused(driver: Driver, console: VirtioConsole) -> None:
    driver.start(2)
    driver.request(TRANSMIT, [bytes(RING_SIZE), b"!"], [])
    assert driver.status & NEEDS_RESET and console.read() == b""


def test_output_whose_size_no_word_holds_is_refused() -> None:
    """16 MiB named 256 times: 2^32 bytes, which is 0 to who counts in 32 bits."""
    core = fresh_core(ram=16 << 20)
    VirtioConsole(core, 0)
    driver = Driver(core, 0)
    driver.start(2, features=VERSION_1 | INDIRECT_DESC)
    table = b"".join(descriptor(RAM_BASE, 16 << 20, NEXT if at < 255 else 0, at + 1) for at in range(256))
    place = driver.allocate(len(table))
    driver.poke(place, table)
    driver.describe(driver.queues[TRANSMIT], 0, place, len(table), INDIRECT)
    driver.offer(driver.queues[TRANSMIT], 0)
    assert driver.status & NEEDS_RESET
    core.terminate()


def test_indirect_tables(driver: Driver, console: VirtioConsole) -> None:
    driver.start(2, features=VERSION_1 | INDIRECT_DESC)
    head, _ = driver.request(TRANSMIT, [b"a", b"bc", b"def"], [], indirect=True)
    assert driver.used(TRANSMIT) == [(head, 0)] and console.read() == b"abcdef"


def test_many_rounds_wrap_the_rings(driver: Driver, console: VirtioConsole) -> None:
    driver.start(2, num=4)
    for turn in range(70):
        driver.request(TRANSMIT, [b"%d," % turn], [])
    assert console.read() == b"".join(b"%d," % turn for turn in range(70))


# --- interrupts and notifications -----------------------------------------------------


def test_a_driver_that_wants_no_interrupt_gets_none(driver: Driver) -> None:
    driver.start(2)
    driver.poke(driver.queues[TRANSMIT].avail, b"\1\0")
    driver.request(TRANSMIT, [b"x"], [])
    assert driver.interrupts == 0
    driver.poke(driver.queues[TRANSMIT].avail, b"\0\0")
    driver.request(TRANSMIT, [b"x"], [])
    assert driver.interrupts == 1


def test_event_index_interrupts_when_passed(driver: Driver) -> None:
    driver.start(2, features=VERSION_1 | EVENT_IDX)
    driver.want_interrupt_after(TRANSMIT, 2)
    seen = []
    for _ in range(5):
        driver.request(TRANSMIT, [b"x"], [])
        seen.append(driver.interrupts)
    assert seen == [0, 0, 1, 0, 0]


def test_event_index_is_passed_within_a_batch(driver: Driver) -> None:
    driver.start(2, features=VERSION_1 | EVENT_IDX)
    driver.want_interrupt_after(TRANSMIT, 1)
    for turn in range(4):
        driver.request(TRANSMIT, [b"x"], [], notify=turn == 3)
    assert driver.interrupts == 1
    assert driver.notify_wanted_at(TRANSMIT) == 4


# --- chains that break the rules --------------------------------------------------------


def break_it(driver: Driver, *entries: tuple[int, int, int, int], head: int = 0) -> None:
    """Offers a chain of descriptors given raw: (address, length, flags, next)."""
    queue = driver.queues[-1]
    for index, (address, count, flags, then) in enumerate(entries):
        driver.describe(queue, index, address, count, flags, then)
    driver.offer(queue, head)


GOOD = RAM_BASE + 0x2000

HOSTILE = {
    "a head past the table": ([(GOOD, 1, 0, 0)], 16),
    "a head far past the table": ([(GOOD, 1, 0, 0)], 0xFFFF),
    "a next past the table": ([(GOOD, 1, NEXT, 16)], 0),
    "a chain of itself": ([(GOOD, 1, NEXT, 0)], 0),
    "a loop of two": ([(GOOD, 1, NEXT, 1), (GOOD, 1, NEXT, 0)], 0),
    "below RAM": ([(RAM_BASE - 1, 1, 0, 0)], 0),
    "at zero": ([(0, 16, 0, 0)], 0),
    "a device": ([(0x1000_0000, 16, 0, 0)], 0),
    "past the end of RAM": ([(RAM_BASE, 0xFFFF_FFFF, 0, 0)], 0),
    "at the top of the address space": ([((1 << 64) - 1, 2, 0, 0)], 0),
    "wrapping round it": ([((1 << 64) - 8, 0x8000_0010, 0, 0)], 0),
    "readable after writable": ([(GOOD, 1, NEXT | WRITE, 1), (GOOD, 1, 0, 0)], 0),
    "an indirect table of no size": ([(GOOD, 0, INDIRECT, 0)], 0),
    "an indirect table of an odd size": ([(GOOD, 17, INDIRECT, 0)], 0),
    "an indirect table outside RAM": ([(1 << 62, 16, INDIRECT, 0)], 0),
    "an indirect table far too large": ([(GOOD, 0xFFFF_FFF0, INDIRECT, 0)], 0),
    "an indirect table that goes on": ([(GOOD, 16, INDIRECT | NEXT, 1), (GOOD, 1, 0, 0)], 0),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("slot", [0, 1])
def test_hostile_chains_end_in_needs_reset(
    core: Core, console: VirtioConsole, disk: Memory, slot: int, kind: str
) -> None:
    driver = Driver(core, slot)
    driver.start(2 - slot, features=VERSION_1 | INDIRECT_DESC)
    driver.poke(GOOD, descriptor(1 << 62, 1, NEXT, 0xFFFF))
    chain, head = HOSTILE[kind]
    break_it(driver, *chain, head=head)
    assert driver.status & NEEDS_RESET and driver.interrupts & 2
    assert driver.used(-1) == []
    assert core.read(field("Machine.virtio.errors", slot).offset, 8) == (1).to_bytes(8, "little")
    # It stays so, whatever is notified, until a reset; then all is well again.
    driver.notify(driver.queues[-1])
    driver.write(0x70, 0)
    driver.start(2 - slot, features=VERSION_1 | INDIRECT_DESC)
    assert driver.status & (NEEDS_RESET | DRIVER_OK) == DRIVER_OK


def test_an_indirect_table_in_an_indirect_table(driver: Driver) -> None:
    driver.start(2, features=VERSION_1 | INDIRECT_DESC)
    driver.poke(GOOD, descriptor(GOOD, 16, INDIRECT))
    break_it(driver, (GOOD, 16, INDIRECT, 0))
    assert driver.status & NEEDS_RESET


def test_an_indirect_table_that_was_not_negotiated(driver: Driver) -> None:
    driver.start(2)
    driver.poke(GOOD, descriptor(GOOD, 16))
    break_it(driver, (GOOD, 16, INDIRECT, 0))
    assert driver.status & NEEDS_RESET


def test_more_made_available_than_the_queue_holds(driver: Driver) -> None:
    driver.start(2)
    queue = driver.queues[TRANSMIT]
    driver.poke(queue.avail + 2, (queue.num + 1).to_bytes(2, "little"))
    driver.notify(queue)
    assert driver.status & NEEDS_RESET


# --- held ------------------------------------------------------------------------------------


class Echo(VirtioDevice):
    """Keeps its chains."""

    device_id = 63

    def __init__(self) -> None:
        self.chains: list[Chain] = []

    def on_request(self, queue: int, chain: Chain) -> None:
        self.chains.append(chain)


def test_held_devices_leave_queues_and_memory_alone(core: Core) -> None:
    """While a machine is saved: what ends is given back afterwards, what comes is taken afterwards."""
    console, echo = VirtioConsole(core, 0), Echo()
    echo.attach(core, 1)
    drivers = [Driver(core, 0), Driver(core, 1)]
    drivers[0].start(queues=2)
    drivers[1].start()
    drivers[0].request(RECEIVE, [], [16])
    drivers[1].request(0, [b"one"], [8])
    assert echo.serve()
    first = echo.chains.pop()
    core.call("devices_hold", 1)
    echo.hold()
    before = core.read(RAM_OFFSET, core.plan.ram_bytes), echo.state()
    console.write(b"typed")
    first.complete()
    drivers[1].notify(drivers[1].queues[0])
    echo.serve()
    after = core.read(RAM_OFFSET, core.plan.ram_bytes), echo.state()
    assert before == after
    assert before[1]["open"] == [(0, 0)], "a request that ends now is under way in the snapshot"
    drivers[1].request(0, [b"two"], [8])
    echo.serve()
    assert not echo.chains and drivers[0].used(RECEIVE) == [] and drivers[1].used(0) == []
    core.call("devices_hold", 0)
    echo.release()
    assert drivers[0].used(RECEIVE) == [(0, 5)]
    assert drivers[1].used(0) == [(0, 0)]
    assert echo.serve(), "the notification that was not heeded"
    assert [chain.read() for chain in echo.chains] == [b"two"]
    assert echo.state()["open"] == [(0, 2)]


def test_what_a_strangers_snapshot_says_of_queues(core: Core, driver: Driver, console: VirtioConsole) -> None:
    """It is looked at on the supervisor's thread: no count of queues may keep that for a minute."""
    driver.start(2)

    def put(name: str, value: int, *indexes: int) -> None:
        slot = field(f"Machine.virtio.{name}", 0, *indexes)
        core.write(slot.offset, value.to_bytes(slot.size, "little"))

    for name in ("queue_count", "config_size", "queue_max"):
        put(name, 0xFFFF_FFFF)
    put("queue.num", 0, RECEIVE)
    put("queue.num", 0x8000_0000, TRANSMIT)
    console.write(b"x")
    core.call("machine_woken")
    core.call("devices_hold", 0)
    driver.write(0x30, TRANSMIT)
    assert driver.read(0x44) == 0, "the queue is none"
    config = field("Machine.virtio.config", 0)
    assert driver.read(0x100 + config.count - 4) == 0 and driver.read(0x100 + config.count) == 0
    driver.write(0x70, 0)
    driver.start(2)
    driver.request(TRANSMIT, [b"again"], [])
    assert console.read() == b"again"

"""virtio-blk, served in C: requests as a driver makes them, and wrong ones."""

from __future__ import annotations

import pytest

from hartwell.devices.block import SEGMENTS
from hartwell.layout import CONSTANTS, RAM_BASE
from hartwell.platform import Core
from tests.core.memory_disk import IMAGE, SECTOR, Memory
from tests.core.virtio_driver import INDIRECT_DESC, NEEDS_RESET, NEXT, VERSION_1, WRITE, Driver

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2


@pytest.fixture
def disk_driver(core: Core, disk: Memory) -> Driver:
    """Of that disk, ready for requests."""
    driver = Driver(core, 1)
    driver.start(features=VERSION_1 | INDIRECT_DESC)
    return driver


def ask(
    driver: Driver, kind: int, sector: int, data: bytes = b"", room: int = 0, *, indirect: bool = False
) -> tuple[int, bytes, int]:
    """One request: (status, bytes read, bytes that the device says it wrote)."""
    header = kind.to_bytes(4, "little") + bytes(4) + sector.to_bytes(8, "little")
    head, places = driver.request(0, [header, data] if data else [header], [room, 1] if room else [1], indirect=indirect)
    [(back, written)] = driver.used(0)
    assert back == head
    return driver.peek(places[-1], 1)[0], driver.peek(places[0], room), written


def test_reads_and_writes(disk: Memory, disk_driver: Driver) -> None:
    assert ask(disk_driver, IN, 3, room=2 * SECTOR) == (OK, IMAGE[3 * SECTOR : 5 * SECTOR], 2 * SECTOR + 1)
    assert ask(disk_driver, OUT, 127, b"\xa5" * SECTOR)[0] == OK
    assert disk.read(127 * SECTOR, 4096) == b"\xa5" * SECTOR
    assert ask(disk_driver, IN, 126, room=2 * SECTOR, indirect=True)[1] == IMAGE[126 * SECTOR : 127 * SECTOR] + b"\xa5" * SECTOR
    assert ask(disk_driver, FLUSH, 0)[0] == OK


def test_header_and_data_may_be_cut_anywhere(disk_driver: Driver) -> None:
    header = OUT.to_bytes(4, "little") + bytes(12)
    head, [status] = disk_driver.request(0, [header[:5], header[5:] + b"z" * 100, b"z" * 412], [1])
    assert disk_driver.used(0) == [(head, 1)] and disk_driver.peek(status, 1) == b"\0"
    head, [a, b] = disk_driver.request(0, [bytes(16)], [500, 13])
    assert disk_driver.used(0) == [(head, 513)]
    assert disk_driver.peek(a, 500) + disk_driver.peek(b, 13) == b"z" * 512 + b"\0"


def test_the_config_names_the_size(disk_driver: Driver) -> None:
    assert disk_driver.read(0x100, 8) == 128


def test_identity(disk_driver: Driver) -> None:
    status, name, _ = ask(disk_driver, GET_ID, 0, room=20)
    assert (status, name.rstrip(b"\0")) == (OK, b"hartwell-0")


@pytest.mark.parametrize(
    ("kind", "sector", "data", "room"),
    [
        (IN, 128, b"", SECTOR), (IN, 127, b"", 2 * SECTOR), (IN, 1 << 55, b"", SECTOR), (IN, (1 << 64) - 1, b"", SECTOR),
        (IN, 0, b"", 100), (OUT, 128, bytes(SECTOR), 0), (OUT, (1 << 55) + 1, bytes(SECTOR), 0), (OUT, 0, b"odd", 0),
        (DISCARD, 0, b"", 0), (DISCARD, 0, bytes(15), 0), (WRITE_ZEROES, 0, bytes(32), 0),
    ],
)
def test_requests_off_the_disk(disk: Memory, disk_driver: Driver, kind: int, sector: int, data: bytes, room: int) -> None:
    assert ask(disk_driver, kind, sector, data, room)[0] == IOERR
    assert disk.read(0, len(IMAGE)) == IMAGE and not disk_driver.status & NEEDS_RESET


def zone(sector: int, count: int, flags: int = 0) -> bytes:
    return sector.to_bytes(8, "little") + count.to_bytes(4, "little") + flags.to_bytes(4, "little")


def test_zeroing_and_discarding(disk: Memory, disk_driver: Driver) -> None:
    assert ask(disk_driver, WRITE_ZEROES, 0, zone(1, 2, 1))[0] == OK
    assert ask(disk_driver, DISCARD, 0, zone(127, 1))[0] == OK
    assert disk.read(0, len(IMAGE)) == IMAGE[:512] + bytes(1024) + IMAGE[1536:-512] + bytes(512)
    for kind, bad in ((WRITE_ZEROES, zone(0, 1, 2)), (DISCARD, zone(0, 1, 1))):
        assert ask(disk_driver, kind, 0, bad)[0] == UNSUPP
    for bad in (zone(127, 2), zone(1 << 60, 1), zone(0, 0xFFFF_FFFF)):
        assert ask(disk_driver, WRITE_ZEROES, 0, bad)[0] == IOERR


def test_unknown_requests(disk_driver: Driver) -> None:
    assert ask(disk_driver, 99, 0)[0] == UNSUPP


@pytest.mark.parametrize(("readable", "writable"), [([bytes(16)], []), ([bytes(15)], [1]), ([], [513])])
def test_a_request_without_header_or_status(disk_driver: Driver, readable: list[bytes], writable: list[int]) -> None:
    disk_driver.request(0, readable, writable)
    assert disk_driver.status & NEEDS_RESET and disk_driver.used(0) == []


def test_a_read_only_disk(core: Core) -> None:
    disk = Memory(core, 2, IMAGE, read_only=True)
    driver = Driver(core, 2)
    assert driver.offered_features() & (1 << 5 | 1 << 13) == 1 << 5
    driver.start()
    for kind, data in ((OUT, bytes(SECTOR)), (WRITE_ZEROES, zone(0, 1)), (DISCARD, zone(0, 1))):
        assert ask(driver, kind, 0, data)[0] == IOERR
    assert disk.read(0, SECTOR) == IMAGE[:SECTOR]
    assert ask(driver, IN, 0, room=SECTOR)[0] == OK


def test_written_ram_is_marked_dirty(core: Core, disk_driver: Driver) -> None:
    flags = core.plan.values["page_flags_offset"]
    place = disk_driver.allocate(SECTOR, 4096)
    page = flags + (place - RAM_BASE) // 4096
    core.write(page, b"\0")
    status = disk_driver.allocate(1, 4096)
    queue = disk_driver.queues[0]
    disk_driver.describe(queue, 0, disk_driver.allocate(16), 16, NEXT, 1)
    disk_driver.describe(queue, 1, place, SECTOR, NEXT | WRITE, 2)
    disk_driver.describe(queue, 2, status, 1, WRITE)
    disk_driver.offer(queue, 0)
    for flag in (page, flags + (status - RAM_BASE) // 4096):
        assert core.read(flag, 1)[0] & CONSTANTS["PAGE_DIRTY"]


def test_a_request_of_as_many_buffers_as_are_offered(core: Core, disk_driver: Driver) -> None:
    """seg_max of them, header and status: one MiB of a guest's scattered pages goes in few requests."""
    header = IN.to_bytes(4, "little") + bytes(12)
    head, places = disk_driver.request(0, [header], [SECTOR // 2] * SEGMENTS + [1], indirect=True)
    assert disk_driver.used(0) == [(head, SEGMENTS * SECTOR // 2 + 1)]
    assert b"".join(disk_driver.peek(place, SECTOR // 2) for place in places[:-1]) == IMAGE[: SEGMENTS * SECTOR // 2]
    assert disk_driver.peek(places[-1], 1)[0] == OK

"""A disk's cache in C, with a storage side of a few lines: what waits, what gives way, what a commit writes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from hartwell.devices.block import BlockDevice
from hartwell.disks import DiskPlan
from hartwell.layout import CONSTANTS, DISK_CHUNK, RAM_BASE, RAM_OFFSET, field
from hartwell.platform import Core
from hartwell.snapshot import structures
from tests.core import bench
from tests.core.virtio_driver import NEEDS_RESET, VERSION_1, WRITE, Driver

IN, OUT, FLUSH, DISCARD, WRITE_ZEROES = 0, 1, 4, 11, 13
OK, IOERR = 0, 1
NONE = 0xFFFF_FFFF
SECTORS = DISK_CHUNK // 512
CHUNKS, FRAMES = 40, 8


def content(chunk: int) -> bytes:
    """What the base has there."""
    return bytes([chunk + 1, 0x5A]) * (DISK_CHUNK // 2)


class Storage:
    """The other side: a base of `content`, a dictionary as the store."""

    def __init__(self, core: Core, *, durable: bool = True, zeros: frozenset[int] = frozenset()) -> None:
        self.core = core
        at = core.plan.values["blob_offset"]
        base = {"kind": "raw", "name": "test"}
        plan = DiskPlan("test", CHUNKS * DISK_CHUNK, base, None, "test" if durable else None, False, FRAMES)
        self.plan = plan.at(at)
        assert self.plan.room <= core.plan.values["blob_bytes"]
        self.device = BlockDevice(core, 1, 0, self.plan)
        self.kept: dict[int, bytes] = {}
        self.broken: set[int] = set()
        self.refuses = False
        core.call("disk_open", 0)
        for chunk in zeros:
            core.write(self.plan.areas["marks"][0] + chunk, bytes([CONSTANTS["DISK_ZERO"]]))
        self.zeros = zeros

    def base(self, chunk: int) -> bytes:
        return bytes(DISK_CHUNK) if chunk in self.zeros else content(chunk)

    def wanted(self) -> list[int]:
        """Takes all that is waited for."""
        found = []
        while (chunk := self.core.call("disk_next", 0) & NONE) != NONE:
            found.append(chunk)
        return found

    def fetch(self) -> list[int]:
        """Brings what is waited for, and serves; which chunks those were."""
        found = self.wanted()
        for chunk in found:
            if chunk in self.broken:
                self.core.call("disk_filled", 0, chunk, 0, 2)
                continue
            place = self.core.call("disk_place", 0, chunk)
            assert place, "a frame is free: a request is smaller than the cache"
            self.core.write(place, self.kept.get(chunk, self.base(chunk)))
            self.core.call("disk_filled", 0, chunk, place, 0)
        self.core.call("disk_serve", 0)
        return found

    def commit(self, between: Callable[[], None] = lambda: None) -> list[int]:
        """Writes the changes; which chunks those were."""
        self.core.call("disk_commit_begin", 0)
        changes: dict[int, bytes] = {}
        for frame in range(FRAMES):
            at = self.plan.areas["frame"][0] + 8 * frame
            chunk, flags = (int.from_bytes(self.core.read(at + i, 4), "little") for i in (0, 4))
            if flags & CONSTANTS["FRAME_WRITING"]:
                changes[chunk] = self.core.read(self.plan.areas["data"][0] + DISK_CHUNK * frame, DISK_CHUNK)
        marks = self.core.read(self.plan.areas["marks"][0], CHUNKS)
        changes |= {chunk: bytes(DISK_CHUNK) for chunk in range(CHUNKS) if marks[chunk] & CONSTANTS["DISK_ZERO_WRITING"]}
        between()
        if not self.refuses:
            self.kept |= changes
        self.core.call("disk_commit_end", 0, int(not self.refuses))
        return sorted(changes)


@pytest.fixture
def core() -> Core:
    return bench.fresh_core(blob_bytes=(FRAMES + 4) * DISK_CHUNK)


def started(core: Core, storage: Storage) -> Driver:
    driver = Driver(core, 1)
    driver.start(features=VERSION_1, num=64)
    return driver


def ask(driver: Driver, kind: int, sector: int, data: bytes = b"", room: int = 0) -> tuple[int, list[int]]:
    """Offers a request: its head and where its writable buffers are."""
    header = kind.to_bytes(4, "little") + bytes(4) + sector.to_bytes(8, "little")
    return driver.request(0, [header, data] if data else [header], [room, 1] if room else [1])


def zone(sector: int, count: int) -> bytes:
    return sector.to_bytes(8, "little") + count.to_bytes(4, "little") + bytes(4)


def answer(driver: Driver, places: list[int]) -> int:
    """The status of the one request that came back."""
    assert len(driver.used(0)) == 1
    return driver.peek(places[-1], 1)[0]


def test_a_read_waits_for_its_chunk(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    _, places = ask(driver, IN, 3 * SECTORS + 1, room=1024)
    assert driver.used(0) == [] and core.call("disk_parked", 0) == 1
    assert storage.fetch() == [3]
    assert answer(driver, places) == OK and driver.peek(places[0], 1024) == content(3)[:1024]
    _, places = ask(driver, IN, 3 * SECTORS, room=512)
    assert answer(driver, places) == OK, "now it is here"
    assert core.call("disk_parked", 0) == 0


def test_those_behind_are_asked_for_at_once(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    for chunk in (1, 5, 6):
        ask(driver, IN, chunk * SECTORS, room=512)
    assert storage.wanted() == [1, 5, 6], "while the first one waits"


def test_a_chunk_that_cannot_be_had_is_an_error_once(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    storage.broken = {7}
    _, places = ask(driver, IN, 7 * SECTORS, room=512)
    storage.fetch()
    assert answer(driver, places) == IOERR and not driver.status & NEEDS_RESET
    storage.broken = set()
    _, places = ask(driver, IN, 7 * SECTORS, room=512)
    storage.fetch()
    assert answer(driver, places) == OK and driver.peek(places[0], 512) == content(7)[:512]


def test_zeros_need_no_fetch(core: Core) -> None:
    storage = Storage(core, zeros=frozenset({2, 3}))
    driver = started(core, storage)
    _, places = ask(driver, IN, 2 * SECTORS, room=512)
    assert answer(driver, places) == OK and driver.peek(places[0], 512) == bytes(512)
    _, places = ask(driver, OUT, 3 * SECTORS + 5, b"w" * 512)
    assert answer(driver, places) == OK and storage.wanted() == []
    assert storage.commit() == [3]
    assert storage.kept[3] == bytes(5 * 512) + b"w" * 512 + bytes(DISK_CHUNK - 6 * 512)


def test_a_whole_chunk_is_written_without_its_old_bytes(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    _, places = ask(driver, OUT, 4 * SECTORS, b"n" * DISK_CHUNK)
    assert answer(driver, places) == OK and storage.wanted() == []
    _, places = ask(driver, OUT, 5 * SECTORS, b"n" * 512)
    assert driver.used(0) == [] and storage.fetch() == [5]
    assert answer(driver, places) == OK
    assert storage.commit() == [4, 5] and storage.kept[5] == b"n" * 512 + content(5)[512:]


def test_a_flush_waits_for_a_commit_that_begins_after_it(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    _, places = ask(driver, FLUSH, 0)
    assert answer(driver, places) == OK, "nothing was written"
    _, places = ask(driver, OUT, 0, b"a" * DISK_CHUNK)
    assert answer(driver, places) == OK
    _, places = ask(driver, FLUSH, 0)
    assert driver.used(0) == [] and core.call("disk_commit_wanted", 0)
    storage.commit()
    assert answer(driver, places) == OK and storage.kept[0] == b"a" * DISK_CHUNK
    assert not core.call("disk_commit_wanted", 0)


def test_a_flush_during_a_commit_waits_for_the_next(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    ask(driver, OUT, 0, b"a" * DISK_CHUNK)
    driver.used(0)

    def meanwhile() -> None:
        ask(driver, OUT, 0, b"b" * 512)
        driver.used(0)
        ask(driver, FLUSH, 0)

    storage.commit(meanwhile)
    assert driver.used(0) == [] and core.call("disk_commit_wanted", 0), "what was written meanwhile is not in it"
    assert storage.kept[0][:512] == b"a" * 512
    storage.commit()
    assert len(driver.used(0)) == 1 and storage.kept[0][:512] == b"b" * 512


def test_a_store_that_is_full_is_an_io_error_and_keeps_the_changes(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    ask(driver, OUT, 0, b"a" * DISK_CHUNK)
    driver.used(0)
    storage.refuses = True
    _, places = ask(driver, FLUSH, 0)
    storage.commit()
    assert answer(driver, places) == IOERR and not driver.status & NEEDS_RESET
    _, places = ask(driver, IN, 0, room=512)
    assert answer(driver, places) == OK and driver.peek(places[0], 512) == b"a" * 512
    storage.refuses = False
    _, places = ask(driver, FLUSH, 0)
    storage.commit()
    assert answer(driver, places) == OK and storage.kept[0] == b"a" * DISK_CHUNK


def test_writes_beyond_the_cache_wait_for_a_commit(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    for chunk in range(FRAMES):
        _, places = ask(driver, OUT, chunk * SECTORS, bytes([chunk]) * DISK_CHUNK)
        assert answer(driver, places) == OK
    _, places = ask(driver, OUT, FRAMES * SECTORS, b"z" * DISK_CHUNK)
    assert driver.used(0) == [] and core.call("disk_commit_wanted", 0)
    assert storage.commit() == list(range(FRAMES))
    assert answer(driver, places) == OK
    _, places = ask(driver, IN, 0, room=512)
    storage.fetch()
    assert answer(driver, places) == OK and driver.peek(places[0], 512) == bytes(512)


def test_writes_beyond_the_cache_of_a_full_store_fail(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    storage.refuses = True
    for chunk in range(FRAMES + 1):
        _, places = ask(driver, OUT, chunk * SECTORS, b"x" * DISK_CHUNK)
    storage.commit()
    driver.used(0)
    assert driver.peek(places[-1], 1)[0] == IOERR and not driver.status & NEEDS_RESET


def test_discarding_needs_no_frames(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    _, places = ask(driver, DISCARD, 0, zone(SECTORS // 2, 30 * SECTORS))
    assert answer(driver, places) == OK and storage.wanted() == [], "parts of chunks that are not here may stay"
    assert storage.commit() == list(range(1, 30))
    _, places = ask(driver, IN, 9 * SECTORS, room=512)
    assert answer(driver, places) == OK and driver.peek(places[0], 512) == bytes(512)
    _, places = ask(driver, WRITE_ZEROES, 0, zone(33 * SECTORS + 1, 2))
    assert driver.used(0) == [] and storage.fetch() == [33], "zeroes are a promise, also of parts"
    assert answer(driver, places) == OK


def test_a_reset_forgets_who_waited(core: Core) -> None:
    storage = Storage(core)
    driver = started(core, storage)
    ask(driver, OUT, 0, b"a" * DISK_CHUNK)
    ask(driver, FLUSH, 0)
    driver.write(0x70, 0)
    storage.commit()
    assert core.call("disk_parked", 0) == 0
    again = started(core, storage)
    _, places = ask(again, FLUSH, 0)
    assert answer(again, places) == OK


def test_a_woken_machines_queue_waits_for_its_memory(core: Core) -> None:
    """The storage side begins before guest RAM is here, or flagged absent: zeros are no queue."""
    driver = started(core, Storage(core))
    _, places = ask(driver, IN, 3 * SECTORS, room=512)
    assert core.call("disk_parked", 0) == 1
    ram = RAM_OFFSET, core.plan.ram_bytes
    memory, structs = core.read(*ram), structures.read(core)

    woken = bench.fresh_core(blob_bytes=(FRAMES + 4) * DISK_CHUNK)
    storage = Storage(woken)
    structures.restore(woken, structs, structures.description())
    woken.call("machine_woken")
    woken.call("disk_open", 0)
    woken.call("disk_serve", 0)
    driver.core = woken
    assert not driver.status & NEEDS_RESET and woken.call("disk_parked", 0) == 1
    woken.write(ram[0], memory)
    assert storage.fetch() == [], "nobody has looked at the queue"
    woken.call("devices_hold", 0)
    assert storage.fetch() == [3]
    assert answer(driver, places) == OK and driver.peek(places[0], 512) == content(3)[:512]


def test_against_a_plain_disk(core: Core) -> None:
    """Random requests, fetches, commits and failures of commits: the guest always reads what it wrote last."""
    chance = random.Random(6)
    storage = Storage(core, zeros=frozenset(range(20, 30)))
    driver = started(core, storage)
    plain = bytearray(b"".join(storage.base(chunk) for chunk in range(CHUNKS)))
    for _ in range(300):
        sector, count = chance.randrange(CHUNKS * SECTORS - 200), chance.choice((1, 8, 128, 200))
        begin, end = sector * 512, (sector + count) * 512
        kind = chance.choice((IN, IN, OUT, WRITE_ZEROES, FLUSH))
        data = chance.randbytes(512) * count if kind == OUT else zone(sector, count) if kind == WRITE_ZEROES else b""
        driver.free = RAM_BASE + 0x8_0000 + 0x4_0000
        driver.start(features=VERSION_1, num=64)
        _, places = ask(driver, kind, sector, data, room=end - begin if kind == IN else 0)
        storage.refuses = chance.random() < 0.1 and kind not in (FLUSH, OUT, WRITE_ZEROES)
        for _ in range(50):
            storage.fetch()
            if core.call("disk_commit_wanted", 0) or chance.random() < 0.2:
                storage.commit()
                storage.refuses = False
            if driver.used(0):
                break
        else:
            pytest.fail(f"request {kind} at {sector} never came back")
        status = driver.peek(places[-1], 1)[0]
        assert status == OK
        if kind == OUT:
            plain[begin:end] = data
        elif kind == WRITE_ZEROES:
            plain[begin:end] = bytes(end - begin)
        elif kind == IN:
            assert driver.peek(places[0], end - begin) == plain[begin:end]
    storage.refuses = False
    storage.commit()
    assert b"".join(storage.kept.get(chunk, storage.base(chunk)) for chunk in range(CHUNKS)) == plain


def test_hostile_requests(core: Core) -> None:
    storage = Storage(core)
    chance = random.Random(7)
    for _ in range(200):
        driver = started(core, storage)
        driver.free = RAM_BASE + 0x8_0000 + 0x4_0000
        kind, sector = chance.choice((IN, OUT, FLUSH, DISCARD, WRITE_ZEROES)), chance.randrange(1 << 64)
        known = kind.to_bytes(8, "little") + sector.to_bytes(8, "little")
        header = chance.randbytes(16) if chance.random() < 0.5 else known
        queue = driver.queues[0]
        place = driver.allocate(16)
        driver.poke(place, header)
        driver.describe(queue, 0, place, 16, 1, 1)
        driver.describe(queue, 1, RAM_BASE + chance.randrange(1 << 20), chance.randrange(1 << 21), chance.choice((1, 3)), 2)
        driver.describe(queue, 2, RAM_BASE + chance.randrange(1 << 20), chance.randrange(4), WRITE)
        driver.offer(queue, 0)
        storage.fetch()
    assert core.load(field("Machine.virtio.requests", 1).offset) >= 0
    assert core.failure is None

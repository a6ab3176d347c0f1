"""The network card: frames in and out of its queues, and drivers that break the rules."""

from __future__ import annotations

import pytest

from hartwell.devices.net import CSUM, GUEST_CSUM, MRG_RXBUF, MTU, NetCard
from hartwell.errors import BadConfiguration
from hartwell.network.packets import checksum
from hartwell.platform.wasmtime import WasmtimeCore
from tests.core.virtio_driver import NEEDS_RESET, VERSION_1, Driver

SLOT = 5
MAC = bytes.fromhex("025701020304")
FRAME = bytes(range(200)) * 3
HEADER = bytes(12)
GIVEN, NO_ROOM, NOT_TAKEN = 1, 0, 2


@pytest.fixture
def card(core: WasmtimeCore) -> NetCard:
    return NetCard(core, SLOT, 0, MAC)


@pytest.fixture
def driver(core: WasmtimeCore, card: NetCard) -> Driver:
    driver = Driver(core, SLOT)
    driver.start(2, features=VERSION_1 | CSUM | MRG_RXBUF | 1 << 29)
    card.link(True)
    return driver


def test_config_tells_address_link_and_size(driver: Driver, card: NetCard) -> None:
    config = bytes(driver.read(0x100 + at, 1) for at in range(12))
    assert config == MAC + b"\1\0" + b"\1\0" + MTU.to_bytes(2, "little")
    assert driver.interrupts & 2  # the link came up
    card.link(False)
    assert driver.read(0x106, 1) == 0
    assert driver.interrupts & 2


def test_frames_go_out_whole_and_in_order(driver: Driver, card: NetCard, core: WasmtimeCore) -> None:
    before = core.load(card.area)
    driver.request(1, [HEADER, FRAME], [])
    driver.request(1, [HEADER + FRAME[:20], FRAME[20:100], FRAME[100:]], [])
    assert core.load(card.area) > before  # the bell
    assert [card.take(), card.take(), card.take()] == [FRAME, FRAME, None]
    assert [written for _, written in driver.used(1)] == [0, 0]


def test_the_bell_is_asked_for_once_there_is_nothing(driver: Driver, card: NetCard) -> None:
    driver.request(1, [HEADER, FRAME], [])
    assert card.take() == FRAME
    assert card.take() is None
    assert driver.notify_wanted_at(1) == 1


def test_a_checksum_is_finished(driver: Driver, card: NetCard) -> None:
    for length in (40, 41, 43):
        body = bytearray(range(length))
        body[6:8] = b"\x12\x34"  # the pseudo header's sum
        header = bytes([1, 0]) + bytes(4) + (34).to_bytes(2, "little") + (6).to_bytes(2, "little") + bytes(2)
        driver.request(1, [header, bytes(34), bytes(body)], [])
        taken = card.take()
        assert taken is not None
        expected = checksum(bytes(body))
        assert taken[34 + 6 : 34 + 8] == expected.to_bytes(2, "big")


@pytest.mark.parametrize("header", [
    bytes([1, 0]) + bytes(4) + (600).to_bytes(2, "little") + bytes(4),  # a checksum past the frame's end
    bytes([1, 0]) + bytes(4) + b"\xff\xff\xff\xff" + bytes(2),
    bytes([0, 1]) + bytes(10),  # segmentation, which was not offered
])
def test_frames_that_break_the_rules_are_dropped(driver: Driver, card: NetCard, header: bytes) -> None:
    driver.request(1, [header, FRAME], [])
    driver.request(1, [HEADER, FRAME], [])
    assert card.take() == FRAME
    assert len(driver.used(1)) == 2


@pytest.mark.parametrize("parts", [[b""], [HEADER], [HEADER[:5]], [HEADER, b"x" * 13], [HEADER, b"x" * 60000, b"x" * 6000]])
def test_what_is_too_short_or_too_long_is_dropped(driver: Driver, card: NetCard, parts: list[bytes]) -> None:
    driver.request(1, parts, [])
    assert card.take() is None
    assert len(driver.used(1)) == 1
    assert not driver.status & NEEDS_RESET


def test_a_frame_comes_in(driver: Driver, card: NetCard) -> None:
    _, [place] = driver.request(0, [], [2000])
    assert card.give(FRAME) == GIVEN
    assert driver.used(0) == [(0, 12 + len(FRAME))]
    assert driver.peek(place, 12 + len(FRAME)) == bytes(10) + b"\1\0" + FRAME
    assert driver.interrupts & 1


def test_checked_data_are_marked_for_a_driver_that_knows_it(core: WasmtimeCore, card: NetCard) -> None:
    driver = Driver(core, SLOT)
    driver.start(2, features=VERSION_1 | GUEST_CSUM)
    card.link(True)
    _, [place] = driver.request(0, [], [2000])
    assert card.give(FRAME) == GIVEN
    assert driver.peek(place, 1) == b"\2"


def test_a_large_frame_is_spread_over_buffers(driver: Driver, card: NetCard) -> None:
    places = [driver.request(0, [], [250])[1][0] for _ in range(2)]
    assert card.give(FRAME) == NO_ROOM
    assert driver.used(0) == []
    assert driver.notify_wanted_at(0) == 0  # what was there is still to be had
    places.append(driver.request(0, [], [250])[1][0])
    assert card.give(FRAME) == GIVEN
    used = driver.used(0)
    assert [written for _, written in used] == [250, 250, 112]
    data = b"".join(driver.peek(place, written) for place, (_, written) in zip(places, used, strict=True))
    assert data == bytes(10) + b"\3\0" + FRAME


def test_a_frame_that_will_never_fit_is_given_up(driver: Driver, card: NetCard) -> None:
    for _ in range(16):  # all the queue can hold
        driver.request(0, [], [20])
    assert card.give(FRAME) == NOT_TAKEN
    assert card.give(FRAME[:100]) == GIVEN


def test_nobody_is_there(core: WasmtimeCore, card: NetCard) -> None:
    assert card.give(FRAME) == NOT_TAKEN  # no driver
    assert card.take() is None
    driver = Driver(core, SLOT)
    driver.start(2, features=VERSION_1)
    driver.request(0, [], [2000])
    card.link(False)
    assert card.give(FRAME) == NOT_TAKEN  # no cable
    card.link(True)
    assert card.give(b"") == NOT_TAKEN
    assert core.call("net_give", SLOT, 1 << 31) == NOT_TAKEN
    assert core.call("net_give", 0, 100) == NOT_TAKEN  # no card in that slot
    assert core.call("net_take", 0) == 0


@pytest.mark.parametrize("queue", [0, 1])
def test_hostile_descriptors_make_it_ask_for_a_reset(driver: Driver, card: NetCard, queue: int) -> None:
    queues = driver.queues[queue]
    driver.describe(queues, 0, 0x1000, 1 << 30, 2 if queue == 0 else 0)
    driver.offer(queues, 0)
    if queue == 0:
        assert card.give(FRAME) == NOT_TAKEN
    else:
        assert card.take() is None
    assert driver.status & NEEDS_RESET
    driver.start(2, features=VERSION_1)
    driver.request(1, [HEADER, FRAME], [])
    assert card.take() == FRAME


def test_what_a_card_needs(core: WasmtimeCore) -> None:
    with pytest.raises(BadConfiguration, match="memory for 2"):
        NetCard(core, 7, 2, MAC)
    with pytest.raises(BadConfiguration, match="no address"):
        NetCard(core, 7, 0, b"\1" + MAC[1:])

"""vsock as a driver sees it: connections, credit, and packets that break the rules."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hartwell.devices import vsock
from hartwell.devices.vsock import (
    BUFFER,
    CREDIT_REQUEST,
    CREDIT_UPDATE,
    GUEST,
    HEADER,
    HOST,
    MOST_PENDING,
    REQUEST,
    RESPONSE,
    RST,
    RW,
    SHUTDOWN,
    STREAM,
    Stream,
    VsockDevice,
)
from hartwell.errors import BadConfiguration, ConnectionRefused, MachineStopped
from hartwell.platform.wasmtime import WasmtimeCore
from tests.core.bare import bare
from tests.core.virtio_driver import NEEDS_RESET, VERSION_1, Driver

SLOT = 6
ROOM = 4096 - 44


class Guest:
    """The guest's end, by hand."""

    def __init__(self, core: WasmtimeCore, device: VsockDevice) -> None:
        self.device = device
        self.driver = Driver(core, SLOT)
        self.driver.start(3, num=64, features=VERSION_1)
        self.places: dict[int, int] = {}
        self.offer(32)

    def offer(self, count: int, size: int = 4096) -> None:
        for _ in range(count):
            head, [place] = self.driver.request(0, [], [size])
            self.places[head] = place
        self.device.serve()

    def send(self, op: int, ports: tuple[int, int] = (9, 1000), data: bytes = b"", **changes: Any) -> None:
        fields = {"source": GUEST, "target": HOST, "count": len(data), "kind": STREAM, "flags": 0, "room": 1 << 18, "taken": 0}
        source, target, count, kind, flags, room, taken = (fields | changes).values()
        head = HEADER.pack(source, target, ports[1], ports[0], count, kind, op, flags, room, taken)
        self.driver.request(1, [head + data], [])
        self.device.serve()

    def heard(self) -> list[tuple[int, bytes]]:
        """(op, data) of each packet that came, and buffers for as many more."""
        packets = []
        for head, written in self.driver.used(0):
            raw = self.driver.peek(self.places.pop(head), written)
            fields = HEADER.unpack_from(raw)
            assert fields[:2] == (HOST, GUEST)
            assert len(raw) == HEADER.size + fields[4]
            packets.append((fields[6], raw[HEADER.size :]))
            self.last = fields
        self.offer(len(packets))
        return packets


@pytest.fixture
def device(core: WasmtimeCore) -> VsockDevice:
    made = VsockDevice()
    made.attach(core, SLOT)
    return made


@pytest.fixture
def guest(core: WasmtimeCore, device: VsockDevice) -> Guest:
    return Guest(core, device)


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_the_guest_has_its_number(guest: Guest) -> None:
    assert guest.driver.read(0x100) == GUEST


async def test_the_guest_connects_and_gets_its_bytes_back(guest: Guest, device: VsockDevice) -> None:
    device.listen(9, echo)
    guest.send(REQUEST)
    assert guest.heard() == [(RESPONSE, b"")]
    assert guest.last[8] == BUFFER
    data = bytes(range(256)) * 40
    guest.send(RW, data=data)
    await turns()
    parts = guest.heard()
    assert all(op == RW and len(part) <= ROOM for op, part in parts)
    assert b"".join(part for _, part in parts) == data
    guest.send(SHUTDOWN, flags=2)
    await turns()
    assert [op for op, _ in guest.heard()] == [SHUTDOWN, RST]
    assert device._streams == {}


async def test_this_side_connects(guest: Guest, device: VsockDevice) -> None:
    connecting = asyncio.ensure_future(device.connect(77))
    await turns()
    assert guest.heard() == [(REQUEST, b"")]
    ports = guest.last[2], 77
    guest.send(RESPONSE, ports)
    stream = await connecting
    await stream.write(b"hello")
    guest.send(RW, ports, b"there")
    assert guest.heard() == [(RW, b"hello")]
    assert await stream.read() == b"there"
    stream.finish()
    assert guest.heard() == [(SHUTDOWN, b"")]
    guest.send(RW, ports, b"last")
    guest.send(SHUTDOWN, ports, flags=3)
    assert [await stream.read(), await stream.read()] == [b"last", b""]
    with pytest.raises(ConnectionResetError):
        await stream.write(b"x")


async def test_nobody_listens(guest: Guest, device: VsockDevice) -> None:
    guest.send(REQUEST, (10, 1000))
    assert guest.heard() == [(RST, b"")]
    connecting = asyncio.ensure_future(device.connect(77))
    await turns()
    guest.heard()
    guest.send(RST, (guest.last[2], 77))
    with pytest.raises(ConnectionRefused, match="port 77: no program"):
        await connecting
    with pytest.raises(ConnectionRefused, match="answered within"):
        await device.connect(78, timeout=0.05)
    assert device._streams == {}


async def test_who_gives_up_leaves_no_connection(guest: Guest, device: VsockDevice) -> None:
    for answers in (True, False):
        connecting = asyncio.ensure_future(device.connect(1024))
        await turns()
        [(op, _)] = guest.heard()
        assert op == REQUEST
        connecting.cancel()
        await turns()
        if answers:
            guest.send(RESPONSE, (guest.last[2], 1024))
        assert not device._streams
        assert RST in [op for op, _ in guest.heard()]


@pytest.mark.parametrize("port", [-1, 1 << 32, "80", 8.5, None])
async def test_ports_that_no_packet_can_name(guest: Guest, device: VsockDevice, port: Any) -> None:
    with pytest.raises(BadConfiguration, match="vsock port"):
        await device.connect(port)
    connecting = asyncio.ensure_future(device.connect(1024))
    await turns()
    assert [op for op, _ in guest.heard()] == [REQUEST], "the device works on"
    connecting.cancel()


async def test_no_more_is_sent_than_the_guest_has_room_for(guest: Guest, device: VsockDevice) -> None:
    connecting = asyncio.ensure_future(device.connect(77))
    await turns()
    guest.heard()
    ports = guest.last[2], 77
    guest.send(RESPONSE, ports, room=10)
    stream = await connecting
    writing = asyncio.ensure_future(stream.write(b"0123456789abcdef"))
    await turns()
    assert guest.heard() == [(RW, b"0123456789"), (CREDIT_REQUEST, b"")]
    guest.send(CREDIT_UPDATE, ports, room=10, taken=4)
    await turns()
    assert guest.heard() == [(RW, b"abcd"), (CREDIT_REQUEST, b"")]
    guest.send(CREDIT_UPDATE, ports, room=10, taken=14)
    await writing
    assert guest.heard() == [(RW, b"ef")]


async def test_the_guest_is_told_what_was_read(guest: Guest, device: VsockDevice) -> None:
    streams: list[Stream] = []
    waiting = asyncio.Event()

    async def hold(stream: Stream) -> None:
        streams.append(stream)
        await waiting.wait()

    device.listen(9, hold)
    guest.send(REQUEST)
    for _ in range(BUFFER // 32768):
        guest.send(RW, data=bytes(32768))
    guest.heard()
    guest.send(CREDIT_REQUEST)
    assert [op for op, _ in guest.heard()] == [CREDIT_UPDATE]
    assert guest.last[9] == 0
    for _ in range(5):
        await streams[0].read()
    assert CREDIT_UPDATE in [op for op, _ in guest.heard()]
    assert guest.last[9] > BUFFER // 2
    waiting.set()
    await turns()


async def test_more_than_there_was_room_for_ends_the_connection(guest: Guest, device: VsockDevice) -> None:
    waiting = asyncio.Event()

    async def hold(stream: Stream) -> None:
        await waiting.wait()

    device.listen(9, hold)
    guest.send(REQUEST)
    for _ in range(BUFFER // 32768 + 1):
        guest.send(RW, data=bytes(32768))
    assert guest.heard()[-1] == (RST, b"")
    assert device._streams == {}
    waiting.set()
    await turns()


@pytest.mark.parametrize("changes", [
    {"source": 5}, {"target": 7}, {"kind": 2}, {"count": 100}, {"count": 0xFFFF_FFFF}, {"op": 0}, {"op": 99}, {"op": RW},
])
async def test_packets_that_make_no_sense_are_refused(guest: Guest, device: VsockDevice, changes: dict[str, int]) -> None:
    device.listen(9, echo)
    rest = {name: value for name, value in changes.items() if name != "op"}
    guest.send(changes.get("op", REQUEST), (9, 2000), b"x", **rest)
    assert guest.heard() == [(RST, b"")]
    guest.send(REQUEST)
    assert guest.heard() == [(RESPONSE, b"")]
    assert not guest.driver.status & NEEDS_RESET


async def test_short_packets_are_dropped(guest: Guest, device: VsockDevice) -> None:
    guest.driver.request(1, [bytes(43)], [])
    guest.driver.request(1, [b""], [])
    device.serve()
    assert guest.heard() == []
    assert len(guest.driver.used(1)) == 2


async def test_a_guest_that_takes_nothing_fills_nothing(
    core: WasmtimeCore, device: VsockDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vsock, "MOST_PENDING", 8)
    assert MOST_PENDING > 8
    guest = Guest(core, device)
    guest.heard()
    for _ in range(32):  # uses up the buffers
        guest.send(REQUEST, (10, 1))
    for number in range(30):
        guest.send(REQUEST, (10, number))
    assert len(device._pending) == 8
    for _ in range(3):
        guest.heard()
    assert len(device._pending) < 8


async def test_buffers_of_no_use_are_given_back(core: WasmtimeCore, device: VsockDevice) -> None:
    guest = Guest(core, device)
    guest.driver.start(3, num=64, features=VERSION_1)
    guest.places.clear()
    for size in (10, 44):
        guest.offer(1, size)
    guest.offer(1)
    guest.send(REQUEST, (10, 1))
    written = [count for _, count in guest.driver.used(0)]
    assert written == [0, 44]


async def test_a_reset_ends_connections(guest: Guest, device: VsockDevice) -> None:
    ended: list[str] = []

    async def wait(stream: Stream) -> None:
        try:
            await stream.read()
        except ConnectionResetError as error:
            ended.append(str(error))
            raise

    device.listen(9, wait)
    guest.send(REQUEST)
    guest.driver.write(0x70, 0)
    device.serve()
    await turns()
    assert len(ended) == 1


def test_a_guest_that_woke_hears_of_it_when_it_runs(
    guest: Guest, device: VsockDevice, core: WasmtimeCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and not while the machine is paused (5.10.6.7)."""
    monkeypatch.setattr(vsock, "WAKE_SECONDS", 0.0)
    _, [place] = guest.driver.request(2, [], [8])
    core.call("machine_pause")
    device.woken({})
    for _ in range(3):
        device.serve()
    assert guest.driver.used(2) == []
    core.call("machine_resume")
    device.serve()
    [(_, written)] = guest.driver.used(2)
    assert guest.driver.peek(place, written) == bytes(4)  # VIRTIO_VSOCK_EVENT_TRANSPORT_RESET
    guest.driver.request(2, [], [8])
    device.serve()
    assert guest.driver.used(2) == []


async def test_the_end_of_the_machine_is_heard_of(guest: Guest, device: VsockDevice) -> None:
    """By who connects, reads or writes then, and by who comes later."""
    connecting = asyncio.ensure_future(device.connect(77))
    await turns()
    guest.heard()
    guest.send(RESPONSE, (guest.last[2], 77), room=0)
    stream = await connecting
    waiting = [asyncio.ensure_future(work) for work in (stream.read(), stream.write(b"x"), device.connect(78))]
    await turns()
    device.ended()
    for work, error in zip(waiting, (ConnectionResetError, ConnectionResetError, MachineStopped), strict=True):
        with pytest.raises(error):
            await asyncio.wait_for(work, 120)
    with pytest.raises(MachineStopped, match="port 79"):
        await asyncio.wait_for(device.connect(79), 120)
    device.began()
    connecting = asyncio.ensure_future(device.connect(80))
    await turns()
    assert not connecting.done()
    connecting.cancel()


async def test_a_machine_that_ended_is_not_asked() -> None:
    async with bare("loop: j loop") as (machine, _):
        with pytest.raises(MachineStopped, match="vsock port 5"):
            await asyncio.wait_for(machine.vsock.connect(5), 120)
        await machine.close()
        with pytest.raises(MachineStopped, match="stopped"):
            await asyncio.wait_for(machine.http(8000), 120)


def test_ports_to_listen_on(device: VsockDevice) -> None:
    device.listen(9, echo)
    for port in (0, 9, -1, 1 << 20):
        with pytest.raises(BadConfiguration):
            device.listen(port, echo)
    device.unlisten(9)
    device.listen(9, echo)

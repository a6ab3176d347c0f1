"""virtio socket device, served in Python: stream sockets between guest and host
that need no network.  Virtio 1.2, 5.10.

    reader = await machine.vsock.connect(1024)         # a port of the guest's
    machine.vsock.listen(3128, serve)                  # async def serve(stream)

The guest is CID 3, this side is CID 2 (VMADDR_CID_HOST).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from hartwell.devices.tasks import Tasks
from hartwell.devices.virtio import BrokenQueue, VirtioDevice
from hartwell.errors import BadConfiguration, ConnectionRefused, MachineStopped
from hartwell.layout import CONSTANTS
from hartwell.layout import field as machine_field
from hartwell.platform import Core

HOST, GUEST = 2, 3
HEADER = struct.Struct("<QQIIIHHIII")  # source, target CID and port, bytes, type, op, flags, buf_alloc, fwd_cnt
RECEIVE, SEND, EVENT = 0, 1, 2
STREAM = 1
REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
SHUT_RECEIVE, SHUT_SEND = 1, 2
TRANSPORT_RESET = 0  # the one event there is

BUFFER = 256 << 10  # bytes that one connection may have unread here
MOST_CONNECTIONS = 512
MOST_PENDING = 1024  # packets for the guest; with more, its own are left in their queue
FIRST_PORT = 1 << 20  # of this side's, for connections that begin here
CONNECT_SECONDS = 30.0  # a guest that runs answers at once; its computer may be busy
WAKE_SECONDS = 0.5  # after a wake, before the guest hears of it
_MASK32 = 0xFFFF_FFFF
_CONTROL, _RUN = machine_field("Machine.control").offset, CONSTANTS["CONTROL_RUN"]


@dataclass
class Packet:
    """One for the guest; a payload is split as its buffers need."""

    stream: Stream | None
    op: int
    ports: tuple[int, int]  # ours, the guest's
    flags: int = 0
    data: memoryview = field(default_factory=lambda: memoryview(b""))


class Stream:
    """One connection; both ends may read and write at once."""

    def __init__(self, device: VsockDevice, port: int, guest_port: int) -> None:
        self._device, self.port, self.guest_port = device, port, guest_port
        self._data: deque[bytes] = deque()
        self._unread = 0
        self._moved = asyncio.Event()
        self._ended = False  # the guest sends no more
        self._closed = False  # neither side does
        self._shut = False
        self._received = 0  # bytes taken out of here, ever (fwd_cnt)
        self._told = 0  # of them those that the guest knows of
        self._sent = 0
        self._peer_room, self._peer_taken = 0, 0
        self.accepted = False

    async def read(self, count: int = 65536) -> bytes:
        """1 to `count` bytes, as soon as there are some; b"" at the end.
        ConnectionResetError when the guest broke the connection off."""
        while not self._data:
            if self._ended:
                return b""
            if self._closed:
                raise ConnectionResetError(f"vsock port {self.guest_port}: the guest has reset the connection")
            await self._wait()
        data = self._data.popleft()
        if len(data) > count:
            self._data.appendleft(data[count:])
            data = data[:count]
        self._unread -= len(data)
        self._received = (self._received + len(data)) & _MASK32
        if (self._received - self._told) & _MASK32 > BUFFER // 2:
            self._device.send(Packet(self, CREDIT_UPDATE, self.ports))
        return data

    async def write(self, data: bytes) -> None:
        """Sends all of `data`; waits while the guest has no room.
        ConnectionResetError when the connection is over."""
        rest = memoryview(data)
        asked = False
        while rest:
            if self._closed or self._shut:
                raise ConnectionResetError(f"vsock port {self.guest_port}: the connection is closed")
            room = self._peer_room - ((self._sent - self._peer_taken) & _MASK32)
            if room <= 0:
                if not asked:
                    self._device.send(Packet(self, CREDIT_REQUEST, self.ports))
                asked = True
                await self._wait()
                continue
            piece, rest, asked = rest[:room], rest[room:], False
            self._sent = (self._sent + len(piece)) & _MASK32
            self._device.send(Packet(self, RW, self.ports, data=piece))

    def finish(self) -> None:
        """No more will be written; the guest may go on sending."""
        if not self._shut and not self._closed:
            self._shut = True
            self._device.send(Packet(self, SHUTDOWN, self.ports, SHUT_SEND))

    def close(self) -> None:
        """Ends the connection; what was written before still arrives."""
        if not self._closed:
            self.closed()
            self._device.send(Packet(self, SHUTDOWN, self.ports, SHUT_SEND | SHUT_RECEIVE))
            self._device.send(Packet(None, RST, self.ports))
            self._device.forget(self)

    @property
    def ports(self) -> tuple[int, int]:
        return self.port, self.guest_port

    # --- what the device calls ---------------------------------------------

    def credit(self, room: int, taken: int) -> None:
        if (room, taken) != (self._peer_room, self._peer_taken):
            self._peer_room, self._peer_taken = room, taken
            self.move()

    def take(self, data: bytes) -> bool:
        """Bytes of the guest's; False when it sent more than there was room for."""
        if self._unread + len(data) > BUFFER:
            return False
        if data and not self._closed:
            self._data.append(data)
            self._unread += len(data)
            self.move()
        return True

    def ended(self) -> None:
        self._ended = True
        self.move()

    def closed(self) -> None:
        self._closed = True
        self.move()

    def head(self) -> tuple[int, int]:
        """buf_alloc and fwd_cnt, as they go out now."""
        self._told = self._received
        return BUFFER, self._received

    def move(self) -> None:
        self._moved.set()

    async def _wait(self) -> None:
        self._moved.clear()
        await self._moved.wait()


Server = Callable[[Stream], Awaitable[None]]


class VsockDevice(VirtioDevice):
    """The device, and `machine.vsock`."""

    device_id = 19
    queue_count = 3
    config = GUEST.to_bytes(8, "little")
    largest_request = 128 << 10

    def __init__(self) -> None:
        self._streams: dict[tuple[int, int], Stream] = {}
        self._servers: dict[int, Server] = {}
        self._pending: deque[Packet] = deque()
        self._ports = itertools.count(FIRST_PORT)
        self._tasks = Tasks()
        self._announce_at: float | None = None  # by time.monotonic(): when a guest that woke hears of it
        self._guest = False  # is one there that could answer?

    def attach(self, core: Core, slot: int) -> None:
        super().attach(core, slot)
        self._guest = True

    def began(self) -> None:
        """The machine runs (again)."""
        self._guest = True

    def ended(self) -> None:
        """The machine has stopped or sleeps: no answer comes to what waits for one."""
        self._guest = False
        self.on_reset()

    async def connect(self, port: int, timeout: float = CONNECT_SECONDS) -> Stream:
        """A connection to a port that a program in the guest listens on.
        ConnectionRefused when none does, or none answers in time; MachineStopped
        when the machine has ended."""
        if not isinstance(port, int) or not 0 <= port <= _MASK32:
            raise BadConfiguration(f"vsock port {port!r}: ports are 0 to {_MASK32}")
        self._need_guest(port)
        stream = Stream(self, next(self._ports), port)
        if len(self._streams) >= MOST_CONNECTIONS:
            raise ConnectionRefused(f"vsock port {port}: {MOST_CONNECTIONS} connections are open already")
        self._streams[stream.ports] = stream
        self.send(Packet(stream, REQUEST, stream.ports))
        try:
            async with asyncio.timeout(timeout):
                while not stream.accepted and not stream._closed:
                    await stream._wait()
        except asyncio.CancelledError:
            stream.close()  # it may be open on the other side
            raise
        except TimeoutError:
            self.forget(stream)
            raise ConnectionRefused(f"vsock port {port}: nothing in the guest answered within {timeout} s") from None
        self._need_guest(port)
        if not stream.accepted:
            raise ConnectionRefused(f"vsock port {port}: no program in the guest listens there")
        return stream

    def _need_guest(self, port: int) -> None:
        if not self._guest:
            raise MachineStopped(f"vsock port {port}: no guest is there to answer; the machine has ended, or sleeps")

    def listen(self, port: int, serve: Server) -> None:
        """Calls `serve` with each connection that the guest makes to this side's
        port; the connection ends with the call."""
        if not 0 < port < FIRST_PORT:
            raise BadConfiguration(f"vsock port {port}: ports to listen on are 1 to {FIRST_PORT - 1}")
        if port in self._servers:
            raise BadConfiguration(f"vsock port {port} is listened on already")
        self._servers[port] = serve

    def unlisten(self, port: int) -> None:
        """Listens no longer; connections stay."""
        self._servers.pop(port, None)

    # --- the queues -----------------------------------------------------------

    def send(self, packet: Packet) -> None:
        """Queues a packet for the guest and gives it what there is room for."""
        self._pending.append(packet)
        self.flush()

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.ports, None)

    def flush(self) -> None:
        """As many packets as the guest has buffers for."""
        while self._pending and (chain := self.take(RECEIVE)) is not None:
            packet = self._pending[0]
            room = chain.writable - HEADER.size
            if room < 0 or (packet.data and room == 0):
                chain.complete()  # a buffer of no use
                continue
            piece, packet.data = packet.data[:room], packet.data[room:]
            chain.write(self._head(packet, len(piece)) + piece)
            chain.complete()
            if not packet.data:
                self._pending.popleft()

    def _head(self, packet: Packet, count: int) -> bytes:
        room, taken = packet.stream.head() if packet.stream else (0, 0)
        return HEADER.pack(HOST, GUEST, *packet.ports, count, STREAM, packet.op, packet.flags, room, taken)

    def on_notify(self, queue: int) -> None:
        if queue == EVENT:
            return
        self.flush()
        # While the guest takes nothing, nothing more is taken from it.
        while len(self._pending) < MOST_PENDING and (chain := self.take(SEND)) is not None:
            data = chain.read()
            chain.complete()
            self._receive(data)
            self.flush()

    def on_reset(self) -> None:
        self._announce_at = None
        self._pending.clear()
        for stream in list(self._streams.values()):
            stream.closed()
        self._streams.clear()

    def restored(self, state: object) -> None:
        """After a wake no connection is left; the guest is told (5.10.6.7)."""
        self.on_reset()
        # Later: queues lie in memory that may not have come yet.
        self._announce_at = time.monotonic() + WAKE_SECONDS

    def serve(self) -> bool:
        """Also tells a guest that woke.  Not while the machine is paused: nothing
        may change then, least of all while it is put to sleep again."""
        busy = super().serve()
        if self._announce_at is None or time.monotonic() < self._announce_at or self.core.load(_CONTROL) != _RUN:
            return busy
        try:
            chain = self.take(EVENT)
        except BrokenQueue:
            self._announce_at = None
            self.core.call("virtio_needs_reset", self.slot, self._resets)
            return busy
        if chain is not None:  # else the next time: the driver has given no buffer yet
            self._announce_at = None
            chain.write(TRANSPORT_RESET.to_bytes(4, "little"))
            chain.complete()
        return busy

    def _receive(self, data: bytes) -> None:
        if len(data) < HEADER.size:
            return
        source, target, guest_port, port, count, kind, op, flags, room, taken = HEADER.unpack_from(data)
        body = data[HEADER.size : HEADER.size + count]
        ports = port, guest_port
        if source != GUEST or target != HOST or kind != STREAM or len(body) != count:
            if op != RST:
                self.send(Packet(None, RST, ports))
            return
        stream = self._streams.get(ports)
        if op == REQUEST and stream is None:
            self._accept(ports, room, taken)
        elif stream is None:
            if op != RST:
                self.send(Packet(None, RST, ports))
        else:
            stream.credit(room, taken)
            self._hear(stream, op, flags, body)

    def _accept(self, ports: tuple[int, int], room: int, taken: int) -> None:
        serve = self._servers.get(ports[0])
        if serve is None or len(self._streams) >= MOST_CONNECTIONS:
            self.send(Packet(None, RST, ports))
            return
        stream = self._streams[ports] = Stream(self, *ports)
        stream.accepted = True
        stream.credit(room, taken)
        self.send(Packet(stream, RESPONSE, ports))
        self._tasks.start(_served(serve, stream))

    def _hear(self, stream: Stream, op: int, flags: int, body: bytes) -> None:
        if op == RESPONSE and not stream.accepted:
            stream.accepted = True
            stream.move()
        elif op == RW and stream.accepted:
            if not stream.take(body):
                self._break(stream)
        elif op == SHUTDOWN:
            if flags & SHUT_SEND:
                stream.ended()
            if flags & SHUT_SEND and flags & SHUT_RECEIVE:
                self._break(stream)  # an orderly end: what came before it is still read
        elif op == CREDIT_REQUEST:
            self.send(Packet(stream, CREDIT_UPDATE, stream.ports))
        elif op == RST:
            stream.closed()
            self.forget(stream)
        elif op != CREDIT_UPDATE:
            self._break(stream)  # what can't be, as things stand

    def _break(self, stream: Stream) -> None:
        stream.closed()
        self.forget(stream)
        self.send(Packet(None, RST, stream.ports))


async def _served(serve: Server, stream: Stream) -> None:
    try:
        with contextlib.suppress(ConnectionResetError):  # the guest's affair
            await serve(stream)
    finally:
        stream.close()

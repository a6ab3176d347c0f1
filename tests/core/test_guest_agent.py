"""The named virtio-serial port, as Linux's driver uses it, and the guest agent's protocol on it."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from hartwell.devices.port import (
    CONTROL_FROM_GUEST,
    CONTROL_TO_GUEST,
    DEVICE_READY,
    PORT_ADD,
    PORT_NAME,
    PORT_OPEN,
    PORT_READY,
    RECEIVE,
    TRANSMIT,
    PortDevice,
)
from hartwell.errors import HartwellError, MachineStopped, NotSupported
from hartwell.guestagent import PORT, GuestAgent
from hartwell.platform import Core
from tests.core.virtio_driver import NEEDS_RESET, VERSION_1, Driver

CONTROL = struct.Struct("<IHH")


class Guest:
    """The driver, and whoever opened the port."""

    def __init__(self, core: Core) -> None:
        self.port = PortDevice(PORT)
        self.port.attach(core, 1)
        self.driver = Driver(core, 1)
        self.driver.start(queues=4, features=VERSION_1 | 1 << 1)
        self.waiting: dict[int, list[int]] = {RECEIVE: [], CONTROL_TO_GUEST: []}
        for queue in self.waiting:
            for _ in range(8):
                self.offer(queue)

    def offer(self, queue: int, room: int = 64) -> None:
        _, places = self.driver.request(queue, [], [room])
        self.waiting[queue] += places
        self.port.serve()

    def came(self, queue: int) -> list[bytes]:
        return [self.driver.peek(self.waiting[queue].pop(0), written) for _, written in self.driver.used(queue)]

    def control(self, event: int, value: int, port: int = 0) -> list[tuple[int, int, bytes]]:
        """Sends a message; what the device says to it: event, value, the rest."""
        self.send(CONTROL_FROM_GUEST, CONTROL.pack(port, event, value))
        return [(*CONTROL.unpack_from(message)[1:], message[CONTROL.size :]) for message in self.came(CONTROL_TO_GUEST)]

    def send(self, queue: int, data: bytes) -> None:
        self.driver.request(queue, [data], [])
        self.port.serve()
        self.driver.used(queue)


@pytest.fixture
def guest(core: Core) -> Guest:
    return Guest(core)


def test_a_port_introduces_itself(guest: Guest) -> None:
    assert guest.control(DEVICE_READY, 1) == [(PORT_ADD, 1, b"")]
    assert guest.control(PORT_READY, 1) == [(PORT_NAME, 1, PORT.encode() + b"\0"), (PORT_OPEN, 1, b"")]
    assert not guest.port.open
    assert guest.control(PORT_OPEN, 1) == [] and guest.port.open
    guest.control(PORT_OPEN, 0)
    assert not guest.port.open


def test_bytes_both_ways(guest: Guest) -> None:
    guest.control(PORT_OPEN, 1)
    guest.send(TRANSMIT, b"from the guest")
    assert guest.port.read() == b"from the guest" and guest.port.read() == b""
    data = bytes(range(256)) * 4
    guest.port.write(data)
    got = b"".join(guest.came(RECEIVE))
    assert got == data[:512], "eight buffers of 64"
    for _ in range(8):
        guest.offer(RECEIVE)
    assert got + b"".join(guest.came(RECEIVE)) == data


@pytest.mark.parametrize("message", [b"", b"\1", bytes(7), CONTROL.pack(9, PORT_OPEN, 1), CONTROL.pack(0, 99, 1), bytes(64)])
def test_control_messages_that_make_no_sense(guest: Guest, message: bytes) -> None:
    guest.send(CONTROL_FROM_GUEST, message or b"\0")
    assert not guest.port.open and not guest.driver.status & NEEDS_RESET


def test_a_reset_closes_the_port(guest: Guest) -> None:
    guest.control(PORT_OPEN, 1)
    guest.driver.write(0x70, 0)
    guest.port.serve()
    assert not guest.port.open


# --- the protocol ---------------------------------------------------------------------------------


class Wire:
    """A port whose other end is a function: request in, lines out."""

    def __init__(self, answer: Callable[[dict[str, Any]], list[Any]]) -> None:
        self.open = True
        self.answer = answer
        self.asked: list[dict[str, Any]] = []
        self.out = b""

    def write(self, data: bytes) -> None:
        for line in data.replace(b"\xff", b"").splitlines():
            request = json.loads(line)
            self.asked.append(request)
            if request["execute"] == "guest-sync-delimited":
                # As the agent does: the 0xFF is an error to its parser, answered on a line before.
                self.out += b'{"rubbish\n{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n\xff'
                self.out += json.dumps({"return": request["arguments"]["id"]}).encode() + b"\n"
            else:
                self.out += b"".join(json.dumps(answer).encode() + b"\n" for answer in self.answer(request))

    def read(self) -> bytes:
        data, self.out = self.out, b""
        return data


def talk(answer: Callable[[dict[str, Any]], list[Any]], work: Callable[[GuestAgent, Wire], Any]) -> Any:
    """What `work` gives, with the agent pulled as the machine does."""

    async def main() -> Any:
        wire = Wire(answer)
        agent = GuestAgent(wire)  # type: ignore[arg-type]
        task = asyncio.ensure_future(work(agent, wire))
        while not task.done():
            await asyncio.sleep(0.001)
            agent.pull()
        return await task

    return asyncio.run(main())


def test_run() -> None:
    out, err = base64.b64encode(b"out").decode(), base64.b64encode(b"err").decode()
    polls = iter([{"exited": False}, {"exited": True, "exitcode": 3, "out-data": out, "err-data": err}])

    def answer(request: dict[str, Any]) -> list[Any]:
        return [{"return": {"pid": 7} if request["execute"] == "guest-exec" else next(polls)}]

    result = talk(answer, lambda agent, _: agent.run("false", 120))
    assert (result.stdout, result.stderr, result.returncode) == ("out", "err", 3)


def test_files() -> None:
    content = bytes(range(256)) * 300
    written = bytearray()
    left = bytearray(content)

    def answer(request: dict[str, Any]) -> list[Any]:
        arguments = request.get("arguments", {})
        if request["execute"] == "guest-file-open":
            return [{"return": 1000}]
        if request["execute"] == "guest-file-read":
            part = bytes(left[: arguments["count"]])
            del left[: len(part)]
            return [{"return": {"count": len(part), "buf-b64": base64.b64encode(part).decode(), "eof": not left}}]
        if request["execute"] == "guest-file-write":
            written.extend(base64.b64decode(arguments["buf-b64"]))
        return [{"return": {}}]

    assert talk(answer, lambda agent, _: agent.read_file("/x")) == content
    talk(answer, lambda agent, _: agent.write_file("/y", content))
    assert written == content


def test_a_refusal_has_the_agents_words() -> None:
    with pytest.raises(HartwellError, match="has been disabled"):
        talk(lambda _: [{"error": {"class": "CommandNotFound", "desc": "it has been disabled"}}], lambda agent, _: agent.freeze())


@pytest.mark.parametrize("strange", [[], 5, "x", {"error": 5}, {}])
def test_answers_that_make_no_sense(strange: Any) -> None:
    with pytest.raises(HartwellError, match="guest-fsfreeze-thaw"):
        talk(lambda _: [strange], lambda agent, _: agent.thaw())


def test_silence() -> None:
    with pytest.raises(HartwellError, match="did not answer"):
        talk(lambda _: [], lambda agent, _: agent.ask("guest-ping", timeout=0.05))


def test_no_agent() -> None:
    async def work(agent: GuestAgent, wire: Wire) -> None:
        wire.open = False
        await agent.run("true", 0.1)

    with pytest.raises(NotSupported, match="qemu-guest-agent"):
        talk(lambda _: [], work)


def test_a_machine_that_stops_answers_nothing() -> None:
    async def work(agent: GuestAgent, _: Wire) -> None:
        asking = asyncio.ensure_future(agent.ask("guest-ping"))
        await asyncio.sleep(0.05)
        agent.ended()
        await asking

    with pytest.raises(MachineStopped):
        talk(lambda _: [], work)


def test_who_gives_up_leaves_no_answer_for_the_next() -> None:
    """As `asyncio.timeout` round `machine.run` does."""

    async def work(agent: GuestAgent, wire: Wire) -> Any:
        await agent.ask("guest-ping")
        answer, wire.answer = wire.answer, lambda _: []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await agent.ask("slow")
        wire.answer = answer
        asking = asyncio.ensure_future(agent.ask("next"))
        await asyncio.sleep(0)
        wire.out = json.dumps({"return": "slow"}).encode() + b"\n" + wire.out  # it comes after all
        return await asking

    assert talk(lambda request: [{"return": request["execute"]}], work) == "next"


def test_who_waits_is_told_of_a_reboot() -> None:
    async def work(agent: GuestAgent, _: Wire) -> None:
        asking = asyncio.ensure_future(agent.run("sleep 9", 120))
        await asyncio.sleep(0.05)
        agent.restarted()
        async with asyncio.timeout(120):
            await asking

    for status in ([], [{"return": {"exited": False}}]):  # before an answer, and between two
        with pytest.raises(MachineStopped):
            talk(lambda r, status=status: [{"return": {"pid": 7}}] if r["execute"] == "guest-exec" else status, work)


@pytest.mark.parametrize("strange", [5, None, [], {"exited": True, "exitcode": "x"}, {"exited": True, "out-data": 7}])
def test_results_that_make_no_sense(strange: Any) -> None:
    def answer(request: dict[str, Any]) -> list[Any]:
        return [{"return": {"pid": 7} if request["execute"] == "guest-exec" else strange}]

    with pytest.raises(HartwellError, match="agent"):
        talk(answer, lambda agent, _: agent.run("true", 120))


def test_messages_that_wait_for_a_driver_have_an_end(guest: Guest) -> None:
    guest.waiting[CONTROL_TO_GUEST].clear()
    for _ in range(500):
        guest.send(CONTROL_FROM_GUEST, CONTROL.pack(0, PORT_READY, 1))
    assert len(guest.port._control) <= 64

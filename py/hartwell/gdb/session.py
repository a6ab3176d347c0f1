"""One gdb that is connected: bytes, and what each packet does.

Threads are harts, numbered from 1.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

from hartwell.debugger import Debugger
from hartwell.errors import BadAddress, BadConfiguration, HartwellError
from hartwell.gdb import monitor, packets, queries, registers, resume
from hartwell.gdb.all_stop import AllStop
from hartwell.gdb.files import Files
from hartwell.gdb.non_stop import NonStop
from hartwell.gdb.packets import PACKET_BYTES, Damaged, Decoder, Interrupt, Nack, Packet
from hartwell.gdb.points import GdbPoints
from hartwell.gdb.resume import Action
from hartwell.gdb.words import BAD_PACKET, BAD_VALUE, NO_MEMORY, NO_ROOM, BadPacket, number, pair, raw, thread_number
from hartwell.harts import Hart


class Session:
    """Speaks with one gdb.

    `send` takes bytes for it.  `receive` takes what it says; nothing that it
    says raises, and the machine survives all of it.
    """

    def __init__(
        self, debugger: Debugger, send: Callable[[bytes], None], machine: monitor.Commands, files: Files | None = None
    ) -> None:
        self.debugger, self.machine = debugger, machine
        self.files = files or Files()
        self.physical = False  # do memory packets take physical addresses?
        self.hart = 0  # of g, m and their like
        self.closed = False
        self.beginning = False  # a `monitor reset` waits for the machine to begin anew
        self.stood = debugger.control.paused  # did the machine stand still when gdb came?
        self._send = send
        self._begun = False
        self._last = b""
        self._decoder = Decoder()
        self._no_ack = False
        self._next_no_ack = False
        self._points = GdbPoints(debugger)
        self._mode: AllStop | NonStop = AllStop(self)
        self._tasks: set[asyncio.Task[None]] = set()
        debugger.listeners.append(self._hit)
        debugger.pause()

    # --- bytes ------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """What gdb sent.  A peer that does not begin as gdb does is sent away: a
        browser, say, that a foreign page made speak to this port."""
        if not self._begun and data[:1] not in (b"+", b"-", b"$", b"\x03"):
            self.close()
        self._begun = True
        for event in self._decoder.feed(data):
            if self.closed:
                return
            if isinstance(event, Packet):
                if not self._no_ack:
                    self._send(b"+")
                self._answer(event.data)
            elif isinstance(event, Interrupt):
                with contextlib.suppress(HartwellError):  # harts that don't come to rest: gdb may ask again
                    self._mode.interrupt()
            elif isinstance(event, Damaged):
                if self._no_ack:
                    self.reply(BAD_PACKET)
                else:
                    self._send(b"-")
            elif isinstance(event, Nack):
                self._send(self._last)

    def close(self) -> None:
        """gdb has gone: what it had set is taken away and the machine goes on."""
        if self.closed:
            return
        self.closed = True
        if self._hit in self.debugger.listeners:
            self.debugger.listeners.remove(self._hit)
        for task in self._tasks:
            task.cancel()
        control = self.debugger.control
        with contextlib.suppress(HartwellError):  # the machine has ended
            control.pause()
            self._points.clear()
            control.stop_all(True)
            control.run(range(control.count), past=False)

    def reply(self, data: bytes) -> None:
        """Sends a packet."""
        self._last = packets.encode(data)
        self._send(self._last)

    def notify(self, data: bytes) -> None:
        """Sends a notification, which gdb does not acknowledge."""
        self._send(packets.encode(data, b"%"))

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Work that goes on between packets and ends with the session, or the machine."""
        async def done() -> None:
            with contextlib.suppress(HartwellError):
                await work

        task = asyncio.ensure_future(done())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _answer(self, data: bytes) -> None:
        try:
            answer = self._handle(data)
        except BadPacket:
            answer = BAD_PACKET
        except BadAddress:
            answer = NO_MEMORY
        except BadConfiguration:
            answer = NO_ROOM
        except (HartwellError, IndexError, ValueError):
            answer = BAD_VALUE
        if answer is not None:
            self.reply(answer)
        if self._next_no_ack:
            self._no_ack, self._next_no_ack, self._decoder.checked = True, False, False

    def _hit(self) -> None:
        """The debugger's listener: something was hit, or the machine has ended or begun anew."""
        if self.debugger.over:
            self._mode.ended()
        elif self.beginning:
            self.beginning = False
            self.reply(b"OK")
        else:
            with contextlib.suppress(HartwellError):  # a hart that does not come to rest: it is told of later
                self._mode.hit(self.debugger.found())

    # --- packets ------------------------------------------------------------------------

    def _handle(self, data: bytes) -> bytes | None:
        """The answer; b"" for what we do not know, None when it comes later."""
        letter = data[:1]
        if letter == b"X":
            return self._write_binary(data)
        if data.startswith(b"vFile:"):
            return self.files.answer(data)
        text = data.decode("latin-1")
        match letter:
            case b"q" | b"Q":
                return queries.answer(self, text)
            case b"v":
                return self._verbose(text)
            case b"?":
                return self._mode.why()
            case b"g":
                return registers.read_general(self._chosen()).hex().encode()
            case b"G":
                registers.write_general(self._chosen(), raw(text[1:]))
                return b"OK"
            case b"p":
                return registers.read(self._chosen(), number(text[1:])).hex().encode()
            case b"P":
                name, equals, value = text[1:].partition("=")
                if not equals:
                    raise BadPacket(text)
                registers.write(self._chosen(), number(name), raw(value))
                return b"OK"
            case b"m":
                address, count = pair(text[1:])
                return self.debugger.view.read(address, min(count, PACKET_BYTES // 2), self._space()).hex().encode()
            case b"M":
                where, colon, value = text[1:].partition(":")
                return self._write(*pair(where), raw(value)) if colon else BAD_PACKET
            case b"Z" | b"z":
                return self._points.answer(text, self.physical)
            case b"H":
                return self._choose(text)
            case b"T":
                self.hart_of(thread_number(text[1:]))
                return b"OK"
            case b"c" | b"C":
                return self._old_resume(text, "c")
            case b"s" | b"S":
                return self._old_resume(text, "s")
            case b"b":
                return self._mode.reverse(text)
            case b"D":
                self.reply(b"OK")
                self.close()
                return None
            case b"k":
                self.close()
                self.machine.switch_off()
                return None
            case b"R":
                self.machine.reset(halt=True)
                return None
            case _:
                return b""

    def _verbose(self, text: str) -> bytes | None:
        """v packets: vCont and its kin, and vKill."""
        mode = self._mode
        if text == "vCont?":
            return b"vCont;c;C;s;S;t;r"
        if text.startswith("vCont;"):
            return mode.resume(resume.parse(text, self.debugger.control.count))
        if text == "vCtrlC" and isinstance(mode, NonStop):
            mode.interrupt()
            return b"OK"
        if text == "vStopped" and isinstance(mode, NonStop):
            return mode.fetch()
        if text.startswith("vKill"):
            self.reply(b"OK")
            self.close()
            self.machine.switch_off()
            return None
        return b""

    def _old_resume(self, text: str, verb: resume.Verb) -> bytes | None:
        """c, s and those with a signal, C and S."""
        rest = text[1:].partition(";")[2] if text[0] in "CS" else text[1:]
        if rest:
            registers.write(self._chosen(), registers.PC, number(rest).to_bytes(8, "little"))
        actions = {hart: Action("c") for hart in range(self.debugger.control.count)}
        actions[self.hart] = Action(verb)
        return self._mode.resume(actions)

    # --- what is agreed on ------------------------------------------------------------------

    def no_ack_from_next(self) -> None:
        """No acknowledgements after the answer that is sent now."""
        self._next_no_ack = True

    def set_non_stop(self, on: bool) -> None:
        """Everything stands still afterwards."""
        control = self.debugger.control
        for task in self._tasks:  # steps that the other mode has begun
            task.cancel()
        control.pause()
        self._mode = NonStop(self) if on else AllStop(self)
        control.stop_all(not on)
        control.run((), past=False)

    # --- registers and memory ---------------------------------------------------------------

    def hart_of(self, thread: int) -> int:
        """The hart of a thread's number.  BadPacket where there is none."""
        if thread in (0, -1):
            return self.hart
        if not 1 <= thread <= len(self.debugger.harts):
            raise BadPacket(f"there is no thread {thread}")
        return thread - 1

    def _chosen(self) -> Hart:
        return self.debugger.harts[self.hart]

    def _space(self) -> int | None:
        return None if self.physical else self.hart

    def _choose(self, text: str) -> bytes:
        if text[1:2] not in ("g", "c"):
            raise BadPacket(text)
        hart = self.hart_of(thread_number(text[2:]))
        if text[1] == "g":
            self.hart = hart
        return b"OK"

    def _write(self, address: int, count: int, data: bytes) -> bytes:
        if len(data) != count:
            raise BadPacket(f"{count} bytes promised, {len(data)} sent")
        if data:
            self.debugger.view.write(address, data, self._space())
        return b"OK"

    def _write_binary(self, packet: bytes) -> bytes:
        head, colon, data = packet[1:].partition(b":")
        return self._write(*pair(head.decode("latin-1")), data) if colon else BAD_PACKET

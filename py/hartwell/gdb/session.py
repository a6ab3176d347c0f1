"""One gdb that is connected: what each packet does.

Threads are harts, numbered from 1.  All-stop: a stop is everybody's.
Non-stop: each hart stops alone, and is told of by notifications.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable

from hartwell.debugger import Breakpoint, Debugger, Stop, Watchpoint
from hartwell.debugger.points import Kind, Point
from hartwell.errors import BadAddress, BadConfiguration, HartwellError
from hartwell.gdb import description, monitor, packets, registers, resume
from hartwell.gdb.files import Files
from hartwell.gdb.packets import PACKET_BYTES, Damaged, Decoder, Interrupt, Nack, Packet
from hartwell.gdb.resume import Action
from hartwell.gdb.words import BAD_PACKET, BAD_VALUE, NO_MEMORY, NO_ROOM, BadPacket, number, pair, raw, thread_number
from hartwell.harts import Hart
from hartwell.history import History

TRAP, INTERRUPTED, STOPPED = 5, 2, 0  # signals, as gdb numbers them
STEPS = 2000  # of a range, between two looks at what else has come
NEAR = 4  # instructions to a breakpoint that is perhaps gdb's own way to step
NEWS_SECONDS = 0.2  # from `?` in non-stop mode to the first news
TURN = 8  # so many of those, then harts run on their own threads once
_KINDS: dict[str, Kind] = {"2": "write", "3": "read", "4": "access"}
_FEATURES = (
    "QStartNoAckMode+;qXfer:features:read+;qXfer:threads:read+;qXfer:memory-map:read+;qXfer:exec-file:read+;"
    "vContSupported+;QNonStop+;swbreak+;hwbreak+"
)


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
        self._turn = 0
        self._begun = False
        self._send = send
        self._last = b""
        self._decoder = Decoder()
        self._no_ack = False
        self._next_no_ack = False
        self._non_stop = False
        self._running: set[int] = set(range(debugger.control.count))  # as gdb believes
        self._points: dict[tuple[str, int, int], Point] = {}
        self._queue: list[bytes] = []  # non-stop: stop replies that gdb has to fetch
        self._told: set[int] = set()
        self._stepping: asyncio.Task[None] | None = None  # all-stop: one at a time
        self._tasks: set[asyncio.Task[None]] = set()
        self.beginning = False  # a `monitor reset` waits for the machine to begin anew
        debugger.listeners.append(self._hit)
        self._stood = debugger.control.paused
        debugger.pause()
        self._running.clear()

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
                    self._interrupt()
            elif isinstance(event, Damaged):
                if self._no_ack:
                    self._reply(BAD_PACKET)
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
        try:
            control = self.debugger.control
            control.pause()
            self.debugger.clear(*self._points.values())
            control.stop_all(True)
            control.run(range(control.count), past=False)
        except HartwellError:
            pass  # the machine has ended

    def _reply(self, data: bytes) -> None:
        self._last = packets.encode(data)
        self._send(self._last)

    def _answer(self, data: bytes) -> None:
        try:
            reply = self._handle(data)
        except BadPacket:
            reply = BAD_PACKET
        except BadAddress:
            reply = NO_MEMORY
        except BadConfiguration:
            reply = NO_ROOM
        except (HartwellError, IndexError, ValueError):
            reply = BAD_VALUE
        if reply is not None:
            self._reply(reply)
        if self._next_no_ack:
            self._no_ack, self._next_no_ack, self._decoder.checked = True, False, False

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
                return self._query(text)
            case b"v":
                return self._verbose(text)
            case b"?":
                return self._why()
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
                return self._point(text)
            case b"H":
                return self._choose(text)
            case b"T":
                self._exists(thread_number(text[1:]))
                return b"OK"
            case b"c" | b"C":
                return self._old_resume(text, "c")
            case b"s" | b"S":
                return self._old_resume(text, "s")
            case b"b":
                return self._reverse(text)
            case b"D":
                self._reply(b"OK")
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

    def _query(self, text: str) -> bytes | None:
        name, _, rest = text.partition(":")
        match name:
            case "qSupported":
                back = ";ReverseStep+;ReverseContinue+" if self.machine.history else ""
                return f"PacketSize={PACKET_BYTES:x};{_FEATURES}{back}".encode()
            case "QStartNoAckMode":
                self._next_no_ack = True
                return b"OK"
            case "QNonStop":
                return self._set_non_stop(rest)
            case "qXfer":
                return self._transfer(rest)
            case "qfThreadInfo":
                return b"m" + ",".join(f"{hart + 1:x}" for hart in range(len(self.debugger.harts))).encode()
            case "qsThreadInfo":
                return b"l"
            case "qC":
                return f"QC{self.hart + 1:x}".encode()
            case "qAttached":
                return b"1"  # a gdb that quits detaches, and the machine goes on
            case "qSymbol":
                return b"OK"
            case "qqemu.PhyMemMode":
                return b"1" if self.physical else b"0"
            case "Qqemu.PhyMemMode":
                if rest not in ("0", "1"):
                    raise BadPacket(text)
                self.physical = rest == "1"
                return b"OK"
        if text.startswith("qRcmd,"):
            output = monitor.run(raw(text[6:]).decode("utf-8", "replace"), self)
            for line in output.splitlines(keepends=True):
                self._reply(b"O" + line.encode().hex().encode()[: PACKET_BYTES - 2])
            return None if self.beginning else b"OK"
        if text.startswith("qThreadExtraInfo,"):
            hart = self._exists(thread_number(text[17:]))
            return description.describe(self.debugger.harts[hart]).encode().hex().encode()
        return b""

    def _verbose(self, text: str) -> bytes | None:
        if text == "vCont?":
            return b"vCont;c;C;s;S;t;r"
        if text.startswith("vCont;"):
            return self._resume(resume.parse(text, self.debugger.control.count))
        if text == "vCtrlC":
            self._stop_harts(range(self.debugger.control.count), INTERRUPTED)
            return b"OK"
        if text == "vStopped":
            if self._queue:
                self._queue.pop(0)
            return self._queue[0] if self._queue else b"OK"
        if text.startswith("vKill"):
            self._reply(b"OK")
            self.close()
            self.machine.switch_off()
            return None
        return b""

    def _transfer(self, text: str) -> bytes:
        what, _, rest = text.partition(":read:")
        annex, _, window = rest.rpartition(":")
        offset, count = pair(window)
        match what, annex:
            case "features", "target.xml":
                document = description.target().encode()
            case "threads", "":
                document = description.threads(self.debugger.harts).encode()
            case "memory-map", "":
                document = description.memory_map().encode()
            case "exec-file", _:
                if not (name := self.files.program()):
                    return b"E00"
                document = name.encode()
            case _:
                return b"E00"
        part = document[offset : offset + min(count, PACKET_BYTES // 2)]
        return (b"l" if offset + len(part) >= len(document) else b"m") + part

    # --- registers and memory ---------------------------------------------------------------

    def _chosen(self) -> Hart:
        return self.debugger.harts[self.hart]

    def _space(self) -> int | None:
        return None if self.physical else self.hart

    def _exists(self, thread: int) -> int:
        """The hart of a thread's number."""
        if thread in (0, -1):
            return self.hart
        if not 1 <= thread <= len(self.debugger.harts):
            raise BadPacket(f"there is no thread {thread}")
        return thread - 1

    def _choose(self, text: str) -> bytes:
        if text[1:2] not in ("g", "c"):
            raise BadPacket(text)
        hart = self._exists(thread_number(text[2:]))
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

    def _point(self, text: str) -> bytes:
        """Z0 and Z1 are the same here: neither changes memory, nor is scarce."""
        fields = text[1:].split(";")[0].split(",")
        if len(fields) != 3 or fields[0] not in ("0", "1", "2", "3", "4"):
            return b"" if fields[0] not in ("0", "1", "2", "3", "4") else BAD_PACKET
        address, size = number(fields[1]), number(fields[2])
        key = ("0" if fields[0] == "1" else fields[0], address, 0 if fields[0] in "01" else size)
        if text[0] == "z":
            if point := self._points.pop(key, None):
                self.debugger.clear(point)
        elif key not in self._points:
            point = (Watchpoint(address, size, _KINDS[fields[0]], physical=self.physical) if fields[0] in _KINDS
                     else Breakpoint(address, physical=self.physical))
            self.debugger.set(point)
            self._points[key] = point
        return b"OK"

    # --- go on ----------------------------------------------------------------------------------

    def _old_resume(self, text: str, verb: resume.Verb) -> bytes | None:
        """c, s and those with a signal, C and S."""
        rest = text[1:].partition(";")[2] if text[0] in "CS" else text[1:]
        if rest:
            registers.write(self._chosen(), registers.PC, number(rest).to_bytes(8, "little"))
        actions = {hart: Action("c") for hart in range(self.debugger.control.count)}
        actions[self.hart] = Action(verb)
        return self._resume(actions)

    def _resume(self, actions: dict[int, Action]) -> bytes | None:
        if self._non_stop:
            for hart, action in actions.items():
                self._resume_alone(hart, action)
            return b"OK"
        control = self.debugger.control
        if device := self.debugger.device():
            self.debugger.forget(None)
            return self._stop_reply(device)
        steps = {hart: action for hart, action in actions.items() if action.verb in "sr"}
        others = [hart for hart, action in actions.items() if action.verb == "c"]
        self._running = set(actions)
        if not steps:
            if (stop := self._near(others)) is None:
                control.run(others, past=False)
                return None
            self._running.clear()
            self._report(stop)
            return None
        hart = next(iter(steps))
        if steps[hart].verb == "s" and not set(others) - {hart}:  # at once: no turn of the event loop for each step
            for index in range(control.count):
                self.debugger.forget(index)
            control.advance(hart)
            self._running.clear()
            self._report(self.debugger.device() or self.debugger.at(hart) or Stop("step", hart, self.debugger.harts[hart].pc))
            return None
        self._stepping = self._spawn(self._step(hart, steps[hart], others))
        return None

    def _reverse(self, text: str) -> bytes | None:
        """bs and bc: of a machine whose run is recorded."""
        history = self.machine.history
        if history is None or text not in ("bs", "bc") or self._non_stop:
            return b""
        self._running = {0}
        self._stepping = self._spawn(self._go_back(history, text == "bs"))
        return None

    async def _go_back(self, history: History, step: bool) -> None:
        try:
            stop = history.reverse_step() if step else await history.reverse_continue()
        except HartwellError:  # there is no way back from here: gdb hears that it stands where it stood
            stop = Stop("step", 0, self.debugger.harts[0].pc)
        if stop.reason == "watchpoint":
            # gdb takes it that a watchpoint stops a hart before the access, and
            # makes one more step, back.  From behind the access that leads to it.
            history.go_to(history.instret + 1)
        if 0 in self._running:
            self._running.clear()
            self._report(stop)

    def _near(self, harts: list[int]) -> Stop | None:
        """gdb steps RISC-V by a breakpoint on the next instruction and `c`.  Where
        that is hit within a few instructions of ours, no thread need wake for
        it; but the other harts get their turn now and then."""
        self._turn = (self._turn + 1) % TURN
        if self.hart not in harts or not self.debugger.breakpoints or (self._turn == 0 and len(harts) > 1):
            return None
        self.debugger.forget(self.hart)
        self.debugger.control.advance(self.hart, NEAR)
        return self.debugger.at(self.hart)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _step(self, hart: int, action: Action, others: list[int]) -> None:
        """All-stop: one hart steps on our thread; the others run meanwhile."""
        control, pc = self.debugger.control, self.debugger.harts[hart]
        for index in range(control.count):
            self.debugger.forget(index)
        others = [other for other in others if other != hart]
        while hart in self._running:  # until then; else it was interrupted, and gdb knows
            if others:
                control.run(others, past=False)
            done = self._some_steps(hart, action)
            if others:
                control.pause()
            found = [self.debugger.device(), self.debugger.at(hart)]
            if not done:  # somebody else may have hit something; if it's not told now, it is hit again
                found += [self.debugger.at(other) for other in others]
            if stop := next((stop for stop in found if stop), Stop("step", hart, pc.pc) if done else None):
                self._running.clear()
                self._report(stop)
            else:
                await asyncio.sleep(0)

    def _some_steps(self, hart: int, action: Action) -> bool:
        """Steps of one action; True when it is complete."""
        control, pc = self.debugger.control, self.debugger.harts[hart]
        if action.verb == "s":
            control.advance(hart)
            return True
        return any(not control.advance(hart) or not action.low <= pc.pc < action.high for _ in range(STEPS))

    def _resume_alone(self, hart: int, action: Action) -> None:
        """Non-stop: this hart only."""
        control = self.debugger.control
        if action.verb == "t":
            self._stop_harts([hart], STOPPED)
        elif hart not in self._running:
            self._running.add(hart)
            self._told.discard(hart)
            if action.verb == "c":
                control.release(hart, past=False)
            else:
                self._spawn(self._step_alone(hart, action))

    async def _step_alone(self, hart: int, action: Action) -> None:
        self.debugger.forget(hart)
        while hart in self._running:
            if self._some_steps(hart, action):
                stop = self.debugger.at(hart) or Stop("step", hart, self.debugger.harts[hart].pc)
                self._notify(hart, self._stop_reply(stop))
            else:
                await asyncio.sleep(0)

    # --- stops --------------------------------------------------------------------------------------

    def _interrupt(self) -> None:
        """0x03."""
        if self._non_stop:
            self._stop_harts(range(self.debugger.control.count), INTERRUPTED)
        elif self._running:
            self.debugger.control.pause()
            self._running.clear()
            found = self.debugger.found()
            self._report(found[0] if found else Stop("pause", self.hart, self.debugger.harts[self.hart].pc))

    def _hit(self) -> None:
        """The debugger's listener: something was hit, or the machine has ended or begun anew."""
        if self.beginning and not self.debugger.over:
            self.beginning = False
            self._reply(b"OK")
            return
        if self.debugger.over:
            if self._running or self._non_stop:
                self._running.clear()
                self._reply(b"W00")
            self.close()
            return
        found = self.debugger.found()
        if self._non_stop:
            for stop in found:
                if stop.reason == "device":  # which has paused everything
                    self.debugger.forget(None)
                    self._stop_harts(range(self.debugger.control.count), TRAP)
                elif stop.hart in self._running and stop.hart not in self._told:
                    self._stop_harts([stop.hart], TRAP)
        elif self._running and found and not (self._stepping and not self._stepping.done()):
            self._running.clear()
            self._report(found[0])

    def _report(self, stop: Stop) -> None:
        if stop.reason == "device":
            self.debugger.forget(None)
            text = f"hartwell: a device's {stop.access} of {stop.size} bytes at physical {stop.address or 0:#x}\n"
            self._reply(b"O" + text.encode().hex().encode())
        self.hart = stop.hart
        self.debugger.note(stop)
        self._reply(self._stop_reply(stop))

    def _stop_reply(self, stop: Stop, signal: int | None = None) -> bytes:
        hart = self.debugger.harts[stop.hart]
        if signal is None:
            signal = INTERRUPTED if stop.reason == "pause" else TRAP
        facts = [f"thread:{stop.hart + 1:x}", f"core:{stop.hart:x}"]
        if isinstance(stop.point, Watchpoint):
            name = {"write": "watch", "read": "rwatch", "access": "awatch"}[stop.point.kind]
            address = stop.point.address if stop.reason == "device" else stop.address or 0
            facts.append(f"{name}:{max(address, stop.point.address):x}")
        elif stop.reason == "begin":
            facts.append("replaylog:begin")
        elif stop.reason == "breakpoint":
            facts.append("swbreak:")
        facts += [f"{index:02x}:{registers.read(hart, index).hex()}" for index in (registers.PC, 2, 8)]
        return f"T{signal:02x}{';'.join(facts)};".encode()

    def _why(self) -> bytes:
        """`?`, also gdb's first question."""
        if not self._non_stop:
            return self._stop_reply(Stop("step", self.hart, self.debugger.harts[self.hart].pc))
        # gdb before 14 ends with an assertion when it is told here of threads that
        # have stopped.  So harts that ran run on; and where they stood, that is
        # news that comes a moment later.
        if self._stood:
            self._spawn(self._tell_who_stands())
        else:
            self._resume({hart: Action("c") for hart in range(self.debugger.control.count)})
        return b"OK"

    async def _tell_who_stands(self) -> None:
        await asyncio.sleep(NEWS_SECONDS)
        for hart in range(self.debugger.control.count):
            if hart not in self._running and hart not in self._told:
                self._notify(hart, self._stop_reply(Stop("pause", hart, self.debugger.harts[hart].pc)))

    # --- non-stop --------------------------------------------------------------------------------------

    def _set_non_stop(self, text: str) -> bytes:
        if text not in ("0", "1"):
            raise BadPacket(text)
        control = self.debugger.control
        control.pause()
        self._running.clear()
        self._queue.clear()
        self._told.clear()
        self._non_stop = text == "1"
        control.stop_all(not self._non_stop)
        # In non-stop mode a pause is only for the clock: every hart is held as well.
        control.run((), past=False)
        return b"OK"

    def _stop_harts(self, harts: Iterable[int], signal: int) -> None:
        for hart in harts:
            if hart in self._running:
                self.debugger.control.hold(hart)
                own = self.debugger.at(hart)
                stop = own or Stop("pause", hart, self.debugger.harts[hart].pc)
                self._notify(hart, self._stop_reply(stop, None if own else signal))

    def _notify(self, hart: int, reply: bytes) -> None:
        self._running.discard(hart)
        self._told.add(hart)
        self._queue.append(reply)
        if not self._running:
            self.debugger.control.pause()  # nobody is left for whom time should pass
        if len(self._queue) == 1:
            self._send(packets.encode(b"Stop:" + reply, b"%"))

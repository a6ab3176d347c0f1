"""Takes what the harts note in their rings, for everybody who listens."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import itertools
from collections.abc import Callable, Iterable

from hartwell.layout import CONSTANTS, TRACE_CALLS, TRACE_SLOT_BYTES, TRACE_SLOTS, field
from hartwell.platform import Core
from hartwell.trace.records import Record, records

Listener = Callable[[list[Record]], None]
PUMP_SECONDS = 0.02  # a ring of 1 MiB holds what busy programs do in that time
DEFAULT_TEXT = 256

_MASK, _TEXT = field("Machine.trace.mask").offset, field("Machine.trace.text_bytes").offset
_SAMPLE, _ONLY = field("Machine.trace.sample_ticks").offset, field("Machine.trace.only_tgid").offset
_CALLS = field("Machine.trace.call").offset


class Wish:
    """What one listener wants noted."""

    def __init__(self, listener: Listener, mask: int, calls: dict[int, int], sample_ticks: int, tgid: int) -> None:
        self.listener, self.mask, self.calls, self.sample_ticks, self.tgid = listener, mask, calls, sample_ticks, tgid


class Recorder:
    """One for each machine.  Off, it costs nothing; nobody who listens: off."""

    def __init__(self, core: Core, at_drain: Callable[[], None] = lambda: None) -> None:
        """`at_drain` is called whenever the rings are about to be read."""
        self._core, self._at_drain = core, at_drain
        self._wishes: list[Wish] = []
        self._pump: asyncio.Task[None] | None = None
        self._early: list[Record] = []  # taken, and later than what other harts' rings had then
        self.lost = 0
        """Records that a full ring had no room for, since the machine was made."""

    def conventions(self, pid_offset: int, entry: tuple[int, int]) -> None:
        """Where Linux keeps what the core needs: see struct Trace."""
        for name, value in (("pid_offset", pid_offset), ("entry_low", entry[0]), ("entry_high", entry[1])):
            self._core.write(field(f"Machine.trace.{name}").offset, value.to_bytes(8, "little"))

    def listen(self, listener: Listener, *, mask: int = 0, calls: dict[int, int] | None = None, sample_ticks: int = 0,
               tgid: int = 0) -> Wish:
        """Has `listener` called with records, in order of time, until `leave`.

        Records may be of kinds that others asked for.
        """
        wish = Wish(listener, mask, calls or {}, sample_ticks, tgid)
        if not self._wishes:
            self._empty()
        self._wishes.append(wish)
        self._set()
        with contextlib.suppress(RuntimeError):  # no event loop: whoever listens calls drain()
            if self._pump is None or self._pump.done():
                self._pump = asyncio.get_running_loop().create_task(self._keep_up())
        return wish

    def leave(self, wish: Wish) -> None:
        """Ends a wish; it gets what is in the rings first."""
        if wish in self._wishes:
            self.drain(all_of_it=True)
            self._wishes.remove(wish)
            self._set()

    def drain(self, all_of_it: bool = False) -> None:
        """Hands out what is in the rings now, in the order in which it happened.

        What happens meanwhile is in the rings that are read last and not in the
        first, so it waits for the next time, unless `all_of_it` is wanted.
        """
        self._at_drain()
        now = self._core.call("machine_clock")
        found, self._early = self._early, []
        for hart in range(self._core.plan.harts):
            found += records(self._take(hart))
        found.sort(key=lambda record: record.time)
        if not all_of_it:
            count = bisect.bisect_right(found, now, key=lambda record: record.time)
            found, self._early = found[:count], found[count:]
        if found:
            for wish in list(self._wishes):
                wish.listener(found)

    # --- inside ---------------------------------------------------------------

    def _take(self, hart: int) -> bytes:
        core = self._core
        head, tail = core.load(field("Hart.trace.head", hart).offset), core.load(field("Hart.trace.tail", hart).offset)
        count = (head - tail) % (1 << 32)
        if not count:
            return b""
        if count > TRACE_SLOTS:  # the machine was set back (reset, wake) meanwhile
            core.store(field("Hart.trace.tail", hart).offset, head)
            return b""
        ring = core.plan.values["trace_offset"] + hart * core.plan.values["trace_stride"]
        first = tail % TRACE_SLOTS
        straight = min(count, TRACE_SLOTS - first)
        data = core.read(ring + first * TRACE_SLOT_BYTES, straight * TRACE_SLOT_BYTES)
        if count > straight:
            data += core.read(ring, (count - straight) * TRACE_SLOT_BYTES)
        core.store(field("Hart.trace.tail", hart).offset, head)
        lost = field("Hart.trace.lost", hart).offset
        if missed := core.load(lost):
            core.store(lost, 0)
            self.lost += missed
        return data

    def _empty(self) -> None:
        self._early.clear()
        for hart in range(self._core.plan.harts):
            self._core.store(field("Hart.trace.tail", hart).offset, self._core.load(field("Hart.trace.head", hart).offset))
            self._core.store(field("Hart.trace.lost", hart).offset, 0)
        # Calls that began before nobody asked for them will not be told to return.
        calls = self._core.plan.values["trace_calls_offset"]
        self._core.fill(calls, 0, CONSTANTS["TRACE_OPEN_CALLS"] * 64)

    def _set(self) -> None:
        core, wishes = self._core, self._wishes
        mask = 0
        for wish in wishes:
            mask |= wish.mask
        table = bytearray(4 * TRACE_CALLS)
        for number, bits in itertools.chain.from_iterable(wish.calls.items() for wish in wishes):
            table[4 * number : 4 * number + 4] = (bits | CONSTANTS["TRACE_CALL_WANTED"]).to_bytes(4, "little")
        core.write(_CALLS, bytes(table))
        only = {wish.tgid for wish in wishes if wish.calls}
        core.store(_ONLY, only.pop() if len(only) == 1 else 0)
        core.store(_TEXT, DEFAULT_TEXT)
        ticks = [wish.sample_ticks for wish in wishes if wish.sample_ticks]
        core.store(_SAMPLE, min(ticks) if ticks else 0)
        core.store(_MASK, mask)

    async def _keep_up(self) -> None:
        while self._wishes:
            await asyncio.sleep(PUMP_SECONDS)
            self.drain()


def mask_of(names: Iterable[str]) -> int:
    """Bits of Machine.trace.mask by their names: "syscalls", "traps", ...."""
    return sum({CONSTANTS[f"TRACE_{name.upper()}"] for name in names})

"""Runs that repeat: recorded, replayed, and gone back in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hartwell.errors import BadConfiguration, HartwellError
from hartwell.history import Recording
from hartwell.history.driver import INTERVAL
from hartwell.history.replay import check_repeatable
from hartwell.layout import RAM_BASE
from hartwell.machine import Machine
from hartwell.request import make_request
from tests.core.assembler import Code, assemble
from tests.core.bare import SYMBOLS, elf
from tests.core.bench import platform

LIMIT = 400.0
DATA = RAM_BASE + 0x20_0000
# Reads bytes from the UART between timer interrupts that count, and mixes all
# of it with the clock into a word: what differs anywhere differs there.
MIXING = """
    la t0, tick; csrw mtvec, t0; li s0, DATA; li s1, 0x10000000; li s2, ACLINT; li t1, 0x4000; add s3, s2, t1
    li t1, 0xbff8; add s4, s2, t1; li t1, 0x80; csrw mie, t1; csrwi mstatus, 8; sd zero, 0(s3)
    loop: addi s5, s5, 1; lb t2, 5(s1); andi t2, t2, 1; beqz t2, mix
    got: lbu t3, 0(s1); sb t3, 0(s1); slli s6, s6, 7; add s6, s6, t3; sd t3, 64(s0)
    mix: ld t4, 0(s4); xor s6, s6, t4; rdtime_: csrr t5, time; add s6, s6, t5; mul s6, s6, s5; sd s6, 0(s0)
    li t6, 0x3fff; and t6, s5, t6; bnez t6, loop
    wfi; j loop
    .align 2
    tick: ld t4, 0(s4); li t5, 30000; add t4, t4, t5; sd t4, 0(s3); ld t4, 8(s0); addi t4, t4, 1; sd t4, 8(s0)
    add s6, s6, t4; mret
"""


@asynccontextmanager
async def machine_of(recording: Recording | bytes | None = None, **options: Any) -> AsyncIterator[tuple[Machine, Code]]:
    code = assemble(MIXING, RAM_BASE, **SYMBOLS)
    options = {"bare": elf(code), "memory": "16M", "platform": platform(), "show": False, **options}
    machine = await (Machine.record(**options) if recording is None else Machine.replay(recording, **options))
    assert machine.history
    machine.history.pace = False
    try:
        yield machine, code
    finally:
        await machine.close()


async def reach(machine: Machine, instret: int) -> None:
    """Runs on to an instruction count, or a little past it."""
    assert machine.history
    async with asyncio.timeout(LIMIT):
        while machine.history.instret < instret:
            await asyncio.sleep(0.005)
    machine.pause()


async def record(checkpoints: int = 3) -> Recording:
    """A run with input at odd moments."""
    async with machine_of() as (machine, _):
        for part in range(8):
            machine.console.write(f"typed {part}\n")
            await asyncio.sleep(0.02)
        await reach(machine, checkpoints * INTERVAL + 1234)
        assert machine.history
        return machine.history.recording()


async def test_a_run_is_repeated_exactly() -> None:
    recording = await record()
    assert b"".join(event.data for event in recording.events) == b"".join(b"typed %d\n" % part for part in range(8))
    assert [instret for instret, _ in recording.digests] == [INTERVAL * number for number in range(4)]
    finals = set()
    for _ in range(2):
        async with machine_of(recording.to_bytes()) as (machine, _code):
            assert machine.history
            await machine.history.finished(LIMIT)
            machine.pause()
            assert machine.history.diverged is None
            assert machine.history.recording().digests[:4] == recording.digests
            machine.history.go_to(recording.end)
            finals.add((machine.harts[0].pc, tuple(machine.harts[0].x), machine.memory.read(DATA, 16)))
    assert len(finals) == 1


async def test_breakpoints_and_steps_do_not_change_a_replay() -> None:
    recording = await record(2)
    async with machine_of(recording) as (machine, code):
        assert machine.history
        debugger = machine.debugger
        debugger.pause()
        debugger.break_at(code["got"])
        debugger.watch(DATA + 8)
        for turn in range(40):
            debugger.resume()
            await debugger.stopped(LIMIT)
            for _ in range(turn):
                debugger.step()
        debugger.clear()
        debugger.resume()
        await machine.history.finished(LIMIT)
        assert machine.history.diverged is None
        assert len(machine.history.driver.checkpoints.list) >= 3


async def test_a_replay_that_differs_is_noticed() -> None:
    recording = await record(1)
    recording.events[0] = type(recording.events[0])(recording.events[0].instret, 0, b"T")
    async with machine_of(recording) as (machine, _):
        assert machine.history
        await machine.history.finished(LIMIT)
        assert machine.history.diverged == INTERVAL


async def test_going_back() -> None:
    async with machine_of() as (machine, _):
        history = machine.history
        assert history
        machine.console.write("abc")
        await reach(machine, 2 * INTERVAL + 77)
        here, state = history.instret, (machine.harts[0].pc, tuple(machine.harts[0].x), machine.memory.read(DATA, 72))
        stop = history.reverse_step()
        assert (stop.reason, history.instret) == ("step", here - 1)
        machine.debugger.step()
        assert (machine.harts[0].pc, tuple(machine.harts[0].x), machine.memory.read(DATA, 72)) == state
        history.go_to(INTERVAL + 5)
        assert history.instret == INTERVAL + 5
        history.go_to(here)
        assert (machine.harts[0].pc, tuple(machine.harts[0].x), machine.memory.read(DATA, 72)) == state
        with pytest.raises(HartwellError, match="goes from 0 to"):
            history.go_to(here + INTERVAL)


async def test_reverse_continue_finds_the_write() -> None:
    async with machine_of() as (machine, code):
        history = machine.history
        assert history
        machine.console.write("xyz")
        await reach(machine, INTERVAL + 99)
        end = history.instret
        assert machine.memory.read(DATA + 64, 1) == b"z"
        machine.debugger.watch(DATA + 64)
        found = []
        for letter in b"zyx":
            stop = await history.reverse_continue()
            assert (stop.reason, stop.value) == ("watchpoint", letter)
            assert history.instret < end
            found.append(history.instret)
            assert machine.memory.read(DATA + 64, 1) != bytes([letter])  # it stands before the write
        assert found == sorted(found, reverse=True)
        assert (await history.reverse_continue()).reason == "begin"
        assert (history.instret, machine.harts[0].pc) == (0, code.base)
        machine.debugger.resume()
        assert (await machine.debugger.stopped(LIMIT)).value == ord("x")


async def test_a_reset_begins_a_new_history() -> None:
    async with machine_of() as (machine, code):
        assert machine.history
        await reach(machine, 200_000)
        machine.halt_next_start = True
        machine.reset()
        async with asyncio.timeout(LIMIT):
            while machine.history.instret:
                await asyncio.sleep(0.01)
        assert machine.harts[0].pc == code.base
        machine.resume()
        await reach(machine, 100_000)
        machine.history.go_to(0)
        assert machine.harts[0].pc == code.base
        with pytest.raises(HartwellError, match="reset"):
            machine.history.recording()


async def test_what_cannot_be_recorded_is_refused() -> None:
    for wrong in ({"harts": 2}, {"disks": [b"disk"]}, {"share": "."}, {"network": "switch"}, {"jit": True}):
        with pytest.raises(BadConfiguration, match=f"{next(iter(wrong))}: .*a machine that is recorded"):
            await Machine.record(platform=platform(), show=False, **wrong)
    request = await make_request(
        platform(), image=None, harts=1, memory="16M", kernel=None, initrd=None, append=None, disks=[b"disk" * 4096],
        firmware=None, bare=elf(assemble("wfi", RAM_BASE)))
    with pytest.raises(BadConfiguration, match="can have no disks yet"):
        check_repeatable(Recording(bytes(32), 0), request)
    check_repeatable(None, request)
    for damaged in (b"", b"{}", b"[1]", b'{"format": "hartwell recording", "version": 9}'):
        with pytest.raises(BadConfiguration, match="no recording"):
            await Machine.replay(damaged, platform=platform(), show=False)


async def test_a_pause_and_a_resume_at_once_make_no_second_run() -> None:
    async with machine_of() as (machine, _):
        for _ in range(5):
            machine.pause()
            machine.resume()
            await asyncio.sleep(0)
        async with asyncio.timeout(LIMIT):
            while True:
                await asyncio.sleep(0.05)
                running = [task for task in asyncio.all_tasks() if "History._run" in str(task.get_coro())]
                if len(running) <= 1:
                    break
        assert len(running) == 1
        await reach(machine, machine.history.instret + 100_000 if machine.history else 0)

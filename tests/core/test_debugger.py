"""Breakpoints, watchpoints, steps and held harts, on running machines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from hartwell.debugger import Breakpoint, Stop, Watchpoint
from hartwell.debugger.points import Points
from hartwell.errors import BadAddress, BadConfiguration, MachineStopped
from hartwell.layout import CONSTANTS, MAX_BREAKPOINTS, RAM_BASE, field
from tests.core.bare import bare
from tests.core.bench import Bench, get, put
from tests.core.paging import LEAF, PAGE, R, Space, W, X

LIMIT = 240.0
DATA = RAM_BASE + 0x20_0000
# Every hart counts in a word of its own and calls `work` between; `go` lets it.
COUNTING = """
    slli s1, a0, 6; li s0, DATA; add s0, s0, s1; li s1, 0
    loop: addi s1, s1, 1; call work; j loop
    work: sd s1, 0(s0)
    back: ret
"""


async def until(true: Callable[[], bool]) -> None:
    """Waits for what will be so before long."""
    async with asyncio.timeout(LIMIT):
        while not true():
            await asyncio.sleep(0.005)


async def test_a_breakpoint_stops_before_the_instruction() -> None:
    async with bare(COUNTING) as (machine, code):
        debugger = machine.debugger
        point = debugger.break_at(code["back"])
        stop = await debugger.stopped(LIMIT)
        assert (stop.reason, stop.hart, stop.pc, stop.point) == ("breakpoint", 0, code["back"], point)
        assert machine.state == "paused"
        first = machine.harts[0].x[9]
        assert int.from_bytes(machine.memory.read(DATA, 8), "little") == first
        for more in range(1, 4):
            debugger.resume()
            assert (await debugger.stopped(LIMIT)).pc == code["back"]
            assert machine.harts[0].x[9] == first + more  # neither lost nor passed twice
        debugger.clear(point)
        assert debugger.breakpoints == ()
        debugger.resume()
        await asyncio.sleep(0.05)
        assert machine.state == "running"
        assert debugger.stop is None


async def test_a_breakpoint_is_set_while_its_code_runs_on_both_harts() -> None:
    async with bare(COUNTING, harts=2) as (machine, code):
        await asyncio.sleep(0.05)  # the page is decoded by now
        debugger = machine.debugger
        debugger.break_at(code["work"])
        seen = set()
        for _ in range(10_000):  # who comes first is the computer's choice
            stop = await debugger.stopped(LIMIT)
            assert machine.harts[stop.hart].pc == code["work"]
            seen.add(stop.hart)
            debugger.resume()
            if seen == {0, 1}:
                break
        assert seen == {0, 1}


async def test_a_condition_says_which_hits_count() -> None:
    """Of a breakpoint and of a watchpoint; one that fails stops, and shows why."""
    async with bare(COUNTING, harts=2) as (machine, code):
        debugger, hart = machine.debugger, machine.harts[1]
        asked = []

        def wanted(stop: Stop) -> bool:
            asked.append(stop.hart)
            return stop.hart == 1 and hart.x[9] % 4 == 0

        point = debugger.break_at(code["back"], condition=wanted)
        for turn in range(10_000):
            stop = await debugger.stopped(LIMIT)
            assert (stop.hart, stop.pc, stop.point) == (1, code["back"], point)
            assert hart.x[9] % 4 == 0
            debugger.resume()
            if turn >= 2 and 0 in asked:  # when hart 0 runs is the computer's choice
                break
        assert 0 in asked
        debugger.pause()
        debugger.clear()
        debugger.watch(DATA + 64, condition=lambda stop: stop.value % 8 == 0)
        debugger.resume()
        for _ in range(3):
            stop = await debugger.stopped(LIMIT)
            assert (stop.hart, stop.reason, stop.value % 8) == (1, "watchpoint", 0)
            debugger.resume()
        debugger.clear()


async def test_a_point_that_was_taken_away_is_not_taken_for_another() -> None:
    async with bare(COUNTING) as (machine, code):
        debugger = machine.debugger
        debugger.break_at(code["back"])
        stop = await debugger.stopped(LIMIT)
        debugger.clear()
        debugger.break_at(code["back"] + 0x1000)
        assert stop.point
        assert debugger.at(0) == replace(stop, point=None)


async def test_a_hit_that_nobody_heard_of_ends_with_its_point() -> None:
    """The hart stands at a point that is cleared before Python looks: it goes on,
    and one that stands at another point has still hit that one."""
    async with bare(COUNTING) as (machine, code):
        debugger, counted = machine.debugger, machine.harts[0]
        for kept in (False, True):
            gone = debugger.break_at(code["work"])
            if kept:
                debugger.break_at(code["back"])  # the second in the table, and then the first
                await debugger.stopped(LIMIT)
                debugger.clear(number=gone.number)
                gone = debugger.break_at(code["work"] + 0x1000)
                debugger.resume()
            while not debugger.found():  # without giving way to the machine's own task
                time.sleep(0.001)
            assert debugger.stop is None
            debugger.clear(gone)
            before = counted.x[9]
            if kept:
                stop = await debugger.stopped(LIMIT)
                assert stop.point and stop.point.address == stop.pc == code["back"]
            else:
                await until(lambda: counted.x[9] > before)  # noqa: B023 - it is waited for here
                assert machine.state == "running"


async def test_a_pause_lasts_though_a_hart_hits_what_does_not_count() -> None:
    async with bare(COUNTING) as (machine, code):
        machine.debugger.break_at(code["back"], condition=lambda stop: False)
        await until(lambda: machine.harts[0].x[9] > 2)
        for _ in range(20):
            while not machine.debugger.found():  # the hart has hit it, and Python has not heard
                time.sleep(0.001)
            machine.pause()
            await asyncio.sleep(0.02)
            assert machine.state == "paused"
            before = machine.harts[0].x[9]
            machine.resume()
            await until(lambda: machine.harts[0].x[9] > before)  # noqa: B023 - it is waited for here


async def test_a_condition_that_fails_stops(capsys: pytest.CaptureFixture[str]) -> None:
    async with bare(COUNTING) as (machine, code):
        machine.debugger.break_at(code["back"], condition=lambda stop: 1 / 0)
        assert (await machine.debugger.stopped(LIMIT)).pc == code["back"]
        assert "ZeroDivisionError" in capsys.readouterr().err


async def test_a_listener_that_fails_keeps_nobody_else_from_hearing(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither another listener nor whoever waits for the machine's end."""
    async with bare(COUNTING) as (machine, code):
        heard: list[bool] = []
        machine.debugger.listeners += [lambda: print(1 // 0), lambda: heard.append(machine.debugger.over)]
        machine.debugger.break_at(code["loop"])
        assert (await machine.debugger.stopped(LIMIT)).reason == "breakpoint"
        assert machine.debugger.pause().reason == "breakpoint"
        assert heard == [False, False]
        machine._core.call("machine_stop", CONSTANTS["STOP_EXIT"], 3)
        assert await asyncio.wait_for(machine.wait(), LIMIT) == 3
        assert heard[-1] is True
    assert "ZeroDivisionError" in capsys.readouterr().err


async def test_translation_stays_on_where_nothing_is_set() -> None:
    """Ten breakpoints and a watchpoint on other pages: the loop runs translated as
    before, and does so again after one was hit in it and taken away."""
    async with bare(COUNTING + "\n" + "nop; " * 2000 + "far: nop; nop", jit=8) as (machine, code):
        debugger, hart = machine.debugger, machine.harts[0]
        ran = field("Hart.stat_jit_insns", 0).offset

        async def share() -> float:
            """Of what the hart retires, how much does it in translation?"""
            debugger.pause()
            before = hart.instret, machine._core.load(ran)
            debugger.resume()
            await until(lambda: hart.instret > before[0] + 2_000_000)
            debugger.pause()
            after = hart.instret, machine._core.load(ran)
            debugger.resume()
            return ((after[1] - before[1]) & 0xFFFF_FFFF) / (after[0] - before[0])

        await until(lambda: machine._core.load(ran) > 0)
        assert await share() > 0.99
        for number in range(10):
            debugger.break_at(code["far"] + 4096 * number)
        debugger.watch(DATA + 0x10_0000)
        assert await share() > 0.99
        debugger.break_at(code["far"] & ~0xFFF | code["loop"] & 0xFFF)  # the same place in another page
        assert await share() > 0.99
        point = debugger.break_at(code["back"])
        assert (await debugger.stopped(LIMIT)).point == point
        debugger.clear()
        debugger.resume()
        assert await share() > 0.99


async def test_steps() -> None:
    async with bare(COUNTING, harts=2) as (machine, code):
        debugger = machine.debugger
        debugger.break_at(code["loop"])
        stop = await debugger.stopped(LIMIT)
        hart, other = stop.hart, 1 - stop.hart
        still = machine.harts[other].instret
        counted = machine.harts[hart].instret
        places = [debugger.step(hart).pc for _ in range(4)]
        assert places == [code["loop"] + 4, code["work"], code["back"], code["loop"] + 8]
        assert machine.harts[hart].instret == counted + 4
        assert machine.harts[other].instret == still
        stop = debugger.step(hart, 100)  # comes by the breakpoint
        assert (stop.reason, stop.pc) == ("breakpoint", code["loop"])


async def test_a_step_into_a_trap_ends_at_its_handler() -> None:
    async with bare("la t0, handler; csrw mtvec, t0; here: ecall; j here; .align 2; handler: j handler") as (machine, code):
        debugger = machine.debugger
        async with asyncio.timeout(LIMIT):
            while machine.harts[0].csr["mtvec"] != code["handler"]:
                await asyncio.sleep(0.02)
        debugger.pause()
        machine.harts[0].pc = code["here"]
        assert debugger.step().pc == code["handler"]
        assert machine.harts[0].csr["mcause"] == 11
        assert machine.harts[0].csr["mepc"] == code["here"]


async def test_breakpoints_in_a_hart_that_waits() -> None:
    """A hart in WFI stops for a pause, and what is set then is hit when it wakes."""
    text = """
        la t0, woken; csrw mtvec, t0; li t1, 8; csrw mie, t1; csrwi mstatus, 8
        bnez a0, sleep
        li t2, DATA; wait: ld t3, 0(t2); beqz t3, wait
        li t0, ACLINT; li t1, 1; sw t1, 4(t0); end: j end
        sleep: wfi; j sleep
        .align 2
        woken: li t0, ACLINT; sw zero, 4(t0); mret
    """
    async with bare(text, harts=2) as (machine, code):
        await until(lambda: machine.harts[1].state == "waiting")
        debugger = machine.debugger
        point = debugger.break_at(code["woken"])
        machine.memory.write(DATA, b"\1")
        stop = await debugger.stopped(LIMIT)
        assert (stop.hart, stop.point) == (1, point)
        assert machine.harts[1].csr["mcause"] == 1 << 63 | 3


async def test_a_write_is_found_before_it_is_made() -> None:
    async with bare(COUNTING, harts=2) as (machine, code):
        debugger = machine.debugger
        point = debugger.watch(DATA + 64)
        stop = await debugger.stopped(LIMIT)
        assert (stop.reason, stop.hart, stop.pc, stop.point) == ("watchpoint", 1, code["work"], point)
        assert (stop.address, stop.size, stop.access, stop.value) == (DATA + 64, 8, "write", machine.harts[1].x[9])
        before = int.from_bytes(machine.memory.read(DATA + 64, 8), "little")
        assert before == machine.harts[1].x[9] - 1
        debugger.resume()
        stop = await debugger.stopped(LIMIT)
        assert stop.value == before + 2
        debugger.clear()
        debugger.resume()
        await asyncio.sleep(0.02)
        assert machine.state == "running"


ACCESSES = """
    li s0, DATA; li t1, -1; wait: ld t0, 64(s0); beqz t0, wait
    a: lb t0, 7(s0); b: sb t1, 8(s0); c: ld t0, 8(s0); d: sd t1, 5(s0); e: lw t0, 13(s0); f: amoadd.w t0, t1, (s0)
    addi s1, s0, 8; g: lr.w t0, (s1); h: sc.w t0, t1, (s1); li t0, SYSCON; li t1, PASS; sw t1, 0(t0); end: j end
"""


@pytest.mark.parametrize(("kind", "address", "size", "places"), [
    ("write", 8, 1, "bdh"), ("read", 8, 1, "cgh"), ("access", 8, 1, "bcdgh"), ("read", 7, 1, "a"),
    ("write", 12, 1, "d"), ("write", 13, 3, ""), ("access", 13, 3, "ce"), ("write", 0, 4, "f"), ("read", 3, 1, "f"),
    ("access", 16, 1, "e"), ("access", 17, 64 - 17, ""),
])
async def test_watchpoints_are_exact(kind: str, address: int, size: int, places: str) -> None:
    """On address, size and kind, for every sort of access, split ones too."""
    async with bare(ACCESSES) as (machine, code):
        machine.debugger.watch(DATA + address, size, kind)  # type: ignore[arg-type]
        machine.memory.write(DATA + 64, b"\1")  # no watchpoint's business
        found = ""
        with pytest.raises(MachineStopped):
            while True:
                stop = await machine.debugger.stopped(LIMIT)
                found += next(name for name, at in code.labels.items() if at == stop.pc)
                machine.debugger.resume()
        assert found == places
        assert machine.error is None


async def test_a_watchpoint_across_a_page_border() -> None:
    text = "li s0, DATA+4096; li t1, 7; loop: a: sd t1, -4(s0); b: sb t1, -5(s0); c: sw t1, 0(s0); j loop"
    async with bare(text) as (machine, code):
        machine.debugger.watch(DATA + 4094, 4)
        seen = []
        for _ in range(4):
            seen.append((await machine.debugger.stopped(LIMIT)).pc)
            machine.debugger.resume()
        assert set(seen) == {code["a"], code["c"]}
        assert seen[:2] == seen[2:]


async def test_a_device_register_is_watched() -> None:
    async with bare("li t0, ACLINT; li t1, 0xbff8; add t0, t0, t1; loop: ld t2, 0(t0); j loop") as (machine, code):
        point = machine.debugger.watch(0x0200_BFF8, 8, "read", physical=True)
        stop = await machine.debugger.stopped(LIMIT)
        assert (stop.pc, stop.point) == (code["loop"], point)


async def test_one_hart_is_held_while_the_other_works() -> None:
    async with bare(COUNTING, harts=2) as (machine, _):
        control = machine.debugger.control
        await asyncio.sleep(0.02)
        control.hold(1)
        before = [hart.instret for hart in machine.harts]
        await until(lambda: machine.harts[0].instret > before[0])
        assert machine.harts[1].instret == before[1]
        assert machine.state == "running"
        machine.pause()
        machine.resume()
        await asyncio.sleep(0.05)
        assert machine.harts[1].instret == before[1]
        control.release(1, past=True)
        await until(lambda: machine.harts[1].instret > before[1])


async def test_a_held_machine_can_be_switched_off() -> None:
    async with bare(COUNTING, harts=2) as (machine, _):
        for hart in range(2):
            machine.debugger.control.hold(hart)
        machine._core.call("machine_stop", 1, 0)
        assert await asyncio.wait_for(machine.wait(), LIMIT) == 0


async def test_what_cannot_be_set_is_refused() -> None:
    async with bare(COUNTING) as (machine, code):
        debugger = machine.debugger
        with pytest.raises(BadAddress, match="no symbol or line is named 'start_kernel'"):
            debugger.break_at("start_kernel")
        with pytest.raises(BadConfiguration, match="odd"):
            debugger.break_at(RAM_BASE + 1)
        with pytest.raises(BadConfiguration, match="0 bytes"):
            debugger.watch(RAM_BASE, 0)
        with pytest.raises(BadConfiguration, match="ends within"):
            debugger.watch((1 << 64) - 4, 8)
        with pytest.raises(BadConfiguration, match="kind"):
            debugger.watch(RAM_BASE, 8, "look")  # type: ignore[arg-type]
        for _ in range(MAX_BREAKPOINTS):
            debugger.points.add(Breakpoint(code["back"]))
        with pytest.raises(BadConfiguration, match="in use"):
            debugger.break_at(code["back"])
        debugger.clear()


async def test_nobody_waits_for_a_stop_of_a_machine_that_ended() -> None:
    async with bare("li t0, SYSCON; li t1, PASS; sw t1, 0(t0); end: j end") as (machine, _):
        with pytest.raises(MachineStopped):
            await machine.debugger.stopped(LIMIT)


async def test_a_device_access_is_reported_as_such() -> None:
    """After the fact; what the supervisor writes for a person is no device's."""
    async with bare(COUNTING) as (machine, _):
        point = machine.debugger.watch(DATA + 0x800, 8)
        machine.memory.write(DATA + 0x800, b"12345678")
        machine._core.call("ram_written", DATA + 0x7F8, 8)  # beside it
        assert machine.debugger.found() == []
        machine._core.call("ram_written", DATA + 0x804, 16)  # what a device in C or in Python says
        stop = await machine.debugger.stopped(LIMIT)
        assert (stop.reason, stop.point, stop.address, stop.size, stop.access) == ("device", point, DATA + 0x804, 16, "write")
        machine.debugger.resume()
        await asyncio.sleep(0.02)
        assert machine.state == "running"


def run_in(space: Space, hart: Bench, va: int) -> bool:
    """Runs four instructions at `va`; was the hart stopped by the debugger?"""
    space.use()
    hart.start(va, Bench.S)
    hart.step(4)
    stopped = get(hart.core, "Machine.control") == CONSTANTS["CONTROL_PAUSE"]
    put(hart.core, "Hart.debug.stop.reason", 0)
    hart.core.call("machine_resume")
    return stopped


def test_a_point_in_one_address_space_only(hart: Bench) -> None:
    """The same page at the same virtual address in two processes: one stops."""
    va, code = 0x4000_0000, hart.load("nop; sd t0, 0(t1); nop; nop; end: j end", hart.free)
    hart.x_set("t1", va + PAGE)
    one, two = Space(hart), Space(hart, tables=Bench.DATA + 0x30_0000)
    for space in (one, two):
        space.map(va, code.base, LEAF | R | X)
        space.map(va + PAGE, Bench.DATA, LEAF | R | W)
    points = Points(hart.core)
    put(hart.core, "Machine.debug.stop_all", 1)
    for point, stops in [
        (Breakpoint(va + 4, space=one.satp(asid=7)), (True, False)),
        (Watchpoint(va + PAGE, 8, "write", space=two.satp()), (False, True)),
        (Breakpoint(code.base + 4, physical=True), (True, True)),
        (Watchpoint(Bench.DATA + 7, 1, "write", physical=True), (True, True)),
        (Breakpoint(code.base + 4), (False, False)),
        (Watchpoint(va + PAGE, 8, "read"), (False, False)),
    ]:
        points.add(point)
        points.write()
        assert (run_in(one, hart, va), run_in(two, hart, va)) == stops, point
        points.remove(point)
        points.write()
        assert not run_in(one, hart, va)

"""Harts as threads: atomics, order, interrupts, fences and SBI between them;
pause and resume.  SBI 2.0 chapters 7 to 10."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from hartwell.devices.board import ACLINT, SYSCON
from hartwell.layout import CONSTANTS, HART_BASE, HART_STRIDE, RAM_OFFSET, field
from hartwell.platform.wasmtime import WasmtimeCore
from tests.core import bench
from tests.core.bench import Bench, get, ram_read, ram_write
from tests.core.paging import LEAF, PAGE, R, Space, W, X
from tests.oracle.programs import encode

S, M = Bench.S, Bench.M
DATA = Bench.DATA
LIMIT_SECONDS = 240.0
IPI, RFENCE, HSM, TIME = 0x735049, 0x52464E43, 0x48534D, 0x54494D45
SYMBOLS = {"DATA": DATA, "SYSCON": SYSCON, "ACLINT": ACLINT, "PASS": 0x5555, "IPI": IPI, "RFENCE": RFENCE, "HSM": HSM,
           "TIME": TIME, "FAIL": 0x1_3333}
# The hart that comes second to `finish` ends the machine.
FINISH = """
    finish: li t0, DATA; li t1, 1; addi t0, t0, 8; amoadd.w t1, t1, (t0); beqz t1, rest
    success: li t1, PASS; j power
    fail: li t1, FAIL
    power: li t0, SYSCON; sw t1, 0(t0)
    rest: wfi; j rest
"""

@pytest.fixture
def kernel() -> Iterator[Bench]:
    """Built-in firmware; M mode belongs to it."""
    core = bench.fresh_core(firmware="BUILTIN")
    yield Bench(core)
    core.terminate()


def run(core: WasmtimeCore, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Runs all harts till the machine stops; it must be by a power-off."""

    async def go() -> None:
        await core.start_harts()
        meanwhile()
        await asyncio.wait_for(core.join(), LIMIT_SECONDS)

    try:
        asyncio.run(go())
    except TimeoutError:
        where = [hex(get(core, "Hart.pc", index)) for index in range(core.plan.harts)]
        raise AssertionError(f"no end after {LIMIT_SECONDS} s; harts stand at {where}") from None
    assert core.failure is None
    reason = get(core, "Machine.stop_reason")
    assert reason == CONSTANTS["STOP_POWEROFF"], f"stop reason {reason}, exit code {get(core, 'Machine.exit_code')}"


def on_both(hart: Bench, text: str) -> None:
    """Starts both harts in M mode at `text`."""
    code = hart.load(text + FINISH, **SYMBOLS)
    for index in range(2):
        hart.start(code.base, M, index)


def test_atomic_additions_are_not_lost(hart: Bench) -> None:
    on_both(hart, """
        li s0, DATA; li s1, 100000; li s2, 1
        loop: amoadd.d zero, s2, (s0); addi s1, s1, -1; bnez s1, loop
    """)
    run(hart.core)
    assert ram_read(hart.core, DATA, 4) == 200_000


@pytest.mark.parametrize("width", ["w", "d"])
def test_a_lock_of_lr_and_sc(hart: Bench, width: str) -> None:
    on_both(hart, f"""
        li s0, DATA+64; li s1, 30000; li s2, 1; addi s3, s0, 64
        loop: lr.{width} t0, (s0); bnez t0, loop; sc.{width} t0, s2, (s0); bnez t0, loop; fence
        ld t1, 0(s3); addi t1, t1, 1; sd t1, 0(s3)
        fence; amoswap.{width} zero, zero, (s0)
        addi s1, s1, -1; bnez s1, loop
    """)
    run(hart.core)
    assert ram_read(hart.core, DATA + 128) == 60_000


def test_sc_fails_when_another_hart_wrote(hart: Bench) -> None:
    code = hart.load("lr.d a0, (s0); sc.d a1, s1, (s0); sc.d a2, s1, (s0); end: j end")
    hart.start()
    hart.x_set("s0", DATA)
    hart.step()
    ram_write(hart.core, DATA, b"\x07")
    hart.step(2)
    assert (hart.x("a1"), hart.x("a2"), ram_read(hart.core, DATA)) == (1, 1, 7) and hart.pc == code["end"]


def test_stores_before_a_fence_are_seen_by_loads_after_it(hart: Bench) -> None:
    """Store buffering: each hart stores to its own word, fences, loads the
    other's.  That both load the old value is forbidden."""
    on_both(hart, """
        csrr s0, mhartid; li s1, DATA+256; slli t0, s0, 7; add s2, s1, t0; xori t0, t0, 128; add s3, s1, t0
        li s4, 1; li s5, 20001; addi s6, s1, 512; li s7, 1
        round: sd s4, 0(s2); fence; ld t1, 0(s3)
        sd t1, 64(s2)
        fence; amoadd.d zero, s7, (s6); slli t2, s4, 1
        wait: ld t3, 0(s6); blt t3, t2, wait
        fence; ld t1, 64(s2); ld t2, 64(s3)
        bge t1, s4, fine; bge t2, s4, fine; j fail
        fine: amoadd.d zero, s7, (s6); slli t2, s4, 1
        addi s8, s6, 64; amoadd.d zero, s7, (s8)
        wait2: ld t3, 0(s8); blt t3, t2, wait2
        li t4, -1; amoadd.d zero, t4, (s6)
        addi s9, s6, 128; amoadd.d zero, s7, (s9)
        wait3: ld t3, 0(s9); blt t3, t2, wait3
        addi s4, s4, 1; blt s4, s5, round
    """)
    run(hart.core)


def test_a_timer_ends_wfi(hart: Bench) -> None:
    hart.load("""
        li s0, ACLINT; li t0, 0xbff8; add s1, s0, t0; li t0, 0x4000; add s0, s0, t0
        li t0, 128; csrw mie, t0
        ld s2, 0(s1); li t0, 200000; add s3, s2, t0; sd s3, 0(s0)
        sleep: wfi; csrr t0, mip; beqz t0, sleep
        ld s4, 0(s1); bltu s4, s3, fail; j success
    """ + FINISH, **SYMBOLS)
    hart.start()
    run(hart.core)
    assert get(hart.core, "Hart.stat_wfi") >= 1
    assert hart.x("s4") - hart.x("s2") >= 200_000


def test_an_sbi_timer_interrupts(kernel: Bench) -> None:
    code = kernel.load("""
        la t0, handler; csrw stvec, t0; li t0, 32; csrw sie, t0; csrsi sstatus, 2
        csrr a0, time; li t0, 100000; add a0, a0, t0; mv s0, a0; li a7, TIME; li a6, 0; ecall
        sleep: wfi; j sleep
        .align 2
        handler: csrr s1, scause; csrr s2, time; j success
    """ + FINISH, **SYMBOLS)
    kernel.start(code.base, S)
    run(kernel.core)
    assert kernel.x("s1") == 1 << 63 | 5 and kernel.x("s2") >= kernel.x("s0")


# In a loop of hart 0 with its turn in s3: now and then it waits until hart 1 has looked, and said so at DATA+40.
# A computer may give hart 1 no time while hart 0 does all of its turns.
PACE = "andi t0, s3, 255; bnez t0, on; ld t1, 40(s0); pace: ld t0, 40(s0); beq t0, t1, pace; on:"
# A second hart, started by SBI at `second`, which counts interrupts into DATA+16.
START_SECOND = "li a7, HSM; li a6, 0; li a0, 1; la a1, second; li a2, 77; ecall; bnez a0, fail\n"


def test_interrupts_between_harts(kernel: Bench) -> None:
    code = kernel.load(START_SECOND + """
        li s0, DATA; li s1, 1; li s2, 1001; sleep: ld t0, 24(s0); beqz t0, sleep
        ring: li a7, IPI; li a6, 0; li a0, 2; li a1, 0; ecall; bnez a0, fail
        wait: ld t0, 16(s0); bne t0, s1, wait
        addi s1, s1, 1; bne s1, s2, ring; j success
        second: li s0, DATA; la t0, handler; csrw stvec, t0; li t0, 2; csrw sie, t0; csrsi sstatus, 2
        sd a1, 24(s0)
        idle: wfi; j idle
        .align 2
        handler: csrci sip, 2; ld t1, 16(s0); addi t1, t1, 1; sd t1, 16(s0); sret
    """ + FINISH, **SYMBOLS)
    kernel.start(code.base, S)
    run(kernel.core)
    assert ram_read(kernel.core, DATA + 16) == 1000 and ram_read(kernel.core, DATA + 24) == 77


def test_harts_start_stop_and_start_again(kernel: Bench) -> None:
    """Status: 1 stopped, 0 started; errors: -6 already available, -3 no such hart, -5 no such address."""
    status = "li a7, HSM; li a6, 2; li a0, 1; ecall\n"
    code = kernel.load(f"""
        li s0, DATA; li s3, 3
        {status} li t0, 1; bne a1, t0, fail
        li a6, 0; li a0, 5; la a1, second; ecall; li t0, -3; bne a0, t0, fail
        li a0, 1; li a1, 0x40000000; ecall; li t0, -5; bne a0, t0, fail
        li a6, 9; ecall; li t0, -2; bne a0, t0, fail
        again: {START_SECOND}
        up: ld t0, 16(s0); beqz t0, up
        li a6, 0; li a0, 1; la a1, second; ecall; li t0, -6; bne a0, t0, fail
        {status} bnez a1, fail
        sd zero, 16(s0)
        down: {status} li t0, 1; bne a1, t0, down
        addi s3, s3, -1; bnez s3, again; j success
        second: li s0, DATA; bne a0, s4, fail; li s4, 5; ld t1, 24(s0); addi t1, t1, 1; sd t1, 24(s0)
        csrr t2, satp; bnez t2, fail; csrr t2, sstatus; andi t2, t2, 2; bnez t2, fail
        li t1, 1; sd t1, 16(s0)
        stay: ld t1, 16(s0); bnez t1, stay
        li s4, 1; li a7, HSM; li a6, 1; ecall
        j fail
    """ + FINISH, **SYMBOLS)
    kernel.start(code.base, S)
    kernel.x_set("s4", 1, 1)
    run(kernel.core)
    assert ram_read(kernel.core, DATA + 24) == 3


def test_two_harts_start_one_at_once() -> None:
    """It begins where one of them said, with what the same one gave along: place 1 with 1 or place 2 with 2."""
    kernel = Bench(bench.fresh_core(harts=3, firmware="BUILTIN"))
    code = kernel.load("""
        li s0, DATA; li s3, 20000; li s4, -6; addi s5, a0, 1; la s1, one; li s6, 1; li s8, 0; beqz a0, again; la s1, two
        again: li a7, HSM; li a6, 2; li a0, 2; ecall; bne a1, s6, again
        li a6, 0; li a0, 2; mv a1, s1; mv a2, s5; addi s8, s8, 2; addi t0, s0, 32; amoadd.d t1, s6, (t0)
        meet: ld t0, 32(s0); bltu t0, s8, meet
        li t1, 64; beq s5, s6, turn; andi t1, s8, 126
        turn: addi t1, t1, -2; blt zero, t1, turn
        ecall; beqz a0, went; bne a0, s4, fail
        went: ld t0, 16(s0); bnez t0, fail; srli t1, s8, 1; bltu t1, s3, again; j finish
        one: li t0, 1; j look
        two: li t0, 2
        look: li s0, DATA; beq a1, t0, right; sd t0, 16(s0)
        right: li a7, HSM; li a6, 1; ecall; j fail
    """ + FINISH, **SYMBOLS)
    for index in range(2):
        kernel.start(code.base, S, index)
    try:
        run(kernel.core)
    finally:
        kernel.core.terminate()


@pytest.mark.parametrize("function", [0, 3], ids=["start", "suspend"])
def test_a_hart_does_not_begin_at_an_odd_address(kernel: Bench, function: int) -> None:
    first = 1 if function == 0 else 0x8000_0000
    kernel.execute("ecall", S, a7=HSM, a6=function, a0=first, a1=DATA + 1, a2=0)
    assert kernel.x("a0") == 2**64 - 5


def test_msip_and_its_interrupt_agree_whoever_wrote_last(hart: Bench) -> None:
    """Hart 0 takes its software interrupt back while hart 1 raises it; then mip says what msip says."""
    code = hart.load("""
        li s0, DATA; li s1, ACLINT; li s3, 20000; li s5, 1; li s6, 0; bnez a0, other
        round: addi s6, s6, 1; sd s6, 16(s0)
        wait: ld t0, 24(s0); bne t0, s6, wait
        sw zero, 0(s1); sd s6, 32(s0)
        both: ld t0, 40(s0); bne t0, s6, both
        lw t1, 0(s1); csrr t2, mip; srli t2, t2, 3; andi t2, t2, 1; bne t1, t2, fail; bne s6, s3, round; j success
        other: addi s6, s6, 1; sd s6, 24(s0)
        start: ld t0, 16(s0); bne t0, s6, start
        sw s5, 0(s1); sd s6, 40(s0)
        done: ld t0, 32(s0); bne t0, s6, done
        j other
    """ + FINISH, **SYMBOLS)
    for index in range(2):
        hart.start(code.base, M, index)
    run(hart.core)


@pytest.mark.parametrize("arguments", ["li a2, 0; li a3, 0", "li a2, 0x200000; li a3, 0x1000"], ids=["all", "page"])
def test_remote_translation_fences(kernel: Bench, arguments: str) -> None:
    """Hart 0 moves a page on and on; hart 1, once told of a move, never reads an older page."""
    space = Space(kernel)
    pages, first = 64, DATA + 0x10_0000
    for page in range(pages):
        ram_write(kernel.core, first + page * PAGE, bytes(8))
    entry = space.map(0x20_0000, first, LEAF | R | W)
    code = kernel.load(START_SECOND.replace("77", str(space.satp())) + f"""
        li s0, DATA; li s1, {entry}; li s2, {first}; li s3, 1; li s4, 1501; li s6, {PAGE}
        up: ld t0, 24(s0); beqz t0, up
        move: andi t0, s3, {pages - 1}; mul t0, t0, s6; add t0, t0, s2; sd s3, 0(t0)
        srli t0, t0, 2; ori t0, t0, {LEAF | R | W}; fence; sd t0, 0(s1)
        li a7, RFENCE; li a6, 1; li a0, 2; li a1, 0; {arguments}; ecall; bnez a0, fail
        fence; sd s3, 16(s0)
        {PACE} addi s3, s3, 1; bne s3, s4, move
        j success
        second: li s0, DATA; li s1, 0x200000; csrw satp, a1; sfence.vma zero, zero
        li t0, 1; sd t0, 24(s0)
        look: ld t0, 16(s0); fence; ld t1, 0(s1); bltu t1, t0, fail; addi s5, s5, 1; sd s5, 40(s0); j look
    """ + FINISH, **SYMBOLS)
    for page in range(code.base, code.base + len(code.data), PAGE):
        space.map(page, page, LEAF | R | X)
    space.map(DATA, DATA, LEAF | R | W)
    space.map(SYSCON, SYSCON, LEAF | R | W)
    kernel.start(code.base, S)
    run(kernel.core)
    assert kernel.x("s5", 1) > 0


@pytest.mark.parametrize(("start", "size"), [(0x20_0000, 0x2000), (0x20_0800, 0x1000), (0x20_0FFF, 2), (0x20_1000, 1)])
def test_a_fence_of_this_hart_covers_every_page_it_touches(kernel: Bench, start: int, size: int) -> None:
    space = Space(kernel)
    old, new = DATA + 0x10_0000, DATA + 0x10_1000
    ram_write(kernel.core, old, b"\1")
    ram_write(kernel.core, new, b"\2")
    space.map(0x20_0000, old, LEAF | R | W)
    entry = space.map(0x20_1000, old, LEAF | R | W)
    space.use()
    space.execute("lb s2, 0(s0)", S, s0=0x20_1000)
    assert kernel.x("s2") == 1
    space.write(entry, new >> 2 | LEAF | R | W)
    space.execute("ecall; lb s2, 0(s0)", S, s0=0x20_1000, a7=RFENCE, a6=1, a0=1, a1=0, a2=start, a3=size)
    assert (kernel.x("a0"), kernel.x("s2")) == (0, 2)


@pytest.mark.parametrize("how", ["remote", "local"])
def test_code_fences_between_harts(kernel: Bench, how: str) -> None:
    """Hart 0 rewrites a function; hart 1, once told, never runs an older one."""
    remote = "li a7, RFENCE; li a6, 0; li a0, 2; li a1, 0; ecall; bnez a0, fail" if how == "remote" else "nop"
    local = "fence.i" if how == "local" else "nop"
    code = kernel.load(START_SECOND + f"""
        li s0, DATA; li s1, {DATA + PAGE}; li s3, 1; li s4, 1501
        up: ld t0, 24(s0); beqz t0, up
        write: slli t0, s3, 20; li t1, {int.from_bytes(encode('addi', 0, rd=10), 'little')}; or t0, t0, t1; sw t0, 0(s1)
        fence; {remote}
        fence; sd s3, 16(s0)
        {PACE} addi s3, s3, 1; bne s3, s4, write
        j success
        second: li s0, DATA; li s1, {DATA + PAGE}; li t0, 1; sd t0, 24(s0)
        look: ld s2, 16(s0); fence; {local}; jalr ra, 0(s1); bltu a0, s2, fail; addi s5, s5, 1; sd s5, 40(s0); j look
    """ + FINISH, **SYMBOLS)
    ram_write(kernel.core, DATA + PAGE, encode("addi", 0, rd=10) + encode("jalr", rs1=1))
    kernel.start(code.base, S)
    run(kernel.core)
    assert kernel.x("s5", 1) > 0


# --- pause --------------------------------------------------------------------------


# A thread that comes back to hart_run sees the pause and leaves: these may change.
BOOKKEEPING = ("attention", "state", "wake", "executing", "active", "code_ack")


def state(core: WasmtimeCore) -> bytes:
    """Everything that a guest could notice."""
    harts = bytearray(core.read(HART_BASE, core.plan.harts * HART_STRIDE))
    for index in range(core.plan.harts):
        for name in BOOKKEEPING:
            at = field(f"Hart.{name}", index).offset - HART_BASE
            harts[at : at + 4] = bytes(4)
    return bytes(harts) + core.read(RAM_OFFSET, core.plan.ram_bytes)


def pause(core: WasmtimeCore) -> None:
    core.call("machine_pause")
    running = field("Machine.running_harts").offset
    end = time.monotonic() + LIMIT_SECONDS
    while count := core.load(running):
        core.block(running, count, 0.1)
        assert time.monotonic() < end, f"{count} harts do not pause"


def test_a_paused_machine_stands_still(hart: Bench) -> None:
    """Hart 0 counts in a register and in memory; hart 1 sleeps and wakes by its timer."""
    core = hart.core
    counter = hart.load("loop: addi s1, s1, 1; sd s1, 0(s0); lw t0, 4(s2); beqz t0, loop; j success" + FINISH,
                        **SYMBOLS)
    sleeper = hart.load("""
        li t0, 128; csrw mie, t0; li t0, ACLINT+0xbff8; li t1, ACLINT+0x4008; li t3, 5000
        nap: ld t2, 0(t0); add t2, t2, t3; sd t2, 0(t1); wfi; addi s1, s1, 1; j nap
    """, hart.CODE + PAGE, **SYMBOLS)
    hart.start(counter.base, M, 0)
    hart.start(sleeper.base, M, 1)
    hart.x_set("s0", DATA)
    hart.x_set("s2", DATA + 64)

    def meanwhile() -> None:
        counts = []
        for turn in range(20_000):
            if turn >= 20 and counts[0] < counts[-1] and hart.x("s1", 1):  # when a hart gets to run is the computer's choice
                break
            time.sleep(0.003)
            pause(core)
            before, clock = state(core), core.call("machine_clock")
            time.sleep(0.01)
            assert state(core) == before and core.call("machine_clock") == clock
            assert hart.x("s1") - ram_read(core, DATA) in (0, 1), "between two instructions"
            counts.append(hart.x("s1"))
            core.call("machine_resume")
        ram_write(core, DATA + 68, b"\x01")
        assert counts == sorted(counts) and counts[0] < counts[-1], "it went on in between"

    run(core, meanwhile)
    assert hart.x("s1", 1) > 0


def test_pauses_in_haste(hart: Bench) -> None:
    """Paused and told to go on while harts are still on their way in or out: a pause stops
    them and the clock, and what follows it stops neither."""
    core = hart.core
    code = hart.load("loop: lw t0, 0(s0); beqz t0, loop" + FINISH, **SYMBOLS)
    for index in range(2):
        hart.start(code.base, M, index)
        hart.x_set("s0", DATA + 64, index)
    frozen = field("Machine.time_frozen").offset

    def moves() -> tuple[int, int, int]:
        return core.call("machine_clock"), get(core, "Hart.instret", 0), get(core, "Hart.instret", 1)

    def meanwhile() -> None:
        for turn in range(1500):
            pause(core)
            assert core.load(frozen), "all harts rest, so the clock does"
            before = moves()
            time.sleep(turn % 3 / 20_000)
            assert moves() == before, f"turn {turn}"
            core.call("machine_resume")
            for _ in range(turn % 5):
                assert not core.load(frozen), f"the clock goes on, turn {turn}"
                time.sleep(0.000_02)
        ram_write(core, DATA + 64, b"\x01")

    run(core, meanwhile)


def test_it_is_seen_whether_a_machine_rests(hart: Bench) -> None:
    """Hart 0 sleeps; hart 1 works until it is told, then sleeps until a software interrupt."""
    core = hart.core
    worker = hart.load(
        "li t1, 8; csrw mie, t1; sw t1, 72(s0); loop: lw t0, 64(s0); beqz t0, loop; "
        "sleep: wfi; csrr t0, mip; beqz t0, sleep; j success" + FINISH, **SYMBOLS)
    sleeper = hart.load("rest: wfi; j rest", hart.CODE + PAGE)
    for index, code in enumerate((sleeper, worker)):
        hart.start(code.base, M, index)
        hart.x_set("s0", DATA, index)

    def rests() -> bool:
        end = time.monotonic() + LIMIT_SECONDS
        while not core.call("machine_rests") and time.monotonic() < end:
            time.sleep(0.005)
        return bool(core.call("machine_rests"))

    def meanwhile() -> None:
        end = time.monotonic() + LIMIT_SECONDS
        while not ram_read(core, DATA + 72, 4) and time.monotonic() < end:
            time.sleep(0.005)
        assert not any(core.call("machine_rests") for _ in range(20)), "a hart works"
        ram_write(core, DATA + 64, b"\x01")
        assert rests()
        core.call("device_write", ACLINT + 4, 4, 1)  # msip of hart 1

    run(core, meanwhile)


def test_a_machine_that_stopped_runs_again_after_a_reset(hart: Bench) -> None:
    for _ in range(3):
        on_both(hart, "")
        run(hart.core)
        assert ram_read(hart.core, DATA + 8, 4) == 2
        hart.core.call("machine_reset")
        ram_write(hart.core, DATA + 8, bytes(4))
        assert get(hart.core, "Machine.stop_reason") == 0

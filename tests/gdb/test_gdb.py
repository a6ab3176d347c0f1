"""Debian's gdb at a machine with two harts, over MI and in batch mode."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.gdb.conftest import Target
from tests.gdb.mi import Gdb, GdbError
from tests.gdb.mi import program as gdb_program


def test_threads_are_harts(gdb: Gdb) -> None:
    threads = gdb.say("info threads")
    assert '"hart 0" (hart 0, M mode)' in threads
    assert '"hart 1" (hart 1, M mode)' in threads


def test_a_breakpoint_is_hit_on_both_harts(gdb: Gdb) -> None:
    gdb.do("-break-insert work")
    seen = {}
    for _ in range(1000):  # who of them comes first is the computer's choice
        stop = gdb.go()
        assert stop["reason"] == "breakpoint-hit"
        seen[stop["thread-id"]] = gdb.number("hart")
        if len(seen) == 2:
            break
    assert seen == {"1": 0, "2": 1}


def test_backtrace_locals_and_finish(gdb: Gdb) -> None:
    gdb.do("-break-insert -c n==0 depth")
    gdb.go()
    frames = gdb.do("-stack-list-frames")
    assert [part.split('"')[0] for part in frames.split('func="')[1:7]] == ["depth"] * 4 + ["work", "begin"]
    gdb.do("-stack-select-frame 4")
    local = gdb.value("local")
    assert local == f"{{x = {gdb.number('round')}, y = {gdb.number('hart')}}}"
    gdb.do("-break-delete")
    gdb.do("-gdb-set scheduler-locking on")
    gdb.do("-stack-select-frame 0")
    stop = gdb.go("-exec-finish")
    assert stop["reason"] == "function-finished"
    assert stop["func"] == "depth"
    assert gdb.value("n") == "1"


def test_watchpoints(gdb: Gdb) -> None:
    """Old and new value of a variable that both harts count up."""
    gdb.do("-break-watch counter")
    for _ in range(4):
        stop = gdb.go()
        assert stop["reason"] == "watchpoint-trigger"
        assert abs(int(stop["new"]) - int(stop["old"])) <= 1  # the harts may count over each other
        assert gdb.number("counter") == int(stop["new"])
        assert stop["func"] == "work"
    gdb.do("-break-delete")
    gdb.do("-break-watch -r woken")
    assert gdb.go()["func"] == "handler"


def test_an_access_watchpoint_sees_reads_and_writes(gdb: Gdb) -> None:
    gdb.do("-break-watch -a other")
    seen = [gdb.go()["reason"] for _ in range(2)]
    assert seen == ["access-watchpoint-trigger"] * 2
    assert "work" in gdb.say("frame")


def test_an_access_watchpoint_is_exact_on_its_bytes(gdb: Gdb) -> None:
    """here.y lies beside here.x, which is written all the time, in one word with it."""
    gdb.do("-break-watch -a here.y")
    gdb.do("-exec-continue")
    time.sleep(0.3)
    gdb.do("-exec-interrupt --all")
    assert gdb.stopped()["signal-name"] == "SIGINT"


def test_registers_are_read_and_written(gdb: Gdb) -> None:
    gdb.do("-break-insert work")
    gdb.go()
    assert gdb.value("$priv").startswith("3") or "Machine" in gdb.say("info registers priv")
    assert gdb.number("$mtvec") == gdb.number("(unsigned long)&handler")
    assert gdb.number("$mcause") == 11
    assert gdb.number("$misa") >> 62 == 2
    gdb.do('-data-evaluate-expression "$ft3.double=1.5"')
    assert gdb.value("$ft3.double") == "1.5"
    gdb.do('-data-evaluate-expression "$mscratch=0x123456789abcdef0"')
    assert gdb.number("$mscratch") == 0x123456789ABCDEF0
    assert gdb.number("$pc") == gdb.number("(unsigned long)$pc")


def test_a_changed_argument_takes_effect(gdb: Gdb, target: Target) -> None:
    gdb.do("-break-insert *work")
    gdb.go()
    gdb.do('-data-evaluate-expression "$a1=424242"')
    gdb.do("-break-delete")
    gdb.do("-gdb-set scheduler-locking on")
    gdb.do("-break-insert depth")
    gdb.go()
    gdb.do("-stack-select-frame 1")
    assert gdb.value("local.x") == "424242"


def test_steps_by_line_and_instruction(gdb: Gdb) -> None:
    gdb.do("-break-insert work")
    gdb.go()
    gdb.do("-break-delete")
    lines = [int(gdb.go("-exec-next")["line"]) for _ in range(3)]
    assert lines == [lines[0], lines[0] + 1, lines[0] + 2]
    before = gdb.number("$pc")
    gdb.go("-exec-step-instruction")
    assert gdb.number("$pc") != before


def test_steps_over_and_into_a_trap(gdb: Gdb) -> None:
    gdb.do("-break-insert work")
    gdb.go()
    gdb.do("-break-delete")
    gdb.do("-gdb-set scheduler-locking on")
    gdb.go("-exec-finish")
    ecall, woken = gdb.number("$pc"), gdb.number("woken")
    gdb.go("-exec-step-instruction")  # gdb puts a breakpoint behind it: the handler comes and goes
    assert (gdb.number("$pc"), gdb.number("woken")) == (ecall + 4, woken + 1)
    gdb.do(f'-data-evaluate-expression "$pc={ecall}"')
    assert gdb.say("monitor step") == f"hart {gdb.number('$mhartid')}: {gdb.number('(unsigned long)&handler'):#x}\n"
    gdb.say("maintenance flush register-cache")
    assert "handler" in gdb.say("frame")
    assert gdb.number("$mepc") == ecall
    gdb.do(f"-break-insert -t *{ecall + 4:#x}")
    gdb.go()
    assert (gdb.number("$pc"), gdb.number("woken")) == (ecall + 4, woken + 2)


def test_memory_is_written(gdb: Gdb, target: Target) -> None:
    """`spin` set to 0 ends the program, and gdb is told."""
    gdb.do('-data-evaluate-expression "spin=0"')
    gdb.do("-exec-continue")
    assert gdb.stopped()["reason"] == "exited-normally"
    assert target.call(lambda: target.machine.wait()) == 0


def test_changed_code_is_executed(gdb: Gdb) -> None:
    """What gdb writes over code that has run is what runs from then on."""
    gdb.do("-break-insert *work")
    gdb.go()
    gdb.do("-break-delete")
    address = gdb.number("$pc")
    gdb.do(f'-data-evaluate-expression "*(unsigned short*){address:#x}=0x8082"')  # c.ret
    gdb.go("-exec-step-instruction")
    assert gdb.number("$pc") == gdb.number("$ra")


def test_interrupt_reset_and_detach(gdb: Gdb, target: Target) -> None:
    gdb.do("-exec-continue")
    gdb.do("-exec-interrupt --all")
    assert gdb.stopped()["signal-name"] == "SIGINT"
    assert "begins anew" in gdb.say("monitor reset")
    gdb.do("-thread-info")
    gdb.say("maintenance flush register-cache")
    assert gdb.number("$pc") == gdb.number("(unsigned long)&_start")
    gdb.do("-break-insert begin")
    assert gdb.go()["func"] == "begin"
    gdb.do("-target-detach")
    assert target.machine.debugger.breakpoints == ()
    before = target.call(lambda: target.machine.harts[0].instret)
    for _ in range(2400):
        time.sleep(0.05)
        if target.call(lambda: target.machine.harts[0].instret) > before:
            break
    assert target.machine.state == "running"
    assert target.call(lambda: target.machine.harts[0].instret) > before


def test_a_pause_from_elsewhere_is_told(gdb: Gdb, target: Target) -> None:
    """By the page or a script, while gdb believes that the machine runs."""
    gdb.do("-exec-continue")
    for _ in range(2400):
        if target.machine.state == "running":
            break
        time.sleep(0.05)
    target.call(target.machine.debugger.pause)
    stop = gdb.stopped()
    assert (stop["reason"], stop["signal-name"]) == ("signal-received", "SIGINT")
    gdb.do("-break-insert work")
    assert gdb.go()["func"] == "work"


def test_monitor_commands(gdb: Gdb, target: Target) -> None:
    assert "pmem ADDRESS" in gdb.say("monitor help")
    assert "paused, 2 harts" in gdb.say("monitor info")
    assert gdb.say("monitor csr mhartid") == "mhartid 0x0000000000000000\n"
    assert gdb.say("monitor pmem 0x80000000 4").startswith("0x80000000: 7f 45 4c 46")
    assert "no CSR" in gdb.say("monitor csr nonsense")
    assert "not all RAM" in gdb.say("monitor pmem 0x10")
    assert "no monitor command" in gdb.say("monitor fly")
    assert gdb.say("monitor translate 0x80001000") == "0x80001000\n"


def test_memory_that_is_not_there(gdb: Gdb) -> None:
    with pytest.raises(GdbError, match="Cannot access memory"):
        gdb.value("*(int*)0x10")


def test_a_gdb_that_dies_lets_the_machine_go_on(gdb: Gdb, target: Target) -> None:
    gdb.do("-break-insert work")
    gdb.go()
    gdb.close()
    for _ in range(2400):
        if target.machine.state == "running":
            break
        time.sleep(0.05)
    assert target.machine.state == "running"
    assert target.machine.debugger.breakpoints == ()


def test_one_gdb_at_a_time(gdb: Gdb, target: Target, program: Path) -> None:
    second = Gdb(program)
    with pytest.raises(GdbError):
        second.do(f"-target-select remote 127.0.0.1:{target.port}")
    second.close()
    assert gdb.number("$mtvec") == gdb.number("(unsigned long)&handler")


def connect_non_stop(gdb: Gdb, target: Target) -> None:
    """In non-stop mode from the beginning, with all harts brought to rest."""
    gdb.do("-gdb-set non-stop on")
    gdb.do(f"-target-select remote 127.0.0.1:{target.port}")
    gdb.do("-exec-interrupt --all")
    for _ in range(1000):
        if "(running)" not in gdb.say("info threads"):
            break


def test_non_stop(target: Target, program: Path) -> None:
    """One hart stands at a breakpoint, the other goes on."""
    gdb = Gdb(program)
    try:
        connect_non_stop(gdb, target)
        gdb.do("-break-insert -p 1 work")
        stop = gdb.go("-exec-continue --all")
        while stop.get("reason") != "breakpoint-hit":
            stop = gdb.stopped()
        assert (stop["reason"], stop["thread-id"]) == ("breakpoint-hit", "1")
        instret = lambda: target.call(lambda: [hart.instret for hart in target.machine.harts])  # noqa: E731
        before = instret()
        for _ in range(2400):
            time.sleep(0.05)
            if (after := instret())[1] > before[1]:
                break
        assert after[0] == before[0]
        assert after[1] > before[1]
        gdb.do("-thread-select 1")
        assert gdb.number("hart") == 0
        gdb.do("-exec-interrupt --thread 2")
        while gdb.stopped()["thread-id"] != "2":
            pass
        assert target.machine.state == "paused"  # nobody is left for whom time should pass
        gdb.do("-exec-step-instruction --thread 2")
        assert gdb.stopped()["reason"] == "end-stepping-range"
    finally:
        gdb.close()


def test_non_stop_to_the_end(target: Target, program: Path) -> None:
    gdb = Gdb(program)
    try:
        connect_non_stop(gdb, target)
        gdb.do('-data-evaluate-expression "spin=0"')
        stop = gdb.go("-exec-continue --all")
        while stop.get("reason") != "exited-normally":
            stop = gdb.stopped()
        assert target.call(lambda: target.machine.wait()) == 0
    finally:
        gdb.close()


def test_batch_mode(target: Target, program: Path) -> None:
    commands = [f"target remote 127.0.0.1:{target.port}", "break depth", "continue", "bt 1", "p $sp", "detach"]
    run = subprocess.run([gdb_program(), "-nx", "-batch", *(word for line in commands for word in ("-ex", line)), program],
                         capture_output=True, text=True, timeout=600)
    assert "Breakpoint 1, depth (n=" in run.stdout, run.stderr
    assert "detached" in run.stdout
    assert run.returncode == 0

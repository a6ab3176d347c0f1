"""System calls, events and profiles of a guest, from outside."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from hartwell.errors import BadConfiguration
from hartwell.trace.table import calls
from tests.inspection.conftest import Guest

# What calls.c does, in order, between its execve and its exit; what a C library does besides is left out.
EXPECTED = [
    r'execve\("/root/calls", \["/root/calls"\], 0x[0-9a-f]+\) = 0',
    r'openat\(AT_FDCWD, "/tmp/calls-\\"test\\"", O_RDWR\|O_CREAT\|O_TRUNC(\|O_LARGEFILE)?\|O_CLOEXEC, 0640\) = 3',
    r'write\(3, "one\\ntwo\\x00three", 13\) = 13',
    r"lseek\(3, 4, SEEK_SET\) = 4",
    r'read\(3, "two\\x00three", 64\) = 9',
    r'openat\(AT_FDCWD, "/nowhere/at/all", O_RDONLY(\|O_LARGEFILE)?\) = -1 ENOENT',
    r"read\(99, 0x[0-9a-f]+, 5\) = -1 EBADF",
    r"mmap\(NULL, 8192, PROT_READ\|PROT_WRITE, MAP_PRIVATE\|MAP_ANONYMOUS, -1, 0\) = 0x7f[0-9a-f]+",
    r"mprotect\(0x7f[0-9a-f]+, 4096, PROT_NONE\) = 0",
    r"munmap\(0x7f[0-9a-f]+, 8192\) = 0",
    r"pipe2\(\[4, 5\], O_RDONLY\|O_CLOEXEC\) = 0",
    r"socket\(AF_UNIX, SOCK_STREAM\|SOCK_CLOEXEC, 0\) = 6",
    r"nanosleep\(\{0, 30000000\}, NULL\) = 0",
    r'unlinkat\(AT_FDCWD, "/tmp/calls-\\"test\\"", 0\) = 0',
    r"clone\(.*SIGCHLD, .*\) = \d+",
    r"wait4\(\d+, 0x[0-9a-f]+, 0, NULL\) = \d+",
    r"exit_group\(0\) = \?",
]


async def traced(machine: Any, command: str, **wanted: Any) -> Any:
    with machine.trace.syscalls(**wanted) as session:
        result = await machine.run(command, 400)
    assert result.returncode == 0, result
    return session


def test_the_table_is_the_kernels_own(guest: Guest) -> None:
    # Where the kernel's function has another name than the call.
    others = {"umount2": "umount", "sendfile": "sendfile64", "fstat": "newfstat"}

    def ask(machine: Any) -> dict[int, str]:
        table = machine.symbols.find("sys_call_table")
        return {n: machine.symbols.name(machine.linux.kernel.u64(table + 8 * n)) for n in range(463)}

    said = {n: re.sub("^(__riscv_)?sys_", "", name) for n, name in guest(ask).items()}
    assert {n: name for n, name in said.items() if name != "ni_syscall"} == {
        n: others.get(call.symbol, call.symbol) for n, call in calls().items()}


def test_a_program_as_strace_shows_it(guest: Guest) -> None:
    session = guest(lambda machine: traced(machine, "/root/calls"))
    pid = next(call.pid for call in session.calls if call.name == "openat" and "calls-" in call.text)
    shown = [call.text for call in session.calls if call.pid == pid]
    at = 0
    for pattern in EXPECTED:
        match = next((i for i in range(at, len(shown)) if re.fullmatch(pattern, shown[i])), None)
        assert match is not None, f"{pattern} is not in\n" + "\n".join(shown[at:])
        at = match + 1
    sleep = next(call for call in session.calls if call.name == "nanosleep" and call.pid == pid)
    assert sleep.duration is not None and sleep.duration >= 0.03 and sleep.comm == "calls"
    child = [call.text for call in session.calls if call.name == "execve" and call.pid != pid]
    assert any('execve("/usr/bin/true", ["true", "and", "more"]' in text for text in child)
    assert guest(lambda machine: machine.trace.lost) == 0


def test_only_what_was_asked_for(guest: Guest) -> None:
    session = guest(lambda machine: traced(machine, "/root/calls", names=["read", "lseek"]))
    assert {call.name for call in session.calls} == {"read", "lseek"}
    shell = guest(lambda machine: next(task.pid for task in machine.linux.tasks() if task.comm == "bash"))
    session = guest(lambda machine: traced(machine, "/root/calls", pid=shell))
    assert session.calls == [] and not session.running
    with pytest.raises(BadConfiguration, match="'opne' is no system call"):
        guest(lambda machine: machine.trace.syscalls(names="opne"))


def test_one_process_and_what_it_starts(guest: Guest) -> None:
    async def ask(machine: Any) -> Any:
        machine.console.write("cd /\n")
        shell = next(task.pid for task in machine.linux.tasks() if task.comm == "bash")
        with machine.trace.syscalls(pid=shell, names=["execve", "write"], follow=True) as session:
            machine.console.write("/root/calls; echo done $?\n")
            await machine.console.expect("done 0", timeout=240)
        return shell, session

    shell, session = guest(ask)
    programs = [call.arguments[0] for call in session.calls if call.name == "execve" and not call.error]
    assert programs == ['"/root/calls"', '"/usr/bin/true"']
    assert {call.comm for call in session.calls if call.pid == shell} == {"bash"}


def test_events_of_all_kinds(guest: Guest) -> None:
    async def ask(machine: Any) -> Any:
        with machine.trace.events() as session:
            await machine.run("cat /proc/self/maps > /dev/null; head -c 4096 /dev/vda > /dev/null", 400)
        return session, list(session), session.chrome()

    session, events, text = guest(ask)
    kinds = {getattr(event, "kind", "syscall") for event in events}
    assert kinds == {"syscall", "trap", "interrupt", "switch", "notify", "claim"}
    traps = [event for event in events if getattr(event, "kind", "") == "trap"]
    assert any(event.name == "store page fault" and event.pc for event in traps)
    switched = {event.comm for event in events if getattr(event, "kind", "") == "switch"}
    assert any(name.startswith("swapper") for name in switched) and len(switched) > 2
    times = [getattr(event, "time", None) for event in events if hasattr(event, "time")]
    assert times == sorted(times)
    trace = json.loads(text)["traceEvents"]
    assert {row["ph"] for row in trace} >= {"X", "i", "M"}
    assert {"hart 0", "hart 1"} >= {row["args"]["name"] for row in trace if row["name"] == "thread_name"} != set()
    assert all(row["dur"] >= 0 for row in trace if row["ph"] == "X")
    with pytest.raises(BadConfiguration, match="no kind of event"):
        guest(lambda machine: machine.trace.events("nonsense"))
    assert "events" in repr(session)


def test_off_means_off(guest: Guest) -> None:
    from hartwell.layout import field

    def ask(machine: Any) -> list[int]:
        core = machine._core
        return [core.load(field("Machine.trace.mask").offset), core.load(field("Machine.trace.sample_ticks").offset),
                *(core.load(field("Hart.trace.head", hart).offset) for hart in range(2))]

    before = guest(ask)
    guest.shell("ls -R /proc/1/ > /dev/null 2>&1; true")
    assert guest(ask) == before and before[:2] == [0, 0]


def test_the_profiler_finds_the_hot_function(guest: Guest) -> None:
    guest.shell("rm -f /tmp/pid; /root/busy > /tmp/pid & until [ -s /tmp/pid ]; do sleep 0.1; done")

    async def ask(machine: Any) -> Any:
        return await machine.profile(seconds=1.5, hz=1000)

    profile = guest(ask)
    guest.shell("kill $(cat /tmp/pid)")
    top = profile.top()
    assert top[0].name == "hot" and top[0].own > 0.5 and profile.samples > 20
    stacks = profile.collapsed().splitlines()
    assert any(re.match(r"busy \d+;.*main;warm;hot \d+$", line) for line in stacks)
    kernel = [stack for stack in profile.stacks if any(frame.endswith("_[k]") for frame in stack)]
    assert any("handle_exception_[k]" in stack for stack in kernel)
    scope = json.loads(profile.speedscope())
    names = [frame["name"] for frame in scope["shared"]["frames"]]
    assert "hot" in names and len(scope["profiles"][0]["samples"]) == len(scope["profiles"][0]["weights"])
    tree = profile.tree()
    assert tree["value"] == profile.samples and tree["children"]
    assert "hot" in str(profile) and 0 < profile.busy <= 1
    with pytest.raises(BadConfiguration, match="hz"):
        guest(lambda machine: machine.profiler(hz=5000))


def test_a_boot_is_seen_from_its_first_instruction(guest: Guest) -> None:
    """Who listens before there is a kernel knows its tasks as soon as there are any."""
    first = next(call for call in guest.boot_calls.calls if call.tgid == 1)
    assert first.text.startswith('execve("/') and len({call.pid for call in guest.boot_calls.calls}) > 10
    tasks = {stack[0] for stack in guest.boot_profile.stacks}
    assert any(re.match(r"\S+ 1$", task) for task in tasks) and len(tasks) > 5, tasks


def test_a_breakpoint_in_one_process_only(guest: Guest) -> None:
    guest.shell("rm -f /tmp/pid /tmp/other; /root/busy > /tmp/pid & /root/busy > /tmp/other & "
                "until [ -s /tmp/pid -a -s /tmp/other ]; do sleep 0.1; done")
    pid, other = int(guest.shell("cat /tmp/pid")), int(guest.shell("cat /tmp/other"))

    async def ask(machine: Any) -> list[tuple[int, str]]:
        task = machine.linux.task(pid)
        debugger, seen = machine.debugger, []
        debugger.break_at(machine.symbols.find("warm", task), space=task.satp)
        for _ in range(4):
            stop = await debugger.stopped(240)
            now = machine.linux.current(stop.hart)
            seen.append((now.pid, machine.symbols.name(stop.pc, now)))
            if len(seen) == 4:
                debugger.clear()
            debugger.resume()
        return seen

    seen = guest(ask)
    guest.shell(f"kill {pid} {other}")
    assert [who for who, _ in seen] == [pid] * 4
    assert {name.split(" ")[0] for _, name in seen} == {"warm"}


@pytest.mark.parametrize("seconds", [2, pytest.param(70, marks=pytest.mark.slow)])
def test_watchdogs_stay_quiet_over_a_long_pause(guest: Guest, seconds: int) -> None:
    """Nothing in the guest can tell a pause from an instant: its clock stood still."""

    async def ask(machine: Any) -> tuple[float, float, str]:
        import asyncio

        await machine.run("dmesg -c > /dev/null", 400)
        machine.pause()
        before = machine.statistics()["uptime"]
        await asyncio.sleep(seconds)
        after = machine.statistics()["uptime"]
        machine.resume()
        result = await machine.run("sleep 0.5; dmesg", 400)
        return before, after, result.stdout

    before, after, messages = guest(ask)
    assert before == after
    assert not re.search(r"lockup|stall|watchdog|hung_task|blocked for more", messages)


def test_one_hart_is_suspended_while_the_other_goes_on(guest: Guest) -> None:
    async def ask(machine: Any) -> tuple[int, int, int, int, str, str]:
        import asyncio

        one, two = machine.harts
        two.suspend()
        state = two.state
        before = (one.instret, two.instret)
        # Sooner or later there is something to do on hart 0; what waits for hart 1 waits.
        for _ in range(1200):
            await asyncio.sleep(0.1)
            if one.instret > before[0]:
                break
        after = (one.instret, two.instret)
        two.resume()
        result = await machine.run("echo on", 400)
        return before[0], after[0], before[1], after[1], state, result.stdout

    first, second, held, still, state, said = guest(ask)
    assert second > first and still == held and state == "paused" and said == "on\n"


async def _paused_when(machine: Any) -> str:
    await machine.pause_when(lambda: True, timeout=240)
    state = str(machine.state)
    machine.resume()
    return state


def test_a_pause_on_a_condition(guest: Guest) -> None:
    assert guest(_paused_when) == "paused"

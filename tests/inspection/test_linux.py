"""Symbols, tasks, maps and stacks, held against what the guest says of itself."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import Any

import pytest

from hartwell.errors import BadAddress
from hartwell.linux.linux import NoSuchTask
from tests.inspection.conftest import HERE, Guest


@pytest.fixture(scope="module")
def kallsyms(guest: Guest) -> list[list[str]]:
    return [line.split() for line in guest.shell("cat /proc/kallsyms").splitlines()]


def test_every_symbol_of_the_kernel(guest: Guest, kallsyms: list[list[str]]) -> None:
    said = [(int(address, 16), kind, name) for address, kind, name, *module in kallsyms if not module]
    found = guest(lambda machine: [(s.address, s.kind, s.name) for s in machine.linux.kernel.kallsyms])
    assert len(found) > 50_000 and found == said


def test_every_symbol_of_its_modules(guest: Guest) -> None:
    for _ in range(60):  # modules may still be on their way, between one look and the other
        lines = [line.split() for line in guest.shell("grep '\\[' /proc/kallsyms").splitlines()]
        said = {
            (int(at, 16), kind, name, module.strip("[]")) for at, kind, name, module in lines if not name.startswith(("$", ".L"))
        }
        found = guest(lambda machine: {(s.address, s.kind, s.name, s.module) for s in machine.linux.modules})
        if found == said:
            break
        time.sleep(0.5)
    assert (found - said, said - found) == (set(), set())
    assert "virtio_mmio" in {module for *_, module in found}


def test_names_and_addresses(guest: Guest, kallsyms: list[list[str]]) -> None:
    where = next(int(line[0], 16) for line in kallsyms if line[2] == "do_sys_openat2")
    notify = next(int(line[0], 16) for line in kallsyms if line[2] == "vm_notify")

    def ask(machine: Any) -> tuple[object, ...]:
        symbols = machine.symbols
        return (symbols.find("do_sys_openat2"), symbols.name(where), symbols.name(where + 6), symbols.name(notify + 2),
                symbols.find("no_such_function"), symbols.name(0x1234), symbols.line(where),
                "do_sys_open" in {s.name for s in symbols.search("do_sys_*")}, machine.address_of("vm_notify", None))

    assert guest(ask) == (
        where, "do_sys_openat2", "do_sys_openat2+0x6", "vm_notify+0x2 [virtio_mmio]", None, "0x1234", None, True, notify)


def test_tasks_are_those_of_ps(guest: Guest) -> None:
    said = {}
    # pid (comm) state ppid ...
    for line in guest.shell("cat /proc/[0-9]*/stat 2>/dev/null; true").splitlines():
        match = re.match(r"(\d+) \((.*)\) (\S) (\d+)", line)
        assert match
        said[int(match[1])] = (match[2], match[3], int(match[4]))
    tasks = guest(lambda machine: {t.pid: (t.comm, t.state, t.parent) for t in machine.linux.tasks(threads=False)})
    lasting = {pid for pid in said if pid in tasks and said[pid][0] not in ("cat", "sh", "agent")}
    assert len(lasting) > 40
    # Kernel workers are renamed as they take work, and sleep and wake.
    assert {pid: tasks[pid][2] for pid in lasting} == {pid: said[pid][2] for pid in lasting}
    steady = [pid for pid in lasting if "worker" not in said[pid][0]]
    assert {pid: tasks[pid][0] for pid in steady} == {pid: said[pid][0][:15] for pid in steady}
    assert sum(tasks[pid][1] == said[pid][1] for pid in steady) >= len(steady) - 3
    assert guest(lambda machine: machine.linux.task(1).arguments[0]) == "init"
    with pytest.raises(NoSuchTask, match="no task 99999"):
        guest(lambda machine: machine.linux.task(99999))


def test_threads_are_listed_with_their_process(guest: Guest) -> None:
    found = guest(lambda machine: [(t.pid, t.tgid, t.comm) for t in machine.linux.tasks()])
    assert len({pid for pid, *_ in found}) == len(found)
    assert all(pid == tgid for pid, tgid, comm in found if comm == "bash")


def test_maps_are_those_of_proc(guest: Guest) -> None:
    for name in ("bash", "init"):
        pid = guest(lambda machine, name=name: next(t.pid for t in machine.linux.tasks() if t.comm == name))
        said = []
        for line in guest.shell(f"cat /proc/{pid}/maps").splitlines():
            span, permissions, offset, _, _, *path = line.split()
            said.append(f"{span} {permissions} {offset} {' '.join(path)}".rstrip())
        assert guest(lambda machine, pid=pid: [str(mapping) for mapping in machine.linux.task(pid).maps()]) == said


def test_the_memory_of_a_task(guest: Guest) -> None:
    def ask(machine: Any) -> tuple[object, ...]:
        bash = next(task for task in machine.linux.tasks() if task.comm == "bash")
        first = next(mapping for mapping in bash.maps() if "x" in mapping.permissions)
        low = bash.maps()[0]
        with pytest.raises(BadAddress, match="not mapped"):
            bash.memory.read(0x10, 4)
        environment = machine.linux.kernel.field(bash.mm, "mm_struct", "env_start")
        return bash.memory.read(low.start, 4), bash.memory.text(environment), first.name

    magic, environment, name = guest(ask)
    assert magic == b"\x7fELF" and "=" in environment and name == "/usr/bin/bash"


def test_the_stack_of_a_sleeping_task(guest: Guest) -> None:
    bash = guest(lambda machine: next(t.pid for t in machine.linux.tasks() if t.comm == "bash"))
    guest.shell(f"until grep -q '^State:.S' /proc/{bash}/status; do sleep 0.1; done")
    frames = guest(lambda machine: machine.linux.backtrace(bash))
    kernel = [frame.name.split("+")[0] for frame in frames if not frame.user]
    assert kernel[0] == "__schedule" and kernel[1] == "schedule" and kernel[-1] == "handle_exception"
    assert any("sys_pselect6" in name or "sys_read" in name for name in kernel)
    # Up to its first instruction, by the call frame information that Debian's programs carry.
    user = [frame for frame in frames if frame.user]
    assert all(frame.sure for frame in user)
    assert "libc.so" in user[0].name
    assert {"readline", "reader_loop", "main", "_start"} <= {frame.name.split("+")[0] for frame in user}
    assert user[-1].name.startswith("_start+")
    thread = guest(lambda machine: machine.linux.backtrace(2))
    assert [frame.name.split("+")[0] for frame in thread] == ["__schedule", "schedule", "kthreadd", "ret_from_fork"]


def test_the_stack_of_a_running_program_with_lines(guest: Guest) -> None:
    guest.shell("rm -f /tmp/pid; /root/busy > /tmp/pid & until [ -s /tmp/pid ]; do sleep 0.1; done")
    pid = int(guest.shell("cat /tmp/pid"))

    def ask(machine: Any) -> tuple[list[object], object, object]:
        machine.pause()
        try:
            task = machine.linux.task(pid)
            hart = next((h for h in range(2) if (now := machine.linux.current(h)) and now.pid == pid), None)
            frames = machine.linux.backtrace(task)
            user = [frame for frame in frames if frame.user]
            lines = [machine.symbols.line(frame.address, task) for frame in user]
            return [frame.name for frame in user], lines, hart
        finally:
            machine.resume()

    calls = ["hot", "warm", "main"]
    for _ in range(200):
        names, lines, hart = guest(ask)
        # There are none when it is just entering or leaving the kernel, its registers half saved, and
        # others while it prints.
        plain = [name.split("+")[0].split(" ")[0] for name in names]
        if plain and plain[0] in calls:
            assert "main" in plain and plain[: plain.index("main") + 1] in (calls, calls[1:], calls[2:])
            assert str(lines[plain.index("main")]).startswith("busy.c:")
            if plain[0] == "hot" and hart is not None:
                break
    guest.shell(f"kill {pid}")
    assert plain[:3] == calls and hart is not None
    address = guest(lambda machine: machine.symbols.find("hot", None))
    assert address is None  # only with the task whose program has it


def line_of(source: str, text: str) -> int:
    """The number of the one line of a C program here that has this in it."""
    lines = (HERE / source).read_text().splitlines()
    (found,) = [number for number, line in enumerate(lines, 1) if text in line]
    return found


def test_a_breakpoint_at_a_line_of_one_process(guest: Guest) -> None:
    """Of two that run the same program; its calls have names, files and lines, and its source is shown."""
    guest.shell("rm -f /tmp/pid /tmp/other; /root/busy > /tmp/pid & /root/busy > /tmp/other & "
                "until [ -s /tmp/pid -a -s /tmp/other ]; do sleep 0.1; done")
    pid, other = int(guest.shell("cat /tmp/pid")), int(guest.shell("cat /tmp/other"))
    call, store = line_of("busy.c", "hot(round);"), line_of("busy.c", "sink += round;")

    async def ask(machine: Any) -> tuple[list[Any], ...]:
        task, debugger = machine.linux.task(pid), machine.debugger
        machine.symbols.add_source((HERE / "busy.c").read_text(), "busy.c")
        point = debugger.break_at(f"busy.c:{store}", task=task)
        stops, frames, shown = [], [], []
        try:
            for _ in range(3):
                stop = await debugger.stopped(240)
                stops.append((machine.linux.current(stop.hart).pid, stop.point.name, machine.symbols.line(stop.pc, task)))
                frames.append(debugger.backtrace(stop.hart))
                shown = machine.symbols.source(stop.pc, task, around=1)
                debugger.resume()
            with pytest.raises(BadAddress, match=r"nowhere\.c:1"):
                debugger.break_at("nowhere.c:1", task=task)
            with pytest.raises(BadAddress, match=r"busy\.c:99999"):
                debugger.break_at("busy.c:99999", task=task)
        finally:
            debugger.clear(point)
            if machine.state == "paused":
                debugger.resume()
        return stops, frames, shown

    stops, frames, shown = guest(ask)
    guest.shell(f"kill {pid} {other}")
    assert stops == [(pid, f"busy.c:{store}", f"busy.c:{store}")] * 3
    for stack in frames:
        assert [frame.name.split("+")[0].split(" ")[0] for frame in stack[:2]] == ["warm", "main"]
        assert stack[0].line == f"busy.c:{store}"
        assert stack[1].line == f"busy.c:{line_of('busy.c', 'warm(round);')}"
        assert all(frame.sure for frame in stack)
        assert f"at busy.c:{store}" in str(stack[0])
    assert [number for number, _ in shown] == [store - 1, store, store + 1]
    assert "sink += round;" in shown[1][1]
    assert call == store - 1


def test_a_breakpoint_in_one_program_only(guest: Guest) -> None:
    """In the kernel, when it works for that program; and in one that begins later."""

    async def stops(machine: Any, where: str, program: str, command: str) -> list[tuple[str, str]]:
        debugger, seen = machine.debugger, []
        point = debugger.break_at(where, program=program)
        work = asyncio.ensure_future(machine.run(command, 400))
        while not work.done():
            with contextlib.suppress(TimeoutError):
                stop = await debugger.stopped(0.2)
                seen.append((machine.program_on(stop.hart), machine.symbols.name(stop.pc).split(" ")[0]))
                debugger.resume()
        debugger.clear(point)
        assert (await work).returncode == 0
        return seen

    async def ask(machine: Any) -> tuple[Any, ...]:
        kernel = await stops(machine, "do_sys_openat2", "cat", "ls / > /dev/null; cat /proc/version > /dev/null; ls /")
        machine.symbols.add(guest.programs["busy"].read_bytes(), "busy")
        return kernel, await stops(machine, "main", "busy", "/root/calls; /root/busy 1 > /dev/null")

    kernel, program = guest(ask)
    assert set(kernel) == {("cat", "do_sys_openat2")}
    assert program == [("busy", "main")]


def test_a_device_writes_into_watched_memory(guest: Guest) -> None:
    """virtio-blk fills a program's own buffer (O_DIRECT), watched by its virtual
    address while no hart is in that process, and by its physical one."""
    first = guest.shell("head -c 1536 /dev/vda | tail -c 1024 | od -An -v -tx1 | tr -d ' \n'")
    for physical in (False, True):
        guest.shell("rm -f /tmp/dma; /root/dma > /tmp/dma & until [ -s /tmp/dma ]; do sleep 0.1; done")
        pid, address = (int(word, 0) for word in guest.shell("cat /tmp/dma").split())

        async def ask(machine: Any, pid: int = pid, address: int = address, physical: bool = physical) -> tuple[Any, ...]:
            task = machine.linux.task(pid)
            place = task.memory.space.translate(address + 512)
            where = {"where": place, "physical": True} if physical else {"where": address + 512, "task": task}
            point = machine.debugger.watch(size=4, kind="write", **where)
            beside = machine.debugger.watch(size=4, kind="write", **{**where, "where": where["where"] + 600})
            work = asyncio.ensure_future(machine.run(f"kill -USR1 {pid}; sleep 0.5", 400))
            stop = await machine.debugger.stopped(240)
            data = task.memory.read(address, 1026)
            machine.debugger.clear(point, beside)
            machine.debugger.resume()
            assert (await work).returncode == 0
            return stop, point, place, data

        stop, point, place, data = guest(ask)
        assert (stop.reason, stop.access, stop.point) == ("device", "write", point)
        assert stop.address <= place < stop.address + stop.size
        assert data.hex() == first + "eeee"  # it has been written when the machine stops


def test_an_idle_hart_is_known_as_such(guest: Guest) -> None:
    def ask(machine: Any) -> list[tuple[int, str]]:
        machine.pause()
        try:
            found = [(machine.linux.current(h), machine.linux.hart_backtrace(h)) for h in range(2)]
            return [(task.pid, frames[-1].name) for task, frames in found if task.pid == 0]
        finally:
            machine.resume()

    idle: list[tuple[int, str]] = []
    for _ in range(600):  # both harts may have work just now
        if idle := guest(ask):
            break
        time.sleep(0.1)
    assert idle and all(name.split("+")[0] in ("_start_kernel", "secondary_start_sbi") for _, name in idle)

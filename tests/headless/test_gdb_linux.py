"""gdb at Debian's kernel, with symbols from the guest's own memory; the translator is on."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gdb.mi import Gdb, GdbError
from tests.headless.terminal import BOOT_SECONDS, PROMPT, Terminal, run
from tests.headless.test_gdb import port_of
from tests.wishes.build import CACHE

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Terminal, Gdb, Path]]:
    """Two harts, stopped at their first instruction, with a gdb; and the program
    of user.c, which the guest has as /mnt/host/user."""
    folder = tmp_path_factory.mktemp("share")
    built = folder / "user"
    # Linked as other tests' programs are, so that the C library is built for all of them once.
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(CACHE), "ZIG_LOCAL_CACHE_DIR": str(CACHE)}
    for words in (["-O0", "-fno-sanitize=all", "-c", str(HERE / "user.c"), "-o", f"{built}.o"],
                  ["-O1", "-static", f"{built}.o", "-o", str(built)]):
        command = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-linux-musl", "-g", *words]
        subprocess.run(command, env=environment, check=True, timeout=1200)
    with run("--harts", "2", "--memory", "512M", "--gdb", "0", "--halt", "--share", folder) as terminal:
        gdb = Gdb()
        gdb.do(f"-target-select remote 127.0.0.1:{port_of(terminal)}", 400)
        gdb.stopped()
        yield terminal, gdb, built
        gdb.close()


def callers(gdb: Gdb) -> list[str]:
    """Names of the frames, innermost first; gdb ends with an error where the
    kernel's assembly begins."""
    with contextlib.suppress(GdbError):
        gdb.say("bt 8")
    return re.findall(r"^#\d+ .*?(\w+) \(", gdb.text, re.MULTILINE)


def test_a_kernel_function_at_boot(linux: tuple[Terminal, Gdb, Path]) -> None:
    """Before its page tables are on, by a name from its own memory."""
    _, gdb, _ = linux
    gdb.do("-break-insert -t -h *start_kernel")
    stop = gdb.go(limit=BOOT_SECONDS)
    assert stop["func"] == "start_kernel"
    assert gdb.number("$priv") == 1
    assert gdb.number("$satp") >> 60 in (8, 9)


def test_to_the_prompt_and_interrupt_an_idle_machine(linux: tuple[Terminal, Gdb, Path]) -> None:
    terminal, gdb, _ = linux
    gdb.do("-exec-continue")
    terminal.expect(PROMPT, BOOT_SECONDS)
    gdb.do("-exec-interrupt")
    gdb.stopped()
    threads = gdb.say("info threads")
    assert "hart 0, " in threads
    assert "hart 1, " in threads


def test_a_kernel_function_on_either_hart_with_its_callers(linux: tuple[Terminal, Gdb, Path]) -> None:
    terminal, gdb, _ = linux
    gdb.do("-break-insert do_sys_openat2")
    gdb.do("-exec-continue")
    terminal.type("for n in 0 1 0 1 0 1; do taskset -c $n cat /proc/version > /dev/null; done\n")
    seen: dict[str, list[str]] = {}
    for _ in range(1000):
        stop = gdb.stopped(400)
        assert stop["func"] == "do_sys_openat2"
        seen[stop["thread-id"]] = callers(gdb)
        if len(seen) == 2:
            break
        gdb.do("-exec-continue")
    assert set(seen) == {"1", "2"}
    assert any("openat" in trace[1] for trace in seen.values()), seen
    gdb.do("-break-delete")
    gdb.do("-exec-continue")
    terminal.expect(PROMPT, 400)
    gdb.do("-exec-interrupt")
    gdb.stopped()


def test_a_kernel_variable_is_watched(linux: tuple[Terminal, Gdb, Path]) -> None:
    _, gdb, _ = linux
    gdb.do("-break-watch *(unsigned*)&jiffies_64")
    stop = gdb.go(limit=400)
    assert stop["reason"] == "watchpoint-trigger"
    assert int(stop["new"]) > int(stop["old"])
    gdb.do("-break-delete")


def line_of(text: str) -> int:
    """The number of the line of user.c that has this in it."""
    return next(number for number, line in enumerate((HERE / "user.c").read_text().splitlines(), 1) if text in line)


def step_over_and_into_page_faults(gdb: Gdb) -> None:
    """A store to a page that is not there: `next` goes over the kernel's work for
    it, and one real step of the next such store ends at the kernel's door."""
    line = line_of("fresh[step * 4096] =")
    gdb.do(f"-break-insert user.c:{line}")
    assert gdb.go(limit=400)["line"] == str(line)
    assert gdb.number("(int)step") in (1, 2)
    with pytest.raises(GdbError):
        gdb.value("fresh[step * 4096]")  # not even gdb can read what is not there
    assert gdb.go("-exec-next")["reason"] == "end-stepping-range"
    assert gdb.number("fresh[step * 4096]") == gdb.number("step")
    assert gdb.number("$priv") == 0
    assert gdb.go(limit=400)["line"] == str(line)
    gdb.do("-break-delete")
    vector, fresh, step = gdb.number("$stvec"), gdb.number("(unsigned long)&fresh"), gdb.number("step")
    places = []
    while hex(vector) not in places:
        places.append(gdb.say("monitor step").split()[-1])
        assert len(places) < 200, f"no page fault came: {places}, vector {vector:#x}, {gdb.say('x/16i $pc')}"
    gdb.say("maintenance flush register-cache")
    assert (gdb.number("$scause"), gdb.number("$priv"), gdb.number("$pc")) == (15, 1, vector)
    assert gdb.number("$stval") == fresh + 4096 * step


def test_finish_and_physical_memory_in_the_kernel(linux: tuple[Terminal, Gdb, Path]) -> None:
    """Out of a kernel function to its caller; a variable by its virtual and by its physical address."""
    _, gdb, _ = linux
    gdb.do("-break-insert -t hrtimer_interrupt")  # with interrupts off: it stays on its hart
    assert gdb.go(limit=400)["func"] == "hrtimer_interrupt"
    caller = gdb.number("$ra")
    assert "riscv_timer_interrupt" in gdb.say(f"info symbol {caller:#x}")
    gdb.go("-exec-finish", limit=400)
    assert gdb.number("$pc") == caller
    banner = gdb.number("(unsigned long)&linux_banner")
    assert gdb.say(f"x/s {banner:#x}").split(chr(34))[1].startswith("Linux version ")
    place = int(gdb.say(f"monitor translate {banner:#x}"), 0)
    assert 0x8000_0000 <= place < 0xA000_0000
    gdb.say("monitor phys on")
    gdb.say("maintenance flush dcache")
    assert gdb.say(f"x/s {place:#x}").split(chr(34))[1].startswith("Linux version ")
    gdb.say("monitor phys off")
    gdb.say("maintenance flush dcache")


def test_a_user_program_with_lines_and_locals(linux: tuple[Terminal, Gdb, Path]) -> None:
    """Break at a line, print locals, watch a user variable, change one and see the effect."""
    terminal, gdb, built = linux
    gdb.do(f"-file-symbol-file {built}")
    line = line_of("total += local.step;")
    gdb.do(f"-break-insert user.c:{line}")
    gdb.do("-exec-continue")
    terminal.type("until /mnt/host/user 5; do sleep 1; done 2> /dev/null\n")  # the folder is mounted about now
    stop = gdb.stopped(400)
    assert (stop["func"], stop["line"]) == ("add", str(line))
    assert gdb.number("$priv") == 0
    assert (gdb.value("step"), gdb.value("local.name")[-9:]) == ("1", '"counted"')
    assert "user.c" in stop["file"]
    caller = gdb.do("-stack-list-frames")
    assert 'func="main"' in caller
    gdb.do("-break-delete")
    gdb.do("-break-watch total")
    stop = gdb.go(limit=400)
    assert (stop["reason"], stop["old"], stop["new"]) == ("watchpoint-trigger", "0", "1")
    gdb.do("-break-delete")
    gdb.do('-data-evaluate-expression "total=100"')
    step_over_and_into_page_faults(gdb)
    gdb.do("-target-detach")
    assert "total 114" in terminal.expect(r"total \d+", 400)
    terminal.expect(PROMPT)
    assert terminal.command("echo still $((40+2))") == "still 42"

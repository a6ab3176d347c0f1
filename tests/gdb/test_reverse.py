"""gdb goes back in the run of a recorded machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hartwell.machine import Machine
from tests.gdb.conftest import Target
from tests.gdb.mi import Gdb


@pytest.fixture
def recorded(program: Path) -> Iterator[Gdb]:
    """A gdb at a machine that is recorded, before its first instruction."""
    target = Target(program, Machine.record, halt=True)
    gdb = Gdb(program)
    gdb.do(f"-target-select remote 127.0.0.1:{target.port}")
    gdb.stopped()
    yield gdb
    gdb.close()
    target.close()


def test_reverse_step(recorded: Gdb) -> None:
    gdb = recorded
    gdb.do("-break-insert -t work")
    gdb.go()
    places = [gdb.number("$pc")]
    for _ in range(6):
        gdb.go("-exec-step-instruction")
        places.append(gdb.number("$pc"))
    for place in reversed(places[:-1]):
        gdb.go("-exec-step-instruction --reverse")
        assert gdb.number("$pc") == place
    line = int(gdb.go("-exec-next")["line"])
    assert int(gdb.go("-exec-next --reverse")["line"]) == line - 1


def test_reverse_continue_to_a_breakpoint(recorded: Gdb) -> None:
    gdb = recorded
    gdb.do("-break-insert work")
    for _ in range(4):
        gdb.go()
    last = gdb.number("round")
    for back in range(1, 4):
        assert gdb.go("-exec-continue --reverse")["func"] == "work"
        assert gdb.number("round") == last - back


def test_reverse_continue_to_a_watchpoint_finds_the_write(recorded: Gdb) -> None:
    gdb = recorded
    gdb.do("-break-insert depth")
    for _ in range(9):
        gdb.go()
    gdb.do("-break-delete")
    counter = gdb.number("counter")
    gdb.do("-break-watch counter")
    stop = gdb.go("-exec-continue --reverse")
    assert stop["reason"] == "watchpoint-trigger"
    assert (int(stop["old"]), int(stop["new"])) == (counter, counter - 1)
    assert stop["func"] == "work"
    assert "counter" in gdb.say(f"list {stop['line']},{stop['line']}")


def test_the_beginning(recorded: Gdb) -> None:
    gdb = recorded
    gdb.do("-break-insert -t work")
    gdb.go()
    gdb.go("-exec-continue --reverse")
    assert any("No more reverse-execution history" in line for line in gdb.log)
    assert gdb.number("$pc") == gdb.number("(unsigned long)&_start")

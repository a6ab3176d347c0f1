"""gdb at the port of `hartwell run --gdb`."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gdb.conftest import program  # noqa: F401 - a fixture
from tests.gdb.mi import Gdb
from tests.headless.terminal import Terminal, run

LINE = r"target remote 127\.0\.0\.1:(\d+)\n"


def port_of(terminal: Terminal) -> int:
    """The port that the command prints once the machine is there."""
    found = re.search(LINE, terminal.expect(LINE, 120))
    assert found
    return int(found[1])


@pytest.fixture
def bare(program: Path) -> Iterator[tuple[Terminal, Gdb]]:  # noqa: F811
    """A bare program that stands before its first instruction."""
    with run("--bare", program, "--harts", "2", "--memory", "16M", "--gdb", "0", "--halt") as terminal:
        gdb = Gdb(program)
        gdb.do(f"-target-select remote 127.0.0.1:{port_of(terminal)}")
        gdb.stopped()
        yield terminal, gdb
        gdb.close()


def test_from_the_first_instruction_to_the_last(bare: tuple[Terminal, Gdb]) -> None:
    terminal, gdb = bare
    assert gdb.number("$pc") == gdb.number("(unsigned long)&_start")
    gdb.do("-break-insert work")
    assert gdb.go()["func"] == "work"
    assert gdb.number("round") == 0
    gdb.do("-break-delete")
    gdb.do("-break-watch counter")
    assert gdb.go()["new"] == "1"
    gdb.do("-break-delete")
    gdb.do('-data-evaluate-expression "spin=0"')
    assert gdb.go()["reason"] == "exited-normally"
    assert terminal.end() == 0


def test_a_port_that_is_taken(program: Path) -> None:  # noqa: F811
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with run("--bare", program, "--memory", "16M", "--gdb", str(taken.getsockname()[1])) as terminal:
            assert terminal.end(120) == 2
            assert "can't be had" in terminal.text

"""gdb at the port of `hartwell run --gdb`."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hartwell import cli_gdb
from hartwell.errors import HartwellError
from hartwell.setup import gdb as setup
from tests.gdb.conftest import program  # noqa: F401 - a fixture
from tests.gdb.mi import Gdb
from tests.gdb.mi import program as gdb_program
from tests.headless.terminal import COMMAND, Terminal, run

LINE = r"target remote 127\.0\.0\.1:(\d+)\n"


def port_of(terminal: Terminal) -> int:
    """The port that the command prints once the machine is there."""
    found = re.search(LINE, terminal.expect(LINE, 240))
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


def test_only_loopback_is_listened_on(bare: tuple[Terminal, Gdb]) -> None:
    terminal, _ = bare
    found = re.search(LINE, terminal.text)
    assert found
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", int(found[1])), 5)


def test_a_port_that_is_taken(program: Path) -> None:  # noqa: F811
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with run("--bare", program, "--memory", "16M", "--gdb", str(taken.getsockname()[1])) as terminal:
            assert terminal.end(240) == 2
            assert "can't be had" in terminal.text


def hartwell_gdb(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`hartwell gdb` to its end."""
    environment = {**os.environ, setup.VARIABLE: gdb_program(), "DEBUGINFOD_URLS": ""}
    return subprocess.run([COMMAND, "gdb", *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=900, env=environment)


def test_hartwell_gdb_starts_a_machine(program: Path) -> None:  # noqa: F811
    """Its own, for as long as gdb is there, its console on a terminal that is named."""
    commands = ("break work", "continue", "info threads", "kill")
    done = hartwell_gdb("--batch", *(word for line in commands for word in ("--ex", line)), program,
                        "--run", "--bare", program, "--memory", "16M", "--halt")
    assert "Breakpoint 1, work (" in done.stdout, done.stderr
    assert '"hart 0" (hart 0, M mode)' in done.stdout
    assert "the machine's console is /dev/" in done.stderr
    assert done.returncode == 0


def test_hartwell_gdb_at_a_machine_that_runs(program: Path) -> None:  # noqa: F811
    with run("--bare", program, "--memory", "16M", "--gdb", "0") as terminal:
        done = hartwell_gdb("--port", str(port_of(terminal)), "--batch", "--ex", "p &spin", "--ex", "detach", program)
        assert "<spin>" in done.stdout, done.stderr
        assert "detached" in done.stdout


def test_hartwell_gdb_says_what_is_missing(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = hartwell_gdb("--port", str(port))
    assert done.returncode == 1
    assert f"no machine lets gdb connect to 127.0.0.1:{port}" in done.stderr
    assert f"hartwell run --gdb {port}" in done.stderr
    assert "is not there" in hartwell_gdb("no/such/program").stderr
    assert "leave --gdb out" in hartwell_gdb("--run", "--gdb", "1").stderr
    assert "the machine did not start" in hartwell_gdb("--run", "--bare", "no/such/program").stderr
    monkeypatch.delenv(setup.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HartwellError, match="gdb-multiarch"):
        cli_gdb._program()

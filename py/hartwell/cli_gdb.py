"""`hartwell gdb`: a gdb at a machine, which runs already or is started for it."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hartwell.errors import HartwellError
from hartwell.setup import gdb

PORT = 1234
HOST = "127.0.0.1"
_BLOCK = 1 << 16
_LINE = re.compile(rb"target remote 127\.0\.0\.1:(\d+)")


def add(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "gdb", help="debug a machine with gdb",
        usage="hartwell gdb [-h] [--port PORT] [--ex COMMAND]... [-x FILE] [--batch] [PROGRAM] [--run RUN-OPTIONS...]",
        description="Starts a gdb that is connected to a machine: the one that `hartwell run --gdb PORT` has, or a page's "
        "(Debug panel, Let gdb connect).  With --run the machine is started for it, with the options of `hartwell run` that "
        "follow; its console is a pseudo-terminal, which is named, and it ends with gdb.",
    )
    parser.add_argument("--port", type=int, default=PORT, metavar="PORT", help=f"where a machine lets gdb connect ({PORT})")
    parser.add_argument("program", nargs="?", metavar="PROGRAM", help="an ELF file with symbols: a vmlinux, a program of the "
                        "guest's; without, gdb gets the symbols of the guest's kernel")
    parser.add_argument("--run", nargs=argparse.REMAINDER, metavar="...", help="start a machine with these options")
    parser.add_argument("--ex", action="append", default=[], metavar="COMMAND", help="gdb runs this once it is connected")
    parser.add_argument("-x", metavar="FILE", help="gdb runs the commands of this file once it is connected")
    parser.add_argument("--batch", action="store_true", help="gdb ends after these")
    parser.set_defaults(act=_gdb)


def _gdb(options: argparse.Namespace) -> int:
    program, start = options.program, options.run
    rest = [word for command in options.ex for word in ("-ex", command)]
    rest += ["-x", options.x] * bool(options.x) + ["-batch"] * options.batch
    if program and not Path(program).is_file():
        raise HartwellError(f"{program} is not there; an ELF file with symbols is expected")
    if not 1 <= options.port <= 65535:
        raise HartwellError(f"--port {options.port}: a port is a number from 1 to 65535")
    found = _program()
    if start is not None:
        with _started(start) as port:
            return _at(found, port, program, rest)
    if _free(options.port):
        raise HartwellError(
            f"no machine lets gdb connect to {HOST}:{options.port}. Start one in another terminal (hartwell run --gdb "
            f"{options.port}), click “Let gdb connect” on a page's Debug panel, name another --port, or let this command "
            "start one (hartwell gdb --run ...)"
        )
    return _at(found, options.port, program, rest)


def _program() -> Path:
    """A gdb that knows RISC-V.  HartwellError says how to get one."""
    if found := gdb.named() or gdb.find():
        return found
    raise HartwellError(
        "no gdb here knows RISC-V. Debian and Ubuntu have it in the package gdb-multiarch, Fedora in gdb, Arch and "
        f"Homebrew in riscv64-elf-gdb; or name the program in {gdb.VARIABLE}"
    )


def _at(found: Path, port: int, program: str | None, rest: list[str]) -> int:
    """Runs gdb on this terminal; its exit status.  Ctrl-C is gdb's."""
    command = [str(found), "-q", "-iex", "set remotetimeout 30", *([program] if program else []),
               "-ex", f"target remote {HOST}:{port}", *rest]
    before = signal.signal(signal.SIGINT, lambda *_: None)  # one that gdb does not inherit
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _free(port: int) -> bool:
    """Does nobody listen there?  Asked without a connection, which would stop the machine."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise HartwellError(f"--port {port}: this user may not ask for it; take one above 1023") from None
            return False
        return True


@contextlib.contextmanager
def _started(options: list[str]) -> Iterator[int]:
    """A machine with its console on a pseudo-terminal; gdb's port at it."""
    if any(option == "--gdb" or option.startswith("--gdb=") for option in options):
        raise HartwellError("--run: a free port is taken for gdb, so leave --gdb out")
    outer, inner = os.openpty()
    tty.setraw(inner)  # the guest's terminal driver edits lines, not this one
    console = os.ttyname(inner)
    command = [sys.executable, "-m", "hartwell.cli", "run", "--gdb", "0", *options]
    for number in (signal.SIGTERM, signal.SIGHUP):  # whoever ends this command ends the machine
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # A session of its own: the terminal's Ctrl-C is gdb's.
    with subprocess.Popen(command, stdin=outer, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as run:
        assert run.stdout
        assert run.stderr
        try:
            port = _port(run.stderr)
            print(f"hartwell: the machine's console is {console} (screen {console})", file=sys.stderr, flush=True)
            os.set_blocking(outer, False)
            for stream in (run.stdout, run.stderr):
                threading.Thread(target=_pump, args=(stream, outer), daemon=True).start()
            yield port
        finally:
            run.terminate()
            run.wait(10)
            os.close(inner)


def _port(said: IO[bytes]) -> int:
    """Where the machine lets gdb connect, once it says so."""
    words = b""
    for line in said:
        if match := _LINE.search(line):
            return int(match[1])
        words += line
    raise HartwellError(f"the machine did not start: {words.decode(errors='replace').strip()}")


def _pump(stream: IO[bytes], outer: int) -> None:
    """What the machine prints goes to its console; what nobody reads there is lost."""
    while data := os.read(stream.fileno(), _BLOCK):
        with contextlib.suppress(BlockingIOError):
            os.write(outer, data)

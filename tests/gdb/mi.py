"""Drives gdb over its machine interface (MI), as an IDE does.

GDB manual, "The GDB/MI Interface".  Only as much of its grammar as tests need.
"""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
import time
from pathlib import Path

from hartwell.setup import gdb

LIMIT_SECONDS = 240.0


def program() -> str:
    """The gdb that `python3 -m tests` found, or one on the PATH."""
    found = os.environ.get(gdb.VARIABLE) or gdb.find()
    assert found, "no gdb that knows RISC-V; `python3 -m tests` installs one"
    return str(found)


class GdbError(Exception):
    """A command that gdb answered with ^error."""


class Gdb:
    """One gdb process."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [program(), "-nx", "-quiet", "-interpreter=mi3", *map(str, arguments)]
        environment = {**os.environ, "DEBUGINFOD_URLS": "", "HOME": "/nonexistent"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                         text=True, errors="replace", env=environment)
        self._lines: queue.Queue[str] = queue.Queue()
        self.log: list[str] = []
        self._token = 0
        self._stops: list[str] = []
        self.text = ""  # what the last command printed
        threading.Thread(target=self._read, daemon=True).start()
        for setting in ("pagination off", "confirm off", "remotetimeout 200", "mi-async on"):
            self.do(f"-gdb-set {setting}")

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("(end)")

    def do(self, command: str, limit: float = LIMIT_SECONDS) -> str:
        """Runs a command (MI's, or with a console command in -interpreter-exec);
        the result record's text."""
        self._token += 1
        assert self._process.stdin
        self._process.stdin.write(f"{self._token}{command}\n")
        self._process.stdin.flush()
        self.text = ""
        wanted = f"{self._token}^"
        line = self._until(lambda line: line.startswith(wanted), limit)
        if line.startswith(wanted + "error"):
            raise GdbError(line)
        return line[len(wanted) :]

    def say(self, command: str, limit: float = LIMIT_SECONDS) -> str:
        """What a console command prints."""
        quoted = command.replace("\\", "\\\\").replace('"', '\\"')
        self.do(f'-interpreter-exec console "{quoted}"', limit)
        return self.text

    def value(self, expression: str) -> str:
        """An expression's value, as gdb writes it."""
        quoted = expression.replace("\\", "\\\\").replace('"', '\\"')
        return unquote(self.do(f'-data-evaluate-expression "{quoted}"').partition("value=")[2])

    def number(self, expression: str) -> int:
        """An expression's value as a number."""
        return int(self.value(f"(unsigned long)({expression})").split()[0])

    def stopped(self, limit: float = LIMIT_SECONDS) -> dict[str, str]:
        """Waits for the next stop; its fields (those that are plain strings)."""
        if not self._stops:
            self._until(lambda line: bool(self._stops), limit)
        line = self._stops.pop(0)
        return dict(re.findall(r'([\w-]+)="((?:[^"\\]|\\.)*)"', line))

    def go(self, command: str = "-exec-continue", limit: float = LIMIT_SECONDS) -> dict[str, str]:
        """Lets the target run, and waits for the stop."""
        self._stops.clear()
        self.do(command, limit)
        return self.stopped(limit)

    def close(self) -> None:
        """Ends gdb; a target that it has goes on."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _until(self, found, limit: float) -> str:  # type: ignore[no-untyped-def]
        end = time.monotonic() + limit
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"gdb said nothing of it in {limit} s:\n" + "\n".join(self.log[-60:])) from None
            self.log.append(line)
            if line == "(end)":
                raise AssertionError("gdb has ended:\n" + "\n".join(self.log[-60:]))
            if line.startswith("*stopped"):
                self._stops.append(line)
            if line[:1] in "~@" and line[1:2] == '"':
                self.text += unquote(line[1:])
            if found(line):
                return line


def unquote(text: str) -> str:
    """A C string of MI."""
    body = text.strip()
    body = body[1 : body.rindex('"')] if body.startswith('"') else body
    return body.encode("latin-1", "replace").decode("unicode_escape")

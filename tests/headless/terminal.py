"""A `hartwell run` as a person has it on a terminal: keys go in, text comes out."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hartwell.setup import paths

COMMAND = paths.VENV / "bin" / "hartwell"
PROMPT = r"root@hartwell:~# $"
BOOT_SECONDS = 900


class Terminal:
    """The command's standard streams, through pipes."""

    def __init__(self, *arguments: str | Path) -> None:
        self._process = subprocess.Popen(
            [COMMAND, "run", *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self.pid = self._process.pid
        self.text = ""
        self._read = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        while data := self._process.stdout.read1():  # type: ignore[attr-defined]
            with self._changed:
                self.text += data.decode(errors="replace").replace("\r", "")
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def expect(self, pattern: str, seconds: float = 240) -> str:
        """What came since the last match, up to and with this one."""
        end = time.monotonic() + seconds
        with self._changed:
            while not (found := re.search(pattern, self.text[self._read :])):
                assert time.monotonic() < end, f"no {pattern!r} within {seconds} s in {self.text[self._read:]!r}"
                self._changed.wait(0.2)
            start, self._read = self._read, self._read + found.end()
            return self.text[start : self._read]

    def type(self, text: str) -> None:
        """Keys, as they are typed."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def command(self, line: str) -> str:
        """What a command prints at the shell's prompt."""
        self.type(line + "\n")
        shown = self.expect(PROMPT)
        return shown.split("\n", 1)[1].rsplit("\n", 1)[0] if "\n" in shown else ""

    def end(self, seconds: float = 240) -> int:
        """Waits for the command's end; its exit status."""
        return self._process.wait(seconds)

    def close(self) -> None:
        """Ends it if it runs."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(120)


@contextmanager
def run(*arguments: str | Path) -> Iterator[Terminal]:
    """`hartwell run` with these arguments."""
    terminal = Terminal(*arguments)
    try:
        yield terminal
    finally:
        terminal.close()

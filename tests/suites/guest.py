"""The full Debian, headless in Node or in Chromium, as something that runs a command."""

from __future__ import annotations

import itertools
import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

from hartwell.setup import node as setup_node
from tests.e2e.conftest import CHROMIUM_ARGUMENTS, chromium_path, serving
from tests.e2e.tab import Tab
from tests.headless.terminal import Terminal

BOOT_SECONDS = 1200
PROMPT = "root@debian:~# "
HARTS, MEMORY = 2, "1G"


class Guest(ABC):
    """A machine of the image `debian`, on the relay, whose disk has an overlay `suites` that is kept."""

    def run(self, command: str, seconds: float = 600) -> str:
        """What a command prints on both streams.  AssertionError with its last lines unless it succeeds."""
        status, text = self.execute(command, seconds)
        assert status == 0, f"{command}: status {status}\n{text[-6000:]}"
        return text

    @abstractmethod
    def execute(self, command: str, seconds: float) -> tuple[int, str]:
        """(status, what it printed)."""

    @abstractmethod
    def problems(self) -> str:
        """What the machine complained about from outside, "" for nothing."""


class InNode(Guest):
    """By keys on `hartwell run`'s console: a command's end is marked with a number that its echo has not."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal, self._numbers = terminal, itertools.count(1)
        terminal.expect(PROMPT, BOOT_SECONDS)
        terminal.type("bind 'set enable-bracketed-paste off'; stty -echo; PS1=\n")
        terminal.expect(r"PS1=\n")
        self.execute("dmesg -n 1", 60)

    def execute(self, command: str, seconds: float) -> tuple[int, str]:
        number = next(self._numbers)
        self._terminal.type(f"({command}) </dev/null 2>&1; echo @@{number}:$?@@\n")
        text = self._terminal.expect(rf"@@{number}:\d+@@\n", seconds)
        found = re.search(rf"@@{number}:(\d+)@@\n$", text)
        assert found
        return int(found[1]), text[: found.start()]

    def problems(self) -> str:
        words = r"hartwell: .*|translation of .* refused.*|no more code is translated.*"
        return "\n".join(re.findall(words, self._terminal.text))


class InChromium(Guest):
    """By qemu-guest-agent, as `machine.run` does."""

    def __init__(self, tab: Tab) -> None:
        self._tab = tab
        tab.open("?boot=no")
        tab.page.set_default_timeout(0)  # each call has its own limit
        how = f"network='relay', overlay='suites', memory={MEMORY!r}, harts={HARTS}"
        tab.python(f"machine = await Machine.boot('debian', {how})")
        tab.expect(re.escape(PROMPT), BOOT_SECONDS)

    def execute(self, command: str, seconds: float) -> tuple[int, str]:
        code = f"r = await machine.run({f'({command}) </dev/null 2>&1'!r}, timeout={seconds}); [r.returncode, r.stdout]"
        status, text = self._tab.python(code)
        return int(status), str(text)

    def problems(self) -> str:
        return "\n".join(self._tab.errors)


@contextmanager
def node(folder: Path, allow: str) -> Iterator[Guest]:
    """`folder` is shared at /mnt/host; the guest may reach `allow`, ADDRESS:PORT, at 10.0.2.2."""
    arguments = ["--image", "debian", "--harts", str(HARTS), "--memory", MEMORY, "--net", "--allow", allow]
    terminal = Terminal(*arguments, "--overlay", "suites", "--share", folder)
    try:
        guest = InNode(terminal)
        yield guest
        guest.execute("sync", 300)
    finally:
        terminal.close()


@contextmanager
def chromium(profile: Path, allow: str) -> Iterator[Guest]:
    """The page's own shared folder is at /mnt/host."""
    with serving("--allow", allow) as address, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium_path(), headless=True, args=CHROMIUM_ARGUMENTS)
        guest = InChromium(Tab(context.new_page(), address))
        yield guest
        guest.execute("sync", 300)
        context.close()


def node_version() -> int:
    """Of the Node.js that `hartwell` runs in."""
    shown = subprocess.run([setup_node.find(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v(\d+)", shown)
    return int(found[1]) if found else 0

"""The machines that are measured, each as something that runs a shell command.

Native is this computer; QEMU and Hartwell boot the same kernel, initramfs and
command line; v86 has an i386 kernel and busybox of the Debian before.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shlex
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from playwright.sync_api import BrowserContext, ViewportSize, sync_playwright

from bench import prepare
from hartwell.setup import paths
from tests.e2e.conftest import CHROMIUM_ARGUMENTS, chromium_path
from tests.e2e.tab import Tab

PROMPT = r"[#$] $"
BOOT_SECONDS = 240
RUN_SECONDS = 300


class Guest(Protocol):
    """A machine with /bench/kernels and /bench/text in it."""

    name: str

    def run(self, command: str, timeout: float = RUN_SECONDS) -> str:
        """What a shell command prints."""

    def close(self) -> None: ...


class GuestError(Exception):
    """A guest did not do what it was told; the message has its last output."""


class Native:
    """This computer.  /bench becomes static/bench, and busybox the guest's version of it."""

    name = "native"

    def __init__(self) -> None:
        self._folder = prepare.FOLDER / ".native"
        self._folder.mkdir(exist_ok=True)
        for name, target in (("kernels", "kernels-native"), ("text", "text"), ("busybox", "busybox-native")):
            link = self._folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(prepare.FOLDER / target)

    def run(self, command: str, timeout: float = RUN_SECONDS) -> str:
        """What a shell command prints."""
        command = command.replace("/bench/", f"{self._folder}/")
        shell = [str(self._folder / "busybox"), "sh", "-c", command]
        if not (self._folder / "busybox").exists():
            shell = ["sh", "-c", command]
        environment = {**os.environ, "PATH": f"{self._folder}:{os.environ['PATH']}"}
        done = subprocess.run(shell, check=False, capture_output=True, text=True, timeout=timeout, env=environment)
        if done.returncode:
            raise GuestError(f"native: {command!r} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """Nothing to stop."""


class _Serial(ABC):
    """A shell at the other end of a line: commands end with a mark that its echo has not."""

    name = ""

    @abstractmethod
    def _send(self, text: str) -> None:
        """Types it."""

    @abstractmethod
    def _wait(self, pattern: str, timeout: float) -> str:
        """The output since the last call, up to and with a match."""

    def run(self, command: str, timeout: float = RUN_SECONDS) -> str:
        """What a shell command prints."""
        self._send(f"{command}; echo \"@@\"done:$?\n")
        text = self._wait(r"@@done:(\d+)\r?\n", timeout).replace("\r", "")
        output, _, status = text.rpartition("@@done:")
        if status.strip() != "0":
            raise GuestError(f"{self.name}: {command!r} failed: {output[-500:]}")
        return output.partition("done:$?\n")[2] if "done:$?\n" in output else output


class Qemu(_Serial):
    """qemu-system-riscv64 with the devices that Hartwell has."""

    def __init__(
        self, harts: int = 1, initrd: Path | None = None, append: str = "", disk: str | None = None,
        folder: Path = prepare.IMAGE,
    ) -> None:
        """`folder`: the image's.  What is written to `disk` goes with the process."""
        self.name = "qemu"
        image = json.loads((folder / "image.json").read_text())
        command = [
            "qemu-system-riscv64", "-M", "virt", "-m", "512M", "-smp", str(harts), "-display", "none", "-no-reboot",
            "-bios", str(paths.STATIC / "firmware" / "fw_dynamic.bin"), "-kernel", str(prepare.unpacked_kernel(folder)),
            "-initrd", str(initrd or prepare.FOLDER / "initrd"), "-append", f"{image['append']} {append}".strip(),
            "-global", "virtio-mmio.force-legacy=false", "-serial", "null", "-monitor", "none",
            "-chardev", "stdio,id=c", "-device", "virtio-serial-device", "-device", "virtconsole,chardev=c",
            "-device", "virtio-rng-device",
        ]
        if disk is not None:
            command += ["-drive", f"file={disk},format=raw,if=none,id=d,snapshot=on", "-device", "virtio-blk-device,drive=d"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self._process.stdout is not None
        self._file = self._process.stdout.fileno()
        os.set_blocking(self._file, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._file, selectors.EVENT_READ)
        self._text = ""

    def ready(self) -> None:
        """Until commands can be run."""
        self.wait_for_prompt()
        self.run("stty -echo; PS1=")

    def wait_for_prompt(self, prompt: str = PROMPT) -> None:
        """The first one, after the boot."""
        self._wait(prompt, BOOT_SECONDS)

    def _send(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def _wait(self, pattern: str, timeout: float) -> str:
        end = time.monotonic() + timeout
        while not (match := re.search(pattern, self._text)):
            if not self._selector.select(max(0.0, end - time.monotonic())):
                raise GuestError(f"{self.name}: no {pattern!r} after {timeout:g} s; last: {self._text[-500:]!r}")
            data = os.read(self._file, 65536)
            if not data:
                raise GuestError(f"{self.name} ended: {self._text[-500:]}")
            self._text += data.decode(errors="replace")
        text, self._text = self._text[: match.end()], self._text[match.end() :]
        return text

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


class Hartwell:
    """A machine in a tab of its own."""

    def __init__(self, context: BrowserContext, address: str, name: str, *, jit: bool = True, harts: int = 1) -> None:
        self.name = name
        self.tab = Tab(context.new_page(), address)
        self.tab.open("?boot=no")
        arguments = f"harts={harts}, initrd='bench/initrd', jit={jit}"
        self.tab.python(f"machine = await Machine.boot({arguments})")
        self.tab.expect(PROMPT, BOOT_SECONDS)

    def run(self, command: str, timeout: float = RUN_SECONDS) -> str:
        """What a shell command prints."""
        self.tab.page.bring_to_front()
        code = f"r = await machine.run({command!r}, timeout={timeout})\n[r.stdout, r.stderr, r.returncode]"
        out, err, status = self.tab.python(code)
        if status:
            raise GuestError(f"{self.name}: {command!r} failed: {out}{err}")
        return str(out)

    def instructions(self) -> int:
        """Retired so far by all harts."""
        return int(self.tab.python("sum(hart['instructions'] for hart in machine.statistics()['harts'])"))

    def close(self) -> None:
        """Closes the tab."""
        self.tab.page.close()


class V86(_Serial):
    """v86 in a tab of its own."""

    name = "v86"

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page = context.new_page()
        self.page.goto(f"{address}static/bench/v86/index.html")
        self._wait(r"# (\x1b\[6n)?$", BOOT_SECONDS)  # busybox asks the terminal where its cursor is
        self.run("stty -echo; PS1=")

    def _send(self, text: str) -> None:
        self.page.bring_to_front()
        self.page.evaluate("text => window.send(text)", text)

    def _wait(self, pattern: str, timeout: float) -> str:
        end = time.monotonic() + timeout
        while True:
            text = str(self.page.evaluate("window.output"))
            if match := re.search(pattern, text):
                self.page.evaluate("end => { window.output = window.output.slice(end) }", match.end())
                return text[: match.end()]
            if time.monotonic() > end:
                raise GuestError(f"v86: no {pattern!r} after {timeout:g} s; last: {text[-500:]!r}")
            time.sleep(0.02)

    def close(self) -> None:
        """Closes the tab."""
        self.page.close()


@contextmanager
def served(*arguments: str, image: str = "shell") -> Iterator[str]:
    """The address of a `serve.py` of this checkout, whose pages have `image`."""
    command = [sys.executable, str(paths.ROOT / "serve.py"), "--port", "0", "--no-open", *arguments]
    environment = {**os.environ, "HARTWELL_IMAGE": image}
    process = subprocess.Popen(command, cwd=paths.ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready "):
                yield line.split()[1]
                return
        raise GuestError(f"serve.py ended with {process.wait()}: {shlex.join(command)}")
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def chromium(profile: Path | None = None) -> Iterator[BrowserContext]:
    """A Chromium with a profile that is new, in memory, or in a folder, where it stays for the next."""
    view: ViewportSize = {"width": 1000, "height": 640}
    with sync_playwright() as playwright:
        if profile is not None:
            context = playwright.chromium.launch_persistent_context(
                profile, executable_path=chromium_path(), headless=True, args=CHROMIUM_ARGUMENTS, viewport=view)
            try:
                yield context
            finally:
                context.close()
            return
        browser = playwright.chromium.launch(executable_path=chromium_path(), headless=True, args=CHROMIUM_ARGUMENTS)
        try:
            yield browser.new_context(viewport=view)
        finally:
            browser.close()

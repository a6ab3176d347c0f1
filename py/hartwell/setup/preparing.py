"""Debian is prepared while the page is served: built, booted ahead, made the default.  docs/decisions/0040-default-image.md.

`Preparation` is the server's side; the work is a process of its own (`main`),
in a group of its own and at the lowest priority, which tells how far it is in
lines of JSON and ends when its standard input does: with the server, however
that one ends.  What was fetched and what is finished stays for the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar, TextIO

from hartwell.errors import HartwellError
from hartwell.setup import builder, image, paths, preboot
from hartwell.setup.steps import Progress, Runner, SetupError, size_words

NAME = "debian"
BUILT = 0.9  # the build's share of the whole time
ROOM = 2_500_000_000  # bytes: packages, the tree, the building machine's disk, the image
END_SECONDS = 5


def wanted(preboot_too: bool) -> str | None:
    """The image that there is something to prepare of; None when there is nothing.

    A person who chose another image is not given this one.
    """
    index = image.read_index()
    name = NAME if index.get("default") == image.NAME and index.get("chosen") is not True else str(index.get("default"))
    if not (image.IMAGES / name / "image.json").is_file():
        return name if name == NAME else None
    fresh = not preboot_too or Runner().is_done(preboot.step(name))
    return None if fresh and name == index.get("default") else name


class Preparation:
    """The work under way, as the server knows it."""

    command: ClassVar[list[str]] = [sys.executable, "-m", "hartwell.setup.preparing"]

    def __init__(self) -> None:
        self._state: dict[str, Any] = {"state": "none"}
        self._process: subprocess.Popen[str] | None = None
        self._ending = False

    def state(self) -> dict[str, Any]:
        """For preparing.json (docs/contracts.md)."""
        return self._state

    def start(self, name: str, mirror: str | None, preboot_too: bool, say: Callable[[str], None]) -> None:
        """Begins to prepare `name`; `say` gets the one line that people are told in the end."""
        command = [*self.command, name, *(["--mirror", mirror] if mirror else [])]
        command += [] if preboot_too else ["--no-preboot"]
        environment = {**os.environ, "PYTHONPATH": str(paths.ROOT / "py")}
        self._state = {"state": "preparing", "image": name, "what": "", "part": 0.0}
        self._process = subprocess.Popen(
            command, cwd=paths.ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self._process, say), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str], say: Callable[[str], None]) -> None:
        assert process.stdout is not None and process.stderr is not None
        told: dict[str, Any] = {}
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if told["state"] == "preparing":
                    self._state = {**self._state, **told}
        said = process.stderr.read().strip()
        process.wait()
        if self._ending:
            return
        name = self._state["image"]
        if told.get("state") == "ready":
            self._state = {"state": "ready", "image": name}
            say(f"{name} is ready: the page opens it from now on")
            return
        reason = told.get("message") or said[-1000:] or f"its process ended with status {process.returncode}"
        self._state = {"state": "failed", "image": name, "message": reason}
        say(f"hartwell: {name} could not be prepared: {reason}\nThe page goes on without it; the next start tries again")

    def stop(self) -> None:
        """Ends the work; no process of it is left."""
        process = self._process
        if process is None:
            return
        self._ending = True
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# --- the process ------------------------------------------------------------


class Told(Progress):
    """Progress as lines of JSON."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self._what = ""
        self._told = -1.0

    def begin(self, name: str) -> None:
        self._what = name
        self._tell()

    def whole(self, share: float) -> None:
        self._told = max(self._told, round(share, 3))
        self._tell()

    def bytes(self, done: int, total: int) -> None:
        """The whole is enough."""

    def note(self, text: str) -> None:
        """Lines are for a terminal."""

    def end(self) -> None:
        """The next step says its own name."""

    def _tell(self) -> None:
        self.say({"state": "preparing", "what": self._what, "part": max(0.0, self._told)})

    def say(self, facts: dict[str, Any]) -> None:
        self.out.write(json.dumps(facts) + "\n")
        self.out.flush()


def prepare(name: str, mirror: str | None, preboot_too: bool, progress: Progress) -> None:
    """All that is absent; SetupError when it can't be had."""
    with builder.one_build(progress):  # another server of this checkout may have begun it: its result is ours
        if not (image.IMAGES / name / "image.json").is_file():
            free = shutil.disk_usage(paths.ROOT).free
            if free < ROOM:
                raise SetupError(f"about {size_words(ROOM)} are needed while it is built, and {size_words(free)} are free")
            with progress.within(0.0, BUILT):
                progress.begin("fetching packages")
                builder.build(name, mirror, progress)
        if preboot_too:
            with progress.within(BUILT, 1.0):
                Runner(progress).run(preboot.step(name))
        image.add_to_index(name, unless_chosen=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="preparing")
    parser.add_argument("name")
    parser.add_argument("--mirror")
    parser.add_argument("--no-preboot", dest="preboot", action="store_false")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    _give_way()
    threading.Thread(target=_end_with_input, daemon=True).start()
    progress = Told(sys.stdout)
    try:
        prepare(options.name, options.mirror, options.preboot, progress)
    except HartwellError as error:
        progress.say({"state": "failed", "message": str(error)})
        return 1
    except KeyboardInterrupt:
        return 130
    progress.say({"state": "ready"})
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _give_way() -> None:
    """Everybody else goes first, here and in all processes that come of this one."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _end_with_input() -> None:
    """Nothing is ever said there: its end is the server's."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os.killpg(os.getpgrp(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

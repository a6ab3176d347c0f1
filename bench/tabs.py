"""A tab of Chromium that nobody watches.

A browser that Playwright drives keeps a copy of every response for its
inspector, tens of megabytes in the tab's own process, and writes every
WebSocket message down as text, which takes seven times as long as the message.
Here the tab is asked by the DevTools protocol's Runtime domain alone, which
does neither.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import connect

from bench.guests import PROMPT, RUN_SECONDS, GuestError
from tests.e2e.conftest import CHROMIUM_ARGUMENTS, chromium_path

START_SECONDS = 30


class QuietTab:
    """One page; `python` and `evaluate` as of tests.e2e.tab.Tab.  `browser`: the process's number."""

    def __init__(self, address: str, browser: int) -> None:
        self.browser = browser
        self._wire = connect(address, max_size=None)
        self._number = 0

    def evaluate(self, expression: str, timeout: float = 300) -> Any:
        """A JavaScript expression's value, awaited."""
        self._number += 1
        parameters = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        self._wire.send(json.dumps({"id": self._number, "method": "Runtime.evaluate", "params": parameters}))
        while (answer := json.loads(self._wire.recv(timeout))).get("id") != self._number:
            pass
        result = answer.get("result", {})
        if wrong := answer.get("error") or result.get("exceptionDetails"):
            raise GuestError(f"{expression[:200]}: {wrong}")
        return result["result"].get("value")

    def holds(self, expression: str) -> bool:
        """Is it true?  A page that is still on its way to another answers no."""
        try:
            return bool(self.evaluate(expression))
        except GuestError:
            return False

    def python(self, code: str, timeout: float = 300) -> Any:
        """Runs Python in the page's supervisor; the last expression's value."""
        answer = self.evaluate(f"window.hartwell.python({json.dumps(code)}).then(JSON.stringify)", timeout)
        return None if answer is None else json.loads(answer)

    def boot(self, arguments: str, prompt: str = PROMPT, timeout: float = 240) -> None:
        """A machine of these arguments, up to its shell's prompt; the namespace's `machine`."""
        until = f"await machine.console.expect({prompt!r}, {timeout})"
        self.python(f"machine = await Machine.boot({arguments})\n{until}", timeout + 60)

    def run(self, command: str, timeout: float = RUN_SECONDS) -> str:
        """What a command prints in the guest; GuestError unless it succeeds."""
        code = f"r = await machine.run({command!r}, timeout={timeout})\n[r.stdout, r.stderr, r.returncode]"
        out, err, status = self.python(code, timeout + 60)
        if status:
            raise GuestError(f"a quiet tab: {command!r} failed: {out}{err}")
        return str(out)


@contextmanager
def quiet_tab(address: str, until: str) -> Iterator[QuietTab]:
    """A fresh browser with one tab at `address`, once the expression `until` is true there."""
    browser = chromium_path()
    if browser is None:
        raise GuestError("no Chromium is on the PATH; HARTWELL_BROWSER can name one")
    profile = tempfile.mkdtemp(prefix="hartwell-bench-")
    command = [
        browser, *CHROMIUM_ARGUMENTS, "--headless=new", "--remote-debugging-port=0",
        "--window-size=1000,640", f"--user-data-dir={profile}", address,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        tab = QuietTab(_page(process, address), process.pid)
        end = time.monotonic() + START_SECONDS
        while not tab.holds(until):
            if time.monotonic() > end:
                raise GuestError(f"{address}: no {until} after {START_SECONDS} s")
            time.sleep(0.1)
        yield tab
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(profile, ignore_errors=True)


def _page(process: subprocess.Popen[str], address: str) -> str:
    """Where the page listens for the DevTools protocol."""
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.search(r"DevTools listening on ws://([^/]+)/", line):
            break
    else:
        raise GuestError(f"Chromium ended with {process.wait()} before it listened")
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://{match[1]}/json/list") as answer:
            for target in json.load(answer):
                if target["type"] == "page" and target["url"].startswith(address.split("?")[0]):
                    return str(target["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise GuestError(f"Chromium shows no page at {address}")

"""The real page in a real browser, served by the real command.

A `Tab` (tab.py) is a page with its machine, driven as a person's script would:
by window.hartwell, the keyboard and the buttons.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from playwright.sync_api import BrowserContext, Playwright, sync_playwright

from tests.e2e.tab import READY_SECONDS, Tab

ROOT = Path(__file__).resolve().parents[2]

# What a container or a machine without a screen needs; the rest keeps the
# browser from talking to its maker during a test.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]

SERVER_SECONDS = 240


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address at which `serve.py` serves; HARTWELL_SERVER names one that runs already."""
    if running := os.environ.get("HARTWELL_SERVER"):
        yield running
        return
    with serving() as address:
        yield address


@contextlib.contextmanager
def serving(*arguments: str, preboot: bool = False) -> Iterator[str]:
    """A `serve.py` of its own; its address."""
    command = [sys.executable, str(ROOT / "serve.py"), "--port", "0", "--no-open", *arguments]
    command += [] if preboot else ["--no-preboot"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=lambda stream: [lines.put(line) for line in stream], args=[process.stdout])
    reader.daemon = True
    reader.start()
    said = ""
    address = ""
    end = time.monotonic() + SERVER_SECONDS
    while not address and time.monotonic() < end and (process.poll() is None or not lines.empty()):
        try:
            line = lines.get(timeout=0.5)
        except queue.Empty:
            continue
        said += line
        if line.startswith("ready "):
            address = line.split()[1]
    try:
        assert address, f"serve.py did not say that it is ready:\n{said}"
        yield address
    finally:
        process.terminate()
        process.wait(120)


class _Plain(http.server.SimpleHTTPRequestHandler):
    """The page's files as a server sends them that knows nothing of isolation."""

    extensions_map: ClassVar = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def translate_path(self, path: str) -> str:
        name = path.split("?")[0].lstrip("/") or "index.html"
        return str(ROOT / name if name.startswith("static/") else ROOT / "web" / name)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def plain_server() -> Iterator[str]:
    """An address that serves the page without the headers of isolation."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Plain) as plain:
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{plain.server_address[1]}/"
        plain.shutdown()


# Per module: Playwright's loop runs in this thread while it lives, and other
# tests of the session want that thread for loops of their own.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


def chromium_path() -> str | None:
    """The browser that the test command found, or the system's; None: Playwright's own."""
    return os.environ.get("HARTWELL_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)


def chromium(playwright: Playwright, profile: Path) -> BrowserContext:
    """Chromium on a profile, of which nothing on a busy machine is asked in haste."""
    context = playwright.chromium.launch_persistent_context(
        profile, executable_path=chromium_path(), headless=True, args=CHROMIUM_ARGUMENTS,
        viewport={"width": 1200, "height": 760}, timeout=READY_SECONDS * 1000,
    )
    context.set_default_timeout(READY_SECONDS * 1000)
    return context


@pytest.fixture(scope="module")
def browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Chromium with a fresh profile, which all tabs of a module share."""
    context = chromium(playwright, tmp_path_factory.mktemp("profile"))
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    context.close()


@pytest.fixture(scope="module")
def new_tab(browser: BrowserContext, server: str) -> Iterator[Callable[..., Tab]]:
    """Makes tabs that live as long as the module's browser."""
    tabs: list[Tab] = []

    def make(address: str = server) -> Tab:
        tabs.append(Tab(browser.new_page(), address))
        return tabs[-1]

    yield make
    for tab in tabs:
        if not tab.page.is_closed():
            tab.page.close()


@pytest.fixture
def tab(new_tab: Callable[..., Tab]) -> Iterator[Tab]:
    """A tab for one test; no error may reach the browser's console in it."""
    made = new_tab()
    yield made
    errors = list(made.errors)
    made.page.close()
    assert errors == []


@pytest.fixture(scope="module")
def machine_tab(new_tab: Callable[..., Tab]) -> Tab:
    """A tab whose machine (the default image, one hart) has booted; shared, so leave it running."""
    return new_tab().boot("?harts=1")

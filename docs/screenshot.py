"""Takes docs/page.png: `python docs/screenshot.py ADDRESS`, with serve.py running there."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.e2e.conftest import CHROMIUM_ARGUMENTS, chromium_path
from tests.e2e.tab import Tab

LINES = ["uname -srm", "grep -E 'hart|isa|mmu' /proc/cpuinfo", "free -m"]
PYTHON = ["machine", "machine.harts[0].privilege, hex(machine.harts[0].csr['satp'])", "(await machine.run('nproc')).stdout"]


def main(address: str) -> None:
    """Boots, types some lines into both consoles, and leaves the picture beside this file."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), headless=True, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 760})
        tab = Tab(page, address).boot("?harts=2&append=quiet")
        tab.open_panel("Python")
        for line in PYTHON:
            page.locator("hw-python-panel textarea").fill(line)
            page.keyboard.press("Enter")
            page.wait_for_timeout(1000)
        for line in LINES:
            tab.type(line + "\n")
            tab.expect(r"[#$] $")
        page.wait_for_timeout(1000)
        page.screenshot(path=Path(__file__).with_name("page.png"))
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])

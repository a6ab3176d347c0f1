"""The panels that look inside: tasks, trace, profile."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.e2e.tab import Tab

KEEP = os.environ.get("HARTWELL_SCREENSHOTS")  # a folder, for whoever wants to look


def keep(tab: Tab, name: str) -> None:
    if KEEP:
        tab.page.screenshot(path=Path(KEEP) / f"{name}.png")


def opened(tab: Tab, label: str) -> None:
    tab.page.get_by_role("navigation", name="Panels").get_by_role("button", name=label).click()


def test_tasks_their_stacks_and_maps(machine_tab: Tab) -> None:
    tab = machine_tab
    opened(tab, "Tasks")
    panel = tab.page.locator("hw-tasks-panel")
    panel.get_by_role("button", name="bash", exact=True).click()
    panel.locator("pre", has_text="__schedule").wait_for()
    assert "/usr/bin/bash" in panel.locator("pre").nth(1).inner_text()
    assert panel.get_by_role("button", name="kthreadd", exact=True).count() == 0
    panel.get_by_label("Kernel threads").check()
    panel.get_by_role("button", name="kthreadd", exact=True).wait_for()
    keep(tab, "tasks")


def test_system_calls_live(machine_tab: Tab) -> None:
    tab = machine_tab
    opened(tab, "Trace")
    panel = tab.page.locator("hw-trace-panel")
    panel.get_by_label("Only these system calls").fill("execve openat")
    assert panel.locator("code").inner_text() == 'trace = machine.trace.syscalls(names=["execve","openat"])'
    panel.get_by_role("button", name="Start").click()
    panel.get_by_role("button", name="Stop").wait_for()
    tab.run("cat /etc/hostname /nowhere; true")
    panel.locator(".log div", has_text=re.compile(r'openat\(AT_FDCWD, "/etc/hostname", O_RDONLY')).first.wait_for()
    panel.locator(".log .failed", has_text="ENOENT").first.wait_for()
    keep(tab, "trace")
    panel.get_by_role("button", name="Stop").click()
    panel.get_by_role("button", name="Start").wait_for()
    with tab.page.expect_download() as download:
        panel.get_by_role("button", name="Save for Perfetto").click()
    assert '"traceEvents"' in Path(download.value.path()).read_text()
    assert not tab.notice()


def test_a_profile_and_its_flame_graph(machine_tab: Tab) -> None:
    tab = machine_tab
    loop = "i=0; while [ $i -lt 2000000 ]; do i=$((i+1)); done"
    tab.python(f"import asyncio; busy = asyncio.ensure_future(machine.run({loop!r}, 600))")
    opened(tab, "Profile")
    panel = tab.page.locator("hw-profile-panel")
    panel.get_by_label("Seconds").fill("2")
    assert panel.locator("code").inner_text() == "profile = await machine.profile(seconds=2, hz=1000)"
    panel.get_by_role("button", name="Profile", exact=True).click()
    panel.locator(".flame rect").first.wait_for()
    assert re.search(r"\d+ samples in \d\.\d s", panel.get_by_role("status").inner_text())
    assert panel.locator("tbody tr").count() > 0
    keep(tab, "profile")
    boxes = panel.locator(".flame > svg")
    assert boxes.count() > 1
    boxes.nth(1).click()  # the whole width now
    assert panel.locator(".flame > svg").first.get_attribute("width") == "100%"
    with tab.page.expect_download() as download:
        panel.get_by_role("button", name="Save for speedscope").click()
    assert "speedscope.app" in Path(download.value.path()).read_text()
    tab.python("busy.cancel()")
    assert not tab.notice()

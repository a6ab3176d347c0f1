"""The machine in the page: it boots Debian's kernel to a shell that a person types into."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.e2e.tab import BOOT_SECONDS, PROMPT, Tab


def test_boots_with_one_hart(machine_tab: Tab) -> None:
    machine_tab.type("uname -sm; echo $((6*7)) is typed\n")
    shown = machine_tab.wait_for_screen("42 is typed")
    assert "Linux riscv64" in shown
    assert machine_tab.run("grep -c ^processor /proc/cpuinfo").strip() == "1"
    assert machine_tab.errors == []


def test_status_line(machine_tab: Tab) -> None:
    machine_tab.wait_for_state("running")
    line = machine_tab.page.locator("hw-status")
    line.get_by_text("1 hart", exact=True).wait_for()
    line.get_by_text(re.compile(r"^\d+ MB$|^[\d.]+ GB$")).wait_for()
    line.get_by_text(re.compile(r"^[\d.]+ MIPS$")).wait_for()
    line.get_by_text(re.compile(r"^up \d+:\d\d")).wait_for()


def test_run_gives_output_and_status(machine_tab: Tab) -> None:
    answer = machine_tab.python(
        "r = await machine.run('echo out; echo err >&2; exit 3', timeout=240)\n[r.stdout, r.returncode]"
    )
    assert answer[0].splitlines()[0] == "out"
    assert answer[1] == 3


def test_resize_reaches_the_guest(machine_tab: Tab) -> None:
    page = machine_tab.page
    for width, height in [(1000, 500), (1200, 760)]:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function(
            """([width, height]) => {
                const place = document.querySelector("hw-console").getBoundingClientRect();
                const screen = document.querySelector(".xterm-screen").getBoundingClientRect();
                return place.right <= width && screen.width <= place.width && place.width - screen.width < 40
                    && screen.height <= place.height && place.height - screen.height < 40;
            }""",
            arg=[width, height],
        )
        size = page.evaluate("[window.hartwell.terminal.rows, window.hartwell.terminal.cols]")
        for _ in range(600):
            told = machine_tab.run("stty size < /dev/hvc0").split()
            if told == [str(number) for number in size]:
                break
            page.wait_for_timeout(100)
        assert told == [str(number) for number in size]


def test_paste(machine_tab: Tab) -> None:
    """A paste far longer than a device's buffers arrives whole, with characters of every length."""
    word = "0123456789" * 6 + "äπ€😀"
    lines = 400
    machine_tab.type("clear; echo now-$((1+1)); cat > /tmp/pasted\n")
    machine_tab.wait_for_screen("now-2")  # before, the shell has the terminal in a mode that keeps carriage returns
    text = f"{word}\n" * lines
    machine_tab.page.evaluate("text => navigator.clipboard.writeText(text)", text)
    machine_tab.page.evaluate("window.hartwell.terminal.focus()")
    machine_tab.page.keyboard.press("Control+Shift+V")
    for _ in range(1200):
        machine_tab.page.wait_for_timeout(200)
        if machine_tab.screen().count(word) >= 20:
            break
    machine_tab.page.wait_for_timeout(500)
    machine_tab.page.keyboard.press("Control+d")
    machine_tab.expect(PROMPT)
    assert machine_tab.run("sort /tmp/pasted | uniq -c").split() == [str(lines), word]


def test_copy(machine_tab: Tab) -> None:
    machine_tab.type("clear; echo to-be-copied-$((1+1))\n")
    machine_tab.wait_for_screen("to-be-copied-2")
    page = machine_tab.page
    page.evaluate("window.hartwell.terminal.selectAll()")
    page.keyboard.press("Control+Shift+C")
    assert "to-be-copied-2" in page.evaluate("navigator.clipboard.readText()")
    page.evaluate("window.hartwell.terminal.clearSelection()")


def test_keys_of_an_editor(machine_tab: Tab) -> None:
    """Control characters, arrows and the alternate screen go through."""
    machine_tab.type("clear; echo one two")
    for key in ["Control+a", "ArrowRight", "Control+e"]:
        machine_tab.page.keyboard.press(key)
    machine_tab.type(" three\n")
    machine_tab.wait_for_screen("one two three")
    machine_tab.type("sleep 1000\n")
    machine_tab.run("until pidof sleep; do sleep 0.1; done")  # before, the signal would go to the shell
    machine_tab.page.keyboard.press("Control+c")
    machine_tab.type("echo back $((40+2))\n")
    machine_tab.wait_for_screen("back 42")


def test_scrollback(machine_tab: Tab) -> None:
    machine_tab.type("clear; seq 1 2000\n")
    shown = machine_tab.wait_for_screen("\n2000\n")
    assert [line for line in shown.splitlines() if line.strip().isdigit()] == [str(n) for n in range(1, 2001)]


def test_pause_and_resume(machine_tab: Tab) -> None:
    """While a guest's loop counts: it stands still while paused, and goes on after."""
    tab = machine_tab
    tab.run("i=0; while :; do i=$((i+1)); echo $i > /tmp/count; done >/dev/null 2>&1 & echo $! > /tmp/counter")
    instret = "[h.instret for h in machine.harts]"
    tab.press("Pause")
    tab.wait_for_state("paused")
    pc, before = tab.python("[hex(h.pc) for h in machine.harts]"), tab.python(instret)
    tab.page.wait_for_timeout(1500)
    assert tab.python(instret) == before
    assert tab.python("[hex(h.pc) for h in machine.harts]") == pc

    tab.type("echo typed while paused\n")  # waits for the guest
    tab.press("Resume")
    tab.wait_for_state("running")
    tab.wait_for_screen("\ntyped while paused")
    assert all(after > then for after, then in zip(tab.python(instret), before, strict=True))
    # The loop empties the file before it writes to it, so a look may find nothing.
    tab.run("n=; until [ \"$n\" ]; do n=$(cat /tmp/count); done; until [ \"$(cat /tmp/count)\" -gt $n ] 2>/dev/null; do :; done")
    tab.run("kill $(cat /tmp/counter)")


def test_the_guest_clock_stands_still_while_paused(machine_tab: Tab) -> None:
    clock = "machine.harts[0].csr['time']"
    machine_tab.python("machine.pause()")
    before = machine_tab.python(clock)
    machine_tab.page.wait_for_timeout(1000)
    assert machine_tab.python(clock) == before
    machine_tab.python("machine.resume()")
    machine_tab.run("sleep 0.1")
    assert machine_tab.python(clock) > before


def test_harts_panel_shows_the_registers(machine_tab: Tab) -> None:
    machine_tab.python("machine.pause()")
    machine_tab.wait_for_state("paused")
    machine_tab.open_panel("Harts")
    panel = machine_tab.page.locator("hw-harts-panel")
    pc = machine_tab.python("f'{machine.harts[0].pc:016x}'")
    panel.locator("summary code", has_text=pc).wait_for()
    sp = machine_tab.python("f'{machine.harts[0].x[2]:016x}'")
    assert sp in panel.locator("tr", has_text="sp").first.inner_text()
    machine_tab.open_panel("Numbers")
    machine_tab.page.locator("hw-numbers-panel td").first.wait_for()
    machine_tab.page.keyboard.press("Escape")
    machine_tab.python("machine.resume()")
    machine_tab.wait_for_state("running")


@pytest.fixture(scope="module")
def smp_tab(new_tab: Callable[..., Tab]) -> Tab:
    """A tab whose machine has two harts; the tests below use it one after the other."""
    return new_tab().boot("?harts=2")


def test_boots_with_two_harts(smp_tab: Tab) -> None:
    assert smp_tab.run("cat /proc/cpuinfo").count("processor\t:") == 2
    smp_tab.page.locator("hw-status").get_by_text("2 harts", exact=True).wait_for()


def test_both_harts_work(smp_tab: Tab) -> None:
    """Two busy loops advance both harts' counters of instructions."""
    loops = smp_tab.run("for n in 1 2; do (while :; do :; done) >/dev/null 2>&1 & echo $!; done").split()
    before = smp_tab.python("[h.instret for h in machine.harts]")
    for _ in range(100):
        smp_tab.run("sleep 1")
        after = smp_tab.python("[h.instret for h in machine.harts]")
        if all(now - then > 10_000_000 for now, then in zip(after, before, strict=True)):
            break
    else:
        pytest.fail(f"of two busy loops one has no hart: {before}, {after}")
    smp_tab.run(f"kill {' '.join(loops)}")


def test_pause_stops_both_harts(smp_tab: Tab) -> None:
    smp_tab.python("machine.pause()")
    before = smp_tab.python("[h.instret for h in machine.harts]")
    smp_tab.page.wait_for_timeout(500)
    assert smp_tab.python("[h.instret for h in machine.harts]") == before
    smp_tab.python("machine.resume()")
    assert smp_tab.run("echo goes on").strip() == "goes on"


def test_reset_boots_again(smp_tab: Tab) -> None:
    smp_tab.run("touch /tmp/lost-by-reset")
    smp_tab.press("Reset")
    smp_tab.expect(r"Linux version", BOOT_SECONDS)
    smp_tab.expect(PROMPT, BOOT_SECONDS)
    assert smp_tab.run("ls /tmp/lost-by-reset 2>/dev/null; echo $?").split() == ["1"]
    assert smp_tab.notice() == ""


def test_power_off_by_the_guest_and_start_again(smp_tab: Tab) -> None:
    smp_tab.type("poweroff -f\n")
    smp_tab.wait_for_state("stopped")
    smp_tab.wait_for_screen("Power down")  # what the console shows stays
    smp_tab.press("Start")
    smp_tab.wait_for_state("running")
    smp_tab.expect(PROMPT, BOOT_SECONDS)
    assert smp_tab.run("echo $((1+1))").strip() == "2"


def test_power_off_by_the_button(smp_tab: Tab) -> None:
    smp_tab.press("Power off")
    smp_tab.wait_for_state("stopped")
    assert smp_tab.python("machine.state") == "stopped"
    assert smp_tab.errors == []


@pytest.mark.firefox
def test_boots_in_firefox(playwright, server: str) -> None:  # type: ignore[no-untyped-def]
    """Firefox by BiDi; facts: playwright 1.64.1 drives an installed Firefox ESR so."""
    import shutil

    path = shutil.which("firefox-esr") or shutil.which("firefox")
    assert path, "no firefox or firefox-esr on the PATH"
    browser = playwright.firefox.launch(executable_path=path, channel="moz-firefox", headless=True)
    try:
        tab = Tab(browser.new_page(), server).boot("?harts=2")
        assert tab.run("uname -m").strip() == "riscv64"
        assert tab.errors == []
    finally:
        browser.close()

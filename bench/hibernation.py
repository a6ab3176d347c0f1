"""Sleep and wake beside cold boot, and beside v86's save_state and restore_state.

One machine with 512 MB, of which the guest has touched about 100: what it booted
with, and files of text and of noise.  v86 has its own guest, with the same
files, and hands its state to the caller: what storing it costs is not in.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from bench import guests, results
from tests.e2e.tab import Tab

# About 45 MB beside what the boot touched: half of it text, a third zeros, the rest noise.
FILL = (
    "mkdir -p /tmp/fill; i=0; while [ $i -lt 24 ]; do seq $i 140000 > /tmp/fill/text$i; i=$((i+1)); done; "
    "head -c 8000000 /dev/urandom > /tmp/fill/noise; head -c 15000000 /dev/zero > /tmp/fill/zeros; sync"
)
_SAVE = """
import time
Machine.checkpoint_seconds = None
begun = time.monotonic()
await machine.checkpoint("bench")
[time.monotonic() - begun, machine._saver.pause_seconds, machine._saver.written]
"""
_SLEEP = """
begun = time.monotonic()
await machine.hibernate()
[time.monotonic() - begun, (await Machine.snapshots())[0].stored]
"""
_WAKE = """
import time
begun = time.monotonic()
machine = await Machine.wake("bench", lazy={lazy})
[time.monotonic() - begun]
"""
_MOVE = """
machine = await Machine.wake("bench", move=True)
machine._saver.asleep_seconds
"""
# 3 MB of new memory, again and again.
WRITER = "(while :; do head -c 3000000 /dev/urandom > /tmp/new; done) > /dev/null 2>&1 &"

# In the page, by the page's clock, which begins as the page is opened: types as soon as there is a terminal,
# and looks for what the guest's shell makes of it.  Each visit asks for another word: the screen of the one
# before, which a woken machine shows at once, has that one's.
TYPIST = """
window.seen = {};
const word = `echo${Math.round(performance.timeOrigin)}`;
const note = (what) => (window.seen[what] ??= performance.now());
const timer = setInterval(() => {
  const terminal = window.hartwell?.terminal;
  if (!terminal) return;
  if (!window.seen.typing) {
    note("typing");
    terminal.input(`echo ''${word}\\n`);
  }
  if (document.querySelector('hw-status[data-state="running"]')) note("running");
  const lines = terminal.buffer.active;
  for (let i = 0; i < lines.length; i++) {
    if (lines.getLine(i).translateToString(true) !== word) continue;
    note("echo");
    clearInterval(timer);
  }
}, 5);
"""


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark.  The profile is on a disk, as a person's is: one in memory keeps no compiled code."""
    seconds: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}

    def note(name: str, value: float) -> None:
        seconds.setdefault(name, []).append(value)

    with guests.served() as address:
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                with guests.chromium(Path(folder)) as browser:
                    _sleep_and_wake(browser, address, note, sizes)
                    _fall_asleep(_open(browser, address, "woken page", note))
                    _move(browser, address, _open(browser, address, "woken page, once more", note), note)
                with guests.chromium(Path(folder)) as browser:
                    _fall_asleep(_open(browser, address, "woken page, browser started anew", note))
        if "v86" not in missing:
            with guests.chromium() as browser:
                _v86(browser, address, options.rounds, note, sizes)
    rows = []
    for name, values in seconds.items():
        ordered = sorted(values)
        rows.append([name, ordered[0], ordered[len(ordered) // 2], ordered[-1]])
    text = f"Seconds, {options.rounds} rounds.\n\n" + results.table(["what", "least", "median", "most"], rows)
    text += "\n\n" + results.table(["bytes", "MB"], [[name, size / 1e6] for name, size in sizes.items()])
    text += "".join(f"\n\nLeft out: {peer}: {why}" for peer, why in missing.items() if peer == "v86")
    results.write("hibernation", {"seconds": seconds, "bytes": sizes, "missing": missing}, text)


def _sleep_and_wake(browser: Any, address: str, note: Any, sizes: dict[str, int]) -> None:
    """Leaves a machine asleep, and no other."""
    begun = time.monotonic()
    tab = Tab(browser.new_page(), address)
    tab.open("?boot=no")
    tab.python("Machine.checkpoint_seconds = 3600")  # it is to be saved, but only when this says so
    tab.python("for one in await Machine.snapshots(): await Machine.delete_snapshot(one.name)")
    ready = time.monotonic()
    tab.python("machine = await Machine.boot(harts=1)")
    tab.expect(guests.PROMPT, 240)
    note("cold boot to the prompt, page up", time.monotonic() - ready)
    note("cold boot, from opening the page", time.monotonic() - begun)
    tab.python("Machine.checkpoint_seconds = 3600")  # the page has set it when it was ready
    tab.python(f"await machine.run({FILL!r}, timeout=300)")
    tab.python("for one in await Machine.snapshots(): await Machine.delete_snapshot(one.name)")
    took, pause, written = tab.python(_SAVE)
    note("first save, the machine goes on", took)
    sizes["first save wrote"] = written
    tab.run("date > /tmp/date")
    took, pause, written = tab.python(_SAVE)
    note("next save, after little change", took)
    note("  the guest's pause in it", pause)
    sizes["next save wrote"] = written
    took, stored = tab.python(_SLEEP)
    note("sleep, after a save", took)
    sizes["snapshot"] = stored
    note("wake, lazy, to the first instruction", tab.python(_WAKE.format(lazy=True))[0])
    tab.python("await machine.hibernate()")
    note("wake, full, to the first instruction", tab.python(_WAKE.format(lazy=False))[0])
    _fall_asleep(tab)


def _open(browser: Any, address: str, what: str, note: Any) -> Tab:
    """Opens the page, which wakes the machine."""
    tab = Tab(browser.new_page(), address)
    tab.page.add_init_script(TYPIST)
    tab.page.goto(address)
    tab.page.wait_for_function("window.seen?.echo", timeout=120_000)
    for name, milliseconds in tab.page.evaluate("window.seen").items():
        note(f"{what}: opening to {name}", milliseconds / 1000)
    tab.python("1")  # Python is up
    return tab


def _fall_asleep(tab: Tab) -> None:
    tab.python("Machine.checkpoint_seconds = None\nawait machine.hibernate()")
    tab.page.close()


def _move(browser: Any, address: str, tab: Tab, note: Any) -> None:
    for what, work in (("an idle guest", "true"), ("one that writes", WRITER)):
        tab.run(work)
        other = Tab(browser.new_page(), address)
        other.open("?boot=no")
        note(f"move to another tab, the standstill of {what}", other.python(_MOVE))
        tab.page.close()
        tab = other
    _fall_asleep(tab)


def _v86(browser: Any, address: str, rounds: int, note: Any, sizes: dict[str, int]) -> None:
    guest = guests.V86(browser, address)
    try:
        guest.run(FILL, timeout=300)
        for _ in range(rounds):
            begun = time.monotonic()
            sizes["v86's state, as it gives it"] = guest.page.evaluate(
                "async () => { window.state = await guest.save_state(); return window.state.byteLength; }")
            note("v86: save_state", time.monotonic() - begun)
            begun = time.monotonic()
            guest.page.evaluate("() => guest.restore_state(window.state)")
            note("v86: restore_state", time.monotonic() - begun)
        sizes["v86's state, gzip"] = guest.page.evaluate(
            "async () => { const s = new Blob([window.state]).stream().pipeThrough(new CompressionStream('gzip'));"
            " return (await new Response(s).arrayBuffer()).byteLength; }")
    finally:
        guest.close()

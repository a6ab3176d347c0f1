"""From nothing to the shell's prompt: the stock kernel here and in QEMU, one hart and two.

Same kernel, initramfs, command line and devices (virtio console and entropy).
Hartwell's time is taken twice: of `Machine.boot` and the prompt, in a page that
is up; and from the address being opened, with Python's start in it.  The
translator's own figures are of the same boots.  An own kernel (`hartwell image
kernel`) has its turn where one was made.  "again" is the
second boot of its page, which has the translations that set-up made of the image
(docs/decisions/0042), "third" the one after, whose engine has compiled them; "visit" is
the first boot of a page in a browser that had such a page before, and ended since.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext

from bench import guests, prepare, results
from hartwell.setup import image as images
from tests.e2e.tab import Tab

HARTS = (1, 2)
OWN = "small"  # the image of `hartwell image kernel`, where it was made
_LATER = 8000  # milliseconds until a page has looked for translations made ahead (web/translations.mjs)
_KINDS = ("", "-again", "-third")
_KEPT = 1500  # milliseconds until the engine has written down what it compiled
_BOOT = """
import time
begun = time.monotonic()
machine = await Machine.boot({image!r}, harts={harts}, jit={jit})
started = time.monotonic()
await machine.console.expect({prompt!r}, timeout=240)
ready = time.monotonic()
counted = machine.statistics()
await machine.close()
[ready - started, ready - begun, sum(hart["instructions"] for hart in counted["harts"]), counted["jit"]]
"""


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    seconds: dict[str, list[float]] = {}
    instructions: dict[str, list[int]] = {}
    translator: dict[str, list[dict[str, int]]] = {}

    running: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        seconds.setdefault(name, []).append(value)

    def boot(tab: Tab, name: str, image: str | None, harts: int, jit: bool) -> None:
        ran, ready, count, work = _boot(tab, image, harts, jit)
        note(name, ready)
        running.setdefault(name, []).append(ran)
        instructions.setdefault(name, []).append(count)
        if jit:
            translator.setdefault(name, []).append(work)

    def visit(name: str, image: str | None, harts: int) -> None:
        with guests.chromium(profile) as browser:
            tab = Tab(browser.new_page(), address)
            tab.open("?boot=no")
            boot(tab, f"{name}-visit {harts}", image, harts, True)

    own = [OWN] if (images.IMAGES / OWN).is_dir() else []
    with guests.served() as address, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        with guests.chromium(profile) as browser:  # a visit before those that are measured
            for image in (None, *own):
                three(browser, address, "", image, 1, lambda tab, name, image, harts, jit: _boot(tab, image, harts, jit))
        for _ in range(options.rounds):
            for harts in HARTS:
                with guests.chromium() as browser:
                    three(browser, address, "hartwell", None, harts, boot)
                    tab = Tab(browser.new_page(), address)
                    tab.open("?boot=no")
                    boot(tab, f"hartwell-no-jit {harts}", None, harts, False)
                visit("hartwell", None, harts)
                if "qemu" not in missing:
                    begun = time.monotonic()
                    qemu = guests.Qemu(harts, initrd=prepare.IMAGE / "initrd")
                    try:
                        qemu.wait_for_prompt()
                        note(f"qemu {harts}", time.monotonic() - begun)
                    finally:
                        qemu.close()
            for image in own:
                with guests.chromium() as browser:
                    three(browser, address, "own kernel", image, 1, boot)
                visit("own kernel", image, 1)
            with guests.chromium() as browser:
                begun = time.monotonic()
                Tab(browser.new_page(), address).boot("?harts=1")
                note("hartwell 1, from opening the page", time.monotonic() - begun)
    rows = []
    for name, values in seconds.items():
        mips = [count / value / 1e6 for count, value in zip(instructions.get(name, []), values, strict=False)]
        ordered = sorted(values)
        ran = sorted(running.get(name, []))
        rows.append([name, min(values), ordered[len(ordered) // 2], max(values), ran[len(ran) // 2] if ran else None,
                     round(max(mips)) if mips else None])
    text = (f"Seconds to the prompt, {options.rounds} rounds in turn; instructions per second are through the whole boot, "
            "running is from the harts' start on.\n\n")
    text += results.table(["machine and harts", "least", "median", "most", "running, median", "MIPS"], rows)
    text += "\n\n" + _translations(translator)
    text += "".join(f"\n\nLeft out: {peer}: {why}" for peer, why in missing.items() if peer == "qemu")
    results.write("boot", {"seconds": seconds, "instructions": instructions, "translator": translator, "missing": missing}, text)


def _boot(tab: Tab, image: str | None, harts: int, jit: bool) -> Any:
    """Seconds from the harts' start and from the beginning, instructions, the translator's counters."""
    return tab.python(_BOOT.format(image=image, harts=harts, jit=jit, prompt=guests.PROMPT))


def three(
    browser: BrowserContext, address: str, name: str, image: str | None, harts: int,
    boot: Callable[[Tab, str, str | None, int, bool], object],
) -> None:
    """A page's first three boots."""
    tab = Tab(browser.new_page(), address)
    tab.open("?boot=no")
    for number, kind in enumerate(_KINDS):
        if number == 1:
            tab.page.wait_for_timeout(_LATER)
        boot(tab, f"{name}{kind} {harts}", image, harts, True)
    tab.page.wait_for_timeout(_KEPT)
    tab.page.close()


def _translations(work: dict[str, list[dict[str, int]]]) -> str:
    """What the translator did in each machine's boots, least of the rounds, as a table."""
    rows = [
        [
            name,
            max(boot["ahead"] for boot in boots),
            min(boot["modules"] for boot in boots),
            min(boot["insns"] for boot in boots),
            min(boot["time_us"] / max(boot["insns"], 1) for boot in boots),
            min(boot["waited_us"] / max(boot["modules"], 1) for boot in boots) / 1000,
            min(boot["longest_wait_us"] for boot in boots) / 1000,
        ]
        for name, boots in work.items()
    ]
    text = "The translator in these boots (goals: 2 microseconds for a guest instruction, 5 ms from a hot place to its code).\n\n"
    columns = [
        "machine and harts", "regions made ahead", "modules", "guest instructions", "microseconds each", "mean wait, ms",
        "longest wait, ms",
    ]
    return text + results.table(columns, rows)

"""From nothing to the shell's prompt: the stock kernel here and in QEMU, one hart and two.

Same kernel, initramfs, command line and devices (virtio console and entropy).
Hartwell's time is taken twice: of `Machine.boot` and the prompt, in a page that
is up; and from the address being opened, with Python's start in it.
"""

from __future__ import annotations

import time
from typing import Any

from bench import guests, prepare, results
from tests.e2e.tab import Tab

HARTS = (1, 2)
_BOOT = """
import time
begun = time.monotonic()
machine = await Machine.boot(harts={harts}, jit={jit})
started = time.monotonic()
await machine.console.expect({prompt!r}, timeout=240)
ready = time.monotonic()
counted = machine.statistics()["harts"]
await machine.close()
[started - begun, ready - begun, sum(hart["instructions"] for hart in counted)]
"""


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    seconds: dict[str, list[float]] = {}
    instructions: dict[str, list[int]] = {}

    def note(name: str, value: float) -> None:
        seconds.setdefault(name, []).append(value)

    with guests.served() as address, guests.chromium() as browser:
        for _ in range(options.rounds):
            for harts in HARTS:
                for kind, jit in (("hartwell", True), ("hartwell-no-jit", False)):
                    tab = Tab(browser.new_page(), address)
                    tab.open("?boot=no")
                    _, ready, count = tab.python(_BOOT.format(harts=harts, jit=jit, prompt=guests.PROMPT))
                    tab.page.close()
                    note(f"{kind} {harts}", ready)
                    instructions.setdefault(f"{kind} {harts}", []).append(count)
                if "qemu" not in missing:
                    begun = time.monotonic()
                    qemu = guests.Qemu(harts, initrd=prepare.IMAGE / "initrd")
                    try:
                        qemu.wait_for_prompt()
                        note(f"qemu {harts}", time.monotonic() - begun)
                    finally:
                        qemu.close()
            begun = time.monotonic()
            tab = Tab(browser.new_page(), address).boot("?harts=1")
            note("hartwell 1, from opening the page", time.monotonic() - begun)
            tab.page.close()
    rows = []
    for name, values in seconds.items():
        mips = [count / value / 1e6 for count, value in zip(instructions.get(name, []), values, strict=False)]
        ordered = sorted(values)
        rows.append([name, min(values), ordered[len(ordered) // 2], max(values), round(max(mips)) if mips else None])
    text = f"Seconds to the prompt, {options.rounds} rounds in turn; instructions per second are through the whole boot.\n\n"
    text += results.table(["machine and harts", "least", "median", "most", "MIPS"], rows)
    text += "".join(f"\n\nLeft out: {peer}: {why}" for peer, why in missing.items() if peer == "qemu")
    results.write("boot", {"seconds": seconds, "instructions": instructions, "missing": missing}, text)

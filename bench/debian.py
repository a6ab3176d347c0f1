"""The full Debian: cold boot to its prompt and to all units up, here and in QEMU; a first visit that wakes it.

Same kernel, initramfs, command line and disk.  The tab is one that nobody watches
(bench/tabs.py), fresh in each round, and nothing that is written is kept.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import guests, prepare, results
from bench.tabs import quiet_tab
from hartwell.setup import image, paths
from hartwell.setup.steps import SetupError

NAME = "debian"
FOLDER = image.IMAGES / NAME
PROMPT = r"root@debian:~# "
READY = "!!window.hartwell?.ready"
SECONDS = 240
UP = "systemctl is-system-running --wait"
ASK, ANSWER = "python3 -c 'print(6 * 7)'", r"[\r\n]42\r?\n"
_BOOT = f"""
import time
begun = time.monotonic()
machine = await Machine.boot({NAME!r}, overlay=None)
await machine.console.expect({PROMPT!r}, timeout={SECONDS})
prompt = time.monotonic() - begun
count = sum(hart["instructions"] for hart in machine.statistics()["harts"])
machine.console.write("{UP}\\n")
await machine.console.expect(r"[\\r\\n](running|degraded)", timeout={SECONDS})
[prompt, time.monotonic() - begun, count]
"""
_ASK = f"""
machine.console.write({ASK + chr(10)!r})
await machine.console.expect({ANSWER!r}, timeout={SECONDS})
None
"""


def run(options: Any, missing: dict[str, str]) -> None:
    """The benchmark."""
    if not (FOLDER / "image.json").is_file():
        raise SetupError("there is no image debian; `hartwell image build debian` makes it")
    seconds: dict[str, dict[str, list[float]]] = {}
    instructions: list[int] = []

    def note(machine: str, what: str, value: float) -> None:
        seconds.setdefault(what, {}).setdefault(machine, []).append(value)

    for _ in range(options.rounds):
        with guests.served(image=NAME) as address:
            with quiet_tab(f"{address}?boot=no", READY) as tab:
                prompt, up, count = tab.python(_BOOT, SECONDS * 2)
            note("Hartwell in Chromium", "cold boot to the prompt", prompt)
            note("Hartwell in Chromium", "cold boot to all units up", up)
            instructions.append(count)
            begun = time.monotonic()
            with quiet_tab(address, READY) as tab:
                tab.evaluate("window.hartwell.ready.then(() => null)")
                while not tab.python("machine is not None and machine.state == 'running'"):
                    time.sleep(0.05)
                note("Hartwell in Chromium", "first visit, from opening the page: the machine runs", time.monotonic() - begun)
                tab.python(_ASK, SECONDS)
                note("Hartwell in Chromium", "first visit: python3 has answered", time.monotonic() - begun)
                tab.python(_ASK, SECONDS)
                note("Hartwell in Chromium", "first visit: and once more", time.monotonic() - begun)
        if "qemu" not in missing:
            begun = time.monotonic()
            qemu = guests.Qemu(initrd=FOLDER / "initrd", disk=str(_raw_disk()), folder=FOLDER)
            try:
                qemu.wait_for_prompt(PROMPT)
                note("QEMU", "cold boot to the prompt", time.monotonic() - begun)
                qemu.run(f"{UP} || true")
                note("QEMU", "cold boot to all units up", time.monotonic() - begun)
            finally:
                qemu.close()
    names = list(dict.fromkeys(name for values in seconds.values() for name in values))
    rows = [[what, *(min(values[name]) if name in values else None for name in names)] for what, values in seconds.items()]
    mips = max(count / second / 1e6 for count, second in
               zip(instructions, seconds["cold boot to the prompt"]["Hartwell in Chromium"], strict=True))
    text = f"Seconds, the least of {options.rounds} rounds in turn. The prompt comes after {min(instructions) / 1e9:.2f} G "
    text += f"instructions, at {mips:.0f} MIPS.\n\n" + results.table(["", *names], rows)
    text += "".join(f"\n\nLeft out: {peer}: {why}" for peer, why in missing.items() if peer == "qemu")
    results.write("debian", {"seconds": seconds, "instructions": instructions, "missing": missing}, text)


def _raw_disk() -> Path:
    """The image's disk as a raw file, for QEMU."""
    target, source = prepare.FOLDER / "debian.img", FOLDER / "disk.table"
    if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
        return target
    data = Path(tempfile.mkdtemp(prefix="hartwell-bench-"))  # where there are no changes of the disk
    command = [str(paths.VENV / "bin" / "hartwell"), "disk", "export", NAME, str(target)]
    done = subprocess.run(
        command, check=False, env={**os.environ, "HARTWELL_DATA": str(data)}, capture_output=True, text=True, timeout=SECONDS)
    shutil.rmtree(data, ignore_errors=True)
    if done.returncode:
        raise SetupError(f"the disk could not be written for QEMU: {done.stderr.strip()[-500:]}")
    return target

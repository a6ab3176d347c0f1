"""Boots an image once and keeps it asleep, so that a page's first visit wakes it.

The machine runs headless in Node; what is left is one file per image of the
snapshot format (docs/snapshot-format.md) in static/snapshots/, which the page
wakes over HTTP, lazily; and what it had translated at its prompt, and when it was
asleep (hartwell.translations).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from hartwell.jit import DEFAULT_THRESHOLD
from hartwell.layout import c_header
from hartwell.setup import image, node, paths
from hartwell.setup.steps import (
    Progress,
    SetupError,
    Step,
    digest,
    digest_files,
    keep_file,
    locked,
    scratch_folder,
    write_file,
)

FOLDER = paths.STATIC / "snapshots"
SECONDS = 900
DIGITS = 12  # of a digest, in a file's name
FIRST = 500  # regions of a boot that a browser's first one gets: what an engine has compiled in time

# With the page's devices: its share, and a card for its relay, whose cable comes in when the machine wakes there.  Not
# before all of the guest is up; a systemd says so itself.
# Asleep, awake and asleep again: the second time it is known which memory a wake touches first, and a first command.
SCRIPT = """
import asyncio, contextlib
import hartwell.platform
from hartwell import translations
from hartwell.errors import HartwellError
machine = await Machine.boot({name!r}, show=False, network="relay", jit={visits})
await machine.console.expect(r"(login:|[#$]) $", timeout={seconds})
with open("/shared/first", "wb") as file:
    file.write(translations.collect(machine._core, {first}))
await machine.run({up!r}, timeout={seconds})
await machine.run({work!r}, timeout={seconds})
with open("/shared/translations", "wb") as file:
    file.write(translations.collect(machine._core))
await asyncio.sleep(2)
await machine.hibernate({name!r})
hartwell.platform.current().store.learn_seconds = 3
machine = await Machine.wake({name!r}, show=False)
machine.console.write("\\r")
with contextlib.suppress(HartwellError):
    await machine.run("ls / >/dev/null", timeout=60)
await asyncio.wait([machine._saver.stream])
await machine.hibernate()
await Machine.export_snapshot({name!r}, {file!r})
"""
UP = """
for i in $(seq 600); do grep -q " /mnt/host " /proc/mounts && break; sleep 0.1; done
command -v systemctl >/dev/null && systemctl is-system-running --wait
# What people try first is in memory then.
for command in "python3 -c 'import json, re'" "gcc --version" "apt --version" "vi --version" "less --version" "ls -l /"; do
    sh -c "$command" >/dev/null 2>&1
done
true
"""
# What a shell does all the time, to be translated ahead: a few seconds of it.
WORK = """
exec >/dev/null 2>&1
for i in $(seq 40); do
    /bin/true
    ls -l /bin | grep sh | sort | head -n 3
    cat /etc/*.conf /etc/passwd | sed s/root/user/ | wc
done
for i in 1 2 3; do
    find / -xdev | sort | md5sum
    seq 3000 | awk '{s += $1 * 2; t = t substr($1, 1, 1)} END {print s, t}'
    ps
    command -v python3 && python3 -c "import json, re, argparse; print(json.dumps({str(k): k for k in range(1000)}))"
done
gzip </bin/sh | gzip -d | sha256sum
true
"""


def step(name: str) -> Step:
    """The step for an image that is there."""
    folder = image.IMAGES / name
    files = (file for file in sorted(folder.iterdir()) if file.is_file())
    facts = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    package = Path(__file__).resolve().parents[1]
    cpu = paths.STATIC / "cpu.wasm"
    key = digest(
        "preboot 6", name, *facts, c_header(), SCRIPT, UP, WORK, str(DEFAULT_THRESHOLD), str(FIRST),
        cpu.read_bytes() if cpu.is_file() else "",
        digest_files([*(package / "snapshot").glob("*.py"), package / "translations.py"], package),
    )
    says = f"booting {name} once, for the page to wake"
    return Step(f"preboot-{name}", says, key, (FOLDER / f"{name}.hartwell",), lambda progress: boot(name, progress))


def boot(name: str, progress: Progress) -> None:
    """Boots `name` and leaves its snapshot; SetupError says what it printed when it can't."""
    with scratch_folder(FOLDER / name) as folder, scratch_folder(FOLDER.with_name("preboot")) as data:
        file = folder / f"{name}.hartwell"
        script = SCRIPT.format(
            name=name, seconds=SECONDS // 2, up=UP, work=WORK, file=str(file), visits=DEFAULT_THRESHOLD, first=FIRST)
        options = {"script": script, "share": {"folder": str(folder), "writable": True}}
        command = [str(node.find()), str(paths.ROOT / "web" / "node" / "host.mjs"), json.dumps(options)]
        environment = {**os.environ, "HARTWELL_DATA": str(data), "HARTWELL_STATIC": str(paths.STATIC)}
        try:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            raise SetupError(f"{name} did not get to a prompt within {SECONDS} s") from None
        if done.returncode or not file.is_file():
            raise SetupError(f"{name} could not be booted ahead: {(done.stderr or done.stdout).strip()[-2000:]}")
        file.replace(FOLDER / file.name)
        modules = [ahead.read_bytes() if ahead.is_file() else b"" for ahead in (folder / "translations", folder / "first")]
        keep_translations(name, *modules)
    write_index()


def keep_translations(name: str, module: bytes, first: bytes = b"") -> None:
    """Puts modules of translations.collect beside the image's snapshot, and says what they were made for.

    `first`: the one for a boot of a browser that has nothing of the other.
    """
    for old in FOLDER.glob(f"{name}.{'?' * DIGITS}.wasm*"):
        old.unlink()
    if module:
        facts = _kept(name, module)
        told = {**facts, "cpu": hashlib.sha256((paths.STATIC / "cpu.wasm").read_bytes()).hexdigest()}
        if first:
            told["first"] = _kept(name, first)
        write_file(FOLDER / f"{facts['file']}.json", json.dumps(told).encode())


def _kept(name: str, module: bytes) -> dict[str, Any]:
    found = hashlib.sha256(module).hexdigest()
    facts = {"file": f"{name}.{found[:DIGITS]}.wasm", "digest": found}
    write_file(FOLDER / facts["file"], module)
    return facts


def write_index() -> None:
    """index.json: the images that are booted ahead, and of which of them there are translations."""
    with locked(FOLDER / ".lock"):
        names = sorted(found.stem for found in FOLDER.glob("*.hartwell"))
        facts = {found.name.rsplit(".", 3)[0]: json.loads(found.read_text()) for found in FOLDER.glob("*.wasm.json")}
        keep_file(FOLDER / "index.json", json.dumps({"images": names, "translations": facts}).encode())

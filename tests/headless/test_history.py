"""Debian's kernel to its prompt and a command typed into it: recorded, repeated
twice with the same state at every checkpoint, and gone back in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.headless.terminal import COMMAND

SCRIPT = r"""
import asyncio, json
machine = await Machine.record(memory="128M", show=False)
machine.history.pace = False
await machine.console.expect(r"# $", timeout=400)
machine.console.write("echo typed; head -c 8 /dev/urandom | od -x; date\n")
await machine.console.expect(r"\d\d:\d\d:\d\d.*\n", timeout=400)
machine.pause()
await asyncio.sleep(1)  # for what the guest has said and nobody has heard yet
recording = machine.history.recording()
found = {"digests": len(recording.digests), "events": [event.data.decode() for event in recording.events], "replays": []}
screen = machine.console.text()
await machine.close()
for turn in range(2):
    again = await Machine.replay(recording.to_bytes(), memory="128M", show=False)
    await again.history.finished(400)
    again.pause()
    await asyncio.sleep(1)
    found["replays"].append([
        again.history.diverged, again.history.recording().digests[: len(recording.digests)] == recording.digests,
        again.console.text() == screen,
    ])
    if turn:
        here = again.history.instret
        again.debugger.watch("jiffies_64")
        stop = await again.history.reverse_continue()
        found["back"] = [stop.reason, stop.access, 0 < here - again.history.instret < 10_000_000]
        found["before"] = int.from_bytes(again.debugger.view.read(stop.address, 8, 0), "little") < stop.value
    await again.close()
print(json.dumps(found))
"""


def test_linux_is_recorded_and_repeated(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = subprocess.run([COMMAND, "script", script], capture_output=True, text=True, timeout=1500)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.strip().splitlines()[-1])
    assert found["digests"] > 10
    assert "".join(found["events"]) == "echo typed; head -c 8 /dev/urandom | od -x; date\n"
    assert found["replays"] == [[None, True, True]] * 2
    assert found["back"] == ["watchpoint", "write", True]
    assert found["before"]

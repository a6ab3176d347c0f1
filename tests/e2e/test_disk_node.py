"""Disks whose changes are kept, in Node: over kill -9, and reset."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from hartwell.setup import node
from tests.e2e.conftest import ROOT
from tests.e2e.test_storage import run_in_node

BOOT = """
import json
from hartwell.disks import Disk
machine = await Machine.boot(
    "shell", show=False, share=None, network=None, disks=[Disk(size="64M", overlay="data", cache="16M")])
await machine.run("modprobe ext4", timeout=400)
"""
# Twice: without a journal Linux writes inodes after a sync's flush; the second one's flush is for them.
WRITE = BOOT + """
done = await machine.run(
    "mke2fs /dev/vda > /dev/null && mount -t ext4 /dev/vda /mnt && cd /mnt && head -c 30000000 /dev/urandom > noise && "
    "md5sum noise > sum && sync && sync && echo synced", timeout=400)
print(done.stdout, flush=True)
await machine.run("while :; do head -c 3000000 /dev/urandom > /mnt/more; done", timeout=600)
"""
READ = BOOT + """
from hartwell import overlays
from hartwell.errors import DiskInUse
told = {"read": (await machine.run("mount -t ext4 /dev/vda /mnt && cd /mnt && md5sum -c sum", timeout=400)).stdout}
try:
    await overlays.reset("data")
except DiskInUse as error:
    told["refused"] = "stop that one first" in str(error)
told["list"] = [[one.name, one.disk >> 20, one.changed >= 30000000] for one in await overlays.overlays()]
await machine.close()
told["reset"] = [await overlays.reset("data"), await overlays.reset("data"), await overlays.overlays()]
""" + BOOT + """
told["empty"] = (await machine.run("head -c 1000000 /dev/vda | tr -d '\\\\000' | wc -c", timeout=400)).stdout
print(json.dumps(told))
"""


def test_a_kill_loses_nothing_that_was_synced_and_reset_loses_all(tmp_path: Path) -> None:
    """The cache has a quarter of the disk's chunks, so that some give way on the way."""
    command = [str(node.find()), str(ROOT / "web/node/host.mjs"), json.dumps({"script": WRITE})]
    environment = {**os.environ, "HARTWELL_DATA": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "synced\n"
        process.send_signal(signal.SIGKILL)
    told = run_in_node(READ, tmp_path)
    assert told["read"] == "noise: OK\n" and told["refused"]
    assert told["list"] == [["data", 64, True]] and told["reset"] == [True, False, []]
    assert told["empty"].strip() == "0"

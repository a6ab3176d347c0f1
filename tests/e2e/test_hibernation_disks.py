"""Machines that sleep with disks whose changes are kept in the store.  In Node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.test_storage import run_in_node

PRELUDE = """
import asyncio, json, os
from hartwell import overlays, platform
from hartwell.disks import Disk
from hartwell.errors import HartwellError
told = dict()

async def boot(overlay="data", source=None, size="64M", **more):
    disk = Disk(source, size=size, overlay=overlay, cache="16M")
    machine = await Machine.boot("shell", show=False, share=None, network=None, disks=[disk], **more)
    await machine.run("modprobe ext4", timeout=400)
    return machine

async def out(machine, command, timeout=300):
    done = await machine.run(command, timeout=timeout)
    return done.stdout + done.stderr

# Reads come from the disk, not from what the guest's kernel remembers.
FORGET = "sync; echo 3 > /proc/sys/vm/drop_caches; "
"""
END = "\nprint(json.dumps(told))"

LIFE = PRELUDE + """
machine = await boot()
await out(machine, "mke2fs /dev/vda > /dev/null 2>&1 && mount -t ext4 /dev/vda /mnt && cd /mnt && "
    "head -c 20000000 /dev/urandom > noise && md5sum noise > sum && sync && sync && echo first > file")
# Somebody writes all the time, more than the cache holds in all.
await out(machine, "(cd /mnt; i=0; while :; do i=$((i+1)); head -c 1500000 /dev/urandom > more.$((i%9));"
    " echo $i > next; mv next count; sleep 0.1; done) > /dev/null 2>&1 & echo $! > /tmp/writer")
await asyncio.sleep(2)
await machine.checkpoint("desk")
await out(machine, "echo later > /mnt/file; rm /mnt/noise; sync; sync")
told["commits after it"] = (await machine.disks.commit())[0] > 0
await machine.close()  # as if it had been killed

for lazy in (True, False):
    machine = await Machine.wake("desk", lazy=lazy, show=False)
    told[f"woken {lazy}"] = await out(machine, FORGET + "cd /mnt && cat file && md5sum -c sum")
    count = int(await out(machine, "cat /mnt/count"))
    told[f"goes on {lazy}"] = await out(machine, f"while [ $(cat /mnt/count) -le {count} ]; do sleep 0.1; done; echo on")
    await out(machine, "echo later > /mnt/file; rm /mnt/noise; sync; sync")
    await machine.close()

machine = await Machine.wake("desk", show=False)
await out(machine, "echo slept > /mnt/file")
await machine.hibernate()
machine = await Machine.wake("desk", show=False)
told["slept"] = await out(machine, FORGET + "cat /mnt/file")
told["mounts again"] = await out(machine, "kill $(cat /tmp/writer); sleep 1; umount /mnt && mount -t ext4 /dev/vda /mnt &&"
    " cd /mnt && md5sum -c sum; dmesg | grep 'EXT4-fs error'")
told["disks"] = [[one.name, one.disk >> 20] for one in await overlays.overlays()]
await machine.shutdown()
while await Machine.snapshots():  # until what follows a power-off is done
    await asyncio.sleep(0.1)
told["shelf"] = len(await Machine.snapshots())
""" + END


def test_a_disk_is_what_it_was_when_its_machine_was_saved(tmp_path: Path) -> None:
    """What was written after a checkpoint is undone with the rest: memory and disk are of one moment."""
    told = run_in_node(LIFE, tmp_path)
    assert told == {
        "commits after it": True, "woken True": "first\nnoise: OK\n", "woken False": "first\nnoise: OK\n",
        "goes on True": "on\n", "goes on False": "on\n", "slept": "slept\n", "mounts again": "noise: OK\n",
        "disks": [["data", 64]], "shelf": 0,
    }


FORKS = PRELUDE + """
machine = await boot()
await out(machine, "mke2fs /dev/vda > /dev/null 2>&1 && mount -t ext4 /dev/vda /mnt && echo both > /mnt/file && sync && sync")
await machine.hibernate("desk")
copies = [await Machine.wake("desk", fork=True, show=False) for _ in range(2)]
for number, copy in enumerate(copies):
    await out(copy, f"echo {number} > /mnt/own; head -c 3000000 /dev/urandom > /mnt/noise; sync")
told["copies"] = [await out(copy, FORGET + "cd /mnt; cat file own") for copy in copies]
for copy in copies:
    await copy._saver.stream  # then their records are there
store = platform.current().store
told["scratch"] = len(await store.records("scratch"))
await copies[0].hibernate("copy")
await copies[1].close()
told["scratch after"] = len(await store.records("scratch"))
told["one"] = [[one.name, one.changed < 4 << 20] for one in await overlays.overlays()]

# Another machine boots from the same overlay, and changes it.
other = await boot()
await out(other, "mount -t ext4 /dev/vda /mnt && echo other > /mnt/file && sync && sync && umount /mnt")
machine = await Machine.wake("desk", show=False)
told["while the other has it"] = [await out(machine, FORGET + "cat /mnt/file"), machine.disks.plans[0].overlay]
await machine.close()
await other.shutdown()
await other.close()
machine = await Machine.wake("desk", show=False)
told["its own"] = await out(machine, FORGET + "cat /mnt/file; echo again > /mnt/file; sync; sync")
told["said"] = b"are kept as 'data 2'" in machine.console.transcript.replay()
await machine.hibernate()
told["overlays"] = [one.name for one in await overlays.overlays()]
other = await boot()
told["other"] = await out(other, "mount -t ext4 /dev/vda /mnt && cat /mnt/file")
await other.close()
for name in ("copy", "desk"):
    machine = await Machine.wake(name, show=False)
    told[name] = await out(machine, FORGET + "cd /mnt; cat file own 2>&1")
    await machine.close()
    await Machine.delete_snapshot(name)
""" + END


def test_forks_and_other_machines_have_disks_of_their_own(tmp_path: Path) -> None:
    told = run_in_node(FORKS, tmp_path)
    missing = told.pop("desk")
    assert missing.startswith("again\n") and "own" in missing
    assert told == {
        "copies": ["both\n0\n", "both\n1\n"], "scratch": 2, "scratch after": 0, "one": [["data", True]],
        "while the other has it": ["both\n", "data 2"], "its own": "both\n", "said": True,
        "overlays": ["data", "data 2"], "other": "other\n", "copy": "both\n0\n",
    }


BASE = PRELUDE + """
machine = await boot(source=BASE_HERE, size=None, overlay=OVERLAY_HERE)
await out(machine, "echo changed | dd of=/dev/vda bs=512 seek=100000 conv=notrunc,fsync 2>/dev/null")
READ = "dd if=/dev/vda bs=64k skip=776 count=8 2>/dev/null | md5sum"
await out(machine, READ + " > /tmp/sum")
await machine.hibernate("desk")
machine = await Machine.wake("desk", show=False)
told["same"] = await out(machine, FORGET + READ + " | cmp - /tmp/sum && echo same")
await machine.hibernate()
try:
    await Machine.export_snapshot("desk", FILE_HERE)
    await Machine.import_snapshot(FILE_HERE, "other")
except HartwellError as error:
    told["import"] = type(error).__name__ + ": " + str(error)
""" + END
ANOTHER = PRELUDE + """
try:
    await Machine.wake("desk", show=False)
except HartwellError as error:
    told["another base"] = type(error).__name__ + ": " + str(error)
told["shelf"] = [one.name for one in await Machine.snapshots()]
""" + END


def filled(code: str, **values: object) -> str:
    for name, value in values.items():
        code = code.replace(f"{name.upper()}_HERE", repr(value))
    return code


@pytest.mark.parametrize("overlay", ["data", None])
def test_a_base_is_not_stored_again(tmp_path: Path, overlay: str | None) -> None:
    base, data = tmp_path / "base.img", tmp_path / "data"
    base.write_bytes(os.urandom(60 << 20))
    told = run_in_node(filled(BASE, base=str(base), file=str(tmp_path / "desk.hartwell"), overlay=overlay), data)
    assert told["same"] == "same\n"
    stored = sum(file.stat().st_size for file in (data / "chunks").glob("*/*"))
    assert stored < 40 << 20, "60 MB of noise are not in it"
    assert told["import"].startswith("BadConfiguration: disk")
    assert "only images travel" in told["import"]
    os.truncate(base, 50 << 20)
    told = run_in_node(ANOTHER, data)
    assert told["another base"].startswith("BadConfiguration: disk")
    assert "is not what the machine slept with" in told["another base"]
    assert told["shelf"] == ["desk"]


TRAVEL = PRELUDE + """
machine = await boot()
await out(machine, "mke2fs /dev/vda > /dev/null 2>&1 && mount -t ext4 /dev/vda /mnt && cd /mnt && "
    "head -c 9000000 /dev/urandom > noise && md5sum noise > sum")
await machine.hibernate("desk")
await Machine.export_snapshot("desk", FILE_HERE)
""" + END
ARRIVE = PRELUDE + """
for number, name in enumerate((FILE_HERE, "desk")):
    machine = await Machine.wake(name, show=False)
    told[number] = await out(machine, FORGET + "cd /mnt; md5sum -c sum; echo more > more; sync")
    await machine.close()
    if not number:
        told["name"] = await Machine.import_snapshot(FILE_HERE)
machine = await Machine.wake(FILE_HERE, show=False)
await machine.hibernate("again")
machine = await Machine.wake("again", lazy=False, show=False)
told["again"] = await out(machine, FORGET + "cd /mnt; md5sum -c sum")
await machine.close()
""" + END


def test_a_disk_travels_with_its_machine(tmp_path: Path) -> None:
    file = str(tmp_path / "desk.hartwell")
    run_in_node(filled(TRAVEL, file=file), tmp_path / "one")
    told = run_in_node(filled(ARRIVE, file=file), tmp_path / "two")
    assert told == {"0": "noise: OK\n", "name": "desk", "1": "noise: OK\n", "again": "noise: OK\n"}

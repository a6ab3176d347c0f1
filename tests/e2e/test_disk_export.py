"""A kept disk as one file that other programs read, compacted and grown; in Node, and as a Blob in the page."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from pathlib import Path

from tests.e2e.tab import Tab
from tests.e2e.test_storage import run_in_node

BOOT = """
import json
from hartwell import overlays
from hartwell.disks import Disk
from hartwell.errors import BadConfiguration, DiskInUse, DiskNotFound
machine = await Machine.boot(
    "shell", show=False, share=None, network=None, disks=[Disk(SOURCE, size=SIZE, overlay="data", cache="16M")])
await machine.console.expect("[#$] $", timeout=400)
await machine.run("modprobe ext4", timeout=400)
"""
WRITE = BOOT + """
done = await machine.run(
    "mke2fs /dev/vda >/dev/null && mount -t ext4 /dev/vda /mnt && head -c 9000000 /dev/urandom >/mnt/noise && "
    "md5sum /mnt/noise | cut -c1-32 >/mnt/sum && head -c 5000000 /dev/urandom >/mnt/gone && sync && rm /mnt/gone && "
    "fstrim /mnt && cat /mnt/sum && umount /mnt && md5sum </dev/vda",
    timeout=300)
told = {"sums": done.stdout.split(), "refused": []}
try:
    await overlays.export("data", FOLDER + "/never")
except DiskInUse as error:
    told["refused"].append(str(error))
# Of a machine that runs, and changes the disk after.
await machine.disks.export(0, FOLDER + "/running.raw")
told["later"] = (await machine.run(
    "mount -t ext4 /dev/vda /mnt && echo later >/mnt/later && umount /mnt && md5sum </dev/vda", timeout=300)).stdout.split()[0]
await machine.close()
for format in ("raw", "qcow2"):
    await overlays.export("data", f"{FOLDER}/disk.{format}", format=format)
told["compacted"] = await overlays.compact("data")
await overlays.export("data", FOLDER + "/compacted.raw")
told["grown"] = await overlays.grow("data", "128M")
for error, work in (
    (BadConfiguration, overlays.grow("data", "64M")), (BadConfiguration, overlays.export("data", "x", format="vdi")),
    (DiskNotFound, overlays.export("nothing", "x")), (DiskNotFound, overlays.grow("nothing", "1G")),
):
    try:
        await work
    except error as refused:
        told["refused"].append(str(refused))
""" + BOOT.replace("SIZE", "None").replace("SOURCE", "FOLDER + '/base'") + """
done = await machine.run(
    "cat /sys/block/vda/size; mount -t ext4 /dev/vda /mnt && md5sum /mnt/noise | cut -c1-32; cat /mnt/sum", timeout=400)
told["after"] = done.stdout.split()
await machine.close()
print(json.dumps(told))
"""


def read_qcow2(file: Path) -> bytes:
    """The disk in a file of that format, as far as we write it (QEMU's docs/interop/qcow2.rst)."""
    data = file.read_bytes()
    magic, version = struct.unpack_from(">II", data)
    bits, size, crypt, entries, l1 = struct.unpack_from(">IQIIQ", data, 20)
    assert (magic, version, bits, crypt) == (0x514649FB, 2, 16, 0)
    cluster, disk = 1 << bits, bytearray(size)
    for i in range(entries):
        l2 = struct.unpack_from(">Q", data, l1 + 8 * i)[0] & ((1 << 56) - 512)
        for j in range(cluster // 8 if l2 else 0):
            at = struct.unpack_from(">Q", data, l2 + 8 * j)[0] & ((1 << 56) - 512)
            if at:
                place = (i * cluster // 8 + j) * cluster
                disk[place : place + cluster] = data[at : at + cluster]
    return bytes(disk)


def test_a_disk_is_exported_compacted_and_grown(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(bytes(1 << 20) + b"here" * 100_000 + bytes((100 << 20) - (1 << 20) - 400_000))
    script = f"FOLDER = {str(tmp_path)!r}\n" + WRITE.replace("SIZE", "None").replace("SOURCE", "FOLDER + '/base'")
    told = run_in_node(script, tmp_path / "store")
    noise, whole = told["sums"][:2]
    raw = (tmp_path / "disk.raw").read_bytes()
    assert hashlib.md5((tmp_path / "running.raw").read_bytes()).hexdigest() == whole
    assert hashlib.md5(raw).hexdigest() == told["later"] != whole
    assert read_qcow2(tmp_path / "disk.qcow2") == raw == (tmp_path / "compacted.raw").read_bytes()
    assert not (tmp_path / "never").exists()
    # What was discarded lies where the base has zeros.
    assert told["compacted"] >= 4 << 20
    assert told["grown"] == 128 << 20
    assert told["after"] == [str((128 << 20) // 512), noise, noise]
    assert len(told["refused"]) == 5
    if program := shutil.which("qemu-img"):
        checked = subprocess.run([program, "check", tmp_path / "disk.qcow2"], check=False, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout
    if program := shutil.which("e2fsck", path="/usr/sbin:/sbin:/usr/bin"):
        checked = subprocess.run([program, "-fn", tmp_path / "disk.raw"], check=False, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


def test_the_page_gets_a_blob(tab: Tab) -> None:
    tab.open("?boot=no")
    tab.python("from hartwell import overlays; from hartwell.disks import Disk")
    tab.python("machine = await Machine.boot('shell', share=None, network=None, disks=[Disk(size='8M', overlay='blob')])")
    tab.run("printf hello | dd of=/dev/vda bs=1M seek=3 2>/dev/null; sync")
    tab.python("await machine.close()")
    for format in ("raw", "qcow2"):
        tab.python(f"blob = await overlays.export('blob', format='{format}')")
        found = tab.python("(await blob.arrayBuffer()).to_bytes().hex()")
        data = bytes.fromhex(found)
        assert len(data) == (8 << 20 if format == "raw" else 6 << 16)
        assert data.index(b"hello") == (3 << 20 if format == "raw" else 5 << 16)
    tab.python("await overlays.reset('blob')")

"""Runs the machine that builds a disk image: Debian's kernel, an initramfs with guest/build/init, two disks.

The machine is our own, headless in Node; nothing of the guest runs on this
computer in any other way, so no root, no emulator and no container is needed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hartwell.setup import image, node, paths
from hartwell.setup.cpio import Tree
from hartwell.setup.steps import SetupError

HOST = paths.ROOT / "web" / "node" / "host.mjs"
BUILD_MODULES = {"virtio_mmio": True, "virtio_blk": True, "crc32c_generic": True, "ext4": True}
_LIBRARIES = "usr/lib/riscv64-linux-gnu/"
TOOLS: dict[str, tuple[str, ...]] = {
    "e2fsprogs": ("usr/sbin/mke2fs", "usr/sbin/mkfs.ext4", "usr/sbin/e2fsck", "etc/mke2fs.conf"),
    "libext2fs2t64": (f"{_LIBRARIES}libext2fs.so", f"{_LIBRARIES}libe2p.so"),
    "libcom-err2": (f"{_LIBRARIES}libcom_err.so",),
    "libblkid1": (f"{_LIBRARIES}libblkid.so",),
    "libuuid1": (f"{_LIBRARIES}libuuid.so",),
}
HOUR = 3600


def build_initrd(files: dict[str, Path], modules: dict[str, Any]) -> bytes:
    """The initramfs of the building machine; `files` are packages by name."""
    tree = image.base_tree(files)
    for package, parts in TOOLS.items():
        image.add_parts(tree, files[package], parts)
    tree.link("usr/sbin/modprobe", "../bin/busybox")
    tree.file("init", (image.GUEST / "build" / "init").read_bytes(), 0o755)
    image.add_modules(tree, modules, BUILD_MODULES)
    return tree.archive()


def disk_initrd(files: dict[str, Path], modules: dict[str, Any], wanted: dict[str, bool]) -> bytes:
    """The initramfs that an image on a disk boots with."""
    tree = Tree()
    for folder in ("dev", "proc", "sys", "run", "root", "tmp"):
        tree.folder(folder)
    image.add_parts(tree, files["busybox-static"], image.PARTS["busybox-static"])
    for path, target in (("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("usr/bin/sh", "busybox"),
                         ("usr/sbin/modprobe", "../bin/busybox")):
        tree.link(path, target)
    tree.folder("usr/sbin")
    tree.file("init", (image.GUEST / "disk" / "init").read_bytes(), 0o755)
    tree.device("dev/console", 5, 1)
    image.add_modules(tree, modules, wanted)
    return tree.archive()


def run(options: dict[str, Any], heard: Callable[[str], None], seconds: int = 4 * HOUR) -> None:
    """Boots a machine in Node and gives each line of its console to `heard`; until it stops.

    Raises SetupError when it did not come to `build-done`.
    """
    command = [str(node.find()), str(HOST), json.dumps(options)]
    last: list[str] = []
    done = False
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                line = raw.decode(errors="replace").rstrip("\r\n")
                done |= line.startswith("build-done")
                last = [*last[-40:], line]
                heard(line)
        except BaseException:
            process.kill()
            raise
    if not done or process.returncode:
        raise SetupError("the machine that builds the image stopped early; its last words:\n" + "\n".join(last[-25:]))

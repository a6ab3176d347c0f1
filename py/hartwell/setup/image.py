"""Makes the "shell" image: Debian's kernel, and an initramfs of Debian's packages with a shell.

Nothing of the packages is changed; what is added stands in guest/root.  Kernel
and archive are stored uncompressed: a browser undoes a transfer's compression
faster than the guest would, and a gzip archive costs it 33 million
instructions more.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hartwell.setup import build, deb, kmod, kmod_slim, packages, paths
from hartwell.setup.cpio import Tree
from hartwell.setup.steps import (
    Progress,
    SetupError,
    Step,
    digest,
    digest_files,
    locked,
    replace_folder,
    scratch_folder,
    write_file,
)

GUEST = paths.ROOT / "guest"
IMAGES = paths.STATIC / "images"
FIRMWARE = paths.STATIC / "firmware"
NAME = "shell"
VARIABLE = "HARTWELL_IMAGE"  # names the image that is booted where none is named, for one process and its children

# The kernel's self-tests of ciphers, its jitter source and the fixing-up of
# trace events are 80 % of the instructions of a boot, and no one misses them here.
APPEND = "console=ttyS0 cryptomgr.notests initcall_blacklist=jent_mod_init,trace_eval_init"
# Nor these, where there is a shell and busybox only: keys for the signatures of
# modules, which have none (5 % of what was left), functions for BPF programs that
# are a TCP congestion control (5 %), a self-test and the slab allocator's files in
# sysfs (2 % each).
_SHELL_SKIPS = ("load_system_certificate_list", "bpf_tcp_ca_kfunc_init", "bpf_dummy_struct_ops_init",
                "blake2s_mod_init", "slab_sysfs_init")
SHELL_APPEND = ",".join((APPEND, *_SHELL_SKIPS))
HELPER_FLAGS = [
    "-target", "riscv64-freestanding-none", "-mcpu=baseline_rv64", "-O2", "-std=gnu11", "-ffreestanding", "-nostdlib",
    "-static", "-fno-sanitize=all", "-fno-stack-protector", "-Wall", "-Wextra", "-Werror", "-Wl,-s",
]
DESCRIPTION = "Debian's kernel with bash and busybox in memory"

_LIBRARIES = "usr/lib/riscv64-linux-gnu/"
# What of each package goes into the initramfs: beginnings of paths.
PARTS: dict[str, tuple[str, ...]] = {
    "busybox-static": ("usr/bin/busybox",),
    "bash": ("usr/bin/bash",),
    "libc6": (
        "usr/lib/ld-linux-riscv64-lp64d.so.1",
        f"{_LIBRARIES}ld-linux-riscv64-lp64d.so.1",
        *(f"{_LIBRARIES}lib{name}.so" for name in ("c", "m", "dl", "pthread", "rt", "util", "resolv")),
    ),
    "libtinfo6": (f"{_LIBRARIES}libtinfo.so",),
    "libc-bin": ("usr/lib/locale/C.utf8/LC_CTYPE",),
    "ncurses-base": tuple(
        f"usr/share/terminfo/{name[0]}/{name}" for name in ("dumb", "linux", "screen", "vt100", "xterm", "xterm-256color")
    ),
}
_NOT = ("usr/bin/bashbug",)
# Debian's layout: one /usr, whose sbin is apart; busybox's applets all go to bin.
_LINKS = {
    "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib",
    "usr/bin/sh": "busybox",
    "usr/sbin/reboot": "poweroff", "usr/sbin/halt": "poweroff", "etc/mtab": "../proc/self/mounts",
    # /usr/share/dev: what /dev has beside devices
    **{f"usr/share/dev/{name}": target for name, target in (
        ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"))},
}
_FOLDERS = ("dev", "proc", "sys", "run", "mnt", "var/log", "usr/local/bin", "home",
            "usr/share/dev/pts", "usr/share/dev/shm")


def wanted_modules(text: str) -> dict[str, bool]:
    """Names in guest/modules; True for those that every boot needs."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return {line.lstrip("+"): line.startswith("+") for line in lines if line}


def key() -> str:
    files = [path for path in (GUEST / "root").rglob("*") if path.is_file()]
    files += [*(GUEST / "helpers").glob("*.c"), GUEST / "modules", packages.LOCK]
    return digest("shell image 3", SHELL_APPEND, repr(PARTS), repr(_LINKS), repr(_FOLDERS), *HELPER_FLAGS,
                  digest_files(files, GUEST))


def step(mirror: str | None) -> Step:
    folder = IMAGES / NAME
    outputs = (folder / "Image", folder / "initrd", folder / "image.json",
               FIRMWARE / "fw_jump.bin", FIRMWARE / "fw_dynamic.bin")
    return Step("image", "fetching Debian's kernel and making the shell image (120 MB)", key(), outputs,
                lambda progress: make(mirror, progress))


def make(mirror: str | None, progress: Progress) -> None:
    """Fetches the packages and leaves static/images/shell and static/firmware."""
    files = packages.fetch(packages.read_lock(), mirror, progress)
    progress.note("  unpacking the kernel")
    kernel, modules = read_kernel(files["linux-image"])
    tree = base_tree(files)
    release = add_modules(tree, modules, wanted_modules((GUEST / "modules").read_text()))
    with scratch_folder(IMAGES / NAME) as folder:
        (folder / "Image").write_bytes(kernel)
        (folder / "initrd").write_bytes(tree.archive())
        describe(folder, NAME, f"{DESCRIPTION} ({release})")
        replace_folder(folder, IMAGES / NAME)
    add_to_index(NAME)
    make_firmware(files["opensbi"])


def describe(folder: Path, name: str, description: str) -> None:
    """Writes image.json (docs/contracts.md) for an image that boots to the same shell."""
    facts = {
        "name": name, "kernel": "Image", "initrd": "initrd", "append": SHELL_APPEND,
        "harts": 1, "memory": "512M", "description": description,
    }
    (folder / "image.json").write_text(json.dumps(facts, indent=2) + "\n")


def read_index() -> dict[str, Any]:
    """images/index.json; empty while there is none."""
    try:
        index = json.loads((IMAGES / "index.json").read_text())
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def add_to_index(name: str, default: bool = False, unless_chosen: bool = False) -> bool:
    """Names an image in index.json; the first one, or one that asks for it, is the default.

    A default that was asked for is one that a person chose, and stays until they choose another;
    with `unless_chosen` the image asks for itself and gives way to that.  Is it the default now?
    """
    with locked(IMAGES / ".lock"):
        index = read_index()
        names = [other for other in index.get("images", []) if other != name and (IMAGES / other / "image.json").exists()]
        images = sorted([*names, name])
        before = index.get("default") if index.get("default") in images else None
        chosen = before is not None and index.get("chosen") is True
        if default or before is None or (unless_chosen and not chosen):
            before = name
        facts = {"default": before, "images": images, "chosen": chosen or default}
        write_file(IMAGES / "index.json", (json.dumps(facts, indent=2) + "\n").encode())
    return before == name


def read_kernel(package: Path) -> tuple[bytes, dict[str, kmod.ModuleFile]]:
    """The kernel's Image, and its modules by name."""
    kernel = b""
    modules = {}
    for entry in deb.entries(package, ("boot/vmlinu", "usr/lib/modules/", "lib/modules/")):
        if entry.path.startswith("boot/"):
            kernel = entry.data
        elif entry.kind == "file" and ".ko" in entry.path:
            modules[kmod.module_name(entry.path)] = kmod.ModuleFile(entry.path, entry.data)
    if kernel[0x38:0x3C] != b"RSC\x05":
        raise SetupError(
            f"{package.name}: boot/vmlinux is no RISC-V Image (its magic at 0x38 is {kernel[0x38:0x3C]!r}, not b'RSC\\x05')"
        )
    return kernel, modules


def base_tree(files: dict[str, Path]) -> Tree:
    """The initramfs without modules."""
    tree = Tree()
    for folder in _FOLDERS:
        tree.folder(folder)
    tree.folder("root", 0o700)
    tree.folder("tmp", 0o1777)
    for package, parts in PARTS.items():
        add_parts(tree, files[package], parts)
    for path, target in _LINKS.items():
        tree.link(path, target)
    for source in sorted((GUEST / "root").rglob("*")):
        name = source.relative_to(GUEST / "root").as_posix()
        if source.is_file():
            # Scripts are told by their first line: a checkout may have lost the bit.
            data = source.read_bytes()
            tree.file(name, data, 0o755 if data.startswith(b"#!") else 0o644)
    tree.file("usr/sbin/vsock-forward", build_helper(), 0o755)
    # The kernel opens it for the first process, before anything is mounted.
    tree.device("dev/console", 5, 1)
    return tree


def build_helper(name: str = "vsock-forward") -> bytes:
    """A program of guest/helpers, for the guest: static, and without a C library."""
    with scratch_folder(IMAGES / name) as folder:
        made = folder / name
        command = [*build.compiler(), *HELPER_FLAGS, str(GUEST / "helpers" / f"{name}.c"), "-o", str(made)]
        cache = str(build.CPU / "build" / "zig")
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if result.returncode:
            raise SetupError(f"guest/helpers/{name}.c: the compiler stopped:\n{result.stderr.strip()}")
        return made.read_bytes()


def add_parts(tree: Tree, package: Path, parts: tuple[str, ...]) -> None:
    found = False
    # Not yet everything in Debian has moved to /usr, and the links would hide /bin.
    want = (*parts, *(part.removeprefix("usr/") for part in parts))
    for entry in deb.entries(package, want):
        path = entry.path if entry.path.startswith("usr/") else f"usr/{entry.path}"
        if path in _NOT or entry.kind == "folder":
            continue
        found = True
        if entry.kind == "link":
            tree.link(path, entry.target)
        else:
            tree.file(path, entry.data, entry.mode)
    if not found:
        raise SetupError(f"{package.name}: has none of {', '.join(parts)}")


def add_modules(tree: Tree, modules: dict[str, kmod.ModuleFile], wanted: dict[str, bool]) -> str:
    """Puts the wanted modules and what they need into the tree; the kernel's release."""
    chosen = kmod.closure(wanted, modules)
    plain = set(kmod.closure((name for name, early in wanted.items() if early), modules))
    folder = _module_folder(module.path for module in modules.values())
    places = {}
    for name, (module, _) in chosen.items():
        place = module.path[len(folder) + 1 :]
        data = module.packed
        if name in plain:
            # To check a signature costs 40 million instructions and more; the
            # modules come from the same archive as the kernel that would check.
            # Of the bytes, three in four are labels that no one asks for.
            place, data = place.removesuffix(".xz"), kmod_slim.slim(kmod.unsigned(module.unpacked()))
        places[name] = place
        tree.file(f"usr/lib/modules/{folder.rsplit('/', 1)[-1]}/{place}", data)
    for name, text in kmod.index_files(chosen, places).items():
        tree.file(f"usr/lib/modules/{folder.rsplit('/', 1)[-1]}/{name}", text.encode())
    return folder.rsplit("/", 1)[-1]


def _module_folder(module_paths: Iterable[str]) -> str:
    """usr/lib/modules/RELEASE"""
    first = next(iter(module_paths))
    head, _, tail = first.partition("modules/")
    return f"{head}modules/{tail.split('/')[0]}"


def make_firmware(package: Path) -> None:
    """OpenSBI's images for the generic platform."""
    for entry in deb.entries(package, ("usr/lib/riscv64-linux-gnu/opensbi/generic/fw_",)):
        name = entry.path.rsplit("/", 1)[-1]
        if name in ("fw_jump.bin", "fw_dynamic.bin"):
            write_file(FIRMWARE / name, entry.data)

"""`hartwell image kernel`: an own, smaller kernel from Debian's source package.

An option, never on the default path: the machine boots Debian's kernel as it
is.  What `guest/kernel.fragment` asks for is built in and nothing else is, so
it boots in a fifth of the instructions.  The sources are not patched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from hartwell.setup import deb, image, packages, paths
from hartwell.setup.steps import Progress, SetupError, digest, replace_folder, scratch_folder

SOURCE = "linux-source-6.12"
LOCK = paths.ROOT / "guest" / "kernel.lock"
FRAGMENT = paths.ROOT / "guest" / "kernel.fragment"
CROSS = "riscv64-linux-gnu-"
NAME = "small"
FOLDER = paths.STATE / "kernel"

# DWARF for gdb and hartwell.symbols; nothing of it is in the Image.
DEBUG_INFO = "CONFIG_DEBUG_INFO_NONE=n\nCONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y\n"

# Commands that the kernel's build runs, and the Debian packages they come from.
NEEDED = {
    f"{CROSS}gcc": "gcc-riscv64-linux-gnu", "make": "make", "gcc": "gcc", "flex": "flex", "bison": "bison", "bc": "bc",
    "perl": "perl", "xz": "xz-utils",
}


def build(mirror: str | None, jobs: int, progress: Progress | None = None, *, debug_info: bool = False) -> int:
    """Fetches the source, configures, compiles and leaves static/images/small; 0.

    debug_info: vmlinux has types and lines, for debuggers.  The Image is the same.

    Takes some 10 minutes of two cores and 2 GB of disk the first time; what
    was compiled is kept, so that a changed fragment costs little.  Raises
    SetupError: a missing tool, no source, a failing compiler.
    """
    progress = progress or Progress()
    if not 1 <= jobs <= 1024:
        raise SetupError(f"--jobs {jobs}: expected 1 to 1024 compilers side by side")
    check_tools()
    tree = source(mirror, progress)
    out = FOLDER / "build"
    configure(tree, out, debug_info)
    progress.begin(f"compiling the kernel ({jobs} at a time; minutes)")
    make(tree, out, f"-j{jobs}", "Image", log=FOLDER / "build.log")
    progress.end()
    install(out / "arch" / "riscv" / "boot" / "Image", mirror, progress)
    progress.note(f"static/images/{NAME} is made; `hartwell run --image {NAME}` boots it, and so does ?image={NAME}")
    if debug_info:
        progress.note(f"its symbols and lines: {out / 'vmlinux'}, and the sources below {tree}")
    return 0


def check_tools() -> None:
    """SetupError names all that is missing at once."""
    missing = [package for tool, package in NEEDED.items() if not shutil.which(tool)]
    if missing:
        raise SetupError(
            f"the kernel's build needs tools that are not on this machine; on Debian: apt-get install {' '.join(missing)}"
        )


def source(mirror: str | None, progress: Progress) -> Path:
    """The unpacked source tree."""
    tree = FOLDER / SOURCE
    done = FOLDER / "unpacked"
    FOLDER.mkdir(parents=True, exist_ok=True)
    if done.exists() and tree.exists():
        return tree
    progress.begin("fetching the kernel's source (150 MB)")
    package = packages.fetch(packages.read_lock(LOCK.read_text()), mirror, progress)[SOURCE]
    progress.end()
    progress.begin("unpacking it")
    try:
        archive = FOLDER / f"{SOURCE}.tar.xz"
        for entry in deb.entries(package, (f"usr/src/{SOURCE}.tar",)):
            if entry.kind == "file":
                archive.write_bytes(entry.data)
        if not archive.exists():
            raise SetupError(f"{package.name}: has no usr/src/{SOURCE}.tar.xz")
        shutil.rmtree(tree, ignore_errors=True)
        with tarfile.open(archive) as contents:
            contents.extractall(FOLDER, filter="tar")
        archive.unlink()
    except (OSError, tarfile.TarError) as error:
        raise SetupError(f"{package.name}: could not be unpacked: {error}") from error
    package.unlink()
    done.touch()
    progress.end()
    return tree


def configure(tree: Path, out: Path, debug_info: bool = False) -> None:
    """tinyconfig, the fragment over it, and what follows from both; nothing when neither changed."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = FRAGMENT.read_text() + (DEBUG_INFO if debug_info else "")
    key, stamp = digest(wanted.encode()), out / "fragment.sha256"
    if (out / ".config").exists() and stamp.exists() and stamp.read_text() == key:
        return
    make(tree, out, "tinyconfig")
    merge, fragment = tree / "scripts" / "kconfig" / "merge_config.sh", out / "fragment"
    fragment.write_text(wanted)
    _run([str(merge), "-m", "-O", str(out), str(out / ".config"), str(fragment)], cwd=tree)
    make(tree, out, "olddefconfig")
    stamp.write_text(key)


def make(tree: Path, out: Path, *words: str, log: Path | None = None) -> None:
    _run(["make", "-C", str(tree), f"O={out}", "ARCH=riscv", f"CROSS_COMPILE={CROSS}", *words], log=log)


def _run(command: list[str], cwd: Path | None = None, log: Path | None = None) -> None:
    log = log or FOLDER / "configure.log"
    # A fixed user, host and time: the same source and fragment give the same Image.
    fixed = {"KBUILD_BUILD_USER": "hartwell", "KBUILD_BUILD_HOST": "hartwell", "KBUILD_BUILD_TIMESTAMP": "1970-01-01"}
    with log.open("w") as file:
        result = subprocess.run(command, cwd=cwd, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **fixed})
    if result.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SetupError(f"{' '.join(command[:1] + command[-2:])} failed; its last words (all of them: {log}):\n{last}")


def install(kernel: Path, mirror: str | None, progress: Progress) -> None:
    """Makes the image: this kernel, and the shell image's files without modules."""
    files = packages.fetch(packages.read_lock(), mirror, progress)
    with scratch_folder(image.IMAGES / NAME) as folder:
        shutil.copyfile(kernel, folder / "Image")
        (folder / "initrd").write_bytes(image.base_tree(files).archive())
        image.describe(folder, NAME, "an own small kernel with bash and busybox in memory")
        replace_folder(folder, image.IMAGES / NAME)
    image.add_to_index(NAME)

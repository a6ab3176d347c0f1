"""Makes static/bench: the programs for each machine, and what QEMU and v86 start from.

Nothing of it belongs to Hartwell's own set-up or tests.  What a machine lacks
for a peer is said in one line, and that peer is left out.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from pathlib import Path

from hartwell.setup import cpio, deb, mirror, paths
from hartwell.setup.packages import Apt
from hartwell.setup.steps import SetupError, scratch_folder

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
FOLDER = paths.STATIC / "bench"
IMAGE = paths.STATIC / "images" / "shell"

# The same compiler for all three where Debian's are installed, else the one
# that builds cpu.wasm (whose first build for a target takes a minute).
FLAGS = ["-std=gnu11", "-O2", "-s", "-static", "-ffp-contract=off", "-fno-math-errno"]
COMPILERS: dict[str, tuple[list[str], list[str]]] = {
    "native": (["gcc"], []),
    "riscv64": (["riscv64-linux-gnu-gcc"], ["-target", "riscv64-linux-musl"]),
    "i386": (["i686-linux-gnu-gcc", "-march=pentium4", "-mfpmath=sse"], ["-target", "x86-linux-musl", "-mcpu=pentium4"]),
}
TEXT_BYTES = 4 << 20


class Missing(Exception):
    """A peer cannot take part; the message says what to install."""


def prepare(say: Callable[[str], None]) -> dict[str, str]:
    """Builds and fetches what is absent.  Peers that are left out, each with its reason."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (IMAGE / "image.json").exists():
        raise SetupError("static/images/shell is not there; `python3 -m tests --collect-only` sets up")
    for machine in COMPILERS:
        compile_kernels(machine, FOLDER / f"kernels-{machine}", say)
    text = _text()
    missing = {}
    _append("initrd", (IMAGE / "initrd").read_bytes(), "riscv64", text)
    if not shutil.which("qemu-system-riscv64"):
        missing["qemu"] = "qemu-system-riscv64 is not installed (Debian: qemu-system-misc)"
    for peer, fetch in (("native-busybox", _native_busybox), ("v86", _v86)):
        try:
            fetch(text, say)
        except (Missing, SetupError, OSError, subprocess.SubprocessError) as error:
            missing[peer] = str(error)
    return missing


def compile_kernels(machine: str, output: Path, say: Callable[[str], None]) -> Path:
    """The kernels as a static program for "native" (x86-64), "riscv64" or "i386"."""
    sources = sorted(PROGRAMS.glob("*.c"))
    newest = max(path.stat().st_mtime for path in PROGRAMS.iterdir())
    if output.exists() and output.stat().st_mtime > newest:
        return output
    cross, target = COMPILERS[machine]
    command = cross if shutil.which(cross[0]) else [sys.executable, "-m", "ziglang", "cc", *target, "-fno-sanitize=all"]
    say(f"compiling the kernels for {machine} with {command[0] if command is cross else 'ziglang'}")
    words = [*command, *FLAGS, *map(str, sources), "-lm", "-o", str(output)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise SetupError(f"compiling the kernels for {machine} failed:\n{' '.join(words)}\n{done.stderr}")
    return output


def guest_program(source: Path) -> Path:
    """One source of bench/ as a static program for the guest."""
    program = FOLDER / f"{source.stem}-riscv64"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        cross, target = COMPILERS["riscv64"]
        compiler = cross if shutil.which(cross[0]) else [sys.executable, "-m", "ziglang", "cc", *target]
        words = [*compiler, "-std=gnu11", "-O2", "-s", "-static", str(source), "-o", str(program)]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=900)
        if done.returncode:
            raise SetupError(f"compiling {source.name} failed:\n{done.stderr}")
    return program


def guest_initrd(name: str, files: dict[str, Path]) -> Path:
    """The shell's initramfs with these files in it, executable; static/bench/NAME."""
    tree = cpio.Tree()
    for path, source in files.items():
        tree.file(path, source.read_bytes(), 0o755)
    initrd = FOLDER / name
    initrd.write_bytes((IMAGE / "initrd").read_bytes() + tree.archive())
    return initrd


def _text() -> bytes:
    """Some megabytes that people wrote: Python's standard library, on this machine."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    parts, size = [], 0
    for path in sorted(folder.glob("*.py")) + sorted(folder.glob("*/*.py")):
        parts.append(path.read_bytes())
        size += len(parts[-1])
        if size >= TEXT_BYTES:
            break
    data = b"".join(parts)[:TEXT_BYTES]
    (FOLDER / "text").write_bytes(data)
    return data


def _append(name: str, initrd: bytes, machine: str, text: bytes) -> None:
    """An initramfs and, after it, one more archive with what is measured."""
    tree = cpio.Tree()
    tree.file("bench/kernels", (FOLDER / f"kernels-{machine}").read_bytes(), 0o755)
    tree.file("bench/text", text)
    aside = FOLDER / f".{name}"
    aside.parent.mkdir(exist_ok=True)
    aside.write_bytes(initrd + tree.archive())
    aside.replace(FOLDER / name)


def _debian(architecture: str, suite: str, names: list[str], folder: Path) -> list[Path]:
    if not shutil.which("apt-get"):
        raise Missing("it is made of Debian's packages, and this machine has no apt-get")
    with scratch_folder(FOLDER / ".apt") as fresh:
        apt = Apt(fresh, mirror.find_mirrors(None)[0], architecture, suite)
        apt.update()
        return [apt.download(apt.kernel(name) if name.startswith("linux-image") else name, folder) for name in names]


def _file(package: Path, path: str) -> bytes:
    for entry in deb.entries(package, (path,)):
        if entry.kind == "file":
            return entry.data
    raise Missing(f"{package.name} has no {path}")


def _native_busybox(_: bytes, say: Callable[[str], None]) -> None:
    """The busybox of the guest's version for this machine."""
    target = FOLDER / "busybox-native"
    if target.exists():
        return
    say("fetching busybox for this machine")
    [package] = _debian("amd64", "trixie", ["busybox-static"], FOLDER / "packages")
    target.write_bytes(_file(package, "usr/bin/busybox"))
    target.chmod(0o755)


_INIT = b"""#!/bin/sh
busybox mount -t proc proc /proc
busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
exec setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'
"""

_PAGE = """<!doctype html><title>v86</title><script src="libv86.js"></script><script>
const guest = new V86({
  wasm_path: "v86.wasm", memory_size: 512 << 20, vga_memory_size: 2 << 20, autostart: true,
  bios: { url: "bios.bin" }, vga_bios: { url: "vgabios.bin" }, bzimage: { url: "bzimage" }, initrd: { url: "initrd" },
  cmdline: "console=ttyS0 quiet pnpbios=off cryptomgr.notests tsc=reliable mitigations=off",
  disable_keyboard: true, disable_mouse: true, disable_speaker: true,
});
window.output = "";
guest.add_listener("serial0-output-byte", (byte) => (window.output += String.fromCharCode(byte)));
window.send = (text) => guest.serial0_send(text);
</script>"""


def _v86(text: bytes, say: Callable[[str], None]) -> None:
    """v86's own files by npm; a kernel, busybox and SeaBIOS by Debian's packages."""
    folder = FOLDER / "v86"
    folder.mkdir(exist_ok=True)
    if not (folder / "v86.wasm").exists():
        if not shutil.which("npm"):
            raise Missing("npm is not installed")
        say("fetching v86")
        with scratch_folder(FOLDER / ".npm") as fresh:
            command = ["npm", "pack", "--ignore-scripts", "v86"]
            done = subprocess.run(command, check=False, cwd=fresh, capture_output=True, text=True, timeout=300)
            if done.returncode:
                raise Missing(f"npm pack v86: {done.stderr.strip()[-200:]}")
            with tarfile.open(next(fresh.glob("*.tgz"))) as archive:
                for name in ("package.json", "build/libv86.js", "build/v86.wasm"):
                    file = archive.extractfile(f"package/{name}")
                    assert file is not None
                    (folder / name.rsplit("/", 1)[-1]).write_bytes(file.read())
    if not (folder / "bzimage").exists():
        say("fetching a kernel, busybox and SeaBIOS for v86")
        # bookworm: the last Debian with a kernel for i386.
        wanted = ["linux-image-686", "seabios", "busybox-static"]
        kernel, bios, busybox = _debian("i386", "bookworm", wanted, FOLDER / "packages")
        (folder / "bios.bin").write_bytes(_file(bios, "usr/share/seabios/bios.bin"))
        (folder / "vgabios.bin").write_bytes(_file(bios, "usr/share/seabios/vgabios-stdvga.bin"))
        (folder / "busybox").write_bytes(_file(busybox, "bin/busybox"))
        (folder / "bzimage").write_bytes(_file(kernel, "boot/vmlinuz-"))
    tree = cpio.Tree()
    tree.file("init", _INIT, 0o755)
    tree.file("bin/busybox", (folder / "busybox").read_bytes(), 0o755)
    tree.link("bin/sh", "busybox")
    tree.device("dev/console", 5, 1)
    for name in ("proc", "tmp"):
        tree.folder(name)
    _append("v86/initrd", tree.archive(), "i386", text)
    (folder / "index.html").write_text(_PAGE)


def unpacked_kernel(folder: Path = IMAGE) -> Path:
    """An image's kernel as a plain Image."""
    source = folder / "Image"
    if source.read_bytes()[:2] != b"\x1f\x8b":
        return source
    target = FOLDER / f"Image-{folder.name}"
    target.write_bytes(gzip.decompress(source.read_bytes()))
    return target

"""Makes a root file system's tar archive out of Debian packages, as `dpkg --unpack` would leave it.

No program of the packages runs here: the files are laid out, and dpkg's
database (/var/lib/dpkg; dpkg(1), deb-triggers(5)) says of each package that it
is unpacked and waits to be configured, which the guest itself does then.
Owners, modes and times are the packages' own, so the same packages give the
same bytes.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from hartwell.setup import deb, kmod
from hartwell.setup.recipe import File
from hartwell.setup.steps import Progress, SetupError

ALIASES = ("bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32")  # links into /usr (base-files)
DPKG = "var/lib/dpkg"
ORDER = f"{DPKG}/hartwell-order"  # the packages in their order, for the guest's preinst scripts


class RootTar:
    """A tar archive of a root file system that grows; a path comes once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 - closed by close()
        self._kinds: dict[str, bytes] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._kinds

    def member(self, item: tarfile.TarInfo, content: IO[bytes] | None = None) -> None:
        """One file as `item` has it, whose name is relative and clean.  A folder may come again."""
        if item.name in self._kinds:
            if item.isdir():
                return
            raise SetupError(f"{item.name}: two packages or files of the recipe have this path")
        parent = item.name.rpartition("/")[0]
        if parent and parent not in self._kinds:
            self.folder(parent)
        self._kinds[item.name] = item.type
        item.uname = item.gname = ""
        self._tar.addfile(item, content)

    def folder(self, path: str, mode: int = 0o755) -> None:
        item = tarfile.TarInfo(path)
        item.type, item.mode = tarfile.DIRTYPE, mode
        self.member(item)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        item = tarfile.TarInfo(path)
        item.size, item.mode = len(data), mode
        self.member(item, io.BytesIO(data))

    def link(self, path: str, target: str) -> None:
        item = tarfile.TarInfo(path)
        item.type, item.mode, item.linkname = tarfile.SYMTYPE, 0o777, target
        self.member(item)

    def close(self) -> None:
        self._tar.close()


def clean_path(name: str, what: str) -> str:
    """A member's path without ./ at the front; SetupError for one that leads out of the tree."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise SetupError(f"{what}: the path {name!r} leads out of the file system; nothing of it was used")
    return "/".join(parts)


def usr_path(path: str) -> str:
    """Where a path really lies: /bin, /sbin and /lib are links into /usr."""
    return f"usr/{path}" if path.split("/", 1)[0] in ALIASES and "/" in path else path


def write_packages(tar: RootTar, packages: list[Path], manual: Iterable[str], progress: Progress) -> None:
    """Lays the packages out in their order.  `manual` were asked for by name: apt
    takes the others for ones that came along (apt-mark(8))."""
    database = _Database()
    for number, package in enumerate(packages):
        control = deb.control(package)
        name = _lay_out(tar, package, control, database)
        progress.part(number / len(packages))
        progress.bytes(number + 1, len(packages)) if progress.out.isatty() else None
        database.order.append(name)
    for name in ALIASES[:3]:
        if name not in tar:
            tar.link(name, f"usr/{name}")
    database.write(tar, set(manual))


class _Database:
    """What dpkg knows of the packages."""

    def __init__(self) -> None:
        self.status: list[str] = []
        self.order: list[str] = []
        self.info: dict[str, tuple[int, bytes]] = {}
        self.triggers: dict[str, list[str]] = {}
        self.architecture: dict[str, str] = {}

    def write(self, tar: RootTar, manual: set[str]) -> None:
        for folder in ("info", "triggers", "updates", "alternatives", "parts"):
            tar.folder(f"{DPKG}/{folder}")
        tar.file(f"{DPKG}/status", "\n".join(self.status).encode())
        tar.file(f"{DPKG}/available", b"")
        tar.file(f"{DPKG}/info/format", b"1\n")
        for name, (mode, data) in sorted(self.info.items()):
            tar.file(f"{DPKG}/info/{name}", data, mode)
        files = "".join(f"{path} {who}\n" for path, waiting in self.triggers.items() if path[0] == "/" for who in waiting)
        tar.file(f"{DPKG}/triggers/File", files.encode())
        tar.file(f"{DPKG}/triggers/Unincorp", b"")
        for name, waiting in self.triggers.items():
            if name[0] != "/":
                tar.file(f"{DPKG}/triggers/{name}", "".join(f"{who}\n" for who in waiting).encode())
        automatic = [name for name in self.order if name.split(":")[0] not in manual]
        tar.file("var/lib/apt/extended_states", "\n".join(
            f"Package: {name.split(':')[0]}\nArchitecture: {self.architecture[name]}\nAuto-Installed: 1\n" for name in automatic
        ).encode())
        tar.file(ORDER, "".join(f"{name}\n" for name in self.order).encode())


def _lay_out(tar: RootTar, package: Path, control: dict[str, tuple[int, bytes]], database: _Database) -> str:
    """One package's files into the tree and its facts into the database; its name as dpkg's files have it."""
    stanza = control["control"][1].decode(errors="replace").strip("\n")
    fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line[0].isspace())
    try:
        plain, architecture = fields["Package"], fields["Architecture"]
    except KeyError as error:
        raise SetupError(f"{package.name}: its control file lacks the field {error}") from None
    name = f"{plain}:{architecture}" if fields.get("Multi-Arch") == "same" else plain
    lines = control.get("conffiles", (0, b""))[1].decode(errors="replace").split("\n")
    conffiles = dict.fromkeys(path.strip() for path in lines if path.startswith("/"))
    digests: dict[str, str] = {}
    listed = ["/."]
    with deb.opened(package) as archive:
        for item in archive:
            path = clean_path(item.name, package.name)
            if not path:
                continue
            listed.append(f"/{path}")
            if path in ALIASES and item.isdir():
                continue  # the link of base-files is what /bin is
            item.name = usr_path(path)
            if item.islnk():
                item.linkname = usr_path(clean_path(item.linkname, package.name))
            content = archive.extractfile(item) if item.isfile() and not item.islnk() else None
            if content is not None and f"/{path}" in conffiles:
                data = content.read()
                digests[f"/{path}"] = hashlib.md5(data, usedforsecurity=False).hexdigest()
                content = io.BytesIO(data)
            tar.member(item, content)
    head, _, rest = stanza.partition("\n")
    facts = f"{head}\nStatus: install ok unpacked\n{rest}\n"
    if digests:
        facts += "Conffiles:\n" + "".join(f" {path} {digests[path]}\n" for path in conffiles if path in digests)
    database.status.append(facts)
    database.architecture[name] = architecture
    database.info[f"{name}.list"] = (0o644, "".join(f"{path}\n" for path in listed).encode())
    for file, (mode, data) in control.items():
        if file != "control":
            database.info[f"{name}.{file}"] = (mode & 0o755, data)
    for line in control.get("triggers", (0, b""))[1].decode(errors="replace").splitlines():
        directive, _, trigger = line.split("#")[0].strip().partition(" ")
        if directive.startswith("interest") and trigger:
            database.triggers.setdefault(trigger.strip(), []).append(name + ("/noawait" if directive.endswith("noawait") else ""))
    return name


def write_files(tar: RootTar, files: Iterable[File]) -> None:
    """The recipe's own files, put below /hartwell/files: the guest copies them over those of the packages."""
    for file in files:
        path = f"hartwell/files{file.path}"
        if file.link is not None:
            tar.link(path, file.link)
        else:
            tar.file(path, file.data, file.mode)


def write_modules(tar: RootTar, modules: dict[str, kmod.ModuleFile], wanted: dict[str, bool]) -> None:
    """Kernel modules and all they depend on; the guest runs depmod.  They are as the kernel's
    package has them, but for those that every boot needs: unpacked, without a signature to check."""
    early = kmod.closure((name for name, early in wanted.items() if early), modules)
    for name, (module, _) in kmod.closure(wanted, modules).items():
        if name in early:
            tar.file(usr_path(module.path).removesuffix(".xz"), kmod.unsigned(module.unpacked()))
        else:
            tar.file(usr_path(module.path), module.packed)

"""Fetches the guest's Debian packages, as any user and without touching this machine's own.

First as `guest/packages.lock` pins them: by path below the mirror, held to the
digest in the lock.  That needs no index, so it works while a mirror is being
synchronised and on systems without apt.  A package that the mirror no longer
has in that version is fetched by name with apt-get in folders of its own
(apt.conf(5), Dir), held to the archive's signed index.
"""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from hartwell.setup import paths
from hartwell.setup.download import NotThere, download
from hartwell.setup.mirror import find_mirrors
from hartwell.setup.steps import Progress, SetupError, scratch_folder

LOCK = paths.ROOT / "guest" / "packages.lock"
FOLDER = paths.STATE / "packages"
SUITE = "trixie"
KERNEL = "linux-image-riscv64"  # depends on the kernel's package, whose name has its version
KEYRINGS = [
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
]


@dataclass(frozen=True)
class Package:
    """One line of the lock."""

    name: str
    version: str
    architecture: str
    size: int
    sha256: str
    path: str

    @property
    def file(self) -> str:
        return self.path.rsplit("/", 1)[-1]


def read_lock(text: str | None = None) -> list[Package]:
    """The pinned packages; SetupError names a line that is none."""
    packages = []
    for number, line in enumerate((LOCK.read_text() if text is None else text).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != 6 or not words[3].isdecimal() or not re.fullmatch(r"[0-9a-f]{64}", words[4]):
            raise SetupError(f"{LOCK.name}, line {number}: expected name, version, architecture, bytes, SHA-256, path")
        name, version, architecture, size, sha256, path = words
        packages.append(Package(name, version, architecture, int(size), sha256, path))
    return packages


def kind(name: str) -> str:
    """The part that a package plays: its name, but "linux-image" for a kernel of any version."""
    return "linux-image" if name.startswith("linux-image-") else name


def fetch(packages: list[Package], mirror: str | None, progress: Progress) -> dict[str, Path]:
    """The packages' files by `kind`.  Raises SetupError when one can't be had."""
    files = {}
    gone: list[tuple[Package, NotThere]] = []
    mirrors: list[str] = []
    for number, package in enumerate(packages):
        progress.part(number / len(packages))
        target = FOLDER / package.file
        if not (target.is_file() and target.stat().st_size == package.size):
            mirrors = mirrors or find_mirrors(mirror)
            progress.note(f"  {package.name} {package.version}")
        try:
            _pinned(package, mirrors, target, progress)
            files[kind(package.name)] = target
        except NotThere as error:
            gone.append((package, error))
    if gone:
        files.update(_by_name(gone, mirrors, progress))
    return files


def _pinned(package: Package, mirrors: list[str], target: Path, progress: Progress) -> None:
    missing: NotThere | None = None
    for mirror in mirrors or [""]:
        try:
            download(f"{mirror}/{package.path}", target, package.size, package.sha256, progress)
            return
        except NotThere as error:
            missing = error
    assert missing is not None
    raise missing


def _by_name(gone: list[tuple[Package, NotThere]], mirrors: list[str], progress: Progress) -> dict[str, Path]:
    names = ", ".join(package.name for package, _ in gone)
    first = gone[0][1]
    if not shutil.which("apt-get"):
        raise SetupError(f"{first}\nThis machine has no apt-get to look for a newer {names}. Try another --mirror URL")
    progress.note(f"  the mirror has no {names} in the pinned version; asking apt-get for the present one")
    found = {}
    with scratch_folder(paths.STATE / "apt") as folder:
        apt = Apt(folder, mirrors[0])
        try:
            apt.update()
            for package, _ in gone:
                name = apt.kernel() if kind(package.name) == "linux-image" else package.name
                found[kind(package.name)] = apt.download(name, FOLDER)
        except SetupError as error:
            raise SetupError(f"{first}\nand by name: {error}") from error
    return found


class Apt:
    """apt-get with a state, a cache and a source of its own, all in `folder`."""

    def __init__(self, folder: Path, mirror: str, architecture: str = "riscv64", suite: str = SUITE) -> None:
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        keyring = next((path for path in KEYRINGS if path.exists()), None)
        signed = f" signed-by={keyring}" if keyring else ""
        (folder / "sources.list").write_text(f"deb [arch={architecture}{signed}] {mirror} {suite} main\n")
        settings = {
            "Dir::Etc::SourceList": folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Parts": "/dev/null",
            "Dir::State": folder,
            "Dir::State::Lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "",
            "Debug::NoLocking": "1",
            "Acquire::Languages": "none",
        }
        self._options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        self._mirror, self._folder = mirror, folder

    def update(self) -> None:
        self._run("apt-get", "-qq", "update")

    def update_unsigned(self, index: Path) -> None:
        """As update(), from the archive's index as the mirror has it now, put into the
        folder `index`: for a mirror whose index and signed list of digests are of
        different days.  Nothing vouches for it but the connection."""
        index.mkdir(parents=True)
        url = f"{self._mirror}/dists/{SUITE}/main/binary-riscv64/Packages.xz"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                (index / "Packages").write_bytes(lzma.decompress(answer.read()))
        except (OSError, lzma.LZMAError) as error:
            raise SetupError(f"{url}: {error}") from error
        (self._folder / "sources.list").write_text(f"deb [arch=riscv64 trusted=yes] file:{index} ./\n")
        self.update()

    def closure(self, names: list[str]) -> list[Package]:
        """The packages `names` (patterns of apt too) with all they depend on, in an order to install them in."""
        told = self._run("apt-get", "-qq", "-y", "--no-install-recommends", "--print-uris", "install", *names)
        order = [line.split()[1].split("_")[0] for line in told.splitlines() if line.startswith("'")]
        shown = self._run("apt-cache", "show", "--no-all-versions", *order) if order else ""
        found = {}
        for stanza in shown.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
            if "Package" in fields:
                found[fields["Package"]] = Package(
                    fields["Package"], fields["Version"], fields["Architecture"], int(fields["Size"]), fields["SHA256"],
                    fields["Filename"].removeprefix("./"),
                )
        return [found[name] for name in order]

    def kernel(self, meta: str = KERNEL) -> str:
        """The name of the package that the meta package depends on."""
        text = self._run("apt-cache", "show", "--no-all-versions", meta)
        if match := re.search(r"^Depends:.*?(linux-image-[^ ,]+)", text, re.M):
            return match[1]
        raise SetupError(f"the package {meta} at {self._mirror} depends on no kernel")

    def download(self, name: str, folder: Path) -> Path:
        """The package's file, put into `folder`; apt holds it to the signed index."""
        folder.mkdir(parents=True, exist_ok=True)
        place = Path(self._options[1].split("=", 1)[1]).parent / "download"
        place.mkdir(exist_ok=True)
        self._run("apt-get", "-qq", "download", name, folder=place)
        file = next(place.glob(f"{name}_*.deb"))
        return file.replace(folder / file.name)

    def _run(self, tool: str, *words: str, folder: Path | None = None) -> str:
        result = subprocess.run([tool, *self._options, *words], cwd=folder, capture_output=True, text=True)
        if result.returncode:
            said = "; ".join(line for line in result.stderr.splitlines() if line.startswith(("E:", "W:"))) or result.stderr
            if "sync in progress" in said or "unexpected size" in said:
                said = "the mirror is being synchronised just now; try again later or another --mirror URL"
            raise SetupError(f"{tool} {' '.join(words)} with {self._mirror}: {said.strip()}")
        return result.stdout

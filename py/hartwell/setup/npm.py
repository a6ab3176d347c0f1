"""Fetches the page's JavaScript packages with npm, as `web/packages.lock` pins them.

npm is asked for nothing but each package's archive (`npm pack`), so that it
uses the registry and proxy that the user has set it up with and runs no script
of any package.  The archive is held to the lock's digest and unpacked here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hartwell.setup import node, paths, steady
from hartwell.setup.steps import Progress, SetupError, Step, digest, replace_folder, scratch_folder

LOCK = paths.ROOT / "web" / "packages.lock"
ARCHIVES = paths.STATE / "npm"
TOOLS = paths.STATIC / ".tools" / "node_modules"

# Of each package of a terminal: file in the archive -> file in static/xterm.
_ADDONS = ("fit", "webgl", "unicode11", "web-links", "serialize")
XTERM: dict[str, dict[str, str]] = {
    "@xterm/xterm": {
        "lib/xterm.mjs": "xterm.mjs", "lib/xterm.mjs.map": "xterm.mjs.map", "css/xterm.css": "xterm.css", "LICENSE": "LICENSE",
    },
    **{
        f"@xterm/addon-{name}": {f"lib/addon-{name}.mjs{end}": f"addon-{name}.mjs{end}" for end in ("", ".map")}
        for name in _ADDONS
    },
}
# Zstandard's plain C interface in WebAssembly; web/storage/zstd.mjs calls it.
ZSTD = {"@bokuweb/zstd-wasm": {"dist/web/zstd.js": "zstd.mjs", "dist/web/zstd.wasm": "zstd.wasm"}}
PYODIDE_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
CHECKERS = ("typescript", "@types/node", "undici-types")


@dataclass(frozen=True)
class Pinned:
    """A package in the lock."""

    name: str
    version: str
    sha512: bytes

    @property
    def archive(self) -> Path:
        return ARCHIVES / f"{self.name.replace('@', '').replace('/', '-')}-{self.version}.tgz"


def read_lock(text: str | None = None) -> dict[str, Pinned]:
    """The pinned packages by name; SetupError names what is wrong."""
    try:
        packages = json.loads(LOCK.read_text() if text is None else text)["packages"]
        return {name: _pinned(name, entry) for name, entry in packages.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            f"{LOCK.name}: {error!r}; expected JSON of the form "
            '{"packages": {NAME: {"version": "1.2.3", "integrity": "sha512-..."}}}'
        ) from error


def _pinned(name: str, entry: Mapping[str, str]) -> Pinned:
    version, integrity = entry["version"], entry["integrity"]
    if not re.fullmatch(r"(@[a-z0-9._-]+/)?[a-z0-9_][a-z0-9._-]*", name):
        raise ValueError(f"{name} is no package's name")
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", version):
        raise ValueError(f"{name}: {version} is no exact version")
    try:
        digest_bytes = base64.b64decode(integrity.removeprefix("sha512-"), validate=True)
    except binascii.Error:
        digest_bytes = b""
    if not integrity.startswith("sha512-") or len(digest_bytes) != 64:
        raise ValueError(f"{name}: its integrity is no SHA-512")
    return Pinned(name, version, digest_bytes)


def steps() -> list[Step]:
    """What the page needs: Python, the terminal, and the compression of snapshots."""
    lock = read_lock()
    return [
        _step("pyodide", "fetching Pyodide (14 MB)", {"pyodide": None}, paths.STATIC / "pyodide", PYODIDE_FILES, lock, _steady),
        _step(
            "xterm", "fetching xterm.js", XTERM, paths.STATIC / "xterm",
            tuple(name for files in XTERM.values() for name in files.values()), lock,
        ),
        _step("zstd", "fetching Zstandard", ZSTD, paths.STATIC / "zstd", tuple(ZSTD["@bokuweb/zstd-wasm"].values()), lock),
    ]


def program(package: str) -> Path:
    """Where a package that is one program has it."""
    return TOOLS.parent / package.split("/")[0].lstrip("@")


def program_step(package: str, file: str) -> Step:
    """Fetches a program, which is that file of its package."""
    lock = read_lock()
    target = program(package)

    def act(progress: Progress) -> None:
        archive = fetch(lock[package], progress)
        with scratch_folder(target) as fresh:
            unpack(archive, fresh, {file: target.name})
            (fresh / target.name).chmod(0o755)
            (fresh / target.name).replace(target)
        archive.unlink(missing_ok=True)

    key = digest("program 1", package, lock[package].version, lock[package].sha512, file)
    return Step(target.name, f"fetching {target.name} (4 MB)", key, (target,), act)


def checkers_step() -> Step:
    """The TypeScript compiler, which checks web/ in the tests."""
    lock = read_lock()
    packages: dict[str, dict[str, str] | None] = dict.fromkeys(CHECKERS)
    outputs = ("typescript/lib/tsc.js", "@types/node/package.json", "undici-types/package.json")
    return _step("checkers", "fetching the TypeScript compiler (24 MB)", packages, TOOLS, outputs, lock)


def _step(
    name: str, says: str, packages: Mapping[str, dict[str, str] | None], folder: Path, files: tuple[str, ...],
    lock: Mapping[str, Pinned], change: Callable[[Path], None] | None = None,
) -> Step:
    """Fetches packages into a folder: those files of them, or with None all, by package where there are several.

    `change` makes of what was unpacked what is wanted; its version is the key's number.
    """
    missing = [package for package in packages if package not in lock]
    if missing:
        raise SetupError(f"{LOCK.name} does not pin {', '.join(missing)}")

    def act(progress: Progress) -> None:
        with scratch_folder(folder) as fresh:
            for package, wanted in packages.items():
                place = fresh / package if wanted is None and len(packages) > 1 else fresh
                unpack(fetch(lock[package], progress), place, wanted)
            if change:
                change(fresh)
            replace_folder(fresh, folder)
        for package in packages:
            lock[package].archive.unlink(missing_ok=True)

    pins = [part for package in packages for part in (package, lock[package].version, lock[package].sha512)]
    key = digest(name, "2" if change else "1", *pins, repr(packages))
    return Step(name, says, key, tuple(folder / file for file in files), act)


def _steady(folder: Path) -> None:
    module = folder / "pyodide.asm.wasm"
    module.write_bytes(steady.steady(module.read_bytes()))


def fetch(package: Pinned, progress: Progress) -> Path:
    """The package's archive, as npm gave it and as the lock says."""
    if _is_right(package.archive, package):
        return package.archive
    progress.note(f"  {package.name} {package.version}")
    spec = f"{package.name}@{package.version}"
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    with scratch_folder(package.archive) as folder:
        command = [*node.npm(), "pack", spec, "--pack-destination", str(folder), "--ignore-scripts", "--fetch-retries=3",
                   "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=8000"]
        # In a folder of its own: a package.json around the checkout is none of ours.
        environment = {**os.environ, "npm_config_update_notifier": "false"}
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
        archives = list(folder.glob("*.tgz"))
        if result.returncode or len(archives) != 1:
            raise SetupError(explain(spec, result.stderr))
        if not _is_right(archives[0], package):
            raise SetupError(
                f"npm: the package {spec} that came is not the one pinned in web/{LOCK.name} (its SHA-512 differs). "
                "If your npm registry is a mirror, ask its owner; nothing of the package was used"
            )
        archives[0].replace(package.archive)
    return package.archive


def explain(spec: str, said: str) -> str:
    """What npm said when it could not fetch, in one message."""
    if re.search(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET", said):
        return (
            f"npm cannot reach its registry for {spec}. Is there a network? "
            "Run the same command again when there is, it goes on where it stopped"
        )
    if re.search(r"\bE404\b|ETARGET", said):
        return f"npm: the registry that npm is set up with has no {spec}"
    lines = [re.sub(r"^npm (error|ERR!) ?", "", line) for line in said.splitlines() if re.match(r"npm (error|ERR!)", line)]
    words = "\n".join(line for line in lines if line and "A complete log of this run" not in line)
    return f"npm could not fetch {spec}: {words or said.strip() or 'it stopped without saying why'}"


def _is_right(path: Path, package: Pinned) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").digest() == package.sha512


def unpack(archive: Path, folder: Path, wanted: Mapping[str, str] | None) -> None:
    """Unpacks plain files of an npm archive; `wanted` names them and what they become."""
    left = set(wanted or ())
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            # All lies in one folder, most often "package".
            parts = PurePosixPath(member.name).parts[1:]
            name = "/".join(parts)
            if not member.isfile() or not parts or ".." in parts or (wanted is not None and name not in wanted):
                continue
            data = tar.extractfile(member)
            assert data is not None  # it is a file
            target = folder / (name if wanted is None else wanted[name])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.read())
            left.discard(name)
    if left:
        raise SetupError(f"{archive.name}: has no {', '.join(sorted(left))}")

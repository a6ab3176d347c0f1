"""Imports a root file system that others made: a plain tar, or an image of containers.

Containers' images come as `docker save` writes them (manifest.json) or as an
OCI layout (index.json), in a tar: layers, each a tar itself, laid over each
other; `.wh.NAME` in one hides NAME of those below (OCI Image Layer
Specification, "Whiteouts").  All of it is hostile until checked: paths that
lead out, devices and sizes that cannot be are refused or left out.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hartwell.setup.rootfs import RootTar, clean_path
from hartwell.setup.steps import SetupError

LARGEST = 64 << 30  # bytes of all files of one import
MOST = 4_000_000  # members
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
DESCRIPTION = 16 << 20  # bytes of a manifest


def copy_root(source: Path, tar: RootTar) -> None:
    """Copies a root file system into `tar`.  SetupError names what is wrong, and where."""
    try:
        with tarfile.open(source, "r:*") as archive:
            names = set(archive.getnames()) if _is_image(archive) else set()
            layers = _layers(source, archive, names) if names else None
        if layers is None:
            with tarfile.open(source, "r:*") as archive:
                _copy(source.name, [archive], tar)
            return
        with tarfile.open(source, "r:*") as archive:
            opened = [_open_layer(source, archive, name) for name in layers]
            try:
                _copy(source.name, opened, tar)
            finally:
                for layer in opened:
                    layer.close()
    except (tarfile.TarError, EOFError, OSError, UnicodeError, ValueError) as error:
        raise SetupError(f"{source}: not a tar archive, or a damaged one: {error}") from error


def _is_image(archive: tarfile.TarFile) -> bool:
    """A container's image has its description at the top, and no root file system beside it."""
    for item in archive:
        name = item.name.removeprefix("./")
        if name in ("manifest.json", "index.json", "oci-layout"):
            return True
        if name.split("/")[0] in ("usr", "etc", "bin"):
            return False
    return False


def _read(source: Path, archive: tarfile.TarFile, name: str) -> Any:
    try:
        item = archive.getmember(name)
    except KeyError:
        raise SetupError(f"{source}: {name} is missing in it") from None
    content = archive.extractfile(item) if item.isfile() and item.size <= DESCRIPTION else None
    if content is None:
        raise SetupError(f"{source}: {name} is no file, or too large")
    try:
        return json.loads(content.read())
    except ValueError as error:
        raise SetupError(f"{source}: {name} is not JSON: {error}") from error


def _layers(source: Path, archive: tarfile.TarFile, names: set[str]) -> list[str]:
    """The members that are layers, the lowest first."""
    try:
        if "manifest.json" in names:
            return [str(layer) for layer in _read(source, archive, "manifest.json")[0]["Layers"]]
        manifest = _read(source, archive, "index.json")["manifests"][0]
        for _ in range(2):  # an index may name an index, one per platform
            manifest = _read(source, archive, _blob(manifest["digest"]))
            if "layers" in manifest:
                return [_blob(layer["digest"]) for layer in manifest["layers"]]
            manifest = next(
                (each for each in manifest["manifests"] if each.get("platform", {}).get("architecture") == "riscv64"),
                manifest["manifests"][0],
            )
    except (KeyError, IndexError, TypeError) as error:
        raise SetupError(f"{source}: its manifest lacks {error}; `docker save` or an OCI layout is expected") from error
    raise SetupError(f"{source}: its manifest names no layers")


def _blob(digest: object) -> str:
    kind, _, value = str(digest).partition(":")
    return f"blobs/{kind}/{value}"


def _open_layer(source: Path, archive: tarfile.TarFile, name: str) -> tarfile.TarFile:
    try:
        content = archive.extractfile(archive.getmember(name))
    except KeyError:
        raise SetupError(f"{source}: the layer {name} is missing in it") from None
    if content is None:
        raise SetupError(f"{source}: the layer {name} is no file")
    return tarfile.open(fileobj=content, mode="r:*")


def _copy(name: str, layers: list[tarfile.TarFile], tar: RootTar) -> None:
    """Writes what is seen when the layers lie over each other."""
    chosen = _seen(name, layers)
    # Folders first, so that none is made with a mode that is not its own; hard links last.
    order = sorted(chosen, key=lambda path: (chosen[path][1].islnk(), path))
    for path in order:
        layer, item = chosen[path]
        kept = tarfile.TarInfo(path)
        kept.mode, kept.uid, kept.gid, kept.mtime, kept.type = item.mode & 0o7777, item.uid, item.gid, int(item.mtime), item.type
        content: IO[bytes] | None = None
        if item.issym():
            kept.linkname = item.linkname
        elif item.islnk():
            kept.linkname = clean_path(item.linkname, name)
            if kept.linkname not in chosen:
                raise SetupError(f"{name}: {path} is a hard link to {item.linkname!r}, which is not in it")
        elif item.isfile():
            kept.size, kept.type = item.size, tarfile.REGTYPE
            content = layer.extractfile(item)
        tar.member(kept, content)


def _seen(name: str, layers: list[tarfile.TarFile]) -> dict[str, tuple[tarfile.TarFile, tarfile.TarInfo]]:
    chosen: dict[str, tuple[tarfile.TarFile, tarfile.TarInfo]] = {}
    count = total = 0
    for layer in layers:
        hidden: list[str] = []
        fresh: dict[str, tuple[tarfile.TarFile, tarfile.TarInfo]] = {}
        for item, path in _members(name, layer):
            count, total = count + 1, total + item.size
            if count > MOST or total > LARGEST or item.size < 0:
                raise SetupError(f"{name}: more than {MOST} files or {LARGEST >> 30} GiB are in it; nothing of it was used")
            folder, _, last = path.rpartition("/")
            if last == OPAQUE:
                hidden.append(f"{folder}/")
            elif last.startswith(WHITEOUT):
                gone = f"{folder}/{last.removeprefix(WHITEOUT)}".lstrip("/")
                chosen.pop(gone, None)
                hidden.append(f"{gone}/")
            else:
                fresh[path] = (layer, item)
        for start in hidden:
            for path in [path for path in chosen if path.startswith(start)]:
                del chosen[path]
        for path, entry in fresh.items():
            if path in chosen and chosen[path][1].isdir() and not entry[1].isdir():
                for below in [other for other in chosen if other.startswith(f"{path}/")]:
                    del chosen[below]
            chosen[path] = entry
    return chosen


def _members(name: str, layer: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str]]:
    for item in layer:
        path = clean_path(item.name, name)
        # Device nodes are the kernel's to make (devtmpfs); a root file system needs none.
        if not path or path.split("/")[0] in ("hartwell",) or not (item.isfile() or item.isdir() or item.issym() or item.islnk()):
            continue
        yield item, path

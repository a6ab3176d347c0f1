"""Images: what `Machine.boot(image=...)` names.  static/images/, docs/contracts.md."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from hartwell.errors import BadConfiguration, ImageNotFound
from hartwell.platform import Platform

FOLDER = "images"
INDEX = f"{FOLDER}/index.json"


@dataclass(frozen=True)
class Image:
    """A kernel and what goes with it; `kernel` and `initrd` are names below static/."""

    name: str
    kernel: str
    initrd: str | None
    append: str
    harts: int
    memory: str
    description: str
    disk: str | None = None  # the description of its disk, a name below static/
    agent: str | None = None  # "qemu": it runs qemu-guest-agent; else Hartwell's own, if any


async def load_image(platform: Platform, name: str | None) -> Image:
    """The image `name`, or the default one.

    Raises ImageNotFound with the names there are, and BadConfiguration when
    its image.json lacks something.
    """
    index = await _read_json(platform, INDEX)
    names = _names(index)
    if name is None:
        name = _default(index)
    if names and name not in names:
        raise ImageNotFound(f"image {name!r} is not known; there is {', '.join(names)}")
    facts = await _read_json(platform, f"{FOLDER}/{name}/image.json")
    if facts is None:
        raise ImageNotFound(f"image {name!r}: static/{FOLDER}/{name}/image.json is missing; run `python3 serve.py` once more")
    return read_image(facts, name)


async def default_name(platform: Platform) -> str:
    """The image that is booted where none is named.  ImageNotFound while there is none."""
    return _default(await _read_json(platform, INDEX))


async def read_index(platform: Platform) -> list[str]:
    """The names of all images."""
    return _names(await _read_json(platform, INDEX))


def _default(index: Any) -> str:
    if name := str((index or {}).get("default") or ""):
        return name
    raise ImageNotFound("there is no image yet; `python3 serve.py` makes the one named shell")


def _names(index: Any) -> list[str]:
    return [str(known) for known in (index or {}).get("images", [])]


def read_image(facts: Any, name: str) -> Image:
    """Checks what an image.json says.  BadConfiguration names the field that is wrong."""
    if not isinstance(facts, dict) or not isinstance(facts.get("kernel"), str):
        raise BadConfiguration(f"image {name!r}: its image.json names no kernel")
    for key, kind in (("initrd", str), ("disk", str), ("agent", str), ("append", str), ("harts", int), ("memory", str),
                      ("description", str)):
        if not isinstance(facts.get(key), (kind, type(None))):
            raise BadConfiguration(f"image {name!r}: {key} in its image.json is {facts[key]!r}, not a {kind.__name__}")
    initrd = facts.get("initrd")
    return Image(
        name,
        _place(name, facts["kernel"]),
        _place(name, initrd) if initrd else None,
        facts.get("append") or "",
        facts.get("harts") or 1,
        facts.get("memory") or "512M",
        facts.get("description") or "",
        _place(name, facts["disk"]) if facts.get("disk") else None,
        facts.get("agent"),
    )


def _place(image: str, file: str) -> str:
    parts = PurePosixPath(file).parts
    if not parts or ".." in parts or file.startswith("/"):
        raise BadConfiguration(f"image {image!r}: {file!r} is not a file beside its image.json")
    return f"{FOLDER}/{image}/{file}"


async def _read_json(platform: Platform, source: str) -> Any:
    try:
        blob = await platform.fetch(source)
    except FileNotFoundError:
        return None
    try:
        return json.loads(blob.read(0, blob.size))
    except ValueError as error:
        raise BadConfiguration(f"static/{source} is not JSON: {error}") from None

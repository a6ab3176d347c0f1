"""Recipes: TOML files that say what a disk image is made of.  docs/images.md has all keys.

    name = "desk"
    description = "Debian with git"
    size = "2G"

    [packages]
    include = ["systemd-sysv", "git"]

    [[files]]
    path = "/etc/hostname"
    content = "desk\\n"

    [commands]
    run = ["passwd -d root"]
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from hartwell.errors import HartwellError
from hartwell.setup import paths
from hartwell.setup.steps import SetupError
from hartwell.sizes import parse_size

_CONTENTS = {"content", "source", "helper", "link"}
SMALLEST, LARGEST = 64 << 20, 1 << 40


@dataclass(frozen=True)
class File:
    """A file of the recipe's own: bytes, or a link's target."""

    path: str
    data: bytes = b""
    mode: int = 0o644
    link: str | None = None
    helper: str | None = None
    """A program of guest/helpers instead, which the build compiles."""


@dataclass(frozen=True)
class Recipe:
    """What an image is made of."""

    name: str
    description: str
    size: int  # bytes of the disk
    memory: str
    harts: int
    append: str
    packages: tuple[str, ...]
    lock: Path | None
    source: Path | None  # a root file system, tar or docker-archive
    files: tuple[File, ...]
    commands: tuple[str, ...]
    modules: tuple[str, ...]
    agent: str | None = None
    folder: Path = field(default=Path())


def read_recipe(path: Path) -> Recipe:
    """Raises SetupError that names the key which is wrong and what is expected there."""
    try:
        facts = tomllib.loads(path.read_text())
    except OSError as error:
        raise SetupError(f"recipe {path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"recipe {path}: not TOML: {error}") from error
    return _Reader(path).recipe(facts)


class _Reader:
    """Checks one recipe's values as they are taken."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.parent

    def recipe(self, facts: dict[str, Any]) -> Recipe:
        self._known(facts, "", {"name", "description", "size", "memory", "harts", "append", "packages", "source",
                                "files", "commands", "kernel", "agent"})
        packages = self._table(facts, "packages", {"include", "lock"})
        source = self._table(facts, "source", {"tar"})
        commands = self._table(facts, "commands", {"run"})
        kernel = self._table(facts, "kernel", {"modules"})
        include = self._words(packages, "packages.include")
        if bool(include) == bool(source):
            raise self._wrong("packages.include, source.tar", "one of the two is needed: packages, or a root file system")
        name = self._text(facts, "name", self.path.stem)
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,40}", name):
            raise self._wrong("name", f"{name!r}; small letters, digits, dots and hyphens, 41 at most, are expected")
        harts = facts.get("harts", 1)
        if not isinstance(harts, int) or isinstance(harts, bool) or not 1 <= harts <= 8:
            raise self._wrong("harts", f"{harts!r}; a number from 1 to 8 is expected")
        return Recipe(
            name, self._text(facts, "description", name), self._size(facts, "size", "2G"),
            self._memory(facts), harts, self._text(facts, "append", ""), include,
            self._file(packages, "packages.lock", must=False), self._file(source, "source.tar"),
            tuple(self._entry(entry, number) for number, entry in enumerate(self._list(facts, "files"))),
            self._words(commands, "commands.run"), self._words(kernel, "kernel.modules"), self._agent(facts), self.folder,
        )

    def _agent(self, facts: dict[str, Any]) -> str | None:
        if facts.get("agent", "qemu") != "qemu":
            raise self._wrong("agent", f"{facts['agent']!r}; \"qemu\" (the guest runs qemu-guest-agent), or nothing, is expected")
        return "qemu" if "agent" in facts else None

    def _memory(self, facts: dict[str, Any]) -> str:
        text = self._text(facts, "memory", "512M")
        self._size(facts, "memory", "512M")
        return text

    def _size(self, facts: dict[str, Any], key: str, default: str) -> int:
        text = facts.get(key, default)
        try:
            size = parse_size(text)
        except HartwellError as error:
            raise self._wrong(key, str(error)) from error
        if key == "size" and (not SMALLEST <= size <= LARGEST or size % (1 << 16)):
            raise self._wrong(key, f"{text!r}; 64M to 1024G in whole 64K are expected")
        return size

    def _text(self, facts: dict[str, Any], key: str, default: str) -> str:
        value = facts.get(key, default)
        if not isinstance(value, str) or "\0" in value or (key != "description" and "\n" in value):
            raise self._wrong(key, f"{value!r}; one line of text is expected")
        return value

    def _words(self, table: dict[str, Any], key: str) -> tuple[str, ...]:
        value = table.get(key.rsplit(".", 1)[1], [])
        if not isinstance(value, list) or not all(isinstance(word, str) and word and "\0" not in word for word in value):
            raise self._wrong(key, f"{value!r}; a list of texts is expected")
        if key == "packages.include":
            for word in value:
                if not re.fullmatch(r"[?]?[a-z0-9][a-z0-9+.:()-]*", word):
                    raise self._wrong(key, f"{word!r} is no package's name")
        return tuple(value)

    def _file(self, table: dict[str, Any], key: str, must: bool = True) -> Path | None:
        value = table.get(key.rsplit(".", 1)[1])
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            raise self._wrong(key, f"{value!r}; the name of a file is expected")
        path = self.folder / value
        if must and not path.is_file():
            raise self._wrong(key, f"there is no file {path}")
        return path

    def _entry(self, entry: Any, number: int) -> File:
        key = f"files[{number}]"
        if not isinstance(entry, dict):
            raise self._wrong(key, "a table with path and content, source, helper or link is expected")
        self._known(entry, f"{key}.", {"path", "mode", *_CONTENTS})
        path = entry.get("path")
        if not isinstance(path, str) or not path.startswith("/") or ".." in PurePosixPath(path).parts or path.endswith("/"):
            raise self._wrong(f"{key}.path", f"{path!r}; a path from / on, without .., is expected")
        if len(_CONTENTS & set(entry)) != 1:
            raise self._wrong(key, "one of content, source, helper and link is expected")
        mode = entry.get("mode", "0644")
        if not isinstance(mode, str) or not re.fullmatch(r"0?[0-7]{3,4}", mode):
            raise self._wrong(f"{key}.mode", f"{mode!r}; an octal number in quotes, such as \"0755\", is expected")
        if "link" in entry:
            return File(path, link=self._text(entry, "link", ""))
        if "source" in entry:
            source = self._file(entry, f"{key}.source")
            assert source is not None
            return File(path, source.read_bytes(), int(mode, 8))
        if "helper" in entry:
            helpers = sorted(file.stem for file in (paths.ROOT / "guest" / "helpers").glob("*.c"))
            if entry["helper"] not in helpers:
                raise self._wrong(f"{key}.helper", f"{entry['helper']!r}; one of {', '.join(helpers)} is expected")
            return File(path, mode=int(mode, 8), helper=entry["helper"])
        if not isinstance(entry["content"], str):
            raise self._wrong(f"{key}.content", "text is expected")
        return File(path, entry["content"].encode(), int(mode, 8))

    def _table(self, facts: dict[str, Any], key: str, known: set[str]) -> dict[str, Any]:
        value = facts.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, "a table is expected")
        self._known(value, f"{key}.", known)
        return value

    def _list(self, facts: dict[str, Any], key: str) -> list[Any]:
        value = facts.get(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, f"tables [[{key}]] are expected")
        return value

    def _known(self, facts: dict[str, Any], prefix: str, known: set[str]) -> None:
        if strange := sorted(set(facts) - known):
            raise self._wrong(f"{prefix}{strange[0]}", f"no such key; there are {', '.join(sorted(known))}")

    def _wrong(self, key: str, what: str) -> SetupError:
        return SetupError(f"recipe {self.path}, {key}: {what}")

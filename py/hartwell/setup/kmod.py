"""Kernel modules: reads what one says of itself, and picks a set with all that it needs.

A Debian kernel package has no modules.dep (its installation script runs
depmod), so the dependencies come from the modules' .modinfo sections.
ELF-64 object files: System V ABI, chapter 4.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hartwell.setup.steps import SetupError

SIGNATURE = b"~Module signature appended~\n"


@dataclass(frozen=True)
class ModuleFile:
    """A module: path in its package, the file's bytes as they are there (xz or plain)."""

    path: str
    packed: bytes

    @property
    def name(self) -> str:
        return module_name(self.path)

    def unpacked(self) -> bytes:
        return lzma.decompress(self.packed) if self.path.endswith(".xz") else self.packed


def unsigned(data: bytes) -> bytes:
    """The module without its signature (scripts/sign-file.c: signature, a struct of
    12 bytes that ends with the signature's length, the magic words)."""
    if not data.endswith(SIGNATURE):
        return data
    end = len(data) - len(SIGNATURE)
    (length,) = struct.unpack_from(">I", data, end - 4)
    return data[: end - 12 - length] if 0 < length <= end - 12 else data


def module_name(path: str) -> str:
    """The name as modprobe says it: virtio_rng for .../virtio-rng.ko.xz."""
    return path.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_")


def modinfo(data: bytes) -> dict[str, list[str]]:
    """The pairs of a module's .modinfo section."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a little-endian ELF-64 file")
    (at,) = struct.unpack_from("<Q", data, 0x28)
    size, count, strings = struct.unpack_from("<HHH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, at + i * size) for i in range(count)]
    names = sections[strings][4]
    for section in sections:
        start = names + section[0]
        if data[start : data.index(b"\0", start)] == b".modinfo":
            pairs: dict[str, list[str]] = {}
            for word in data[section[4] : section[4] + section[5]].split(b"\0"):
                key, equals, value = word.decode(errors="replace").partition("=")
                if equals:
                    pairs.setdefault(key, []).append(value)
            return pairs
    return {}


def closure(wanted: Iterable[str], there: Mapping[str, ModuleFile]) -> dict[str, tuple[ModuleFile, dict[str, list[str]]]]:
    """The wanted modules and all they depend on, by name, with their modinfo.

    Soft dependencies ("pre:") that exist come along.  Raises SetupError for a
    wanted module that the package lacks.
    """
    chosen: dict[str, tuple[ModuleFile, dict[str, list[str]]]] = {}
    pending = [name.replace("-", "_") for name in wanted]
    while pending:
        name = pending.pop()
        if name in chosen:
            continue
        if name not in there:
            raise SetupError(f"the kernel package has no module {name}; guest/modules or one that it names asks for it")
        info = modinfo(there[name].unpacked())
        chosen[name] = there[name], info
        pending += [word.replace("-", "_") for words in info.get("depends", []) for word in words.split(",") if word]
        soft = [word.replace("-", "_") for words in info.get("softdep", []) for word in _before(words)]
        pending += [word for word in soft if word in there]
    return chosen


def _before(softdep: str) -> list[str]:
    words: list[str] = []
    taking = False
    for word in softdep.split():
        if word.endswith(":"):
            taking = word == "pre:"
        elif taking:
            words.append(word)
    return words


def index_files(chosen: Mapping[str, tuple[ModuleFile, dict[str, list[str]]]], places: Mapping[str, str]) -> dict[str, str]:
    """modules.dep, modules.alias and modules.softdep for modprobe; `places` are paths below the module folder."""

    def needs(name: str) -> list[str]:
        ordered: list[str] = []

        def add(names: list[str]) -> None:
            for other in names:
                if other and other not in ordered:
                    ordered.append(other)
                    add(direct(other))

        add(direct(name))
        return ordered

    def direct(name: str) -> list[str]:
        return [w.replace("-", "_") for words in chosen[name][1].get("depends", []) for w in words.split(",") if w]

    names = sorted(chosen)
    dep = [" ".join([f"{places[name]}:", *(places[other] for other in needs(name))]) for name in names]
    alias = [f"alias {alias} {name}" for name in names for alias in chosen[name][1].get("alias", [])]
    soft = [f"softdep {name} {words}" for name in names for words in chosen[name][1].get("softdep", [])]
    return {
        "modules.dep": "".join(f"{line}\n" for line in dep),
        "modules.alias": "".join(f"{line}\n" for line in alias),
        "modules.softdep": "".join(f"{line}\n" for line in soft),
    }

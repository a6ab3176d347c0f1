"""`hartwell image build`: from a recipe to static/images/NAME."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hartwell.setup import bootstrap, image, kmod, packages, paths, rootfs, rootfs_import
from hartwell.setup.mirror import find_mirrors
from hartwell.setup.packages import Apt, Package
from hartwell.setup.recipe import File, Recipe, read_recipe
from hartwell.setup.steps import (
    Progress,
    SetupError,
    digest,
    disk_error,
    locked,
    replace_folder,
    scratch_folder,
    size_words,
)

RECIPES = image.GUEST / "recipes"
TOOLS_LOCK = image.GUEST / "build" / "packages.lock"
BUILD = paths.STATE / "build"
BUILD_MEMORY = "768M"
BUILD_CACHE = "256M"
FETCHED, LAID_OUT = 0.15, 0.2  # shares of a build's time, for those who wait
UNPACKED, CONFIGURED = 0.15, 0.9  # the same of the machine's part
EPOCH = 1_763_700_000  # the building machine's clock at its start, seconds: Debian 13.2 was new

# Runs in Node: boots, waits for the power-off, writes the disk as an image.
SCRIPT = """
import json, sys
machine = await Machine.boot(**json.loads(sys.argv[1]))
await machine.wait()
facts = await machine.disks.pack(0, sys.argv[2])
print("build-disk: " + json.dumps(facts))
"""


def find_recipe(name: str) -> Path:
    """A recipe's file by its path, or by the name of one that comes with Hartwell."""
    for path in (Path(name), RECIPES / f"{name}.toml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
    raise SetupError(f"{name}: no such recipe; give a .toml file, or one of {known}")


def wanted_packages(recipe: Recipe, mirror: str | None, progress: Progress, unsigned: bool = False) -> list[Package]:
    """The packages that the recipe's lock pins, or else what apt makes of its list now."""
    if recipe.lock and recipe.lock.is_file():
        return packages.read_lock(recipe.lock.read_text())
    chosen = find_mirrors(mirror)[0]
    with scratch_folder(paths.STATE / "apt") as folder:
        apt = Apt(folder, chosen)
        progress.note("  asking apt-get for the packages and all they depend on")
        if unsigned:
            apt.update_unsigned(folder / "index")
        else:
            apt.update()
        return apt.closure(list(recipe.packages))


@contextlib.contextmanager
def one_build(progress: Progress) -> Iterator[None]:
    """Holds the checkout's builds of images; a second one waits for the first."""
    with locked(paths.STATE / "build.lock", lambda: progress.note("another build of an image is at work; waiting for it")):
        yield


def build(name: str, mirror: str | None, progress: Progress, *, unsigned: bool = False, default: bool = False) -> str:
    """Makes the image that a recipe describes; its name.

    What was fetched stays, and the finished image replaces the old one at
    once: a build that was stopped is begun again without harm.  Raises SetupError.
    """
    path = find_recipe(name)
    try:
        return _build(read_recipe(path), mirror, progress, unsigned=unsigned, default=default)
    except OSError as error:
        raise disk_error(error, f"building {path.stem}") from error


def _build(recipe: Recipe, mirror: str | None, progress: Progress, *, unsigned: bool, default: bool) -> str:
    chosen = [] if recipe.source is not None else wanted_packages(recipe, mirror, progress, unsigned)
    with progress.within(0.0, FETCHED / 3):
        tools = packages.fetch([*packages.read_lock(), *packages.read_lock(TOOLS_LOCK.read_text())], mirror, progress)
    with progress.within(FETCHED / 3, FETCHED):
        files = packages.fetch(chosen, mirror, progress)
    kernel, modules = image.read_kernel(tools["linux-image"])
    wanted = image.wanted_modules("\n".join([(image.GUEST / "modules").read_text(), *recipe.modules]))
    with scratch_folder(BUILD) as folder:
        tree = folder / "root.tar"
        progress.begin(f"laying out {recipe.name}")
        with tree.open("wb") as file, progress.within(FETCHED, LAID_OUT):
            _lay_out(rootfs.RootTar(file), recipe, [files[packages.kind(package.name)] for package in chosen],
                     modules, wanted, progress)
        progress.end()
        (folder / "Image").write_bytes(kernel)
        (folder / "initrd").write_bytes(bootstrap.build_initrd(tools, modules))
        finished = folder / "image"
        finished.mkdir()
        progress.begin(f"building {recipe.name} in the machine ({size_words(tree.stat().st_size)})")
        with progress.within(LAID_OUT, 1.0):
            facts = _configure(recipe, folder, finished, progress)
        progress.end()
        (finished / "Image").write_bytes(kernel)
        (finished / "initrd").write_bytes(bootstrap.disk_initrd(tools, modules, bootstrap.BUILD_MODULES))
        (finished / "disk.json").write_text(json.dumps(facts, indent=2) + "\n")
        (finished / "image.json").write_text(json.dumps({
            "name": recipe.name, "kernel": "Image", "initrd": "initrd", "disk": "disk.json",
            "append": f"{image.APPEND} {recipe.append}".strip(), "harts": recipe.harts, "memory": recipe.memory,
            "description": recipe.description, **({"agent": recipe.agent} if recipe.agent else {}),
        }, indent=2) + "\n")
        replace_folder(finished, image.IMAGES / recipe.name)
    image.add_to_index(recipe.name, default=default)
    return recipe.name


def _lay_out(
    tar: rootfs.RootTar, recipe: Recipe, chosen: list[Path], modules: dict[str, kmod.ModuleFile], wanted: dict[str, bool],
    progress: Progress,
) -> None:
    """The archive that the building machine unpacks; `chosen` are the packages' files."""
    if recipe.source is not None:
        rootfs_import.copy_root(recipe.source, tar)
    else:
        rootfs.write_packages(tar, chosen, recipe.packages, progress)
        if any(package.name.startswith("kmod_") for package in chosen):
            rootfs.write_modules(tar, modules, wanted)
    tar.file("hartwell/configure", (image.GUEST / "build" / "configure").read_bytes(), 0o755)
    rootfs.write_files(tar, compiled(recipe.files))
    if recipe.commands:
        tar.file("hartwell/commands", "".join(f"{command}\n" for command in recipe.commands).encode())
    tar.close()


def compiled(files: Iterable[File]) -> list[File]:
    """The recipe's files, helpers as the programs that they are."""
    return [replace(file, data=image.build_helper(file.helper)) if file.helper else file for file in files]


def _configure(recipe: Recipe, folder: Path, finished: Path, progress: Progress) -> dict[str, object]:
    """Runs the building machine; the disk's description."""
    done = 0
    facts: dict[str, object] = {}

    total = 1

    def heard(line: str) -> None:
        nonlocal done, total
        if line.startswith("build: "):
            progress.note(f"  {line.removeprefix('build: ')}")
            if counted := re.match(r"build: configuring (\d+) packages", line):
                total = int(counted[1])
        elif line.startswith("build-disk: "):
            facts.update(json.loads(line.removeprefix("build-disk: ")))
        elif line.startswith("build-package: "):
            done += 1
            progress.part(UNPACKED + (CONFIGURED - UNPACKED) * done / total)
            if done % 25 == 0 or progress.out.isatty():
                progress.note(f"  {done} packages: {line.removeprefix('build-package: Setting up ').removesuffix(' ...')}")

    # An identity of the recipe, not of the moment: the same recipe gives the same names.
    identity = uuid.uuid5(uuid.NAMESPACE_OID, digest(recipe.name, repr(recipe.packages), repr(recipe.files)))
    append = f"{image.APPEND} quiet hartwell.epoch={EPOCH} hartwell.uuid={identity}"
    options = {
        "kernel": str(folder / "Image"), "initrd": str(folder / "initrd"), "append": append, "memory": BUILD_MEMORY,
        "disks": [{"size": recipe.size, "cache": BUILD_CACHE},
                  {"source": str(folder / "root.tar"), "read_only": True}],
        "share": None, "network": None, "jit": True,
    }
    bootstrap.run({"script": SCRIPT, "arguments": ["build", json.dumps(options), str(finished)]}, heard)
    if not facts:
        raise SetupError(f"{recipe.name}: the disk was not written")
    return facts

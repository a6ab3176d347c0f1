"""What a machine is to be made of: the arguments of `Machine.boot`, checked and fetched.

Everything that can be wrong with them is found here, before a machine that
runs is given up for the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hartwell.boot import check_kernel, unpack
from hartwell.disks import Disk, DiskPlan, plan_disk
from hartwell.elf import read_elf
from hartwell.errors import BadConfiguration, HartwellError
from hartwell.images import Image, load_image
from hartwell.layout import MAX_DISKS
from hartwell.memory_plan import MemoryPlan, plan_memory
from hartwell.platform import Blob, Platform
from hartwell.sizes import parse_size

Source = str | Path | bytes | bytearray
DiskSource = Source | Disk | Mapping[str, Any]  # a mapping: the fields of a Disk

DEFAULT_APPEND = "console=ttyS0"
BARE_SLOTS = 8  # QEMU's number; a bare program has no driver that probes for more


@dataclass
class Request:
    """All that a machine is built from."""

    name: str
    plan: MemoryPlan
    kernel: Blob
    kernel_name: str
    bare: bool
    initrd: Blob | None = None
    append: str = ""
    firmware: Blob | None = None
    disks: list[DiskPlan] = field(default_factory=list)
    agent: str | None = None
    """"qemu": the guest runs qemu-guest-agent."""
    options: dict[str, str] = field(default_factory=dict)
    """What Machine.boot was given, as far as it can be said again after a sleep."""
    named: bool = False
    """All that it is started from has a name, so it can be fetched again."""
    stale: bool = False
    """What it is started from is not held, and must be fetched before a restart."""

    def let_go(self, platform: Platform) -> None:
        """Once RAM has them: kernel and initramfs (some 40 MB) are not kept for a restart that may never come."""
        if not self.named or self.bare:
            return
        nothing = platform.blob(b"")
        self.kernel, self.initrd = nothing, self.initrd and nothing
        self.stale = True


async def make_request(
    platform: Platform, *, image: str | None, harts: int | None, memory: str | int | None,
    kernel: Source | None, initrd: Source | None, append: str | None, disks: Sequence[DiskSource],
    firmware: Source | None, bare: Source | None, overlay: str | None = "default",
    new: bool = False, ahead: bool = False,
) -> Request:
    """Fetches what is named and checks it all.

    new: a machine is made of it at once, so the workers of its harts may start while it is fetched.
    ahead: it uses what was translated of its image ahead.

    Raises BadConfiguration, BadKernel, BadElf, ImageNotFound, or
    FileNotFoundError for a source that is not there.
    """
    if bare is not None:
        given = [name for name, value in (("image", image), ("kernel", kernel), ("initrd", initrd), ("append", append),
                                          ("firmware", firmware)) if value is not None]
        if given:
            raise BadConfiguration(f"bare: a bare program has no {given[0]}; give one of the two")
    # What costs nothing to check comes before what is fetched.
    if not isinstance(disks, (list, tuple)):
        raise BadConfiguration(f"disks: {disks!r}; a list of images, or of hartwell.disks.Disk, is expected")
    if overlay is not None and (not isinstance(overlay, str) or not overlay):
        raise BadConfiguration(f"overlay: {overlay!r} is no name; None forgets what is written")
    _append(None, append)
    wanted_harts, wanted_memory = _harts(harts), None if memory is None else _memory(memory)
    if wanted_memory is not None:
        plan_memory(wanted_memory, wanted_harts or 1)
    elif wanted_harts is not None:
        plan_memory(512 << 20, wanted_harts)
    chosen = await load_image(platform, image) if bare is None and (image is not None or kernel is None) else None
    if wanted_harts is None:
        wanted_harts = chosen.harts if chosen else 1
    if wanted_memory is None:
        wanted_memory = _memory(chosen.memory if chosen else "512M")
    asked = _disks(chosen, disks, overlay)
    if len(asked) > MAX_DISKS:
        raise BadConfiguration(f"disks: {len(asked)}, with the image's own; a machine has at most {MAX_DISKS}")
    found = [await plan_disk(platform, *named) for named in asked]
    plan = plan_memory(wanted_memory, wanted_harts, sum(disk.room for disk in found))
    if new:
        platform.expect_harts(plan.harts, chosen.name if chosen and ahead else "")
    placed, at = [], plan.values["blob_offset"]
    for disk in found:
        placed.append(disk.at(at))
        at += disk.room

    if bare is not None:
        program, called = await _fetch(platform, bare), _called(bare, "program")
        read_elf(program.read(0, program.size), called)
        return Request(called, plan, program, called, True, disks=placed)

    if kernel is not None:
        source: Source = kernel
    else:
        assert chosen is not None
        source = chosen.kernel
    called = _called(source, "kernel")
    ram = initrd if initrd is not None else chosen.initrd if chosen else None
    # At once: most of it is waiting for a server.
    packed, in_memory, in_machine_mode = await asyncio.gather(
        _fetch(platform, source), _fetch_if(platform, ram), _fetch_if(platform, firmware))
    blob = unpack(platform, packed, called)
    check_kernel(blob, called)
    return Request(
        chosen.name if chosen else called, plan, blob, called, False,
        initrd=in_memory,
        append=_append(chosen.append if chosen else None, append),
        firmware=in_machine_mode,
        disks=placed, agent=chosen.agent if chosen else None,
        named=not any(isinstance(given, (bytes, bytearray)) for given in (kernel, initrd, firmware)),
    )


def said(**sources: Source | None) -> dict[str, str]:
    """Those arguments of Machine.boot that are names; bytes are not kept."""
    return {name: str(value) for name, value in sources.items() if isinstance(value, (str, Path))}


async def renew(request: Request, platform: Platform) -> None:
    """Before a machine starts once more: fetches what it is started from, where that is not held.

    Raises as make_request does, and BadConfiguration where bytes were given to
    Machine.boot, which no snapshot keeps.
    """
    if not request.stale:
        return
    said = dict(request.options)
    if not said.keys() & {"image", "kernel", "bare"}:
        said["image"] = request.name
    try:
        fresh = await make_request(
            platform, harts=request.plan.harts, memory=request.plan.ram_bytes, disks=(), image=said.get("image"),
            kernel=said.get("kernel"), initrd=said.get("initrd"), append=said.get("append"),
            firmware=said.get("firmware"), bare=said.get("bare"),
        )
    except HartwellError as error:
        raise BadConfiguration(
            f"{request.name}: what the machine was booted from is no longer at hand ({error}), so it can't start again; "
            "boot a new one"
        ) from None
    for name in ("kernel", "kernel_name", "initrd", "append", "firmware"):
        setattr(request, name, getattr(fresh, name))
    request.stale = False


def _disks(image: Image | None, disks: Sequence[DiskSource], overlay: str | None) -> list[tuple[Disk, str]]:
    """The image's own disk, then those asked for, each with a name for messages."""
    all_disks = [_disk(disk) for disk in disks]
    named = [(disk, _called(disk.source, "disk") if disk.source is not None else "empty") for disk in all_disks]
    if image is None or image.disk is None:
        return named
    default = overlay == "default"
    own = Disk(image.disk, overlay=image.name if default else overlay, optional=default)
    return [(own, image.name), *named]


def _disk(given: DiskSource) -> Disk:
    if isinstance(given, Mapping):
        if unknown := sorted(str(name) for name in given.keys() - {field.name for field in fields(Disk)}):
            raise BadConfiguration(f"disks: {unknown[0]!r} says nothing of a disk; see hartwell.disks.Disk")
        given = Disk(**given)
    disk = given if isinstance(given, Disk) else Disk(given)
    if disk.overlay is not None and (not isinstance(disk.overlay, str) or not disk.overlay):
        raise BadConfiguration(f"disks: overlay {disk.overlay!r} is no name; None forgets what is written")
    return disk


def _append(image: str | None, given: str | None) -> str:
    if given is not None and not isinstance(given, str):
        raise BadConfiguration(f"append: {given!r} is no text")
    if given is not None and ("\0" in given or any("\ud800" <= letter <= "\udfff" for letter in given)):
        raise BadConfiguration("append: the kernel's command line cannot hold a zero character, or half of one")
    if image is None:
        return DEFAULT_APPEND if given is None else given
    return f"{image} {given}".strip() if given else image


def _harts(harts: int | None) -> int | None:
    if harts is not None and (isinstance(harts, bool) or not isinstance(harts, int)):
        raise BadConfiguration(f"harts: {harts!r} is not a whole number")
    return harts


def _memory(size: str | int) -> int:
    return parse_size(size)


def _called(source: Source, what: str) -> str:
    return what if isinstance(source, (bytes, bytearray)) else str(source)


async def _fetch(platform: Platform, source: Source) -> Blob:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return platform.blob(bytes(source))
    if not isinstance(source, (str, Path)):
        raise HartwellError(f"{source!r}: a name, a path, a URL or bytes are expected, not {type(source).__name__}")
    return await platform.fetch(str(source))


async def _fetch_if(platform: Platform, source: Source | None) -> Blob | None:
    return None if source is None else await _fetch(platform, source)

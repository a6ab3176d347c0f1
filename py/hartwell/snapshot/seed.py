"""Stores what a machine has of its image before it is saved for the first time.

Most of a booted machine's chunks are those of the same image as set-up booted
it (kernel, initramfs, what start-up reads): 92 % of the bytes of `shell`.  Their
frames are in that snapshot's file, made, and are put into the store as they
are while the machine settles.  So its first save finds them there.  A record of
its own names them until then; afterwards the machine's does.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from hartwell.errors import HartwellError
from hartwell.snapshot.manifest import parse

if TYPE_CHECKING:
    from hartwell.machine import Machine

KIND = "seed"
SECONDS = 2.0  # after the guest's agent is there: a boot has the processors to itself
LEAST_ROOM = 4  # times what is stored, as long as the browser tells a quota
OTHERS = frozenset({"kernel", "initrd", "firmware"})  # given to a boot, they are not the image's


async def seed(machine: Machine, address: str) -> None:
    """For a machine that was booted.  `address`: its image's snapshot that set-up made."""
    store = machine._platform.store
    while machine.alive and not (machine._agent and machine._agent.present):
        await asyncio.sleep(SECONDS / 4)
    await asyncio.sleep(SECONDS)
    if store is None or not _useful(machine):
        return
    with contextlib.suppress(HartwellError):  # then its first save takes longer
        room = await store.room()
        pack, text = await store.open_pack(address)
        try:
            manifest = parse(text, address)
            # What its wake needed is where this one's will look, too, as far as both lie alike.
            machine._saver.then(manifest.order)
            if room.quota and LEAST_ROOM * manifest.stored() > room.quota - room.used:
                return
            machine._saver.seeded = True
            # First, so that nobody drops what has come until the rest has.
            await store.put_record(KIND, machine.image, about="{}", text="", refs=manifest.refs())
            await store.import_pack(pack)
        finally:
            await store.close_pack(pack)


def _useful(machine: Machine) -> bool:
    """Will it be saved, and was not yet?"""
    return machine.alive and machine.name is None and bool(type(machine).checkpoint_seconds)

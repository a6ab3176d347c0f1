"""struct Machine and struct Hart in a snapshot.

The structures travel as they lie in memory, with a description of themselves
(name, type and count of each field), so a later version of Hartwell finds
every field it still has by its name.  Fields that are caches, or that belong
to the memory rather than to the guest, are not restored.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from hartwell.errors import SnapshotCorrupt
from hartwell.layout import HART_BASE, HART_STRIDE, LAYOUT, MACHINE_BASE, MAX_VIRTIO, STRUCTS, VIRTIO_QUEUES, field
from hartwell.memory_plan import plan_memory
from hartwell.platform import Core

_SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "f64": 8}
_PLANNED = frozenset(plan_memory(1 << 20, 1).values)

# What machine_init, the plan or machine_woken (cpu/machine/snapshot.c) sets anew.
_MACHINE_OWN = _PLANNED | {
    "magic", "layout_version", "hart_count", "control", "stop_reason", "exit_code", "doorbell", "doorbell_count",
    "running_harts", "code_head", "code_seq", "code_lock", "absent_pages", "time_base_us", "time_frozen", "time_lock",
    "time_pad", "debug", "snapshot", "trace",
}
_HART_OWN = frozenset({
    "id", "attention", "state", "mem_mode", "fetch_mode", "tlb_read", "tlb_write", "tlb_mask", "ram_bits", "tlb_hit",
    "wake", "budget_end", "reservation", "reservation_value", "reservation_valid", "reservation_size", "rfence_kind",
    "rfence_request", "rfence_ack", "executing", "active", "code_seen", "code_ack", "code_issued", "fetch_pin",
    "journal_count", "set_ready", "fetch_gen", "fetch_seen", "fetch_local", "decode_next", "decode_free", "page_wanted",
    "super_low", "super_high", "debug", "trace",
})
# Wherever they are: a lock that nobody holds, where this memory has a ring's or a disk's bytes, and
# what becomes of changes to a disk.
_PLACES = frozenset({
    "lock", "offset", "image_offset", "map_offset", "marks_offset", "frame_offset", "data_offset", "frames", "durable",
})

Description = dict[str, list[list[Any]]]


def description() -> Description:
    """The structures of this version, as a manifest has them."""
    return {name: [[f[0], f[1], f[2] if len(f) == 3 else 1] for f in fields] for name, fields in STRUCTS.items()}


def names(harts: int) -> list[str]:
    """What the structures of a machine are called."""
    return ["Machine", *(f"Hart.{hart}" for hart in range(harts))]


def base_of(name: str) -> int:
    """Where a structure lies."""
    kind, _, hart = name.partition(".")
    return HART_BASE + int(hart) * HART_STRIDE if kind == "Hart" else MACHINE_BASE


def read(core: Core) -> dict[str, bytes]:
    """The structures of a paused machine."""
    return {name: core.read(base_of(name), LAYOUT[name.split(".")[0]].size) for name in names(core.plan.harts)}


def restore(core: Core, structures: dict[str, bytes], described: Description) -> None:
    """Writes the guest's state into a fresh machine's structures.

    Raises SnapshotCorrupt when a structure is not of the size described.
    """
    fresh = read(core)
    for name, data in structures.items():
        core.write(base_of(name), merged(fresh[name], name, data, described))


def merged(fresh: bytes, name: str, data: bytes, described: Description | None = None) -> bytes:
    """A structure with the guest's state, from `data`, and the rest from `fresh`.

    described: how `data` lies, when it may be another version's.  Raises
    SnapshotCorrupt when it is not of the size described.
    """
    kind = name.split(".")[0]
    same = described is None or described == description()
    if (size := LAYOUT[kind].size if same else size_of(kind, described or {})) != len(data):
        raise SnapshotCorrupt(f"state of {name}: {len(data)} bytes, but its description makes {size}")
    image = bytearray(fresh)
    for offset, there, count in _runs(kind) if same else _moves(kind, described or {}):
        image[offset : offset + count] = data[there : there + count]
    return bytes(image)


def prepare() -> None:
    """Works out what a wake needs and every wake has alike, for a Python that is kept with it."""
    for kind in ("Machine", "Hart"):
        _runs(kind)
    _queue_parts()


def _moves(kind: str, described: Description) -> Iterator[tuple[int, int, int]]:
    """Of each field that both have: where it is here, where there, and bytes."""
    theirs = places(kind, described)
    for path, (offset, count) in kept(kind).items():
        if path in theirs:
            there, known = theirs[path]
            yield offset, there, min(count, known)


@cache
def _runs(kind: str) -> list[tuple[int, int, int]]:
    """The same for a structure of this very version, in few pieces."""
    runs: list[tuple[int, int, int]] = []
    for offset, count in sorted(kept(kind).values()):
        if runs and runs[-1][0] + runs[-1][2] == offset:
            runs[-1] = (runs[-1][0], runs[-1][0], runs[-1][2] + count)
        else:
            runs.append((offset, offset, count))
    return runs


def digest_input(core: Core) -> Iterator[bytes]:
    """The bytes of all that `restore` would restore, for a digest of the state."""
    for name, data in read(core).items():
        for offset, count in kept(name.split(".")[0]).values():
            yield data[offset : offset + count]


@cache
def kept(kind: str) -> dict[str, tuple[int, int]]:
    """Path -> (offset, bytes) of what is the guest's, in this version."""
    own = _MACHINE_OWN if kind == "Machine" else _HART_OWN
    return {
        path: place
        for path, place in places(kind, description()).items()
        if (parts := path.split("."))[0] not in own and parts[-1] not in _PLACES and not parts[0].startswith("jit")
    }


def places(kind: str, described: Description) -> dict[str, tuple[int, int]]:
    """Path -> (offset, bytes) of each field, nested ones as ``virtio.3.queue.0.num``."""
    found: dict[str, tuple[int, int]] = {}
    _walk(kind, described, "", 0, found, 0)
    return found


def size_of(kind: str, described: Description) -> int:
    """Bytes of a structure by C's rules."""
    return _walk(kind, described, "", 0, {}, 0)[0]


def _walk(
    kind: str, described: Description, prefix: str, base: int, found: dict[str, tuple[int, int]], depth: int
) -> tuple[int, int]:
    """Enters the fields of a structure at `base`; its size and alignment."""
    at, align = 0, 1
    if depth > 8 or kind not in described:
        raise SnapshotCorrupt(f"layout: {kind} is described nowhere, or in terms of itself")
    for name, inner, count in described[kind]:
        if not isinstance(count, int) or not 1 <= count <= 65536 or len(found) > 100_000:
            raise SnapshotCorrupt(f"layout: {kind}.{name} has a count of {count!r}")
        size, own = (_SIZES[inner],) * 2 if inner in _SIZES else _walk(inner, described, "", 0, {}, depth + 1)
        at = -(-at // own) * own
        if inner in _SIZES:
            found[prefix + name] = (base + at, size * count)
        else:
            for index in range(count):
                place = f"{prefix}{name}.{index}." if count > 1 else f"{prefix}{name}."
                _walk(inner, described, place, base + at + index * size, found, depth + 1)
        at += size * count
        align = max(align, own)
    return -(-at // align) * align, align


def queue_places(machine: bytes) -> list[int]:
    """Guest addresses of the queues of a machine (its structure's bytes): devices look there as soon as they may."""
    found = (int.from_bytes(machine[at : at + 8], "little") for at in _queue_parts())
    return [place for place in found if place]


@cache
def _queue_parts() -> list[int]:
    return [
        field(f"Machine.virtio.queue.{part}", slot, queue).offset - MACHINE_BASE
        for slot in range(MAX_VIRTIO) for queue in range(VIRTIO_QUEUES) for part in ("desc", "avail", "used")
    ]


def set_generation(core: Core, generation: bytes) -> None:
    """The 16 bytes that tell the guest's kernel that it woke (vmgenid)."""
    core.write(field("Machine.snapshot.generation").offset, generation)

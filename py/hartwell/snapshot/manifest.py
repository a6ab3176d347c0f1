"""The text of a snapshot: docs/snapshot-format.md.

One line, `hartwell-snapshot FORMAT SHA256`, then JSON in ASCII whose
bytes have that digest.  Everything in it is hostile until `parse` has checked it; what
comes out is safe to build a machine from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct
from dataclasses import dataclass, field
from typing import Any

from hartwell.errors import HartwellError, SnapshotCorrupt, SnapshotVersion
from hartwell.layout import MAX_DISKS, PAGE, VIRTIO_QUEUES
from hartwell.memory_plan import plan_memory
from hartwell.platform.store import CHUNK, DIGEST, ZEROS
from hartwell.snapshot.structures import Description, description

FORMAT = 1
LARGEST_TEXT = 64 << 20
NAME_LENGTH = 200
MOST_CELLS = 4096  # columns, or rows, of a terminal
ENTRY = 4 + DIGEST  # of a disk's list: chunk (u32, little-endian), digest
_HEAD = re.compile(r"hartwell-snapshot (\d{1,9}) ([0-9a-f]{64})\n")
_CHUNK = struct.Struct(f"<II{DIGEST}s")  # number, stored bytes, digest
_AREAS = ("ram", "rings", "blob")


@dataclass
class Area:
    """A part of linear memory: `chunks` has the digest and stored size of each chunk that is not zero."""

    size: int  # bytes
    chunks: dict[int, tuple[bytes, int]] = field(default_factory=dict)

    def length(self, index: int) -> int:
        """Bytes of a chunk; the last one may be shorter."""
        return min(CHUNK, self.size - index * CHUNK)

    def packed(self) -> bytes:
        """The chunks as a manifest has them."""
        return b"".join([_CHUNK.pack(index, size, digest) for index, (digest, size) in sorted(self.chunks.items())])


@dataclass
class Manifest:
    """All that a snapshot says."""

    identity: str  # of the machine, for locks; forks have others
    name: str
    image: str
    harts: int
    memory: int  # bytes
    bare: bool
    firmware: bool
    options: dict[str, Any]  # what Machine.boot was given, as far as it can be said again
    disks: list[dict[str, Any]]  # DiskPlan.said(), and of those with an overlay born, generation, changed (bytes)
    structures: dict[str, bytes]
    areas: dict[str, Area]
    devices: dict[str, Any] = field(default_factory=dict)  # slot -> state of a device in Python
    console: dict[str, Any] = field(default_factory=dict)
    agent: dict[str, Any] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)  # chunks of RAM in the order of their first touch
    paused: bool = False
    time: float = 0.0  # seconds since the Unix epoch, when the machine stood still
    layout: Description = field(default_factory=description)
    recipe: dict[str, Any] = field(default_factory=dict)  # of recipe.py, for JavaScript

    # --- text ---------------------------------------------------------------

    def text(self) -> str:
        """The manifest as it is stored."""
        body = json.dumps({
            "machine": {
                "identity": self.identity, "name": self.name, "image": self.image, "harts": self.harts,
                "memory": self.memory, "bare": self.bare, "firmware": self.firmware, "options": self.options,
                "disks": [_disk_text(disk) for disk in self.disks], "paused": self.paused, "time": self.time,
            },
            "layout": self.layout,
            "structures": {name: base64.b64encode(data).decode() for name, data in self.structures.items()},
            "areas": {
                name: {"bytes": area.size, "chunks": base64.b64encode(area.packed()).decode()}
                for name, area in self.areas.items()
            },
            "order": self.order, "devices": self.devices, "console": self.console, "agent": self.agent,
            "recipe": self.recipe,
        }, separators=(",", ":"))
        return f"hartwell-snapshot {FORMAT} {hashlib.sha256(body.encode()).hexdigest()}\n{body}"

    def refs(self) -> bytes:
        """The digests it needs, for the store."""
        digests = {digest for area in self.areas.values() for digest, _ in area.chunks.values()} | set(self.disk_refs())
        return b"".join(sorted(digests))

    def disk_refs(self) -> list[bytes]:
        """The digests of its disks' chunks."""
        found = []
        for disk in self.disks:
            changed = disk.get("changed", b"")
            found += [changed[at + 4 : at + ENTRY] for at in range(0, len(changed), ENTRY)]
        return [digest for digest in found if digest != ZEROS]

    def stored(self) -> int:
        """Bytes of its memory's chunks as stored, equal ones once."""
        return sum({digest: size for area in self.areas.values() for digest, size in area.chunks.values()}.values())

    def about(self) -> str:
        """What the shelf shows, as JSON."""
        return json.dumps({
            "identity": self.identity, "image": self.image, "harts": self.harts, "memory": self.memory,
            "stored": self.stored(), "time": self.time, "screen": str(self.console.get("screen", "")),
            "cols": self.console.get("cols", 80),
        })


def parse(text: str, called: str) -> Manifest:
    """Reads a manifest; `called` names it in errors.

    Raises SnapshotVersion for a format of the future, SnapshotCorrupt for
    everything else that is not as it must be.
    """
    if len(text) > LARGEST_TEXT:
        raise SnapshotCorrupt(f"{called}: its manifest has {len(text)} characters, more than any real one")
    head = _HEAD.match(text)
    if not head:
        raise SnapshotCorrupt(f"{called}: its manifest does not begin with 'hartwell-snapshot', a number and a digest")
    if int(head[1]) != FORMAT:
        raise SnapshotVersion(
            f"{called}: it is in format {head[1]}, this Hartwell reads format {FORMAT}; wake it with the version that made it"
        )
    body = text[head.end() :]
    found = hashlib.sha256(body.encode(errors="replace")).hexdigest()
    if found != head[2]:
        raise SnapshotCorrupt(f"{called}: its manifest is damaged (SHA-256 {found[:16]}..., written was {head[2][:16]}...)")
    try:
        return _manifest(json.loads(body), called)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise SnapshotCorrupt(f"{called}: its manifest lacks something or has it in another form: {error!r}") from None


def _manifest(tree: Any, called: str) -> Manifest:
    machine = tree["machine"]
    harts, memory = _number(machine["harts"], 1, 8), _number(machine["memory"], 1 << 20, 1 << 32)
    disks = [_disk(disk) for disk in machine["disks"]]
    if len(disks) > MAX_DISKS:
        raise ValueError(f"{len(disks)} disks, a machine has at most {MAX_DISKS}")
    areas = {str(name): _area(str(name), value) for name, value in tree["areas"].items()}
    if set(areas) != set(_AREAS) or areas["ram"].size != memory:
        raise ValueError(f"areas {sorted(areas)} of a machine with {memory} bytes of memory")
    try:
        plan_memory(memory, harts, areas["blob"].size)
    except HartwellError as error:
        raise SnapshotCorrupt(f"{called}: no machine can be as it says: {error}") from None
    structures = {str(name): _bytes(data) for name, data in tree["structures"].items()}
    wanted = {"Machine", *(f"Hart.{hart}" for hart in range(harts))}
    if set(structures) != wanted:
        raise ValueError(f"structures {sorted(structures)} instead of {sorted(wanted)}")
    chunks = -(-memory // CHUNK)
    return Manifest(
        identity=_word(machine["identity"]), name=str(machine["name"])[:NAME_LENGTH], image=str(machine["image"])[:NAME_LENGTH],
        harts=harts, memory=memory, bare=bool(machine["bare"]), firmware=bool(machine["firmware"]),
        options={str(option): _text(value) for option, value in machine["options"].items()}, disks=disks,
        structures=structures, areas=areas, devices={str(slot): _device(state) for slot, state in tree["devices"].items()},
        console=_console(tree["console"]), agent=_agent(tree["agent"]),
        order=[_number(index, 0, chunks - 1) for index in tree["order"]], paused=bool(machine["paused"]),
        time=float(machine["time"]), layout=_layout(tree["layout"]),
        recipe=dict(tree.get("recipe", {})),
    )


def _disk_text(disk: dict[str, Any]) -> dict[str, Any]:
    return {key: base64.b64encode(value).decode() if isinstance(value, bytes) else value for key, value in disk.items()}


def _disk(value: Any) -> dict[str, Any]:
    size = _number(value["bytes"], 1, 1 << 40)
    found: dict[str, Any] = {"name": str(value["name"])[:NAME_LENGTH], "bytes": size}
    if "kind" not in value:
        return found
    changed, chunks = _bytes(value["changed"]), -(-size // CHUNK)
    numbers = [int.from_bytes(changed[at : at + 4], "little") for at in range(0, len(changed), ENTRY)]
    if len(changed) % ENTRY or numbers != sorted(set(numbers)) or (numbers and numbers[-1] >= chunks):
        raise ValueError(f"disk {found['name']}: its list of {len(changed)} bytes is none of its {chunks} chunks")
    overlay, source, kind = value["overlay"], value["source"], str(value["kind"])
    if not isinstance(overlay, (str, type(None))) or not isinstance(source, (str, type(None))):
        raise ValueError(f"disk {found['name']}: {overlay!r} and {source!r} for names")
    if kind not in ("zeros", "raw", "chunks") or (source is None) != (kind == "zeros"):
        raise ValueError(f"disk {found['name']}: a base of kind {kind!r} from {source!r}")
    return found | {
        "kind": kind, "source": source, "digest": str(value["digest"]),
        "size": _number(value["size"], 0, 1 << 40), "frames": _number(value["frames"], 1, chunks),
        "read_only": bool(value["read_only"]), "overlay": overlay,
        "born": _number(value["born"], 0, 1 << 53), "generation": _number(value["generation"], 0, 1 << 53), "changed": changed,
    }


def _area(name: str, value: Any) -> Area:
    area = Area(_number(value["bytes"], 0, 1 << 32))
    if area.size % PAGE:
        raise ValueError(f"area {name} of {area.size} bytes")
    last = -(-area.size // CHUNK) - 1
    packed = _bytes(value["chunks"])
    if len(packed) % _CHUNK.size:
        raise ValueError(f"area {name}: a list of {len(packed)} bytes")
    for index, size, digest in _CHUNK.iter_unpack(packed):
        if digest == ZEROS or index > last or index in area.chunks:
            raise ValueError(f"area {name}: chunk {index} of {last + 1}, named {digest.hex()}")
        area.chunks[index] = (digest, size)
    return area


def _device(value: Any) -> dict[str, Any]:
    """Of a device in Python: its requests under way, as (queue, head); what else it keeps is its own to check."""
    state = dict(value)
    state["open"] = [[_number(queue, 0, VIRTIO_QUEUES - 1), _number(head, 0, 0xFFFF)] for queue, head in state.get("open", ())]
    return state


def _console(value: Any) -> dict[str, Any]:
    state = dict(value)
    for name in ("since", "typed"):
        _bytes(_text(state.get(name, "")))
    for name in ("base", "screen"):
        _text(state.get(name, ""))
    for name in ("cols", "rows"):
        _number(state.get(name, 1), 1, MOST_CELLS)
    return state


def _agent(value: Any) -> dict[str, Any]:
    state = dict(value)
    for name in ("line", "unsent"):
        _bytes(_text(state.get(name, "")))
    _number(state.get("next", 1), 1, 1 << 53)
    return state


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _layout(value: Any) -> Description:
    if not all(value.values()):
        raise ValueError("a structure without fields")
    return {
        str(name): [[str(inner), str(kind), _number(count, 1, 65536)] for inner, kind, count in fields]
        for name, fields in value.items()
    }


def _number(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{value!r} is no number from {low} to {high}")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f-]{1,64}", value):
        raise ValueError(f"{value!r} is no identity")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"bytes that are no base64: {error}") from None

"""Translations made ahead for an image: what a machine has translated, as one WebAssembly module.

Set-up boots an image once (setup/preboot.py) and keeps this of it; machines that boot or
wake with that image take from it what they would translate anew (cpu/jit/ahead.c).  The
module's functions are those of the machine's own modules, its custom section `SECTION` is
the table of what each was made of.  docs/decisions/0042-translations-ahead.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hartwell.layout import (
    JIT_AHEAD_BYTES,
    JIT_AHEAD_MAGIC,
    JIT_AHEAD_REGIONS,
    JIT_MODULES,
    JIT_REGIONS,
    JIT_SLOTS,
    LAYOUT,
    field,
)
from hartwell.platform import Core
from hartwell.wasm_format import MAGIC, Reader, bodies, counted, sections, signed, unsigned

SECTION = "hartwell.regions"
_HINTS = "metadata.code.branch_hint"
_CUSTOM, _TYPE, _IMPORT, _FUNCTION, _ELEMENT, _CODE = 0, 1, 2, 3, 9, 10
_NO_PAGE = 0xFFFF_FFFF  # of cpu/hart/hart.h
_FIRST_SLOT = 1024  # JIT_FIRST_SLOT of cpu/jit/jit.h
_SLOT = _FIRST_SLOT + JIT_SLOTS  # AHEAD_SLOT of cpu/jit/ahead.h
_FIRSTS = 2048 * 2  # bytes that cpu/jit/ahead.c keeps behind the table


@dataclass
class _Made:
    """A region: where it is entered, what it was made of, its function."""

    record: bytes
    ranges: bytes
    module: int
    body: bytes = b""
    hints: bytes = b""


def collect(core: Core, most: int = JIT_AHEAD_REGIONS) -> bytes:
    """The module of all that is translated now, of `most` regions that were made first; b"" when that is nothing.

    The machine may run: what another hart is about to register is left out, and
    where a segment was given up meanwhile all is read again.
    """
    while True:
        epoch = _words(core, "jit.epoch")
        regions = _regions(core)
        try:
            head = _functions(core, regions)
        except (ValueError, IndexError):
            if _words(core, "jit.epoch") == epoch:
                raise
        if _words(core, "jit.epoch") == epoch:
            break
    made = [one for one in regions.values() if one.body][:most]
    room = JIT_AHEAD_BYTES - _FIRSTS - LAYOUT["JitAheadHead"].size
    while made and sum(len(one.record) + len(one.ranges) for one in made) > room:
        made.pop()
    return _module(core, made, head) if made else b""


def table_of(module: bytes) -> bytes:
    """The table in it.  ValueError when there is none."""
    for kind, body in sections(module):
        if kind == _CUSTOM:
            reader = Reader(body)
            if reader.name() == SECTION:
                return body[reader.at :]
    raise ValueError(f"it has no section {SECTION}")


# --- what the machine has ---------------------------------------------------------


def _words(core: Core, name: str) -> int:
    return core.load(field(f"Machine.{name}").offset)


def _regions(core: Core) -> dict[int, _Made]:
    """By table slot; of equal code at two places the first.  A function that calls itself
    does so by its number in its module: it is left out."""
    size, fields = LAYOUT["JitRegion"].size, LAYOUT["JitRegion"].fields
    count = min(_words(core, "jit.region_count"), JIT_REGIONS)
    data = core.read(_words(core, "jit_regions_offset"), count * size)
    seen: set[tuple[int, bytes]] = set()
    found: dict[int, _Made] = {}
    for at in range(0, len(data), size):
        key, _, slot, module, ranges, range_count, insns = struct.unpack_from("<IIIIIHH", data, at)
        code_hash = data[at + fields["hash"].offset :][:8]
        alone = not struct.unpack_from("<H", data, at + fields["calls_itself"].offset)[0]
        if not key or not alone or module >= JIT_MODULES or not _FIRST_SLOT <= slot < _SLOT:
            continue
        entry = (key - 1) % 2048 * 2
        if (entry, code_hash) in seen:
            continue
        seen.add((entry, code_hash))
        touched = 0
        for number in range(fields["page"].count):
            page = struct.unpack_from("<I", data, at + fields["page"].offset + number * fields["page"].size)[0]
            touched |= (page != _NO_PAGE) << number
        record = struct.pack("<8sIHHHHHH", code_hash, 0, range_count, insns, entry, touched, 0, 0)
        found[slot] = _Made(record, core.read(ranges, 4 * range_count), module)
    return found


def _functions(core: Core, regions: dict[int, _Made]) -> dict[int, bytes]:
    """Gives each region its function; sections of a module that are the same in all.

    Of modules that no region names the table may still have what they were before
    their segment was given up (next_segment of cpu/jit/registry.c).
    """
    size = LAYOUT["JitModule"].size
    data = core.read(_words(core, "jit_modules_offset"), JIT_MODULES * size)
    head: dict[int, bytes] = {}
    for number in sorted({one.module for one in regions.values()}):
        code, count, first, _ = struct.unpack_from("<IIII", data, number * size)
        module = core.read(code, count)
        hints: dict[int, bytes] = {}
        for kind, body in sections(module):
            if kind in (_TYPE, _IMPORT):
                head[kind] = body
            elif kind == _CUSTOM:
                hints = dict(_hints(body))
            elif kind == _CODE:
                for index, function in enumerate(bodies(body)):
                    if (made := regions.get(first + index)) is not None:
                        made.body, made.hints = function, hints.get(index, b"")
    return head


# --- its file -------------------------------------------------------------------------


def _hints(section: bytes) -> Iterator[tuple[int, bytes]]:
    """Of each function its hints, as they are in the section."""
    reader = Reader(section)
    if reader.name() != _HINTS:
        return
    for _ in range(reader.unsigned()):
        function = reader.unsigned()
        begin = reader.at
        for _ in range(reader.unsigned()):
            reader.unsigned()
            reader.at += 2
        yield function, section[begin : reader.at]


def _module(core: Core, made: list[_Made], head: dict[int, bytes]) -> bytes:
    def section(kind: int, *parts: bytes) -> bytes:
        return bytes([kind]) + counted(b"".join(parts))

    count = len(made)
    hinted = [unsigned(number) + one.hints for number, one in enumerate(made) if one.hints]
    return b"".join((
        MAGIC,
        section(_TYPE, head[_TYPE]),
        section(_IMPORT, head[_IMPORT]),
        section(_FUNCTION, unsigned(count), bytes(count)),  # all of type 0, TYPE_REGION of cpu/jit/emit.h
        section(_ELEMENT, b"\1\0\x41", signed(_SLOT), b"\x0b", unsigned(count), *(unsigned(number) for number in range(count))),
        section(_CUSTOM, counted(_HINTS.encode()), unsigned(len(hinted)), *hinted),
        section(_CODE, unsigned(count), *(counted(one.body) for one in made)),
        section(_CUSTOM, counted(SECTION.encode()), _table(core, made)),
    ))


def _table(core: Core, made: list[_Made]) -> bytes:
    records, at = [], 0
    for one in made:
        records.append(one.record[:8] + at.to_bytes(4, "little") + one.record[12:])
        at += len(one.ranges) // 4
    head = struct.pack(
        "<IIIIII", JIT_AHEAD_MAGIC, len(made), at, _words(core, "tlb_bits"), _words(core, "jit.features"), 0)
    return head + b"".join(records) + b"".join(one.ranges for one in made)

"""Maple trees and xarrays: how Linux keeps ranges and pages.
Linux Documentation/core-api/maple_tree.rst, xarray.rst; include/linux/maple_tree.h.

A maple node pointer holds the node's type in bits 3 to 6 of its address; a
node is 256 bytes.  Which slots a type has stands in the kernel's own types.
"""

from __future__ import annotations

from collections.abc import Iterator

from hartwell.linux.kernel import Kernel

_DENSE, _LEAF, _RANGE, _ALLOCATION = range(4)
_NODE = 256
_DEEPEST = 12
_MASK64 = (1 << 64) - 1


def maple_entries(kernel: Kernel, tree: int) -> Iterator[tuple[int, int, int]]:
    """(first, last, entry) of every range of a maple tree that holds something."""
    root = kernel.field(tree, "maple_tree", "ma_root")
    if root & 3 != 2 or root < 4096:  # xa_is_node
        if root:
            yield 0, 0, root
        return
    yield from _walk(kernel, root, 0, _MASK64, 0)


def _walk(kernel: Kernel, pointer: int, low: int, high: int, depth: int) -> Iterator[tuple[int, int, int]]:
    kind = pointer >> 3 & 15
    if depth > _DEEPEST or kind not in (_LEAF, _RANGE, _ALLOCATION):
        return
    node = kernel.space.read(pointer & ~(_NODE - 1), _NODE)
    layout = kernel.struct("maple_arange_64" if kind == _ALLOCATION else "maple_range_64")
    pivots, slots = layout["pivot"], layout["slot"]
    count, pivot_count = slots.size // 8, pivots.size // 8
    start = low
    for i in range(count):
        pivot = int.from_bytes(node[pivots.offset + 8 * i :][:8], "little") if i < pivot_count else high
        if i and not pivot:
            pivot = high
        last = min(pivot, high)
        slot = int.from_bytes(node[slots.offset + 8 * i :][:8], "little")
        if slot:
            if kind == _LEAF:
                yield start, last, slot
            else:
                yield from _walk(kernel, slot, start, last, depth + 1)
        if last >= high:
            return
        start = last + 1


def xarray_entries(kernel: Kernel, xarray: int) -> Iterator[tuple[int, int, int]]:
    """(index, entry, indexes that it covers) of what an xarray holds.  Values
    (shadows of pages that were dropped) are left out."""
    head = kernel.field(xarray, "xarray", "xa_head")
    if head & 3 == 2 and head > 4096:
        yield from _nodes(kernel, head - 2, 0, 0)
    elif head & 3 == 0 and head:
        yield 0, head, 1


def _nodes(kernel: Kernel, node: int, base: int, depth: int) -> Iterator[tuple[int, int, int]]:
    if depth > _DEEPEST:
        return
    layout = kernel.struct("xa_node")
    data = kernel.space.read(node, layout.size)
    shift, slots = data[layout.offset("shift")], layout["slots"]
    count = slots.size // 8
    entries = [int.from_bytes(data[slots.offset + 8 * i :][:8], "little") for i in range(count)]
    for i, entry in enumerate(entries):
        index = base + (i << shift)
        if entry & 3 == 2 and entry > 4096:
            yield from _nodes(kernel, entry - 2, index, depth + 1)
        elif entry and entry & 3 == 0:
            # Slots that hold "see slot i" belong to the same entry (xa_mk_sibling).
            last = i
            while last + 1 < count and entries[last + 1] == i << 2 | 2:
                last += 1
            yield index, entry, (last - i + 1) << shift

"""The layout of a machine's memory: one description for C and Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hartwell.layout import (
    CONSTANTS,
    HART_BASE,
    HART_STRIDE,
    LAYOUT,
    MACHINE_BASE,
    MAX_HARTS,
    MAX_VIRTIO,
    PLIC_SOURCES,
    RAM_OFFSET,
    RING_BASE,
    STACK_BASE,
    STACK_SIZE,
    c_header,
    field,
)


def compile_header(text: str, folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    source = folder / "layout.c"
    source.write_text(text)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    return subprocess.run(
        [*command, "-c", str(source), "-o", str(folder / "layout.o")], check=False, capture_output=True, text=True,
        timeout=900,
    )


@pytest.mark.parametrize("target", ["wasm32-freestanding", "x86_64-linux-musl"])
def test_c_agrees_with_every_offset_and_size(tmp_path: Path, target: str) -> None:
    text = c_header()
    for struct in LAYOUT.values():
        assert f"sizeof(struct {struct.name}) == {struct.size}," in text
        for name, slot in struct.fields.items():
            assert f"offsetof(struct {struct.name}, {name}) == {slot.offset}," in text
    done = compile_header(text, tmp_path, target)
    assert done.returncode == 0, done.stderr


def test_c_refuses_a_wrong_offset(tmp_path: Path) -> None:
    right = f"offsetof(struct Hart, pc) == {LAYOUT['Hart'].fields['pc'].offset}"
    text = c_header()
    assert right in text
    done = compile_header(text.replace(right, "offsetof(struct Hart, pc) == 8"), tmp_path, "wasm32-freestanding")
    assert done.returncode != 0
    assert "Hart.pc" in done.stderr


def test_fields_follow_each_other_without_overlap() -> None:
    for struct in LAYOUT.values():
        end = 0
        for name, slot in struct.fields.items():
            assert slot.offset >= end, f"{struct.name}.{name}"
            own = LAYOUT[slot.type].align if slot.type in LAYOUT else slot.size
            assert slot.offset % own == 0, f"{struct.name}.{name}"
            end = slot.offset + slot.size * slot.count
        assert struct.size >= end
        assert struct.size % struct.align == 0


def test_the_fixed_parts_do_not_touch() -> None:
    assert MACHINE_BASE + LAYOUT["Machine"].size <= HART_BASE
    assert LAYOUT["Hart"].size <= HART_STRIDE
    assert HART_BASE + MAX_HARTS * HART_STRIDE <= STACK_BASE
    assert STACK_BASE + (MAX_HARTS + 1) * STACK_SIZE <= RING_BASE
    assert RING_BASE < RAM_OFFSET


def test_the_words_that_are_waited_on_are_aligned() -> None:
    for path in ("Machine.control", "Machine.doorbell", "Machine.doorbell_count", "Machine.running_harts", "Hart.wake"):
        assert field(path).offset % 4 == 0
        assert field(path).size == 4


def test_constants_stand_in_the_header() -> None:
    text = c_header()
    for name, value in CONSTANTS.items():
        assert f"#define {name} {value:#x}u\n" in text


# --- field() ---------------------------------------------------------------------


def test_a_path_is_the_sum_of_its_steps() -> None:
    machine, virtio, queue = LAYOUT["Machine"], LAYOUT["Virtio"], LAYOUT["Virtqueue"]
    slot = field("Machine.virtio.queue.desc", 3, 2)
    assert slot.offset == (
        MACHINE_BASE + machine.fields["virtio"].offset + 3 * virtio.size
        + virtio.fields["queue"].offset + 2 * queue.size + queue.fields["desc"].offset
    )
    assert (slot.type, slot.size, slot.count) == ("u64", 8, 1)
    assert field("Hart.x", 2, 5).offset == HART_BASE + 2 * HART_STRIDE + LAYOUT["Hart"].fields["x"].offset + 40
    assert field("Hart.x").offset == HART_BASE + LAYOUT["Hart"].fields["x"].offset
    assert field("Machine.plic.priority", PLIC_SOURCES - 1).offset == field("Machine.plic.level").offset - 4


@pytest.mark.parametrize(
    ("path", "indexes"),
    [
        ("Machine.virtio.status", (MAX_VIRTIO,)), ("Machine.virtio.status", (-1,)), ("Hart.x", (0, 33)),
        ("Machine.virtio.queue.num", (0, 4)), ("Hart.pc", (MAX_HARTS,)), ("Hart.pc", (-1,)),
    ],
)
def test_an_index_outside_is_refused(path: str, indexes: tuple[int, ...]) -> None:
    with pytest.raises(IndexError, match="is outside 0"):
        field(path, *indexes)


@pytest.mark.parametrize("path", ["Machine.nothing", "Hart.x.y", "Machine.uart.nothing", "Nobody.x"])
def test_an_unknown_name_is_refused(path: str) -> None:
    with pytest.raises(KeyError):
        field(path)

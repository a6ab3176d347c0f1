"""What is put where in RAM, and what is refused."""

from __future__ import annotations

import gzip
import struct
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hartwell.boot import FIRMWARE_BYTES, TREE_BYTES, Ram, Start, check_kernel, load_bare, load_linux, unpack
from hartwell.devices.devicetree import decode
from hartwell.errors import BadConfiguration, BadElf, BadKernel
from hartwell.layout import RAM_BASE, RAM_OFFSET
from hartwell.platform import Platform
from tests.unit import test_elf
from tests.unit.fake import Bytes, Core, make_core

MIB = 1 << 20


def image(size: int = 8192, *, text_offset: int = 0x20_0000, image_size: int | None = None, magic: bytes = b"RSC\x05",
          head: bytes = b"MZ") -> Bytes:
    """A kernel: the header of Linux' boot-image-header.rst, then a pattern."""
    words = struct.pack("<QQQIIQ", text_offset, size if image_size is None else image_size, 0, 2, 0, 0)
    start = head.ljust(8, b"\x13") + words + b"RISCV\0\0\0" + magic + bytes(4)
    return Bytes((start + bytes(range(1, 252)) * (size // 251 + 1))[:size])


def load(core: Core, kernel: Bytes, initrd: Bytes | None = None, append: str = "", firmware: Bytes | None = None) -> Start:
    return load_linux(
        core, kernel, name="Image", initrd=initrd, append=append, firmware=firmware, slots=[0, 3]
    )


def chosen(core: Core, start: Start) -> dict[str, Any]:
    return cast("dict[str, Any]", decode(core.ram(start.argument, TREE_BYTES)).find("chosen").properties)


# --- check_kernel ------------------------------------------------------------------


def test_a_kernel_is_known() -> None:
    assert check_kernel(image(8192, image_size=20_000), "Image") == (0x20_0000, 20_000)
    assert check_kernel(image(8192, image_size=0), "Image") == (0x20_0000, 8192)


@pytest.mark.parametrize(
    ("blob", "says"),
    [
        (Bytes(b""), "0 bytes are too few for a kernel image"),
        (Bytes(b"MZ" + bytes(61)), "63 bytes are too few"),
        (Bytes(bytes(4096)), "not a kernel image .no RISC-V magic at byte 56."),
        (Bytes(test_elf.header() + bytes(64)), "it is an ELF file .a vmlinux"),
        (Bytes(bytes(0x202) + b"HdrS" + bytes(4096)), "it is an x86 kernel"),
        (image(magic=b"ARMd"), "it is an AArch64 kernel"),
        (image(magic=bytes(4), head=b"\xfd7zXZ\0"), "compressed in a form that is not supported"),
        (image(magic=bytes(4), head=b"\x28\xb5\x2f\xfd"), "compressed in a form that is not supported"),
        (image(4095), "truncated: 4095 bytes"),
        (image(8192, image_size=100_000), "truncated: 8192 bytes of an image that takes 100000"),
    ],
)
def test_what_is_no_kernel_is_said(blob: Bytes, says: str) -> None:
    with pytest.raises(BadKernel, match=f"^vm: .*{says}"):
        check_kernel(blob, "vm")


@given(st.binary(max_size=600), st.booleans())
def test_any_bytes_are_a_kernel_or_refused(data: bytes, magic: bool) -> None:
    if magic:
        data = data[:56].ljust(56, b"\0") + b"RSC\x05" + data[60:]
    try:
        _, size = check_kernel(Bytes(data), "Image")
    except BadKernel as error:
        assert str(error).startswith("Image: ")
    else:
        assert size >= len(data)


# --- unpack ------------------------------------------------------------------------


class Blobs:
    """All that `unpack` wants of a platform."""

    def blob(self, data: bytes) -> Bytes:
        return Bytes(data)


PLATFORM = cast("Platform", Blobs())


def test_gzip_is_undone() -> None:
    kernel = image()
    packed = Bytes(gzip.compress(kernel.data))
    assert unpack(PLATFORM, packed, "Image") == kernel
    assert unpack(PLATFORM, kernel, "Image") is kernel


@given(st.integers(0, 60), st.integers(0, 255))
def test_damaged_gzip_is_refused_or_whole(at: int, value: int) -> None:
    kernel = image()
    packed = bytearray(gzip.compress(kernel.data))
    packed[2 + at] = value
    try:
        got = unpack(PLATFORM, Bytes(bytes(packed)), "Image.gz")
    except BadKernel as error:
        assert str(error).startswith("Image.gz: its gzip data are damaged")
    else:
        assert got.read(0, got.size) == kernel.data


def test_truncated_gzip_is_refused() -> None:
    with pytest.raises(BadKernel, match="gzip data are damaged"):
        unpack(PLATFORM, Bytes(gzip.compress(image().data)[:-9]), "Image.gz")


# --- load_linux --------------------------------------------------------------------


def test_a_kernel_alone() -> None:
    core, kernel = make_core(16 * MIB), image(10_000)
    start = load(core, kernel, append="console=ttyS0 quiet")
    assert start == Start(RAM_BASE + 2 * MIB, RAM_BASE + 16 * MIB - TREE_BYTES, 1, all_harts=False)
    assert core.ram(start.pc, kernel.size) == kernel.data
    properties = chosen(core, start)
    assert properties["bootargs"] == b"console=ttyS0 quiet\0"
    assert "linux,initrd-start" not in properties
    assert len(properties["rng-seed"]) == 32


def test_kernel_initrd_and_firmware() -> None:
    core, kernel = make_core(16 * MIB, harts=2), image(10_000, image_size=30_000)
    initrd, firmware = Bytes(b"070701" + bytes(range(256)) * 50), Bytes(b"\x6f\0\0\0" * 1000)
    start = load(core, kernel, initrd, firmware=firmware)
    assert (start.pc, start.privilege, start.all_harts) == (RAM_BASE, 3, True)
    assert core.ram(RAM_BASE, firmware.size) == firmware.data
    assert core.ram(RAM_BASE + 2 * MIB, kernel.size) == kernel.data
    properties = chosen(core, start)
    first, end = (int.from_bytes(properties[f"linux,initrd-{name}"], "big") for name in ("start", "end"))
    assert end - first == initrd.size
    assert first % 4096 == 0
    assert core.ram(first, initrd.size) == initrd.data
    tree = decode(core.ram(start.argument, TREE_BYTES))
    assert tree.find("memory@80000000").properties["reg"] == struct.pack(">QQ", RAM_BASE, 16 * MIB)
    assert [node.name for node in tree.find("cpus").children] == ["cpu@0", "cpu@1", "cpu-map"]
    assert {"virtio_mmio@10001000", "virtio_mmio@10004000"} <= {node.name for node in tree.find("soc").children}


def test_an_empty_initrd_is_none() -> None:
    core = make_core(16 * MIB)
    assert "linux,initrd-start" not in chosen(core, load(core, image(), Bytes(b"")))


def test_seeds_differ() -> None:
    cores = [make_core(16 * MIB), make_core(16 * MIB)]
    assert len({chosen(core, load(core, image()))["rng-seed"] for core in cores}) == 2


@pytest.mark.parametrize(
    ("kernel", "initrd", "append", "firmware", "says"),
    [
        (image(image_size=15 * MIB, size=4 * MIB), None, "", None, "kernel Image: 15728640 bytes at 0x80200000 do not fit"),
        (image(text_offset=1 << 63), None, "", None, "kernel Image: .* do not fit in 16M of RAM"),
        (image(image_size=14 * MIB, size=4 * MIB), None, "", None, "kernel Image: .* no room for the device tree"),
        (image(), Bytes(bytes(14 * MIB)), "", None, "initrd: 14680064 bytes do not fit beside the kernel in 16M"),
        (image(), Bytes(bytes(40 * MIB)), "", None, "initrd: .* ask for more memory"),
        (image(), None, "x" * TREE_BYTES, None, "kernel arguments: 65536 characters make a device tree of"),
        (image(), None, "", Bytes(bytes(FIRMWARE_BYTES + 1)), "firmware: 2097153 bytes, more than the 2097152"),
    ],
)
def test_what_does_not_fit_is_said(
    kernel: Bytes, initrd: Bytes | None, append: str, firmware: Bytes | None, says: str
) -> None:
    with pytest.raises(BadConfiguration, match=says):
        load(make_core(16 * MIB), kernel, initrd, append, firmware)


@settings(max_examples=60, deadline=None)
@given(
    ram=st.integers(256, 3072), kernel=st.integers(4096, 4 * MIB), extra=st.integers(0, 8 * MIB),
    initrd=st.integers(0, 6 * MIB), offset=st.sampled_from([0, 0x20_0000, 0x40_0000, 0x12_3456, (1 << 64) - 1]),
    append=st.integers(0, 70_000),
)
def test_what_fits_is_whole_and_apart(
    ram: int, kernel: int, extra: int, initrd: int, offset: int, append: int
) -> None:
    core = make_core(ram * 4096)
    blob = image(kernel, text_offset=offset, image_size=min(kernel + extra, 4 * kernel))
    disk = Bytes(b"\xa5" * initrd)
    try:
        start = load(core, blob, disk, "a" * append)
    except BadConfiguration:
        # Refused only when something is really too large for its place.
        least = max(offset, FIRMWARE_BYTES) + max(kernel, blob_size(blob)) + initrd + 3 * TREE_BYTES
        assert least > ram * 4096 or append > TREE_BYTES - 8192
        return
    after = RAM_OFFSET + core.plan.ram_bytes
    assert not any(core.memory[after:]), "written past the end of RAM"
    assert start.pc % (2 * MIB) == 0
    assert core.ram(start.pc, kernel) == blob.data
    properties = chosen(core, start)
    assert properties["bootargs"] == b"a" * append + b"\0"
    end = start.pc + blob_size(blob)
    if initrd:
        first, last = (int.from_bytes(properties[f"linux,initrd-{name}"], "big") for name in ("start", "end"))
        assert end <= first < last <= start.argument
        assert core.ram(first, last - first) == disk.data
    else:
        assert end <= start.argument


def blob_size(kernel: Bytes) -> int:
    return max(kernel.size, int.from_bytes(kernel.data[16:24], "little"))


# --- load_bare ---------------------------------------------------------------------


def test_a_bare_program_lies_where_it_is_linked() -> None:
    core = make_core(16 * MIB, harts=2)
    core.fill(RAM_OFFSET, 0xFF, 4096)
    code = b"\x6f\0\0\0" * 16
    file = test_elf.header(phnum=1) + test_elf.segment(offset=120, filed=64, memory=128)
    start = load_bare(core, Bytes(file + code), "hello", [0])
    assert (start.pc, start.privilege, start.all_harts) == (RAM_BASE, 3, True)
    assert core.ram(RAM_BASE, 64) == code
    assert core.ram(RAM_BASE + 64, 64) == bytes(64)
    assert core.ram(RAM_BASE + 128, 4) == b"\xff" * 4
    assert (start.tohost, start.fromhost) == (0, 0)
    assert decode(core.ram(start.argument, TREE_BYTES)).find("cpus/cpu@1")


def test_a_bare_programs_host_interface_is_found() -> None:
    strings = b"\0tohost\0fromhost\0"
    symbols = b"".join(struct.pack(test_elf.SYM, *one) for one in ((1, 1, 0, 1, 0x8000_1000, 8), (8, 1, 0, 1, 0x8000_1040, 8)))
    start = load_bare(make_core(), Bytes(test_elf.with_symbols(symbols, strings)), "test", [])
    assert (start.tohost, start.fromhost) == (0x8000_1000, 0x8000_1040)


def test_a_bare_program_may_use_all_of_ram() -> None:
    core = make_core(16 * MIB)
    load_bare(core, Bytes(test_elf.header(phnum=1) + test_elf.segment(memory=16 * MIB)), "large", [])
    assert core.ram(RAM_BASE + 16 * MIB - TREE_BYTES, TREE_BYTES) == bytes(TREE_BYTES)


@pytest.mark.parametrize("at", [0, 0x1000, RAM_BASE - 1])
def test_a_program_linked_below_ram_is_refused(at: int) -> None:
    with pytest.raises(BadElf, match=f"^hello: a segment is linked at {at:#x}; .* linked for RAM"):
        load_bare(make_core(), Bytes(test_elf.header(phnum=1) + test_elf.segment(at=at)), "hello", [])


@pytest.mark.parametrize(("at", "memory"), [(RAM_BASE, 33 * MIB), (RAM_BASE + 32 * MIB, 64), ((1 << 64) - 1, 64)])
def test_a_program_that_does_not_fit_is_refused(at: int, memory: int) -> None:
    with pytest.raises(BadConfiguration, match=r"hello: a segment: .* do not fit in 32M of RAM"):
        load_bare(make_core(), Bytes(test_elf.header(phnum=1) + test_elf.segment(at=at, memory=memory)), "hello", [])


def test_ram_takes_what_just_fits() -> None:
    core = make_core(16 * MIB)
    ram = Ram(core)
    ram.place(Bytes(b"12345678"), ram.end - 6, "it", 2)
    assert core.ram(ram.end - 6, 6) == b"345678"
    with pytest.raises(BadConfiguration, match="it: 6 bytes at"):
        ram.place(Bytes(b"12345678"), ram.end - 5, "it", 2)
    with pytest.raises(BadConfiguration):
        ram.check(RAM_BASE - 1, 1, "it")

"""What goes where in RAM before the first instruction.

RISC-V boot image header: Documentation/arch/riscv/boot-image-header.rst of
Linux; boot requirements: boot.rst beside it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from hartwell.devices import board
from hartwell.elf import is_elf, read_elf
from hartwell.errors import BadConfiguration, BadElf, BadKernel
from hartwell.layout import RAM_BASE, RAM_OFFSET
from hartwell.platform import Blob, Core, Platform
from hartwell.sizes import show_size

KERNEL_ALIGN = 2 << 20
FIRMWARE_BYTES = 2 << 20  # kept free at the start of RAM for M-mode images
TREE_BYTES = 64 << 10  # kept at the end of RAM for the device tree
PRIV_S, PRIV_M = 1, 3
_HEADER = struct.Struct("<IIQQQIIQQII")
_MAGIC2 = 0x0543_5352  # "RSC\x05"


@dataclass(frozen=True)
class Start:
    """Where and how harts begin: `harts` of them, in `privilege`, a0 = hart, a1 = `argument`."""

    pc: int
    argument: int
    privilege: int
    all_harts: bool
    tohost: int = 0
    fromhost: int = 0


class Ram:
    """Guest RAM while it is filled; refuses what does not fit."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._offset = RAM_OFFSET
        self.bytes = core.plan.ram_bytes
        self.end = RAM_BASE + self.bytes

    def place(self, blob: Blob, pa: int, what: str, source: int = 0, count: int | None = None) -> None:
        count = blob.size - source if count is None else count
        self.check(pa, count, what)
        self._core.place(blob, source, self._offset + pa - RAM_BASE, count)
        self._core.call("ram_changed", pa, count)

    def fill(self, pa: int, count: int, what: str) -> None:
        self.check(pa, count, what)
        self._core.fill(self._offset + pa - RAM_BASE, 0, count)
        self._core.call("ram_changed", pa, count)

    def check(self, pa: int, count: int, what: str) -> None:
        if pa < RAM_BASE or pa + count > self.end:
            raise BadConfiguration(
                f"{what}: {count} bytes at {pa:#x} do not fit in {show_size(self.bytes)} of RAM "
                f"({RAM_BASE:#x} to {self.end:#x}); ask for more memory"
            )


def check_kernel(blob: Blob, name: str) -> tuple[int, int]:
    """(text_offset, image_size) of a RISC-V Linux Image.

    Raises BadKernel and says what it is instead.
    """
    head = blob.read(0, 0x210)
    if len(head) < _HEADER.size:
        raise BadKernel(f"{name}: {blob.size} bytes are too few for a kernel image (the header alone has 64)")
    _, _, text_offset, image_size, _, _, _, _, _, magic2, _ = _HEADER.unpack_from(head)
    if magic2 != _MAGIC2:
        raise BadKernel(
            f"{name}: {_what_it_is(head)}; an uncompressed RISC-V Linux Image (or a gzip of one) is expected"
        )
    if blob.size < 4096 or image_size and blob.size < image_size // 4:
        raise BadKernel(
            f"{name}: it is truncated: {blob.size} bytes of an image that takes {image_size} in memory"
        )
    return text_offset, max(image_size, blob.size)


def _what_it_is(head: bytes) -> str:
    if is_elf(head):
        return "it is an ELF file (a vmlinux?)"
    if head[0x202:0x206] == b"HdrS":
        return "it is an x86 kernel (bzImage)"
    if head[0x38:0x3C] == b"ARMd":
        return "it is an AArch64 kernel"
    if head[:4] in (b"\x28\xb5\x2f\xfd", b"\xfd7zX", b"BZh9", b"\x04\x22\x4d\x18"):
        return "it is compressed in a form that is not supported"
    return "it is not a kernel image (no RISC-V magic at byte 56)"


def unpack(platform: Platform, blob: Blob, name: str) -> Blob:
    """Undoes gzip, if it is that."""
    if blob.read(0, 2) != b"\x1f\x8b":
        return blob
    try:
        return platform.blob(zlib.decompress(blob.read(0, blob.size), wbits=31))
    except zlib.error as error:
        raise BadKernel(f"{name}: its gzip data are damaged ({error})") from None


def load_linux(
    core: Core, kernel: Blob, *, name: str, initrd: Blob | None, append: str, firmware: Blob | None, slots: list[int],
    entropy: Callable[[int], bytes] = os.urandom,
) -> Start:
    """Puts firmware, kernel, initrd and device tree into RAM.

    Kernel at 2 MiB (where OpenSBI's fw_jump expects it), the device tree and
    the initrd at RAM's end, as QEMU does.
    """
    ram = Ram(core)
    text_offset, image_size = check_kernel(kernel, name)
    kernel_at = RAM_BASE + max(text_offset, FIRMWARE_BYTES) // KERNEL_ALIGN * KERNEL_ALIGN
    ram.check(kernel_at, image_size, f"kernel {name}")
    top = ram.end - TREE_BYTES & -TREE_BYTES
    tree_at = top
    if kernel_at + image_size > tree_at:
        raise BadConfiguration(
            f"kernel {name}: its {image_size} bytes at {kernel_at:#x} leave no room for the device tree in "
            f"{show_size(ram.bytes)} of RAM; ask for more memory"
        )
    span = None
    if initrd is not None and initrd.size:
        start = top - initrd.size & ~0xFFF
        if start < kernel_at + image_size:
            raise BadConfiguration(
                f"initrd: {initrd.size} bytes do not fit beside the kernel in {show_size(ram.bytes)} of RAM; "
                "ask for more memory"
            )
        ram.place(initrd, start, "initrd")
        span = (start, start + initrd.size)
    ram.place(kernel, kernel_at, f"kernel {name}")
    tree = board.device_tree(
        ram_bytes=ram.bytes, harts=core.plan.harts, bootargs=append, initrd=span, virtio_slots=slots,
        rng_seed=entropy(32),
    )
    if len(tree) > TREE_BYTES:
        raise BadConfiguration(
            f"kernel arguments: {len(append)} characters make a device tree of {len(tree)} bytes; "
            f"at most {TREE_BYTES} are kept for it"
        )
    write(core, tree_at, tree)
    if firmware is None:
        return Start(kernel_at, tree_at, PRIV_S, all_harts=False)
    if firmware.size > FIRMWARE_BYTES:
        raise BadConfiguration(f"firmware: {firmware.size} bytes, more than the {FIRMWARE_BYTES} before the kernel")
    ram.place(firmware, RAM_BASE, "firmware")
    return Start(RAM_BASE, tree_at, PRIV_M, all_harts=True)


def load_bare(core: Core, blob: Blob, name: str, slots: list[int]) -> Start:
    """Puts an M-mode ELF program where its segments say; all harts start at its entry."""
    ram = Ram(core)
    elf = read_elf(blob.read(0, blob.size), name)
    for segment in elf.segments:
        what = f"{name}: a segment"
        if segment.physical < RAM_BASE:
            raise BadElf(
                f"{name}: a segment is linked at {segment.physical:#x}; a bare program must be linked for RAM, "
                f"from {RAM_BASE:#x} on"
            )
        ram.fill(segment.physical, segment.memory_bytes, what)
        ram.place(blob, segment.physical, what, segment.offset, segment.file_bytes)
    tree = board.device_tree(ram_bytes=ram.bytes, harts=core.plan.harts, virtio_slots=slots)
    tree_at = ram.end - TREE_BYTES & -TREE_BYTES
    if all(tree_at >= segment.physical + segment.memory_bytes for segment in elf.segments):
        write(core, tree_at, tree)
    return Start(
        elf.entry, tree_at, PRIV_M, True, elf.symbols.get("tohost", 0), elf.symbols.get("fromhost", 0)
    )


def write(core: Core, pa: int, data: bytes) -> None:
    """Bytes into RAM at a guest physical address that is known to be there."""
    core.write(RAM_OFFSET + pa - RAM_BASE, data)
    core.call("ram_changed", pa, len(data))

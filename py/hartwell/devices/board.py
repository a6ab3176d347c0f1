"""The board: QEMU `virt`'s map, and the device tree that tells it to a kernel.

Bindings: Documentation/devicetree/bindings of Linux (riscv/cpus.yaml,
riscv/extensions.yaml, interrupt-controller/sifive,plic, timer/sifive,clint).
"""

from __future__ import annotations

from collections.abc import Iterable

from hartwell.devices.devicetree import Node, cells64, encode
from hartwell.layout import MAX_VIRTIO, PLIC_SOURCES, RAM_BASE

SYSCON = 0x0010_0000
RTC, RTC_IRQ = 0x0010_1000, 11
VMGENID, VMGENID_IRQ, VMGENID_BYTES = 0x0010_2000, 12, 16
ACLINT = 0x0200_0000
PLIC = 0x0C00_0000
UART, UART_IRQ = 0x1000_0000, 10
VIRTIO, VIRTIO_STRIDE = 0x1000_1000, 0x1000
TIMEBASE_HZ = 10_000_000

# svvptc: a page table entry that becomes valid is seen without an sfence.vma, since
# the TLB (cpu/mmu/mmu.c) holds valid ones alone.  Linux then leaves its fence out.
EXTENSIONS = [
    "i", "m", "a", "f", "d", "c", "zicbom", "zicboz", "zicntr", "zicond", "zicsr", "zifencei",
    "zihintpause", "zihpm", "zba", "zbb", "zbs", "sstc", "svadu", "svinval", "svvptc",
]
ISA_STRING = "rv64" + "".join(EXTENSIONS[:6]) + "".join("_" + name for name in EXTENSIONS[6:])


def virtio_irq(slot: int) -> int:
    """PLIC source of a virtio-mmio slot: QEMU's 1..8, then 16..23."""
    if not 0 <= slot < MAX_VIRTIO:
        raise IndexError(f"virtio slot {slot} is outside 0..{MAX_VIRTIO - 1}")
    return 1 + slot if slot < 8 else 8 + slot


def device_tree(
    *,
    ram_bytes: int,
    harts: int,
    bootargs: str = "",
    initrd: tuple[int, int] | None = None,
    virtio_slots: Iterable[int] = range(8),
    rng_seed: bytes = b"",
) -> bytes:
    """The board's flattened device tree.

    `initrd` is (first byte, end) in guest physical addresses; `rng_seed` is
    random bytes for the kernel's pool.
    """
    phandles = iter(range(1, 1000))
    intc = [next(phandles) for _ in range(harts)]
    cpus_handles = [next(phandles) for _ in range(harts)]
    plic, syscon = next(phandles), next(phandles)

    root = Node("", {"#address-cells": 2, "#size-cells": 2, "compatible": "riscv-virtio", "model": "hartwell,virt"})
    chosen = root.add("chosen", bootargs=bootargs, stdout_path=f"/soc/serial@{UART:x}")
    if initrd:
        chosen.properties["linux,initrd-start"] = cells64(initrd[0])
        chosen.properties["linux,initrd-end"] = cells64(initrd[1])
    if rng_seed:
        chosen.properties["rng-seed"] = rng_seed
    # device_type is the one name with an underscore; keywords have theirs made a hyphen.
    root.add(f"memory@{RAM_BASE:x}", reg=cells64(RAM_BASE, ram_bytes)).properties["device_type"] = "memory"

    cpus = root.add("cpus", timebase_frequency=TIMEBASE_HZ)
    cpus.properties |= {"#address-cells": 1, "#size-cells": 0}
    for hart in range(harts):
        cpu = cpus.add(f"cpu@{hart}", reg=hart, status="okay", compatible="riscv")
        cpu.properties |= {
            "device_type": "cpu",
            "phandle": cpus_handles[hart],
            "riscv,isa": ISA_STRING,
            "riscv,isa-base": "rv64i",
            "riscv,isa-extensions": EXTENSIONS,
            "riscv,cbom-block-size": 64,
            "riscv,cboz-block-size": 64,
            "mmu-type": "riscv,sv48",
        }
        controller = cpu.add("interrupt-controller", interrupt_controller=None, compatible="riscv,cpu-intc")
        controller.properties |= {"#interrupt-cells": 1, "#address-cells": 0, "phandle": intc[hart]}
    cluster = cpus.add("cpu-map").add("cluster0")
    for hart in range(harts):
        cluster.add(f"core{hart}", cpu=cpus_handles[hart])

    soc = root.add("soc", compatible="simple-bus", ranges=None)
    soc.properties |= {"#address-cells": 2, "#size-cells": 2}
    soc.add(
        f"clint@{ACLINT:x}", compatible=["sifive,clint0", "riscv,clint0"], reg=cells64(ACLINT, 0x1_0000),
        interrupts_extended=[cell for handle in intc for cell in (handle, 3, handle, 7)],
    )
    controller = soc.add(
        f"plic@{PLIC:x}", compatible=["sifive,plic-1.0.0", "riscv,plic0"], reg=cells64(PLIC, 0x60_0000),
        interrupts_extended=[cell for handle in intc for cell in (handle, 11, handle, 9)], interrupt_controller=None,
    )
    controller.properties |= {
        "#interrupt-cells": 1, "#address-cells": 0, "riscv,ndev": PLIC_SOURCES - 1, "phandle": plic,
    }
    soc.add(
        f"serial@{UART:x}", compatible="ns16550a", reg=cells64(UART, 0x100), interrupts=UART_IRQ,
        interrupt_parent=plic, clock_frequency=3_686_400,
    )
    soc.add(
        f"rtc@{RTC:x}", compatible="google,goldfish-rtc", reg=cells64(RTC, 0x1000), interrupts=RTC_IRQ,
        interrupt_parent=plic,
    )
    soc.add(
        f"rng@{VMGENID:x}", compatible="microsoft,vmgenid", reg=cells64(VMGENID, VMGENID_BYTES), interrupts=VMGENID_IRQ,
        interrupt_parent=plic,
    )
    soc.add(
        f"test@{SYSCON:x}", compatible=["sifive,test1", "sifive,test0", "syscon"], reg=cells64(SYSCON, 0x1000),
        phandle=syscon,
    )
    for slot in virtio_slots:
        base = VIRTIO + slot * VIRTIO_STRIDE
        soc.add(
            f"virtio_mmio@{base:x}", compatible="virtio,mmio", reg=cells64(base, VIRTIO_STRIDE),
            interrupts=virtio_irq(slot), interrupt_parent=plic,
        )
    for name, value in (("poweroff", 0x5555), ("reboot", 0x7777)):
        root.add(name, compatible=f"syscon-{name}", regmap=syscon, offset=0, value=value)
    return encode(root)

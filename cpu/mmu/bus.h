/* The bus: which device answers at a physical address that is not RAM.
 *
 * The map is QEMU's `virt` board's (hw/riscv/virt.c):
 *
 *     0x0010_0000  syscon        poweroff, reboot
 *     0x0010_1000  goldfish RTC  irq 11
 *     0x0200_0000  ACLINT        msip, mtimecmp, mtime
 *     0x0c00_0000  PLIC
 *     0x1000_0000  UART 16550A   irq 10
 *     0x1000_1000  virtio-mmio   8 slots, irq 1..8; 8 more, irq 16..23
 */
#ifndef HARTWELL_BUS_H
#define HARTWELL_BUS_H

#include "hart/hart.h"

enum { IRQ_VIRTIO = 1, IRQ_UART = 10, IRQ_RTC = 11, IRQ_VIRTIO_MORE = 16 };

/* An access of 1, 2, 4 or 8 bytes.  false: no device there, or one that does
 * not do that size; an access fault.  `h` may be NULL (the supervisor). */
bool bus_read(struct Hart *h, uint64_t pa, uint32_t size, uint64_t *value);
bool bus_write(struct Hart *h, uint64_t pa, uint32_t size, uint64_t value);

/* Once for a fresh memory; and as the reset wire does. */
void devices_init(void);
void devices_reset(void);

#endif

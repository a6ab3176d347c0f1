/* virtio over MMIO, the modern register layout.  Virtio 1.2, 4.2.2. */
#ifndef HARTWELL_VIRTIO_MMIO_H
#define HARTWELL_VIRTIO_MMIO_H

#include "hart.h"

bool virtio_mmio_read(uint32_t offset, uint32_t size, uint64_t *value);
bool virtio_mmio_write(uint32_t offset, uint32_t size, uint64_t value);
void virtio_mmio_reset(void);

/* Raises bits of InterruptStatus: 1 used buffer, 2 config changed.  With the
 * slot's lock held. */
void virtio_raise(struct Virtio *v, uint32_t bits);

/* The driver broke the rules: the device needs a reset (2.1.2). */
void virtio_broken(struct Virtio *v);

#endif

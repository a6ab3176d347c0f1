/* virtio over MMIO, the modern register layout.  Virtio 1.2, 4.2.2. */
#ifndef HARTWELL_VIRTIO_MMIO_H
#define HARTWELL_VIRTIO_MMIO_H

#include "hart/hart.h"

/* Device status bits, 2.1. */
enum { STATUS_DRIVER_OK = 4, STATUS_FEATURES_OK = 8, STATUS_NEEDS_RESET = 64 };

bool virtio_mmio_read(uint32_t offset, uint32_t size, uint64_t *value);
bool virtio_mmio_write(uint32_t offset, uint32_t size, uint64_t value);
void virtio_mmio_reset(void);
void virtio_woken(void);

/* Raises bits of InterruptStatus: 1 used buffer, 2 config changed.  With the
 * slot's lock held. */
void virtio_raise(struct Virtio *v, uint32_t bits);

/* A queue that the driver has set up, NULL before it has said that it is done
 * with that (DRIVER_OK), and after it broke the rules. */
struct Virtqueue *virtio_live_queue(struct Virtio *v, uint32_t queue);

/* The backend's work on a queue that was notified, or whose other side moved.
 * With the slot's lock held; does nothing while the device is not live. */
void virtio_serve(struct Virtio *v, uint32_t queue);

/* Is the machine being saved?  Then queues are left as they are; devices_hold
 * (machine/snapshot.c) has virtio_serve called for each afterwards. */
static inline bool virtio_held(void) { return atomic_get(&MACHINE->snapshot.still) != 0; }

/* The driver broke the rules: the device needs a reset (2.1.2). */
void virtio_broken(struct Virtio *v);

#endif

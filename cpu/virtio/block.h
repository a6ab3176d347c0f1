/* virtio block over a disk's cache (virtio/disk.h).  Virtio 1.2, 5.2. */
#ifndef HARTWELL_VIRTIO_BLOCK_H
#define HARTWELL_VIRTIO_BLOCK_H

#include "hart/hart.h"

void virtio_block_notify(struct Virtio *v, uint32_t queue);

/* The driver or the machine reset the device: nothing waits any more. */
void virtio_block_reset(struct Virtio *v);

#endif

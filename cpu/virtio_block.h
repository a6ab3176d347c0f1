/* virtio block over an image in linear memory.  Virtio 1.2, 5.2. */
#ifndef HARTWELL_VIRTIO_BLOCK_H
#define HARTWELL_VIRTIO_BLOCK_H

#include "hart.h"

void virtio_block_notify(struct Virtio *v, uint32_t queue);

#endif

/* virtio network card.  Virtio 1.2, 5.1. */
#ifndef HARTWELL_VIRTIO_NET_H
#define HARTWELL_VIRTIO_NET_H

#include "virtio/mmio.h"

/* The driver made something available: rings the card's bell. */
void virtio_net_notify(struct Virtio *v);

#endif

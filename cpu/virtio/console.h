/* virtio console, one port.  Virtio 1.2, 5.3. */
#ifndef HARTWELL_VIRTIO_CONSOLE_H
#define HARTWELL_VIRTIO_CONSOLE_H

#include "hart/hart.h"

/* The driver notified a queue: 0 receive, 1 transmit.  Lock held. */
void virtio_console_notify(struct Virtio *v, uint32_t queue);

#endif

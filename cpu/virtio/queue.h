/* Split virtqueues.  Virtio 1.2, 2.7.
 *
 * The guest wrote every number in them, so each is checked before it is used;
 * what doesn't hold makes the device ask for a reset. */
#ifndef HARTWELL_VIRTIO_QUEUE_H
#define HARTWELL_VIRTIO_QUEUE_H

#include "hart/hart.h"

#define CHAIN_MAX 256 /* buffers of one request that a backend in C takes: as many as a queue may be long (2.7.5.3.1) */

#define FEATURE_INDIRECT (1ull << 28)
#define FEATURE_EVENT_IDX (1ull << 29)

struct Buffer {
    uint64_t pa;
    uint8_t *at;
    uint32_t bytes;
    bool writable; /* by the device */
};

struct Chain {
    uint16_t head;
    uint32_t count;
    struct Buffer buffer[CHAIN_MAX];
};

enum { CHAIN_NONE, CHAIN_FOUND, CHAIN_BAD };

/* Are the size (at most `max`) and the three parts of a queue usable at all? */
bool queue_valid(const struct Virtqueue *q, uint32_t max);

/* The next chain that the driver made available, without taking it. */
int queue_peek(struct Virtio *v, struct Virtqueue *q, struct Chain *chain);

/* Takes it, and gives it back with `written` bytes. */
void queue_push(struct Virtio *v, struct Virtqueue *q, const struct Chain *chain, uint32_t written);

/* The steps of that one by one, for devices in Python.  queue_next: the head
 * of the next chain, -1 if there is none, -2 for an impossible one. */
int32_t queue_next(const struct Virtqueue *q);
void queue_take(struct Virtqueue *q);
void queue_give(struct Virtio *v, struct Virtqueue *q, uint32_t head, uint32_t written);

/* queue_give for several chains that the driver must see at once: each into
 * its place `ahead` of the used index, then the index over all of them. */
void queue_fill(struct Virtqueue *q, uint32_t ahead, uint32_t head, uint32_t written);
void queue_publish(struct Virtio *v, struct Virtqueue *q, uint32_t count);

/* After a batch that began at used index `before`: should the driver be
 * interrupted? */
bool queue_wants_interrupt(const struct Virtio *v, const struct Virtqueue *q, uint16_t before);

/* Asks to be notified of what is made available from now on. */
void queue_ask_notify(struct Virtio *v, struct Virtqueue *q);

#endif

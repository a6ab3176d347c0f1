/* Byte rings between a device and the supervisor: one writer, one reader.
 * head and tail count up for ever; see struct Ring in layout.py. */
#ifndef HARTWELL_RING_H
#define HARTWELL_RING_H

#include "machine/machine.h"

static inline uint32_t ring_used(const struct Ring *r) { return atomic_get(&r->head) - atomic_get(&r->tail); }
static inline uint32_t ring_room(const struct Ring *r)
{
    uint32_t used = ring_used(r);
    return used > RING_SIZE ? 0 : RING_SIZE - used;
}

/* Appends a byte; false when the ring is full or was never given a place. */
static inline bool ring_put(struct Ring *r, uint8_t byte)
{
    if (r->offset == 0 || ring_room(r) == 0)
        return false;
    ((uint8_t *)mem_at(r->offset))[r->head & (RING_SIZE - 1)] = byte;
    atomic_set(&r->head, r->head + 1);
    return true;
}

/* Takes a byte; false when the ring is empty. */
static inline bool ring_get(struct Ring *r, uint8_t *byte)
{
    if (r->offset == 0 || ring_used(r) == 0)
        return false;
    *byte = ((uint8_t *)mem_at(r->offset))[r->tail & (RING_SIZE - 1)];
    atomic_set(&r->tail, r->tail + 1);
    return true;
}

#endif

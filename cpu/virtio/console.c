#include "virtio/console.h"

#include "machine/ring.h"
#include "virtio/mmio.h"
#include "virtio/queue.h"

enum { RECEIVE = 0, TRANSMIT = 1 };

static uint64_t readable(const struct Chain *chain)
{
    uint64_t bytes = 0; /* the same memory may be named again and again */
    for (uint32_t i = 0; i < chain->count; i++)
        if (!chain->buffer[i].writable)
            bytes += chain->buffer[i].bytes;
    return bytes;
}

/* Moves what was made available into the tx ring.  A chain goes whole or waits
 * for room; one that is larger than the ring could ever hold is broken. */
static void transmit(struct Virtio *v, struct Virtqueue *q)
{
    struct Chain chain;
    uint16_t before = q->used_index;
    int found;
    do {
        while ((found = queue_peek(v, q, &chain)) == CHAIN_FOUND) {
            uint64_t bytes = readable(&chain);
            if (bytes > RING_SIZE) {
                found = CHAIN_BAD;
                break;
            }
            if (v->tx.offset && bytes > ring_room(&v->tx))
                goto out; /* goes on when the supervisor has drained it */
            for (uint32_t i = 0; i < chain.count; i++)
                for (uint32_t k = 0; !chain.buffer[i].writable && k < chain.buffer[i].bytes; k++)
                    ring_put(&v->tx, chain.buffer[i].at[k]);
            queue_push(v, q, &chain, 0);
        }
        if (found == CHAIN_BAD) {
            virtio_broken(v);
            break;
        }
        /* To be told of the next one; more may have come since the last look. */
        queue_ask_notify(v, q);
    } while (queue_peek(v, q, &chain) != CHAIN_NONE);
out:
    if (queue_wants_interrupt(v, q, before))
        virtio_raise(v, 1);
    doorbell_ring(DOORBELL_CONSOLE);
}

/* Moves what was typed into the buffers that the driver gave. */
static void receive(struct Virtio *v, struct Virtqueue *q)
{
    struct Chain chain;
    uint16_t before = q->used_index;
    while (v->rx.offset && ring_used(&v->rx) > 0) {
        int found = queue_peek(v, q, &chain);
        if (found == CHAIN_NONE) { /* to be told of the next buffer; one may have come since */
            queue_ask_notify(v, q);
            found = queue_peek(v, q, &chain);
        }
        if (found == CHAIN_BAD)
            virtio_broken(v);
        if (found != CHAIN_FOUND)
            break;
        uint32_t written = 0;
        for (uint32_t i = 0; i < chain.count; i++) {
            const struct Buffer *b = &chain.buffer[i];
            for (uint32_t k = 0; b->writable && k < b->bytes && ring_get(&v->rx, b->at + k); k++)
                written++;
        }
        queue_push(v, q, &chain, written);
    }
    if (queue_wants_interrupt(v, q, before))
        virtio_raise(v, 1);
}

void virtio_console_notify(struct Virtio *v, uint32_t queue)
{
    if (queue == RECEIVE)
        receive(v, &v->queue[RECEIVE]);
    else if (queue == TRANSMIT)
        transmit(v, &v->queue[TRANSMIT]);
}

static void serve(uint32_t slot, uint32_t queue)
{
    if (slot >= MAX_VIRTIO)
        return;
    struct Virtio *v = &MACHINE->virtio[slot];
    lock(&v->lock);
    if (v->backend == VIRTIO_BACKEND_CONSOLE)
        virtio_serve(v, queue);
    unlock(&v->lock);
}

/* The supervisor put bytes into rx. */
EXPORT void virtio_input(uint32_t slot) { serve(slot, RECEIVE); }

/* The supervisor took bytes from a tx ring that had little room. */
EXPORT void virtio_output_drained(uint32_t slot) { serve(slot, TRANSMIT); }

/* Config: cols and rows, both u16 (5.3.4). */
EXPORT void console_resize(uint32_t slot, uint32_t cols, uint32_t rows)
{
    if (slot >= MAX_VIRTIO)
        return;
    struct Virtio *v = &MACHINE->virtio[slot];
    lock(&v->lock);
    if (v->backend == VIRTIO_BACKEND_CONSOLE) {
        v->config[0] = (uint8_t)cols;
        v->config[1] = (uint8_t)(cols >> 8);
        v->config[2] = (uint8_t)rows;
        v->config[3] = (uint8_t)(rows >> 8);
        atomic_add(&v->config_generation, 1);
        if (v->status & STATUS_DRIVER_OK)
            virtio_raise(v, 2);
    }
    unlock(&v->lock);
}

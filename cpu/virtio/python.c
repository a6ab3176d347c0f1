/* What a virtio device in Python (py/hartwell/devices/virtio.py) needs done under
 * its slot's lock, or in one step with what the driver sees.
 *
 * `resets` is the slot's reset_count as Python knows it: what belongs to the
 * time before a reset comes to nothing.
 */
#include "virtio/mmio.h"
#include "virtio/queue.h"

enum { TAKE_NONE = 0x10000, TAKE_BAD = 0x10001 };

static struct Virtio *locked(uint32_t slot)
{
    struct Virtio *v = &MACHINE->virtio[slot % MAX_VIRTIO];
    lock(&v->lock);
    return v;
}

/* Raises InterruptStatus bits: 1 used buffer, 2 config changed. */
EXPORT void virtio_interrupt(uint32_t slot, uint32_t bits)
{
    struct Virtio *v = locked(slot);
    virtio_raise(v, bits & 3);
    unlock(&v->lock);
}

/* The driver broke the rules. */
EXPORT void virtio_needs_reset(uint32_t slot, uint32_t resets)
{
    struct Virtio *v = locked(slot);
    if (v->reset_count == resets)
        virtio_broken(v);
    unlock(&v->lock);
}

/* Takes the next available chain: its head (under 0x10000), or TAKE_NONE after
 * asking to be notified of the next one (also while devices are held: that
 * ends with a notification), or TAKE_BAD. */
EXPORT uint32_t virtio_take(uint32_t slot, uint32_t queue, uint32_t resets)
{
    struct Virtio *v = locked(slot);
    struct Virtqueue *q = v->reset_count == resets && !virtio_held() ? virtio_live_queue(v, queue) : NULL;
    int32_t head = q ? queue_next(q) : -1;
    if (q && head == -1) {
        queue_ask_notify(v, q);
        head = queue_next(q); /* one may have come before the driver saw that */
    }
    if (head >= 0)
        queue_take(q);
    unlock(&v->lock);
    return head >= 0 ? (uint32_t)head : head == -1 ? TAKE_NONE : TAKE_BAD;
}

/* Gives a chain back with `written` bytes, and interrupts if the driver wants. */
EXPORT void virtio_give(uint32_t slot, uint32_t queue, uint32_t resets, uint32_t head, uint32_t written)
{
    struct Virtio *v = locked(slot);
    struct Virtqueue *q = v->reset_count == resets ? virtio_live_queue(v, queue) : NULL;
    if (q) {
        uint16_t before = q->used_index;
        queue_give(v, q, head, written);
        if (queue_wants_interrupt(v, q, before))
            virtio_raise(v, 1);
    }
    unlock(&v->lock);
}

/* Around a change of the config bytes, so that the driver sees all or nothing
 * of it with each generation (2.5.1). */
EXPORT void virtio_config_begin(uint32_t slot) { locked(slot); }

EXPORT void virtio_config_end(uint32_t slot)
{
    struct Virtio *v = &MACHINE->virtio[slot % MAX_VIRTIO];
    atomic_add(&v->config_generation, 1);
    if (v->status & STATUS_DRIVER_OK)
        virtio_raise(v, 2);
    unlock(&v->lock);
}

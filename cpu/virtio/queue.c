#include "virtio/queue.h"

#include "inspect/debug.h"
#include "mmu/mmu.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_BYTES = 16 };
enum { NO_INTERRUPT = 1, QUEUE_LONGEST = 32768 /* 2.7 */ };

struct Descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

static bool in_ram(uint64_t pa, uint64_t bytes)
{
    uint64_t at = pa - RAM_BASE, size = MACHINE->ram_bytes;
    return at < size && bytes <= size - at;
}

bool queue_valid(const struct Virtqueue *q, uint32_t max)
{
    uint64_t n = q->num;
    if (n == 0 || n > max || n > QUEUE_LONGEST || n & (n - 1) || q->desc % 16 || q->avail % 2 || q->used % 4)
        return false;
    return in_ram(q->desc, DESC_BYTES * n) && in_ram(q->avail, 6 + 2 * n) && in_ram(q->used, 6 + 8 * n);
}

/* The ring's parts were checked when the queue became ready, or the machine woke. */
static uint16_t *avail(const struct Virtqueue *q) { return (uint16_t *)(void *)ram_at(q->avail, 6 + 2 * q->num); }
static uint16_t *used(const struct Virtqueue *q) { return (uint16_t *)(void *)ram_at(q->used, 6 + 8 * q->num); }

static uint16_t load16(const uint16_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static void store16(uint16_t *p, uint16_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }

static bool add(struct Chain *chain, const struct Descriptor *d)
{
    if (chain->count == CHAIN_MAX)
        return false;
    struct Buffer *b = &chain->buffer[chain->count];
    b->pa = d->address;
    b->bytes = d->length;
    b->writable = d->flags & DESC_WRITE;
    b->at = ram_at(d->address, d->length);
    /* Device-readable buffers come first (2.7.4.2). */
    if (!b->at || (!b->writable && chain->count && chain->buffer[chain->count - 1].writable))
        return false;
    if (!b->writable && MACHINE->debug.watchpoint_count)
        debug_dma(b->pa, b->bytes, WATCH_READ);
    chain->count++;
    return true;
}

/* A copy that is made exactly once: the driver may change the original under
 * our eyes, so nothing may be looked at there again after it was checked. */
static void copy_once(void *to, const uint8_t *from, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        ((uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
}

/* Follows a chain through a table of `n` descriptors; a loop ends at CHAIN_MAX. */
static bool follow(struct Virtio *v, struct Chain *chain, uint64_t table, uint32_t n, uint32_t index, bool indirect)
{
    for (;;) {
        struct Descriptor d;
        const uint8_t *in_ram = index < n ? ram_at(table + index * DESC_BYTES, DESC_BYTES) : NULL;
        if (!in_ram)
            return false;
        copy_once(&d, in_ram, sizeof d);
        if (d.flags & DESC_INDIRECT) {
            if (indirect || !(v->driver_features & FEATURE_INDIRECT) || d.flags & DESC_NEXT || d.length == 0 ||
                d.length % DESC_BYTES)
                return false;
            return follow(v, chain, d.address, d.length / DESC_BYTES, 0, true);
        }
        if (!add(chain, &d))
            return false;
        if (!(d.flags & DESC_NEXT))
            return true;
        index = d.next;
    }
}

int32_t queue_next(const struct Virtqueue *q)
{
    const uint16_t *ring = avail(q);
    uint16_t waiting = (uint16_t)(load16(&ring[1]) - q->last_avail);
    if (waiting == 0)
        return -1;
    return waiting <= q->num ? load16(&ring[2 + q->last_avail % q->num]) : -2;
}

int queue_peek(struct Virtio *v, struct Virtqueue *q, struct Chain *chain)
{
    int32_t head = queue_next(q);
    if (head == -1)
        return CHAIN_NONE;
    chain->count = 0;
    chain->head = (uint16_t)head;
    return head >= 0 && follow(v, chain, q->desc, q->num, chain->head, false) ? CHAIN_FOUND : CHAIN_BAD;
}

void queue_push(struct Virtio *v, struct Virtqueue *q, const struct Chain *chain, uint32_t written)
{
    uint32_t left = written;
    for (uint32_t i = 0; i < chain->count && left; i++) {
        const struct Buffer *b = &chain->buffer[i];
        if (!b->writable)
            continue;
        uint32_t here = b->bytes < left ? b->bytes : left;
        ram_written(b->pa, here);
        left -= here;
    }
    queue_take(q);
    queue_give(v, q, chain->head, written);
}

void queue_take(struct Virtqueue *q) { q->last_avail++; }

void queue_fill(struct Virtqueue *q, uint32_t ahead, uint32_t head, uint32_t written)
{
    uint32_t *element = (uint32_t *)(void *)(used(q) + 2) + 2 * ((q->used_index + ahead) % q->num);
    element[0] = head;
    element[1] = written;
    ram_written(q->used + 4 + mem_offset(element) - mem_offset(used(q) + 2), 8);
}

void queue_publish(struct Virtio *v, struct Virtqueue *q, uint32_t count)
{
    q->used_index = (uint16_t)(q->used_index + count);
    store16(&used(q)[1], q->used_index);
    ram_written(q->used + 2, 2);
    v->requests += count;
}

void queue_give(struct Virtio *v, struct Virtqueue *q, uint32_t head, uint32_t written)
{
    queue_fill(q, 0, head, written);
    queue_publish(v, q, 1);
}

bool queue_wants_interrupt(const struct Virtio *v, const struct Virtqueue *q, uint16_t before)
{
    const uint16_t *ring = avail(q);
    uint16_t now = q->used_index;
    if (now == before)
        return false;
    if (!(v->driver_features & FEATURE_EVENT_IDX))
        return !(load16(&ring[0]) & NO_INTERRUPT);
    uint16_t event = load16(&ring[2 + q->num]);
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

void queue_ask_notify(struct Virtio *v, struct Virtqueue *q)
{
    if (v->driver_features & FEATURE_EVENT_IDX) {
        store16(used(q) + 2 + 4 * q->num, q->last_avail);
        ram_written(q->used + 4 + 8 * q->num, 2);
    }
}

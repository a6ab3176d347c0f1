#include "virtio/net.h"

#include "mmu/mmu.h"
#include "virtio/queue.h"

/* The card's area (image_offset): a word that counts up and is notified when
 * the driver moved (the bell), and after NET_BELL_BYTES two frames: the one that
 * net_take took from the guest, and the one that net_give is to give to it.
 *
 * A hart only rings.  The network's worker (web/net.mjs) has an instance of
 * this module and does the work on the queues, so that frames pass between
 * guest RAM and the network without Python and at no hart's cost. */

enum { RECEIVE = 0, TRANSMIT = 1 };
enum { HEADER = 12, LINK_UP = 1, CONFIG_STATUS = 6 };
enum { NEEDS_CSUM = 1, DATA_VALID = 2 }; /* 5.1.6 */
enum { MERGED_MAX = 128 };              /* chains of one received frame */
#define FEATURE_GUEST_CSUM (1ull << 1)
#define FEATURE_MRG_RXBUF (1ull << 15)

struct Header {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
_Static_assert(sizeof(struct Header) == HEADER, "5.1.6");

static uint8_t *area(const struct Virtio *v, uint32_t offset) { return (uint8_t *)mem_at(v->image_offset) + offset; }
static uint8_t *sent(const struct Virtio *v) { return area(v, NET_BELL_BYTES); }
static uint8_t *arrived(const struct Virtio *v) { return area(v, NET_BELL_BYTES + NET_FRAME); }

void virtio_net_notify(struct Virtio *v)
{
    uint32_t *bell = (uint32_t *)(void *)area(v, 0);
    atomic_add(bell, 1);
    word_wake(bell);
}

/* Does what the driver left to us: the Internet checksum (RFC 1071) from
 * csum_start on; the field it goes to holds the pseudo header's sum. */
static bool finish_checksum(uint8_t *frame, uint32_t bytes, const struct Header *h)
{
    uint32_t start = h->csum_start, place = start + h->csum_offset;
    if (place + 2 > bytes)
        return false;
    uint64_t sum = 0;
    uint32_t i = start;
    for (; i + 4 <= bytes; i += 4) {
        uint32_t word;
        memcpy(&word, frame + i, 4);
        sum += word;
    }
    uint32_t rest = 0;
    memcpy(&rest, frame + i, bytes - i);
    sum += rest;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    uint16_t value = (uint16_t)~sum;
    if (value == 0) /* UDP's zero means "none" (RFC 768) */
        value = 0xffff;
    memcpy(frame + place, &value, 2);
    return true;
}

/* Copies a chain's frame to `sent`; its bytes, 0 for one that is none. */
static uint32_t read_frame(struct Virtio *v, const struct Chain *chain)
{
    struct Header header = {0};
    uint32_t skip = 0, bytes = 0;
    uint8_t *to = sent(v);
    for (uint32_t i = 0; i < chain->count && !chain->buffer[i].writable; i++) {
        const uint8_t *at = chain->buffer[i].at;
        uint32_t here = chain->buffer[i].bytes;
        uint32_t head = HEADER - skip < here ? HEADER - skip : here;
        memcpy((uint8_t *)&header + skip, at, head);
        skip += head;
        if (here - head > NET_FRAME - bytes)
            return 0;
        memcpy(to + bytes, at + head, here - head);
        bytes += here - head;
    }
    /* Segmentation was not offered, so a request for it breaks the rules. */
    if (skip < HEADER || header.gso_type || bytes < 14)
        return 0;
    if (header.flags & NEEDS_CSUM && !finish_checksum(to, bytes, &header))
        return 0;
    return bytes;
}

static struct Virtio *locked(uint32_t slot)
{
    struct Virtio *v = &MACHINE->virtio[slot % MAX_VIRTIO];
    lock(&v->lock);
    return v;
}

/* The next frame from the guest, put at the card's first place; its bytes, or 0
 * when there is none: then the bell rings for the next. */
EXPORT uint32_t net_take(uint32_t slot)
{
    struct Virtio *v = locked(slot);
    struct Virtqueue *q = v->backend == VIRTIO_BACKEND_NET && !virtio_held() ? virtio_live_queue(v, TRANSMIT) : NULL;
    struct Chain chain;
    uint32_t bytes = 0;
    int found = CHAIN_NONE;
    while (q && !bytes) {
        found = queue_peek(v, q, &chain);
        if (found == CHAIN_NONE) {
            queue_ask_notify(v, q);
            found = queue_peek(v, q, &chain); /* one may have come before the driver saw that */
        }
        if (found != CHAIN_FOUND)
            break;
        uint16_t before = q->used_index;
        bytes = read_frame(v, &chain);
        v->errors += !bytes;
        queue_push(v, q, &chain, 0);
        if (queue_wants_interrupt(v, q, before))
            virtio_raise(v, 1);
    }
    if (found == CHAIN_BAD)
        virtio_broken(v);
    unlock(&v->lock);
    return bytes;
}

static uint64_t room(const struct Chain *chain)
{
    uint64_t bytes = 0; /* the same memory may be named again and again */
    for (uint32_t i = 0; i < chain->count; i++)
        if (chain->buffer[i].writable)
            bytes += chain->buffer[i].bytes;
    return bytes;
}

/* Writes to the chain's buffers from `skip` bytes on. */
static void write_chain(const struct Chain *chain, uint32_t skip, const uint8_t *from, uint32_t bytes)
{
    for (uint32_t i = 0; i < chain->count && bytes; i++) {
        const struct Buffer *b = &chain->buffer[i];
        if (!b->writable)
            continue;
        if (skip >= b->bytes) {
            skip -= b->bytes;
            continue;
        }
        uint32_t here = b->bytes - skip < bytes ? b->bytes - skip : bytes;
        memcpy(b->at + skip, from, here);
        ram_written(b->pa + skip, here);
        from += here;
        bytes -= here;
        skip = 0;
    }
}

/* Spreads header and frame over chains; how many, 0 when they do not suffice,
 * -1 for a broken one.  Nothing is published. */
static int32_t spread(struct Virtio *v, struct Virtqueue *q, uint32_t bytes)
{
    struct Chain chain, first;
    bool merge = v->driver_features & FEATURE_MRG_RXBUF;
    uint32_t done = 0, count = 0;
    do {
        int found = queue_peek(v, q, &chain);
        if (found == CHAIN_BAD)
            return -1;
        if (found == CHAIN_NONE || count == MERGED_MAX || (count && !merge))
            return 0;
        uint32_t head = count ? 0 : HEADER, here = bytes - done;
        uint64_t space = room(&chain);
        if (space < head)
            return -1;
        if (space - head < here)
            here = (uint32_t)(space - head);
        write_chain(&chain, head, arrived(v) + done, here);
        if (!count)
            first = chain;
        queue_fill(q, count++, chain.head, head + here);
        queue_take(q);
        done += here;
    } while (done < bytes);
    struct Header header = {.num_buffers = (uint16_t)count};
    if (v->driver_features & FEATURE_GUEST_CSUM)
        header.flags = DATA_VALID; /* it was checked on its way */
    write_chain(&first, 0, (const uint8_t *)&header, HEADER);
    return (int32_t)count;
}

/* Gives the guest the frame of `bytes` at the card's second place.  1: it has
 * it; 0: it has no buffers now, and the bell rings when it has; 2: it will not
 * take this frame (no driver, link down, too large for it). */
EXPORT uint32_t net_give(uint32_t slot, uint32_t bytes)
{
    struct Virtio *v = locked(slot);
    struct Virtqueue *q = v->backend == VIRTIO_BACKEND_NET ? virtio_live_queue(v, RECEIVE) : NULL;
    uint32_t result = 2;
    if (q && virtio_held())
        result = 0; /* the bell rings when that is over */
    else if (q && bytes && bytes <= NET_FRAME && v->config[CONFIG_STATUS] & LINK_UP) {
        uint16_t taken = q->last_avail, before = q->used_index;
        int32_t count = spread(v, q, bytes);
        if (count == 0) {
            q->last_avail = taken;
            queue_ask_notify(v, q);
            count = spread(v, q, bytes); /* one may have come before the driver saw that */
        }
        if (count > 0) {
            queue_publish(v, q, (uint32_t)count);
            if (queue_wants_interrupt(v, q, before))
                virtio_raise(v, 1);
            result = 1;
        } else {
            uint16_t there = (uint16_t)(q->last_avail - taken);
            q->last_avail = taken;
            if (count < 0)
                virtio_broken(v);
            /* All buffers together are too few: more will not come. */
            result = count < 0 || there >= q->num || there == MERGED_MAX ? 2 : 0;
        }
    }
    unlock(&v->lock);
    return result;
}

/* Plugs the cable in or out; the driver is told.  Waits while devices are held. */
EXPORT void net_link(uint32_t slot, uint32_t up)
{
    while (virtio_held())
        word_wait(&MACHINE->snapshot.still, 1, 100000000);
    struct Virtio *v = locked(slot);
    if (v->backend == VIRTIO_BACKEND_NET) {
        v->config[CONFIG_STATUS] = up ? LINK_UP : 0;
        atomic_add(&v->config_generation, 1);
        if (v->status & STATUS_DRIVER_OK)
            virtio_raise(v, 2);
    }
    unlock(&v->lock);
}

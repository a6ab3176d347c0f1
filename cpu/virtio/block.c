#include "virtio/block.h"

#include "virtio/disk.h"
#include "virtio/mmio.h"
#include "virtio/queue.h"

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { OK = 0, IOERR = 1, UNSUPP = 2 };
enum { SECTOR = 512, HEADER = 16, ID_BYTES = 20, RANGE_SECTORS = 1 << 16 /* as in config */ };
enum { LARGEST = 8 << 20, AHEAD = 8 /* requests that are looked at while one waits */ };
#define FEATURE_RO (1ull << 5)
#define WAITS (-1) /* in place of a status: the request stays in its queue */

/* One request being served. */
struct Request {
    struct Virtio *v;
    struct Disk *disk;
    uint32_t queue;
    struct Cursor {
        const struct Chain *chain;
        uint32_t buffer, offset;
        bool writable;
    } in, out;
};

static bool settle(struct Cursor *c)
{
    while (c->buffer < c->chain->count) {
        const struct Buffer *b = &c->chain->buffer[c->buffer];
        if (b->writable == c->writable && c->offset < b->bytes)
            return true;
        c->buffer++;
        c->offset = 0;
    }
    return false;
}

/* Copies `bytes` between the chain and `image` (NULL: zeroes, into the chain);
 * false when the chain ends. */
static bool transfer(struct Cursor *c, uint8_t *image, uint64_t bytes)
{
    while (bytes) {
        if (!settle(c))
            return false;
        const struct Buffer *b = &c->chain->buffer[c->buffer];
        uint32_t here = b->bytes - c->offset;
        if (here > bytes)
            here = (uint32_t)bytes;
        if (!c->writable)
            memcpy(image, b->at + c->offset, here);
        else if (image)
            memcpy(b->at + c->offset, image, here);
        else
            memset(b->at + c->offset, 0, here);
        if (image)
            image += here;
        bytes -= here;
        c->offset += here;
    }
    return true;
}

static uint64_t total(const struct Chain *chain, bool writable)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < chain->count; i++)
        if (chain->buffer[i].writable == writable)
            bytes += chain->buffer[i].bytes;
    return bytes;
}

/* Is it inside the disk?  Sets where it begins. */
static bool inside(const struct Disk *d, uint64_t sector, uint64_t bytes, uint64_t *at)
{
    if (sector > d->bytes / SECTOR || bytes > d->bytes - sector * SECTOR)
        return false;
    *at = sector * SECTOR;
    return true;
}

static int in_words(int ready) { return ready == DISK_READY ? OK : ready == DISK_WAITS ? WAITS : IOERR; }

static uint64_t piece(uint64_t at, uint64_t bytes)
{
    uint64_t here = DISK_CHUNK - at % DISK_CHUNK;
    return here < bytes ? here : bytes;
}

static int read_disk(struct Request *r, uint64_t sector, uint64_t bytes)
{
    uint64_t at;
    if (bytes % SECTOR || bytes > LARGEST || !inside(r->disk, sector, bytes, &at))
        return IOERR;
    if (bytes == 0)
        return OK;
    int ready = disk_readable(r->disk, at, bytes);
    if (ready != DISK_READY)
        return in_words(ready);
    for (uint64_t here; bytes; at += here, bytes -= here) {
        here = piece(at, bytes);
        transfer(&r->out, (uint8_t *)(uintptr_t)disk_peek(r->disk, at), here);
    }
    return OK;
}

/* A write that has to wait in the middle begins again later: the driver leaves
 * the data where they are until it has its answer. */
static int write_disk(struct Request *r, uint64_t sector, uint64_t bytes)
{
    uint64_t at;
    if (bytes % SECTOR || bytes > LARGEST || !inside(r->disk, sector, bytes, &at))
        return IOERR;
    if (bytes == 0)
        return OK;
    int ready = disk_writable(r->disk, at, bytes);
    for (uint64_t here; bytes && ready == DISK_READY; at += here, bytes -= here) {
        here = piece(at, bytes);
        uint8_t *to = disk_poke(r->disk, at, here, &ready);
        if (to)
            transfer(&r->in, to, here);
    }
    return in_words(ready);
}

/* Discards or zeroes the one range of a request (max_*_seg in config is 1, so
 * that no request can keep a hart here for long).  Unmapping is a choice of
 * write zeroes only; other flags are unknown (5.2.6.2). */
static int zero_disk(struct Request *r, uint64_t bytes, bool discard)
{
    struct {
        uint64_t sector;
        uint32_t count, flags;
    } range;
    uint64_t at;
    if (bytes != sizeof range)
        return IOERR;
    transfer(&r->in, (uint8_t *)&range, sizeof range);
    if (range.flags & ~(discard ? 0u : 1u))
        return UNSUPP;
    if (range.count > RANGE_SECTORS || !inside(r->disk, range.sector, (uint64_t)range.count * SECTOR, &at))
        return IOERR;
    return range.count ? in_words(disk_zero(r->disk, at, (uint64_t)range.count * SECTOR, discard)) : OK;
}

/* Done when the store holds all that was written before: that is a commit that
 * begins after now.  A disk without a store has nothing to wait for. */
static int flush_disk(struct Request *r)
{
    struct Disk *d = r->disk;
    uint32_t *ticket = &d->flush_ticket[r->queue];
    if (!d->durable)
        return OK;
    if (*ticket == 0) {
        if (!disk_unsaved(d))
            return OK;
        *ticket = d->commits_begun + 1 ? d->commits_begun + 1 : 1;
        disk_ring();
        return WAITS;
    }
    if ((int32_t)(d->commits_done - *ticket) < 0)
        return WAITS;
    bool failed = (int32_t)(d->commit_failed - *ticket) >= 0 && d->full;
    *ticket = 0;
    return failed ? IOERR : OK;
}

/* Serves one request: header, data, and a status byte at the end (5.2.6). */
enum Outcome { SERVED, PARKED, BROKEN /* no header, or no room for a status */ };
static enum Outcome serve(struct Virtio *v, uint32_t queue, const struct Chain *chain, uint32_t *written)
{
    struct {
        uint32_t type, reserved;
        uint64_t sector;
    } header;
    struct Disk *d = &MACHINE->disk[v->disk % MAX_DISKS];
    struct Request r = {v, d, queue, {chain, 0, 0, false}, {chain, 0, 0, true}};
    uint64_t readable = total(chain, false), writable = total(chain, true);
    if (readable < HEADER || writable < 1 || writable > 0xffffffffu)
        return BROKEN;
    transfer(&r.in, (uint8_t *)&header, HEADER);
    uint64_t to_read = writable - 1, to_write = readable - HEADER;
    uint8_t id[ID_BYTES] = "hartwell-0";
    bool fixed = v->device_features & FEATURE_RO;
    int status = OK;
    lock(&d->lock);
    switch (header.type) {
    case IN: status = read_disk(&r, header.sector, to_read); break;
    case OUT: status = fixed ? IOERR : write_disk(&r, header.sector, to_write); break;
    case FLUSH: status = flush_disk(&r); break;
    case GET_ID:
        id[9] = (uint8_t)('0' + v->disk % MAX_DISKS);
        transfer(&r.out, id, to_read < ID_BYTES ? to_read : ID_BYTES);
        break;
    case DISCARD: status = fixed ? IOERR : zero_disk(&r, to_write, true); break;
    case WRITE_ZEROES: status = fixed ? IOERR : zero_disk(&r, to_write, false); break;
    default: status = UNSUPP; break;
    }
    unlock(&d->lock);
    if (status == WAITS)
        return PARKED;
    *written = (uint32_t)writable; /* up to the status, the last writable byte */
    for (uint32_t i = chain->count; i-- > 0;) {
        const struct Buffer *b = &chain->buffer[i];
        if (b->writable && b->bytes) {
            b->at[b->bytes - 1] = (uint8_t)status;
            break;
        }
    }
    return SERVED;
}

/* While the first request waits, the chunks of those behind it are asked for too. */
static void look_ahead(struct Virtio *v, const struct Virtqueue *q)
{
    struct Disk *d = &MACHINE->disk[v->disk % MAX_DISKS];
    struct Virtqueue ahead = *q;
    struct Chain chain;
    /* Memory that a lazy wake has still to bring must not be waited for with the
     * disk's lock held: the storage side needs both. */
    if (atomic_get(&MACHINE->absent_pages))
        return;
    lock(&d->lock);
    for (uint32_t i = 0; i < AHEAD; i++) {
        queue_take(&ahead);
        if (queue_peek(v, &ahead, &chain) != CHAIN_FOUND || total(&chain, false) < HEADER)
            break;
        struct {
            uint32_t type, reserved;
            uint64_t sector;
        } header;
        struct Cursor in = {&chain, 0, 0, false};
        transfer(&in, (uint8_t *)&header, HEADER);
        uint64_t at, bytes = total(&chain, true) - 1;
        if (header.type == IN && bytes && bytes <= LARGEST && inside(d, header.sector, bytes, &at))
            disk_hint(d, at, bytes);
    }
    unlock(&d->lock);
}

void virtio_block_reset(struct Virtio *v)
{
    atomic_set(&MACHINE->disk[v->disk % MAX_DISKS].parked, 0);
    memset(MACHINE->disk[v->disk % MAX_DISKS].flush_ticket, 0, sizeof MACHINE->disk->flush_ticket);
}

void virtio_block_notify(struct Virtio *v, uint32_t queue)
{
    struct Virtqueue *q = &v->queue[queue];
    struct Chain chain;
    uint16_t before = q->used_index;
    uint32_t written, *parked = &MACHINE->disk[v->disk % MAX_DISKS].parked;
    int found;
    do {
        enum Outcome outcome = SERVED;
        while ((found = queue_peek(v, q, &chain)) == CHAIN_FOUND &&
               (outcome = serve(v, queue, &chain, &written)) == SERVED)
            queue_push(v, q, &chain, written);
        atomic_bits_off(parked, 1u << queue);
        if (outcome == PARKED) {
            atomic_bits_on(parked, 1u << queue);
            look_ahead(v, q);
            break; /* goes on when the storage side calls disk_serve */
        }
        if (found != CHAIN_NONE) {
            virtio_broken(v);
            break;
        }
        /* To be told of the next one; more may have come since the last look. */
        queue_ask_notify(v, q);
    } while (queue_peek(v, q, &chain) != CHAIN_NONE);
    if (queue_wants_interrupt(v, q, before))
        virtio_raise(v, 1);
}

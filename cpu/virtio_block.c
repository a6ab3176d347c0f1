#include "virtio_block.h"

#include "virtio_mmio.h"
#include "virtio_queue.h"

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { OK = 0, IOERR = 1, UNSUPP = 2 };
enum { SECTOR = 512, HEADER = 16, ID_BYTES = 20, RANGE_SECTORS = 1 << 16 /* as in config */ };
#define FEATURE_RO (1ull << 5)

/* A cursor over a chain's buffers of one direction. */
struct Cursor {
    const struct Chain *chain;
    uint32_t buffer, offset;
    bool writable;
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

/* Copies `bytes` between the chain and `image`; false when the chain ends. */
static bool transfer(struct Cursor *c, uint8_t *image, uint64_t bytes)
{
    while (bytes) {
        if (!settle(c))
            return false;
        const struct Buffer *b = &c->chain->buffer[c->buffer];
        uint32_t here = b->bytes - c->offset;
        if (here > bytes)
            here = (uint32_t)bytes;
        if (c->writable)
            memcpy(b->at + c->offset, image, here);
        else
            memcpy(image, b->at + c->offset, here);
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

/* The image's bytes from a sector on, NULL when they go past its end. */
static uint8_t *image_at(const struct Virtio *v, uint64_t sector, uint64_t bytes)
{
    if (sector > v->image_bytes / SECTOR || bytes > v->image_bytes - sector * SECTOR)
        return NULL;
    return (uint8_t *)mem_at(v->image_offset) + sector * SECTOR;
}

/* Discards or zeroes the one range of a request (max_*_seg in config is 1, so
 * that no request can keep a hart here for long).  Unmapping is a choice of
 * write zeroes only; other flags are unknown (5.2.6.2). */
static uint8_t zero_range(const struct Virtio *v, struct Cursor *in, uint64_t bytes, uint32_t known_flags)
{
    struct {
        uint64_t sector;
        uint32_t count, flags;
    } range;
    if (bytes != sizeof range)
        return IOERR;
    transfer(in, (uint8_t *)&range, sizeof range);
    if (range.flags & ~known_flags)
        return UNSUPP;
    uint8_t *at = image_at(v, range.sector, (uint64_t)range.count * SECTOR);
    if (!at || range.count > RANGE_SECTORS)
        return IOERR;
    memset(at, 0, (size_t)range.count * SECTOR);
    return OK;
}

/* Serves one request: header, data, and a status byte at the end (5.2.6).
 * false: it has no header or no room for a status. */
static bool serve(const struct Virtio *v, const struct Chain *chain, uint32_t *written)
{
    struct {
        uint32_t type, reserved;
        uint64_t sector;
    } header;
    struct Cursor in = {chain, 0, 0, false}, out = {chain, 0, 0, true};
    uint64_t readable = total(chain, false), writable = total(chain, true);
    if (readable < HEADER || writable < 1 || writable > 0xffffffffu)
        return false;
    transfer(&in, (uint8_t *)&header, HEADER);
    uint64_t to_read = writable - 1, to_write = readable - HEADER;
    uint8_t status = OK, *at;
    static const uint8_t id[ID_BYTES] = "hartwell";
    bool fixed = v->device_features & FEATURE_RO;
    switch (header.type) {
    case IN:
        at = to_read % SECTOR ? NULL : image_at(v, header.sector, to_read);
        status = at && transfer(&out, at, to_read) ? OK : IOERR;
        break;
    case OUT:
        at = fixed || to_write % SECTOR ? NULL : image_at(v, header.sector, to_write);
        status = at && transfer(&in, at, to_write) ? OK : IOERR;
        break;
    case FLUSH: break;
    case GET_ID:
        transfer(&out, (uint8_t *)(uintptr_t)id, to_read < ID_BYTES ? to_read : ID_BYTES);
        break;
    case DISCARD: status = fixed ? IOERR : zero_range(v, &in, to_write, 0); break;
    case WRITE_ZEROES: status = fixed ? IOERR : zero_range(v, &in, to_write, 1); break;
    default: status = UNSUPP; break;
    }
    *written = (uint32_t)writable; /* up to the status, the last writable byte */
    for (uint32_t i = chain->count; i-- > 0;) {
        const struct Buffer *b = &chain->buffer[i];
        if (b->writable && b->bytes) {
            b->at[b->bytes - 1] = status;
            break;
        }
    }
    return true;
}

void virtio_block_notify(struct Virtio *v, uint32_t queue)
{
    struct Virtqueue *q = &v->queue[queue];
    struct Chain chain;
    uint16_t before = q->used_index;
    uint32_t written;
    int found;
    do {
        while ((found = queue_peek(v, q, &chain)) == CHAIN_FOUND && serve(v, &chain, &written))
            queue_push(v, q, &chain, written);
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

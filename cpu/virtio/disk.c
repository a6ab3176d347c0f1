#include "virtio/disk.h"

enum { WANTED_MAX = 64, SPILL_EIGHTHS = 6 };

void disk_ring(void)
{
    atomic_add(&MACHINE->disk_bell, 1);
    word_wake(&MACHINE->disk_bell);
}

/* Asks for a chunk.  With no room in the list it is asked for at the next look:
 * each chunk that comes makes the queues be looked at again. */
static void want(struct Disk *d, uint32_t chunk)
{
    uint32_t *at = &disk_map(d)[chunk];
    if (*at != DISK_ABSENT || d->wanted_head - d->wanted_tail >= WANTED_MAX)
        return;
    *at = DISK_WANTED;
    d->wanted[d->wanted_head++ % WANTED_MAX] = chunk;
    d->misses++;
    disk_ring();
}

static void touch(struct Disk *d, uint32_t place) { disk_frames(d)[place - DISK_FRAME].flags |= FRAME_TOUCHED; }

int32_t disk_take_frame(struct Disk *d, uint32_t chunk)
{
    struct Frame *frames = disk_frames(d);
    uint32_t found = d->frames;
    if (d->frames_used < d->frames)
        found = d->frames_used++;
    for (uint32_t looked = 0; found == d->frames && looked < 2 * d->frames; looked++) {
        uint32_t here = d->hand;
        d->hand = here + 1 < d->frames ? here + 1 : 0;
        struct Frame *f = &frames[here];
        if (f->flags & (FRAME_DIRTY | FRAME_WRITING | FRAME_FILLING))
            continue;
        if (f->flags & FRAME_TOUCHED) {
            f->flags &= ~(uint32_t)FRAME_TOUCHED;
            continue;
        }
        if (f->flags & FRAME_USED) {
            disk_map(d)[f->chunk] = DISK_ABSENT;
            d->evicted++;
        }
        found = here;
    }
    if (found == d->frames)
        return -1;
    frames[found].chunk = chunk;
    frames[found].flags = FRAME_USED;
    return (int32_t)found;
}

static uint32_t first_chunk(uint64_t at) { return (uint32_t)(at / DISK_CHUNK); }
static uint32_t last_chunk(uint64_t at, uint64_t bytes) { return (uint32_t)((at + bytes - 1) / DISK_CHUNK); }

/* Does at..at+bytes cover the whole chunk?  The last one may be short. */
static bool covers(const struct Disk *d, uint32_t chunk, uint64_t at, uint64_t bytes)
{
    uint64_t begin = (uint64_t)chunk * DISK_CHUNK, end = begin + DISK_CHUNK;
    if (end > d->bytes)
        end = d->bytes;
    return at <= begin && at + bytes >= end;
}

static int look(struct Disk *d, uint64_t at, uint64_t bytes, bool to_write)
{
    int result = DISK_READY;
    for (uint32_t chunk = first_chunk(at); chunk <= last_chunk(at, bytes); chunk++) {
        uint32_t *place = &disk_map(d)[chunk];
        if (*place >= DISK_FRAME) {
            touch(d, *place);
            continue;
        }
        if (*place == DISK_FAILED) {
            *place = DISK_ABSENT;
            d->failures++;
            result = DISK_FAILS;
            continue;
        }
        if (*place == DISK_ABSENT && (disk_marks(d)[chunk] & DISK_ZERO || (to_write && covers(d, chunk, at, bytes))))
            continue;
        want(d, chunk);
        if (result == DISK_READY)
            result = DISK_WAITS;
    }
    return result;
}

int disk_readable(struct Disk *d, uint64_t at, uint64_t bytes) { return look(d, at, bytes, false); }
int disk_writable(struct Disk *d, uint64_t at, uint64_t bytes) { return look(d, at, bytes, true); }

void disk_hint(struct Disk *d, uint64_t at, uint64_t bytes)
{
    for (uint32_t chunk = first_chunk(at); chunk <= last_chunk(at, bytes); chunk++)
        if (!(disk_marks(d)[chunk] & DISK_ZERO))
            want(d, chunk);
}

const uint8_t *disk_peek(const struct Disk *d, uint64_t at)
{
    uint32_t place = disk_map(d)[at / DISK_CHUNK];
    return place >= DISK_FRAME ? disk_data(d, place - DISK_FRAME) + at % DISK_CHUNK : NULL;
}

/* No frame is free: a commit may make some so, unless the store takes no more. */
static int without_frame(struct Disk *d)
{
    if (d->full)
        return DISK_FAILS;
    d->spill = 1;
    disk_ring();
    return DISK_WAITS;
}

static void forget_zero(struct Disk *d, uint32_t chunk)
{
    uint8_t *mark = &disk_marks(d)[chunk];
    if (*mark & DISK_ZERO_DIRTY)
        d->zeroed--;
    *mark &= (uint8_t)~(DISK_ZERO | DISK_ZERO_DIRTY);
}

uint8_t *disk_poke(struct Disk *d, uint64_t at, uint64_t bytes, int *why)
{
    uint32_t chunk = first_chunk(at), *place = &disk_map(d)[chunk];
    if (*place < DISK_FRAME) {
        /* What was here when disk_writable looked may have given way since. */
        if (!(*place == DISK_ABSENT && (covers(d, chunk, at, bytes) || disk_marks(d)[chunk] & DISK_ZERO))) {
            want(d, chunk);
            *why = DISK_WAITS;
            return NULL;
        }
        int32_t frame = disk_take_frame(d, chunk);
        if (frame < 0) {
            *why = without_frame(d);
            return NULL;
        }
        if (!covers(d, chunk, at, bytes) || (uint64_t)(chunk + 1) * DISK_CHUNK > d->bytes)
            memset(disk_data(d, (uint32_t)frame), 0, DISK_CHUNK);
        *place = DISK_FRAME + (uint32_t)frame;
    }
    forget_zero(d, chunk);
    struct Frame *f = &disk_frames(d)[*place - DISK_FRAME];
    if (!(f->flags & FRAME_DIRTY)) {
        f->flags |= FRAME_DIRTY;
        if (++d->dirty == d->frames / 8 * SPILL_EIGHTHS) {
            d->spill = 1; /* in time, so that nobody has to wait */
            disk_ring();
        }
    }
    f->flags |= FRAME_TOUCHED;
    return disk_data(d, *place - DISK_FRAME) + at % DISK_CHUNK;
}

/* A chunk is all zeroes from now on: its frame is free, its mark says so. */
static void zero_whole(struct Disk *d, uint32_t chunk)
{
    uint32_t *place = &disk_map(d)[chunk];
    uint8_t *mark = &disk_marks(d)[chunk];
    if (*place >= DISK_FRAME) {
        struct Frame *f = &disk_frames(d)[*place - DISK_FRAME];
        if (f->flags & FRAME_DIRTY)
            d->dirty--;
        f->flags = f->flags & FRAME_WRITING; /* a commit that reads it now finds it unused when it is done */
        *place = DISK_ABSENT;
    } else if (*mark & DISK_ZERO) {
        return;
    }
    if (!(*mark & DISK_ZERO_DIRTY))
        d->zeroed++;
    *mark |= DISK_ZERO | DISK_ZERO_DIRTY;
}

int disk_zero(struct Disk *d, uint64_t at, uint64_t bytes, bool advice)
{
    /* First whatever can make it wait, so that it is not done half and again. */
    int result = DISK_READY;
    for (uint32_t chunk = first_chunk(at); chunk <= last_chunk(at, bytes); chunk++) {
        uint32_t place = disk_map(d)[chunk];
        bool whole = covers(d, chunk, at, bytes);
        if (place >= DISK_FRAME || (place == DISK_ABSENT && (whole || advice || disk_marks(d)[chunk] & DISK_ZERO)))
            continue;
        uint64_t part = (uint64_t)chunk * DISK_CHUNK;
        int here = disk_readable(d, part, 1);
        result = here == DISK_FAILS || result == DISK_FAILS ? DISK_FAILS : here == DISK_WAITS ? DISK_WAITS : result;
    }
    if (result != DISK_READY)
        return result;
    for (uint64_t end = at + bytes; at < end;) {
        uint32_t chunk = first_chunk(at);
        uint64_t next = (uint64_t)(chunk + 1) * DISK_CHUNK, here = (next < end ? next : end) - at;
        if (covers(d, chunk, at, here)) {
            zero_whole(d, chunk);
        } else if (disk_map(d)[chunk] >= DISK_FRAME) {
            uint8_t *to = disk_poke(d, at, here, &result);
            memset(to, 0, here);
        }
        at += here;
    }
    return DISK_READY;
}

bool disk_unsaved(const struct Disk *d) { return d->dirty || d->zeroed || d->commits_begun != d->commits_done; }

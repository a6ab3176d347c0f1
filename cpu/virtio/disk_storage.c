/* What the storage side of a disk calls, each on its own instance of cpu.wasm
 * (web/storage/disks.mjs; py/hartwell/platform/wasmtime_disks.py).
 *
 * Fetch:   while ((chunk = disk_next(d)) != NONE) { read it; frame = disk_place(d, chunk); fill it;
 *          disk_filled(d, chunk, frame, status) }, then disk_serve(d).
 * Commit:  n = disk_commit_begin(d); read the frames with FRAME_WRITING, each between disk_lock and
 *          disk_unlock; write them; disk_commit_end(d, done), which serves the queues.
 */
#include "virtio/disk.h"
#include "virtio/mmio.h"

enum { NONE = 0xffffffff };
enum { FILLED = 0, ZEROES = 1, FAILED = 2, DROPPED = 3 };

static struct Disk *locked(uint32_t disk)
{
    struct Disk *d = &MACHINE->disk[disk % MAX_DISKS];
    lock(&d->lock);
    return d;
}

EXPORT void disk_lock(uint32_t disk) { locked(disk); }
EXPORT void disk_unlock(uint32_t disk) { unlock(&MACHINE->disk[disk % MAX_DISKS].lock); }

/* The next chunk that somebody waits for. */
EXPORT uint32_t disk_next(uint32_t disk)
{
    struct Disk *d = locked(disk);
    uint32_t chunk = NONE;
    if (d->wanted_tail != d->wanted_head)
        chunk = d->wanted[d->wanted_tail++ % (sizeof d->wanted / sizeof *d->wanted)];
    unlock(&d->lock);
    return chunk;
}

/* Claims a chunk that nobody waits for, to fetch it along with its neighbours;
 * 0 when it is here already, on its way, or known to be zeroes. */
EXPORT uint32_t disk_claim(uint32_t disk, uint32_t chunk)
{
    struct Disk *d = locked(disk);
    bool mine = chunk < d->chunks && disk_map(d)[chunk] == DISK_ABSENT && !(disk_marks(d)[chunk] & DISK_ZERO);
    if (mine)
        disk_map(d)[chunk] = DISK_WANTED;
    unlock(&d->lock);
    return mine;
}

/* A frame for a chunk that comes: where its bytes go, 0 when only a commit can make one free. */
EXPORT uint32_t disk_place(uint32_t disk, uint32_t chunk)
{
    struct Disk *d = locked(disk);
    int32_t frame = chunk < d->chunks ? disk_take_frame(d, chunk) : -1;
    if (frame >= 0)
        disk_frames(d)[frame].flags = FRAME_FILLING;
    unlock(&d->lock);
    return frame < 0 ? 0 : mem_offset(disk_data(d, (uint32_t)frame));
}

/* The chunk is at `place` (FILLED), is all zeroes, could not be had, or was
 * given up for now; with the last three, `place` is 0. */
EXPORT void disk_filled(uint32_t disk, uint32_t chunk, uint32_t place, uint32_t status)
{
    struct Disk *d = locked(disk);
    if (chunk < d->chunks && disk_map(d)[chunk] == DISK_WANTED) {
        uint32_t frame = (place - d->data_offset) / DISK_CHUNK;
        if (status == FILLED && place >= d->data_offset && frame < d->frames) {
            disk_frames(d)[frame].flags = FRAME_USED | FRAME_TOUCHED;
            disk_map(d)[chunk] = DISK_FRAME + frame;
            d->fetched++;
        } else if (status == ZEROES) {
            disk_marks(d)[chunk] |= DISK_ZERO;
            disk_map(d)[chunk] = DISK_ABSENT;
        } else {
            disk_map(d)[chunk] = status == DROPPED ? DISK_ABSENT : DISK_FAILED;
        }
    }
    unlock(&d->lock);
}

static void serve(uint32_t disk)
{
    const struct Disk *d = &MACHINE->disk[disk % MAX_DISKS];
    struct Virtio *v = &MACHINE->virtio[d->slot % MAX_VIRTIO];
    lock(&v->lock);
    if (v->backend == VIRTIO_BACKEND_BLOCK && v->disk == disk)
        for (uint32_t queue = 0; queue < v->queue_count; queue++)
            virtio_serve(v, queue);
    unlock(&v->lock);
}

/* The queues go on with what has come.  After a lazy wake a request may need
 * memory that only the storage side's own thread can bring, so it must not wait
 * for it here: the supervisor is told to call disks_serve. */
EXPORT void disk_serve(uint32_t disk)
{
    if (atomic_get(&MACHINE->absent_pages))
        doorbell_ring(DOORBELL_DISK);
    else
        serve(disk);
}

/* The same for all disks, on a thread that may wait for memory. */
EXPORT void disks_serve(void)
{
    for (uint32_t disk = 0; disk < MAX_DISKS; disk++)
        if (MACHINE->disk[disk].bytes)
            serve(disk);
}

/* The queues (a bit each) whose first request waits. */
EXPORT uint32_t disk_parked(uint32_t disk) { return atomic_get(&MACHINE->disk[disk % MAX_DISKS].parked); }

/* Does somebody wait for a commit that has not begun? */
EXPORT uint32_t disk_commit_wanted(uint32_t disk)
{
    struct Disk *d = locked(disk);
    bool wanted = d->spill;
    for (uint32_t queue = 0; queue < VIRTIO_QUEUES; queue++)
        wanted |= d->flush_ticket[queue] && (int32_t)(d->flush_ticket[queue] - d->commits_begun) > 0;
    unlock(&d->lock);
    return wanted;
}

/* From here on the changes made so far are this commit's: how many chunks. */
EXPORT uint32_t disk_commit_begin(uint32_t disk)
{
    struct Disk *d = locked(disk);
    uint32_t count = d->dirty + d->zeroed;
    d->commits_begun++;
    d->spill = 0;
    for (uint32_t frame = 0; frame < d->frames_used; frame++) {
        struct Frame *f = &disk_frames(d)[frame];
        if (f->flags & FRAME_DIRTY)
            f->flags = (f->flags & ~(uint32_t)FRAME_DIRTY) | FRAME_WRITING;
    }
    if (d->zeroed) {
        uint8_t *marks = disk_marks(d);
        for (uint32_t chunk = 0; chunk < d->chunks; chunk++)
            if (marks[chunk] & DISK_ZERO_DIRTY)
                marks[chunk] = (uint8_t)((marks[chunk] & ~DISK_ZERO_DIRTY) | DISK_ZERO_WRITING);
    }
    d->dirty = d->zeroed = 0;
    unlock(&d->lock);
    return count;
}

/* The store holds them (done), or nothing of them. */
EXPORT void disk_commit_end(uint32_t disk, uint32_t done)
{
    struct Disk *d = locked(disk);
    for (uint32_t frame = 0; frame < d->frames_used; frame++) {
        struct Frame *f = &disk_frames(d)[frame];
        if (!(f->flags & FRAME_WRITING))
            continue;
        f->flags &= ~(uint32_t)FRAME_WRITING;
        if (!done && f->flags & FRAME_USED && !(f->flags & FRAME_DIRTY)) {
            f->flags |= FRAME_DIRTY;
            d->dirty++;
        }
    }
    uint8_t *marks = disk_marks(d);
    for (uint32_t chunk = 0; chunk < d->chunks; chunk++) {
        if (!(marks[chunk] & DISK_ZERO_WRITING))
            continue;
        marks[chunk] &= (uint8_t)~DISK_ZERO_WRITING;
        if (!done && marks[chunk] & DISK_ZERO && !(marks[chunk] & DISK_ZERO_DIRTY)) {
            marks[chunk] |= DISK_ZERO_DIRTY;
            d->zeroed++;
        }
    }
    d->commits_done = d->commits_begun;
    if (done)
        d->generation++;
    else
        d->commit_failed = d->commits_begun;
    d->full = !done;
    unlock(&d->lock);
    disk_serve(disk);
}

/* Empties the cache: before the storage side of a disk begins, or begins again
 * after a wake.  What was not committed is gone. */
EXPORT void disk_open(uint32_t disk)
{
    struct Disk *d = locked(disk);
    memset(disk_map(d), 0, 4 * (size_t)d->chunks);
    memset(disk_marks(d), 0, d->chunks);
    memset(disk_frames(d), 0, sizeof(struct Frame) * (size_t)d->frames);
    d->hand = d->frames_used = d->dirty = d->zeroed = d->full = d->spill = 0;
    d->wanted_head = d->wanted_tail = 0;
    d->commits_done = d->commits_begun;
    unlock(&d->lock);
}

/* Is there anything that a commit would write? */
EXPORT uint32_t disk_unsaved_changes(uint32_t disk)
{
    struct Disk *d = locked(disk);
    bool unsaved = d->dirty || d->zeroed;
    unlock(&d->lock);
    return unsaved;
}

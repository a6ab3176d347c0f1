/* A disk's cache: its bytes in chunks of DISK_CHUNK, those that are here in frames.
 *
 * map[chunk] says where a chunk is.  What is not here is asked for (`wanted`,
 * Machine.disk_bell) and put into a frame by the storage side, a thread that
 * has an instance of its own and calls the exports of virtio/disk_storage.c.  Which
 * frame gives way is decided by a clock; one with changes never does before a
 * commit has written it to the store.  marks[chunk] & DISK_ZERO: the chunk is
 * known to be all zeroes, and needs no frame to be read.
 */
#ifndef HARTWELL_DISK_H
#define HARTWELL_DISK_H

#include "machine/machine.h"

enum { DISK_READY, DISK_WAITS, DISK_FAILS };

/* All with the disk's lock held. */

/* May the range be read now?  Asks for what is missing.  A chunk that could not
 * be fetched makes it DISK_FAILS once; then it may be tried again. */
int disk_readable(struct Disk *d, uint64_t at, uint64_t bytes);
/* May it be written?  Chunks that would be overwritten whole need not be here. */
int disk_writable(struct Disk *d, uint64_t at, uint64_t bytes);

/* Parts of one chunk: bytes to read (NULL: zeroes), after disk_readable said
 * DISK_READY. */
const uint8_t *disk_peek(const struct Disk *d, uint64_t at);
/* Bytes to change; NULL when no frame is free now (*why: DISK_WAITS or
 * DISK_FAILS).  `bytes` are those that will be changed from `at` on. */
uint8_t *disk_poke(struct Disk *d, uint64_t at, uint64_t bytes, int *why);

/* Zeroes a range; chunks that are zeroed whole need no frame afterwards.
 * `advice`: parts of chunks that are not here may stay what they are. */
int disk_zero(struct Disk *d, uint64_t at, uint64_t bytes, bool advice);

/* Are there changes that a commit has to write, or is one at work? */
bool disk_unsaved(const struct Disk *d);

/* Tells the storage side that there is work. */
void disk_ring(void);

/* For a chunk that is not needed yet. */
void disk_hint(struct Disk *d, uint64_t at, uint64_t bytes);

static inline uint32_t *disk_map(const struct Disk *d) { return mem_at(d->map_offset); }
static inline uint8_t *disk_marks(const struct Disk *d) { return mem_at(d->marks_offset); }
static inline struct Frame *disk_frames(const struct Disk *d) { return mem_at(d->frame_offset); }
static inline uint8_t *disk_data(const struct Disk *d, uint32_t frame)
{
    return (uint8_t *)mem_at(d->data_offset) + (size_t)frame * DISK_CHUNK;
}

/* A frame for a chunk, its flags FRAME_USED, not yet in the map; -1: none. */
int32_t disk_take_frame(struct Disk *d, uint32_t chunk);

#endif

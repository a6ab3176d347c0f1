/* What snapshots need of the machine: which memory was written, pages that are
 * still to come, and a start from restored state.  The control plane's part is
 * py/hartwell/snapshot/; docs/snapshot-format.md has the format.
 */
#include "machine/snapshot.h"

#include "machine/ring.h"
#include "mmu/mmu.h"
#include "devices/plic.h"
#include "virtio/mmio.h"
#include "devices/vmgenid.h"

enum { CHUNK_PAGES = SNAPSHOT_CHUNK / 4096 };

void ram_all_dirty(void)
{
    uint32_t pages = (uint32_t)(MACHINE->ram_bytes >> 12);
    for (uint32_t page = 0; page < pages; page++)
        __atomic_fetch_or(page_flags(page), PAGE_DIRTY, __ATOMIC_SEQ_CST);
}

/* Begins a new epoch: byte i at chunk_dirty_offset says whether a page of the
 * i-th 64 KiB of RAM was written since the last one (CHUNK_DIRTY), and whether
 * one was used at all (CHUNK_TOUCHED; what runs translated all the time may
 * not be seen).  Every page counts as clean until it is written again.  Only
 * while no hart runs, since it empties their tables.  Returns the number of
 * dirty chunks. */
EXPORT uint32_t dirty_take(void)
{
    const struct Machine *m = MACHINE;
    uint32_t pages = (uint32_t)(m->ram_bytes >> 12), found = 0;
    uint8_t *chunk = (uint8_t *)mem_at(m->chunk_dirty_offset);
    memset(chunk, 0, (pages + CHUNK_PAGES - 1) / CHUNK_PAGES);
    for (uint32_t i = 0; i < m->hart_count; i++)
        tlb_flush_all(hart_at(i));
    for (uint32_t page = 0; page < pages; page++) {
        if (!(*page_flags(page) & (PAGE_DIRTY | PAGE_TOUCHED)))
            continue;
        uint8_t old = __atomic_fetch_and(page_flags(page), (uint8_t)~(PAGE_DIRTY | PAGE_TOUCHED), __ATOMIC_SEQ_CST);
        uint8_t *said = &chunk[page / CHUNK_PAGES];
        if (old & PAGE_DIRTY) {
            found += !(*said & CHUNK_DIRTY);
            *said |= CHUNK_DIRTY;
        }
        if (old & PAGE_TOUCHED)
            *said |= CHUNK_TOUCHED;
    }
    return found;
}

/* How many chunks dirty_take would find. */
EXPORT uint32_t dirty_count(void)
{
    uint32_t pages = (uint32_t)(MACHINE->ram_bytes >> 12), found = 0;
    for (uint32_t first = 0; first < pages; first += CHUNK_PAGES)
        for (uint32_t page = first; page < pages && page < first + CHUNK_PAGES; page++)
            if (*page_flags(page) & PAGE_DIRTY) {
                found++;
                break;
            }
    return found;
}

static void ring_clear(const struct Ring *r)
{
    uint8_t *bytes = (uint8_t *)mem_at(r->offset);
    if (r->offset == 0)
        return;
    for (uint32_t i = r->head, left = ring_room(r), piece; left; i += piece, left -= piece) {
        uint32_t at = i & (RING_SIZE - 1);
        piece = left < RING_SIZE - at ? left : RING_SIZE - at;
        memset(bytes + at, 0, piece);
    }
}

/* What consoles' rings have had and nobody will read becomes zeros, which a
 * snapshot need not store.  Only while neither harts nor devices work. */
EXPORT void rings_clear(void)
{
    struct Machine *m = MACHINE;
    ring_clear(&m->uart.tx);
    ring_clear(&m->uart.rx);
    for (uint32_t slot = 0; slot < MAX_VIRTIO; slot++) {
        ring_clear(&m->virtio[slot].tx);
        ring_clear(&m->virtio[slot].rx);
    }
}

/* Chunks of RAM will come later, those whose byte at chunk_dirty_offset is 1:
 * their pages are waited for by who needs them. */
EXPORT void chunks_absent(void)
{
    struct Machine *m = MACHINE;
    uint32_t pages = (uint32_t)(m->ram_bytes >> 12);
    const uint8_t *chunk = (const uint8_t *)mem_at(m->chunk_dirty_offset);
    for (uint32_t page = 0; page < pages; page++)
        if (chunk[page / CHUNK_PAGES] && !(__atomic_fetch_or(page_flags(page), PAGE_ABSENT, __ATOMIC_SEQ_CST) & PAGE_ABSENT))
            atomic_add(&m->absent_pages, 1);
}

void page_await(struct Hart *h, uint32_t page)
{
    struct Machine *m = MACHINE;
    struct Snapshot *s = &m->snapshot;
    uint32_t slot = 0, free = 0;
    if (!(__atomic_load_n(page_flags(page), __ATOMIC_SEQ_CST) & PAGE_ABSENT))
        return;
    if (h)
        atomic_set(&h->page_wanted, page + 1);
    /* A slot is there for each thread that could be here. */
    while (!__atomic_compare_exchange_n(&s->wanted[slot], &free, page + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        slot = (slot + 1) % PAGE_WAITERS;
        free = 0;
    }
    atomic_add(&s->requests, 1);
    word_wake(&s->requests);
    for (;;) {
        uint32_t seen = atomic_get(&m->absent_pages);
        if (!(__atomic_load_n(page_flags(page), __ATOMIC_SEQ_CST) & PAGE_ABSENT) || atomic_get(&m->control) == CONTROL_STOP)
            break;
        word_wait(&m->absent_pages, seen, 100000000);
    }
    atomic_set(&s->wanted[slot], 0);
    if (h)
        atomic_set(&h->page_wanted, 0);
}

/* For the supervisor, before it touches RAM by itself: waits until all of
 * [pa, pa + bytes) is there.  false: not all of it is RAM. */
EXPORT uint32_t ram_await(uint64_t pa, uint64_t bytes) { return ram_at(pa, bytes) != NULL; }

/* A pause stops harts; this stops devices, whichever thread works for them: while
 * `hold` is 1 none takes a request, gives one back or writes to guest RAM for
 * one.  When it returns, whoever was at it has finished.  With 0 every queue is
 * looked at again, since what was notified meanwhile was not.  Devices in
 * Python hold back by themselves what they would give (devices/virtio.py). */
EXPORT void devices_hold(uint32_t hold)
{
    struct Machine *m = MACHINE;
    atomic_set(&m->snapshot.still, hold);
    word_wake(&m->snapshot.still);
    for (uint32_t slot = 0; slot < MAX_VIRTIO; slot++) {
        struct Virtio *v = &m->virtio[slot];
        lock(&v->lock);
        if (!hold)
            for (uint32_t queue = 0; queue < v->queue_count; queue++)
                virtio_serve(v, queue);
        unlock(&v->lock);
    }
}

/* The state of a snapshot lies in Machine and the Harts: makes all that is
 * derived from it anew.  The machine is paused, its time stands still, and
 * devices are held: a queue must not be looked at before its memory is here or
 * flagged absent, and the storage side of a disk begins before that.  Who makes
 * the machine go on calls devices_hold(0). */
EXPORT void machine_woken(void)
{
    struct Machine *m = MACHINE;
    atomic_set(&m->snapshot.still, 1);
    for (uint32_t i = 0; i < m->hart_count; i++) {
        struct Hart *h = hart_at(i);
        tlb_init(h);
        code_init(h);
        h->tlb_mask = 0;
        hart_mode_changed(h);
        h->reservation_valid = 0;
        h->rfence_kind = 0;
        h->rfence_ack = h->rfence_request;
        h->code_ack = h->code_issued = m->code_seq;
        h->executing = h->active = 0;
        h->page_wanted = 0;
        h->state = h->hsm_state == 1 ? HART_OFF : HART_RUNNING;
        atomic_set(&h->attention, ATTENTION_INTERRUPT | ATTENTION_CONTROL);
    }
    virtio_woken();
    m->running_harts = 0;
    m->stop_reason = STOP_NONE;
    m->exit_code = 0;
    m->time_frozen = 1;
    atomic_set(&m->control, CONTROL_PAUSE);
    atomic_set(&m->doorbell, 0);
    plic_set(IRQ_VMGENID, true);
}

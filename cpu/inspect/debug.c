#include "inspect/debug.h"

#include "hart/decode.h"
#include "mmu/mmu.h"

#define PAGE_OF(address) ((address) & ~0xfffull)
#define SATP_PPN 0xfffffffffffull /* Privileged spec 4.1.11: the root table names the space; its ASID may change */

static struct Debug *debug(void) { return &MACHINE->debug; }

/* One of 64 bits for a page: a table whose word lacks it has nothing there. */
static uint64_t page_bit(uint64_t address) { return 1ull << ((address >> 12 ^ address >> 18 ^ address >> 24) & 63); }

static bool in_space(const struct Hart *h, uint32_t flags, uint64_t space)
{
    return !(flags & POINT_SPACE) || (h->privilege != PRIV_M && h->satp >> 60 && (h->satp & SATP_PPN) == (space & SATP_PPN));
}

/* --- stopping --------------------------------------------------------------------- */

static void stop(struct Hart *h)
{
    if (debug()->stop_all) {
        machine_pause();
    } else {
        atomic_set(&h->debug.hold, 1);
        hart_attend(h, ATTENTION_CONTROL);
    }
    doorbell_ring(DOORBELL_DEBUG);
}

static void record(struct DebugStop *s, uint32_t reason, uint32_t index, uint64_t address, uint64_t pa, uint32_t size,
                   uint32_t access, uint64_t value)
{
    s->index = index;
    s->address = address;
    s->physical = pa;
    s->size = size;
    s->access = access;
    s->value = value;
    atomic_set(&s->reason, reason);
}

EXPORT void debug_hold(uint32_t hart, uint32_t on)
{
    if (hart >= MACHINE->hart_count)
        return;
    struct Hart *h = hart_at(hart);
    atomic_set(&h->debug.hold, on);
    hart_attend(h, ATTENTION_CONTROL);
}

void debug_refresh(struct Hart *h)
{
    const struct Debug *d = debug();
    if (h->debug.watch_seen != d->watch_generation)
        tlb_flush_all(h);
    else if (h->debug.break_seen != d->break_generation)
        code_flush_fetch(h);
    h->debug.watch_seen = d->watch_generation;
    h->debug.break_seen = d->break_generation;
}

/* --- breakpoints ------------------------------------------------------------------ */

void debug_mark(const struct Hart *h, struct Insn *page, uint64_t va, uint64_t pa)
{
    const struct Debug *d = debug();
    (void)h;
    if (!(d->break_pages & (page_bit(va) | page_bit(pa))))
        return;
    for (uint32_t i = 0; i < d->breakpoint_count; i++) {
        const struct DebugBreakpoint *b = &d->breakpoint[i];
        if (PAGE_OF(b->address) == PAGE_OF(b->flags & POINT_PHYSICAL ? pa : va))
            page[(b->address & 0xfff) >> 1].op = OP_BREAK;
    }
}

bool debug_break(struct Hart *h, uint64_t pa, bool *stale)
{
    const struct Debug *d = debug();
    *stale = true;
    for (uint32_t i = 0; i < d->breakpoint_count; i++) {
        const struct DebugBreakpoint *b = &d->breakpoint[i];
        if ((b->address ^ pa) & 0xffe)
            continue;
        *stale = false;
        if (b->address == (b->flags & POINT_PHYSICAL ? pa : h->pc) && in_space(h, b->flags, b->space) && !(h->debug.over & OVER_BREAK)) {
            record(&h->debug.stop, DEBUG_BREAKPOINT, i, h->pc, pa, 0, 0, 0);
            stop(h);
            return true;
        }
    }
    return false;
}

/* --- watchpoints ------------------------------------------------------------------ */

static bool overlaps(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b ? b - a < a_bytes : a - b < b_bytes;
}

bool debug_watched(struct Hart *h, uint64_t va, uint64_t pa)
{
    struct Debug *d = debug();
    bool watched = false;
    for (uint32_t i = 0; i < d->watchpoint_count; i++) {
        struct DebugWatchpoint *w = &d->watchpoint[i];
        uint64_t page = PAGE_OF(w->flags & POINT_PHYSICAL ? pa : va);
        if (!overlaps(page, 4096, w->address, w->size))
            continue;
        watched = true;
        /* Where the bytes lie now, for devices, which know physical addresses only. */
        if (!(w->flags & POINT_PHYSICAL) && in_space(h, w->flags, w->space))
            w->page[page != PAGE_OF(w->address)] = PAGE_OF(pa);
    }
    return watched;
}

bool debug_access(struct Hart *h, uint64_t va, uint64_t pa, uint32_t size, uint32_t access, uint64_t value)
{
    const struct Debug *d = debug();
    if (h->debug.over & OVER_WATCH)
        return false;
    for (uint32_t i = 0; i < d->watchpoint_count; i++) {
        const struct DebugWatchpoint *w = &d->watchpoint[i];
        bool physical = w->flags & POINT_PHYSICAL;
        if (!(w->flags & access) || !overlaps(physical ? pa : va, size, w->address, w->size) ||
            !in_space(h, w->flags, w->space))
            continue;
        record(&h->debug.stop, DEBUG_WATCHPOINT, i, va, pa, size, access, value);
        stop(h);
        return true;
    }
    return false;
}

void debug_dma(uint64_t pa, uint64_t bytes, uint32_t access)
{
    struct Debug *d = debug();
    for (uint32_t i = 0; i < d->watchpoint_count; i++) {
        const struct DebugWatchpoint *w = &d->watchpoint[i];
        if (!(w->flags & access))
            continue;
        bool hit = false;
        if (w->flags & POINT_PHYSICAL) {
            hit = overlaps(pa, bytes, w->address, w->size);
        } else {
            uint64_t at = w->address & 0xfff, first = w->size < 4096 - at ? w->size : 4096 - at;
            hit = (w->page[0] && overlaps(pa, bytes, w->page[0] + at, first)) ||
                  (w->page[1] && overlaps(pa, bytes, w->page[1], w->size - first));
        }
        if (!hit)
            continue;
        uint32_t none = DEBUG_NONE;
        if (__atomic_compare_exchange_n(&d->dma.reason, &none, DEBUG_DMA, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            record(&d->dma, DEBUG_DMA, i, pa, pa, (uint32_t)bytes, access, 0);
        machine_pause();
        doorbell_ring(DOORBELL_DEBUG);
        return;
    }
}

/* --- looking around ------------------------------------------------------------------- */

/* Where va lies for a debugger at this hart, who may see what the program there
 * may not: pages of both S and U mode, and those that can only be executed. */
static bool locate(struct Hart *h, uint64_t va, uint64_t *pa)
{
    static const uint8_t tries[][2] = {
        {SET_SUM, ACCESS_READ}, {SET_U, ACCESS_READ}, {SET_S, ACCESS_FETCH}, {SET_U, ACCESS_FETCH}};
    bool global;
    uint64_t span;
    if (h->privilege == PRIV_M)
        return mmu_translate(h, va, ACCESS_READ, SET_M, true, pa, &global, &span);
    for (uint32_t i = 0; i < sizeof tries / sizeof tries[0]; i++)
        if (mmu_translate(h, va, tries[i][1], tries[i][0], true, pa, &global, &span))
            return true;
    return false;
}

EXPORT uint64_t debug_translate(uint32_t hart, uint64_t va)
{
    uint64_t pa;
    return hart < MACHINE->hart_count && locate(hart_at(hart), va, &pa) ? pa : ~0ull;
}

EXPORT void debug_set_privilege(uint32_t hart, uint32_t privilege)
{
    if (hart >= MACHINE->hart_count || privilege == 2 || privilege > PRIV_M)
        return;
    hart_at(hart)->privilege = privilege;
    hart_mode_changed(hart_at(hart));
}

/* --- the tables changed --------------------------------------------------------------- */

static void mark_ram(uint64_t pa, uint64_t bytes, bool on)
{
    uint64_t size = MACHINE->ram_bytes, at = pa - RAM_BASE;
    if (at >= size || bytes == 0)
        return;
    uint8_t *flags = page_flags(0);
    uint64_t last = at + (bytes > size - at ? size - at : bytes) - 1;
    for (uint64_t page = at / 4096; page <= last / 4096; page++)
        if (on)
            __atomic_fetch_or(&flags[page], PAGE_WATCHED, __ATOMIC_SEQ_CST);
        else
            __atomic_fetch_and(&flags[page], (uint8_t)~PAGE_WATCHED, __ATOMIC_SEQ_CST);
}

static void resolve_on(struct Hart *h, struct DebugWatchpoint *w)
{
    uint64_t last = w->address + w->size - 1, pa;
    if (!w->page[0] && locate(h, w->address, &pa))
        w->page[0] = PAGE_OF(pa);
    if (PAGE_OF(last) != PAGE_OF(w->address) && !w->page[1] && locate(h, last, &pa))
        w->page[1] = PAGE_OF(pa);
}

/* Where a virtual watchpoint lies already: as some hart has it mapped now, or
 * in its own space, which none need be in. */
static void resolve(struct DebugWatchpoint *w)
{
    w->page[0] = w->page[1] = 0;
    if (!(w->flags & POINT_SPACE)) {
        for (uint32_t i = 0; i < MACHINE->hart_count; i++)
            resolve_on(hart_at(i), w);
        return;
    }
    struct Hart *h = hart_at(0); /* no hart runs, so one can lend itself to the walk */
    uint64_t satp = h->satp;
    uint32_t privilege = h->privilege;
    h->satp = w->space;
    h->privilege = PRIV_S;
    resolve_on(h, w);
    h->satp = satp;
    h->privilege = privilege;
}

EXPORT void debug_changed(uint32_t what)
{
    struct Debug *d = debug();
    if (what & DEBUG_BREAKPOINTS) {
        d->break_pages = 0;
        for (uint32_t i = 0; i < d->breakpoint_count; i++)
            d->break_pages |= page_bit(d->breakpoint[i].address);
        d->break_generation++;
    }
    if (what & DEBUG_WATCHPOINTS) {
        for (uint32_t i = 0; i < MAX_WATCHPOINTS; i++) {
            struct DebugWatchpoint *w = &d->watchpoint[i];
            if (w->marked_bytes)
                mark_ram(w->marked, w->marked_bytes, false);
            w->marked_bytes = 0;
        }
        for (uint32_t i = 0; i < d->watchpoint_count; i++) {
            struct DebugWatchpoint *w = &d->watchpoint[i];
            if (w->flags & POINT_PHYSICAL) {
                w->marked = w->address;
                w->marked_bytes = w->size;
                mark_ram(w->marked, w->marked_bytes, true);
            } else {
                resolve(w);
            }
        }
        d->watch_generation++;
    }
    if (what & DEBUG_CODE)
        for (uint32_t i = 0; i < MACHINE->hart_count; i++) {
            atomic_bits_on(&hart_at(i)->rfence_kind, RFENCE_CODE);
            atomic_add(&hart_at(i)->rfence_request, 1);
            hart_attend(hart_at(i), ATTENTION_RFENCE);
        }
    for (uint32_t i = 0; i < MACHINE->hart_count; i++)
        hart_attend(hart_at(i), ATTENTION_CONTROL);
}

/* --- going back (hartwell.history) ---------------------------------------------------- */

EXPORT void debug_checkpoint(void)
{
    uint8_t *flags = page_flags(0);
    for (uint32_t page = 0; page < MACHINE->ram_bytes / 4096; page++)
        if (flags[page] & PAGE_DIRTY)
            flags[page] &= (uint8_t)~PAGE_DIRTY;
    debug()->watch_generation++; /* what is in the write tables counts as dirty already */
    for (uint32_t i = 0; i < MACHINE->hart_count; i++)
        hart_attend(hart_at(i), ATTENTION_CONTROL);
}

EXPORT void debug_restored(void)
{
    for (uint32_t i = 0; i < MACHINE->hart_count; i++) {
        struct Hart *h = hart_at(i);
        h->debug.stop.reason = h->debug.over = 0;
        tlb_init(h);
        code_init(h);
        tlb_use_set(h, h->mem_mode);
    }
    debug_checkpoint();
}

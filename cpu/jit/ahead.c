/* Translations made ahead: the table, and who is looked for in it. */
#include "jit/ahead.h"

#include "jit/module.h"
#include "mmu/mmu.h"

/* Behind the table: for each halfword of a page, the first of those whose entry is there. */
#define FIRSTS (PAGE_BYTES / 2)
#define PAGE_BYTES 4096u
#define ROOM (JIT_AHEAD_BYTES - FIRSTS * (uint32_t)sizeof(uint16_t))

static struct JitAheadHead *head(void) { return (struct JitAheadHead *)mem_at(MACHINE->jit_ahead_offset); }
static struct JitAhead *table(void) { return (struct JitAhead *)(head() + 1); }
static uint16_t *firsts(void) { return (uint16_t *)mem_at(MACHINE->jit_ahead_offset + ROOM); }
static const struct Range *ranges_of(const struct JitAhead *a)
{
    return (const struct Range *)(table() + head()->count) + a->ranges;
}

static bool entry_is_right(const struct JitAhead *a)
{
    if (a->entry % 2 || a->entry >= PAGE_BYTES || !(a->touched & 2) || a->range_count == 0 || a->range_count > RANGES_MOST ||
        a->ranges > head()->ranges || a->range_count > head()->ranges - a->ranges)
        return false;
    const struct Range *r = ranges_of(a);
    for (uint32_t k = 0; k < a->range_count; k++) {
        uint32_t end = r[k].at + r[k].bytes;
        if (r[k].at % 2 || r[k].bytes % 2 || r[k].bytes == 0 || end > WINDOW)
            return false;
        for (uint32_t page = r[k].at / PAGE_BYTES; page <= (end - 1) / PAGE_BYTES; page++)
            if (!(a->touched >> page & 1))
                return false;
    }
    return true;
}

static bool table_is_right(uint32_t bytes)
{
    const struct JitAheadHead *a = head();
    if (bytes < sizeof *a || bytes > ROOM || a->magic != JIT_AHEAD_MAGIC || a->tlb_bits != MACHINE->tlb_bits ||
        a->features != MACHINE->jit.features || a->count == 0 || a->count > JIT_AHEAD_REGIONS || a->ranges > ROOM / 4 ||
        bytes != sizeof *a + a->count * sizeof(struct JitAhead) + a->ranges * sizeof(struct Range))
        return false;
    for (uint32_t k = 0; k < a->count; k++)
        if (!entry_is_right(&table()[k]))
            return false;
    return true;
}

void ahead_begin(void)
{
    struct Jit *j = &MACHINE->jit;
    if (!atomic_get(&j->ahead_bytes))
        return;
    lock(&j->lock);
    uint32_t bytes = j->ahead_bytes;
    if (bytes) {
        registry_forget_ahead();
        j->ahead_count = table_is_right(bytes) ? head()->count : 0;
        j->stat_ahead_refused += j->ahead_count == 0;
        memset(firsts(), 0, FIRSTS * sizeof(uint16_t));
        for (uint32_t k = 0; k < j->ahead_count; k++) {
            uint16_t *first = &firsts()[table()[k].entry / 2];
            table()[k].next = *first;
            *first = (uint16_t)(k + 1);
        }
        atomic_set(&j->ahead_bytes, 0);
    }
    unlock(&j->lock);
}

/* Is the code at pc, and around it as far as it belongs to it, that of `a`?  Fills in g's pages. */
static bool code_is(struct Hart *h, const struct JitAhead *a, uint32_t page, uint64_t pc, struct JitRegion *g)
{
    uint32_t number[WINDOW_PAGES];
    for (uint32_t k = 0; k < WINDOW_PAGES; k++) {
        number[k] = NO_PAGE;
        g->page[k] = (struct JitPage){NO_PAGE, 0};
        if (!(a->touched >> k & 1))
            continue;
        number[k] = k == 1 ? page : code_page(h, (pc & ~0xfffull) + (uint64_t)(int64_t)((int32_t)k - 1) * PAGE_BYTES);
        /* The generation first: bytes read later can only be newer than it says. */
        if (number[k] == NO_PAGE || registry_unframed(number[k]) || !code_fresh(h, number[k], &g->page[k].generation))
            return false;
        g->page[k].page = number[k];
        g->page_count++;
    }
    return registry_hash(ranges_of(a), a->range_count, number) == a->hash;
}

bool ahead_register(struct Hart *h, uint32_t page, uint64_t pc)
{
    if (!MACHINE->jit.ahead_count)
        return false;
    for (uint32_t n = firsts()[pc % PAGE_BYTES / 2]; n; n = table()[n - 1].next) {
        const struct JitAhead *a = &table()[n - 1];
        struct JitRegion g = {.slot = AHEAD_SLOT + n - 1, .ranges = mem_offset(ranges_of(a)), .range_count = a->range_count,
                              .insns = a->insns, .hash = a->hash, .entry_page = 1};
        if (code_is(h, a, page, pc, &g))
            return registry_add_ahead(&g, pc);
    }
    return false;
}

bool ahead_install(struct Hart *h)
{
    struct JitHart *own = jit_hart(h);
    if (own->ahead == AHEAD_UNASKED) {
        bool there = INSTALL_DONE == host_install(0, 0, AHEAD_SLOT + head()->count);
        own->ahead = there ? AHEAD_THERE : AHEAD_REFUSED;
        if (there) {
            h->stat_jit_installed++;
        } else { /* one engine for all harts: no other will have it */
            MACHINE->jit.ahead_count = 0;
            registry_forget_ahead();
        }
    }
    return own->ahead == AHEAD_THERE;
}

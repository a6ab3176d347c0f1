/* Pages of decoded instructions, and how they learn that their bytes changed.
 *
 * RISC-V promises new code only after fence.i, and that is when we look: a
 * page that holds decoded code is kept out of every hart's write table, so the
 * first write to it comes through the gate in mmu/mmu.c, which takes the mark off,
 * counts page_gen up and puts the page's number in the code ring.  fence.i
 * reads the ring from where this hart stopped and drops what it has of those
 * pages.  It costs in proportion to what was written, not to what is cached.
 *
 * Marking a page is a shootdown: other harts may have it writable, and take it
 * out when they look up (ATTENTION_CODE), reporting a write if they had it.
 */

#include "inspect/debug.h"
#include "hart/decode.h"
#include "jit/jit.h"
#include "mmu/mmu.h"

#define EVICT_BATCH 32 /* slots given up together, as each time costs all fetch translations */

struct FetchEntry {
    uint64_t tag; /* va page | generation << 2 | mode; 0: empty */
    uint32_t entries;
    uint32_t slot;
};

_Static_assert(sizeof(struct Insn) == 8, "an entry of a decoded page");

static struct FetchEntry *fetch_table(const struct Hart *h)
{
    return (struct FetchEntry *)mem_at(MACHINE->fetch_offset + h->id * MACHINE->fetch_stride);
}

static uint32_t ram_pages(void) { return (uint32_t)(MACHINE->ram_bytes >> 12); }

/* Per hart: slot + 1 of each RAM page, then each slot's page and generation. */
static uint16_t *slot_map(const struct Hart *h)
{
    return (uint16_t *)mem_at(MACHINE->slot_map_offset + h->id * MACHINE->slot_map_stride);
}
static uint32_t *slot_page(const struct Hart *h) { return (uint32_t *)mem_at((mem_offset(slot_map(h) + ram_pages()) + 3) & ~3u); }
static uint32_t *slot_generation(const struct Hart *h) { return slot_page(h) + DECODE_SLOTS; }
static uint8_t *slot_used(const struct Hart *h) { return (uint8_t *)(slot_generation(h) + DECODE_SLOTS); }

static struct Insn *slot_entries(const struct Hart *h, uint32_t slot)
{
    return (struct Insn *)mem_at(MACHINE->decode_offset + h->id * MACHINE->decode_stride) + slot * DECODE_ENTRIES;
}

static uint32_t *page_generation(uint32_t page) { return (uint32_t *)mem_at(MACHINE->page_gen_offset) + page; }
static uint32_t *code_ring(void) { return (uint32_t *)mem_at(MACHINE->code_ring_offset); }

/* Translations of fetches are of two classes, each with a generation of its own:
 * another address space has other programs, but the same kernel. */
enum { FETCH_USER, FETCH_KERNEL };

void code_init(struct Hart *h)
{
    memset(slot_map(h), 0, 2 * (size_t)ram_pages());
    for (uint32_t slot = 0; slot < DECODE_SLOTS; slot++)
        slot_page(h)[slot] = NO_PAGE;
    memset(fetch_table(h), 0, FETCH_TLB_ENTRIES * sizeof(struct FetchEntry));
    h->fetch_gen[FETCH_USER] = h->fetch_gen[FETCH_KERNEL] = 1;
    memset(h->fetch_seen, 0, sizeof h->fetch_seen);
    h->fetch_local = 0;
    code_mode_changed(h);
    h->decode_next = 0;
    h->decode_free = DECODE_SLOTS;
    h->fetch_pin[0] = h->fetch_pin[1] = NO_PAGE;
    h->code_seen = atomic_get(&MACHINE->code_head);
}

static uint32_t fetch_class(const struct Hart *h) { return h->fetch_mode == SET_U ? FETCH_USER : FETCH_KERNEL; }

static uint64_t fetch_tag(const struct Hart *h, uint64_t va)
{
    return (va & ~0xfffull) | h->fetch_gen[fetch_class(h)] << 2 | h->fetch_mode;
}

/* A filter of the pages that a class has fetched from since its last flush. */
static uint64_t *fetch_seen(struct Hart *h, uint32_t class, uint64_t va) { return &h->fetch_seen[class * 64 + (va >> 18 & 63)]; }

/* The jump cache's key: addresses of code are good for a generation and a mode. */
void code_mode_changed(struct Hart *h)
{
    h->jit_key = (uint64_t)(h->jit_generation[fetch_class(h)] & 0x1fff) << 50 | (uint64_t)h->fetch_mode << 48;
}

static void flush_class(struct Hart *h, uint32_t class)
{
    memset(&h->fetch_seen[class * 64], 0, sizeof h->fetch_seen / 2);
    if (class == FETCH_KERNEL)
        h->fetch_local = 0;
    if ((++h->jit_generation[class] & 0x1fff) == 0)
        jit_clear_jumps(h);
    code_mode_changed(h);
    if (++h->fetch_gen[class] < 1024)
        return;
    memset(fetch_table(h), 0, FETCH_TLB_ENTRIES * sizeof(struct FetchEntry));
    h->fetch_gen[class] = 1;
}

void code_flush_fetch(struct Hart *h)
{
    flush_class(h, FETCH_USER);
    flush_class(h, FETCH_KERNEL);
}

void code_flush_fetch_local(struct Hart *h)
{
    flush_class(h, FETCH_USER);
    if (h->fetch_local)
        flush_class(h, FETCH_KERNEL);
}

void code_flush_fetch_page(struct Hart *h, uint64_t va)
{
    for (uint32_t class = FETCH_USER; class <= FETCH_KERNEL; class++)
        if (*fetch_seen(h, class, va) >> (va >> 12 & 63) & 1)
            flush_class(h, class);
}

void code_written(uint32_t page)
{
    struct Machine *m = MACHINE;
    lock(&m->code_lock);
    if (__atomic_fetch_and(page_flags(page), (uint8_t)~PAGE_CODE, __ATOMIC_SEQ_CST) & PAGE_CODE) {
        atomic_add(page_generation(page), 1);
        code_ring()[m->code_head % CODE_RING_ENTRIES] = page;
        atomic_set(&m->code_head, m->code_head + 1);
    }
    unlock(&m->code_lock);
}

static void code_mark(struct Hart *h, uint32_t page)
{
    struct Machine *m = MACHINE;
    if (__atomic_fetch_or(page_flags(page), PAGE_CODE, __ATOMIC_SEQ_CST) & PAGE_CODE) {
        /* Another hart's shootdown may still be under way; ours to wait for too. */
        h->code_issued = atomic_get(&m->code_seq);
        return;
    }
    uint32_t before = atomic_get(&m->code_seq);
    tlb_drop_code_writes(h, page);
    h->code_issued = atomic_add(&m->code_seq, 1) + 1;
    /* Our own table is clean of all marks up to this one, unless another came
     * in between; that one's attention is on its way to us then. */
    if (h->code_issued == before + 1)
        atomic_set(&h->code_ack, h->code_issued);
    for (uint32_t i = 0; i < m->hart_count; i++)
        if (hart_at(i) != h)
            hart_attend(hart_at(i), ATTENTION_CODE);
}

static void slot_drop(struct Hart *h, uint32_t slot)
{
    uint32_t page = slot_page(h)[slot];
    if (page == NO_PAGE)
        return;
    slot_map(h)[page] = 0;
    slot_page(h)[slot] = NO_PAGE;
    h->decode_free++;
}

/* Gives up what no fetch asked for since the hand came by (CLOCK), from the hand on. */
static void slots_evict(struct Hart *h)
{
    uint32_t slot = h->decode_next;
    while (h->decode_free < EVICT_BATCH) {
        if (slot != h->fetch_pin[0] && slot != h->fetch_pin[1]) {
            if (slot_used(h)[slot])
                slot_used(h)[slot] = 0;
            else if (slot_page(h)[slot] != NO_PAGE)
                slot_drop(h, slot);
        }
        slot = (slot + 1) % DECODE_SLOTS;
    }
    code_flush_fetch(h);
}

/* A slot for a new page. */
static uint32_t slot_take(struct Hart *h)
{
    if (h->decode_free <= sizeof h->fetch_pin / sizeof *h->fetch_pin) /* those may be free, but not to be had */
        slots_evict(h);
    uint32_t slot = h->decode_next;
    while (slot_page(h)[slot] != NO_PAGE || slot == h->fetch_pin[0] || slot == h->fetch_pin[1])
        slot = (slot + 1) % DECODE_SLOTS;
    h->decode_next = (slot + 1) % DECODE_SLOTS;
    h->decode_free--;
    return slot;
}

static uint32_t slot_of(struct Hart *h, uint32_t page)
{
    uint16_t mapped = slot_map(h)[page];
    if (mapped) {
        slot_used(h)[mapped - 1u] = 1;
        return mapped - 1u;
    }
    uint32_t slot = slot_take(h);
    struct Insn *entries = slot_entries(h, slot);
    /* The generation first: bytes read later can only be newer than it says. */
    slot_generation(h)[slot] = atomic_get(page_generation(page));
    code_mark(h, page);
    memset(entries, 0, DECODE_ENTRIES * sizeof *entries);
    jit_reset_counters(h, slot);
    entries[2048].op = OP_PAGE_END;
    slot_page(h)[slot] = page;
    slot_used(h)[slot] = 0;
    slot_map(h)[page] = (uint16_t)(slot + 1);
    h->stat_decoded++;
    return slot;
}

static struct FetchEntry *fetch_entry(struct Hart *h, uint64_t va)
{
    struct FetchEntry *e = &fetch_table(h)[va >> 12 & (FETCH_TLB_ENTRIES - 1)];
    uint64_t tag = fetch_tag(h, va);
    if (__builtin_expect(e->tag != tag, 0)) {
        uint64_t pa;
        bool global;
        uint64_t span;
        if (!mmu_translate(h, va, ACCESS_FETCH, h->fetch_mode, false, &pa, &global, &span))
            return NULL;
        if (!ram_at(pa, 2)) {
            trap_raise(h, CAUSE_FETCH_ACCESS, va);
            return NULL;
        }
        uint32_t slot = slot_of(h, (uint32_t)((pa - RAM_BASE) >> 12));
        *fetch_seen(h, fetch_class(h), va) |= 1ull << (va >> 12 & 63);
        if (!global && fetch_class(h) == FETCH_KERNEL)
            h->fetch_local = 1;
        if (span > 0xfff)
            tlb_note_superpage(h, va, span, global);
        tag = fetch_tag(h, va); /* making room may have flushed */
        *e = (struct FetchEntry){tag, mem_offset(slot_entries(h, slot)), slot};
        if (MACHINE->debug.breakpoint_count)
            debug_mark(h, slot_entries(h, slot), va, pa);
    }
    return e;
}

struct Insn *code_fetch(struct Hart *h, uint64_t va)
{
    struct FetchEntry *e = fetch_entry(h, va);
    if (!e)
        return NULL;
    if (h->fetch_pin[0] != e->slot) {
        h->fetch_pin[1] = h->fetch_pin[0];
        h->fetch_pin[0] = e->slot;
    }
    return (struct Insn *)mem_at(e->entries);
}

uint32_t code_page(struct Hart *h, uint64_t va)
{
    uint64_t pa;
    bool global;
    uint64_t span;
    const struct FetchEntry *e = &fetch_table(h)[va >> 12 & (FETCH_TLB_ENTRIES - 1)];
    if (e->tag != fetch_tag(h, va)) {
        if (h->trap_pending || !mmu_translate(h, va, ACCESS_FETCH, h->fetch_mode, true, &pa, &global, &span))
            return NO_PAGE;
        e = fetch_entry(h, va); /* sets A; as a fetch ahead may (Privileged spec 4.3.1) */
        if (!e) {
            h->trap_pending = 0;
            return NO_PAGE;
        }
    }
    return slot_page(h)[e->slot];
}

bool code_fresh(struct Hart *h, uint32_t page, uint32_t *generation)
{
    uint16_t mapped = slot_map(h)[page];
    uint8_t flags = __atomic_load_n(page_flags(page), __ATOMIC_SEQ_CST);
    if (!mapped || (flags & (PAGE_CODE | PAGE_INTERPRET)) != PAGE_CODE)
        return false;
    *generation = slot_generation(h)[mapped - 1];
    return *generation == atomic_get(page_generation(page));
}

uint32_t code_entry(const struct Hart *h, uint32_t page, uint32_t pc)
{
    uint16_t mapped = slot_map(h)[page];
    return mapped ? (mapped - 1u) * DECODE_ENTRIES + (pc >> 1 & 2047) : ~0u;
}

const struct Insn *code_decoded(const struct Hart *h, uint32_t page)
{
    uint16_t mapped = slot_map(h)[page];
    return mapped ? slot_entries(h, mapped - 1u) : NULL;
}

const uint8_t *code_bytes(struct Hart *h, const struct Insn *page)
{
    uint32_t slot = (uint32_t)(page - slot_entries(h, 0)) / DECODE_ENTRIES;
    return ram_byte(slot_page(h)[slot] * 4096u);
}

void code_synchronize(struct Hart *h)
{
    struct Machine *m = MACHINE;
    for (uint32_t i = 0; i < m->hart_count; i++)
        if (hart_at(i) != h)
            hart_await_ack(h, hart_at(i), &hart_at(i)->code_ack, h->code_issued);
    uint32_t head = atomic_get(&m->code_head);
    bool all = head - h->code_seen > CODE_RING_ENTRIES / 2, dropped = false;
    const uint32_t *pages = slot_page(h), *generations = slot_generation(h);
    uint32_t count = all ? DECODE_SLOTS : head - h->code_seen;
    if (head != h->code_seen && jit_on())
        dropped = true; /* translations of pages that this hart has no longer decoded */
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = i;
        if (!all) {
            uint16_t mapped = slot_map(h)[code_ring()[(h->code_seen + i) % CODE_RING_ENTRIES]];
            if (!mapped)
                continue;
            slot = mapped - 1u;
        }
        if (pages[slot] == NO_PAGE || generations[slot] == atomic_get(page_generation(pages[slot])))
            continue;
        slot_drop(h, slot);
        dropped = true;
    }
    h->code_seen = head;
    if (dropped)
        code_flush_fetch(h);
}

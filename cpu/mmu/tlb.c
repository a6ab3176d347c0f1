/* The TLB's tables, and the journals by which a flush costs what was filled.
 * mmu/mmu.h has their format, and mmu/mmu.c the gate by which a page comes in.
 */
#include "mmu/mmu.h"

enum { TABLE_READ = 0, TABLE_WRITE = 1 };

/* A page of a superpage can't be flushed alone: one fence covers all of it
 * (Privileged spec 4.2.1), and the tables hold pages only.  So the range that
 * superpages were seen in is kept: one of programs', which goes with their
 * address space, and one of those global or in the upper half. */
enum { SUPER_LOCAL = 0, SUPER_KERNEL = 1 };

static uint32_t table_bytes(void) { return 8u << MACHINE->tlb_bits; }

static uint64_t *tlb_table(const struct Hart *h, uint32_t set, uint32_t table)
{
    const struct Machine *m = MACHINE;
    return (uint64_t *)mem_at(m->tlb_offset + h->id * m->tlb_stride + (set * 2 + table) * table_bytes());
}

static uint32_t journal_number(uint32_t set, uint32_t table, bool global) { return (set * 2 + table) * 2 + global; }

static uint32_t *journal(const struct Hart *h, uint32_t number)
{
    const struct Machine *m = MACHINE;
    return (uint32_t *)mem_at(m->journal_offset + h->id * m->journal_stride) + number * JOURNAL_ENTRIES;
}

static uint32_t tlb_index(uint64_t va) { return (uint32_t)(va >> 12) & ((1u << MACHINE->tlb_bits) - 1); }

static uint64_t invalid_entry(uint32_t index) { return index >> (MACHINE->tlb_bits - 1) ? 0 : ~0ull; }

/* Zeroes what is not zero: host pages that were never written stay unbacked. */
static void clear_touched(uint64_t *from, const uint64_t *end)
{
    enum { WORDS = 4096 / sizeof(uint64_t) };
    for (; from < end; from += WORDS) {
        uint64_t any = 0;
        for (uint32_t i = 0; i < WORDS; i++)
            any |= from[i];
        if (any)
            memset(from, 0, 4096);
    }
}

static void table_fill_invalid(uint64_t *table)
{
    uint64_t *half = table + table_bytes() / 2 / sizeof *table, *end = half + (half - table);
    memset(table, 0xff, table_bytes() / 2);
    clear_touched(half, end);
}

void tlb_init(struct Hart *h)
{
    h->set_ready = 0;
    memset(h->journal_count, 0, sizeof h->journal_count);
    h->super_low[0] = h->super_low[1] = ~0ull;
    h->super_high[0] = h->super_high[1] = 0;
}

void tlb_use_set(struct Hart *h, uint32_t set)
{
    if (!(h->set_ready >> set & 1)) {
        table_fill_invalid(tlb_table(h, set, TABLE_READ));
        table_fill_invalid(tlb_table(h, set, TABLE_WRITE));
        h->set_ready |= 1u << set;
    }
    uint32_t bits = MACHINE->tlb_bits;
    h->mem_mode = set;
    h->tlb_read = mem_offset(tlb_table(h, set, TABLE_READ));
    h->tlb_write = mem_offset(tlb_table(h, set, TABLE_WRITE));
    h->tlb_mask = ((1u << bits) - 1) << 3;
    h->ram_bits = bits + 11;
    h->tlb_hit = ~0ull << h->ram_bits;
}

/* A journal lists the indices that may be valid, so a flush costs what was
 * filled; one that overflowed (count above its size) means "any of them". */
static void journal_add(struct Hart *h, uint32_t number, uint32_t index)
{
    uint32_t count = h->journal_count[number];
    if (count < JOURNAL_ENTRIES)
        journal(h, number)[count] = index;
    if (count <= JOURNAL_ENTRIES)
        h->journal_count[number] = count + 1;
}

void tlb_enter(struct Hart *h, uint64_t va, uint32_t at, bool write, bool global)
{
    uint32_t table = write ? TABLE_WRITE : TABLE_READ, index = tlb_index(va);
    uint64_t *entry = tlb_table(h, h->mem_mode, table) + index;
    if (!global || *entry == invalid_entry(index))
        journal_add(h, journal_number(h->mem_mode, table, global), index);
    *entry = (va & ~0xfffull) ^ at;
}

static void journal_flush(struct Hart *h, uint32_t set, uint32_t table, bool global)
{
    uint32_t number = journal_number(set, table, global), count = h->journal_count[number];
    uint64_t *entries = tlb_table(h, set, table);
    if (count > JOURNAL_ENTRIES) {
        table_fill_invalid(entries);
        h->journal_count[journal_number(set, table, !global)] = 0;
    } else {
        const uint32_t *index = journal(h, number);
        for (uint32_t i = 0; i < count; i++)
            entries[index[i]] = invalid_entry(index[i]);
    }
    h->journal_count[number] = 0;
}

void tlb_flush_all(struct Hart *h)
{
    for (uint32_t set = 0; set < TLB_SETS; set++)
        for (uint32_t k = 0; k < 4; k++)
            journal_flush(h, set, k >> 1, k & 1);
    h->super_low[0] = h->super_low[1] = ~0ull;
    h->super_high[0] = h->super_high[1] = 0;
    code_flush_fetch(h);
}

void tlb_flush_local(struct Hart *h)
{
    for (uint32_t set = SET_U; set <= SET_SUM; set++) {
        journal_flush(h, set, TABLE_READ, false);
        journal_flush(h, set, TABLE_WRITE, false);
    }
    h->super_low[SUPER_LOCAL] = ~0ull;
    h->super_high[SUPER_LOCAL] = 0;
    code_flush_fetch_local(h);
}

void tlb_note_superpage(struct Hart *h, uint64_t va, uint64_t span, bool global)
{
    uint32_t range = global || va >> 63 ? SUPER_KERNEL : SUPER_LOCAL;
    uint64_t first = va & ~span, last = va | span;
    if (first < h->super_low[range])
        h->super_low[range] = first;
    if (last > h->super_high[range])
        h->super_high[range] = last;
}

static bool by_superpages(const struct Hart *h, uint32_t range, uint64_t va)
{
    return va >= h->super_low[range] && va <= h->super_high[range];
}

void tlb_flush_page(struct Hart *h, uint64_t va)
{
    uint32_t index = tlb_index(va);
    if (by_superpages(h, SUPER_LOCAL, va) || by_superpages(h, SUPER_KERNEL, va)) {
        tlb_flush_all(h);
        return;
    }
    for (uint32_t set = SET_U; set <= SET_SUM; set++) {
        if (!(h->set_ready >> set & 1))
            continue;
        tlb_table(h, set, TABLE_READ)[index] = invalid_entry(index);
        tlb_table(h, set, TABLE_WRITE)[index] = invalid_entry(index);
    }
    code_flush_fetch_page(h, va);
}

static void drop_if_code(uint64_t *entry, uint32_t index, uint32_t own)
{
    const struct Machine *m = MACHINE;
    uint64_t va = (uint64_t)index << 12, ram_mask = (1ull << (m->tlb_bits + 11)) - 1;
    uint64_t d = (*entry ^ va) & (ram_mask << 1 | 1);
    if (d > ram_mask) /* bit H set: invalid */
        return;
    uint32_t page = (uint32_t)d / 4096;
    if (!(__atomic_load_n(page_flags(page), __ATOMIC_SEQ_CST) & PAGE_CODE))
        return;
    *entry = invalid_entry(index);
    if (page != own)
        code_written(page);
}

void tlb_drop_code_writes(struct Hart *h, uint32_t own)
{
    for (uint32_t set = 0; set < TLB_SETS; set++) {
        if (!(h->set_ready >> set & 1))
            continue;
        uint64_t *entries = tlb_table(h, set, TABLE_WRITE);
        uint32_t count[2];
        for (uint32_t global = 0; global < 2; global++)
            count[global] = h->journal_count[journal_number(set, TABLE_WRITE, global)];
        if (count[0] > JOURNAL_ENTRIES || count[1] > JOURNAL_ENTRIES) {
            for (uint32_t i = 0; i < 1u << MACHINE->tlb_bits; i++)
                drop_if_code(&entries[i], i, own);
            journal_flush(h, set, TABLE_WRITE, count[1] > JOURNAL_ENTRIES);
            continue;
        }
        for (uint32_t global = 0; global < 2; global++) {
            const uint32_t *index = journal(h, journal_number(set, TABLE_WRITE, global));
            for (uint32_t i = 0; i < count[global]; i++)
                drop_if_code(&entries[index[i]], index[i], own);
        }
    }
}

/* The miss path: page walk, PMP, and the one gate by which a page enters a
 * TLB.  Everything that must be known of a page's first use (is it here, is it
 * dirty, does it hold code, is it watched) is asked in `page_enter`.
 */
#include "mmu/mmu.h"

#include "mmu/bus.h"
#include "hart/csr.h"
#include "inspect/debug.h"
#include "machine/snapshot.h"

#define PAGE_SIZE 4096u
#define PAGE_MASK (~(uint64_t)(PAGE_SIZE - 1))

/* Page table entry, Privileged spec 4.4.1. */
#define PTE_V 0x01u
#define PTE_R 0x02u
#define PTE_W 0x04u
#define PTE_X 0x08u
#define PTE_U 0x10u
#define PTE_G 0x20u
#define PTE_A 0x40u
#define PTE_D 0x80u
#define PTE_RESERVED (~0ull << 54) /* N, PBMT and reserved: we have no Svnapot, no Svpbmt */

static const uint8_t page_fault_cause[3] = {CAUSE_LOAD_PAGE, CAUSE_STORE_PAGE, CAUSE_FETCH_PAGE};
static const uint8_t access_fault_cause[3] = {CAUSE_LOAD_ACCESS, CAUSE_STORE_ACCESS, CAUSE_FETCH_ACCESS};

static bool access_fault(struct Hart *h, uint64_t va, uint32_t access)
{
    return trap_raise(h, access_fault_cause[access], va);
}

/* It is here, and that it is used is noted; its flags. */
static uint8_t page_touched(struct Hart *h, uint32_t page)
{
    uint8_t flags = __atomic_load_n(page_flags(page), __ATOMIC_SEQ_CST);
    if (flags & PAGE_ABSENT)
        page_await(h, page);
    if (!(flags & PAGE_TOUCHED))
        __atomic_fetch_or(page_flags(page), PAGE_TOUCHED, __ATOMIC_SEQ_CST);
    return flags;
}

/* --- RAM ------------------------------------------------------------------- */

uint8_t *ram_at(uint64_t pa, uint64_t bytes)
{
    const struct Machine *m = MACHINE;
    uint64_t at = pa - RAM_BASE;
    if (at >= m->ram_bytes || bytes > m->ram_bytes - at)
        return NULL;
    if (bytes)
        for (uint64_t page = at / PAGE_SIZE; page <= (at + bytes - 1) / PAGE_SIZE; page++)
            page_touched(NULL, (uint32_t)page);
    return ram_byte((uint32_t)at);
}

static void page_dirtied(uint32_t page)
{
    uint8_t *flags = page_flags(page);
    uint8_t old = __atomic_load_n(flags, __ATOMIC_SEQ_CST);
    if (!(old & PAGE_DIRTY))
        __atomic_fetch_or(flags, PAGE_DIRTY, __ATOMIC_SEQ_CST);
    if (old & PAGE_CODE)
        code_written(page);
}

EXPORT void ram_written(uint64_t pa, uint64_t bytes)
{
    ram_changed(pa, bytes);
    if (MACHINE->debug.watchpoint_count)
        debug_dma(pa, bytes, WATCH_WRITE);
}

EXPORT void ram_changed(uint64_t pa, uint64_t bytes)
{
    uint64_t at = pa - RAM_BASE, size = MACHINE->ram_bytes;
    if (at >= size || bytes == 0)
        return;
    uint64_t last = at + (bytes > size - at ? size - at : bytes) - 1;
    for (uint64_t page = at / PAGE_SIZE; page <= last / PAGE_SIZE; page++)
        page_dirtied((uint32_t)page);
}

/* --- physical memory protection -------------------------------------------- */

bool pmp_allows(const struct Hart *h, uint64_t pa, uint32_t access, uint32_t privilege)
{
    uint64_t page = pa >> 12, low = 0;
    for (uint32_t i = 0; i < 16; i++) {
        uint8_t cfg = (uint8_t)(h->pmpcfg[i / 8] >> (i % 8 * 8));
        uint64_t address = h->pmpaddr[i], first = 0, end = 0; /* in pages */
        switch (cfg >> 3 & 3) {
        case 1: /* TOR */
            first = low >> 10;
            end = address >> 10;
            break;
        case 3: { /* NAPOT, at least a page: the grain's bits read as ones */
            uint64_t ones = address | 0x1ff;
            uint64_t size = ones ^ (ones + 1); /* 2^k - 1 with k trailing ones + 1 */
            first = (ones & ~size) >> 10;
            end = first + (size >> 10) + 1;
            break;
        }
        default:
            break;
        }
        low = address;
        if (page < first || page >= end)
            continue;
        if (privilege == PRIV_M && !(cfg & 0x80))
            return true;
        return cfg >> access & 1 ? true : false;
    }
    return privilege == PRIV_M;
}

/* pmpcfg's bits are R W X in the order of ACCESS_*. */
_Static_assert(ACCESS_READ == 0 && ACCESS_WRITE == 1 && ACCESS_FETCH == 2, "PMP bits by access");

/* --- page walk --------------------------------------------------------------- */

static uint32_t set_privilege(uint32_t set) { return set == SET_M ? PRIV_M : set == SET_U ? PRIV_U : PRIV_S; }

static bool leaf_allows(const struct Hart *h, uint64_t pte, uint32_t access, uint32_t set)
{
    if (set == SET_U ? !(pte & PTE_U) : (pte & PTE_U) && (set != SET_SUM || access == ACCESS_FETCH))
        return false;
    switch (access) {
    case ACCESS_READ:
        return pte & PTE_R || (pte & PTE_X && h->mstatus & MSTATUS_MXR);
    case ACCESS_WRITE:
        return (pte & PTE_W) != 0;
    default:
        return (pte & PTE_X) != 0;
    }
}

/* true: *pa is set.  false: *cause says what is wrong. */
static bool walk(struct Hart *h, uint64_t va, uint32_t access, uint32_t set, bool quiet, uint64_t *pa,
                 bool *global, uint64_t *span, uint32_t *cause)
{
    uint32_t mode = (uint32_t)(h->satp >> 60);
    uint32_t levels = mode == 9 ? 4 : 3, bits = 12 + 9 * levels;
    *cause = page_fault_cause[access];
    if ((uint64_t)((int64_t)(va << (64 - bits)) >> (64 - bits)) != va)
        return false;
again:;
    uint64_t table = (h->satp & 0xfffffffffffull) << 12;
    *global = false;
    for (uint32_t level = levels; level-- > 0;) {
        uint64_t at = table + (va >> (12 + 9 * level) & 511) * 8;
        uint64_t *entry = (uint64_t *)ram_at(at, 8);
        if (!entry || !pmp_allows(h, at, ACCESS_READ, PRIV_S)) {
            *cause = access_fault_cause[access];
            return false;
        }
        uint64_t pte = __atomic_load_n(entry, __ATOMIC_SEQ_CST);
        if (!(pte & PTE_V) || (pte & (PTE_R | PTE_W)) == PTE_W || pte & PTE_RESERVED)
            return false;
        *global |= (pte & PTE_G) != 0;
        if (!(pte & (PTE_R | PTE_X))) {
            if (pte & (PTE_U | PTE_A | PTE_D))
                return false;
            table = (pte >> 10 & 0xfffffffffffull) << 12;
            continue;
        }
        uint64_t inside = (1ull << (12 + 9 * level)) - 1, base = (pte >> 10 & 0xfffffffffffull) << 12;
        if (!leaf_allows(h, pte, access, set) || base & inside)
            return false;
        uint64_t want = pte | PTE_A | (access == ACCESS_WRITE ? PTE_D : 0);
        if (want != pte && !quiet) {
            if (!(h->menvcfg & ENVCFG_ADUE))
                return false;
            if (!pmp_allows(h, at, ACCESS_WRITE, PRIV_S)) {
                *cause = access_fault_cause[access];
                return false;
            }
            if (!__atomic_compare_exchange_n(entry, &pte, want, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                goto again; /* another hart changed it: what we read is old */
            page_dirtied((uint32_t)((at - RAM_BASE) / PAGE_SIZE));
        }
        *pa = base | (va & inside);
        *span = inside;
        return true;
    }
    return false;
}

bool mmu_translate(struct Hart *h, uint64_t va, uint32_t access, uint32_t set, bool quiet, uint64_t *pa,
                   bool *global, uint64_t *span)
{
    uint32_t cause = access_fault_cause[access];
    *pa = va;
    *global = true;
    *span = PAGE_SIZE - 1;
    bool mapped = set == SET_M || h->satp >> 60 == 0 || walk(h, va, access, set, quiet, pa, global, span, &cause);
    if (mapped && pmp_allows(h, *pa, access, set_privilege(set)))
        return true;
    return quiet ? false : trap_raise(h, mapped ? access_fault_cause[access] : cause, va);
}

/* --- the gate -------------------------------------------------------------------- */

/* Where va's page lies, after everything that a first use asks; enters it into
 * the current set's table.  NULL: not RAM. */
static uint8_t *page_enter(struct Hart *h, uint64_t va, uint64_t pa, uint32_t access, bool global, uint64_t span)
{
    const struct Machine *m = MACHINE;
    uint64_t at = (pa & PAGE_MASK) - RAM_BASE;
    if (at >= m->ram_bytes)
        return NULL;
    uint32_t page = (uint32_t)(at / PAGE_SIZE);
    uint8_t flags = page_touched(h, page);
    if (access == ACCESS_WRITE)
        page_dirtied(page);
    if (!(flags & PAGE_WATCHED) && !(m->debug.watchpoint_count && debug_watched(h, va, pa))) {
        tlb_enter(h, va, (uint32_t)at, access == ACCESS_WRITE, global);
        if (span >= PAGE_SIZE)
            tlb_note_superpage(h, va, span, global);
    }
    return ram_byte((uint32_t)at | (uint32_t)(va & (PAGE_SIZE - 1)));
}

/* A pointer for va's byte, good to the end of its page; *pa always set.  NULL
 * with *ok true: a device's. */
static uint8_t *host_pointer(struct Hart *h, uint64_t va, uint32_t access, uint64_t *pa, bool *ok)
{
    bool global;
    uint64_t span;
    h->stat_tlb_misses++;
    *ok = mmu_translate(h, va, access, h->mem_mode, false, pa, &global, &span);
    return *ok ? page_enter(h, va, *pa, access, global, span) : NULL;
}

/* HTIF, as spike has it: the low bit ends the run with the rest as status;
 * device 1, command 1 prints a byte. */
static void htif(uint64_t pa)
{
    struct Machine *m = MACHINE;
    if (!m->tohost || (pa & ~7ull) != m->tohost)
        return;
    uint64_t *word = (uint64_t *)ram_at(m->tohost, 8);
    if (!word || *word == 0)
        return;
    uint64_t command = *word;
    if (command >> 48 == 0x0101) {
        for (int i = 0; i < 1000 && !console_emit((uint8_t)command); i++)
            word_wait(&m->uart.tx.tail, atomic_get(&m->uart.tx.tail), 1000000);
        *word = 0;
    } else if (command >> 48 == 0 && command & 1) {
        machine_stop(STOP_EXIT, (uint32_t)(command >> 1));
    }
}

/* Does the debugger stop the hart before this access?  Callers return false
 * then, as for a trap, but none is pending: the hart stands before the
 * instruction until it is let go on. */
static bool stopped(struct Hart *h, uint64_t va, uint64_t pa, uint32_t size, uint32_t access, uint64_t value)
{
    return __builtin_expect(MACHINE->debug.watchpoint_count != 0, 0) && debug_access(h, va, pa, size, access, value);
}

/* Both parts of an access that crosses a page are translated before either
 * is touched. */
static bool span_pointers(struct Hart *h, uint64_t va, uint32_t size, uint32_t access, uint64_t value, uint8_t *part[2],
                          uint32_t *first)
{
    uint32_t watched = access == ACCESS_WRITE ? WATCH_WRITE : WATCH_READ;
    uint64_t pa, second = 0;
    bool ok;
    uint32_t left = PAGE_SIZE - (uint32_t)(va & (PAGE_SIZE - 1));
    *first = left < size ? left : size;
    part[1] = NULL;
    part[0] = host_pointer(h, va, access, &pa, &ok);
    if (!part[0])
        return ok ? access_fault(h, va, access) : false;
    if (left < size) {
        part[1] = host_pointer(h, va + left, access, &second, &ok);
        if (!part[1])
            return ok ? access_fault(h, va + left, access) : false;
        if (stopped(h, va + left, second, size - left, watched, value >> 8 * left))
            return false;
    }
    return !stopped(h, va, pa, *first, watched, value);
}

bool mem_load_slow(struct Hart *h, uint64_t va, uint32_t size, uint64_t *out)
{
    uint64_t value = 0;
    if (va & (size - 1)) {
        uint8_t *part[2];
        uint32_t first;
        if (!span_pointers(h, va, size, ACCESS_READ, 0, part, &first))
            return false;
        for (uint32_t i = 0; i < size; i++)
            value |= (uint64_t)(i < first ? part[0][i] : part[1][i - first]) << (8 * i);
        *out = value;
        return true;
    }
    uint64_t pa;
    bool ok;
    const uint8_t *at = host_pointer(h, va, ACCESS_READ, &pa, &ok);
    if (ok && stopped(h, va, pa, size, WATCH_READ, 0))
        return false;
    if (!at) {
        if (!ok)
            return false;
        return bus_read(h, pa, size, out) ? true : access_fault(h, va, ACCESS_READ);
    }
    switch (size) {
    case 1: *out = *at; break;
    case 2: *out = *(const uint16_t *)at; break;
    case 4: *out = *(const uint32_t *)at; break;
    default: *out = *(const uint64_t *)at; break;
    }
    return true;
}

bool mem_store_slow(struct Hart *h, uint64_t va, uint32_t size, uint64_t value)
{
    if (va & (size - 1)) {
        uint8_t *part[2];
        uint32_t first;
        if (!span_pointers(h, va, size, ACCESS_WRITE, value, part, &first))
            return false;
        for (uint32_t i = 0; i < size; i++)
            *(i < first ? part[0] + i : part[1] + (i - first)) = (uint8_t)(value >> (8 * i));
        return true;
    }
    uint64_t pa;
    bool ok;
    uint8_t *at = host_pointer(h, va, ACCESS_WRITE, &pa, &ok);
    if (ok && stopped(h, va, pa, size, WATCH_WRITE, value))
        return false;
    if (!at) {
        if (!ok)
            return false;
        return bus_write(h, pa, size, value) ? true : access_fault(h, va, ACCESS_WRITE);
    }
    switch (size) {
    case 1: *at = (uint8_t)value; break;
    case 2: *(uint16_t *)at = (uint16_t)value; break;
    case 4: *(uint32_t *)at = (uint32_t)value; break;
    default: *(uint64_t *)at = value; break;
    }
    htif(pa);
    return true;
}

uint8_t *mem_amo(struct Hart *h, uint64_t va, uint32_t size, bool write)
{
    uint32_t access = write ? ACCESS_WRITE : ACCESS_READ;
    if (va & (size - 1)) {
        access_fault(h, va, access);
        return NULL;
    }
    uint64_t d = *(uint64_t *)mem_at((write ? h->tlb_write : h->tlb_read) + ((uint32_t)(va >> 9) & h->tlb_mask)) ^ va;
    if ((d & h->tlb_hit) == 0)
        return ram_byte((uint32_t)d);
    uint64_t pa;
    bool ok;
    uint8_t *at = host_pointer(h, va, access, &pa, &ok);
    if (!at && ok)
        access_fault(h, va, access);
    if (at && stopped(h, va, pa, size, write ? WATCH_READ | WATCH_WRITE : WATCH_READ, 0))
        return NULL;
    return at;
}

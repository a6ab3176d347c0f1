/* Memory as a hart sees it.
 *
 * TLB: per hart and mode (TLB_SETS: U, S, S with SUM, M) a table for reads and
 * one for writes, flat and one load deep.  With H = ram_bits, the size of
 * offsets in guest RAM, a table has 2^(H - 12 + 1) entries of 64 bits,
 * indexed by va[H:12], one bit more than an offset has:
 *
 *      63                 H+1   H   H-1              12  11    0
 *     +----------------------+-----+------------------+--------+
 *  E  | va page's bits       | va  | va ^ RAM page    |   0    |   valid
 *     +----------------------+-----+------------------+--------+
 *  D = E ^ va: bits 63..H all 0 on a hit, then D is the offset in RAM.
 *
 * An invalid entry has the complement of its own index's top bit at H, so no
 * va can hit it: the lower half is filled with 0xff, the upper with 0x00.
 * tlb_hit = bits 63..H; the access's alignment bits are added to it, so a
 * misaligned access takes the slow path.
 *
 * What is in the W table is RAM, writable, dirty, and holds no decoded code:
 * a page leaves it when code is fetched from it (hart/code.c), and the miss path
 * is the one gate by which it comes back.
 */
#ifndef HARTWELL_MMU_H
#define HARTWELL_MMU_H

#include "hart/trap.h"

enum { ACCESS_READ = 0, ACCESS_WRITE = 1, ACCESS_FETCH = 2 };
enum { SET_U = 0, SET_S = 1, SET_SUM = 2, SET_M = 3 };

bool mem_load_slow(struct Hart *h, uint64_t va, uint32_t size, uint64_t *out);
bool mem_store_slow(struct Hart *h, uint64_t va, uint32_t size, uint64_t value);

#define MEM_ACCESS(bits)                                                                          \
    static inline bool mem_load##bits(struct Hart *h, uint64_t va, uint64_t *out)                 \
    {                                                                                             \
        uint64_t d = *(uint64_t *)mem_at(h->tlb_read + ((uint32_t)(va >> 9) & h->tlb_mask)) ^ va; \
        if (__builtin_expect((d & (h->tlb_hit | (bits / 8 - 1))) != 0, 0))                        \
            return mem_load_slow(h, va, bits / 8, out);                                           \
        *out = *(uint##bits##_t *)ram_byte((uint32_t)d);                                          \
        return true;                                                                              \
    }                                                                                             \
    static inline bool mem_store##bits(struct Hart *h, uint64_t va, uint64_t value)               \
    {                                                                                             \
        uint64_t d = *(uint64_t *)mem_at(h->tlb_write + ((uint32_t)(va >> 9) & h->tlb_mask)) ^ va; \
        if (__builtin_expect((d & (h->tlb_hit | (bits / 8 - 1))) != 0, 0))                        \
            return mem_store_slow(h, va, bits / 8, value);                                        \
        *(uint##bits##_t *)ram_byte((uint32_t)d) = (uint##bits##_t)value;                         \
        return true;                                                                              \
    }
MEM_ACCESS(8)
MEM_ACCESS(16)
MEM_ACCESS(32)
MEM_ACCESS(64)
#undef MEM_ACCESS

/* Host pointer for an LR (write false) or an AMO or SC (write true) of `size`
 * bytes; NULL with a trap pending.  Misaligned or outside RAM is an access
 * fault: emulating it could not be atomic. */
uint8_t *mem_amo(struct Hart *h, uint64_t va, uint32_t size, bool write);

/* Host pointer of guest physical [pa, pa + bytes), NULL if not all RAM. */
uint8_t *ram_at(uint64_t pa, uint64_t bytes);

/* Guest RAM was written around the TLB by a device.  ram_changed: by the
 * supervisor, which no watchpoint is there for. */
void ram_written(uint64_t pa, uint64_t bytes);
void ram_changed(uint64_t pa, uint64_t bytes);

/* Page walk for the mode of `set`.  On success *pa.  With `quiet` no A/D
 * update and no trap, else a page or access fault is pending on failure.
 * *span: the bytes that one entry maps here, less one. */
bool mmu_translate(struct Hart *h, uint64_t va, uint32_t access, uint32_t set, bool quiet, uint64_t *pa,
                   bool *global, uint64_t *span);

/* Physical memory protection, Privileged spec 3.7: may `privilege` do `access`
 * to the page of pa?  PMP grain is a page here. */
bool pmp_allows(const struct Hart *h, uint64_t pa, uint32_t access, uint32_t privilege);

/* Of a page of RAM: PAGE_CODE and its like, for all harts. */
static inline uint8_t *page_flags(uint32_t page) { return (uint8_t *)mem_at(MACHINE->page_flags_offset) + page; }

/* --- mmu/tlb.c ------------------------------------------------------------------ */

void tlb_init(struct Hart *h);
void tlb_use_set(struct Hart *h, uint32_t set);
void tlb_flush_all(struct Hart *h);
void tlb_flush_local(struct Hart *h); /* all that is not global */
void tlb_flush_page(struct Hart *h, uint64_t va);
/* va's translation is one of span + 1 bytes. */
void tlb_note_superpage(struct Hart *h, uint64_t va, uint64_t span, bool global);
/* Enters va's page into the present set's table; at: the page's offset in RAM. */
void tlb_enter(struct Hart *h, uint64_t va, uint32_t at, bool write, bool global);

/* Takes every page that now holds code out of the write tables.  For a page
 * that was in one, this hart may have written it unseen since it was marked:
 * that counts as a write to code, but for page `own`, which this hart has only
 * just marked itself. */
#define NO_PAGE (~0u)
void tlb_drop_code_writes(struct Hart *h, uint32_t own);

/* --- hart/code.c: decoded pages ------------------------------------------------ */
struct Insn;

/* The decoded entries of the page that holds va; NULL with a trap pending. */
struct Insn *code_fetch(struct Hart *h, uint64_t va);

/* The bytes of the page whose entries are `page`. */
const uint8_t *code_bytes(struct Hart *h, const struct Insn *page);

/* Drops decoded pages that were written since (fence.i). */
void code_synchronize(struct Hart *h);

void code_flush_fetch(struct Hart *h); /* translations of fetches only */
void code_flush_fetch_local(struct Hart *h); /* those that are not global */
void code_flush_fetch_page(struct Hart *h, uint64_t va); /* as far as va's page may be among them */
void code_mode_changed(struct Hart *h); /* after fetch_mode changed */

/* The RAM page that va's code lies in, marked as code; NO_PAGE when it can't
 * be fetched from.  Raises nothing. */
uint32_t code_page(struct Hart *h, uint64_t va);

/* Is this hart's decoded copy of the page what its bytes are, so that a write
 * from its generation on is noticed, and may it be translated? */
bool code_fresh(struct Hart *h, uint32_t page, uint32_t *generation);

/* Number of the entry for a pc in a page that this hart has decoded, among all; ~0: has not. */
uint32_t code_entry(const struct Hart *h, uint32_t page, uint32_t pc);
/* The entries themselves, or NULL; those never executed are OP_UNDECODED. */
const struct Insn *code_decoded(const struct Hart *h, uint32_t page);
void code_init(struct Hart *h);

/* RAM page number `page` was written while it may hold code.  Any thread. */
void code_written(uint32_t page);

#endif

/* What is translated, for all harts: regions by physical address, and the
 * modules they are in, whose bytes stay in shared memory so that each hart's
 * instance can take them when it first needs one.
 *
 * A region remembers its pages' generations (code.c).  When one has moved on,
 * the bytes it came from are compared by hash: a patch elsewhere in the page
 * costs a comparison, not a translation.
 */
#include "jit_registry.h"

#include "jit.h"
#include "jit_emit.h"
#include "mmu.h"

#ifdef __wasm__
/* Compiles `bytes` at `offset` as a module and links it into this instance's
 * table, grown to `slots`; 0 when the engine refuses. */
__attribute__((import_module("host"), import_name("install")))
#endif
uint32_t host_install(uint32_t offset, uint32_t bytes, uint32_t slots);
#ifndef __wasm__
uint32_t host_install(uint32_t offset, uint32_t bytes, uint32_t slots)
{
    (void)offset, (void)bytes, (void)slots;
    return 0;
}
#endif

static struct JitRegion *regions(void) { return (struct JitRegion *)mem_at(MACHINE->jit_regions_offset); }
static uint32_t *buckets(void) { return (uint32_t *)mem_at(MACHINE->jit_hash_offset); }
static struct JitModule *modules(void) { return (struct JitModule *)mem_at(MACHINE->jit_modules_offset); }

static uint32_t key_of(uint32_t page, uint64_t pc) { return page * 2048 + (uint32_t)(pc >> 1 & 2047) + 1; }
static uint32_t *bucket_of(uint32_t key) { return &buckets()[key * 2654435761u >> 16 & (JIT_HASH - 1)]; }

/* --- what a region came from ----------------------------------------------------- */

struct Range {
    uint16_t at, bytes; /* offset in the window */
};

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

static uint64_t hash_ranges(const struct Range *ranges, uint32_t count, const uint32_t *page)
{
    uint64_t hash = count;
    for (uint32_t k = 0; k < count; k++) {
        for (uint32_t at = ranges[k].at; at < ranges[k].at + ranges[k].bytes; at += 2) {
            const uint16_t *half = (const uint16_t *)mem_at(MACHINE->ram_offset + page[at >> 12] * 4096u + (at & 0xfff));
            hash = mix(hash, (uint64_t)at << 16 | *half);
        }
    }
    return hash;
}

static uint64_t hash_of(const struct JitRegion *g)
{
    uint32_t page[WINDOW_PAGES];
    for (uint32_t k = 0; k < WINDOW_PAGES; k++)
        page[k] = g->page[k].page;
    return hash_ranges((const struct Range *)mem_at(g->ranges), g->range_count, page);
}

#define RANGES_MOST 64

/* What is being made into one module. */
struct Batch {
    struct JitRegion made[JIT_QUEUE];
    struct Range ranges[JIT_QUEUE][RANGES_MOST];
    uint16_t hints[JIT_QUEUE][HINTS];
    uint32_t hint_count[JIT_QUEUE];
    uint32_t count, insns;
};

/* --- finding ---------------------------------------------------------------------- */

static bool mapped_as_was(struct Hart *h, const struct JitRegion *g, uint64_t pc)
{
    for (uint32_t k = 0; k < WINDOW_PAGES; k++) {
        if (g->page[k].page == NO_PAGE || k == g->entry_page)
            continue;
        if (code_page(h, (pc & ~0xfffull) + (uint64_t)(int64_t)((int32_t)k - 1) * 4096) != g->page[k].page)
            return false;
    }
    return true;
}

static void unlink_region(struct JitRegion *g)
{
    struct Jit *j = &MACHINE->jit;
    uint32_t number = (uint32_t)(g - regions()) + 1;
    for (uint32_t *at = bucket_of(g->key); *at; at = &regions()[*at - 1].next)
        if (*at == number) {
            *at = g->next;
            break;
        }
    g->key = 0;
    g->next = j->region_free;
    j->region_free = number;
}

/* Does a breakpoint stand in the region? */
static bool stops_inside(const struct Hart *h, const struct JitRegion *g)
{
    const struct Range *ranges = (const struct Range *)mem_at(g->ranges);
    for (uint32_t k = 0; k < g->range_count; k++)
        for (uint32_t at = ranges[k].at; at < ranges[k].at + ranges[k].bytes; at += 2)
            if (code_decoded(h, g->page[at >> 12].page)[(at & 0xfff) / 2].op == OP_BREAK)
                return true;
    return false;
}

/* All pages fresh for this hart, and the bytes what they were. */
static bool still_good(struct Hart *h, struct JitRegion *g)
{
    uint32_t generation[WINDOW_PAGES];
    bool moved = false;
    for (uint32_t k = 0; k < WINDOW_PAGES; k++) {
        if (g->page[k].page == NO_PAGE)
            continue;
        if (!code_fresh(h, g->page[k].page, &generation[k]))
            return false;
        moved |= generation[k] != g->page[k].generation;
    }
    if (MACHINE->debug.breakpoint_count && stops_inside(h, g))
        return false;
    if (!moved)
        return true;
    struct Jit *j = &MACHINE->jit;
    if (hash_of(g) != g->hash) {
        unlink_region(g);
        j->stat_stale++;
        return false;
    }
    for (uint32_t k = 0; k < WINDOW_PAGES; k++)
        if (g->page[k].page != NO_PAGE)
            g->page[k].generation = generation[k];
    j->stat_revalidated++;
    return true;
}

static uint64_t *ungrouped_word(uint32_t page) { return &MACHINE->jit.ungrouped[page >> 6 & 63]; }

bool registry_ungrouped(uint32_t page) { return *ungrouped_word(page) >> (page & 63) & 1; }

void registry_ungroup(struct Hart *h, uint32_t page)
{
    struct Jit *j = &MACHINE->jit;
    lock(&j->lock);
    *ungrouped_word(page) |= 1ull << (page & 63);
    for (uint32_t k = 0; k < j->region_count; k++) {
        struct JitRegion *g = &regions()[k];
        bool touches = false;
        for (uint32_t n = 0; n < WINDOW_PAGES; n++)
            touches |= g->page[n].page == page;
        if (g->key && touches)
            unlink_region(g);
    }
    j->stat_ungrouped++;
    unlock(&j->lock);
    code_flush_fetch(h);
}

struct JitRegion *registry_find(struct Hart *h, uint32_t page, uint64_t pc)
{
    uint32_t key = key_of(page, pc);
    for (uint32_t number = *bucket_of(key), steps = 0; number && steps < 64; steps++) {
        struct JitRegion *g = &regions()[number - 1];
        number = g->next;
        if (g->key == key && mapped_as_was(h, g, pc) && still_good(h, g))
            return g;
    }
    return NULL;
}

/* --- modules ------------------------------------------------------------------------ */

bool registry_install(struct Hart *h, uint32_t number)
{
    struct JitHart *own = jit_hart(h);
    if (own->installed[number / 32] >> number % 32 & 1)
        return true;
    const struct JitModule *m = &modules()[number];
    if (!host_install(m->code, m->bytes, m->first_slot + m->slots)) {
        MACHINE->jit.stat_refused++;
        return false;
    }
    own->installed[number / 32] |= 1u << number % 32;
    h->stat_jit_installed++;
    return true;
}

static void put_name(struct Bytes *b, const char *name)
{
    uint32_t length = 0;
    while (name[length])
        length++;
    put_u(b, length);
    for (uint32_t k = 0; k < length; k++)
        put(b, (uint8_t)name[k]);
}

static void put_type(struct Bytes *b, const char *parameters, uint32_t result)
{
    uint32_t length = 0;
    while (parameters[length])
        length++;
    put(b, 0x60);
    put_u(b, length);
    for (uint32_t k = 0; k < length; k++)
        put(b, parameters[k] == 'i' ? W_TYPE_I32 : W_TYPE_I64);
    put_u(b, 1);
    put(b, result);
}

/* Which branches are seldom taken: the custom section of the branch hinting proposal. */
static void put_hints(struct Bytes *b, const struct Batch *made)
{
    uint32_t functions = 0;
    for (uint32_t k = 0; k < made->count; k++)
        functions += made->hint_count[k] != 0;
    if (functions == 0)
        return;
    put(b, 0);
    uint8_t *hole = put_hole(b), *start = b->at;
    put_name(b, "metadata.code.branch_hint");
    put_u(b, functions);
    for (uint32_t k = 0; k < made->count; k++) {
        if (made->hint_count[k] == 0)
            continue;
        put_u(b, k);
        put_u(b, made->hint_count[k]);
        for (uint32_t n = 0; n < made->hint_count[k]; n++) {
            put_u(b, made->hints[k][n]);
            put(b, 1);
            put(b, 0);
        }
    }
    fill_hole(b, hole, (uint32_t)(b->at - start));
}

/* Everything in front of the code: types, imports, functions, table slots. */
static void put_head(struct Bytes *b, uint32_t first_slot, uint32_t count, uint32_t type)
{
    static const uint8_t magic[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    for (uint32_t k = 0; k < sizeof magic; k++)
        put(b, magic[k]);
    put(b, 1);
    uint8_t *hole = put_hole(b), *start = b->at;
    put_u(b, 3);
    put_type(b, "iiI", W_TYPE_I64); /* TYPE_REGION */
    put_type(b, "iiI", W_TYPE_I32); /* TYPE_HELPER */
    put_type(b, "iiIII", W_TYPE_I64); /* TYPE_FP_HELPER */
    fill_hole(b, hole, (uint32_t)(b->at - start));
    put(b, 2);
    hole = put_hole(b), start = b->at;
    put_u(b, 2);
    put_name(b, "env"), put_name(b, "memory"), put(b, 2), put(b, 3), put_u(b, 64), put_u(b, 65535);
    put_name(b, "env"), put_name(b, "table"), put(b, 1), put(b, W_FUNCREF), put(b, 0), put_u(b, 1);
    fill_hole(b, hole, (uint32_t)(b->at - start));
    put(b, 3);
    hole = put_hole(b), start = b->at;
    put_u(b, count);
    for (uint32_t k = 0; k < count; k++)
        put_u(b, type);
    fill_hole(b, hole, (uint32_t)(b->at - start));
    put(b, 9);
    hole = put_hole(b), start = b->at;
    put_u(b, 1);
    put_u(b, 0);
    put(b, W_I32_CONST), put_s(b, (int32_t)first_slot), put(b, W_END);
    put_u(b, count);
    for (uint32_t k = 0; k < count; k++)
        put_u(b, k);
    fill_hole(b, hole, (uint32_t)(b->at - start));
}

/* --- translating ---------------------------------------------------------------------- */

static uint32_t ranges_of(const struct Region *r, struct Range *ranges)
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < r->insn_count; k++) {
        const struct JitInsn *n = &r->insns[k];
        if (count && ranges[count - 1].at + ranges[count - 1].bytes == n->at) {
            ranges[count - 1].bytes = (uint16_t)(ranges[count - 1].bytes + n->length);
        } else {
            if (count == RANGES_MOST)
                return 0;
            ranges[count++] = (struct Range){n->at, n->length};
        }
    }
    return count;
}

static struct Region region;
static struct Batch batch;

/* The function of this module that a call to `at` in r's window leads to, if
 * that is sure: the region there is r itself, or one made before whose pages
 * are all r's. */
int32_t registry_callee(const struct Region *r, int32_t at)
{
    if (at == (int32_t)r->entry)
        return (int32_t)batch.count;
    if (at < 0 || at >= (int32_t)WINDOW || !(r->touched >> (at >> 12) & 1))
        return -1;
    uint32_t key = key_of(r->page[at >> 12], (uint64_t)at);
    for (uint32_t k = 0; k < batch.count; k++) {
        const struct JitRegion *g = &batch.made[k];
        bool sure = g->key == key;
        for (int32_t n = 0; n < (int32_t)WINDOW_PAGES && sure; n++) {
            int32_t own = (at >> 12) + n - 1;
            if (g->page[n].page != NO_PAGE)
                sure = own >= 0 && own < (int32_t)WINDOW_PAGES && r->touched >> own & 1 && r->page[own] == g->page[n].page;
        }
        if (sure)
            return (int32_t)k;
    }
    return -1;
}

/* Emits the region at pc behind what the batch has; false: not to be had. */
static bool add_region(struct Hart *h, struct Bytes *code, uint64_t pc)
{
    struct Bytes before = *code;
    if (!region_find(&region, h, pc))
        return false;
    region_flow(&region);
    struct JitRegion *g = &batch.made[batch.count];
    g->range_count = (uint16_t)ranges_of(&region, batch.ranges[batch.count]);
    if (!g->range_count || !emit_region(code, &region, batch.hints[batch.count], &batch.hint_count[batch.count])) {
        *code = before;
        return false;
    }
    g->insns = (uint16_t)region.insn_count;
    g->entry_page = 1;
    g->page_count = 0;
    uint32_t touched = region.touched, page[WINDOW_PAGES];
    for (uint32_t k = 0; k < WINDOW_PAGES; k++) {
        page[k] = touched >> k & 1 ? region.page[k] : NO_PAGE;
        g->page[k] = (struct JitPage){page[k], region.generation[k]};
        g->page_count += touched >> k & 1;
    }
    g->key = key_of(page[1], pc);
    g->hash = hash_ranges(batch.ranges[batch.count], g->range_count, page);
    batch.insns += region.insn_count;
    batch.count++;
    return true;
}

static void forget_everything(void)
{
    struct Jit *j = &MACHINE->jit;
    memset(buckets(), 0, 4 * JIT_HASH);
    j->module_count = j->region_count = j->code_used = j->region_free = 0;
    j->slots_used = JIT_FIRST_SLOT;
    j->stat_evictions++;
    atomic_add(&j->epoch, 1);
}

static struct JitRegion *take_region(void)
{
    struct Jit *j = &MACHINE->jit;
    if (j->region_free) {
        struct JitRegion *g = &regions()[j->region_free - 1];
        j->region_free = g->next;
        return g;
    }
    return &regions()[j->region_count++];
}

/* From here on any hart may find them. */
static void publish(const struct Batch *made, uint32_t module, uint32_t first_slot, uint32_t ranges_at)
{
    for (uint32_t k = 0; k < made->count; k++) {
        struct JitRegion *g = take_region();
        uint32_t number = (uint32_t)(g - regions()) + 1, *bucket = bucket_of(made->made[k].key);
        *g = made->made[k];
        g->module = module;
        g->slot = first_slot + k;
        g->ranges = ranges_at;
        memcpy(mem_at(ranges_at), made->ranges[k], g->range_count * sizeof(struct Range));
        ranges_at += g->range_count * (uint32_t)sizeof(struct Range);
        g->next = *bucket;
        __atomic_store_n(bucket, number, __ATOMIC_SEQ_CST);
    }
}

/* One module of everything in the queue that can be translated.  Its
 * functions' bodies are made first, then put behind a head that knows their number. */
void registry_translate(struct Hart *h)
{
    struct Jit *j = &MACHINE->jit;
    struct JitHart *own = jit_hart(h);
    double began = host_clock_us();
    uint32_t room = JIT_QUEUE * (60 * REGION_INSNS + RANGES_MOST * (uint32_t)sizeof(struct Range));
    if (j->code_used + room > JIT_CODE_BYTES || j->module_count == JIT_MODULES ||
        j->region_count + JIT_QUEUE > JIT_REGIONS)
        forget_everything();
    uint32_t base = MACHINE->jit_code_offset + j->code_used, head_room = 512 + 8 * JIT_QUEUE;
    for (uint32_t k = 0; k < JIT_QUEUE; k++)
        batch.hint_count[k] = 0;
    head_room += 5 * HINTS * JIT_QUEUE;
    struct Bytes code = {mem_at(base + head_room), mem_at(MACHINE->jit_code_offset + JIT_CODE_BYTES - RANGES_MOST * 4 * JIT_QUEUE), false};
    uint8_t *bodies = code.at;
    batch.count = batch.insns = 0;
    for (uint32_t k = 0; k < h->jit_queued; k++) {
        uint64_t pc = own->queue[k];
        uint32_t page = code_page(h, pc);
        if (page == own->queue_page[k] && !registry_find(h, page, pc))
            add_region(h, &code, pc);
    }
    h->jit_queued = 0;
    if (batch.count == 0)
        return;
    uint32_t body_bytes = (uint32_t)(code.at - bodies);
    struct Bytes out = {mem_at(base), bodies, false};
    put_head(&out, j->slots_used, batch.count, TYPE_REGION);
    put_hints(&out, &batch);
    put(&out, 10);
    uint8_t *hole = put_hole(&out), *start = out.at;
    put_u(&out, batch.count);
    fill_hole(&out, hole, (uint32_t)(out.at - start) + body_bytes);
    __builtin_memmove(out.at, bodies, body_bytes);
    uint32_t bytes = (uint32_t)(out.at - (uint8_t *)mem_at(base)) + body_bytes;
    struct JitModule *m = &modules()[j->module_count];
    *m = (struct JitModule){base, bytes, j->slots_used, batch.count, 0, 0};
    uint32_t ranges_at = (base + bytes + 7) & ~7u, ranges = 0;
    for (uint32_t k = 0; k < batch.count; k++)
        ranges += batch.made[k].range_count * (uint32_t)sizeof(struct Range);
    publish(&batch, j->module_count, j->slots_used, ranges_at);
    j->module_count++;
    j->slots_used += batch.count;
    j->code_used = (ranges_at + ranges + 7 - MACHINE->jit_code_offset) & ~7u;
    j->stat_regions += batch.count;
    j->stat_insns += batch.insns;
    j->stat_bytes += bytes;
    j->stat_time_us += (uint64_t)(host_clock_us() - began);
}

/* --- the engine --------------------------------------------------------------------------- */

typedef uint64_t (*FusedProbe)(struct Hart *h, uint32_t what, uint64_t a, uint64_t b, uint64_t c);

/* A module with one function: f64x2.relaxed_madd of three doubles. */
static bool fused_here(void)
{
    uint32_t base = MACHINE->jit_code_offset + JIT_CODE_BYTES - 1024;
    struct Bytes b = {mem_at(base), mem_at(base + 1024), false};
    put_head(&b, JIT_FIRST_SLOT - 1, 1, TYPE_FP_HELPER);
    put(&b, 10);
    uint8_t *hole = put_hole(&b), *start = b.at;
    put_u(&b, 1);
    uint8_t *body_hole = put_hole(&b), *body = b.at;
    put_u(&b, 0);
    for (uint32_t k = 2; k < 5; k++) {
        put(&b, W_GET), put_u(&b, k), put(&b, W_F64_FROM_I64);
        put(&b, W_SIMD), put_u(&b, 0x14);
    }
    put(&b, W_SIMD), put_u(&b, 0x107);
    put(&b, W_SIMD), put_u(&b, 0x1d), put(&b, 0);
    put(&b, W_END);
    fill_hole(&b, body_hole, (uint32_t)(b.at - body));
    fill_hole(&b, hole, (uint32_t)(b.at - start));
    if (!host_install(base, (uint32_t)(b.at - (uint8_t *)mem_at(base)), JIT_FIRST_SLOT))
        return false;
    /* (1 + 2^-30) * (1 - 2^-30) - 1 is -2^-60; rounded in between it is 0. */
    uint64_t sum = ((FusedProbe)(uintptr_t)(JIT_FIRST_SLOT - 1))(NULL, 0, 0x3ff0000000400000ull, 0x3fefffffff800000ull, 0xbff0000000000000ull);
    return sum == 0xbc30000000000000ull;
}

void registry_probe(void)
{
    struct Jit *j = &MACHINE->jit;
    lock(&j->lock);
    uint32_t features = fused_here() ? JIT_FUSED : 0;
    if (features != j->features) {
        j->features = features;
        if (j->module_count)
            forget_everything();
    }
    unlock(&j->lock);
}

/* What is translated, for all harts: regions by physical address, and the
 * modules they are in, whose bytes stay in shared memory so that each hart's
 * instance can take them when it first needs one.  Bytes, modules and slots
 * come from four segments in turn; the epoch counts the turns.
 *
 * A region remembers its pages' generations (hart/code.c).  When one has moved on,
 * the bytes it came from are compared by hash: a patch elsewhere in the page
 * costs a comparison, not a translation.
 */
#include "jit/registry.h"

#include "jit/ahead.h"
#include "jit/module.h"
#include "mmu/mmu.h"

#define SEGMENT_BYTES (JIT_CODE_BYTES / JIT_SEGMENTS)
#define SEGMENT_MODULES (JIT_MODULES / JIT_SEGMENTS)
#define SEGMENT_SLOTS (JIT_SLOTS / JIT_SEGMENTS)
#define FORGIVEN_US 10000000 /* then pages get their frames and groups back: who crossed pages may have ended */
#define ENOUGH_INSNS 1000 /* of a module: the first of them wait for the rest */
#define AHEAD_MOST (2 * JIT_AHEAD_REGIONS)
#define REFUSALS_BORNE 16 /* then this machine goes on without a translator */
#define HEAD_ROOM (512 + (8 + 5 * HINTS) * JIT_QUEUE) /* of a module, in front of its functions */

static struct JitRegion *regions(void) { return (struct JitRegion *)mem_at(MACHINE->jit_regions_offset); }
static uint32_t *buckets(void) { return (uint32_t *)mem_at(MACHINE->jit_hash_offset); }
static struct JitModule *modules(void) { return (struct JitModule *)mem_at(MACHINE->jit_modules_offset); }

static uint32_t key_of(uint32_t page, uint64_t pc) { return page * 2048 + (uint32_t)(pc >> 1 & 2047) + 1; }
static uint32_t *bucket_of(uint32_t key) { return &buckets()[key * 2654435761u >> 16 & (JIT_HASH - 1)]; }

/* --- what a region came from ----------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

uint64_t registry_hash(const struct Range *ranges, uint32_t count, const uint32_t *page)
{
    uint64_t hash = count;
    for (uint32_t k = 0; k < count; k++) {
        for (uint32_t at = ranges[k].at; at < ranges[k].at + ranges[k].bytes; at += 2) {
            const uint16_t *half = (const uint16_t *)(const void *)ram_byte(page[at >> 12] * 4096u + (at & 0xfff));
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
    return registry_hash((const struct Range *)mem_at(g->ranges), g->range_count, page);
}

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
    j->region_live--;
    j->ahead_live -= g->module == MODULE_AHEAD;
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

static bool bit_of(const uint64_t *pages, uint32_t page) { return pages[page >> 6 & 63] >> (page & 63) & 1; }

bool registry_ungrouped(uint32_t page) { return bit_of(MACHINE->jit.ungrouped, page); }

bool registry_unframed(uint32_t page) { return bit_of(MACHINE->jit.unframed, page) || registry_ungrouped(page); }

/* Regions that touch the page, or any that is done without frames, are to be made anew. */
static void unlink_pages(uint32_t page, bool unframed)
{
    for (uint32_t k = 0; k < MACHINE->jit.region_count; k++) {
        struct JitRegion *g = &regions()[k];
        bool touches = false;
        for (uint32_t n = 0; n < WINDOW_PAGES; n++)
            touches |= g->page[n].page != NO_PAGE && (unframed ? registry_unframed(g->page[n].page) : g->page[n].page == page);
        if (g->key && touches)
            unlink_region(g);
    }
}

void registry_ungroup(struct Hart *h, uint32_t page)
{
    struct Jit *j = &MACHINE->jit;
    lock(&j->lock);
    bool unframed = registry_unframed(page);
    if (registry_ungrouped(page)) { /* another hart was first */
        unlock(&j->lock);
        return;
    }
    (unframed ? j->ungrouped : j->unframed)[page >> 6 & 63] |= 1ull << (page & 63);
    if (!j->crossed_since)
        j->crossed_since = (uint64_t)host_clock_us();
    unlink_pages(page, false);
    *(unframed ? &j->stat_ungrouped : &j->stat_unframed) += 1;
    unlock(&j->lock);
    code_flush_fetch(h);
}

void registry_forgive(struct Hart *h)
{
    struct Jit *j = &MACHINE->jit;
    if (!j->crossed_since || (uint64_t)host_clock_us() - j->crossed_since < FORGIVEN_US)
        return;
    lock(&j->lock);
    unlink_pages(NO_PAGE, true);
    memset(j->unframed, 0, sizeof j->unframed);
    memset(j->ungrouped, 0, sizeof j->ungrouped);
    j->crossed_since = 0;
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
    if (number == MODULE_AHEAD)
        return ahead_install(h);
    struct JitHart *own = jit_hart(h);
    if (own->installed[number / 32] >> number % 32 & 1)
        return true;
    struct JitModule *m = &modules()[number];
    if (m->refused)
        return false;
    uint32_t answer = host_install(m->code, m->bytes, m->first_slot + m->slots);
    if (answer != INSTALL_DONE) {
        m->refused = 1; /* and not asked again: it stays interpreted */
        if (answer == INSTALL_FULL)
            atomic_set(&MACHINE->jit.full, 1);
        else if (++MACHINE->jit.stat_refused == REFUSALS_BORNE) /* an engine without tail calls, say */
            atomic_set(&MACHINE->jit.threshold, JIT_NEVER);
        return false;
    }
    own->installed[number / 32] |= 1u << number % 32;
    h->stat_jit_installed++;
    return true;
}

void registry_follow(struct Hart *h)
{
    struct JitHart *own = jit_hart(h);
    const uint32_t words = SEGMENT_MODULES / 32;
    for (uint32_t turns = 0; h->jit_epoch != atomic_get(&MACHINE->jit.epoch); turns++) {
        if (turns == JIT_SEGMENTS) {
            h->jit_epoch = atomic_get(&MACHINE->jit.epoch);
            break;
        }
        memset(&own->installed[++h->jit_epoch % JIT_SEGMENTS * words], 0, words * 4);
    }
}

/* --- translating ---------------------------------------------------------------------- */

/* The code in the order of addresses, each byte once. */
static uint32_t ranges_of(struct Region *r, struct Range *ranges)
{
    uint32_t count = 0, low = WINDOW, high = 0;
    for (uint32_t k = 0; k < r->insn_count; k++) {
        const struct JitInsn *n = &r->insns[k];
        for (uint32_t at = n->at; at < n->at + n->length; at += 2u)
            r->leader[at / 2] = 1;
        low = n->at < low ? n->at : low;
        high = n->at + n->length > high ? n->at + n->length : high;
    }
    for (uint32_t at = low; at < high; at += 2) {
        if (!r->leader[at / 2])
            continue;
        if (count && ranges[count - 1].at + ranges[count - 1].bytes == at) {
            ranges[count - 1].bytes += 2;
        } else {
            if (count == RANGES_MOST)
                return 0;
            ranges[count++] = (struct Range){(uint16_t)at, 2};
        }
    }
    return count;
}

static bool calls_itself(const struct Region *r)
{
    for (uint32_t b = 0; b < r->block_count; b++)
        if (r->blocks[b].end == END_CALL && r->blocks[b].far == (int32_t)r->entry)
            return true;
    return false;
}

static struct Region region;
static struct Batch batch;

/* Emits the region at pc behind what the batch has; false: not to be had. */
static bool add_region(struct Hart *h, struct Bytes *code, uint64_t pc)
{
    struct Bytes before = *code;
    if (!region_find(&region, h, pc))
        return false;
    region_flow(&region);
    struct JitRegion *g = &batch.made[batch.count];
    g->range_count = (uint16_t)ranges_of(&region, batch.ranges[batch.count]);
    if (!g->range_count || !emit_region(code, &region, batch.count, batch.hints[batch.count], &batch.hint_count[batch.count])) {
        *code = before;
        return false;
    }
    g->insns = (uint16_t)region.insn_count;
    g->entry_page = 1;
    g->calls_itself = calls_itself(&region);
    g->page_count = 0;
    uint32_t touched = region.touched, page[WINDOW_PAGES];
    for (uint32_t k = 0; k < WINDOW_PAGES; k++) {
        page[k] = touched >> k & 1 ? region.page[k] : NO_PAGE;
        g->page[k] = (struct JitPage){page[k], region.generation[k]};
        g->page_count += touched >> k & 1;
    }
    g->key = key_of(page[1], pc);
    g->hash = registry_hash(batch.ranges[batch.count], g->range_count, page);
    batch.insns += region.insn_count;
    batch.count++;
    return true;
}

/* Goes on in the next segment, whose regions are given up. */
static void next_segment(void)
{
    struct Jit *j = &MACHINE->jit;
    uint32_t segment = (atomic_get(&j->epoch) + 1) % JIT_SEGMENTS, before = j->region_live;
    for (uint32_t k = 0; k < j->region_count; k++)
        if (regions()[k].key && regions()[k].module / SEGMENT_MODULES == segment)
            unlink_region(&regions()[k]);
    j->stat_evictions += j->region_live != before;
    j->segment_modules = j->segment_bytes = j->segment_slots = 0;
    atomic_add(&j->epoch, 1);
}

static struct JitRegion *take_region(void)
{
    struct Jit *j = &MACHINE->jit;
    j->region_live++;
    if (j->region_free) {
        struct JitRegion *g = &regions()[j->region_free - 1];
        j->region_free = g->next;
        return g;
    }
    return &regions()[j->region_count++];
}

/* From here on any hart may find it. */
static void publish_region(const struct JitRegion *made)
{
    struct JitRegion *g = take_region();
    uint32_t *bucket = bucket_of(made->key);
    *g = *made;
    g->next = *bucket;
    __atomic_store_n(bucket, (uint32_t)(g - regions()) + 1, __ATOMIC_SEQ_CST);
}

static void publish(struct Batch *made, uint32_t module, uint32_t first_slot, uint32_t *ranges_at)
{
    for (uint32_t k = 0; k < made->count; k++) {
        struct JitRegion *g = &made->made[k];
        g->module = module;
        g->slot = first_slot + k;
        g->ranges = *ranges_at;
        memcpy(mem_at(*ranges_at), made->ranges[k], g->range_count * sizeof(struct Range));
        *ranges_at += g->range_count * (uint32_t)sizeof(struct Range);
        publish_region(g);
    }
    atomic_add(&MACHINE->jit.published, 1);
}

void registry_forget_ahead(void)
{
    for (uint32_t k = 0; k < MACHINE->jit.region_count; k++)
        if (regions()[k].key && regions()[k].module == MODULE_AHEAD)
            unlink_region(&regions()[k]);
}

bool registry_add_ahead(const struct JitRegion *made, uint64_t pc)
{
    struct Jit *j = &MACHINE->jit;
    struct JitRegion g = *made;
    if (j->ahead_live == AHEAD_MOST) /* pages of programs come and go, and their regions stay until somebody looks */
        registry_forget_ahead();
    if (j->region_live == JIT_REGIONS)
        return false;
    g.key = key_of(g.page[1].page, pc);
    g.module = MODULE_AHEAD;
    publish_region(&g);
    j->ahead_live++;
    j->stat_ahead++;
    return true;
}

/* Makes room for a module of a whole queue. */
static void make_room(void)
{
    const struct Jit *j = &MACHINE->jit;
    const uint32_t most = JIT_QUEUE * (60 * REGION_INSNS + RANGES_MOST * (uint32_t)sizeof(struct Range)) + HEAD_ROOM;
    for (uint32_t k = 0; k < JIT_SEGMENTS; k++) {
        if (j->segment_bytes + most <= SEGMENT_BYTES && j->segment_modules < SEGMENT_MODULES &&
            j->segment_slots + JIT_QUEUE <= SEGMENT_SLOTS && j->region_live + JIT_QUEUE <= JIT_REGIONS)
            return;
        next_segment();
    }
}

/* Begins with the first place; what is too much for one module stays queued. */
static void translate_queue(struct Hart *h, struct Bytes *code)
{
    struct JitHart *own = jit_hart(h);
    uint32_t done = 0;
    batch.count = batch.insns = 0;
    memset(batch.hint_count, 0, sizeof batch.hint_count);
    for (; done < h->jit_queued && batch.insns < ENOUGH_INSNS; done++) {
        uint64_t pc = own->queue[done];
        uint32_t page = code_page(h, pc);
        if (page == own->queue_page[done] && !registry_find(h, page, pc))
            add_region(h, code, pc);
    }
    h->jit_queued -= done;
    for (uint32_t k = 0; k < h->jit_queued; k++) {
        own->queue[k] = own->queue[done + k];
        own->queue_page[k] = own->queue_page[done + k];
    }
}

/* Functions' bodies are made first, then put behind a head that knows their number. */
bool registry_translate(struct Hart *h)
{
    struct Jit *j = &MACHINE->jit;
    double began = host_clock_us();
    if (atomic_get(&j->full)) {
        h->jit_queued = 0;
        return false;
    }
    make_room();
    uint32_t segment = atomic_get(&j->epoch) % JIT_SEGMENTS;
    uint32_t start = MACHINE->jit_code_offset + segment * SEGMENT_BYTES, base = start + j->segment_bytes;
    uint32_t first_slot = JIT_FIRST_SLOT + segment * SEGMENT_SLOTS + j->segment_slots;
    struct Bytes code = {mem_at(base + HEAD_ROOM), mem_at(start + SEGMENT_BYTES - JIT_QUEUE * (uint32_t)sizeof batch.ranges[0]), false};
    uint8_t *bodies = code.at;
    translate_queue(h, &code);
    if (batch.count == 0)
        return false;
    uint32_t body_bytes = (uint32_t)(code.at - bodies);
    struct Bytes out = {mem_at(base), bodies, false};
    module_head(&out, first_slot, batch.count, TYPE_REGION);
    module_hints(&out, &batch);
    put(&out, 10);
    uint8_t *hole = put_hole(&out), *section = out.at;
    put_u(&out, batch.count);
    fill_hole(&out, hole, (uint32_t)(out.at - section) + body_bytes);
    __builtin_memmove(out.at, bodies, body_bytes);
    uint32_t bytes = (uint32_t)(out.at - (uint8_t *)mem_at(base)) + body_bytes, ranges_at = (base + bytes + 7) & ~7u;
    uint32_t number = segment * SEGMENT_MODULES + j->segment_modules++;
    modules()[number] = (struct JitModule){base, bytes, first_slot, batch.count, 0, 0};
    publish(&batch, number, first_slot, &ranges_at);
    j->segment_slots += batch.count;
    j->segment_bytes = ((ranges_at + 7) & ~7u) - start;
    j->stat_modules++;
    j->stat_regions += batch.count;
    j->stat_insns += batch.insns;
    j->stat_bytes += bytes;
    j->stat_time_us += (uint64_t)(host_clock_us() - began);
    return true;
}

/* --- the engine --------------------------------------------------------------------------- */

void registry_probe(void)
{
    struct Jit *j = &MACHINE->jit;
    lock(&j->lock);
    uint32_t features = module_fused() ? JIT_FUSED : 0;
    atomic_set(&j->full, 0); /* of the engine before, perhaps */
    if (features != j->features) {
        j->features = features;
        for (uint32_t k = 0; k < JIT_SEGMENTS && j->region_live; k++)
            next_segment();
    }
    unlock(&j->lock);
}

/* A hart and the translations: when the interpreter hands over, and back. */
#include "jit/jit.h"

#include "jit/ahead.h"
#include "jit/registry.h"
#include "mmu/mmu.h"

typedef uint64_t (*RegionFunction)(struct Hart *h, uint32_t depth, uint64_t base, uint32_t fuel);

#define MARKED 0xffff /* a counter at this trips at every visit: there is a region */

#define CROSSINGS_BORNE 100
/* A module costs 0.3 ms of the engine whatever it holds, so better few: a hot place
 * waits for others, so many instructions or so long, whichever is over first.  The
 * clock is a call of the embedder, so it is looked at now and then only. */
#define LONGEST_IN_QUEUE 400000
#define LONGEST_IN_QUEUE_US 2500

#ifdef __wasm__
/* Which instance of cpu.wasm this is: what is in its table, memory can't tell. */
static int this_instance __attribute__((address_space(1)));
#else
static int this_instance;
#endif

void jit_init(void)
{
    struct Jit *j = &MACHINE->jit;
    if (j->threshold == 0)
        j->threshold = JIT_NEVER;
}

static uint32_t counters_of(const struct Hart *h)
{
    return MACHINE->jit_counter_offset + h->id * MACHINE->jit_counter_stride;
}

static uint16_t *counter_at(const struct Hart *h, uint32_t entry) { return (uint16_t *)mem_at(counters_of(h)) + entry; }

uint32_t jit_counter_bias(const struct Hart *h)
{
    uint32_t decoded = MACHINE->decode_offset + h->id * MACHINE->decode_stride;
    return counters_of(h) - (decoded >> 2);
}

/* A bit for each place, behind the counters: set once its counter counts from 0
 * on.  Before, it has a start that brings it over the threshold as soon as it is
 * worth looking for what was made ahead. */
static uint8_t *looked_at(const struct Hart *h, uint32_t entry)
{
    return (uint8_t *)mem_at(counters_of(h) + 2 * DECODE_SLOTS * DECODE_ENTRIES) + entry / 8;
}
_Static_assert(DECODE_ENTRIES % 8 == 0, "a page's bits are bytes of their own");

static uint32_t head_start(void)
{
    uint32_t threshold = jit_threshold();
    return threshold > AHEAD_HEAT ? threshold - AHEAD_HEAT : 0;
}

uint32_t jit_heat(const struct Hart *h, uint32_t entry)
{
    uint32_t heat = *counter_at(h, entry);
    return *looked_at(h, entry) >> entry % 8 & 1 ? heat : heat - head_start();
}

/* Is it time to look for what was made ahead?  Once for each place. */
static bool first_look(const struct Hart *h, const uint16_t *counter)
{
    uint32_t entry = (uint32_t)(counter - counter_at(h, 0));
    uint8_t *bits = looked_at(h, entry), bit = (uint8_t)(1u << entry % 8);
    if (*bits & bit)
        return false;
    *bits |= bit;
    return true;
}

void jit_reset_counters(struct Hart *h, uint32_t slot)
{
    bool ahead = MACHINE->jit.ahead_count;
    uint16_t *counter = counter_at(h, slot * DECODE_ENTRIES);
    uint32_t start = ahead ? head_start() : 0;
    for (uint32_t k = 0; k < DECODE_ENTRIES; k++)
        counter[k] = (uint16_t)start;
    memset(looked_at(h, slot * DECODE_ENTRIES), ahead ? 0 : 0xff, DECODE_ENTRIES / 8);
}

void jit_clear_jumps(struct Hart *h)
{
    struct JitHart *own = jit_hart(h);
    for (uint32_t k = 0; k < JIT_JUMPS; k++)
        own->jump[k] = (struct JitJump){~0ull, 0, 0}; /* no pc is odd */
}

static void start_over(struct Hart *h)
{
    struct JitHart *own = jit_hart(h);
    jit_clear_jumps(h);
    memset(own->installed, 0, sizeof own->installed);
    own->ahead = AHEAD_UNASKED;
    h->jit_epoch = atomic_get(&MACHINE->jit.epoch);
}

static void translate(struct Hart *h)
{
    struct Jit *j = &MACHINE->jit;
    const struct JitHart *own = jit_hart(h);
    registry_forgive(h);
    for (uint32_t k = 0; k < h->jit_queued; k++) { /* the next visit goes there */
        uint32_t entry = code_entry(h, own->queue_page[k], (uint32_t)own->queue[k]);
        if (entry != ~0u)
            *counter_at(h, entry) = (uint16_t)jit_threshold();
    }
    lock(&j->lock);
    if (registry_translate(h)) {
        uint64_t waited = (uint64_t)host_clock_us() - h->jit_since;
        j->stat_waited_us += waited;
        if (waited > j->stat_longest_wait_us)
            j->stat_longest_wait_us = waited;
    }
    unlock(&j->lock);
}

/* Has what is queued waited long enough? */
static bool queue_is_due(struct Hart *h)
{
    if (h->jit_queued >= JIT_QUEUE / 2 || h->instret >= h->jit_due)
        return true;
    if (h->instret < h->jit_look)
        return false;
    h->jit_look = h->instret + JIT_LOOK;
    return (uint64_t)host_clock_us() - h->jit_since >= LONGEST_IN_QUEUE_US;
}

void jit_begin(struct Hart *h)
{
    struct Jit *j = &MACHINE->jit;
    if (!jit_on())
        return;
    if (!this_instance) {
        this_instance = (int)atomic_add(&j->instances, 1) + 1;
        registry_probe();
    }
    if (h->jit_instance != (uint32_t)this_instance) {
        h->jit_instance = (uint32_t)this_instance;
        h->jit_jumps = mem_offset(jit_hart(h)->jump);
        h->jit_queued = 0;
        start_over(h);
    }
    ahead_begin();
    if (h->jit_queued && queue_is_due(h) && atomic_get(&j->lock) == 0)
        translate(h);
}

void jit_idle(struct Hart *h)
{
    while (jit_on() && h->jit_queued && h->jit_instance == (uint32_t)this_instance)
        translate(h);
}

static struct JitJump *jump_at(const struct Hart *h, uint64_t pc)
{
    return &jit_hart(h)->jump[pc >> 1 & (JIT_JUMPS - 1)];
}

/* That there is no region at pc, as of `published`.  The tag is odd, so
 * generated code takes it for no pc's. */
static void note_missing(struct Hart *h, uint64_t pc, uint32_t published)
{
    *jump_at(h, pc) = (struct JitJump){(pc ^ h->jit_key) | 1, published, 0};
}

static bool known_missing(const struct Hart *h, uint64_t pc)
{
    const struct JitJump *jump = jump_at(h, pc);
    return jump->tag == ((pc ^ h->jit_key) | 1) && jump->slot == atomic_get(&MACHINE->jit.published);
}

/* Adds a target, if it is another. */
static uint32_t add_target(uint32_t *target, uint32_t count, uint32_t to)
{
    for (uint32_t k = 0; k < count; k++)
        if (target[k] == to)
            return count;
    if (count < JIT_TARGETS)
        target[count++] = to;
    return count;
}

/* A site has a row of its own, or shares it with few. */
static struct JitIndirect *known_of(struct JitHart *own, uint32_t site)
{
    return own->known + (site * 0x9e3779b1u >> 16) % (JIT_KNOWN / JIT_TARGETS) * JIT_TARGETS;
}

static void keep_target(struct JitIndirect *known, uint32_t site, uint32_t target)
{
    uint32_t place = (target * 0x85ebca6bu >> 16) % JIT_TARGETS; /* whose it is, in a row that is full */
    for (uint32_t k = 0; k < JIT_TARGETS; k++) {
        if (known[k].site == site && known[k].target == target)
            return;
        if (known[k].site == 0) {
            place = k;
            break;
        }
    }
    known[place] = (struct JitIndirect){site, target};
}

uint32_t jit_targets(const struct Hart *h, uint32_t site, uint32_t *target)
{
    struct JitHart *own = jit_hart(h);
    struct JitIndirect *known = known_of(own, site);
    uint32_t count = 0;
    for (uint32_t k = 0; k < JIT_INDIRECTS; k++)
        if (own->indirect[k].site == site)
            count = add_target(target, count, own->indirect[k].target);
    for (uint32_t k = 0; k < JIT_TARGETS; k++)
        if (known[k].site == site)
            count = add_target(target, count, known[k].target);
    for (uint32_t k = 0; k < count; k++)
        keep_target(known, site, target[k]);
    return count;
}

static void queue(struct Hart *h, uint64_t pc, uint32_t page)
{
    struct JitHart *own = jit_hart(h);
    for (uint32_t k = 0; k < h->jit_queued; k++)
        if (own->queue[k] == pc)
            return;
    if (h->jit_queued == JIT_QUEUE)
        return;
    if (h->jit_queued == 0) {
        h->jit_due = h->instret + (jit_threshold() < 100 ? 0 : LONGEST_IN_QUEUE);
        h->jit_look = h->instret + JIT_LOOK;
        h->jit_since = (uint64_t)host_clock_us();
    }
    own->queue[h->jit_queued] = pc;
    own->queue_page[h->jit_queued++] = page;
}

/* Brings pc's region into the jump cache; false when there is none.  `ahead`: not
 * even among those made ahead. */
static bool fill_jump(struct Hart *h, uint64_t pc, bool ahead)
{
    struct Jit *j = &MACHINE->jit;
    uint32_t page = code_page(h, pc);
    if (page == NO_PAGE)
        return false;
    lock(&j->lock);
    if (h->jit_epoch != j->epoch) {
        jit_clear_jumps(h);
        registry_follow(h);
    }
    const struct JitRegion *region = registry_find(h, page, pc);
    if (!region && ahead && ahead_register(h, page, pc))
        region = registry_find(h, page, pc);
    uint32_t slot = region ? region->slot : 0;
    bool there = region && registry_install(h, region->module);
    if (!region)
        note_missing(h, pc, j->published);
    unlock(&j->lock);
    if (!there)
        return false;
    struct JitJump *jump = jump_at(h, pc);
    jump->tag = pc ^ h->jit_key;
    jump->slot = slot;
    uint32_t entry = code_entry(h, page, (uint32_t)pc);
    if (entry != ~0u)
        *counter_at(h, entry) = MARKED;
    return true;
}

/* A place that is hot and has no region: remembers it, to be translated with others. */
static void wish_for(struct Hart *h, uint16_t *counter)
{
    uint32_t page = code_page(h, h->pc), threshold = jit_threshold();
    if (page != NO_PAGE)
        queue(h, h->pc, page);
    *counter = (uint16_t)(threshold - threshold / 4); /* asks again if that comes to nothing */
}

/* A group of accesses crossed a page.  Rarely, that's nothing; where it goes
 * on, each time costs the rest of the block interpreted. */
static void note_crossing(struct Hart *h, uint64_t pc)
{
    uint8_t *count = &jit_hart(h)->crossing[pc >> 1 & (JIT_CROSSINGS - 1)];
    if (++*count < CROSSINGS_BORNE)
        return;
    *count = 0;
    uint32_t page = code_page(h, pc);
    if (page != NO_PAGE)
        registry_ungroup(h, page);
}

int jit_enter(struct Hart *h, uint16_t *counter, uint64_t limit, bool exact)
{
    uint64_t pc = h->pc;
    if (!exact && !h->jit_queued && limit < h->jit_stretch && h->instret < limit)
        limit = h->jit_stretch;
    int64_t room = (int64_t)(limit - h->instret) - (exact ? JIT_LONGEST : 0);
    if (room <= 0) {
        *counter = (uint16_t)(*counter - JIT_VISIT_MISSED); /* not counted, and not wrapped */
        return JIT_COLD;
    }
    if (room > JIT_MOST_FUEL)
        room = JIT_MOST_FUEL;
    struct JitJump *jump = jump_at(h, pc);
    if (jump->tag != (pc ^ h->jit_key)) {
        bool first = first_look(h, counter);
        if (!fill_jump(h, pc, first)) {
            if (first && head_start())
                *counter = AHEAD_HEAT;
            else
                wish_for(h, counter);
            return JIT_COLD;
        }
    }
    *counter = MARKED;
    h->jit_fuel = (uint32_t)room;
    h->jit_exit = 0;
    h->jit_end = h->instret + (uint64_t)room;
    h->stat_jit_entries++;
    int ran = JIT_RAN;
    for (;;) {
        uint64_t next = ((RegionFunction)(uintptr_t)jump->slot)(h, JIT_DEPTH, pc & ~0xfffull, h->jit_fuel);
        pc = next & ~1ull;
        if (next & 1) {
            ran = JIT_SLOW;
            h->stat_jit_slow++;
            if (h->jit_exit >> 30)
                note_crossing(h, pc);
            break;
        }
        if ((int32_t)h->jit_fuel <= 0 || atomic_get(&h->attention)) {
            h->stat_jit_polls++;
            break;
        }
        jump = jump_at(h, pc);
        if (jump->tag != (pc ^ h->jit_key) && (known_missing(h, pc) || !fill_jump(h, pc, false))) {
            h->stat_jit_missed++;
            break;
        }
    }
    uint64_t before = h->jit_end - (uint64_t)room;
    h->pc = pc;
    h->instret = h->jit_end - (uint64_t)(int64_t)(int32_t)h->jit_fuel;
    h->stat_jit_insns += h->instret - before;
    return ran;
}

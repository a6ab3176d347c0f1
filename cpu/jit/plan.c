/* Which accesses of a block share a look at the TLB, and which of them a loop
 * looks up once: plans that jit/group.c carries out.
 *
 * Within a block, accesses by the same value share one: `ld a0, 0(s0)`, then
 * `addi a1, s0, 8; sd a0, 8(a1)`.  In a loop that calls nothing, the answer is
 * kept from turn to turn, a page for each register that addresses are made of.
 */
#include "jit/emit.h"

#include "jit/registry.h"

#define GROUP_SPAN 1024   /* bytes from the first to the last of a group */
#define INDEXED_SPAN 2304 /* of a table that an index of so many bytes leads into: not all of a page, or few would lie in one */
#define FARTHEST (1 << 20) /* from a value whose multiples are followed */

static bool plain(const struct JitInsn *n)
{
    return n->kind == KIND_LOAD || n->kind == KIND_STORE || n->kind == KIND_FLOAD || n->kind == KIND_FSTORE;
}

/* What a register holds: a value and a distance from it, or up to `range` more. */
struct Value {
    uint16_t of; /* as Group.value; NUMBER: 0 */
    bool loaded; /* from memory, in this loop: it may lead anywhere */
    int32_t offset, range;
    struct Index index; /* what made the number that was added */
};
#define NUMBER 0xffff

static void join_group(struct Emit *e, const struct Value *v, const struct JitInsn *n, uint32_t k, uint32_t since, int32_t span)
{
    int32_t low = v->offset + n->i.imm, high = low + v->range + (int32_t)access_bytes(n->i.op);
    bool store = n->kind == KIND_STORE || n->kind == KIND_FSTORE;
    e->offset_of[k] = low;
    for (uint32_t g = e->group_count; g-- > since;) {
        struct Group *old = &e->groups[g];
        if (old->value != v->of || old->indexed != (v->range > 0))
            continue;
        int32_t from = low < old->low ? low : old->low, to = high > old->high ? high : old->high;
        if (to - from > span)
            break;
        old->low = from;
        old->high = to;
        old->store |= store;
        old->count++;
        e->group_of[k] = (uint8_t)g;
        return;
    }
    if (e->group_count == GROUPS)
        return;
    e->groups[e->group_count] = (struct Group){
        .first = (uint16_t)k, .count = 1, .value = v->of, .low = low, .high = high, .store = store, .loaded = v->loaded,
        .indexed = v->range > 0};
    e->group_of[k] = (uint8_t)e->group_count++;
}

/* The index of the access is to be kept by the step that makes it. */
static void note_index(struct Emit *e, const struct Value *v, uint32_t k, uint32_t *indexes)
{
    e->index_of[k] = v->index;
    if (v->index.made && !e->index_slot[v->index.made - 1])
        e->index_slot[v->index.made - 1] = (uint8_t)(*indexes)++ % INDEXES + 1;
}

/* Can the block look up what lies around the value when it begins, and keep it from turn to turn? */
static bool may_look_ahead(const struct JitBlock *b, uint32_t value)
{
    return b->tight && (b->loop || b->itself) && value < VALUES_MADE && !(b->leaping >> value & 1);
}

/* Is what the block does floating point?  Where it can't look ahead, that is slow. */
static bool has_fp(const struct Emit *e, const struct JitBlock *b)
{
    for (uint32_t k = 0; k < b->count; k++)
        if (needs_easy_fp(&e->r->insns[b->first + k]))
            return true;
    return false;
}

/* An index into a table, as bytes and masks are, its multiples, and their sum with where the table is. */
static bool follow_index(const struct Emit *e, const struct JitBlock *b, const struct Value *value, const struct JitInsn *n, uint32_t k, struct Value *made)
{
    uint32_t base = n->i.rs1 & 31;
    const struct Value *left = &value[base], *right = &value[n->i.imm & 31];
    struct Index index = {.made = (uint16_t)(k + 1)};
    switch (n->i.op) {
    case OP_lbu:
        *made = (struct Value){NUMBER, false, 0, 255, index};
        return true;
    case OP_andi: case OP_c_andi:
        *made = (struct Value){NUMBER, false, 0, n->i.imm, index};
        return n->i.imm > 0;
    case OP_slli: case OP_c_slli:
        *made = (struct Value){NUMBER, false, 0, left->range << (n->i.imm & 31), left->index};
        made->index.shift += (uint8_t)(n->i.imm & 31);
        return left->of == NUMBER && left->offset == 0 && n->i.imm < 12 && made->range < INDEXED_SPAN;
    case OP_add: case OP_c_add:
        if (left->of == NUMBER) {
            const struct Value *swapped = left;
            left = right;
            right = swapped;
            base = n->i.imm & 31;
        }
        *made = (struct Value){left->of, left->loaded, left->offset, right->range, right->index};
        made->index.base = (uint8_t)base;
        if (b->writes >> base & 1)
            made->index.made = 0;
        return may_look_ahead(b, left->of) && !has_fp(e, b) && left->range == 0 && right->of == NUMBER && right->offset == 0;
    default:
        return false;
    }
}

/* The values that instruction k makes. */
static void follow(const struct Emit *e, const struct JitBlock *b, struct Value *value, const struct JitInsn *n, uint32_t k)
{
    bool loaded = n->kind == KIND_LOAD;
    for (uint32_t reads = (uint32_t)n->reads; reads; reads &= reads - 1)
        loaded |= value[__builtin_ctz(reads)].loaded;
    struct Value made = {.of = (uint16_t)(VALUES_MADE + k), .loaded = loaded}, moved;
    int32_t by;
    uint32_t from = moved_from(n, &by);
    if (from) {
        moved = value[from];
        moved.offset += by;
        if (moved.offset > -FARTHEST && moved.offset < FARTHEST)
            made = moved;
    } else if (follow_index(e, b, value, n, k, &moved)) {
        made = moved;
    }
    for (uint32_t writes = (uint32_t)n->writes; writes; writes &= writes - 1)
        value[__builtin_ctz(writes)] = made;
}

static void find_groups(struct Emit *e, const struct JitBlock *b)
{
    struct Value value[32];
    uint32_t since = 0; /* groups before this one take no more */
    for (uint32_t r = 0; r < 32; r++)
        value[r] = (struct Value){.of = (uint16_t)r, .loaded = b->tight && b->loaded >> r & 1};
    uint32_t steps = (uint32_t)b->count * b->turns, indexes = 0;
    memset(e->group_of, GROUPS, steps);
    memset(e->index_slot, 0, steps);
    e->group_count = 0;
    for (uint32_t k = 0; k < steps; k++) {
        const struct JitInsn *n = &e->r->insns[b->first + k % b->count];
        e->index_of[k].made = 0;
        if (n->kind == KIND_CSR) /* may change which tables are looked at */
            since = e->group_count;
        if (plain(n) && n->i.rs1) {
            const struct Value *v = &value[n->i.rs1];
            if (v->of != NUMBER)
                join_group(e, v, n, k, since, v->range ? INDEXED_SPAN : b->tight ? PAGE_SPAN : GROUP_SPAN);
            if (v->of != NUMBER && v->range)
                note_index(e, v, k, &indexes);
        }
        follow(e, b, value, n, k);
    }
}

static uint8_t page_of(struct Emit *e, const struct JitBlock *b, const struct Group *g, bool make)
{
    /* Those that may change within a turn are the same ones in the next. */
    uint32_t first = g->ahead ? g->first : REGION_INSNS + g->first % b->count;
    uint32_t key = first | (uint32_t)(b - e->r->blocks) << 16;
    for (uint32_t k = 0; k < e->page_count; k++)
        if (e->pages[k].key == key)
            return (uint8_t)(k + 1);
    if (!make || e->page_count == PAGES)
        return 0;
    e->pages[e->page_count] = (struct Page){.key = key};
    return (uint8_t)++e->page_count;
}

static void plan_block(struct Emit *e, const struct JitBlock *b, bool make)
{
    find_groups(e, b);
    uint32_t host = L_HOST;
    for (uint32_t k = 0; k < e->group_count; k++) {
        struct Group *g = &e->groups[k];
        g->ahead = may_look_ahead(b, g->value);
        if ((g->count > 1 || g->ahead) && host < L_HOST + GROUP_HOSTS)
            g->host = (uint8_t)host++;
        g->ahead &= g->host != 0;
        g->crosses = g->host && registry_ungrouped(e->r->page[e->r->insns[b->first + g->first % b->count].at >> 12]);
        if (g->ahead || (b->tight && b->roomy && !g->loaded && !g->crosses && !g->indexed))
            g->page = page_of(e, b, g, make);
        if (g->page && e->pages[g->page - 1].span < g->high - g->low)
            e->pages[g->page - 1].span = (uint16_t)(g->high - g->low);
        g->ahead &= g->page != 0;
    }
    plan_framed(e, b);
}

void plan_groups(struct Emit *e, const struct JitBlock *b) { plan_block(e, b, false); }

void plan_pages(struct Emit *e)
{
    e->page_count = e->loop_count = 0;
    e->later_planned = false;
    for (uint32_t k = 0; k < e->r->order_count; k++) {
        const struct JitBlock *b = &e->r->blocks[e->r->by_order[k]];
        if (!b->tight)
            continue;
        plan_block(e, b, true);
        if ((b->loop || b->itself) && e->loop_count < LOOPS) {
            e->loop_at[e->loop_count++] = e->r->by_order[k];
            e->later_planned |= has_fp(e, b);
        }
    }
}

static uint32_t ready_of(const struct Emit *e, const struct JitBlock *b)
{
    for (uint32_t k = 0; k < e->loop_count; k++)
        if (&e->r->blocks[e->loop_at[k]] == b)
            return e->loop_ready[k];
    return 0;
}

bool plan_turns(struct Emit *e, const struct JitBlock *b)
{
    plan_groups(e, b);
    e->turns_fp = false;
    bool any = false;
    if (b->tight && (b->loop || b->itself))
        e->turns_fp = has_fp(e, b);
    for (uint32_t k = 0; k < e->group_count; k++)
        any |= e->groups[k].ahead;
    if (!any && !e->turns_fp)
        return false;
    e->ready = ready_of(e, b);
    for (uint32_t k = 0; k < e->group_count && !e->ready; k++) {
        e->groups[k].ahead = false;
        e->groups[k].page = 0;
    }
    return e->ready;
}

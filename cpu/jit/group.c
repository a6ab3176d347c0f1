/* Which accesses share a look at the TLB, and which remember its answer.
 *
 * Within a block, accesses by the same value share one: `ld a0, 0(s0)`, then
 * `addi a1, s0, 8; sd a0, 8(a1)`.  In a loop that calls nothing, the answer is
 * kept from turn to turn, a page for each register that addresses are made of.
 * Nothing changes the TLB of a hart but itself, outside of regions, so what it
 * said holds until the region is left or calls another.
 */
#include "jit/emit.h"

#include "jit/registry.h"
#include "mmu/mmu.h"

#define GROUP_SPAN 1024   /* bytes from the first to the last of a group */
#define FARTHEST (1 << 20) /* from a value whose multiples are followed */

static bool plain(const struct JitInsn *n)
{
    return n->kind == KIND_LOAD || n->kind == KIND_STORE || n->kind == KIND_FLOAD || n->kind == KIND_FSTORE;
}

/* --- planning ---------------------------------------------------------------------- */

/* What a register holds: a value and a distance from it. */
struct Value {
    uint16_t of;
    bool loaded; /* from memory, in this loop: it may lead anywhere */
    int32_t offset;
};

static void join_group(struct Emit *e, const struct Value *v, const struct JitInsn *n, uint32_t k, uint32_t since, int32_t span)
{
    int32_t low = v->offset + n->i.imm, high = low + (int32_t)access_bytes(n->i.op);
    bool store = n->kind == KIND_STORE || n->kind == KIND_FSTORE;
    e->offset_of[k] = low;
    for (uint32_t g = e->group_count; g-- > since;) {
        struct Group *old = &e->groups[g];
        if (old->value != v->of)
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
        .first = (uint16_t)k, .count = 1, .value = v->of, .low = low, .high = high, .store = store, .loaded = v->loaded};
    e->group_of[k] = (uint8_t)e->group_count++;
}

/* The values that instruction k makes. */
static void follow(struct Value *value, const struct JitInsn *n, uint32_t k)
{
    bool loaded = n->kind == KIND_LOAD;
    for (uint32_t reads = (uint32_t)n->reads; reads; reads &= reads - 1)
        loaded |= value[__builtin_ctz(reads)].loaded;
    struct Value made = {(uint16_t)(VALUES_MADE + k), loaded, 0};
    int32_t by;
    uint32_t from = moved_from(n, &by);
    if (from) {
        struct Value moved = value[from];
        moved.offset += by;
        if (moved.offset > -FARTHEST && moved.offset < FARTHEST)
            made = moved;
    }
    for (uint32_t writes = (uint32_t)n->writes; writes; writes &= writes - 1)
        value[__builtin_ctz(writes)] = made;
}

/* Can the block look up what lies around the value when it begins, and keep it from turn to turn? */
static bool may_look_ahead(const struct JitBlock *b, uint32_t value)
{
    return b->tight && (b->loop || b->itself) && value < VALUES_MADE && !(b->leaping >> value & 1);
}

static void find_groups(struct Emit *e, const struct JitBlock *b)
{
    struct Value value[32];
    uint32_t since = 0; /* groups before this one take no more */
    for (uint32_t r = 0; r < 32; r++)
        value[r] = (struct Value){(uint16_t)r, b->tight && b->loaded >> r & 1, 0};
    memset(e->group_of, GROUPS, (size_t)b->count * b->turns);
    e->group_count = 0;
    for (uint32_t k = 0; k < (uint32_t)b->count * b->turns; k++) {
        const struct JitInsn *n = &e->r->insns[b->first + k % b->count];
        if (n->kind == KIND_CSR) /* may change which tables are looked at */
            since = e->group_count;
        if (plain(n) && n->i.rs1) {
            const struct Value *v = &value[n->i.rs1];
            join_group(e, v, n, k, since, b->tight ? PAGE_SPAN : GROUP_SPAN);
        }
        follow(value, n, k);
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
    e->pages[e->page_count].key = key;
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
        if (g->ahead || (b->tight && b->roomy && !g->loaded && !g->crosses))
            g->page = page_of(e, b, g, make);
        g->ahead &= g->page != 0;
    }
}

void plan_groups(struct Emit *e, const struct JitBlock *b) { plan_block(e, b, false); }

void plan_pages(struct Emit *e)
{
    e->page_count = e->loop_count = 0;
    for (uint32_t k = 0; k < e->r->order_count; k++) {
        const struct JitBlock *b = &e->r->blocks[e->r->by_order[k]];
        if (!b->tight)
            continue;
        plan_block(e, b, true);
        if ((b->loop || b->itself) && e->loop_count < LOOPS)
            e->loop_at[e->loop_count++] = e->r->by_order[k];
    }
}

static uint32_t ready_of(const struct Emit *e, const struct JitBlock *b)
{
    for (uint32_t k = 0; k < e->loop_count; k++)
        if (&e->r->blocks[e->loop_at[k]] == b)
            return e->loop_ready[k];
    return 0;
}

/* --- looking ------------------------------------------------------------------------ */

/* i32: `bytes` from L_VA on are not in one page. */
static void push_crossing(struct Emit *e, uint32_t bytes)
{
    get(e, L_VA);
    op(e, W_I32_WRAP);
    push32(e, 0xfff);
    op(e, W_I32_AND);
    push32(e, 4096u - bytes);
    op(e, W_I32_GT_U);
}

static void push_miss(struct Emit *e)
{
    get(e, L_D);
    push64(e, e->r->h->tlb_hit);
    op(e, W_I64_AND);
    push64(e, 0);
    op(e, W_I64_NE);
}

static uint32_t span(const struct Group *g) { return (uint32_t)(g->high - g->low); }

/* The page is that of L_VA, whose host address is in L_D. */
static void set_page(struct Emit *e, const struct Page *p)
{
    get(e, L_D);
    op(e, W_I32_WRAP);
    push32(e, ~0xfffu);
    op(e, W_I32_AND);
    set(e, p->host);
    get(e, L_VA);
    push64(e, ~0xfffull);
    op(e, W_I64_AND);
    set(e, p->address);
}

/* L_D = the address on the stack as an offset in the page, of the TLB if it
 * isn't the page that it was; leaves where there is none. */
static void look_up_page(struct Emit *e, const struct Page *p, const struct Group *g, uint32_t bytes)
{
    get(e, p->address);
    op(e, W_I64_SUB);
    tee(e, L_D);
    get(e, p->room);
    op(e, W_I64_GE_U);
    hint_unlikely(e);
    open(e, W_IF, LABEL_NONE);
    get(e, L_D);
    get(e, p->address);
    op(e, W_I64_ADD);
    emit_lookup(e, g->store, 0);
    if (bytes > 1) {
        push_crossing(e, bytes);
        open(e, W_IF, LABEL_NONE);
        g->host ? exit_slow_crossing(e) : exit_slow(e);
        close(e);
    }
    set_page(e, p);
    push64(e, 4096 - span(g) + 1);
    set(e, p->room);
    get(e, L_VA);
    push64(e, 0xfff);
    op(e, W_I64_AND);
    set(e, L_D);
    close(e);
}

static void push_host_in_page(struct Emit *e, const struct Page *p)
{
    get(e, L_D);
    op(e, W_I32_WRAP);
    get(e, p->host);
    op(e, W_I32_ADD);
}

static void push_sum(struct Emit *e, uint32_t r, int32_t offset)
{
    push_x(e, r);
    if (offset) {
        push64(e, (uint64_t)(int64_t)offset);
        op(e, W_I64_ADD);
    }
}

/* The group's host address, from the TLB; leaves when it isn't all in one page. */
static void look_for_group(struct Emit *e, const struct Group *g, const struct JitInsn *n)
{
    uint32_t bytes = span(g);
    push_sum(e, n->i.rs1, n->i.imm + g->low - e->offset_of[step(e)]);
    if (g->page) {
        look_up_page(e, &e->pages[g->page - 1], g, bytes);
        push_host_in_page(e, &e->pages[g->page - 1]);
        set(e, g->host);
        return;
    }
    emit_lookup(e, g->store, 0);
    push_host(e);
    set(e, g->host);
    push_crossing(e, bytes);
    if (g->crosses)
        hint_unlikely(e);
    open(e, W_IF, LABEL_NONE);
    if (g->crosses) {
        push32(e, 0);
        set(e, g->host);
    } else {
        exit_slow_crossing(e);
    }
    close(e);
}

/* The access's own host address, where the group's is 0: it is not all in one page. */
static void push_own_place(struct Emit *e, const struct Group *g, const struct JitInsn *n, bool store, uint32_t bytes, uint32_t offset)
{
    get(e, g->host);
    if (offset) {
        push32(e, offset);
        op(e, W_I32_ADD);
    }
    set(e, L_PLACE);
    get(e, g->host);
    op(e, W_I32_EQZ);
    hint_unlikely(e);
    open(e, W_IF, LABEL_NONE);
    push_sum(e, n->i.rs1, n->i.imm);
    emit_lookup(e, store, bytes - 1);
    push_host(e);
    set(e, L_PLACE);
    close(e);
    get(e, L_PLACE);
}

/* --- a loop's first block -------------------------------------------------------------- */

bool plan_turns(struct Emit *e, const struct JitBlock *b)
{
    plan_groups(e, b);
    e->turns_fp = false;
    bool any = false;
    for (uint32_t k = 0; k < b->count && b->tight && (b->loop || b->itself); k++)
        e->turns_fp |= needs_easy_fp(&e->r->insns[b->first + k]);
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

void begin_turns(struct Emit *e)
{
    open(e, W_LOOP, LABEL_NONE);
    e->turns = e->depth;
}

/* Looks everything up, which makes the loop ready; to be done the hard way where that fails. */
static void try_again(struct Emit *e)
{
    if (e->turns_fp) {
        push_fp_easy(e);
        op(e, W_I32_EQZ);
        op_u(e, W_BR_IF, 0);
    }
    for (uint32_t k = 0; k < e->group_count; k++) {
        const struct Group *g = &e->groups[k];
        if (!g->ahead)
            continue;
        push_sum(e, g->value, g->low);
        push_entry(e, g->store);
        set(e, L_D);
        push_miss(e);
        op_u(e, W_BR_IF, 0);
        push_crossing(e, span(g));
        op_u(e, W_BR_IF, 0);
        set_page(e, &e->pages[g->page - 1]);
    }
    push32(e, 1);
    set(e, e->ready);
    op_u(e, W_BR, e->depth - e->turns);
}

void look_ahead(struct Emit *e)
{
    open(e, W_BLOCK, LABEL_NONE);
    open(e, W_BLOCK, LABEL_NONE);
    open(e, W_BLOCK, LABEL_NONE);
    get(e, e->ready);
    op(e, W_I32_EQZ);
    hint_unlikely(e);
    op_u(e, W_BR_IF, 0);
    for (uint32_t k = 0; k < e->group_count; k++) {
        const struct Group *g = &e->groups[k];
        if (!g->ahead)
            continue;
        const struct Page *p = &e->pages[g->page - 1];
        push_sum(e, g->value, g->low);
        get(e, p->address);
        op(e, W_I64_SUB);
        tee(e, L_D);
        push64(e, 4096 - span(g));
        op(e, W_I64_GT_U);
        hint_unlikely(e);
        op_u(e, W_BR_IF, 0);
        push_host_in_page(e, p);
        set(e, g->host);
    }
}

void end_ahead(struct Emit *e)
{
    op_u(e, W_BR, 2);
    close(e);
    try_again(e);
    close(e);
    memset(e->group_of, GROUPS, (size_t)e->block->count * e->block->turns);
}

uint32_t push_place(struct Emit *e, const struct JitInsn *n, bool store, uint32_t bytes)
{
    const struct Group *g = e->group_of[step(e)] == GROUPS ? NULL : &e->groups[e->group_of[step(e)]];
    if (!g || (!g->host && !g->page)) {
        push_sum(e, n->i.rs1, n->i.imm);
        emit_lookup(e, store, bytes - 1);
        push_host(e);
        return 0;
    }
    if (!g->host) {
        const struct Page *p = &e->pages[g->page - 1];
        push_sum(e, n->i.rs1, n->i.imm);
        look_up_page(e, p, g, bytes);
        push_host_in_page(e, p);
        return 0;
    }
    if (g->first == step(e) && !g->ahead)
        look_for_group(e, g, n);
    uint32_t offset = (uint32_t)(e->offset_of[step(e)] - g->low);
    if (g->crosses && !g->ahead) {
        push_own_place(e, g, n, store, bytes, offset);
        return 0;
    }
    get(e, g->host);
    return offset;
}

void forget_pages(struct Emit *e)
{
    for (uint32_t k = 0; k < e->loop_count; k++) {
        push32(e, 0);
        set(e, e->loop_ready[k]);
    }
    for (uint32_t k = 0; k < e->page_count; k++) {
        push64(e, 0);
        set(e, e->pages[k].room);
    }
}

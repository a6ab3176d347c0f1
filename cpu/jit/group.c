/* Looks at the TLB that accesses share, and what loops remember of them, as jit/plan.c says.
 *
 * Nothing changes the TLB of a hart but itself, outside of regions, so what it
 * said holds until the region is left or calls another.
 */
#include "jit/emit.h"

#include "mmu/mmu.h"

/* i32: `bytes` from L_VA on are not in one page. */
void push_crossing(struct Emit *e, uint32_t bytes)
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
    push64(e, 4096u - p->span + 1);
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

void push_sum(struct Emit *e, uint32_t r, int32_t offset)
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
    if (g->crosses) {
        push32(e, RAM_OFFSET);
        op(e, W_I32_ADD);
    }
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

/* L_PLACE, for an access `offset` behind it: the group's host address, which is
 * one in the whole memory here, or where that is 0, as the group is not all in
 * one page, what makes the access's own. */
static void push_own_place(struct Emit *e, const struct Group *g, const struct JitInsn *n, bool store, uint32_t bytes, uint32_t offset)
{
    get(e, g->host);
    tee(e, L_PLACE);
    op(e, W_I32_EQZ);
    hint_unlikely(e);
    open(e, W_IF, LABEL_NONE);
    push_sum(e, n->i.rs1, n->i.imm);
    emit_lookup(e, store, bytes - 1);
    push_host(e);
    push32(e, RAM_OFFSET - offset);
    op(e, W_I32_ADD);
    set(e, L_PLACE);
    close(e);
    get(e, L_PLACE);
}

/* --- a loop's first block -------------------------------------------------------------- */

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
    if (e->strip.possible && e->strip.counted)
        emit_strip(e, e->block);
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
        if (g->indexed) { /* what is to be added to an address */
            get(e, p->host);
            get(e, p->address);
            op(e, W_I32_WRAP);
            op(e, W_I32_SUB);
        } else {
            push_host_in_page(e, p);
        }
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
    memset(e->index_slot, 0, (size_t)e->block->count * e->block->turns);
}

void keep_index(struct Emit *e, const struct JitInsn *n, bool behind)
{
    uint32_t slot = e->index_slot[step(e)];
    if (!slot || behind != (n->kind == KIND_LOAD))
        return;
    push_x(e, behind ? n->i.rd : n->i.rs1);
    op(e, W_I32_WRAP);
    if (!behind) {
        push32(e, (uint32_t)n->i.imm);
        op(e, W_I32_AND);
    }
    set(e, e->index_local + slot - 1);
    e->index_made[slot - 1] = (uint16_t)(step(e) + 1);
}

/* The access's host address by the index alone, if that was kept: what it is shifted by, and where the
 * table is, the engine adds at once. */
static bool push_index(struct Emit *e, const struct Group *g)
{
    const struct Index *index = &e->index_of[step(e)];
    uint32_t slot = index->made ? e->index_slot[index->made - 1] : 0;
    if (!slot || e->index_made[slot - 1] != index->made)
        return false;
    get(e, e->index_local + slot - 1);
    if (index->shift) {
        push32(e, index->shift);
        op(e, W_I32_SHL);
    }
    push_x(e, index->base);
    op(e, W_I32_WRAP);
    get(e, g->host);
    op(e, W_I32_ADD);
    if (e->offset_of[step(e)]) {
        push32(e, (uint32_t)e->offset_of[step(e)]);
        op(e, W_I32_ADD);
    }
    op(e, W_I32_ADD);
    return true;
}

uint32_t push_place(struct Emit *e, const struct JitInsn *n, bool store, uint32_t bytes)
{
    const struct Group *g = e->group_of[step(e)] == GROUPS ? NULL : &e->groups[e->group_of[step(e)]];
    if (g && g->framed) {
        seek_frames(e, g, n);
        get(e, L_FRAME);
        return (uint32_t)(e->offset_of[step(e)] - g->low + g->behind) - RAM_OFFSET;
    }
    if (e->pacing && push_paced(e, n))
        return 0;
    if (!g || (!g->host && !g->page) || (g->indexed && !g->ahead)) {
        push_sum(e, n->i.rs1, n->i.imm);
        emit_lookup(e, store, bytes - 1);
        push_host(e);
        return 0;
    }
    if (g->indexed) {
        if (push_index(e, g))
            return 0;
        push_sum(e, n->i.rs1, n->i.imm);
        op(e, W_I32_WRAP);
        get(e, g->host);
        op(e, W_I32_ADD);
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
        return offset - RAM_OFFSET;
    }
    get(e, g->host);
    return offset;
}

void forget_pages(struct Emit *e)
{
    forget_frames(e);
    for (uint32_t k = 0; k < e->loop_count; k++) {
        push32(e, 0);
        set(e, e->loop_ready[k]);
    }
    for (uint32_t k = 0; k < e->page_count; k++) {
        push64(e, 0);
        set(e, e->pages[k].room);
    }
}

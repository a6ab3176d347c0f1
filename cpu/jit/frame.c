/* Accesses to a function's frame, which one look at the TLB serves as long as
 * the region calls nothing.
 *
 * sp moves by constants, so all that is reached by it, in blocks and in callees
 * that were taken in, lies at known distances from each other and from sp.  If
 * all of that is in one page, its host address is kept in a local: a prologue
 * finds it for the epilogue, and for those of its callees.  Where it isn't, the
 * access is the interpreter's, and where that goes on, the code's page is
 * translated anew without frames.
 *
 * Behind a call only sp counts, with the distance that it had: what is looked
 * for anew lies around what sp is now, whatever stack the callee came back on.
 */
#include "jit/emit.h"

#include "jit/registry.h"
#include "mmu/mmu.h"

#define NOWHERE INT16_MIN
#define FARTHEST 4096 /* from the entry's sp */
#define WINDOW_SPAN 1024 /* bytes of frames that are looked up together, at most */
#define SP 2

static void move(int16_t *frame, const struct JitInsn *n)
{
    int32_t by;
    uint32_t from = moved_from(n, &by);
    int32_t to = from && frame[from] != NOWHERE ? frame[from] + by : NOWHERE;
    if (to < -FARTHEST || to > FARTHEST)
        to = NOWHERE;
    for (uint32_t writes = (uint32_t)n->writes; writes; writes &= writes - 1)
        frame[__builtin_ctz(writes)] = (int16_t)to;
}

static bool ends_by_call(const struct JitBlock *b) { return b->end == END_CALL || b->end == END_CALL_INDIRECT; }

static void leave_block(const struct Emit *e, const struct JitBlock *b, uint32_t edge, int16_t *frame)
{
    uint32_t count = b->end == END_AGAIN && edge == 0 ? b->middle : b->count;
    memcpy(frame, e->frames[b - e->r->blocks], 32 * sizeof *frame);
    for (uint32_t k = 0; k < count; k++)
        move(frame, &e->r->insns[b->first + k]);
    if (!ends_by_call(b))
        return;
    for (uint32_t x = 0; x < 32; x++)
        if (x != SP)
            frame[x] = NOWHERE;
}

/* Distances from the entry's sp, of each register at each block's begin. */
static void find_frames(struct Emit *e)
{
    const struct Region *r = e->r;
    bool seen[REGION_BLOCKS] = {false};
    seen[r->entry_block] = true;
    for (uint32_t x = 0; x < 32; x++)
        e->frames[r->entry_block][x] = x == SP ? 0 : NOWHERE;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t from = 0; from < r->order_count; from++) {
            const struct JitBlock *b = &r->blocks[r->by_order[from]];
            for (uint32_t k = 0; k < edge_count(r, b); k++) {
                uint32_t to = edge_to(r, b, k);
                int16_t out[32];
                if (to == NO_BLOCK)
                    continue;
                leave_block(e, b, k, out);
                for (uint32_t x = 0; x < 32; x++) {
                    int16_t now = !seen[to] || e->frames[to][x] == out[x] ? out[x] : NOWHERE;
                    changed |= !seen[to] || now != e->frames[to][x];
                    e->frames[to][x] = now;
                }
                seen[to] = true;
            }
        }
    }
}

/* The group's distance from the entry's sp; false: it isn't known. */
static bool distance(const struct Emit *e, const struct JitBlock *b, const struct Group *g, int32_t *low)
{
    if (g->ahead || g->page || g->indexed || g->value >= VALUES_MADE)
        return false;
    int16_t frame = e->frames[b - e->r->blocks][g->value];
    *low = frame + g->low;
    return frame != NOWHERE;
}

/* Does the block, all of it being done, look, or does it forget? */
static void looks_in(struct Emit *e, const struct JitBlock *b, bool *looks, bool *forgets)
{
    bool all = !((b->loop || b->itself) && b->tight) && b->end != END_AGAIN;
    plan_groups(e, b);
    *looks = false;
    *forgets = ends_by_call(b);
    for (uint32_t k = 0; k < e->group_count && all; k++)
        *looks |= e->groups[k].framed;
    for (uint32_t k = 0; k < b->count; k++)
        *forgets |= e->r->insns[b->first + k].kind == KIND_CSR;
}

/* Where somebody looked on each way here, and nothing was called since. */
static void find_sought(struct Emit *e)
{
    const struct Region *r = e->r;
    bool looks[REGION_BLOCKS], forgets[REGION_BLOCKS];
    for (uint32_t k = 0; k < r->order_count; k++) {
        uint32_t block = r->by_order[k];
        e->frames_sought[block] = k > 0;
        looks_in(e, &r->blocks[block], &looks[block], &forgets[block]);
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t from = 0; from < r->order_count; from++) {
            uint32_t block = r->by_order[from];
            const struct JitBlock *b = &r->blocks[block];
            bool out = (e->frames_sought[block] || looks[block]) && !forgets[block];
            for (uint32_t k = 0; k < edge_count(r, b) && !out; k++) {
                uint32_t to = edge_to(r, b, k);
                if (to == NO_BLOCK || !e->frames_sought[to])
                    continue;
                e->frames_sought[to] = false;
                changed = true;
            }
        }
    }
}

void plan_frames(struct Emit *e)
{
    uint32_t groups = 0;
    find_frames(e);
    e->frame_low = e->frame_high = 0;
    e->frame_store = e->framed = false;
    for (uint32_t k = 0; k < e->r->order_count; k++) {
        const struct JitBlock *b = &e->r->blocks[e->r->by_order[k]];
        plan_groups(e, b);
        for (uint32_t n = 0; n < e->group_count; n++) {
            const struct Group *g = &e->groups[n];
            int32_t low, high;
            if (!distance(e, b, g, &low))
                continue;
            high = low + g->high - g->low;
            low = groups && e->frame_low < low ? e->frame_low : low;
            high = groups && e->frame_high > high ? e->frame_high : high;
            if (high - low > WINDOW_SPAN)
                continue;
            e->frame_low = low;
            e->frame_high = high;
            e->frame_store |= g->store;
            groups++;
        }
    }
    e->framed = groups > 1;
    for (uint32_t k = 0; k < WINDOW_PAGES; k++)
        if (e->r->touched >> k & 1 && registry_unframed(e->r->page[k]))
            e->framed = false;
    if (e->framed)
        find_sought(e);
}

void plan_framed(struct Emit *e, const struct JitBlock *b)
{
    for (uint32_t n = 0; n < e->group_count && e->framed; n++) {
        struct Group *g = &e->groups[n];
        int32_t low;
        g->framed = distance(e, b, g, &low) && low >= e->frame_low && low + g->high - g->low <= e->frame_high;
        g->behind = g->framed ? low - e->frame_low : 0;
    }
}

void forget_frames(struct Emit *e)
{
    if (!e->framed)
        return;
    push32(e, 0);
    set(e, L_FRAME);
    e->sought = false;
}

/* Looks for the frames before n if nobody surely did.  Where they are not to be
 * had, n is left to the interpreter: a store finds out why.  A load may go on
 * for long from a page that nothing is stored to, and so counts as if the
 * frames lay in two pages: then they are looked for no more. */
void seek_frames(struct Emit *e, const struct Group *g, const struct JitInsn *n)
{
    bool store = n->kind == KIND_STORE || n->kind == KIND_FSTORE;
    if (e->sought)
        return;
    e->sought = true;
    get(e, L_FRAME);
    op(e, W_I32_EQZ);
    open(e, W_IF, LABEL_NONE);
    push_sum(e, n->i.rs1, n->i.imm + g->low - e->offset_of[step(e)] - g->behind);
    push_entry(e, e->frame_store);
    tee(e, L_D);
    push64(e, e->r->h->tlb_hit);
    op(e, W_I64_AND);
    push64(e, 0);
    op(e, W_I64_NE);
    open(e, W_IF, LABEL_NONE);
    store ? exit_slow(e) : exit_slow_crossing(e);
    close(e);
    push_crossing(e, (uint32_t)(e->frame_high - e->frame_low));
    open(e, W_IF, LABEL_NONE);
    exit_slow_crossing(e);
    close(e);
    get(e, L_D);
    op(e, W_I32_WRAP);
    push32(e, RAM_OFFSET);
    op(e, W_I32_ADD);
    set(e, L_FRAME);
    close(e);
}

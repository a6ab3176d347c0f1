/* Flow of a region: reverse postorder, dominators (Cooper, Harvey, Kennedy, "A
 * Simple, Fast Dominance Algorithm"), loops, and two data flows over sets of
 * registers: which may be dirty, which are live.
 *
 * An edge back to a block that doesn't dominate its source would make the
 * region irreducible.  It is cut: who takes it leaves, and the place it leads
 * to becomes a region of its own, in which it is the entry and so dominates.
 */
#include "jit/region.h"

static void postorder(struct Region *r, uint32_t block)
{
    struct JitBlock *b = &r->blocks[block];
    b->reached = true;
    for (uint32_t k = edge_count(r, b); k-- > 0;)
        if (edge_to(r, b, k) != NO_BLOCK && !r->blocks[edge_to(r, b, k)].reached)
            postorder(r, edge_to(r, b, k));
    r->by_order[r->order_count++] = (uint8_t)block;
}

static void number_blocks(struct Region *r)
{
    for (uint32_t k = 0; k < r->block_count; k++)
        r->blocks[k].reached = false;
    r->order_count = 0;
    postorder(r, r->entry_block);
    for (uint32_t low = 0, high = r->order_count - 1; low < high; low++, high--) {
        uint8_t swapped = r->by_order[low];
        r->by_order[low] = r->by_order[high];
        r->by_order[high] = swapped;
    }
    for (uint32_t k = 0; k < r->order_count; k++)
        r->blocks[r->by_order[k]].order = (uint8_t)k;
}

static uint32_t common_dominator(const struct Region *r, uint32_t a, uint32_t b)
{
    while (a != b) {
        while (a > b)
            a = r->blocks[r->by_order[a]].dominator;
        while (b > a)
            b = r->blocks[r->by_order[b]].dominator;
    }
    return a;
}

static void find_dominators(struct Region *r)
{
    for (uint32_t k = 0; k < r->order_count; k++)
        r->blocks[r->by_order[k]].dominator = k ? NO_BLOCK : 0;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t from = 0; from < r->order_count; from++) {
            const struct JitBlock *b = &r->blocks[r->by_order[from]];
            if (from && b->dominator == NO_BLOCK)
                continue;
            for (uint32_t k = 0; k < edge_count(r, b); k++) {
                if (edge_to(r, b, k) == NO_BLOCK)
                    continue;
                struct JitBlock *to = &r->blocks[edge_to(r, b, k)];
                if (to->order == 0)
                    continue;
                uint32_t now = to->dominator == NO_BLOCK ? from : common_dominator(r, to->dominator, from);
                if (now != to->dominator) {
                    to->dominator = (uint8_t)now;
                    changed = true;
                }
            }
        }
    }
}

static bool cut_irreducible(struct Region *r)
{
    bool cut = false;
    for (uint32_t from = 0; from < r->order_count; from++) {
        struct JitBlock *b = &r->blocks[r->by_order[from]];
        for (uint32_t k = 0; k < edge_count(r, b); k++) {
            if (edge_to(r, b, k) == NO_BLOCK)
                continue;
            uint32_t to = r->blocks[edge_to(r, b, k)].order;
            if (to > from || region_dominates(r, to, from))
                continue;
            *(b->end == END_SWITCH ? &r->switch_next[k] : &b->next[k]) = NO_BLOCK;
            cut = true;
        }
    }
    return cut;
}

static void count_edges(struct Region *r)
{
    for (uint32_t k = 0; k < r->order_count; k++) {
        r->blocks[r->by_order[k]].forward_edges = 0;
        r->blocks[r->by_order[k]].loop = r->blocks[r->by_order[k]].itself = false;
    }
    for (uint32_t from = 0; from < r->order_count; from++) {
        const struct JitBlock *b = &r->blocks[r->by_order[from]];
        for (uint32_t k = 0; k < edge_count(r, b); k++) {
            if (edge_to(r, b, k) == NO_BLOCK)
                continue;
            struct JitBlock *to = &r->blocks[edge_to(r, b, k)];
            if (to == b && (b->end == END_BRANCH || b->end == END_AGAIN))
                to->itself = true;
            else if (to->order <= from)
                to->loop = true;
            else /* a table's targets always stand behind a block of their own */
                to->forward_edges += b->end == END_SWITCH ? 2 : 1;
        }
    }
}

static bool leads_into(const struct Region *r, const struct JitBlock *b, const bool *inside)
{
    for (uint32_t k = 0; k < edge_count(r, b); k++)
        if (edge_to(r, b, k) != NO_BLOCK && inside[edge_to(r, b, k)])
            return true;
    return false;
}

static bool ends_by_call(const struct JitBlock *b) { return b->end == END_CALL || b->end == END_CALL_INDIRECT; }

/* What memory doesn't know, on some way here.  A call stores everything. */
static void find_dirty(struct Region *r)
{
    for (uint32_t k = 0; k < r->order_count; k++)
        r->blocks[r->by_order[k]].dirty_in = 0;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t from = 0; from < r->order_count; from++) {
            const struct JitBlock *b = &r->blocks[r->by_order[from]];
            RegSet out = ends_by_call(b) ? 0 : b->dirty_in | b->writes;
            for (uint32_t k = 0; k < edge_count(r, b); k++) {
                if (edge_to(r, b, k) == NO_BLOCK)
                    continue;
                struct JitBlock *to = &r->blocks[edge_to(r, b, k)];
                if (out & ~to->dirty_in) {
                    to->dirty_in |= out;
                    changed = true;
                }
            }
        }
    }
}

static RegSet written_before(const struct Region *r, const struct JitBlock *b, uint32_t k)
{
    RegSet written = 0;
    for (uint32_t n = 0; n < k; n++)
        written |= r->insns[b->first + n].writes;
    return written;
}

/* What a block needs of the registers at its begin: its own reads, and what
 * its exits store without having been written in it. */
static RegSet needs(const struct Region *r, const struct JitBlock *b)
{
    RegSet written = 0, need = 0;
    for (uint32_t k = 0; k < b->count; k++) {
        const struct JitInsn *n = &r->insns[b->first + k];
        if (insn_may_leave(n))
            need |= b->dirty_in & ~written;
        need |= n->reads & ~written;
        written |= n->writes;
    }
    bool leaves = ends_by_call(b) || b->end == END_RETURN || b->end == END_BACK || b->end == END_LEAVE ||
                  b->end == END_SWITCH;
    for (uint32_t k = 0; k < 2 && b->end != END_SWITCH; k++) {
        bool used = k == 0 ? b->end == END_BRANCH || b->end == END_JUMP || b->end == END_INDIRECT || b->end == END_AGAIN
                           : b->end == END_BRANCH || b->end == END_FALL || b->end == END_AGAIN;
        if (used) /* an exit, or a poll at a loop's edge */
            leaves |= b->next[k] == NO_BLOCK || r->blocks[edge_to(r, b, k)].order <= b->order;
    }
    if (b->end == END_AGAIN && b->next[0] == NO_BLOCK)
        need |= b->dirty_in & ~written_before(r, b, b->middle);
    return leaves ? need | (b->dirty_in & ~written) : need;
}

static void find_live(struct Region *r)
{
    for (uint32_t k = 0; k < r->order_count; k++) {
        struct JitBlock *b = &r->blocks[r->by_order[k]];
        b->reads = b->live_in = needs(r, b);
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t k = r->order_count; k-- > 0;) {
            struct JitBlock *b = &r->blocks[r->by_order[k]];
            RegSet out = 0;
            if (!ends_by_call(b))
                for (uint32_t n = 0; n < edge_count(r, b); n++)
                    if (edge_to(r, b, n) != NO_BLOCK)
                        out |= r->blocks[edge_to(r, b, n)].live_in;
            RegSet in = b->reads | (out & ~b->writes);
            if (b->end == END_AGAIN && b->next[0] != NO_BLOCK)
                in |= r->blocks[b->next[0]].live_in & ~written_before(r, b, b->middle);
            if (in != b->live_in) {
                b->live_in = in;
                changed = true;
            }
        }
    }
}

RegSet region_dirty(const struct Region *r, const struct JitBlock *b, uint32_t k)
{
    return b->dirty_in | written_before(r, b, k);
}

#define UNROLLED 100 /* instructions more than its own that a region gets by unrolling: JIT_LONGEST is the sum */
#define ROOMY 7 /* registers that a loop may use and still leave some for pages */

/* What a loop does with registers, block by block. */
struct Use {
    uint32_t used, loaded, leaping;
    int32_t moved[32];
    uint32_t from[32]; /* registers that one is made of by a small step */
    bool tight;
    int32_t steps; /* bytes that a register may move in a turn and still stay in its page for some */
};

#define STEPS 64
#define LONG_STEPS 256 /* of a long turn: the kernel's copies and fills */

static void note_use(const struct Region *r, const struct JitBlock *b, struct Use *use)
{
    for (uint32_t n = 0; n < b->count; n++) {
        const struct JitInsn *i = &r->insns[b->first + n];
        uint32_t writes = (uint32_t)i->writes;
        use->tight &= i->kind != KIND_CSR;
        use->used |= (uint32_t)i->reads | writes;
        use->loaded |= i->kind == KIND_LOAD ? writes : 0;
        int32_t moved;
        uint32_t from = moved_from(i, &moved);
        if (!writes || !from) {
            use->leaping |= writes;
            continue;
        }
        if (from == i->i.rd)
            moved = use->moved[from] += moved;
        use->leaping |= moved > use->steps || moved < -use->steps ? writes : 0;
        use->from[i->i.rd] |= 1u << from;
    }
}

static void set_use(struct JitBlock *b, struct Use *use)
{
    for (uint32_t before = 0; before != use->leaping;) {
        before = use->leaping;
        for (uint32_t k = 1; k < 32; k++)
            use->leaping |= use->from[k] & before ? 1u << k : 0;
    }
    b->tight = use->tight;
    b->roomy = __builtin_popcount(use->used) <= ROOMY;
    b->loaded = use->loaded;
    b->leaping = use->leaping;
}

/* Marks the natural loop of `head`: what that dominates and can get back to it. */
static void mark_loop(struct Region *r, uint32_t head)
{
    bool inside[REGION_BLOCKS] = {false};
    struct Use use = {.tight = true, .steps = STEPS};
    inside[r->by_order[head]] = true;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t k = r->order_count; k-- > head;) {
            uint32_t block = r->by_order[k];
            if (!inside[block] && region_dominates(r, head, k) && leads_into(r, &r->blocks[block], inside))
                changed = inside[block] = true;
        }
    }
    for (uint32_t k = head; k < r->order_count; k++) {
        const struct JitBlock *b = &r->blocks[r->by_order[k]];
        if (!inside[r->by_order[k]])
            continue;
        use.tight &= !ends_by_call(b) && (k == head || !(b->loop || b->itself));
        note_use(r, b, &use);
    }
    for (uint32_t k = head; k < r->order_count; k++)
        if (inside[r->by_order[k]])
            set_use(&r->blocks[r->by_order[k]], &use);
}

/* How often a loop of one block is unrolled: polls and looks are for that many turns.
 * Those that leave in their middle (memcpy) gain by a third turn, others of that size
 * lose as much, by registers that the engine spills. */
static uint32_t turns_of(const struct JitBlock *b)
{
    if (b->count <= 7)
        return 8;
    if (b->count <= 14)
        return 4;
    return b->count > 34 ? 1 : b->end == END_AGAIN ? 3 : 2;
}

/* A block that branches to itself is a loop of its own; the others that it begins lie around that. */
static void mark_itself(struct Region *r, struct JitBlock *b, uint32_t *room)
{
    uint32_t turns = turns_of(b);
    int32_t steps = 8 * b->count;
    struct Use use = {.tight = true, .steps = steps < STEPS ? STEPS : steps > LONG_STEPS ? LONG_STEPS : steps};
    note_use(r, b, &use);
    set_use(b, &use);
    for (uint32_t k = 0; k < 2; k++) /* there may be several ways out; either way, what follows lies behind the loop */
        if (b->next[k] != NO_BLOCK && r->blocks[b->next[k]].order > b->order)
            r->blocks[b->next[k]].forward_edges++;
    if ((turns - 1) * b->count <= *room) {
        b->turns = (uint8_t)turns;
        *room -= (turns - 1) * b->count;
    }
}

static void find_loops(struct Region *r)
{
    uint32_t room = UNROLLED;
    for (uint32_t k = 0; k < r->order_count; k++) {
        struct JitBlock *b = &r->blocks[r->by_order[k]];
        b->tight = false;
        b->turns = 1;
    }
    for (uint32_t head = 0; head < r->order_count; head++) /* outer ones first */
        if (r->blocks[r->by_order[head]].loop)
            mark_loop(r, head);
    for (uint32_t k = 0; k < r->order_count; k++)
        if (r->blocks[r->by_order[k]].itself)
            mark_itself(r, &r->blocks[r->by_order[k]], &room);
}

void region_flow(struct Region *r)
{
    number_blocks(r);
    find_dominators(r);
    if (cut_irreducible(r)) {
        number_blocks(r);
        find_dominators(r);
    }
    count_edges(r);
    find_loops(r);
    find_dirty(r);
    find_live(r);
    region_find_words(r);
}

/* Callees that become part of a region.
 *
 * A callee that is small and hot is taken in, once for each call: what happens
 * is the same as by jumping there and back, so registers stay where they are
 * and nothing is due but a look at the return address.  Of a call through a
 * register, so are those that the interpreter saw it lead to; which one it is
 * now is asked first, and any other is called as ever.
 */
#include "jit/region.h"

#include "jit/jit.h"
#include "jit/registry.h"
#include "mmu/mmu.h"

#define TAKEN_FUNCTION 60 /* instructions of a callee that is taken in, at most */
#define TAKEN_DEPTH 4     /* calls within calls, */
#define SMALL_FUNCTION 30 /* and for callees of so many instructions */
#define SMALL_DEPTH 6
#define GUESSES 4         /* callees of one call through a register */

/* How hot the place is: the counter of its visits. */
static uint32_t visits_of(struct Region *r, int32_t at)
{
    if (at < 0 || at >= (int32_t)WINDOW || !region_page(r, (uint32_t)at >> 12))
        return 0;
    uint32_t entry = code_entry(r->h, r->page[at >> 12], (uint32_t)at & 0xfff);
    return entry == ~0u ? 0 : jit_heat(r->h, entry);
}

/* Adds the callee of block `number`, whose returns lead to the block behind
 * that; its first block, or NO_BLOCK. */
static uint32_t add_callee(struct Region *r, uint32_t number, int32_t at)
{
    const struct JitBlock *b = &r->blocks[number];
    uint32_t insns = r->insn_count, blocks = r->block_count;
    r->insn_room = insns + TAKEN_FUNCTION < REGION_INSNS ? insns + TAKEN_FUNCTION : REGION_INSNS;
    bool returns = false;
    if (region_add(r, (uint32_t)at, b->depth + 1u) && r->insn_count < r->insn_room &&
        (b->depth < TAKEN_DEPTH || r->insn_count - insns <= SMALL_FUNCTION)) {
        for (uint32_t k = blocks; k < r->block_count; k++) {
            struct JitBlock *inner = &r->blocks[k];
            const struct JitInsn *last = &r->insns[inner->first + inner->count - 1];
            if (inner->end != END_RETURN || last->i.rs1 != r->insns[b->first + b->count - 1].i.rd || last->i.imm)
                continue;
            inner->end = END_BACK;
            inner->next[0] = b->next[1];
            inner->far = b->next_at[1];
            returns = true;
        }
    }
    if (returns)
        return r->found;
    r->insn_count = insns;
    r->block_count = blocks;
    return NO_BLOCK;
}

static void take_in(struct Region *r, uint32_t number)
{
    struct JitBlock *b = &r->blocks[number];
    if (visits_of(r, b->far) < jit_threshold() / 2)
        return;
    uint32_t callee = add_callee(r, number, b->far);
    if (callee == NO_BLOCK)
        return;
    b->end = END_ENTER;
    b->next[0] = (uint8_t)callee;
    b->next[1] = NO_BLOCK;
}

/* Where the interpreter saw the call of block b lead, the hottest first; how many. */
static uint32_t guess(struct Region *r, const struct JitBlock *b, int32_t *at)
{
    uint32_t site = (uint32_t)r->base + r->insns[b->first + b->count - 1].at - 4096, count = 0;
    uint32_t hot[GUESSES + 1], seen[JIT_TARGETS], seen_count = jit_targets(r->h, site, seen);
    for (uint32_t k = 0; k < seen_count; k++) {
        int32_t to = (int32_t)(seen[k] - (uint32_t)r->base + 4096);
        uint32_t visits = visits_of(r, to), n = count;
        if (visits < jit_threshold() / 8)
            continue;
        for (; n > 0 && hot[n - 1] < visits; n--) {
            hot[n] = hot[n - 1];
            if (n < GUESSES)
                at[n] = at[n - 1];
        }
        if (n == GUESSES)
            continue;
        hot[n] = visits;
        at[n] = to;
        count += count < GUESSES;
    }
    return count;
}

static uint32_t add_block(struct Region *r, const struct JitBlock *like, uint32_t end)
{
    struct JitBlock *b = &r->blocks[r->block_count];
    memset(b, 0, sizeof *b);
    b->first = (uint16_t)(like->first + like->count); /* behind the call, which it belongs to */
    b->end = (uint8_t)end;
    b->next[0] = b->next[1] = NO_BLOCK;
    b->depth = like->depth;
    return r->block_count++;
}

/* The block goes on to one that asks for the first callee, that one to the
 * next, the last to the call itself. */
static void guess_callees(struct Region *r, uint32_t number)
{
    struct JitBlock *b = &r->blocks[number];
    int32_t at[GUESSES];
    uint32_t count = guess(r, b, at), before = NO_BLOCK;
    for (uint32_t k = 0; k < count; k++) {
        uint32_t callee = add_callee(r, number, at[k]);
        if (callee == NO_BLOCK || r->block_count + 2 > REGION_BLOCKS) /* without who asks, nobody leads there */
            continue;
        uint32_t asks = add_block(r, b, END_GUESS);
        r->blocks[asks].next[0] = (uint8_t)callee;
        r->blocks[asks].far = at[k];
        if (before == NO_BLOCK)
            b->next[0] = (uint8_t)asks;
        else
            r->blocks[before].next[1] = (uint8_t)asks;
        before = asks;
    }
    if (before == NO_BLOCK)
        return;
    uint32_t call = add_block(r, b, END_CALL_INDIRECT);
    r->blocks[before].next[1] = (uint8_t)call;
    r->blocks[call].next[1] = b->next[1];
    r->blocks[call].next_at[1] = b->next_at[1];
    b->end = END_ENTER_GUESSED;
    b->next[1] = NO_BLOCK;
}

void region_take_in(struct Region *r, uint32_t number)
{
    const struct JitBlock *b = &r->blocks[number];
    if (b->next[1] == NO_BLOCK || b->depth == SMALL_DEPTH || b->count == 0)
        return;
    if (b->end == END_CALL)
        take_in(r, number);
    else if (b->end == END_CALL_INDIRECT)
        guess_callees(r, number);
}

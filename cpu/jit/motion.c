/* Which loops may have strips (jit/strip.c), and how far what they hold moves in a turn.
 *
 * A register of a loop of one block is followed through its turns: as what it was when the
 * block began, and a constant or so many steps on.  That tells how a counted loop ends, and
 * which way its addresses take through memory.
 */
#include "jit/emit.h"

/* What a register holds, if that is one as the block found it and a constant. */
struct Motion {
    uint8_t of; /* 32: something else */
    uint8_t step, steps; /* so often this register was added, which nothing in the block writes */
    bool word;           /* sums are words: true as long as none overflows */
    int32_t by;
};

static void still(struct Motion *m)
{
    for (uint32_t k = 0; k < 32; k++)
        m[k] = (struct Motion){.of = (uint8_t)k};
}

/* The register that the instruction adds a constant or, as a word, one that nothing in the block writes to. */
static uint32_t moved_by(const struct JitBlock *b, const struct JitInsn *n, int32_t *by, uint32_t *step, bool *word)
{
    uint32_t from = moved_from(n, by), rs2 = (uint32_t)n->i.imm & 31;
    *step = 0;
    *word = false;
    if (from)
        return from;
    *word = true;
    if (n->i.op == OP_addiw || n->i.op == OP_c_addiw) {
        *by = n->i.imm;
        return n->i.rs1;
    }
    if ((n->i.op != OP_addw && n->i.op != OP_c_addw) || !n->i.rs1 || !rs2)
        return 0;
    bool swapped = !(b->writes >> n->i.rs1 & 1);
    *step = swapped ? n->i.rs1 : rs2;
    return b->writes >> *step & 1 ? 0 : swapped ? rs2 : n->i.rs1;
}

static void move(struct Motion *m, const struct JitBlock *b, const struct JitInsn *n)
{
    int32_t by;
    uint32_t step, writes = (uint32_t)n->writes;
    bool word;
    if (!writes)
        return;
    uint32_t from = moved_by(b, n, &by, &step, &word);
    struct Motion to = {.of = 32}, old = m[from];
    if (from && old.of != 32 && old.by > -(1 << 20) && old.by < 1 << 20 && (!step || !old.steps || old.step == step) && old.steps < 200) {
        to = (struct Motion){.of = old.of, .step = old.step, .steps = old.steps, .word = old.word || word, .by = old.by + by};
        if (step)
            to.step = (uint8_t)step, to.steps++;
    }
    for (; writes; writes &= writes - 1)
        m[__builtin_ctz(writes)] = to;
}

/* The turns that surely go back, by the branch n, whose operands are x and y
 * there and move so in a turn. */
static bool count_turns(struct Strip *s, const struct JitInsn *n, struct Motion x, struct Motion y, const struct Motion *once, bool taken)
{
    static const uint8_t negated[] = {[W_I64_EQ] = W_I64_NE, [W_I64_NE] = W_I64_EQ, [W_I64_LT_S] = W_I64_GE_S,
        [W_I64_GE_S] = W_I64_LT_S, [W_I64_LT_U] = W_I64_GE_U, [W_I64_GE_U] = W_I64_LT_U};
    if (x.of == 32 || y.of == 32 || once[x.of].of != x.of || once[y.of].of != y.of)
        return false;
    switch (n->i.op) {
    case OP_beq: case OP_c_beq: s->relation = W_I64_EQ; break;
    case OP_bne: case OP_c_bne: s->relation = W_I64_NE; break;
    case OP_blt: s->relation = W_I64_LT_S; break;
    case OP_bge: s->relation = W_I64_GE_S; break;
    case OP_bltu: s->relation = W_I64_LT_U; break;
    default: s->relation = W_I64_GE_U; break;
    }
    if (!taken)
        s->relation = negated[s->relation];
    struct Motion a = once[x.of], c = once[y.of];
    if (a.steps + c.steps > 1 || (a.steps + c.steps && (a.by || c.by)) || x.steps > a.steps || y.steps > c.steps)
        return false;
    s->step = a.steps ? a.step : c.steps ? c.step : 0;
    int32_t closer = s->step ? a.steps - c.steps : a.by - c.by; /* x is on its way up to y, a turn */
    bool still_one = !(a.by || a.steps) || !(c.by || c.steps);
    bool less = s->relation == W_I64_LT_S || s->relation == W_I64_LT_U;
    if (s->relation == W_I64_EQ || closer == 0 || closer > 4096 || closer < -4096)
        return false;
    s->words = x.word || y.word || a.word || c.word;
    if (s->relation == W_I64_NE ? s->step || (s->words && !still_one) : !still_one || less != (closer > 0))
        return false;
    s->x = x.of, s->x_by = x.by, s->x_stepped = x.steps;
    s->y = y.of, s->y_by = y.by, s->y_stepped = y.steps;
    s->closer = closer;
    return true;
}

/* Group k's way through the loop: the stream that it belongs to. */
static bool find_stream(struct Emit *e, uint32_t k, const struct Motion *after)
{
    const struct Group *g = &e->groups[k];
    struct Motion m = after[g->value];
    if (m.of == 32 || after[m.of].of != m.of || after[m.of].by > 2048 || after[m.of].by < -2048)
        return false;
    if (m.word || after[m.of].word)
        return false;
    if (m.of == g->value) {
        e->streams[k] = (struct Stream){(uint8_t)k, m.by, g->low, g->high};
        return true;
    }
    for (uint32_t n = 0; n < e->group_count; n++) {
        const struct Group *other = &e->groups[n];
        if (!other->ahead || other->value != m.of || other->indexed || g->indexed || (g->store && !other->store))
            continue;
        e->streams[k] = (struct Stream){(uint8_t)n, after[m.of].by, m.by - after[m.of].by + g->low, m.by - after[m.of].by + g->high};
        return true;
    }
    return false;
}

void plan_strip(struct Emit *e, const struct JitBlock *b)
{
    struct Motion after[32], once[32], x = {.of = 32}, y = {.of = 32};
    struct Strip *s = &e->strip;
    *s = (struct Strip){.possible = false};
    e->paced_count = e->far_count = 0;
    if (!b->itself || (b->end != END_BRANCH && b->end != END_AGAIN) || (e->turns_fp && b->turns == 1))
        return;
    uint32_t branch = b->end == END_AGAIN ? b->middle : b->count - 1u;
    still(after);
    for (uint32_t turn = 0; turn < b->turns; turn++) {
        for (uint32_t k = 0; k < b->count; k++) {
            const struct JitInsn *n = &e->r->insns[b->first + k];
            if (turn == 0 && k == branch) {
                x = after[n->i.rs1 & 31];
                y = after[n->i.rd & 31];
            }
            move(after, b, n);
        }
        if (turn == 0)
            memcpy(once, after, sizeof once);
    }
    bool any = false;
    for (uint32_t k = 0; k < e->group_count; k++) {
        if (!e->groups[k].ahead)
            continue;
        if (!find_stream(e, k, after))
            return;
        any = true;
    }
    for (uint32_t k = 0; k < e->group_count; k++) { /* what others reach in their later turns */
        const struct Stream *of = &e->streams[k];
        if (!e->groups[k].ahead || of->page == k)
            continue;
        struct Stream *to = &e->streams[of->page];
        to->low = of->low < to->low ? of->low : to->low;
        to->high = of->high > to->high ? of->high : to->high;
        if (to->high - to->low > 2048)
            return;
    }
    bool taken = b->end == END_AGAIN ? !b->out_if : b->next[0] != NO_BLOCK && &e->r->blocks[b->next[0]] == b;
    s->counted = count_turns(s, &e->r->insns[b->first + branch], x, y, once, taken);
    e->wide.possible = false;
    if (s->counted)
        plan_paced(e, b);
    s->words |= e->paced_count > 0;
    for (uint32_t k = 0; k < (uint32_t)b->count * b->turns && s->counted; k++) {
        const struct Group *g = e->group_of[k] == GROUPS ? NULL : &e->groups[e->group_of[k]];
        if (g && !g->ahead && g->value < VALUES_MADE && once[g->value].of == g->value && !once[g->value].word)
            note_far(e, k, once[g->value].by);
    }
    s->kept = any;
    s->possible = any || e->paced_count || e->far_count;
    if (any && s->counted && !e->paced_count && !e->far_count && !s->step)
        plan_wide(e, b);
}

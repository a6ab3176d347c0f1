/* Turns of a loop that need no look at anything but their data.
 *
 * A loop of one block that keeps pages (jit/group.c) knows how far each of its
 * addresses moves in a turn, and often how often it goes back.  So at its head
 * it can tell for how many turns all of them stay in their pages, the branch
 * goes back and the fuel lasts.  A strip does these: an inner loop without
 * looks, polls and ways out.  What is left, a page's last bytes and the last
 * turns, is done as ever.  How often a loop goes back that asks for what it
 * reads, nobody knows: its strip comes behind some turns, as it often is short,
 * and keeps its ways out.
 *
 * A strip's turns count down the fuel as all do, so that what leaves from
 * within (floating point that must be exact, an access that looks by itself)
 * is right, and the fuel says when the strip ends.
 */
#include "jit/emit.h"

#define LONGEST 8192 /* instructions of a strip, about: so long may an interrupt wait */
#define LEAST 2      /* times the unrolled turns: what makes a strip worth its preparation */

/* What a register holds, if that is one as the block found it and a constant. */
struct Motion {
    uint8_t of; /* 32: something else */
    int32_t by;
};

static void still(struct Motion *m)
{
    for (uint32_t k = 0; k < 32; k++)
        m[k] = (struct Motion){(uint8_t)k, 0};
}

static void move(struct Motion *m, const struct JitInsn *n)
{
    int32_t by;
    uint32_t from = moved_from(n, &by), writes = (uint32_t)n->writes;
    if (!writes)
        return;
    struct Motion to = {32, 0};
    if (from && m[from].of != 32 && m[from].by > -(1 << 20) && m[from].by < 1 << 20)
        to = (struct Motion){m[from].of, m[from].by + by};
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
    int32_t closer = once[x.of].by - once[y.of].by; /* x is on its way up to y, a turn */
    bool still_one = !once[x.of].by || !once[y.of].by, less = s->relation == W_I64_LT_S || s->relation == W_I64_LT_U;
    if (s->relation == W_I64_EQ || closer == 0 || closer > 4096 || closer < -4096)
        return false;
    if (s->relation != W_I64_NE && (!still_one || less != (closer > 0)))
        return false;
    s->x = x.of, s->x_by = x.by;
    s->y = y.of, s->y_by = y.by;
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
    struct Motion after[32], once[32], x = {32, 0}, y = {32, 0};
    struct Strip *s = &e->strip;
    *s = (struct Strip){.possible = false};
    if (!b->itself || (b->end != END_BRANCH && b->end != END_AGAIN))
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
            move(after, n);
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
    s->possible = any;
    bool taken = b->end == END_AGAIN ? !b->out_if : b->next[0] != NO_BLOCK && &e->r->blocks[b->next[0]] == b;
    s->counted = count_turns(s, &e->r->insns[b->first + branch], x, y, once, taken);
    e->wide.possible = false;
    if (s->possible && s->counted)
        plan_wide(e, b);
}

static void push_moved(struct Emit *e, uint32_t x, int32_t by)
{
    push_x(e, x);
    if (by) {
        push64(e, (uint64_t)(int64_t)by);
        op(e, W_I64_ADD);
    }
}

/* L_PLACE = the i32 on the stack if that is less. */
static void at_most(struct Emit *e)
{
    tee(e, L_EXIT);
    get(e, L_PLACE);
    get(e, L_EXIT);
    get(e, L_PLACE);
    op(e, W_I32_LT_U);
    op(e, W_SELECT);
    set(e, L_PLACE);
}

static void divide(struct Emit *e, uint32_t by)
{
    if (by & (by - 1)) {
        push32(e, by);
        op(e, W_I32_DIV_U);
    } else if (by > 1) {
        push32(e, (uint32_t)__builtin_ctz(by));
        op(e, W_I32_SHR_U);
    }
}

/* L_PLACE = how often the unrolled turns surely go back; out of the innermost block if that isn't worth it. */
static void count_ahead(struct Emit *e, uint32_t turns)
{
    const struct Strip *s = &e->strip;
    uint32_t step = (uint32_t)(s->closer < 0 ? -s->closer : s->closer) * turns;
    bool up = s->closer > 0;
    push_moved(e, s->x, s->x_by);
    set(e, L_VA);
    push_moved(e, s->y, s->y_by);
    set(e, L_D);
    if (s->relation != W_I64_NE) {
        get(e, L_VA);
        get(e, L_D);
        op(e, s->relation);
        op(e, W_I32_EQZ);
        op_u(e, W_BR_IF, 0);
    }
    get(e, up ? L_D : L_VA);
    get(e, up ? L_VA : L_D);
    op(e, W_I64_SUB);
    tee(e, L_D);
    push64(e, LEAST * step);
    op(e, W_I64_LT_U);
    op_u(e, W_BR_IF, 0);
    get(e, L_D);
    push64(e, 0x7fffffff);
    get(e, L_D);
    push64(e, 0x7fffffff);
    op(e, W_I64_LT_U);
    op(e, W_SELECT);
    op(e, W_I32_WRAP);
    divide(e, step);
    at_most(e);
}

/* L_PLACE is no more than how often the group's stream stays in its page. */
static void stay_in_page(struct Emit *e, uint32_t k)
{
    const struct Group *g = &e->groups[k];
    const struct Stream *stream = &e->streams[k];
    const struct Page *p = &e->pages[e->groups[stream->page].page - 1];
    bool own = stream->page == k;
    int32_t low = own ? stream->low : g->low;
    uint32_t last = 4096u - (uint32_t)(own ? stream->high - stream->low : g->high - g->low);
    push_moved(e, g->value, low);
    get(e, p->address);
    op(e, W_I64_SUB);
    tee(e, L_D);
    push64(e, last);
    op(e, W_I64_GT_U);
    op_u(e, W_BR_IF, 0);
    if (!own || !stream->by)
        return;
    if (stream->by > 0)
        push32(e, last);
    get(e, L_D);
    op(e, W_I32_WRAP);
    if (stream->by > 0)
        op(e, W_I32_SUB);
    divide(e, (uint32_t)(stream->by < 0 ? -stream->by : stream->by));
    push32(e, 1);
    op(e, W_I32_ADD);
    at_most(e);
}

static uint32_t delta_of(const struct Emit *e, uint32_t k) { return e->strip_local + 1 + e->groups[k].host - L_HOST; }

/* The locals of the groups' hosts, at the begin of a strip and of each of its bodies. */
static void set_hosts(struct Emit *e, bool begin)
{
    for (uint32_t k = 0; k < e->group_count; k++) {
        const struct Group *g = &e->groups[k];
        if (!g->ahead)
            continue;
        bool still_there = g->indexed || (e->streams[k].page == k && !e->streams[k].by);
        if (begin) {
            const struct Page *p = &e->pages[e->groups[e->streams[k].page].page - 1];
            get(e, p->host);
            get(e, p->address);
            op(e, W_I32_WRAP);
            op(e, W_I32_SUB);
            if (still_there && !g->indexed) {
                push_moved(e, g->value, g->low);
                op(e, W_I32_WRAP);
                op(e, W_I32_ADD);
            }
            set(e, still_there ? g->host : delta_of(e, k));
        } else if (!still_there) {
            push_moved(e, g->value, g->low);
            op(e, W_I32_WRAP);
            get(e, delta_of(e, k));
            op(e, W_I32_ADD);
            set(e, g->host);
        }
    }
}

/* Counts down the fuel by a body, and goes on with the next, in the loop around it, while there is more than in the local. */
static void go_on(struct Emit *e, uint32_t insns, uint32_t limit)
{
    spend(e, insns);
    settle(e);
    get(e, L_FUEL);
    get(e, limit);
    op(e, W_I32_GT_S);
    op_u(e, W_BR_IF, 0);
}

/* The limit of wide bodies: one before the strip's, if there may be any. */
static void set_wide_limit(struct Emit *e, uint32_t insns)
{
    push32(e, 0x7fffffff);
    set(e, e->wide_limit);
    open(e, W_BLOCK, LABEL_NONE);
    check_wide(e);
    get(e, e->strip_local);
    push32(e, insns);
    op(e, W_I32_ADD);
    set(e, e->wide_limit);
    close(e);
}

/* Wide bodies, from behind the strip's first to before its last. */
static void emit_wide_bodies(struct Emit *e, const struct JitBlock *b, uint32_t insns)
{
    spend(e, insns);
    settle(e);
    open(e, W_BLOCK, LABEL_NONE);
    get(e, L_FUEL);
    get(e, e->wide_limit);
    op(e, W_I32_LE_S);
    op_u(e, W_BR_IF, 0);
    open(e, W_LOOP, LABEL_NONE);
    set_hosts(e, false);
    emit_wide(e, b);
    go_on(e, insns, e->wide_limit);
    close(e);
    op_u(e, W_BR, 1);
    close(e);
}

void emit_strip(struct Emit *e, const struct JitBlock *b)
{
    uint32_t insns = (uint32_t)b->turns * b->count, limit = e->strip_local;
    open(e, W_BLOCK, LABEL_NONE);
    push32(e, LONGEST / insns + 1);
    set(e, L_PLACE);
    if (e->strip.counted)
        count_ahead(e, b->turns);
    for (uint32_t k = 0; k < e->group_count; k++)
        if (e->groups[k].ahead)
            stay_in_page(e, k);
    get(e, L_FUEL);
    divide(e, insns);
    at_most(e);
    get(e, L_PLACE);
    push32(e, LEAST);
    op(e, W_I32_LT_U);
    op_u(e, W_BR_IF, 0);
    get(e, L_FUEL);
    get(e, L_PLACE);
    push32(e, insns);
    op(e, W_I32_MUL);
    op(e, W_I32_SUB);
    tee(e, limit);
    push32(e, 0);
    op(e, W_I32_LT_S);
    op_u(e, W_BR_IF, 0); /* there was none before */
    set_hosts(e, true);
    if (e->wide.possible)
        set_wide_limit(e, insns);
    open(e, W_LOOP, LABEL_NONE);
    set_hosts(e, false);
    e->surely_back = e->strip.counted;
    emit_insns(e, b, e->turns_fp ? FP_EASY : FP_UNKNOWN, b->turns);
    if (!e->strip.counted && b->end == END_BRANCH)
        emit_between(e, b);
    e->surely_back = false;
    if (e->wide.possible) {
        emit_wide_bodies(e, b, insns);
        insns = 0;
    }
    go_on(e, insns, limit);
    close(e);
    emit_again(e, b);
    close(e);
    e->turn = 0;
}

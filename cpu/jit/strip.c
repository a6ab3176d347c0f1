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

static void push_moved(struct Emit *e, uint32_t x, int32_t by)
{
    push_x(e, x);
    if (by) {
        push64(e, (uint64_t)(int64_t)by);
        op(e, W_I64_ADD);
    }
}

void at_most(struct Emit *e, uint32_t local)
{
    tee(e, L_EXIT);
    get(e, local);
    get(e, L_EXIT);
    get(e, local);
    op(e, W_I32_LT_U);
    op(e, W_SELECT);
    set(e, local);
}

void divide(struct Emit *e, uint32_t by)
{
    if (by & (by - 1)) {
        push32(e, by);
        op(e, W_I32_DIV_U);
    } else if (by > 1) {
        push32(e, (uint32_t)__builtin_ctz(by));
        op(e, W_I32_SHR_U);
    }
}

static uint32_t most_of(const struct Emit *e) { return e->strip_local + STRIP_LOCALS - 3; }
static uint32_t step_of(const struct Emit *e) { return e->strip_local + STRIP_LOCALS - 4; }

void push_step(struct Emit *e)
{
    if (e->strip.step)
        get(e, step_of(e));
    else
        push32(e, (uint32_t)(e->strip.closer < 0 ? -e->strip.closer : e->strip.closer));
}

#define STEPS 4096    /* by as much what is counted may move in a turn */
#define MARGIN (1 << 20) /* and so far from where words overflow it must be */

/* i64: the counted register and how far it is from that at the branch. */
static void push_counted(struct Emit *e, uint32_t x, int32_t by, bool stepped)
{
    push_moved(e, x, by);
    if (!stepped)
        return;
    push_x(e, e->strip.step);
    op(e, W_I64_ADD);
}

static void leave_if_no_word(struct Emit *e, uint32_t local)
{
    get(e, local);
    push64(e, (1ull << 31) - MARGIN);
    op(e, W_I64_ADD);
    push64(e, (1ull << 32) - 2 * MARGIN);
    op(e, W_I64_GT_U);
    op_u(e, W_BR_IF, 0);
}

/* Leaves the i64 where it is; out of the innermost block if a word has that far to go
 * only around the end of its range. */
static void leave_if_past(struct Emit *e)
{
    tee(e, L_D);
    push64(e, 1ull << 32);
    op(e, W_I64_GT_U);
    op_u(e, W_BR_IF, 0);
    get(e, L_D);
}

/* The step that is a register's; out of the innermost block if that is not a small one. */
static void find_step(struct Emit *e)
{
    push_x(e, e->strip.step);
    push64(e, 1);
    op(e, W_I64_SUB);
    push64(e, STEPS);
    op(e, W_I64_GE_U);
    op_u(e, W_BR_IF, 0);
    push_x(e, e->strip.step);
    op(e, W_I32_WRAP);
    set(e, step_of(e));
}

/* i64: LEAST times what the unrolled turns move by. */
static void push_least(struct Emit *e, uint32_t turns)
{
    if (e->strip.step) {
        push_x(e, e->strip.step);
        push64(e, LEAST * turns);
        op(e, W_I64_MUL);
    } else {
        push64(e, LEAST * (uint32_t)(e->strip.closer < 0 ? -e->strip.closer : e->strip.closer) * turns);
    }
}

/* L_PLACE = how often the unrolled turns surely go back; out of the innermost block if that isn't worth it. */
static void count_ahead(struct Emit *e, uint32_t turns)
{
    const struct Strip *s = &e->strip;
    bool up = s->closer > 0;
    if (s->step)
        find_step(e);
    push_counted(e, s->x, s->x_by, s->x_stepped);
    set(e, L_VA);
    push_counted(e, s->y, s->y_by, s->y_stepped);
    set(e, L_D);
    if (s->words) {
        leave_if_no_word(e, L_VA);
        leave_if_no_word(e, L_D);
    }
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
    if (s->words && s->relation == W_I64_NE)
        leave_if_past(e);
    if (e->block->end == END_BRANCH) { /* the last turn need not go back: it asks */
        s->step ? push_x(e, s->step) : push64(e, (uint32_t)(up ? s->closer : -s->closer));
        op(e, W_I64_ADD);
    }
    tee(e, L_D);
    push_least(e, turns);
    op(e, W_I64_LT_U);
    op_u(e, W_BR_IF, 0);
    get(e, L_D);
    push64(e, 0x7fffffff);
    get(e, L_D);
    push64(e, 0x7fffffff);
    op(e, W_I64_LT_U);
    op(e, W_SELECT);
    op(e, W_I32_WRAP);
    if (e->paced_count) {
        set(e, most_of(e));
        get(e, L_PLACE);
        push32(e, turns);
        op(e, W_I32_MUL);
        push_step(e);
        op(e, W_I32_MUL);
        at_most(e, most_of(e));
        look_up_paced(e, most_of(e));
        get(e, most_of(e));
    }
    if (s->step) {
        get(e, step_of(e));
        push32(e, turns);
        op(e, W_I32_MUL);
        op(e, W_I32_DIV_U);
    } else {
        divide(e, (uint32_t)(s->closer < 0 ? -s->closer : s->closer) * turns);
    }
    at_most(e, L_PLACE);
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
    at_most(e, L_PLACE);
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

static void emit_one(struct Emit *e, const struct JitBlock *b)
{
    uint32_t turns = e->paced_count && b->turns > 4 ? 4 : b->turns, insns = turns * b->count, limit = e->strip_local;
    open(e, W_BLOCK, LABEL_NONE);
    if (e->far_count)
        begin_far(e);
    push32(e, LONGEST / insns + 1);
    set(e, L_PLACE);
    if (e->strip.counted)
        count_ahead(e, turns);
    for (uint32_t k = 0; k < e->group_count; k++)
        if (e->groups[k].ahead)
            stay_in_page(e, k);
    get(e, L_FUEL);
    divide(e, insns);
    at_most(e, L_PLACE);
    look_up_far(e, turns);
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
    if (e->far_count)
        end_far(e);
    set_hosts(e, true);
    if (e->wide.possible)
        set_wide_limit(e, insns);
    open(e, W_LOOP, LABEL_NONE);
    set_hosts(e, false);
    e->surely_back = e->strip.counted;
    e->pacing = e->paced_count || e->far_count;
    emit_insns(e, b, e->turns_fp ? FP_EASY : FP_UNKNOWN, turns);
    if (!e->strip.counted && b->end == END_BRANCH)
        emit_between(e, b);
    e->surely_back = e->pacing = false;
    if (e->wide.possible) {
        emit_wide_bodies(e, b, insns);
        insns = 0;
    }
    go_on(e, insns, limit);
    close(e);
    if (e->strip.counted && b->end == END_BRANCH)
        emit_last(e, b);
    else
        emit_again(e, b);
    close(e);
    e->turn = 0;
}

void emit_strip(struct Emit *e, const struct JitBlock *b)
{
    emit_one(e, b);
    if (!e->far_count || !e->strip.kept)
        return;
    e->far_count = 0; /* where its pages are scattered, they are looked up in each turn */
    emit_one(e, b);
}

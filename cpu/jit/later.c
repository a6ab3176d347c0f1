/* Results of floating point that are checked several at once.
 *
 * Where the hart is known to round to nearest with NX set (FP_EASY), the
 * engine's sum is exact unless it is infinite or not a number, and its product
 * unless it is that or tiny (jit/fp.c).  Asking each result costs more than
 * computing it.  So a run of instructions is done without asking, and asked for
 * as a whole before anybody can see it: before a store, on a way out, at the
 * block's end.
 *
 * An infinity or a NaN goes on into whatever is computed of it, through a
 * division as a quotient that is tiny, so only those results are asked for that
 * nothing was computed of: their sum must be finite.  Products are collected
 * for the least of them.
 *
 * Where the answer is bad, the run is done again from what it began with,
 * each result asked for.  Nobody has seen the first attempt: it stored nothing.
 */
#include "jit/emit.h"

#include "fp/fp.h"

enum { F64_ADD = 0xa0 };
enum { SHUFFLE = 0x0d, SPLAT_F64 = 0x14, LANE_F64 = 0x21, REPLACE_LANE_F64 = 0x22, ADD_I32 = 0xae, MIN_U_I32 = 0xb7 }; /* behind W_SIMD */

#define AGAIN 160     /* instructions that a block's code may hold once more */
#define SMALL 512      /* exponent field of 2^-511: the product of two that are no smaller is not tiny */
#define SMALL_SHIFT 62 /* of bits without their sign, doubled: 0 if they are smaller */

static uint32_t least(const struct Emit *e) { return e->later_local; }
static uint32_t pair(const struct Emit *e) { return e->later_local + 1; }
static uint32_t odd(const struct Emit *e) { return e->later_local + 2; }
static uint32_t sum(const struct Emit *e) { return e->later_local + 3; }
static uint32_t kept(const struct Emit *e, uint32_t k, bool real) { return e->later_local + 4 + (real ? 0 : LATER_KEPT) + k; }

static void simd(struct Emit *e, uint32_t code)
{
    op(e, W_SIMD);
    put_u(&e->out, code);
}

void later_locals(struct Emit *e)
{
    put_u(&e->out, 2), put(&e->out, W_TYPE_V128);
    put_u(&e->out, 2 + LATER_KEPT), put(&e->out, W_TYPE_F64);
    put_u(&e->out, LATER_KEPT), put(&e->out, W_TYPE_I64);
}

void later_begin(struct Emit *e, bool allowed) { e->later = (struct Later){.allowed = allowed && e->later_planned, .room = AGAIN}; }

static bool is_exact_conversion(const struct JitInsn *n) { return n->i.op == OP_fcvt_d_w || n->i.op == OP_fcvt_d_wu; }

/* May its result be asked for later? */
static bool may_be_later(const struct JitInsn *n)
{
    uint32_t rm = (uint32_t)n->i.imm >> 10 & 7;
    switch (n->i.op) {
    case OP_feq_d: case OP_flt_d: case OP_fle_d: case OP_fmin_d: case OP_fmax_d:
        return true;
    case OP_fadd_d: case OP_fsub_d: case OP_fmul_d: case OP_fdiv_d: case OP_fsqrt_d:
        return rm == FP_ROUND_RNE || rm == 7;
    case OP_fmadd_d: case OP_fmsub_d: case OP_fnmsub_d: case OP_fnmadd_d:
        return (rm == FP_ROUND_RNE || rm == 7) && MACHINE->jit.features & JIT_FUSED;
    default:
        return false;
    }
}

/* May it be done while there are results that nobody asked for? */
static bool may_be_between(const struct JitInsn *n)
{
    return may_be_later(n) || is_exact_conversion(n) || n->kind == KIND_ASSIGN || n->kind == KIND_LOAD || n->kind == KIND_FLOAD ||
           n->kind == KIND_CALL;
}

static uint32_t span(const struct Emit *e) { return step(e) - e->later.from; }

/* Can a load leave in its middle?  Then the results must be asked for there, too. */
static uint32_t ways_out(const struct Emit *e, const struct JitInsn *n)
{
    if (n->kind != KIND_LOAD && n->kind != KIND_FLOAD)
        return 0;
    uint32_t g = e->group_of[step(e)];
    return (g != GROUPS && e->groups[g].ahead) || placed(e) ? 0 : 2;
}

static void add_to_sum(struct Emit *e, uint32_t f)
{
    get(e, e->local[32 + f]);
    if (e->later.summed) {
        get(e, sum(e));
        op(e, F64_ADD);
    }
    set(e, sum(e));
    e->later.summed = true;
}

/* f is about to become something else. */
static void close_result(struct Emit *e, uint32_t f)
{
    if (!(e->later.open >> f & 1))
        return;
    add_to_sum(e, f);
    e->later.open &= ~(1u << f);
}

/* Keeps what the run began with of the registers that n writes, if it reads
 * them when it is done again; false when there is no room for that. */
static bool keep(struct Emit *e, const struct JitInsn *n)
{
    struct Later *l = &e->later;
    RegSet lost = n->writes & (l->read | n->reads) & ~l->written;
    for (; lost; lost &= lost - 1) {
        uint32_t r = (uint32_t)__builtin_ctzll(lost), real = r >= 32;
        if (l->kept_count[real] == LATER_KEPT)
            return false;
        l->kept[real][l->kept_count[real]] = (uint8_t)r;
        get(e, e->local[r]);
        set(e, kept(e, l->kept_count[real]++, real));
    }
    l->read |= n->reads & ~l->written;
    l->written |= n->writes;
    return true;
}

static void begin_run(struct Emit *e)
{
    e->later = (struct Later){.allowed = true, .on = true, .from = (uint16_t)step(e), .room = e->later.room};
}

void later_before(struct Emit *e, const struct JitInsn *n)
{
    struct Later *l = &e->later;
    if (!l->allowed)
        return;
    if (l->on && (!may_be_between(n) || ways_out(e, n) * span(e) + span(e) > l->room))
        later_check(e);
    if (!l->on && may_be_later(n))
        begin_run(e);
    if (!l->on)
        return;
    if (!keep(e, n)) {
        later_check(e);
        if (!may_be_later(n))
            return;
        begin_run(e);
        keep(e, n); /* one register */
    }
    if (!may_be_later(n) && n->writes >> 32) {
        close_result(e, (uint32_t)__builtin_ctzll(n->writes >> 32));
        l->bounded &= ~(uint32_t)(n->writes >> 32);
    }
}

#define NO_F 32

/* Makes the odd product, and that in f, part of the least: of the upper halves
 * of numbers without their signs, as unsigned words. */
static void collect(struct Emit *e, uint32_t f)
{
    get(e, odd(e));
    simd(e, SPLAT_F64);
    if (f != NO_F) {
        get(e, e->local[32 + f]);
        simd(e, REPLACE_LANE_F64), put(&e->out, 1);
    }
    tee(e, pair(e));
    get(e, pair(e));
    simd(e, ADD_I32);
    if (e->later.collected) {
        get(e, least(e));
        simd(e, MIN_U_I32);
    }
    set(e, least(e));
    e->later.collected = true;
}

bool later_result(struct Emit *e, const struct JitInsn *n, bool finite_only)
{
    struct Later *l = &e->later;
    if (!l->allowed || !l->on)
        return false;
    uint32_t reads = (uint32_t)(n->reads >> 32), result = 1u << n->i.rd;
    bool product = n->i.op == OP_fmul_d && !(reads & ~l->bounded);
    l->open &= ~reads;
    close_result(e, n->i.rd);
    set(e, e->local[32 + n->i.rd]);
    l->open |= result;
    l->bounded &= ~result;
    l->results++;
    if (finite_only || product)
        return true;
    l->bounded |= result;
    if (l->odd) {
        collect(e, n->i.rd);
        l->odd = false;
    } else {
        get(e, e->local[32 + n->i.rd]);
        set(e, odd(e));
        l->odd = true;
    }
    return true;
}

bool later_numbers(struct Emit *e, const struct JitInsn *n)
{
    if (!e->later.allowed || !e->later.on)
        return false;
    for (uint32_t reads = (uint32_t)(n->reads >> 32); reads; reads &= reads - 1)
        if (!(e->later.open >> __builtin_ctz(reads) & 1))
            add_to_sum(e, (uint32_t)__builtin_ctz(reads));
    if (n->writes >> 32)
        close_result(e, n->i.rd);
    e->later.bounded &= ~(uint32_t)(n->writes >> 32);
    return true;
}

/* --- the question ---------------------------------------------------------------------- */

/* The sum of `count` locals. */
static void push_sum_of(struct Emit *e, const uint32_t *locals, uint32_t count)
{
    if (count == 1) {
        get(e, locals[0]);
        return;
    }
    push_sum_of(e, locals, count / 2);
    push_sum_of(e, locals + count / 2, count - count / 2);
    op(e, F64_ADD);
}

static void leave_if_bad(struct Emit *e)
{
    hint_unlikely(e);
    op_u(e, W_BR_IF, 0);
}

/* Leaves for the innermost label if the run's results are not all what they should be. */
static void ask(struct Emit *e)
{
    struct Later *l = &e->later;
    uint32_t locals[33], count = 0;
    if (l->summed)
        locals[count++] = sum(e);
    for (uint32_t open = l->open; open; open &= open - 1)
        locals[count++] = e->local[32 + __builtin_ctz(open)];
    bool alone = l->odd && l->results == 1 && count == 1;
    if (count) {
        push_sum_of(e, locals, count);
        set(e, e->float_temp);
        push_exponent_not(e, alone ? 2 : 0, alone ? 0x7fd : 0x7ff);
        leave_if_bad(e);
    }
    if (l->odd && !l->collected && !alone) {
        get(e, odd(e));
        set(e, e->float_temp);
        push_exponent_not(e, SMALL, 0x7ff - SMALL);
        leave_if_bad(e);
        return;
    }
    if (l->odd && !alone)
        collect(e, NO_F);
    if (!l->collected)
        return;
    get(e, least(e));
    get(e, least(e));
    get(e, least(e));
    simd(e, SHUFFLE);
    for (uint32_t k = 0; k < 16; k++)
        put(&e->out, (k + 8) & 15);
    simd(e, MIN_U_I32);
    simd(e, LANE_F64), put(&e->out, 0);
    op(e, W_I64_FROM_F64);
    push64(e, SMALL_SHIFT);
    op(e, W_I64_SHR_U);
    op(e, W_I64_EQZ);
    leave_if_bad(e);
}

static void do_again(struct Emit *e, uint32_t from, uint32_t to)
{
    const struct JitBlock *b = e->block;
    uint32_t k = e->k, turn = e->turn;
    for (uint32_t n = from; n < to;) {
        e->turn = n / b->count;
        e->k = n % b->count;
        n += emit_next(e, b);
    }
    e->k = k;
    e->turn = turn;
}

void later_check_aside(struct Emit *e)
{
    if (!e->later.on)
        return;
    struct Later before = e->later;
    open(e, W_BLOCK, LABEL_NONE);
    open(e, W_BLOCK, LABEL_NONE);
    ask(e);
    op_u(e, W_BR, 1);
    close(e);
    uint32_t hints = e->hint_count;
    for (uint32_t real = 0; real < 2; real++)
        for (uint32_t k = 0; k < before.kept_count[real]; k++) {
            get(e, kept(e, k, real));
            set(e, e->local[before.kept[real][k]]);
        }
    e->later = (struct Later){.allowed = false};
    do_again(e, before.from, step(e));
    close(e);
    e->hint_count = hints; /* all of it is unlikely */
    e->later = before;
    e->later.room -= span(e) < e->later.room ? (uint16_t)span(e) : e->later.room;
}

void later_check(struct Emit *e)
{
    later_check_aside(e);
    e->later.on = false;
}

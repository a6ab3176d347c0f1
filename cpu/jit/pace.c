/* Accesses by an index that is a word, in strips (jit/strip.c).
 *
 * A compiler for RV64 makes an index of 32 bits anew in each turn: the word that
 * counts is extended, shifted and added to where the array is. And it may move
 * by a register, as in a sieve. If that word is what the loop's turns are counted by, all
 * of its values in a strip are known not to overflow, so the addresses move by a
 * distance that is the same in each turn. They are looked up at the strip's head, and
 * tell, too, for how many turns they stay in their pages.
 */
#include "jit/emit.h"

enum { OTHER, INDEX, HIGH, SCALED, SUM };

/* What a register holds: the index, so many steps and bytes on; that shifted, added to a register that nothing writes. */
struct Value {
    uint8_t kind, shift, base;
    bool stepped;
    int32_t by, offset;
};

static bool moves(const struct Emit *e, const struct JitBlock *b, uint32_t r)
{
    return r && b->writes >> r & 1 && (e->strip.x == r || e->strip.y == r);
}

static uint32_t index_of(const struct Emit *e, const struct JitBlock *b) { return moves(e, b, e->strip.x) ? e->strip.x : e->strip.y; }

static struct Value sum_of(const struct JitBlock *b, const struct Value *value, uint32_t base, uint32_t index)
{
    struct Value v = value[index];
    if (!base || b->writes >> base & 1 || (v.kind != INDEX && v.kind != SCALED))
        return (struct Value){.kind = OTHER};
    v.kind = SUM;
    v.base = (uint8_t)base;
    return v;
}

static struct Value made_by(const struct Emit *e, const struct JitBlock *b, const struct Value *value, const struct JitInsn *n)
{
    struct Value v = value[n->i.rs1 & 31];
    uint32_t rs2 = (uint32_t)n->i.imm & 31;
    switch (n->i.op) {
    case OP_addi: case OP_c_addi:
        *(v.kind == SUM ? &v.offset : &v.by) += n->i.imm;
        v.kind = v.kind == SUM || v.kind == INDEX ? v.kind : OTHER;
        return v;
    case OP_addiw: case OP_c_addiw:
        v.by += n->i.imm;
        v.kind = v.kind == INDEX ? INDEX : OTHER;
        return v;
    case OP_addw: case OP_c_addw: {
        uint32_t index = rs2 == e->strip.step ? n->i.rs1 : rs2;
        v = value[index];
        if (!e->strip.step || (n->i.rs1 != e->strip.step && rs2 != e->strip.step) || v.kind != INDEX || v.stepped)
            v.kind = OTHER;
        v.stepped = true;
        return v;
    }
    case OP_slli: case OP_c_slli:
        if (v.kind == INDEX && n->i.imm == 32) {
            v.kind = HIGH;
        } else if ((v.kind == INDEX || v.kind == SCALED) && v.shift + n->i.imm < 4) {
            v.kind = SCALED;
            v.shift += (uint8_t)n->i.imm;
        } else {
            v.kind = OTHER;
        }
        return v;
    case OP_srli: case OP_c_srli:
        v.shift = (uint8_t)(32 - n->i.imm);
        v.kind = v.kind == HIGH && n->i.imm > 28 && n->i.imm <= 32 ? SCALED : OTHER;
        return v;
    case OP_add: case OP_c_add:
        if (!n->i.rs1)
            return value[rs2];
        v = sum_of(b, value, n->i.rs1, rs2);
        return v.kind == SUM ? v : sum_of(b, value, rs2, n->i.rs1);
    default:
        return (struct Value){.kind = OTHER};
    }
}

static void note(struct Emit *e, const struct JitInsn *n, uint32_t k, struct Value v)
{
    if (v.kind != SUM || v.shift > 3)
        return;
    uint32_t host = L_HOST;
    for (uint32_t g = 0; g < e->group_count; g++)
        if (e->groups[g].host >= host)
            host = e->groups[g].host + 1u;
    host += e->paced_count;
    if (host >= L_HOST + GROUP_HOSTS || e->paced_count == PACED)
        return;
    e->paced[e->paced_count++] = (struct Paced){
        .k = (uint16_t)k, .base = v.base, .shift = v.shift, .host = (uint8_t)host, .bytes = (uint8_t)access_bytes(n->i.op),
        .store = n->kind == KIND_STORE || n->kind == KIND_FSTORE, .stepped = v.stepped, .by = v.by, .offset = v.offset + n->i.imm};
}

static const struct Paced *paced_at(const struct Emit *e, uint32_t k)
{
    for (uint32_t n = 0; n < e->paced_count; n++)
        if (e->paced[n].k == k)
            return &e->paced[n];
    return NULL;
}

/* Are the accesses of each group all such, or none?  The group's first one looks for all.  In a loop that begins
 * behind where its address is made, an access of the turn before is in it. */
static bool whole_groups(const struct Emit *e, const struct JitBlock *b)
{
    uint32_t some = 0, others = 0;
    for (uint32_t k = 0; k < (uint32_t)b->count * b->turns; k++)
        if (e->group_of[k] != GROUPS)
            *(paced_at(e, k % b->count) ? &some : &others) |= 1u << e->group_of[k];
    return !(some & others);
}

void plan_paced(struct Emit *e, const struct JitBlock *b)
{
    struct Value value[32] = {{.kind = OTHER}};
    uint32_t index = index_of(e, b);
    bool up = e->strip.x == index ? e->strip.closer > 0 : e->strip.closer < 0;
    if (!b->tight || !up || !moves(e, b, index))
        return;
    for (uint32_t k = 0; k < b->count; k++)
        if (needs_easy_fp(&e->r->insns[b->first + k]))
            return; /* what is done again must find the addresses that it found at first */
    value[index] = (struct Value){.kind = INDEX};
    for (uint32_t k = 0; k < b->count; k++) {
        const struct JitInsn *n = &e->r->insns[b->first + k];
        bool access = n->kind == KIND_LOAD || n->kind == KIND_STORE || n->kind == KIND_FLOAD || n->kind == KIND_FSTORE;
        if (access && n->i.rs1 && !(e->group_of[k] != GROUPS && e->groups[e->group_of[k]].ahead))
            note(e, n, k, value[n->i.rs1]);
        struct Value made = access ? (struct Value){.kind = OTHER} : made_by(e, b, value, n);
        for (uint32_t writes = (uint32_t)n->writes; writes; writes &= writes - 1)
            value[__builtin_ctz(writes)] = made;
    }
    if (!whole_groups(e, b))
        e->paced_count = 0;
}

/* L_D = the index as the access finds it in the strip's first turn; out of the innermost block if it is negative. */
static void find_index(struct Emit *e, const struct Paced *p, uint32_t index)
{
    push_sum(e, index, p->by);
    if (p->stepped) {
        push_x(e, e->strip.step);
        op(e, W_I64_ADD);
    }
    tee(e, L_D);
    push64(e, 0);
    op(e, W_I64_LT_S);
    op_u(e, W_BR_IF, 0);
}

static uint32_t room_of(const struct Emit *e) { return e->strip_local + STRIP_LOCALS - 5; }
static uint32_t wanted_of(const struct Emit *e) { return e->strip_local + STRIP_LOCALS - 6; }
static uint32_t delta_of(const struct Emit *e, uint32_t far) { return e->strip_local + 1 + GROUP_HOSTS + INDEXES + far; }

/* L_D = D of the address on the stack, L_VA; out of the innermost block if it is no hit. */
static void look_up(struct Emit *e, bool store)
{
    push_entry(e, store);
    tee(e, L_D);
    push64(e, e->r->h->tlb_hit);
    op(e, W_I64_AND);
    push64(e, 0);
    op(e, W_I64_NE);
    op_u(e, W_BR_IF, 0);
}

/* The room: bytes from L_VA, which is at L_D, to its page's end, and on, while
 * fewer than are wanted, to the ends of pages that follow each other in memory, too. */
static void measure_room(struct Emit *e, bool store)
{
    push32(e, 4096);
    get(e, L_VA);
    op(e, W_I32_WRAP);
    push32(e, 0xfff);
    op(e, W_I32_AND);
    op(e, W_I32_SUB);
    set(e, room_of(e));
    open(e, W_BLOCK, LABEL_NONE);
    get(e, room_of(e));
    get(e, wanted_of(e));
    op(e, W_I32_GE_U);
    op_u(e, W_BR_IF, 0);
    open(e, W_LOOP, LABEL_NONE);
    get(e, L_D);
    push64(e, 4096);
    op(e, W_I64_ADD);
    tee(e, L_D);
    get(e, L_VA);
    push64(e, 4096);
    op(e, W_I64_ADD);
    push_entry(e, store);
    op(e, W_I64_XOR); /* of the offsets in RAM that it is and that it should be */
    get(e, L_D);
    push64(e, e->r->h->tlb_hit);
    op(e, W_I64_AND);
    op(e, W_I64_OR);
    push64(e, 0);
    op(e, W_I64_NE);
    op_u(e, W_BR_IF, 1);
    get(e, room_of(e));
    push32(e, 4096);
    op(e, W_I32_ADD);
    tee(e, room_of(e));
    get(e, wanted_of(e));
    op(e, W_I32_LT_U);
    op_u(e, W_BR_IF, 0);
    close(e);
    close(e);
}

/* i32: the room less what the last access takes; out of the innermost block where there isn't so much. */
static void push_measured(struct Emit *e, bool store, uint32_t bytes)
{
    push32(e, bytes);
    op(e, W_I32_ADD);
    set(e, wanted_of(e));
    measure_room(e, store);
    get(e, room_of(e));
    push32(e, bytes);
    op(e, W_I32_SUB);
    tee(e, L_EXIT);
    push32(e, 0);
    op(e, W_I32_LT_S);
    op_u(e, W_BR_IF, 0);
    get(e, L_EXIT);
}

static void push_room(struct Emit *e, bool store, uint32_t by, uint32_t bytes)
{
    get(e, L_PLACE);
    push32(e, by);
    op(e, W_I32_MUL);
    push_measured(e, store, bytes);
}

/* --- indexes ----------------------------------------------------------------------------- */

static void push_address(struct Emit *e, const struct Paced *p)
{
    get(e, L_D);
    if (p->shift) {
        push64(e, p->shift);
        op(e, W_I64_SHL);
    }
    push_x(e, p->base);
    op(e, W_I64_ADD);
    if (p->offset) {
        push64(e, (uint64_t)(int64_t)p->offset);
        op(e, W_I64_ADD);
    }
}

/* `most` is no more than the index's steps to where it leaves such memory. */
static void stay(struct Emit *e, const struct Paced *p, uint32_t most)
{
    get(e, most);
    push32(e, p->shift);
    op(e, W_I32_SHL);
    push_measured(e, p->store, p->bytes);
    push32(e, p->shift);
    op(e, W_I32_SHR_U);
    push_step(e);
    op(e, W_I32_ADD);
    at_most(e, most);
}

void look_up_paced(struct Emit *e, uint32_t most)
{
    for (uint32_t k = 0; k < e->paced_count; k++) {
        const struct Paced *p = &e->paced[k];
        find_index(e, p, index_of(e, e->block));
        push_address(e, p);
        look_up(e, p->store);
        get(e, L_D);
        op(e, W_I32_WRAP);
        set(e, p->host);
        stay(e, p, most);
    }
}

/* --- pointers ---------------------------------------------------------------------------- */

#define FARTHEST 4096 /* bytes that a pointer may move in a turn */

void note_far(struct Emit *e, uint32_t k, int32_t by)
{
    const struct JitInsn *n = &e->r->insns[e->block->first + k % e->block->count];
    const struct Group *g = &e->groups[e->group_of[k]];
    int32_t low = e->offset_of[k] - by * (int32_t)(k / e->block->count), high = low + (int32_t)access_bytes(n->i.op);
    bool store = n->kind == KIND_STORE || n->kind == KIND_FSTORE;
    if (by <= 0 || by > FARTHEST || g->indexed || g->framed || !e->block->tight)
        return;
    for (uint32_t f = 0; f < e->far_count; f++) {
        struct Far *far = &e->far[f];
        if (far->value != g->value)
            continue;
        far->store |= store;
        far->low = low < far->low ? low : far->low;
        far->high = high > far->high ? high : far->high;
        return;
    }
    if (e->far_count < FAR)
        e->far[e->far_count++] = (struct Far){(uint8_t)g->value, store, by, low, high};
}

#define TRIES 8 /* of 256 times, where pages do not follow each other in memory */
#define SCATTERED ((uint32_t)(offsetof(struct JitHart, scattered) - offsetof(struct JitHart, jump)))

void begin_far(struct Emit *e)
{
    LOAD_HART(e, W_I32_LOAD, 2, jit_jumps);
    LOAD_HART(e, W_I32_LOAD, 2, jit_jumps);
    access(e, W_I32_LOAD, 2, SCATTERED);
    tee(e, L_EXIT);
    push32(e, 1);
    op(e, W_I32_ADD);
    access(e, W_I32_STORE, 2, SCATTERED);
    get(e, L_EXIT);
    push32(e, 0xff);
    op(e, W_I32_AND);
    push32(e, TRIES);
    op(e, W_I32_GE_U);
    op_u(e, W_BR_IF, 0);
}

void end_far(struct Emit *e)
{
    LOAD_HART(e, W_I32_LOAD, 2, jit_jumps);
    push32(e, 0);
    access(e, W_I32_STORE, 2, SCATTERED);
}

void look_up_far(struct Emit *e, uint32_t turns)
{
    for (uint32_t f = 0; f < e->far_count; f++) {
        const struct Far *far = &e->far[f];
        uint32_t bytes = (uint32_t)(far->high - far->low), step = (uint32_t)far->by;
        push_sum(e, far->value, far->low);
        look_up(e, far->store);
        get(e, L_D);
        op(e, W_I32_WRAP);
        get(e, L_VA);
        op(e, W_I32_WRAP);
        op(e, W_I32_SUB);
        set(e, delta_of(e, f));
        push_room(e, far->store, turns * step, bytes);
        push32(e, step);
        op(e, W_I32_ADD);
        divide(e, turns * step);
        at_most(e, L_PLACE);
    }
}

/* Which of the registers is the access's? */
static uint32_t far_now(const struct Emit *e)
{
    uint32_t g = e->group_of[step(e)];
    for (uint32_t f = 0; f < e->far_count; f++)
        if (g != GROUPS && e->groups[g].value == e->far[f].value && !e->groups[g].ahead && !e->groups[g].indexed)
            return f;
    return FAR;
}

bool placed(const struct Emit *e) { return e->pacing && (paced_at(e, e->k) || far_now(e) != FAR); }

bool push_paced(struct Emit *e, const struct JitInsn *n)
{
    const struct Paced *p = paced_at(e, e->k);
    uint32_t far = far_now(e);
    if (!p && far == FAR)
        return false;
    if (!p) {
        push_sum(e, n->i.rs1, n->i.imm);
        op(e, W_I32_WRAP);
        get(e, delta_of(e, far));
        op(e, W_I32_ADD);
        return true;
    }
    get(e, p->host);
    get(e, p->host);
    push_step(e);
    if (p->shift) {
        push32(e, p->shift);
        op(e, W_I32_SHL);
    }
    op(e, W_I32_ADD);
    set(e, p->host);
    return true;
}

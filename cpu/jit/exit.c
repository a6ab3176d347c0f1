/* Registers in locals, and the ways out of a region.
 *
 * An exit stores what is dirty and gives back a pc.  Those that store the same
 * set in the same way share a stub behind the region's body.
 */
#include "jit/emit.h"

/* --- registers ---------------------------------------------------------------- */

void push_x(struct Emit *e, uint32_t r)
{
    if (r == 0)
        push64(e, 0);
    else
        get(e, e->local[r]);
}

void set_x(struct Emit *e, uint32_t r)
{
    if (r == 32)
        op(e, W_DROP);
    else
        set(e, e->local[r]);
}

void push_f_bits(struct Emit *e, uint32_t f)
{
    get(e, e->local[32 + f]);
    op(e, W_I64_FROM_F64);
}

void set_f_bits(struct Emit *e, uint32_t f)
{
    op(e, W_F64_FROM_I64);
    set(e, e->local[32 + f]);
}

void push_window(struct Emit *e, int32_t at)
{
    get(e, L_BASE);
    if (at != 4096) {
        push64(e, (uint64_t)(int64_t)(at - 4096));
        op(e, W_I64_ADD);
    }
}

void push_pc(struct Emit *e) { push_window(e, e->r->insns[e->block->first + e->k].at); }

static uint32_t state_offset(uint32_t r)
{
    return r < 32 ? (uint32_t)offsetof(struct Hart, x) + 8 * r : (uint32_t)offsetof(struct Hart, f) + 8 * (r - 32);
}

void load_registers(struct Emit *e, RegSet set_of)
{
    for (; set_of; set_of &= set_of - 1) {
        uint32_t r = (uint32_t)__builtin_ctzll(set_of);
        get(e, L_HART);
        access(e, r < 32 ? W_I64_LOAD : W_F64_LOAD, 3, state_offset(r));
        set(e, e->local[r]);
    }
}

void store_registers(struct Emit *e, RegSet set_of)
{
    for (; set_of; set_of &= set_of - 1) {
        uint32_t r = (uint32_t)__builtin_ctzll(set_of);
        get(e, L_HART);
        get(e, e->local[r]);
        access(e, r < 32 ? W_I64_STORE : W_F64_STORE, 3, state_offset(r));
    }
}

/* --- ways out -------------------------------------------------------------------- */

_Static_assert(ATTENTION_INTERRUPT > JIT_MOST_FUEL && ATTENTION_CONTROL > JIT_MOST_FUEL &&
                   ATTENTION_CODE > JIT_MOST_FUEL && ATTENTION_RFENCE > JIT_MOST_FUEL,
               "one comparison polls for attention and for fuel");

/* Attention, which is more than any fuel, or no fuel left: less than none. */
void push_poll(struct Emit *e)
{
    get(e, L_FUEL);
    LOAD_HART(e, W_I32_LOAD, 2, attention);
    op(e, W_I32_LT_S);
}

void store_fuel(struct Emit *e)
{
    get(e, L_HART);
    get(e, L_FUEL);
    STORE_HART(e, W_I32_STORE, 2, jit_fuel);
}

static void return_pc(struct Emit *e)
{
    get(e, L_PC);
    op(e, W_RETURN);
}

void return_pc_if(struct Emit *e)
{
    open(e, W_IF, LABEL_NONE);
    return_pc(e);
    close(e);
}

void leave_for_pc_if(struct Emit *e)
{
    open(e, W_IF, LABEL_NONE);
    store_fuel(e);
    return_pc(e);
    close(e);
}

void find_jump(struct Emit *e)
{
    get(e, L_PC);
    op(e, W_I32_WRAP);
    push32(e, 3);
    op(e, W_I32_SHL);
    push32(e, (JIT_JUMPS - 1) << 4);
    op(e, W_I32_AND);
    LOAD_HART(e, W_I32_LOAD, 2, jit_jumps);
    op(e, W_I32_ADD);
    tee(e, L_JUMP);
    access(e, W_I64_LOAD, 3, (uint32_t)offsetof(struct JitJump, tag));
    get(e, L_PC);
    LOAD_HART(e, W_I64_LOAD, 3, jit_key);
    op(e, W_I64_XOR);
    op(e, W_I64_NE);
    leave_for_pc_if(e);
}

void push_callee(struct Emit *e)
{
    get(e, L_PC);
    push64(e, ~0xfffull);
    op(e, W_I64_AND);
    get(e, L_FUEL);
    get(e, L_JUMP);
    access(e, W_I32_LOAD, 2, (uint32_t)offsetof(struct JitJump, slot));
}

void emit_stub(struct Emit *e, const struct Stub *stub)
{
    if (stub->kind == EXIT_SLOW) {
        get(e, L_FUEL);
        get(e, L_EXIT);
        push32(e, 16);
        op(e, W_I32_SHR_U);
        push32(e, 0x3ff);
        op(e, W_I32_AND);
        op(e, W_I32_SUB);
        set(e, L_FUEL);
        get(e, L_HART);
        get(e, L_EXIT);
        STORE_HART(e, W_I32_STORE, 2, jit_exit);
    }
    if (stub->kind != EXIT_JUMP)
        store_fuel(e);
    store_registers(e, stub->stores);
    switch (stub->kind) {
    case EXIT_SLOW:
        get(e, L_BASE);
        get(e, L_EXIT);
        push32(e, 0xffff);
        op(e, W_I32_AND);
        op(e, W_I64_EXTEND_U);
        op(e, W_I64_ADD);
        push64(e, (uint64_t)-4095ll); /* the window's begin, and bit 0 */
        op(e, W_I64_ADD);
        op(e, W_RETURN);
        break;
    case EXIT_JUMP:
        push_poll(e);
        leave_for_pc_if(e);
        find_jump(e);
        get(e, L_HART);
        get(e, L_DEPTH);
        push_callee(e);
        op(e, W_RETURN_CALL_INDIRECT);
        put_u(&e->out, TYPE_REGION);
        put_u(&e->out, 0);
        break;
    default:
        return_pc(e);
    }
}

void leave_by(struct Emit *e, uint32_t kind, RegSet dirty)
{
    uint32_t owed = e->owed; /* what is emitted behind this owes it still */
    if (kind != EXIT_SLOW)
        settle(e);
    e->owed = owed;
    for (uint32_t k = 0; k < e->stub_count; k++) {
        const struct Stub *stub = &e->stubs[k];
        if (stub->kind == kind && !(dirty & ~stub->stores) && !(stub->stores & ~e->valid)) {
            op_u(e, W_BR, e->depth + k);
            return;
        }
    }
    struct Stub stub = {dirty, (uint8_t)kind};
    if (e->stub_count == STUBS) {
        emit_stub(e, &stub);
        return;
    }
    e->stubs[e->stub_count] = stub;
    op_u(e, W_BR, e->depth + e->stub_count++);
}

static RegSet dirty_now(const struct Emit *e) { return region_dirty(e->r, e->block, e->k); }

void exit_slow(struct Emit *e)
{
    later_check_aside(e);
    push32(e, e->r->insns[e->block->first + e->k].at | done(e) << 16);
    set(e, L_EXIT);
    leave_by(e, EXIT_SLOW, dirty_now(e));
}

void exit_slow_crossing(struct Emit *e)
{
    later_check_aside(e);
    push32(e, e->r->insns[e->block->first + e->k].at | done(e) << 16 | 1u << 30);
    set(e, L_EXIT);
    leave_by(e, EXIT_SLOW, dirty_now(e));
}

void exit_slow_if(struct Emit *e)
{
    open(e, W_IF, LABEL_NONE);
    exit_slow(e);
    close(e);
}

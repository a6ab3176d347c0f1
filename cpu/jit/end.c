/* How a block ends: on to other blocks of its region, into a callee and back
 * from it, through a switch over what was seen of an indirect jump, or out.
 */
#include "jit/emit.h"
#include "mmu/mmu.h"

static void exit_jump(struct Emit *e, const struct JitBlock *b, int32_t at)
{
    push_window(e, at);
    set(e, L_PC);
    leave_by(e, EXIT_JUMP, region_dirty(e->r, b, b->count));
}

/* Goes along edge k of b; code behind this isn't reached. */
static void emit_edge(struct Emit *e, const struct JitBlock *b, uint32_t k)
{
    int32_t at = k == 0 ? b->far : b->next_at[1];
    e->valid = b->live_in | b->writes;
    if (b->next[k] == NO_BLOCK) {
        exit_jump(e, b, at);
        return;
    }
    const struct JitBlock *to = &e->r->blocks[b->next[k]];
    if (to->order <= b->order || to->forward_edges > 1)
        settle(e);
    if (to->order <= b->order) {
        push_poll(e);
        open(e, W_IF, LABEL_NONE);
        push32(e, (uint32_t)at);
        set(e, L_EXIT);
        leave_by(e, EXIT_SLOW, region_dirty(e->r, b, b->count));
        close(e);
        branch_to(e, W_BR, b->next[k]);
    } else if (to->forward_edges > 1) {
        branch_to(e, W_BR, b->next[k]);
    } else {
        emit_tree(e, b->next[k]);
    }
}

void emit_again(struct Emit *e, const struct JitBlock *b)
{
    emit_edge(e, b, b->next[0] != NO_BLOCK && &e->r->blocks[b->next[0]] == b ? 0 : 1);
}

/* By the i32 on the stack. */
static void emit_branch(struct Emit *e, const struct JitBlock *b)
{
    if (b->next[0] != NO_BLOCK && e->r->blocks[b->next[0]].order > b->order && e->r->blocks[b->next[0]].forward_edges > 1) {
        settle(e);
        branch_to(e, W_BR_IF, b->next[0]);
    } else {
        uint32_t owed = e->owed;
        open(e, W_IF, LABEL_NONE);
        emit_edge(e, b, 0);
        close(e);
        e->owed = owed;
    }
    emit_edge(e, b, 1);
}

void emit_last(struct Emit *e, const struct JitBlock *b)
{
    emit_condition(e, &e->r->insns[b->first + b->count - 1]);
    emit_branch(e, b);
}

/* Where jalr leads. */
static void push_target(struct Emit *e, const struct JitInsn *n)
{
    push_x(e, n->i.rs1);
    push64(e, (uint64_t)(int64_t)n->i.imm);
    op(e, W_I64_ADD);
    push64(e, ~1ull);
    op(e, W_I64_AND);
}

static void begin_call(struct Emit *e, const struct JitBlock *b, const struct JitInsn *n)
{
    if (b->end == END_CALL)
        push_window(e, b->far);
    else
        push_target(e, n);
    set(e, L_PC);
    push_window(e, n->at + n->length);
    set_x(e, n->i.rd);
    e->valid |= n->writes;
}

/* A call is a call: everything goes to memory, the callee gives back the pc it
 * ends at, and if that is behind the call, this goes on from memory.  Nothing
 * is kept in between, so whatever the callee did, this is right. */
static void emit_call(struct Emit *e, const struct JitBlock *b, const struct JitInsn *n)
{
    if (b->count) /* else a guess has seen to it */
        begin_call(e, b, n);
    RegSet dirty = region_dirty(e->r, b, b->count);
    settle(e);
    if (b->next[1] == NO_BLOCK) {
        leave_by(e, EXIT_JUMP, dirty);
        return;
    }
    store_registers(e, dirty);
    push_poll(e);
    leave_for_pc_if(e);
    get(e, L_DEPTH);
    op(e, W_I32_EQZ);
    leave_for_pc_if(e);
    /* A call to itself needs no look: it is as valid as the caller. */
    bool itself = b->end == END_CALL && b->far == (int32_t)e->r->entry;
    if (!itself)
        find_jump(e);
    get(e, L_HART);
    get(e, L_DEPTH);
    push32(e, 1);
    op(e, W_I32_SUB);
    if (!itself) {
        push_callee(e);
        op(e, W_CALL_INDIRECT);
        put_u(&e->out, TYPE_REGION);
        put_u(&e->out, 0);
    } else {
        get(e, L_BASE);
        get(e, L_FUEL);
        op_u(e, W_CALL, e->number);
    }
    tee(e, L_PC);
    push_window(e, n->at + n->length);
    op(e, W_I64_NE);
    return_pc_if(e);
    LOAD_HART(e, W_I32_LOAD, 2, jit_fuel);
    tee(e, L_FUEL);
    push32(e, 0);
    op(e, W_I32_LT_S);
    return_pc_if(e);
    const struct JitBlock *to = &e->r->blocks[b->next[1]];
    load_registers(e, to->live_in);
    forget_fp(e);
    if (e->r->uses_memory) /* SUM may have changed */
        find_tables(e);
    forget_pages(e);
    if (to->order <= b->order || to->forward_edges > 1) {
        e->valid = to->live_in;
        if (to->order <= b->order) {
            push_poll(e);
            leave_for_pc_if(e);
        }
        branch_to(e, W_BR, b->next[1]);
    } else {
        emit_tree(e, b->next[1]);
    }
}

/* The return of a callee that is part of the region. */
static void emit_back(struct Emit *e, const struct JitBlock *b, const struct JitInsn *n)
{
    push_x(e, n->i.rs1);
    push_window(e, b->far);
    op(e, W_I64_NE); /* never, to the engine, where the register was left alone */
    hint_unlikely(e);
    open(e, W_IF, LABEL_NONE);
    push_x(e, n->i.rs1);
    push64(e, ~1ull);
    op(e, W_I64_AND);
    set(e, L_PC);
    leave_by(e, EXIT_RETURN, region_dirty(e->r, b, b->count));
    close(e);
    emit_edge(e, b, 0);
}

/* To the block that all indirect jumps go through, the target being in L_PC. */
static void emit_to_switch(struct Emit *e, const struct JitBlock *b)
{
    const struct JitBlock *to = &e->r->blocks[b->next[0]];
    e->valid = b->live_in | b->writes;
    if (to->order <= b->order || to->forward_edges > 1)
        settle(e);
    if (to->order <= b->order) {
        push_poll(e);
        open(e, W_IF, LABEL_NONE);
        leave_by(e, EXIT_RETURN, region_dirty(e->r, b, b->count));
        close(e);
        branch_to(e, W_BR, b->next[0]);
    } else if (to->forward_edges > 1) {
        branch_to(e, W_BR, b->next[0]);
    } else {
        emit_tree(e, b->next[0]);
    }
}

#define SWITCH_SPAN 2048 /* bytes of code from the first to the last place of a table */

static void emit_switch(struct Emit *e, const struct JitBlock *b)
{
    const struct Region *r = e->r;
    uint32_t low = WINDOW, high = 0;
    bool back = false;
    settle(e);
    for (uint32_t k = 0; k < r->switch_count; k++) {
        if (r->switch_next[k] == NO_BLOCK)
            continue;
        back |= r->blocks[r->switch_next[k]].order <= b->order;
        low = r->switch_at[k] < low ? r->switch_at[k] : low;
        high = r->switch_at[k] > high ? r->switch_at[k] : high;
    }
    if (high > low + SWITCH_SPAN)
        high = low + SWITCH_SPAN;
    if (back) {
        push_poll(e);
        open(e, W_IF, LABEL_NONE);
        leave_by(e, EXIT_RETURN, b->dirty_in);
        close(e);
    }
    if (low <= high) {
        open(e, W_BLOCK, LABEL_NONE);
        get(e, L_PC);
        get(e, L_BASE);
        op(e, W_I64_SUB);
        push64(e, (uint64_t)((int64_t)low - 4096));
        op(e, W_I64_SUB);
        tee(e, L_D);
        push64(e, high - low);
        op(e, 0x56); /* i64.gt_u */
        op_u(e, W_BR_IF, 0);
        get(e, L_D);
        op(e, W_I32_WRAP);
        push32(e, 1);
        op(e, W_I32_SHR_U);
        op(e, W_BR_TABLE);
        put_u(&e->out, (high - low) / 2 + 1);
        for (uint32_t at = low; at <= high; at += 2) {
            uint32_t to = 0;
            for (uint32_t k = 0; k < r->switch_count; k++)
                if (r->switch_at[k] == at && r->switch_next[k] != NO_BLOCK)
                    to = depth_of(e, r->switch_next[k]);
            put_u(&e->out, to);
        }
        put_u(&e->out, 0);
        close(e);
    }
    leave_by(e, EXIT_JUMP, b->dirty_in);
}

void emit_end(struct Emit *e, const struct JitBlock *b)
{
    if (b->end == END_SWITCH) {
        emit_switch(e, b);
        return;
    }
    const struct JitInsn *n = &e->r->insns[b->first + b->count - 1];
    if (b->end == END_LEAVE) {
        exit_slow(e);
        return;
    }
    if (b->count)
        spend(e, (e->turn + 1) * b->count);
    switch (b->end) {
    case END_FALL:
    case END_AGAIN:
        emit_edge(e, b, 1);
        break;
    case END_JUMP:
        emit_edge(e, b, 0);
        break;
    case END_BRANCH:
        emit_condition(e, n);
        emit_branch(e, b);
        break;
    case END_ENTER_GUESSED:
        begin_call(e, b, n);
        emit_edge(e, b, 0);
        break;
    case END_GUESS:
        get(e, L_PC);
        push_window(e, b->far);
        op(e, W_I64_EQ);
        emit_branch(e, b);
        break;
    case END_CALL:
    case END_CALL_INDIRECT:
        emit_call(e, b, n);
        break;
    case END_ENTER:
        push_window(e, n->at + n->length);
        set_x(e, n->i.rd);
        emit_edge(e, b, 0);
        break;
    case END_BACK:
        emit_back(e, b, n);
        break;
    default:
        push_target(e, n);
        set(e, L_PC);
        if (b->end == END_INDIRECT && b->next[0] != NO_BLOCK) {
            emit_to_switch(e, b);
            return;
        }
        leave_by(e, b->end == END_RETURN ? EXIT_RETURN : EXIT_JUMP, region_dirty(e->r, b, b->count));
    }
}

void emit_way_out(struct Emit *e, const struct JitBlock *b, const struct JitInsn *n, uint32_t k, bool out_if, uint32_t done)
{
    RegSet valid = e->valid;
    uint32_t owed = e->owed;
    emit_condition(e, n);
    if (!out_if)
        op(e, W_I32_EQZ);
    open(e, W_IF, LABEL_NONE);
    later_check_aside(e);
    spend(e, done);
    emit_edge(e, b, k);
    close(e);
    e->owed = owed;
    e->valid = valid;
}

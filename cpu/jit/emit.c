/* A region as one Wasm function with structured control flow.
 *
 * Blocks are placed by the dominator tree (Ramsey, "Beyond Relooper", ICFP
 * 2022): what a block dominates is nested in it; one that several edges lead
 * to stands behind a Wasm block that they break out of; one that edges lead
 * back to is a Wasm loop.
 *
 * Around all of it lie the stubs: each stores one set of registers and leaves
 * in one way.  Every exit picks one whose set holds what is dirty there and
 * nothing that isn't valid.
 *
 *     block stub 1
 *       block stub 0
 *         ...body: "br" to a stub...
 *       end  stub 0's code, returns
 *     end  stub 1's code, returns
 */
#include "jit/emit.h"
#include "mmu/mmu.h"

void open(struct Emit *e, uint32_t code, uint32_t label)
{
    op(e, code);
    op(e, W_EMPTY);
    if (e->depth == LABELS)
        e->out.full = true;
    else
        e->label[e->depth++] = (uint8_t)label;
}

void close(struct Emit *e)
{
    op(e, W_END);
    e->depth--;
}

uint32_t depth_of(struct Emit *e, uint32_t block)
{
    for (uint32_t k = e->depth; k-- > 0;)
        if (e->label[k] == block)
            return e->depth - 1 - k;
    e->out.full = true; /* not reached: the flow is reducible */
    return 0;
}

void branch_to(struct Emit *e, uint32_t code, uint32_t block) { op_u(e, code, depth_of(e, block)); }

void settle(struct Emit *e)
{
    if (!e->owed)
        return;
    get(e, L_FUEL);
    push32(e, e->owed);
    op(e, W_I32_SUB);
    set(e, L_FUEL);
    e->owed = 0;
}

void spend(struct Emit *e, uint32_t instructions)
{
    e->owed += instructions;
    if (e->owed > MOST_OWED)
        settle(e);
}

/* Between two turns of an unrolled loop. */
void emit_between(struct Emit *e, const struct JitBlock *b)
{
    bool taken = b->next[0] != NO_BLOCK && &e->r->blocks[b->next[0]] == b;
    const struct JitInsn *last = &e->r->insns[b->first + b->count - 1];
    if (b->end != END_AGAIN && !e->surely_back)
        emit_way_out(e, b, last, taken ? 1 : 0, !taken, (e->turn + 1) * b->count);
}

/* Instructions of the block before the one that ends it. */
static uint32_t before_end(const struct JitBlock *b)
{
    return b->end == END_FALL || b->end == END_AGAIN || b->count == 0 ? b->count : b->count - 1u;
}

/* The instruction, other than those that decide where it goes on. */
uint32_t emit_next(struct Emit *e, const struct JitBlock *b)
{
    const struct JitInsn *n = &e->r->insns[b->first + e->k];
    if (e->k >= before_end(b) || n->kind == KIND_BRANCH)
        return 1;
    if (e->k + 1 < before_end(b) && emit_zero_extension(e, n))
        return 2;
    keep_index(e, n, false);
    if (!emit_rotation(e, n))
        emit_insn(e, n);
    keep_index(e, n, true);
    return 1;
}

void emit_insns(struct Emit *e, const struct JitBlock *b, uint32_t fp_known, uint32_t turns)
{
    uint32_t last = before_end(b);
    e->fp_known = fp_known;
    e->valid = b->live_in;
    e->sought = e->frames_sought[b - e->r->blocks];
    later_begin(e, fp_known == FP_EASY);
    memset(e->index_made, 0, sizeof e->index_made);
    for (e->turn = 0;; e->turn++) {
        for (e->k = 0; e->k < last;) {
            const struct JitInsn *n = &e->r->insns[b->first + e->k];
            if (n->kind == KIND_BRANCH && e->surely_back)
                ;
            else if (n->kind == KIND_BRANCH)
                emit_way_out(e, b, n, 0, b->out_if, step(e) + 1);
            else
                later_before(e, n);
            e->k += emit_next(e, b);
            e->valid |= n->writes;
        }
        if (e->turn + 1 == turns) {
            later_check(e);
            return;
        }
        emit_between(e, b);
    }
}

/* The block's instructions and its end, the easy way if there is one. */
static void emit_turns(struct Emit *e, const struct JitBlock *b, bool ahead)
{
    if (ahead) {
        bool fp = e->turns_fp;
        settle(e);
        look_ahead(e);
        emit_insns(e, b, fp ? FP_EASY : FP_UNKNOWN, b->turns);
        if (e->strip.possible && !e->strip.counted) { /* most such loops are short */
            emit_between(e, b);
            spend(e, b->turns * b->count);
            settle(e);
            emit_strip(e, b);
            emit_again(e, b);
        }
        end_ahead(e);
        emit_insns(e, b, FP_UNKNOWN, 1);
        if (b->turns > 1)
            emit_end(e, b);
        e->owed = 0;
        close(e);
        e->turn = b->turns - 1u;
    } else {
        if (e->strip.possible)
            emit_strip(e, b);
        emit_insns(e, b, FP_UNKNOWN, b->turns);
    }
    emit_end(e, b);
}

static void emit_block(struct Emit *e, const struct JitBlock *b)
{
    e->block = b;
    if (b->itself)
        settle(e);
    bool ahead = plan_turns(e, b);
    e->pacing = false;
    plan_strip(e, b);
    e->strip.possible &= ahead || (e->strip.counted && (e->paced_count || e->far_count));
    if (!b->itself) {
        emit_turns(e, b, ahead);
        return;
    }
    if (ahead)
        begin_turns(e);
    open(e, W_LOOP, (uint32_t)(b - e->r->blocks));
    emit_turns(e, b, ahead);
    close(e);
    if (ahead)
        close(e);
}

/* The `count` children that several edges lead to stand behind blocks of
 * their own, the last in order outermost. */
static void emit_within(struct Emit *e, uint32_t block, const uint8_t *behind, uint32_t count)
{
    if (count == 0) {
        emit_block(e, &e->r->blocks[block]);
        return;
    }
    uint32_t outer = behind[count - 1];
    open(e, W_BLOCK, outer);
    emit_within(e, block, behind, count - 1);
    close(e);
    e->owed = 0; /* who broke out of the block has settled */
    emit_tree(e, outer);
}

void emit_tree(struct Emit *e, uint32_t block)
{
    const struct Region *r = e->r;
    const struct JitBlock *b = &r->blocks[block];
    uint8_t behind[REGION_BLOCKS];
    uint32_t count = 0;
    for (uint32_t k = b->order + 1u; k < r->order_count; k++) {
        const struct JitBlock *child = &r->blocks[r->by_order[k]];
        if (child->dominator == b->order && child->forward_edges > 1)
            behind[count++] = r->by_order[k];
    }
    bool turns = false;
    if (b->loop) {
        settle(e);
        turns = !b->itself && plan_turns(e, b);
        if (turns)
            begin_turns(e);
        open(e, W_LOOP, block);
    }
    emit_within(e, block, behind, count);
    if (b->loop)
        close(e);
    if (turns)
        close(e);
}

/* --- the function -------------------------------------------------------------------- */

static void name_locals(struct Emit *e, uint32_t *xs, uint32_t *fs)
{
    uint32_t next = L_REGISTERS;
    for (uint32_t r = 0; r < 32; r++)
        if (e->r->used >> r & 1)
            e->local[r] = (uint8_t)next++;
    *xs = next - L_REGISTERS;
    e->float_temp = next;
    next += F64_TEMPS;
    for (uint32_t r = 32; r < 64; r++)
        if (e->r->used >> r & 1)
            e->local[r] = (uint8_t)next++;
    *fs = next - e->float_temp;
    for (uint32_t k = 0; k < e->loop_count; k++)
        e->loop_ready[k] = (uint8_t)next++;
    for (uint32_t k = 0; k < e->page_count; k++) {
        struct Page *p = &e->pages[k];
        p->host = (uint8_t)(next + k);
        p->address = (uint8_t)(next + e->page_count + STRIP_LOCALS + 2 * k);
        p->room = (uint8_t)(p->address + 1);
    }
    e->strip_local = next + e->page_count;
    e->wide_shift = e->strip_local + STRIP_LOCALS - 1;
    e->wide_limit = e->wide_shift - 1;
    e->index_local = e->strip_local + 1 + GROUP_HOSTS;
    e->later_local = next + 3 * e->page_count + (e->page_count + e->loop_count ? STRIP_LOCALS : 0);
}

static void begin(struct Emit *e)
{
    uint32_t xs, fs;
    e->framed = false;
    plan_pages(e);
    plan_frames(e);
    name_locals(e, &xs, &fs);
    uint32_t more = e->page_count + e->loop_count;
    put_u(&e->out, (more ? 5 : 3) + (e->later_planned ? 3 : 0));
    put_u(&e->out, I32_LOCALS), put(&e->out, W_TYPE_I32);
    put_u(&e->out, I64_LOCALS + xs), put(&e->out, W_TYPE_I64);
    put_u(&e->out, fs), put(&e->out, W_TYPE_F64);
    if (more) {
        put_u(&e->out, more + STRIP_LOCALS), put(&e->out, W_TYPE_I32);
        put_u(&e->out, 2 * e->page_count), put(&e->out, W_TYPE_I64);
    }
    if (e->later_planned)
        later_locals(e);
    if (e->r->uses_memory)
        find_tables(e);
    load_registers(e, e->r->blocks[e->r->entry_block].live_in);
}

/* Opens a block for each stub in front of the body that is already there. */
static void wrap_body(struct Emit *e, uint8_t *body)
{
    uint32_t room = 2 * e->stub_count, size = (uint32_t)(e->out.at - body);
    if (e->out.at + room > e->out.end) {
        e->out.full = true;
        return;
    }
    __builtin_memmove(body + room, body, size);
    for (uint32_t k = 0; k < e->stub_count; k++) {
        body[2 * k] = W_BLOCK;
        body[2 * k + 1] = W_EMPTY;
    }
    e->out.at += room;
    for (uint32_t k = 0; k < e->hint_count; k++)
        e->hints[k] = (uint16_t)(e->hints[k] + room);
}

bool emit_region(struct Bytes *out, struct Region *r, uint32_t number, uint16_t *hints, uint32_t *hint_count)
{
    static struct Emit emit;
    struct Emit *e = &emit;
    e->out = *out;
    e->r = r;
    e->depth = e->stub_count = e->owed = 0;
    e->hints = hints;
    e->number = number;
    e->hint_count = 0;
    uint8_t *hole = put_hole(&e->out), *start = e->start = e->out.at;
    begin(e);
    uint8_t *body = e->out.at;
    emit_tree(e, r->entry_block);
    if (e->out.full)
        return false;
    uint32_t stubs = e->stub_count;
    wrap_body(e, body);
    for (uint32_t k = 0; k < stubs; k++) {
        op(e, W_END);
        emit_stub(e, &e->stubs[k]);
    }
    op(e, 0x00); /* unreachable */
    op(e, W_END);
    if (e->out.full)
        return false;
    fill_hole(&e->out, hole, (uint32_t)(e->out.at - start));
    *hint_count = e->out.at - start < 0x10000 ? e->hint_count : 0;
    *out = e->out;
    return true;
}

/* An instruction as Wasm.  What computes comes from the tables (isa_wasm.inc). */
#include "jit/emit.h"

static void emit_assignment(struct Emit *e, const struct Insn *i)
{
    switch (i->op) {
#include "generated/isa_wasm.inc"
    default:
        exit_slow(e);
    }
}

void emit_condition(struct Emit *e, const struct JitInsn *n)
{
    const struct Insn *i = &n->i;
    switch (i->op) {
#include "generated/isa_condition.inc"
    default:
        push32(e, 0);
    }
}

/* slli by 32, srli of the same register by up to 32: how a compiler for RV64
 * without Zba makes an unsigned word an index.  What lies in between is seen by
 * nobody, as neither can leave. */
bool emit_zero_extension(struct Emit *e, const struct JitInsn *n)
{
    const struct Insn *i = &n[0].i, *next = &n[1].i;
    if ((i->op != OP_slli && i->op != OP_c_slli) || (next->op != OP_srli && next->op != OP_c_srli) || i->imm != 32 ||
        next->imm > 32 || i->rd != next->rs1 || next->rd != i->rd || i->rd == 32)
        return false;
    push_x(e, i->rs1);
    op(e, W_I32_WRAP);
    op(e, W_I64_EXTEND_U);
    if (next->imm < 32) {
        push64(e, 32u - (uint32_t)next->imm);
        op(e, W_I64_SHL);
    }
    set_x(e, i->rd);
    return true;
}

/* The instruction of the block, before the one that is emitted, that register r
 * comes from; NULL: it comes from elsewhere. */
static const struct JitInsn *made_by(const struct Emit *e, uint32_t r)
{
    for (uint32_t k = e->k; k-- > 0;) {
        const struct JitInsn *n = &e->r->insns[e->block->first + k];
        if (n->writes >> r & 1)
            return n;
    }
    return NULL;
}

/* By how many bits the instruction shifts to the left, or, as a negative number, to the right; 0: it doesn't. */
static int32_t shift_of(const struct JitInsn *n, bool *wide)
{
    switch (n->i.op) {
    case OP_slli: case OP_c_slli: *wide = true; return n->i.imm;
    case OP_srli: case OP_c_srli: *wide = true; return -n->i.imm;
    case OP_slliw: *wide = false; return n->i.imm;
    case OP_srliw: *wide = false; return -n->i.imm;
    default: return 0;
    }
}

/* "or" of what one value's shifts to the left and to the right left of it: a
 * rotation, which RV64 has only with Zbb and every engine's machine has. */
bool emit_rotation(struct Emit *e, const struct JitInsn *n)
{
    uint32_t rs2 = (uint32_t)n->i.imm & 31;
    if ((n->i.op != OP_or && n->i.op != OP_c_or) || n->i.rs1 == rs2 || n->i.rd == 32)
        return false;
    const struct JitInsn *a = made_by(e, n->i.rs1), *b = made_by(e, rs2);
    if (!a || !b || a->i.rs1 != b->i.rs1 || !a->i.rs1)
        return false;
    bool wide = false, same = false;
    int32_t left = shift_of(a, &wide), right = shift_of(b, &same);
    uint32_t source = a->i.rs1;
    const struct JitInsn *first = a < b ? a : b;
    for (const struct JitInsn *k = first; k < n; k++)
        if (k->writes >> source & 1)
            return false;
    if (left < right) {
        int32_t swapped = left;
        left = right;
        right = swapped;
    }
    if (left <= 0 || right >= 0 || wide != same || left - right != (wide ? 64 : 32))
        return false;
    push_x(e, source);
    if (wide) {
        push64(e, (uint32_t)left);
        op(e, 0x89); /* i64.rotl */
    } else {
        op(e, W_I32_WRAP);
        push32(e, (uint32_t)left);
        op(e, 0x77); /* i32.rotl */
        op(e, W_I64_EXTEND_S);
    }
    set_x(e, n->i.rd);
    return true;
}

/* Shifts of words by a constant, in 64 bits: the engine truncates before it
 * shifts 32, and extends behind it. */
static bool emit_word_shift(struct Emit *e, const struct Insn *i)
{
    uint32_t by = (uint32_t)i->imm & 31;
    if (i->op == OP_srliw && by) { /* never negative */
        push_x(e, i->rs1);
        op(e, W_I32_WRAP);
        push32(e, by);
        op(e, W_I32_SHR_U);
        op(e, W_I64_EXTEND_U);
    } else if (i->op == OP_slliw || i->op == OP_sraiw) {
        push_x(e, i->rs1);
        push64(e, i->op == OP_slliw ? 32 + by : 32);
        op(e, W_I64_SHL);
        push64(e, i->op == OP_slliw ? 32 : 32 + by);
        op(e, W_I64_SHR_S);
    } else {
        return false;
    }
    set_x(e, i->rd);
    return true;
}

/* Logic of two words, as words: what is looked up or added by it is 32 bits wide,
 * too. In loops of one block, whose registers few exits have to find. */
static bool emit_word_logic(struct Emit *e, const struct JitInsn *n)
{
    uint32_t rs2 = (uint32_t)n->i.imm & 31, code;
    switch (n->i.op) {
    case OP_xor: case OP_c_xor: code = 0x73; break;
    case OP_or: case OP_c_or: code = W_I32_OR; break;
    case OP_and: case OP_c_and: code = W_I32_AND; break;
    default: return false;
    }
    uint32_t words = e->block->itself ? region_words(e->r, e->block, e->k) : 0;
    if (!n->i.rs1 || !rs2 || !(words >> n->i.rs1 & 1) || !(words >> rs2 & 1))
        return false;
    push_x(e, n->i.rs1);
    op(e, W_I32_WRAP);
    push_x(e, rs2);
    op(e, W_I32_WRAP);
    op(e, code);
    op(e, W_I64_EXTEND_S);
    set_x(e, n->i.rd);
    return true;
}

/* By a helper, as far as nothing but the value changes; else the interpreter. */
static void emit_csr(struct Emit *e, const struct JitInsn *n)
{
    const struct Insn *i = &n->i;
    uint32_t kind = 0;
    bool immediate = false;
    switch (i->op) {
    case OP_csrrwi: immediate = true; __attribute__((fallthrough));
    case OP_csrrw: kind = 1; break;
    case OP_csrrsi: immediate = true; __attribute__((fallthrough));
    case OP_csrrs: kind = 2; break;
    case OP_csrrci: immediate = true; __attribute__((fallthrough));
    default: kind = 3; break;
    }
    if (i->op == OP_csrrci)
        immediate = true;
    bool write = kind == 1 || i->rs1 != 0;
    get(e, L_HART);
    get(e, L_FUEL);
    push32(e, done(e));
    op(e, W_I32_SUB);
    STORE_HART(e, W_I32_STORE, 2, jit_fuel);
    get(e, L_HART);
    push32(e, ((uint32_t)i->imm & 0xfff) | kind << 12 | (uint32_t)write << 14);
    if (immediate)
        push64(e, i->rs1);
    else
        push_x(e, i->rs1);
    push32(e, (uint32_t)(uintptr_t)&jit_csr);
    op(e, W_CALL_INDIRECT);
    put_u(&e->out, TYPE_HELPER);
    put_u(&e->out, 0);
    exit_slow_if(e);
    LOAD_HART(e, W_I64_LOAD, 3, jit_value);
    set_x(e, i->rd);
    if (write) {
        forget_fp(e);
        if (e->r->uses_memory) /* SUM may have changed */
            find_tables(e);
        forget_pages(e);
    }
}

void emit_insn(struct Emit *e, const struct JitInsn *n)
{
    switch (n->kind) {
    case KIND_ASSIGN:
        if (!(n->writes >> 32) && n->i.rd == 32 && op_facts[n->i.op] & X_RD && !(op_facts[n->i.op] & F_RS1))
            break; /* x0: a hint */
        if ((n->i.op == OP_addiw || n->i.op == OP_c_addiw) && n->i.imm == 0 && region_holds_word(e->r, e->block, e->k, n->i.rs1)) {
            push_x(e, n->i.rs1);
            set_x(e, n->i.rd);
            break;
        }
        if (!emit_word_shift(e, &n->i) && !emit_word_logic(e, n))
            emit_assignment(e, &n->i);
        break;
    case KIND_LOAD:
    case KIND_FLOAD:
        emit_load(e, n);
        break;
    case KIND_STORE:
    case KIND_FSTORE:
        emit_store(e, n);
        break;
    case KIND_AMO:
        emit_amo(e, n);
        break;
    case KIND_CSR:
        emit_csr(e, n);
        break;
    case KIND_FP:
        emit_fp(e, n);
        break;
    case KIND_CALL: /* what it leads to follows */
        if (n->i.rd != 32) {
            push_window(e, n->at + n->length);
            set_x(e, n->i.rd);
        }
        break;
    case KIND_FENCE:
        put(&e->out, W_ATOMIC);
        put(&e->out, 0x03);
        put(&e->out, 0);
        break;
    default:
        exit_slow(e);
    }
}

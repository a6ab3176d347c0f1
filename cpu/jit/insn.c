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
    push32(e, step(e));
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

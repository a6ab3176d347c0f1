/* Loads, stores and atomics through the TLB of mmu/mmu.h, inlined.
 *
 * A miss, a device, a misaligned address and whatever else isn't plain memory
 * leaves for the interpreter; there is no call in the way of a hit.
 */
#include "jit/emit.h"

#include "mmu/mmu.h"

/* The TLB index of the i64 address on the stack, as an offset into a table. */
static void emit_index(struct Emit *e)
{
    uint64_t mask = e->r->h->tlb_mask;
    bool narrow = mask << 9 <= UINT32_MAX; /* an index of up to 20 bits: RAM below 2 GiB */
    if (narrow) {
        op(e, W_I32_WRAP);
        push32(e, 9);
        op(e, W_I32_SHR_U);
    } else {
        push64(e, 9);
        op(e, W_I64_SHR_U);
        op(e, W_I32_WRAP);
    }
    push32(e, (uint32_t)mask);
    op(e, W_I32_AND);
}

/* L_VA = the i64 on the stack, which becomes D of mmu/mmu.h: its offset in RAM if it is a hit. */
void push_entry(struct Emit *e, bool store)
{
    tee(e, L_VA);
    emit_index(e);
    get(e, L_READ);
    op(e, W_I32_ADD);
    access(e, W_I64_LOAD, 3, store ? 8u << MACHINE->tlb_bits : 0); /* tables of writes follow those of reads */
    get(e, L_VA);
    op(e, W_I64_XOR);
}

/* L_D = D of the address on the stack, which is in L_VA then; leaves where it is no hit. */
void emit_lookup(struct Emit *e, bool store, uint32_t low_bits)
{
    push_entry(e, store);
    tee(e, L_D);
    push64(e, e->r->h->tlb_hit | low_bits);
    op(e, W_I64_AND);
    push64(e, 0);
    op(e, W_I64_NE);
    exit_slow_if(e);
}

void push_host(struct Emit *e)
{
    get(e, L_D);
    op(e, W_I32_WRAP);
}

void find_tables(struct Emit *e)
{
    LOAD_HART(e, W_I32_LOAD, 2, tlb_read);
    set(e, L_READ);
}

struct Access {
    uint8_t code, log2;
};

static struct Access access_of(uint32_t operation)
{
    switch (operation) {
    case OP_lb: return (struct Access){W_I64_LOAD8_S, 0};
    case OP_lbu: return (struct Access){W_I64_LOAD8_U, 0};
    case OP_lh: return (struct Access){W_I64_LOAD16_S, 1};
    case OP_lhu: return (struct Access){W_I64_LOAD16_U, 1};
    case OP_lw: case OP_c_lw: return (struct Access){W_I64_LOAD32_S, 2};
    case OP_lwu: return (struct Access){W_I64_LOAD32_U, 2};
    case OP_flw: return (struct Access){W_I64_LOAD32_U, 2};
    case OP_sb: return (struct Access){W_I64_STORE8, 0};
    case OP_sh: return (struct Access){W_I64_STORE16, 1};
    case OP_sw: case OP_c_sw: case OP_fsw: return (struct Access){W_I64_STORE32, 2};
    case OP_sd: case OP_c_sd: return (struct Access){W_I64_STORE, 3};
    case OP_fsd: case OP_c_fsd: return (struct Access){W_F64_STORE, 3};
    case OP_fld: case OP_c_fld: return (struct Access){W_F64_LOAD, 3};
    default: return (struct Access){W_I64_LOAD, 3};
    }
}

uint32_t access_bytes(uint32_t operation) { return 1u << access_of(operation).log2; }

void emit_load(struct Emit *e, const struct JitInsn *n)
{
    struct Access a = access_of(n->i.op);
    if (n->kind == KIND_FLOAD)
        need_fp(e);
    access_ram(e, a.code, a.log2, push_place(e, n, false, 1u << a.log2));
    if (n->kind == KIND_LOAD) {
        set_x(e, n->i.rd);
    } else if (a.log2 == 3) {
        set(e, e->local[32 + n->i.rd]);
    } else {
        push64(e, 0xffffffff00000000ull);
        op(e, W_I64_OR);
        set_f_bits(e, n->i.rd);
    }
}

void emit_store(struct Emit *e, const struct JitInsn *n)
{
    struct Access a = access_of(n->i.op);
    if (n->kind == KIND_FSTORE)
        need_fp_on(e);
    uint32_t offset = push_place(e, n, true, 1u << a.log2);
    if (n->kind == KIND_STORE)
        push_x(e, n->i.rd);
    else if (a.log2 == 3)
        get(e, e->local[32 + n->i.rd]);
    else
        push_f_bits(e, n->i.rd);
    access_ram(e, a.code, a.log2, offset);
}

/* --- atomics: Threads proposal's opcodes ------------------------------------------ */

enum { A_LOAD = 0x10, A_ADD = 0x1e, A_AND = 0x2c, A_OR = 0x33, A_XOR = 0x3a, A_XCHG = 0x41, A_CMPXCHG = 0x48 };

static void sign_extend_word(struct Emit *e, bool wide)
{
    if (!wide)
        op(e, W_I64_EXTEND32);
}

static void emit_load_reserved(struct Emit *e, const struct JitInsn *n, bool wide)
{
    push_x(e, n->i.rs1);
    emit_lookup(e, false, wide ? 7 : 3);
    push_host(e);
    atomic_ram(e, A_LOAD + (wide ? 1 : 6), wide ? 3 : 2);
    set(e, L_WORD);
    get(e, L_HART), get(e, L_VA), STORE_HART(e, W_I64_STORE, 3, reservation);
    get(e, L_HART), get(e, L_WORD), STORE_HART(e, W_I64_STORE, 3, reservation_value);
    get(e, L_HART), push32(e, wide ? 64 : 32), STORE_HART(e, W_I32_STORE, 2, reservation_size);
    get(e, L_HART), push32(e, 1), STORE_HART(e, W_I32_STORE, 2, reservation_valid);
    get(e, L_WORD);
    sign_extend_word(e, wide);
    set_x(e, n->i.rd);
}

static void emit_store_conditional(struct Emit *e, const struct JitInsn *n, bool wide)
{
    push_x(e, n->i.rs1);
    emit_lookup(e, true, wide ? 7 : 3);
    LOAD_HART(e, W_I32_LOAD, 2, reservation_valid);
    LOAD_HART(e, W_I32_LOAD, 2, reservation_size);
    push32(e, wide ? 64 : 32);
    op(e, W_I32_EQ);
    op(e, W_I32_AND);
    LOAD_HART(e, W_I64_LOAD, 3, reservation);
    get(e, L_VA);
    op(e, W_I64_EQ);
    op(e, W_I32_AND);
    op(e, W_IF);
    op(e, W_TYPE_I64);
    push_host(e);
    LOAD_HART(e, W_I64_LOAD, 3, reservation_value);
    tee(e, L_WORD);
    push_x(e, (uint32_t)n->i.imm & 31);
    if (!wide) { /* compares and stores 32 bits; operands above them would not do */
        push64(e, 0xffffffffull);
        op(e, W_I64_AND);
    }
    atomic_ram(e, A_CMPXCHG + (wide ? 1 : 6), wide ? 3 : 2);
    get(e, L_WORD);
    op(e, W_I64_NE);
    op(e, W_I64_EXTEND_U);
    op(e, W_ELSE);
    push64(e, 1);
    op(e, W_END);
    get(e, L_HART), push32(e, 0), STORE_HART(e, W_I32_STORE, 2, reservation_valid);
    set_x(e, n->i.rd);
}

void emit_amo(struct Emit *e, const struct JitInsn *n)
{
    uint32_t code;
    bool wide = false;
    switch (n->i.op) {
    case OP_lr_w: emit_load_reserved(e, n, false); return;
    case OP_lr_d: emit_load_reserved(e, n, true); return;
    case OP_sc_w: emit_store_conditional(e, n, false); return;
    case OP_sc_d: emit_store_conditional(e, n, true); return;
    case OP_amoswap_d: wide = true; __attribute__((fallthrough));
    case OP_amoswap_w: code = A_XCHG; break;
    case OP_amoadd_d: wide = true; __attribute__((fallthrough));
    case OP_amoadd_w: code = A_ADD; break;
    case OP_amoxor_d: wide = true; __attribute__((fallthrough));
    case OP_amoxor_w: code = A_XOR; break;
    case OP_amoand_d: wide = true; __attribute__((fallthrough));
    case OP_amoand_w: code = A_AND; break;
    case OP_amoor_d: wide = true; __attribute__((fallthrough));
    case OP_amoor_w: code = A_OR; break;
    default: /* the rare minima and maxima */
        exit_slow(e);
        return;
    }
    push_x(e, n->i.rs1);
    emit_lookup(e, true, wide ? 7 : 3);
    push_host(e);
    push_x(e, (uint32_t)n->i.imm & 31);
    atomic_ram(e, code + (wide ? 1 : 6), wide ? 3 : 2);
    sign_extend_word(e, wide);
    set_x(e, n->i.rd);
}

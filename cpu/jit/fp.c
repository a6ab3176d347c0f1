/* Floating point: the engine's own operations where they do exactly what
 * RISC-V asks for, a call of cpu/fp/fp.h elsewhere.
 *
 * The engine rounds to nearest even and shows no flags.  So, as in fp/fast.h,
 * its result counts when RNE is asked for, NX is set already (L_FPOK says both)
 * and the result tells that no other flag is due.  The call is in an arm that
 * is marked unlikely; it may set NX, so L_FPOK is looked up again behind it.
 */
#include "jit/emit.h"

#include "fp/fp.h"
#include "hart/trap.h"

enum {
    F64_EQ = 0x61, F64_NE = 0x62, F64_LT = 0x63, F64_LE = 0x65, F32_EQ = 0x5b, F32_LT = 0x5d, F32_LE = 0x5f,
    F32_ABS = 0x8b, F32_NEG = 0x8c, F32_SQRT = 0x91, F32_ADD = 0x92, F32_SUB = 0x93, F32_MUL = 0x94, F32_DIV = 0x95,
    F32_MIN = 0x96, F32_MAX = 0x97, F64_ABS = 0x99, F64_NEG = 0x9a, F64_NEAREST = 0x9e, F64_SQRT = 0x9f, F64_ADD = 0xa0,
    F64_SUB = 0xa1, F64_MUL = 0xa2, F64_DIV = 0xa3, F64_MIN = 0xa4, F64_MAX = 0xa5,
    F32_FROM_I32_S = 0xb2, F32_FROM_I32_U = 0xb3, F32_FROM_I64_S = 0xb4, F32_FROM_I64_U = 0xb5, F32_DEMOTE = 0xb6,
    F64_FROM_I32_S = 0xb7, F64_FROM_I32_U = 0xb8, F64_FROM_I64_S = 0xb9, F64_FROM_I64_U = 0xba, F64_PROMOTE = 0xbb,
    I32_FROM_F32 = 0xbc, F32_FROM_BITS = 0xbe,
    TRUNC_SAT_I64_F64_S = 6, /* behind W_FC */
    F64_CONST = 0x44,
};

#define BOXED 0xffffffff00000000ull

static void push_double(struct Emit *e, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    op(e, F64_CONST);
    for (uint32_t k = 0; k < 64; k += 8)
        op(e, bits >> k & 0xff);
}

/* --- operands ---------------------------------------------------------------------- */

static uint32_t rs2_of(const struct JitInsn *n) { return (uint32_t)n->i.imm & 31; }
static uint32_t rs3_of(const struct JitInsn *n) { return (uint32_t)n->i.imm >> 5 & 31; }
static void push_d(struct Emit *e, uint32_t f) { get(e, e->local[32 + f]); }

/* A single, whether it is boxed or not; who uses it looks at push_unboxed. */
static void push_s(struct Emit *e, uint32_t f)
{
    push_f_bits(e, f);
    op(e, W_I32_WRAP);
    op(e, F32_FROM_BITS);
}

/* i32: some operand isn't a boxed single. */
static void push_unboxed(struct Emit *e, const struct JitInsn *n, uint32_t operands)
{
    const uint32_t f[3] = {n->i.rs1, rs2_of(n), rs3_of(n)};
    for (uint32_t k = 0; k < operands; k++) {
        push_f_bits(e, f[k]);
        if (k)
            op(e, W_I64_AND);
    }
    push64(e, BOXED);
    op(e, 0x54); /* i64.lt_u: the high half is not all ones */
}

static void box(struct Emit *e)
{
    op(e, I32_FROM_F32);
    op(e, W_I64_EXTEND_U);
    push64(e, BOXED);
    op(e, W_I64_OR);
}

/* --- the slow arm --------------------------------------------------------------------- */

static void push_zero_d(struct Emit *e, uint32_t local)
{
    get(e, local);
    push_double(e, 0);
    op(e, F64_EQ);
}

/* i32: the product or quotient in the temporary is not 0 by an operand that is
 * 0, which is exact however results are rounded.  Matrices are full of those. */
static void push_not_zero_by_zero(struct Emit *e, const struct JitInsn *n)
{
    push_zero_d(e, e->float_temp);
    push_zero_d(e, e->local[32 + n->i.rs1]);
    if (n->i.op == OP_fmul_d) {
        push_zero_d(e, e->local[32 + rs2_of(n)]);
        op(e, W_I32_OR);
    }
    op(e, W_I32_AND);
    op(e, W_I32_EQZ);
}

/* With an i32 on the stack: where it isn't 0, the value in L_WORD, or for
 * arithmetic of doubles in the first f64 temporary, is replaced by the exact one. */
static void exact_if(struct Emit *e, const struct JitInsn *n, bool real)
{
    uint32_t facts = op_facts[n->i.op];
    bool zeros = real && (n->i.op == OP_fmul_d || n->i.op == OP_fdiv_d);
    hint_unlikely(e);
    open(e, W_IF, LABEL_NONE);
    if (zeros) {
        push_not_zero_by_zero(e, n);
        open(e, W_IF, LABEL_NONE);
    }
    get(e, L_HART);
    push32(e, n->i.op | ((uint32_t)n->i.imm >> 10 & 7) << 16);
    if (facts & F_RS1)
        push_f_bits(e, n->i.rs1);
    else
        push_x(e, n->i.rs1);
    if (facts & F_RS2)
        push_f_bits(e, rs2_of(n));
    else
        push64(e, 0);
    if (facts & F_RS3)
        push_f_bits(e, rs3_of(n));
    else
        push64(e, 0);
    push32(e, (uint32_t)(uintptr_t)&jit_fp);
    op(e, W_CALL_INDIRECT);
    put_u(&e->out, TYPE_FP_HELPER);
    put_u(&e->out, 0);
    if (real) {
        op(e, W_F64_FROM_I64);
        set(e, e->float_temp);
    } else {
        set(e, L_WORD);
    }
    if (e->fp_known == FP_KNOWN)
        look_up_fp_flags(e);
    if (zeros)
        close(e);
    close(e);
}

static void finish(struct Emit *e, const struct JitInsn *n)
{
    get(e, L_WORD);
    if (op_facts[n->i.op] & F_RD)
        set_f_bits(e, n->i.rd);
    else
        set_x(e, n->i.rd);
}

static void push_not_fpok(struct Emit *e)
{
    if (e->fp_known == FP_EASY) {
        push32(e, 0);
        return;
    }
    get(e, L_FPOK);
    op(e, W_I32_EQZ);
}

/* i32: the temporary's exponent field less `least` is `count` or more. */
void push_exponent_not(struct Emit *e, uint32_t least, uint32_t count)
{
    get(e, e->float_temp);
    op(e, W_I64_FROM_F64);
    push64(e, 31);
    op(e, W_I64_SHR_U);
    op(e, W_I32_WRAP); /* without the sign */
    if (least) {
        push32(e, least << 21);
        op(e, W_I32_SUB);
    }
    push32(e, count << 21);
    op(e, W_I32_GE_U);
}

/* i32: the temporary is not a finite double of exponent field 2 or more, or flags are not known. */
static void push_not_normal_d(struct Emit *e)
{
    if (e->fp_known == FP_EASY) {
        push_exponent_not(e, 2, 0x7fd);
        return;
    }
    get(e, e->float_temp);
    op(e, W_I64_FROM_F64);
    push64(e, 1);
    op(e, W_I64_SHL);
    push64(e, 2ull << 53);
    op(e, W_I64_SUB);
    get(e, L_LIMIT);
    op(e, 0x5a); /* i64.ge_u */
}

/* The same for what may be small: infinite, not a number or nearly so. */
static void push_not_finite_d(struct Emit *e)
{
    if (e->fp_known == FP_EASY) {
        push_exponent_not(e, 0, 0x7ff);
        return;
    }
    get(e, e->float_temp);
    op(e, F64_ABS);
    get(e, fp_limit(e));
    op(e, F64_LT);
    op(e, W_I32_EQZ);
}

static void push_single_check(struct Emit *e, bool finite_only)
{
    get(e, L_WORD);
    op(e, W_I32_WRAP);
    push32(e, 1);
    op(e, W_I32_SHL);
    if (!finite_only) {
        push32(e, 2u << 24);
        op(e, W_I32_SUB);
    }
    push32(e, (finite_only ? 0xffu : 0xfdu) << 24);
    op(e, W_I32_GE_U);
}

/* With an i32 on the stack: the result in the temporary may be wrong. */
static void finish_d(struct Emit *e, const struct JitInsn *n)
{
    exact_if(e, n, true);
    get(e, e->float_temp);
    set(e, e->local[32 + n->i.rd]);
}

/* --- kinds ------------------------------------------------------------------------------- */

/* Sums of finite numbers are never inexact when they are tiny; products and quotients may be. */
static void arithmetic_d(struct Emit *e, const struct JitInsn *n, uint32_t code, bool finite_only)
{
    need_fp(e);
    push_d(e, n->i.rs1);
    if (code != F64_SQRT)
        push_d(e, rs2_of(n));
    op(e, code);
    if (later_result(e, n, finite_only))
        return;
    set(e, e->float_temp);
    finite_only ? push_not_finite_d(e) : push_not_normal_d(e);
    finish_d(e, n);
}

static void arithmetic_s(struct Emit *e, const struct JitInsn *n, uint32_t code, bool finite_only)
{
    need_fp(e);
    push_s(e, n->i.rs1);
    if (code != F32_SQRT)
        push_s(e, rs2_of(n));
    op(e, code);
    box(e);
    set(e, L_WORD);
    push_single_check(e, finite_only);
    push_not_fpok(e);
    op(e, W_I32_OR);
    push_unboxed(e, n, code == F32_SQRT ? 1 : 2);
    op(e, W_I32_OR);
    exact_if(e, n, false);
    finish(e, n);
}

/* a * b + c by doubles: the product of singles is exact, and rounding the sum
 * twice differs only on the middle between two singles (cpu/fp/fused.c). */
static void fused_s(struct Emit *e, const struct JitInsn *n, bool negate_product, bool negate_addend)
{
    need_fp(e);
    push_s(e, n->i.rs1);
    op(e, F64_PROMOTE);
    push_s(e, rs2_of(n));
    op(e, F64_PROMOTE);
    op(e, F64_MUL);
    if (negate_product)
        op(e, F64_NEG);
    push_s(e, rs3_of(n));
    op(e, F64_PROMOTE);
    op(e, negate_addend ? F64_SUB : F64_ADD);
    tee(e, e->float_temp);
    op(e, F32_DEMOTE);
    box(e);
    set(e, L_WORD);
    push_single_check(e, false);
    get(e, e->float_temp);
    op(e, W_I64_FROM_F64);
    push64(e, 0x1fffffff);
    op(e, W_I64_AND);
    push64(e, 0x10000000);
    op(e, W_I64_EQ);
    op(e, W_I32_OR);
    push_not_fpok(e);
    op(e, W_I32_OR);
    push_unboxed(e, n, 3);
    op(e, W_I32_OR);
    exact_if(e, n, false);
    finish(e, n);
}

/* By relaxed SIMD, which the start-up probe found to round once. */
static void fused_d(struct Emit *e, const struct JitInsn *n, bool negate_product, bool negate_addend)
{
    need_fp(e);
    if (!(MACHINE->jit.features & JIT_FUSED)) {
        push32(e, 1);
        exact_if(e, n, false);
        finish(e, n);
        return;
    }
    push_d(e, n->i.rs1);
    if (negate_product)
        op(e, F64_NEG);
    op(e, W_SIMD), put_u(&e->out, 0x14); /* f64x2.splat */
    push_d(e, rs2_of(n));
    op(e, W_SIMD), put_u(&e->out, 0x14);
    push_d(e, rs3_of(n));
    if (negate_addend)
        op(e, F64_NEG);
    op(e, W_SIMD), put_u(&e->out, 0x14);
    op(e, W_SIMD), put_u(&e->out, 0x107); /* f64x2.relaxed_madd */
    op(e, W_SIMD), put_u(&e->out, 0x21), put(&e->out, 0); /* f64x2.extract_lane 0 */
    if (later_result(e, n, false))
        return;
    set(e, e->float_temp);
    push_not_normal_d(e);
    finish_d(e, n);
}

/* Comparisons, minimum, maximum: the engine's for numbers. */
static void compare_d(struct Emit *e, const struct JitInsn *n, uint32_t code, bool to_x)
{
    need_fp(e);
    push_d(e, n->i.rs1);
    push_d(e, rs2_of(n));
    op(e, code);
    op(e, to_x ? W_I64_EXTEND_U : W_I64_FROM_F64);
    set(e, L_WORD);
    if (later_numbers(e, n)) {
        finish(e, n);
        return;
    }
    push_d(e, n->i.rs1);
    push_d(e, n->i.rs1);
    op(e, F64_NE);
    push_d(e, rs2_of(n));
    push_d(e, rs2_of(n));
    op(e, F64_NE);
    op(e, W_I32_OR);
    exact_if(e, n, false);
    finish(e, n);
}

static void compare_s(struct Emit *e, const struct JitInsn *n, uint32_t code, bool to_x)
{
    need_fp(e);
    push_s(e, n->i.rs1);
    push_s(e, rs2_of(n));
    op(e, code);
    if (to_x)
        op(e, W_I64_EXTEND_U);
    else
        box(e);
    set(e, L_WORD);
    push_s(e, n->i.rs1);
    push_s(e, n->i.rs1);
    op(e, F32_EQ);
    push_s(e, rs2_of(n));
    push_s(e, rs2_of(n));
    op(e, F32_EQ);
    op(e, W_I32_AND);
    op(e, W_I32_EQZ);
    push_unboxed(e, n, 2);
    op(e, W_I32_OR);
    exact_if(e, n, false);
    finish(e, n);
}

/* From integers; `inexact` when the result may have to be rounded. */
static void from_integer(struct Emit *e, const struct JitInsn *n, uint32_t code, bool word, bool single, bool inexact)
{
    need_fp(e);
    push_x(e, n->i.rs1);
    if (word)
        op(e, W_I32_WRAP);
    op(e, code);
    if (single)
        box(e);
    else
        op(e, W_I64_FROM_F64);
    set(e, L_WORD);
    if (inexact) {
        push_not_fpok(e);
        exact_if(e, n, false);
    }
    finish(e, n);
}

/* To a signed integer, rounded to nearest or towards zero, in range. */
static void to_integer(struct Emit *e, const struct JitInsn *n, uint32_t rounding, bool single, bool word)
{
    need_fp(e);
    if (single) {
        push_s(e, n->i.rs1);
        op(e, F64_PROMOTE);
    } else {
        push_d(e, n->i.rs1);
    }
    if (rounding == FP_ROUND_RNE)
        op(e, F64_NEAREST);
    tee(e, e->float_temp);
    op(e, W_FC), put_u(&e->out, TRUNC_SAT_I64_F64_S);
    set(e, L_WORD);
    /* |value| < 2^31 or 2^63; false for a NaN too */
    get(e, e->float_temp);
    op(e, F64_ABS);
    push_double(e, word ? 2147483648.0 : 9223372036854775808.0);
    op(e, F64_LT);
    op(e, W_I32_EQZ);
    push_not_fpok(e);
    op(e, W_I32_OR);
    if (single) {
        push_unboxed(e, n, 1);
        op(e, W_I32_OR);
    }
    exact_if(e, n, false);
    finish(e, n);
}

static void between_formats(struct Emit *e, const struct JitInsn *n, bool to_single)
{
    need_fp(e);
    if (to_single) {
        push_d(e, n->i.rs1);
        op(e, F32_DEMOTE);
        box(e);
        set(e, L_WORD);
        push_single_check(e, false);
        push_not_fpok(e);
    } else {
        push_s(e, n->i.rs1);
        op(e, F64_PROMOTE);
        tee(e, e->float_temp);
        op(e, W_I64_FROM_F64);
        set(e, L_WORD);
        get(e, L_WORD); /* a NaN becomes the canonical one, a signaling one raises NV */
        push64(e, 1);
        op(e, W_I64_SHL);
        push64(e, 0x7ffull << 53);
        op(e, 0x5a);
        push_unboxed(e, n, 1);
    }
    op(e, W_I32_OR);
    exact_if(e, n, false);
    finish(e, n);
}

static void exactly(struct Emit *e, const struct JitInsn *n)
{
    need_fp(e);
    push32(e, 1);
    exact_if(e, n, false);
    finish(e, n);
}

void emit_fp(struct Emit *e, const struct JitInsn *n)
{
    uint32_t rm = (uint32_t)n->i.imm >> 10 & 7;
    /* Of those without a rounding mode, the decoder leaves 0. */
    if (rm == 5 || rm == 6) {
        exit_slow(e);
        return;
    }
    bool nearest = rm == FP_ROUND_RNE || rm == 7; /* dynamic: L_FPOK knows */
    switch (n->i.op) {
    case OP_feq_d: compare_d(e, n, F64_EQ, true); return;
    case OP_flt_d: compare_d(e, n, F64_LT, true); return;
    case OP_fle_d: compare_d(e, n, F64_LE, true); return;
    case OP_fmin_d: compare_d(e, n, F64_MIN, false); return;
    case OP_fmax_d: compare_d(e, n, F64_MAX, false); return;
    case OP_feq_s: compare_s(e, n, F32_EQ, true); return;
    case OP_flt_s: compare_s(e, n, F32_LT, true); return;
    case OP_fle_s: compare_s(e, n, F32_LE, true); return;
    case OP_fmin_s: compare_s(e, n, F32_MIN, false); return;
    case OP_fmax_s: compare_s(e, n, F32_MAX, false); return;
    case OP_fcvt_d_s: between_formats(e, n, false); return;
    case OP_fcvt_d_w: from_integer(e, n, F64_FROM_I32_S, true, false, false); return;
    case OP_fcvt_d_wu: from_integer(e, n, F64_FROM_I32_U, true, false, false); return;
    default: break;
    }
    if (rm == FP_ROUND_RTZ || nearest) {
        uint32_t rounding = rm == FP_ROUND_RTZ ? FP_ROUND_RTZ : FP_ROUND_RNE;
        switch (n->i.op) {
        case OP_fcvt_w_d: to_integer(e, n, rounding, false, true); return;
        case OP_fcvt_l_d: to_integer(e, n, rounding, false, false); return;
        case OP_fcvt_w_s: to_integer(e, n, rounding, true, true); return;
        case OP_fcvt_l_s: to_integer(e, n, rounding, true, false); return;
        default: break;
        }
    }
    if (!nearest) {
        exactly(e, n);
        return;
    }
    switch (n->i.op) {
    case OP_fadd_d: arithmetic_d(e, n, F64_ADD, true); return;
    case OP_fsub_d: arithmetic_d(e, n, F64_SUB, true); return;
    case OP_fmul_d: arithmetic_d(e, n, F64_MUL, false); return;
    case OP_fdiv_d: arithmetic_d(e, n, F64_DIV, false); return;
    case OP_fsqrt_d: arithmetic_d(e, n, F64_SQRT, true); return;
    case OP_fadd_s: arithmetic_s(e, n, F32_ADD, true); return;
    case OP_fsub_s: arithmetic_s(e, n, F32_SUB, true); return;
    case OP_fmul_s: arithmetic_s(e, n, F32_MUL, false); return;
    case OP_fdiv_s: arithmetic_s(e, n, F32_DIV, false); return;
    case OP_fsqrt_s: arithmetic_s(e, n, F32_SQRT, true); return;
    case OP_fmadd_d: fused_d(e, n, false, false); return;
    case OP_fmsub_d: fused_d(e, n, false, true); return;
    case OP_fnmsub_d: fused_d(e, n, true, false); return;
    case OP_fnmadd_d: fused_d(e, n, true, true); return;
    case OP_fmadd_s: fused_s(e, n, false, false); return;
    case OP_fmsub_s: fused_s(e, n, false, true); return;
    case OP_fnmsub_s: fused_s(e, n, true, false); return;
    case OP_fnmadd_s: fused_s(e, n, true, true); return;
    case OP_fcvt_s_d: between_formats(e, n, true); return;
    case OP_fcvt_d_l: from_integer(e, n, F64_FROM_I64_S, false, false, true); return;
    case OP_fcvt_d_lu: from_integer(e, n, F64_FROM_I64_U, false, false, true); return;
    case OP_fcvt_s_w: from_integer(e, n, F32_FROM_I32_S, true, true, true); return;
    case OP_fcvt_s_wu: from_integer(e, n, F32_FROM_I32_U, true, true, true); return;
    case OP_fcvt_s_l: from_integer(e, n, F32_FROM_I64_S, false, true, true); return;
    case OP_fcvt_s_lu: from_integer(e, n, F32_FROM_I64_U, false, true, true); return;
    default: exactly(e, n); return;
    }
}

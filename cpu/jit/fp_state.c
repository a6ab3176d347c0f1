/* Floating point: what must hold of the hart before its operations may be the
 * engine's (jit/fp.c): FS dirty, the rounding mode, which flags are set already;
 * asked of the hart as seldom as may be.
 */
#include "jit/emit.h"

#include "fp/fp.h"
#include "hart/trap.h"

void need_fp_on(struct Emit *e)
{
    if (e->fp_known != FP_UNKNOWN)
        return;
    LOAD_HART(e, W_I64_LOAD, 3, mstatus);
    push64(e, MSTATUS_FS);
    op(e, W_I64_AND);
    op(e, W_I64_EQZ);
    exit_slow_if(e);
    e->fp_known = FP_ON;
}

#define LIMIT (0x7fdull << 53) /* exponent field 0x7fd, as a double's bits without their sign */

uint32_t fp_limit(const struct Emit *e) { return e->float_temp + 1; }

/* L_FPOK = rounding is to nearest and NX is set.  Where that is not so, no
 * result is below the limits, and one comparison asks for all. */
void look_up_fp_flags(struct Emit *e)
{
    LOAD_HART(e, W_I32_LOAD, 2, fcsr_flags);
    push32(e, FP_NX);
    op(e, W_I32_AND);
    LOAD_HART(e, W_I32_LOAD, 2, frm);
    op(e, W_I32_EQZ);
    op(e, W_I32_AND);
    set(e, L_FPOK);
    push64(e, LIMIT);
    push64(e, 0);
    get(e, L_FPOK);
    op(e, W_SELECT);
    tee(e, L_LIMIT);
    push64(e, 1);
    op(e, W_I64_SHR_U);
    op(e, W_F64_FROM_I64);
    set(e, fp_limit(e));
}

/* Pushes whether FS is dirty (W_I64_EQ) or not (W_I64_NE). */
static void push_dirty(struct Emit *e, uint32_t comparison)
{
    LOAD_HART(e, W_I64_LOAD, 3, mstatus);
    push64(e, MSTATUS_FS);
    op(e, W_I64_AND);
    push64(e, MSTATUS_FS);
    op(e, comparison);
}

static void leave_unless_dirty(struct Emit *e)
{
    push_dirty(e, W_I64_NE);
    LOAD_HART(e, W_I32_LOAD, 2, frm);
    push32(e, 5);
    op(e, W_I32_GE_U);
    op(e, W_I32_OR);
    exit_slow_if(e);
}

/* FS dirty, frm a rounding mode, L_FPOK known; or leaves.  Asked of the hart
 * once, L_FPKNOWN remembers it until something may have changed it. */
void need_fp(struct Emit *e)
{
    if (e->fp_known >= FP_KNOWN)
        return;
    get(e, L_FPKNOWN);
    op(e, W_I32_EQZ);
    hint_unlikely(e);
    open(e, W_IF, LABEL_NONE);
    leave_unless_dirty(e);
    look_up_fp_flags(e);
    push32(e, 1);
    set(e, L_FPKNOWN);
    close(e);
    e->fp_known = FP_KNOWN;
}

void push_fp_easy(struct Emit *e)
{
    push_dirty(e, W_I64_EQ);
    LOAD_HART(e, W_I32_LOAD, 2, frm);
    op(e, W_I32_EQZ);
    op(e, W_I32_AND);
    LOAD_HART(e, W_I32_LOAD, 2, fcsr_flags);
    push32(e, FP_NX);
    op(e, W_I32_AND);
    push32(e, 0);
    op(e, W_I32_NE);
    op(e, W_I32_AND);
}

bool needs_easy_fp(const struct JitInsn *n) { return n->kind == KIND_FP; }

void forget_fp(struct Emit *e)
{
    e->fp_known = FP_UNKNOWN;
    if (e->r->used >> 32) {
        push32(e, 0);
        set(e, L_FPKNOWN);
    }
}

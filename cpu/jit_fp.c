/* Floating point. */
#include "jit_emit.h"

#include "trap.h"

void need_fp_on(struct Emit *e)
{
    if (e->fp_known >= 1)
        return;
    LOAD_HART(e, W_I64_LOAD, 3, mstatus);
    push64(e, MSTATUS_FS);
    op(e, W_I64_AND);
    op(e, W_I64_EQZ);
    exit_slow_if(e);
    e->fp_known = 1;
}

void need_fp(struct Emit *e)
{
    if (e->fp_known >= 2)
        return;
    LOAD_HART(e, W_I64_LOAD, 3, mstatus);
    push64(e, MSTATUS_FS);
    op(e, W_I64_AND);
    push64(e, MSTATUS_FS);
    op(e, W_I64_NE);
    exit_slow_if(e);
    e->fp_known = 2;
}

void emit_fp(struct Emit *e, const struct JitInsn *n)
{
    (void)n;
    exit_slow(e);
}

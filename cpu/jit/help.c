/* What generated code calls: things too large to inline that still need no
 * look at the hart from outside. */
#include "hart/csr.h"
#include "fp/fp.h"
#include "jit/emit.h"
#include "hart/trap.h"

/* One CSR instruction: number | CSR_* << 12 | write << 14.  0: done, the old
 * value in h->jit_value.  1: nothing was done, it is the interpreter's: what
 * may trap, what changes how memory or code is seen, what could let an
 * interrupt in. */
uint32_t jit_csr(struct Hart *h, uint32_t what, uint64_t operand)
{
    uint32_t number = what & 0xfff;
    bool write = what >> 14 & 1;
    h->instret = h->jit_end - (uint64_t)(int64_t)(int32_t)h->jit_fuel;
    switch (number) {
    case 0x001: case 0x002: case 0x003:                                     /* fflags, frm, fcsr */
    case 0x140: case 0x141: case 0x142: case 0x143:                         /* sscratch, sepc, scause, stval */
    case 0x340: case 0x341: case 0x342: case 0x343:
        break;
    case 0x100: case 0x104: case 0x300: case 0x304: /* xstatus, xie */
        if (write && (trap_pending(h) & (number & 4 ? ~0ull : h->mie)))
            return 1;
        break;
    case 0xc00: case 0xc01: case 0xc02: case 0x144: case 0x344: /* cycle, time, instret, xip */
        if (write)
            return 1;
        break;
    default:
        return 1;
    }
    uint32_t privilege = number >> 8 & 3;
    if (h->privilege < privilege || (number < 4 && !(h->mstatus & MSTATUS_FS)))
        return 1;
    if (number >= 0xc00 && h->privilege != PRIV_M &&
        (!(h->mcounteren >> (number & 31) & 1) || (h->privilege == PRIV_U && !(h->scounteren >> (number & 31) & 1))))
        return 1;
    return csr_op(h, number, what >> 12 & 3, operand, write, &h->jit_value) ? 0 : 1;
}

/* One floating-point instruction, exactly: OP_* | rounding mode << 16.  Its
 * flags are in h->fcsr_flags then. */
uint64_t jit_fp(struct Hart *h, uint32_t what, uint64_t a, uint64_t b, uint64_t c)
{
    uint32_t rm = what >> 16 == 7 ? h->frm : what >> 16;
    (void)b, (void)c;
    h->stat_jit_exact++;
    switch (what & 0xffff) {
#include "generated/isa_fp.inc"
    default:
        return 0;
    }
}

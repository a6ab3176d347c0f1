/* Traps: raising, delivering, returning.  Privileged spec 3.1.6 to 3.1.16, 4.1. */
#ifndef HARTWELL_TRAP_H
#define HARTWELL_TRAP_H

#include "hart/hart.h"

/* Exception codes, Privileged spec table 3.6. */
enum {
    CAUSE_FETCH_MISALIGNED = 0, CAUSE_FETCH_ACCESS = 1, CAUSE_ILLEGAL = 2, CAUSE_BREAKPOINT = 3,
    CAUSE_LOAD_MISALIGNED = 4, CAUSE_LOAD_ACCESS = 5, CAUSE_STORE_MISALIGNED = 6, CAUSE_STORE_ACCESS = 7,
    CAUSE_ECALL_U = 8, CAUSE_ECALL_S = 9, CAUSE_ECALL_M = 11,
    CAUSE_FETCH_PAGE = 12, CAUSE_LOAD_PAGE = 13, CAUSE_STORE_PAGE = 15,
};

/* mstatus fields, Privileged spec 3.1.6. */
#define MSTATUS_SIE (1ull << 1)
#define MSTATUS_MIE (1ull << 3)
#define MSTATUS_SPIE (1ull << 5)
#define MSTATUS_MPIE (1ull << 7)
#define MSTATUS_SPP (1ull << 8)
#define MSTATUS_MPP (3ull << 11)
#define MSTATUS_FS (3ull << 13)
#define MSTATUS_MPRV (1ull << 17)
#define MSTATUS_SUM (1ull << 18)
#define MSTATUS_MXR (1ull << 19)
#define MSTATUS_TVM (1ull << 20)
#define MSTATUS_TW (1ull << 21)
#define MSTATUS_TSR (1ull << 22)
#define MSTATUS_XL (0xaull << 32) /* UXL = SXL = 64 */
#define MSTATUS_SD (1ull << 63)

/* Notes a trap for delivery; always false, so that callers can return it.
 * h->pc must be, or become, the faulting instruction's. */
bool trap_raise(struct Hart *h, uint64_t cause, uint64_t tval);

/* Enters the handler of the pending trap. */
void trap_deliver(struct Hart *h);

/* Enters the handler of the most urgent enabled interrupt; false if none. */
bool trap_interrupt(struct Hart *h);

/* The mip a program sees, with software's SEIP. */
uint64_t trap_pending(struct Hart *h);

/* What system instructions do; h->pc is theirs.  false: trap pending.
 * mret and sret set pc themselves. */
bool sys_ecall(struct Hart *h);
bool sys_mret(struct Hart *h);
bool sys_sret(struct Hart *h);
bool sys_wfi(struct Hart *h);
bool sys_sfence_vma(struct Hart *h, uint64_t va, uint64_t asid, bool va_given, bool asid_given);
bool sys_fence_i(struct Hart *h);

enum { CBO_INVAL = 0, CBO_CLEAN = 1, CBO_FLUSH = 2, CBO_ZERO = 4 };
bool sys_cbo(struct Hart *h, uint32_t kind, uint64_t va);

/* Answers an SBI call of S mode in built-in firmware. */
void sbi_call(struct Hart *h);

#endif

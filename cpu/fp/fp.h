/* Floating point of the F and D extensions (Unprivileged ISA, chapters 21, 22).
 *
 * Operands and results are f registers as they are: a single is NaN-boxed,
 * one that isn't counts as the canonical NaN, and every single result is
 * boxed.  What goes to or comes from an x register is the register's value
 * (results of 32 bits sign-extended).  `rm` is a FP_ROUND_*, never "dynamic".
 * Exceptions are ORed into h->fcsr_flags.  NaN results are canonical; tininess
 * is detected after rounding.
 *
 * All of it is exact integer arithmetic (fp_arith, fp_fused, fp_convert,
 * fp_compare).  In front stand short cuts through the engine's own operations
 * for where these provably do the same (fp/fast.h); -DFP_NO_FAST takes them out.
 */
#ifndef HARTWELL_FP_H
#define HARTWELL_FP_H

#include "hart/hart.h"

enum { FP_ROUND_RNE = 0, FP_ROUND_RTZ = 1, FP_ROUND_RDN = 2, FP_ROUND_RUP = 3, FP_ROUND_RMM = 4 };
enum { FP_NX = 1, FP_UF = 2, FP_OF = 4, FP_DZ = 8, FP_NV = 16 };

#define FP_DECLARE(s)                                                                        \
    uint64_t fp_add_##s(struct Hart *h, uint64_t a, uint64_t b, uint32_t rm);                \
    uint64_t fp_sub_##s(struct Hart *h, uint64_t a, uint64_t b, uint32_t rm);                \
    uint64_t fp_mul_##s(struct Hart *h, uint64_t a, uint64_t b, uint32_t rm);                \
    uint64_t fp_div_##s(struct Hart *h, uint64_t a, uint64_t b, uint32_t rm);                \
    uint64_t fp_sqrt_##s(struct Hart *h, uint64_t a, uint32_t rm);                           \
    /* a * b + c, a * b - c, -(a * b) + c, -(a * b) - c, each rounded once */                \
    uint64_t fp_madd_##s(struct Hart *h, uint64_t a, uint64_t b, uint64_t c, uint32_t rm);   \
    uint64_t fp_msub_##s(struct Hart *h, uint64_t a, uint64_t b, uint64_t c, uint32_t rm);   \
    uint64_t fp_nmsub_##s(struct Hart *h, uint64_t a, uint64_t b, uint64_t c, uint32_t rm);  \
    uint64_t fp_nmadd_##s(struct Hart *h, uint64_t a, uint64_t b, uint64_t c, uint32_t rm);  \
    /* IEEE 754-2019 minimumNumber and maximumNumber; -0 is below +0 */                      \
    uint64_t fp_min_##s(struct Hart *h, uint64_t a, uint64_t b);                             \
    uint64_t fp_max_##s(struct Hart *h, uint64_t a, uint64_t b);                             \
    /* 0 or 1; any NaN is invalid for lt and le, only a signalling one for eq */             \
    uint64_t fp_eq_##s(struct Hart *h, uint64_t a, uint64_t b);                              \
    uint64_t fp_lt_##s(struct Hart *h, uint64_t a, uint64_t b);                              \
    uint64_t fp_le_##s(struct Hart *h, uint64_t a, uint64_t b);                              \
    uint64_t fp_class_##s(struct Hart *h, uint64_t a);                                       \
    /* to integers: out of range saturates and is invalid, not inexact; NaN is the maximum */ \
    uint64_t fp_cvt_w_##s(struct Hart *h, uint64_t a, uint32_t rm);                          \
    uint64_t fp_cvt_wu_##s(struct Hart *h, uint64_t a, uint32_t rm);                         \
    uint64_t fp_cvt_l_##s(struct Hart *h, uint64_t a, uint32_t rm);                          \
    uint64_t fp_cvt_lu_##s(struct Hart *h, uint64_t a, uint32_t rm);                         \
    uint64_t fp_cvt_##s##_w(struct Hart *h, uint64_t x, uint32_t rm);                        \
    uint64_t fp_cvt_##s##_wu(struct Hart *h, uint64_t x, uint32_t rm);                       \
    uint64_t fp_cvt_##s##_l(struct Hart *h, uint64_t x, uint32_t rm);                        \
    uint64_t fp_cvt_##s##_lu(struct Hart *h, uint64_t x, uint32_t rm);

FP_DECLARE(s)
FP_DECLARE(d)

uint64_t fp_cvt_s_d(struct Hart *h, uint64_t a, uint32_t rm);
uint64_t fp_cvt_d_s(struct Hart *h, uint64_t a); /* always exact */

#endif

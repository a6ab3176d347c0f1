/* Short cuts through the engine's floating point, which is IEEE 754 rounded to
 * nearest, ties to even, and shows no flags.
 *
 * It gives the right result when RNE is asked for; and when NX is set already,
 * nothing is left to find out about flags once the result is finite and well
 * above the subnormals: an invalid operation gives NaN, a division by zero or
 * an overflow infinity, an underflow at most the smallest normal number.
 * Guests rarely clear the flags, so after its first inexact result a program
 * runs here.
 */
#ifndef HARTWELL_FP_FAST_H
#define HARTWELL_FP_FAST_H

#include "fp/parts.h"

#pragma STDC FP_CONTRACT OFF

typedef float real_s;
typedef double real_d;

static inline real_s to_real_s(uint64_t reg)
{
    uint32_t raw = UNBOX32(reg);
    real_s value;
    memcpy(&value, &raw, 4);
    return value;
}

static inline real_d to_real_d(uint64_t reg)
{
    real_d value;
    memcpy(&value, &reg, 8);
    return value;
}

static inline uint64_t from_real_s(real_s value)
{
    uint32_t raw;
    memcpy(&raw, &value, 4);
    return BOX32(raw);
}

static inline uint64_t from_real_d(real_d value)
{
    uint64_t raw;
    memcpy(&raw, &value, 8);
    return raw;
}

/* Finite, and twice the smallest normal number or more: exponent field 2 or up. */
static inline bool clearly_normal_s(uint64_t reg) { return ((uint32_t)(reg >> 23) & 0xff) - 2 < 0xff - 2; }
static inline bool clearly_normal_d(uint64_t reg) { return ((uint32_t)(reg >> 52) & 0x7ff) - 2 < 0x7ff - 2; }

#ifdef FP_NO_FAST
#define FP_FAST_ALLOWED false
#else
#define FP_FAST_ALLOWED true
#endif

/* Only NX can be raised by what follows, and it is set. */
static inline bool fp_inexact_known(const struct Hart *h, uint32_t rm)
{
    return FP_FAST_ALLOWED && rm == FP_ROUND_RNE && (h->fcsr_flags & FP_NX);
}

/* Returns the engine's result from the function this stands in, if it will do. */
#define FP_TRY(s, h, rm, expression)                    \
    do {                                                \
        if (fp_inexact_known(h, rm)) {                  \
            uint64_t quick = from_real_##s(expression); \
            if (clearly_normal_##s(quick))              \
                return quick;                           \
        }                                               \
    } while (0)

#endif

/* Fused multiply-add: the exact product and the addend, rounded once. */
#include "fp/fast.h"

/* raw_a * raw_b + raw_c */
static uint64_t fused(struct Hart *h, uint64_t raw_a, uint64_t raw_b, uint64_t raw_c, uint32_t rm, struct FpFormat f)
{
    struct FpParts a = fp_unpack(raw_a, f), b = fp_unpack(raw_b, f), c = fp_unpack(raw_c, f);
    bool infinite = a.kind == FP_INFINITE || b.kind == FP_INFINITE;
    bool zero = a.kind == FP_ZERO || b.kind == FP_ZERO;
    if (fp_is_nan(a) || fp_is_nan(b))
        return c.kind == FP_SIGNALLING_NAN ? fp_invalid(h, f) : fp_from_nans(h, a, b, f);
    if (infinite && zero) /* invalid whatever the addend is (chapter 21.6) */
        return fp_invalid(h, f);
    if (fp_is_nan(c))
        return fp_from_nans(h, c, c, f);
    bool sign = a.sign != b.sign;
    if (infinite)
        return c.kind == FP_INFINITE && c.sign != sign ? fp_invalid(h, f) : fp_infinity(sign, f);
    if (c.kind == FP_INFINITE)
        return raw_c;
    if (zero && c.kind == FP_ZERO)
        return sign == c.sign ? raw_c : fp_zero(rm == FP_ROUND_RDN, f);
    if (zero)
        return raw_c;
    struct FpWide product = fp_product(a, b);
    if (c.kind == FP_ZERO)
        return fp_round(h, sign, product.exponent, product.high | (product.low != 0), rm, f);
    return fp_sum(h, product, fp_widen(c), rm, f);
}

/* A product of singles is exact in double, and rounding the sum first to
 * double, then to single goes wrong only when the first lands on the middle
 * between two singles (or in the subnormals). */
static inline bool quick_s(struct Hart *h, uint64_t a, uint64_t b, uint64_t c, uint32_t rm, uint64_t *result)
{
    if (!fp_inexact_known(h, rm))
        return false;
    real_d product = (real_d)to_real_s(a) * (real_d)to_real_s(b);
    real_d sum = product + (real_d)to_real_s(c);
    *result = from_real_s((real_s)sum);
    return (from_real_d(sum) & 0x1fffffff) != 0x10000000 && clearly_normal_s(*result);
}

/* Doubles have no wider format to go through. */
static inline bool quick_d(struct Hart *h, uint64_t a, uint64_t b, uint64_t c, uint32_t rm, uint64_t *result)
{
    (void)h, (void)a, (void)b, (void)c, (void)rm, (void)result;
    return false;
}

/* a * b + c, where `product` and `addend` flip a sign. */
#define MULTIPLY_ADD(s, name, product, addend)                                                      \
    uint64_t fp_##name##_##s(struct Hart *h, uint64_t a, uint64_t b, uint64_t c, uint32_t rm)       \
    {                                                                                               \
        uint64_t result;                                                                            \
        a = REG_##s(RAW_##s(a) ^ fp_sign_bit(product, format_##s));                                 \
        c = REG_##s(RAW_##s(c) ^ fp_sign_bit(addend, format_##s));                                  \
        if (quick_##s(h, a, b, c, rm, &result))                                                     \
            return result;                                                                          \
        return REG_##s(fused(h, RAW_##s(a), RAW_##s(b), RAW_##s(c), rm, format_##s));               \
    }

#define FUSED(s)                          \
    MULTIPLY_ADD(s, madd, false, false)   \
    MULTIPLY_ADD(s, msub, false, true)    \
    MULTIPLY_ADD(s, nmsub, true, false)   \
    MULTIPLY_ADD(s, nmadd, true, true)

FUSED(s)
FUSED(d)

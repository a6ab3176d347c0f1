/* Addition, subtraction, multiplication, division, square root. */
#include "fp/fast.h"

static uint64_t add(struct Hart *h, uint64_t raw_a, uint64_t raw_b, uint32_t rm, struct FpFormat f)
{
    struct FpParts a = fp_unpack(raw_a, f), b = fp_unpack(raw_b, f);
    if (fp_is_nan(a) || fp_is_nan(b))
        return fp_from_nans(h, a, b, f);
    if (a.kind == FP_INFINITE)
        return b.kind == FP_INFINITE && a.sign != b.sign ? fp_invalid(h, f) : raw_a;
    if (b.kind == FP_INFINITE)
        return raw_b;
    if (a.kind == FP_ZERO && b.kind == FP_ZERO)
        return a.sign == b.sign ? raw_a : fp_zero(rm == FP_ROUND_RDN, f);
    if (a.kind == FP_ZERO)
        return raw_b;
    if (b.kind == FP_ZERO)
        return raw_a;
    return fp_sum(h, fp_widen(a), fp_widen(b), rm, f);
}

static uint64_t mul(struct Hart *h, uint64_t raw_a, uint64_t raw_b, uint32_t rm, struct FpFormat f)
{
    struct FpParts a = fp_unpack(raw_a, f), b = fp_unpack(raw_b, f);
    if (fp_is_nan(a) || fp_is_nan(b))
        return fp_from_nans(h, a, b, f);
    bool sign = a.sign != b.sign;
    if (a.kind == FP_INFINITE || b.kind == FP_INFINITE)
        return a.kind == FP_ZERO || b.kind == FP_ZERO ? fp_invalid(h, f) : fp_infinity(sign, f);
    if (a.kind == FP_ZERO || b.kind == FP_ZERO)
        return fp_zero(sign, f);
    struct FpWide product = fp_product(a, b);
    return fp_round(h, sign, product.exponent, product.high | (product.low != 0), rm, f);
}

/* One digit of 32 bits of (remainder * 2^32 + next) / divisor, with remainder <
 * divisor and the divisor's bit 63 set; updates the remainder. */
static uint64_t quotient_digit(uint64_t *remainder, uint32_t next, uint64_t divisor)
{
    uint64_t high = divisor >> 32, low = (uint32_t)divisor;
    /* Dividing by the high half alone overshoots, by two at most (Knuth,
     * TAOCP volume 2, 4.3.1, theorem B). */
    uint64_t digit = *remainder / high, left = *remainder % high;
    while (digit >> 32 || digit * low > (left << 32 | next)) {
        digit--;
        left += high;
        if (left >> 32)
            break;
    }
    *remainder = (*remainder << 32 | next) - digit * divisor; /* fits; the wrapping cancels out */
    return digit;
}

static uint64_t divide_parts(struct Hart *h, uint64_t raw_a, uint64_t raw_b, uint32_t rm, struct FpFormat f)
{
    struct FpParts a = fp_unpack(raw_a, f), b = fp_unpack(raw_b, f);
    if (fp_is_nan(a) || fp_is_nan(b))
        return fp_from_nans(h, a, b, f);
    bool sign = a.sign != b.sign;
    if (a.kind == FP_INFINITE)
        return b.kind == FP_INFINITE ? fp_invalid(h, f) : fp_infinity(sign, f);
    if (b.kind == FP_INFINITE)
        return fp_zero(sign, f);
    if (b.kind == FP_ZERO) {
        if (a.kind == FP_ZERO)
            return fp_invalid(h, f);
        h->fcsr_flags |= FP_DZ;
        return fp_infinity(sign, f);
    }
    if (a.kind == FP_ZERO)
        return fp_zero(sign, f);
    /* A dividend below the divisor makes a quotient of exactly 64 bits; halving
     * it loses nothing, as its low bits are 0. */
    int32_t exponent = a.exponent - b.exponent;
    uint64_t remainder = a.significand;
    if (remainder >= b.significand)
        remainder >>= 1;
    else
        exponent--;
    uint64_t quotient = quotient_digit(&remainder, 0, b.significand) << 32;
    quotient |= quotient_digit(&remainder, 0, b.significand);
    return fp_round(h, sign, exponent, quotient | (remainder != 0), rm, f);
}

static uint64_t square_root(struct Hart *h, uint64_t raw, uint32_t rm, struct FpFormat f)
{
    struct FpParts a = fp_unpack(raw, f);
    if (fp_is_nan(a))
        return fp_from_nans(h, a, a, f);
    if (a.kind == FP_ZERO)
        return raw;
    if (a.sign)
        return fp_invalid(h, f);
    if (a.kind == FP_INFINITE)
        return raw;
    /* Digit by digit, two bits of the radicand for one of the root.  With the
     * exponent even the radicand is in [1, 4), its first pair being before the
     * point; halving it loses only a 0. */
    uint64_t radicand = a.exponent & 1 ? a.significand : a.significand >> 1;
    uint64_t root = 0, remainder = 0;
    const uint32_t digits = f.precision + 1; /* one to round by; the remainder says the rest */
    for (uint32_t i = 0; i < digits; i++) {
        remainder = remainder << 2 | radicand >> 62;
        radicand <<= 2;
        root <<= 1;
        if (remainder > 2 * root) {
            remainder -= 2 * root + 1;
            root |= 1;
        }
    }
    uint64_t significand = root << (64 - digits) | (remainder != 0);
    return fp_round(h, false, (a.exponent - (a.exponent & 1)) / 2, significand, rm, f);
}

#define ARITHMETIC(s)                                                                             \
    uint64_t fp_add_##s(struct Hart *h, uint64_t a, uint64_t b, uint32_t rm)                      \
    {                                                                                             \
        FP_TRY(s, h, rm, to_real_##s(a) + to_real_##s(b));                                        \
        return REG_##s(add(h, RAW_##s(a), RAW_##s(b), rm, format_##s));                           \
    }                                                                                             \
    uint64_t fp_sub_##s(struct Hart *h, uint64_t a, uint64_t b, uint32_t rm)                      \
    {                                                                                             \
        FP_TRY(s, h, rm, to_real_##s(a) - to_real_##s(b));                                        \
        return REG_##s(add(h, RAW_##s(a), RAW_##s(b) ^ fp_sign_bit(true, format_##s), rm, format_##s)); \
    }                                                                                             \
    uint64_t fp_mul_##s(struct Hart *h, uint64_t a, uint64_t b, uint32_t rm)                      \
    {                                                                                             \
        FP_TRY(s, h, rm, to_real_##s(a) * to_real_##s(b));                                        \
        return REG_##s(mul(h, RAW_##s(a), RAW_##s(b), rm, format_##s));                           \
    }                                                                                             \
    uint64_t fp_div_##s(struct Hart *h, uint64_t a, uint64_t b, uint32_t rm)                      \
    {                                                                                             \
        FP_TRY(s, h, rm, to_real_##s(a) / to_real_##s(b));                                        \
        return REG_##s(divide_parts(h, RAW_##s(a), RAW_##s(b), rm, format_##s));                  \
    }                                                                                             \
    uint64_t fp_sqrt_##s(struct Hart *h, uint64_t a, uint32_t rm)                                 \
    {                                                                                             \
        FP_TRY(s, h, rm, SQUARE_ROOT_##s(to_real_##s(a)));                                        \
        return REG_##s(square_root(h, RAW_##s(a), rm, format_##s));                               \
    }

/* One instruction in Wasm and natively where the compiler knows that errno
 * does not matter (-fno-math-errno). */
#define SQUARE_ROOT_s __builtin_sqrtf
#define SQUARE_ROOT_d __builtin_sqrt

ARITHMETIC(s)
ARITHMETIC(d)

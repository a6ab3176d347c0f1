/* A floating-point number taken apart, for both formats alike.
 *
 *      31  30      23 22            0        63  62      52 51            0
 *     +---+----------+---------------+      +---+----------+---------------+
 *     | s | exponent |   fraction    |      | s | exponent |   fraction    |
 *     +---+----------+---------------+      +---+----------+---------------+
 *
 * A finite number that isn't 0 is  significand / 2^63 * 2^exponent  with bit 63
 * of the significand set; subnormals too.  Operations make a result of the
 * same form, whose bit 0 is also set when anything below it was lost, and
 * fp_round is the one place that rounds, overflows and underflows.
 *
 * "raw" is a number's bits in its own format, without NaN box.
 */
#ifndef HARTWELL_FP_PARTS_H
#define HARTWELL_FP_PARTS_H

#include "hart/arith.h"
#include "fp/fp.h"

struct FpFormat {
    uint32_t bits;
    uint32_t precision; /* of the significand, with the hidden bit */
    int32_t bias;       /* also the largest exponent */
};

/* One name per format letter, so that a macro's argument s or d picks them. */
static const struct FpFormat format_s = {32, 24, 127};
static const struct FpFormat format_d = {64, 53, 1023};
#define RAW_s(reg) ((uint64_t)UNBOX32(reg))
#define RAW_d(reg) (reg)
#define REG_s(raw) BOX32(raw)
#define REG_d(raw) (raw)

enum FpKind { FP_ZERO, FP_FINITE, FP_INFINITE, FP_QUIET_NAN, FP_SIGNALLING_NAN };

struct FpParts {
    enum FpKind kind;
    bool sign;
    int32_t exponent;
    uint64_t significand;
};

static inline uint64_t fp_sign_bit(bool sign, struct FpFormat f) { return (uint64_t)sign << (f.bits - 1); }
static inline uint64_t fp_hidden(struct FpFormat f) { return 1ull << (f.precision - 1); }
static inline uint64_t fp_zero(bool sign, struct FpFormat f) { return fp_sign_bit(sign, f); }
static inline uint64_t fp_infinity(bool sign, struct FpFormat f)
{
    return fp_sign_bit(sign, f) | (uint64_t)(2 * f.bias + 1) << (f.precision - 1);
}
static inline uint64_t fp_nan(struct FpFormat f) { return fp_infinity(false, f) | fp_hidden(f) >> 1; }

static inline uint64_t fp_invalid(struct Hart *h, struct FpFormat f)
{
    h->fcsr_flags |= FP_NV;
    return fp_nan(f);
}

static inline struct FpParts fp_unpack(uint64_t raw, struct FpFormat f)
{
    uint64_t fraction = raw & (fp_hidden(f) - 1);
    int32_t field = (int32_t)(raw >> (f.precision - 1)) & (2 * f.bias + 1);
    struct FpParts p = {FP_FINITE, raw >> (f.bits - 1) & 1, 0, 0};
    if (field == 2 * f.bias + 1) {
        p.kind = fraction == 0 ? FP_INFINITE : fraction & fp_hidden(f) >> 1 ? FP_QUIET_NAN : FP_SIGNALLING_NAN;
    } else if (field != 0) {
        p.exponent = field - f.bias;
        p.significand = (fraction | fp_hidden(f)) << (64 - f.precision);
    } else if (fraction != 0) {
        int32_t zeros = __builtin_clzll(fraction);
        p.exponent = 65 - f.bias - (int32_t)f.precision - zeros;
        p.significand = fraction << zeros;
    } else {
        p.kind = FP_ZERO;
    }
    return p;
}

static inline bool fp_is_nan(struct FpParts p) { return p.kind >= FP_QUIET_NAN; }

/* The canonical NaN for an operation on NaNs; invalid if one was signalling. */
static inline uint64_t fp_from_nans(struct Hart *h, struct FpParts a, struct FpParts b, struct FpFormat f)
{
    return a.kind == FP_SIGNALLING_NAN || b.kind == FP_SIGNALLING_NAN ? fp_invalid(h, f) : fp_nan(f);
}

/* Shifts right; what falls off the end stays as a 1 in bit 0. */
static inline uint64_t fp_shift_sticky(uint64_t value, uint32_t by)
{
    return by == 0 ? value : by > 63 ? value != 0 : value >> by | (value << (64 - by) != 0);
}

/* Is one added to the kept bits?  `rest` are the bits below them, `half` the
 * highest of these. */
static inline bool fp_rounds_up(bool sign, bool odd, uint64_t rest, uint64_t half, uint32_t rm)
{
    switch (rm) {
    case FP_ROUND_RNE: return rest > half || (rest == half && odd);
    case FP_ROUND_RDN: return sign && rest != 0;
    case FP_ROUND_RUP: return !sign && rest != 0;
    case FP_ROUND_RMM: return rest >= half;
    default: return false;
    }
}

/* Rounds a finite result that isn't 0 into its format and raises what that
 * raises (OF, UF, NX). */
uint64_t fp_round(struct Hart *h, bool sign, int32_t exponent, uint64_t significand, uint32_t rm, struct FpFormat f);

/* A sum or product before rounding: 128 bits of significand, bit 127 set. */
struct FpWide {
    bool sign;
    int32_t exponent;
    uint64_t high, low;
};

static inline struct FpWide fp_widen(struct FpParts p)
{
    return (struct FpWide){p.sign, p.exponent, p.significand, 0};
}

static inline struct FpWide fp_product(struct FpParts a, struct FpParts b)
{
    uint64_t high = mul_high(a.significand, b.significand), low = a.significand * b.significand;
    int32_t exponent = a.exponent + b.exponent + 1;
    if (!(high >> 63)) {
        high = high << 1 | low >> 63;
        low <<= 1;
        exponent--;
    }
    return (struct FpWide){a.sign != b.sign, exponent, high, low};
}

/* Rounds a + b, neither 0, once. */
uint64_t fp_sum(struct Hart *h, struct FpWide a, struct FpWide b, uint32_t rm, struct FpFormat f);

#endif

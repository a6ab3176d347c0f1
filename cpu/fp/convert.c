/* Conversions between integers and floating point, and between the formats. */
#include "fp/fast.h"

struct Integer {
    bool is_signed;
    uint32_t bits;
};
static const struct Integer integer_w = {true, 32}, integer_wu = {false, 32};
static const struct Integer integer_l = {true, 64}, integer_lu = {false, 64};

/* As an x register has it: 32 bits are sign-extended, unsigned ones too. */
static inline uint64_t to_register(uint64_t value, struct Integer to) { return to.bits == 32 ? SEXT32(value) : value; }

static inline uint64_t largest(struct Integer to) { return ~0ull >> (64 - to.bits + to.is_signed); }
static inline uint64_t lowest_magnitude(struct Integer to) { return to.is_signed ? 1ull << (to.bits - 1) : 0; }

static uint64_t out_of_range(struct Hart *h, bool sign, struct Integer to)
{
    h->fcsr_flags |= FP_NV;
    return to_register(sign ? lowest_magnitude(to) : largest(to), to);
}

static uint64_t to_integer(struct Hart *h, uint64_t raw, uint32_t rm, struct FpFormat f, struct Integer to)
{
    struct FpParts p = fp_unpack(raw, f);
    if (p.kind == FP_ZERO)
        return 0;
    if (fp_is_nan(p))
        return out_of_range(h, false, to);
    if (p.kind == FP_INFINITE || p.exponent > 63)
        return out_of_range(h, p.sign, to);
    /* The integer, and the fraction as 64 bits after the point. */
    uint64_t integer = 0, fraction = 1;
    if (p.exponent == 63)
        integer = p.significand, fraction = 0;
    else if (p.exponent >= 0)
        integer = p.significand >> (63 - p.exponent), fraction = p.significand << (p.exponent + 1);
    else if (p.exponent == -1)
        fraction = p.significand;
    /* No carry: with 64 bits of integer there is no fraction. */
    integer += fp_rounds_up(p.sign, integer & 1, fraction, 1ull << 63, rm);
    if (integer > (p.sign ? lowest_magnitude(to) : largest(to)))
        return out_of_range(h, p.sign, to);
    if (fraction != 0)
        h->fcsr_flags |= FP_NX;
    return to_register(p.sign ? -integer : integer, to);
}

/* The engine truncates, which is right for RTZ and for what is an integer
 * already; singles come as the double of the same value. */
static inline bool quick_to_integer(struct Hart *h, real_d x, uint32_t rm, struct Integer to, uint64_t *result)
{
    if (!FP_FAST_ALLOWED || !(x > -0x1p63 && x < 0x1p63))
        return false;
    int64_t integer = (int64_t)x;
    if (to.bits == 32 ? integer != (to.is_signed ? (int64_t)(int32_t)integer : (int64_t)(uint32_t)integer)
                      : !to.is_signed && integer < 0)
        return false;
    if ((real_d)integer != x) {
        if (rm != FP_ROUND_RTZ)
            return false;
        h->fcsr_flags |= FP_NX;
    }
    *result = to_register((uint64_t)integer, to);
    return true;
}

static uint64_t from_integer(struct Hart *h, bool sign, uint64_t magnitude, uint32_t rm, struct FpFormat f)
{
    if (magnitude == 0)
        return fp_zero(false, f);
    int32_t zeros = __builtin_clzll(magnitude);
    return fp_round(h, sign, 63 - zeros, magnitude << zeros, rm, f);
}

/* Can the engine convert it?  If it is exact, or if only NX could be news. */
static inline bool quick_from_integer(const struct Hart *h, uint64_t magnitude, uint32_t rm, struct FpFormat f)
{
    return FP_FAST_ALLOWED && (magnitude <= 2 * fp_hidden(f) || fp_inexact_known(h, rm));
}

static uint64_t change_format(struct Hart *h, uint64_t raw, uint32_t rm, struct FpFormat from, struct FpFormat to)
{
    struct FpParts p = fp_unpack(raw, from);
    switch (p.kind) {
    case FP_FINITE: return fp_round(h, p.sign, p.exponent, p.significand, rm, to);
    case FP_ZERO: return fp_zero(p.sign, to);
    case FP_INFINITE: return fp_infinity(p.sign, to);
    default: return fp_from_nans(h, p, p, to);
    }
}

uint64_t fp_cvt_s_d(struct Hart *h, uint64_t a, uint32_t rm)
{
    FP_TRY(s, h, rm, (real_s)to_real_d(a));
    return REG_s(change_format(h, RAW_d(a), rm, format_d, format_s));
}

uint64_t fp_cvt_d_s(struct Hart *h, uint64_t a)
{
    uint64_t quick = from_real_d((real_d)to_real_s(a));
    if (FP_FAST_ALLOWED && clearly_normal_d(quick))
        return quick;
    return REG_d(change_format(h, RAW_s(a), FP_ROUND_RNE, format_s, format_d));
}

#define TO_INTEGER(s, i)                                                                 \
    uint64_t fp_cvt_##i##_##s(struct Hart *h, uint64_t a, uint32_t rm)                   \
    {                                                                                    \
        uint64_t result;                                                                 \
        if (quick_to_integer(h, (real_d)to_real_##s(a), rm, integer_##i, &result))       \
            return result;                                                               \
        return to_integer(h, RAW_##s(a), rm, format_##s, integer_##i);                   \
    }

#define FROM_INTEGER(s, i, type)                                                         \
    uint64_t fp_cvt_##s##_##i(struct Hart *h, uint64_t x, uint32_t rm)                   \
    {                                                                                    \
        type value = (type)x;                                                            \
        bool sign = value < 0;                                                           \
        uint64_t magnitude = sign ? -(uint64_t)value : (uint64_t)value;                  \
        if (quick_from_integer(h, magnitude, rm, format_##s))                            \
            return from_real_##s((real_##s)value);                                       \
        return REG_##s(from_integer(h, sign, magnitude, rm, format_##s));                \
    }

#define CONVERSIONS(s)               \
    TO_INTEGER(s, w)                 \
    TO_INTEGER(s, wu)                \
    TO_INTEGER(s, l)                 \
    TO_INTEGER(s, lu)                \
    FROM_INTEGER(s, w, int32_t)      \
    FROM_INTEGER(s, wu, uint32_t)    \
    FROM_INTEGER(s, l, int64_t)      \
    FROM_INTEGER(s, lu, uint64_t)

CONVERSIONS(s)
CONVERSIONS(d)

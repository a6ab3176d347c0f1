/* Comparisons, minimum and maximum, classification: nothing here rounds. */
#include "fp/parts.h"

/* Maps numbers, not NaNs, to integers of the same order; -0 is below +0. */
static inline int64_t order(uint64_t raw, struct FpFormat f)
{
    uint64_t sign = fp_sign_bit(true, f);
    return raw & sign ? -(int64_t)(raw & (sign - 1)) - 1 : (int64_t)raw;
}

static inline bool is_nan(uint64_t raw, struct FpFormat f)
{
    return (raw & (fp_sign_bit(true, f) - 1)) > fp_infinity(false, f);
}

static inline bool is_signalling(uint64_t raw, struct FpFormat f)
{
    return is_nan(raw, f) && !(raw & fp_hidden(f) >> 1);
}

static inline bool is_zero(uint64_t raw, struct FpFormat f) { return (raw & (fp_sign_bit(true, f) - 1)) == 0; }

/* Are the two comparable?  If not, and the comparison minds, it is invalid. */
static inline bool ordered(struct Hart *h, uint64_t a, uint64_t b, bool quiet, struct FpFormat f)
{
    if (!is_nan(a, f) && !is_nan(b, f))
        return true;
    if (!quiet || is_signalling(a, f) || is_signalling(b, f))
        h->fcsr_flags |= FP_NV;
    return false;
}

static inline bool equal(uint64_t a, uint64_t b, struct FpFormat f) { return a == b || (is_zero(a, f) && is_zero(b, f)); }
static inline bool less(uint64_t a, uint64_t b, struct FpFormat f) { return order(a, f) < order(b, f); }

static inline uint64_t choose(struct Hart *h, uint64_t a, uint64_t b, bool larger, struct FpFormat f)
{
    if (is_signalling(a, f) || is_signalling(b, f))
        h->fcsr_flags |= FP_NV;
    if (is_nan(a, f))
        return is_nan(b, f) ? fp_nan(f) : b;
    return is_nan(b, f) || less(a, b, f) != larger ? a : b;
}

/* One bit of ten (table "Format of result of FCLASS instruction"). */
static inline uint64_t classify(uint64_t raw, struct FpFormat f)
{
    uint64_t sign = fp_sign_bit(true, f), magnitude = raw & (sign - 1);
    if (is_nan(raw, f))
        return is_signalling(raw, f) ? 1 << 8 : 1 << 9;
    uint32_t distance = magnitude == 0 ? 0 : magnitude < fp_hidden(f) ? 1 : magnitude < fp_infinity(false, f) ? 2 : 3;
    return raw & sign ? 1ull << (3 - distance) : 1ull << (4 + distance);
}

#define COMPARE(s, name, quiet, holds)                                                                      \
    uint64_t fp_##name##_##s(struct Hart *h, uint64_t reg_a, uint64_t reg_b)                                \
    {                                                                                                       \
        uint64_t a = RAW_##s(reg_a), b = RAW_##s(reg_b);                                                    \
        return ordered(h, a, b, quiet, format_##s) && (holds);                                              \
    }
#define COMPARISONS(s)                                                                                      \
    COMPARE(s, eq, true, equal(a, b, format_##s))                                                           \
    COMPARE(s, lt, false, less(a, b, format_##s) && !equal(a, b, format_##s))                               \
    COMPARE(s, le, false, less(a, b, format_##s) || equal(a, b, format_##s))                                \
    uint64_t fp_min_##s(struct Hart *h, uint64_t a, uint64_t b)                                             \
    {                                                                                                       \
        return REG_##s(choose(h, RAW_##s(a), RAW_##s(b), false, format_##s));                               \
    }                                                                                                       \
    uint64_t fp_max_##s(struct Hart *h, uint64_t a, uint64_t b)                                             \
    {                                                                                                       \
        return REG_##s(choose(h, RAW_##s(a), RAW_##s(b), true, format_##s));                                \
    }                                                                                                       \
    uint64_t fp_class_##s(struct Hart *h, uint64_t a)                                                       \
    {                                                                                                       \
        (void)h;                                                                                            \
        return classify(RAW_##s(a), format_##s);                                                            \
    }

COMPARISONS(s)
COMPARISONS(d)

/* Rounding, and the one adder that addition and multiply-add share. */
#include "fp/parts.h"

/* Too large: infinity, or the largest finite number for modes that round
 * towards 0 on this side. */
static uint64_t overflow(struct Hart *h, bool sign, uint32_t rm, struct FpFormat f)
{
    h->fcsr_flags |= FP_OF | FP_NX;
    bool towards_zero = rm == FP_ROUND_RTZ || rm == (sign ? FP_ROUND_RUP : FP_ROUND_RDN);
    return fp_infinity(sign, f) - towards_zero;
}

uint64_t fp_round(struct Hart *h, bool sign, int32_t exponent, uint64_t significand, uint32_t rm, struct FpFormat f)
{
    const uint32_t dropped = 64 - f.precision;
    const uint64_t half = 1ull << (dropped - 1), mask = 2 * half - 1;
    uint64_t kept = significand >> dropped, rest = significand & mask;
    bool up = fp_rounds_up(sign, kept & 1, rest, half, rm);
    bool tiny = false;

    if (exponent < 1 - f.bias) {
        /* Tiny unless rounding as if exponents had no end reaches a normal number. */
        tiny = exponent < -f.bias || kept + up < 2 * fp_hidden(f);
        significand = fp_shift_sticky(significand, (uint32_t)(1 - f.bias - exponent));
        kept = significand >> dropped;
        rest = significand & mask;
        up = fp_rounds_up(sign, kept & 1, rest, half, rm);
        exponent = 1 - f.bias;
    }
    if (rest != 0)
        h->fcsr_flags |= tiny ? FP_UF | FP_NX : FP_NX;
    kept += up;
    /* The hidden bit, and a carry beyond it, count the exponent field up by
     * addition: of a subnormal there is none. */
    uint64_t magnitude = ((uint64_t)(exponent + f.bias - 1) << (f.precision - 1)) + kept;
    if (exponent > f.bias || magnitude >= fp_infinity(false, f))
        return overflow(h, sign, rm, f);
    return fp_sign_bit(sign, f) | magnitude;
}

/* Shifts 128 bits right, sticky. */
static void shift_wide(struct FpWide *w, uint32_t by)
{
    if (by >= 64) {
        w->low = fp_shift_sticky(w->high, by - 64) | (w->low != 0);
        w->high = 0;
    } else if (by != 0) {
        uint64_t lost = w->low << (64 - by);
        w->low = w->low >> by | w->high << (64 - by) | (lost != 0);
        w->high >>= by;
    }
}

uint64_t fp_sum(struct Hart *h, struct FpWide a, struct FpWide b, uint32_t rm, struct FpFormat f)
{
    if (a.exponent < b.exponent || (a.exponent == b.exponent && a.high < b.high)) {
        struct FpWide swapped = a;
        a = b;
        b = swapped;
    }
    /* One bit of room for a carry.  Neither this nor an alignment by one bit
     * loses anything: the low bits of a product are 0.  After an alignment by
     * more, a difference loses at most one leading bit, far above the sticky. */
    shift_wide(&a, 1);
    shift_wide(&b, (uint32_t)(a.exponent - b.exponent) + 1);
    uint64_t low, high;
    if (a.sign == b.sign) {
        low = a.low + b.low;
        high = a.high + b.high + (low < a.low);
    } else {
        low = a.low - b.low;
        high = a.high - b.high - (a.low < b.low);
        if (high >> 63) { /* equal exponents and high halves, b's low half larger */
            a.sign = b.sign;
            low = -low;
            high = 0;
        }
    }
    if ((high | low) == 0)
        return fp_zero(rm == FP_ROUND_RDN, f);
    int32_t exponent = a.exponent + 1;
    if (high == 0) {
        high = low;
        low = 0;
        exponent -= 64;
    }
    int32_t zeros = __builtin_clzll(high);
    if (zeros != 0) {
        high = high << zeros | low >> (64 - zeros);
        low <<= zeros;
    }
    return fp_round(h, a.sign, exponent - zeros, high | (low != 0), rm, f);
}

/* Integer arithmetic that C leaves undefined or has no word for. */
#ifndef HARTWELL_ARITH_H
#define HARTWELL_ARITH_H

#include <stdint.h>

#define SEXT32(value) ((uint64_t)(int64_t)(int32_t)(value))
#define BOX32(value) (0xffffffff00000000ull | (uint32_t)(value))

/* High half of a product, from four of 32 bits: Wasm has no wider one.  The
 * empty asm hides the pattern, else clang makes a 128-bit library call of it. */
static inline uint64_t mul_high(uint64_t a, uint64_t b)
{
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
    __asm__("" : "+r"(middle));
    uint64_t other = a0 * b1 + (uint32_t)middle;
    return a1 * b1 + (middle >> 32) + (other >> 32);
}

static inline uint64_t mul_high_signed_unsigned(uint64_t a, uint64_t b)
{
    return mul_high(a, b) - ((int64_t)a < 0 ? b : 0);
}

static inline uint64_t mul_high_signed(uint64_t a, uint64_t b)
{
    return mul_high_signed_unsigned(a, b) - ((int64_t)b < 0 ? a : 0);
}

/* Division by zero gives all ones and the dividend; overflow wraps (M, 12.2). */
static inline uint64_t divide(uint64_t a, uint64_t b)
{
    return b == 0 ? ~0ull : b == ~0ull ? -a : (uint64_t)((int64_t)a / (int64_t)b);
}

static inline uint64_t remainder(uint64_t a, uint64_t b)
{
    return b == 0 ? a : b == ~0ull ? 0 : (uint64_t)((int64_t)a % (int64_t)b);
}

static inline uint64_t divide_w(uint64_t a, uint64_t b)
{
    int64_t x = (int32_t)a, y = (int32_t)b;
    return y == 0 ? ~0ull : SEXT32(x / y);
}

static inline uint64_t remainder_w(uint64_t a, uint64_t b)
{
    int64_t x = (int32_t)a, y = (int32_t)b;
    return y == 0 ? SEXT32(a) : SEXT32(x % y);
}

static inline uint64_t rotate_left(uint64_t a, uint64_t by) { return a << (by & 63) | a >> (-by & 63); }
static inline uint32_t rotate_left_w(uint32_t a, uint32_t by) { return a << (by & 31) | a >> (-by & 31); }

/* Each byte that has any bit set becomes all ones (Zbb orc.b). */
static inline uint64_t or_combine(uint64_t a)
{
    a |= a >> 1 & 0x7f7f7f7f7f7f7f7full;
    a |= a >> 2 & 0x3f3f3f3f3f3f3f3full;
    a |= a >> 4 & 0x0f0f0f0f0f0f0f0full;
    return (a & 0x0101010101010101ull) * 0xff;
}

/* Sign injection works on bits; an operand that isn't boxed is a NaN. */
#define UNBOX32(value) ((value) >> 32 == 0xffffffffu ? (uint32_t)(value) : 0x7fc00000u)
static inline uint64_t fp_sgnj_s(uint64_t a, uint64_t b)
{
    return BOX32((UNBOX32(a) & 0x7fffffffu) | (UNBOX32(b) & 0x80000000u));
}
static inline uint64_t fp_sgnjn_s(uint64_t a, uint64_t b) { return fp_sgnj_s(a, BOX32(~UNBOX32(b))); }
static inline uint64_t fp_sgnjx_s(uint64_t a, uint64_t b) { return fp_sgnj_s(a, BOX32(UNBOX32(a) ^ UNBOX32(b))); }
static inline uint64_t fp_sgnj_d(uint64_t a, uint64_t b) { return (a & ~(1ull << 63)) | (b & 1ull << 63); }
static inline uint64_t fp_sgnjn_d(uint64_t a, uint64_t b) { return fp_sgnj_d(a, ~b); }
static inline uint64_t fp_sgnjx_d(uint64_t a, uint64_t b) { return fp_sgnj_d(a, a ^ b); }

#endif

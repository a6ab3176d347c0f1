/* Runs floating-point operations in bulk, for tests/core/test_fp.py: natively
 * as a shared library and in Wasm. */
#include "fp/fp.h"

struct Case {
    uint32_t operation, rm, flags, spare;
    uint64_t a, b, c;
};
struct Outcome {
    uint64_t value, flags;
};

static const char *const names[] = {
#define OPERATION(name, call, instruction) #name,
#include "fp_operations.inc"
#undef OPERATION
};

EXPORT const char *fp_operation_name(uint32_t number)
{
    return number < sizeof names / sizeof *names ? names[number] : NULL;
}

static uint64_t perform(struct Hart *h, uint32_t operation, uint64_t a, uint64_t b, uint64_t c, uint32_t rm)
{
    enum {
#define OPERATION(name, call, instruction) NUMBER_##name,
#include "fp_operations.inc"
#undef OPERATION
    };
    switch (operation) {
#define OPERATION(name, call, instruction) \
    case NUMBER_##name: return call;
#include "fp_operations.inc"
#undef OPERATION
    default: return 0;
    }
}

EXPORT void fp_batch(const struct Case *cases, struct Outcome *outcomes, uint32_t count)
{
    static struct Hart hart;
    for (uint32_t i = 0; i < count; i++) {
        const struct Case *one = &cases[i];
        hart.fcsr_flags = one->flags;
        outcomes[i].value = perform(&hart, one->operation, one->a, one->b, one->c, one->rm);
        outcomes[i].flags = hart.fcsr_flags;
    }
}

/* --- many random cases, made here because that is quick ------------------- */

static uint64_t random_state;

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t random_word(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* A number whose bits come in runs (so that ties and exact results happen)
 * and whose exponent is often near 0 or at one of the ends. */
static uint64_t random_number(bool single)
{
    uint64_t kind = random_word(), bits = random_word();
    uint32_t precision = single ? 24 : 53, bias = single ? 127 : 1023;
    uint64_t hidden = 1ull << (precision - 1), fraction = bits & (hidden - 1);
    if (kind & 1)
        fraction &= -(1ull << (kind >> 1 & 63) % precision);
    if (kind & 1 << 7)
        fraction = hidden - 1 - fraction;
    uint64_t exponent = random_word() & (2 * bias + 1);
    switch (kind >> 8 & 7) {
    case 0: case 1: case 2: case 3: exponent = bias - 32 + (exponent & 63); break;
    case 4: exponent = exponent & 3; break;
    case 5: exponent = 2 * bias + 1 - (exponent & 3); break;
    default: break;
    }
    uint64_t number = exponent << (precision - 1) | fraction;
    if (kind >> 12 & 1)
        number |= 1ull << (single ? 31 : 63);
    bool boxed = (kind >> 16 & 0xff) != 0;
    return single && boxed ? number | 0xffffffffull << 32 : number;
}

static uint64_t random_operand(uint32_t operation)
{
    uint64_t kind = random_word();
    /* names end in the format of a number that is taken, or in an integer's */
    const char *end = names[operation];
    while (end[1])
        end++;
    if (*end == 's' || *end == 'd')
        return random_number(*end == 's');
    return (kind & 1 ? random_word() : (uint64_t)((int64_t)random_word() >> (kind >> 1 & 63))) ^
           (kind >> 8 & 1 ? 0 : ~0ull << (kind >> 9 & 63));
}

EXPORT void fp_random_cases(struct Case *cases, uint32_t count, uint64_t seed)
{
    random_state = seed;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t pick = random_word();
        uint32_t operation = (uint32_t)((pick >> 32) % (sizeof names / sizeof *names));
        cases[i].operation = operation;
        cases[i].rm = (pick & 0xff) < 128 ? FP_ROUND_RNE : (uint32_t)(pick & 0xff) % 5;
        cases[i].flags = pick >> 8 & 1 ? FP_NX : (uint32_t)(pick >> 9 & 31);
        cases[i].spare = 0;
        cases[i].a = random_operand(operation);
        cases[i].b = random_operand(operation);
        cases[i].c = random_operand(operation);
    }
}

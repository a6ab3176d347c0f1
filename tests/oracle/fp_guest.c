/* Linux program for RISC-V: reads cases (struct Case) from standard input,
 * has the processor do them and writes, for each, the result (8 bytes) and
 * the flags (1 byte).  tests/oracle/generate_fp.py runs it in QEMU. */
#include <stdint.h>
#include <stdio.h>

struct Case {
    uint32_t operation, rm, flags, spare;
    uint64_t a, b, c;
};

static uint64_t perform(const struct Case *one, uint8_t *flags)
{
    register uint64_t a0 asm("a0") = one->a;
    uint64_t fcsr = (uint64_t)one->rm << 5 | one->flags;
    switch (one->operation) {
        enum {
#define OPERATION(name, call, instruction) NUMBER_##name,
#include "../native/fp_operations.inc"
#undef OPERATION
        };
#define OPERATION(name, call, instruction)                                            \
    case NUMBER_##name:                                                               \
        asm volatile("fmv.d.x ft0, %[a]\n fmv.d.x ft1, %[b]\n fmv.d.x ft2, %[c]\n"    \
                     "fscsr %[fcsr]\n" instruction "frcsr %[fcsr]\n"                  \
                     : "+r"(a0), [fcsr] "+r"(fcsr)                                    \
                     : [a] "r"(one->a), [b] "r"(one->b), [c] "r"(one->c)              \
                     : "ft0", "ft1", "ft2");                                          \
        break;
#include "../native/fp_operations.inc"
#undef OPERATION
    default:
        break;
    }
    *flags = fcsr & 31;
    return a0;
}

int main(void)
{
    struct Case one;
    while (fread(&one, sizeof one, 1, stdin) == 1) {
        uint8_t flags;
        uint64_t value = perform(&one, &flags);
        fwrite(&value, sizeof value, 1, stdout);
        fwrite(&flags, sizeof flags, 1, stdout);
    }
    return 0;
}

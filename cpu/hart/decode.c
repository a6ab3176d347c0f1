#include "hart/decode.h"

/* x0 as a destination: a register that nobody reads. */
static inline uint32_t dest(uint32_t rd) { return rd ? rd : 32; }

#include "generated/isa_decode.inc"

struct Insn decode_bits(uint32_t bits) { return (bits & 3) == 3 ? decode32(bits) : decode16(bits & 0xffff); }

struct Insn decode(const uint8_t *bytes, uint32_t left)
{
    uint32_t bits = half_at(bytes);
    if ((bits & 3) == 3) {
        if (left < 4)
            return (struct Insn){OP_CROSS, 32, 0, 0};
        bits |= half_at(bytes + 2) << 16;
    }
    return decode_bits(bits);
}

/* A decoded instruction, as the cache of decoded pages holds it (hart/code.c).
 * How operands lie in it is in hartwell/isa/generate.py, which writes both the
 * decoder and the interpreter's cases. */
#ifndef HARTWELL_DECODE_H
#define HARTWELL_DECODE_H

#include <stdint.h>

#include "generated/isa.h"

struct Insn {
    uint16_t op; /* OP_* */
    uint8_t rd, rs1;
    int32_t imm;
};

/* Decodes the instruction at `bytes`; `left` bytes are in its page.  OP_CROSS
 * when it goes on in the next one. */
struct Insn decode(const uint8_t *bytes, uint32_t left);

/* The same from its bits; 16-bit ones have not 11 in the low two. */
struct Insn decode_bits(uint32_t bits);

static inline uint32_t half_at(const uint8_t *bytes) { return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8; }

#endif

/* WebAssembly's binary format (Core spec chapter 5), byte by byte. */
#ifndef HARTWELL_JIT_WASM_H
#define HARTWELL_JIT_WASM_H

#include "machine/machine.h"

/* Opcodes that the translator names; arithmetic comes from hartwell/isa/wasm.py. */
enum {
    W_BLOCK = 0x02, W_LOOP = 0x03, W_IF = 0x04, W_ELSE = 0x05, W_END = 0x0b, W_BR = 0x0c, W_BR_IF = 0x0d,
    W_BR_TABLE = 0x0e, W_RETURN = 0x0f, W_CALL = 0x10, W_CALL_INDIRECT = 0x11, W_RETURN_CALL_INDIRECT = 0x13,
    W_DROP = 0x1a, W_SELECT = 0x1b, W_GET = 0x20, W_SET = 0x21, W_TEE = 0x22,
    W_I32_LOAD = 0x28, W_I64_LOAD = 0x29, W_F64_LOAD = 0x2b, W_I64_LOAD8_S = 0x30, W_I64_LOAD8_U = 0x31,
    W_I64_LOAD16_S = 0x32, W_I64_LOAD16_U = 0x33, W_I64_LOAD32_S = 0x34, W_I64_LOAD32_U = 0x35,
    W_I32_STORE = 0x36, W_I64_STORE = 0x37, W_F64_STORE = 0x39, W_I64_STORE8 = 0x3c, W_I64_STORE16 = 0x3d,
    W_I64_STORE32 = 0x3e,
    W_I32_CONST = 0x41, W_I64_CONST = 0x42, W_I32_EQZ = 0x45, W_I32_EQ = 0x46, W_I32_NE = 0x47, W_I32_LT_S = 0x48,
    W_I32_LT_U = 0x49, W_I32_GT_S = 0x4a, W_I32_GT_U = 0x4b, W_I32_LE_S = 0x4c, W_I32_GE_U = 0x4f, W_I64_EQZ = 0x50, W_I64_EQ = 0x51, W_I64_NE = 0x52, W_I64_LT_S = 0x53, W_I64_LT_U = 0x54, W_I64_GT_U = 0x56, W_I64_GE_S = 0x59, W_I64_GE_U = 0x5a,
    W_I32_ADD = 0x6a, W_I32_SUB = 0x6b, W_I32_MUL = 0x6c, W_I32_DIV_U = 0x6e, W_I32_AND = 0x71, W_I32_OR = 0x72, W_I32_SHL = 0x74, W_I32_SHR_S = 0x75,
    W_I32_SHR_U = 0x76, W_I64_ADD = 0x7c, W_I64_SUB = 0x7d, W_I64_MUL = 0x7e, W_I64_AND = 0x83, W_I64_OR = 0x84, W_I64_XOR = 0x85,
    W_I64_SHL = 0x86, W_I64_SHR_S = 0x87, W_I64_SHR_U = 0x88, W_I32_WRAP = 0xa7, W_I64_EXTEND_S = 0xac,
    W_I64_EXTEND_U = 0xad, W_I64_FROM_F64 = 0xbd, W_F64_FROM_I64 = 0xbf, W_I64_EXTEND32 = 0xc4,
    W_ATOMIC = 0xfe, W_FC = 0xfc, W_SIMD = 0xfd,
    W_EMPTY = 0x40, W_TYPE_I32 = 0x7f, W_TYPE_I64 = 0x7e, W_TYPE_F64 = 0x7c, W_TYPE_V128 = 0x7b, W_FUNCREF = 0x70,
};

/* Where bytes go.  Past `end` nothing is written and `full` is set. */
struct Bytes {
    uint8_t *at, *end;
    bool full;
};

static inline void put(struct Bytes *b, uint32_t byte)
{
    if (b->at < b->end)
        *b->at++ = (uint8_t)byte;
    else
        b->full = true;
}

static inline void put_u(struct Bytes *b, uint32_t value) /* LEB128 */
{
    for (; value >= 0x80; value >>= 7)
        put(b, (value & 0x7f) | 0x80);
    put(b, value);
}

static inline void put_s(struct Bytes *b, int64_t value)
{
    for (; value < -64 || value > 63; value >>= 7)
        put(b, ((uint32_t)value & 0x7f) | 0x80);
    put(b, (uint32_t)value & 0x7f);
}

/* A size to be known later, in five bytes. */
static inline uint8_t *put_hole(struct Bytes *b)
{
    uint8_t *hole = b->at;
    for (int i = 0; i < 5; i++)
        put(b, 0);
    return hole;
}

static inline void fill_hole(struct Bytes *b, uint8_t *hole, uint32_t value)
{
    if (b->full)
        return;
    for (int i = 0; i < 5; i++, value >>= 7)
        hole[i] = (uint8_t)((value & 0x7f) | (i < 4 ? 0x80 : 0));
}

#endif

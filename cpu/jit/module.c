/* WebAssembly modules of regions (Core spec 5.5), and one to find out how the
 * engine multiplies and adds. */
#include "jit/module.h"

#ifndef __wasm__
uint32_t host_install(uint32_t offset, uint32_t bytes, uint32_t slots)
{
    (void)offset, (void)bytes, (void)slots;
    return 0;
}
#endif

static void put_name(struct Bytes *b, const char *name)
{
    uint32_t length = 0;
    while (name[length])
        length++;
    put_u(b, length);
    for (uint32_t k = 0; k < length; k++)
        put(b, (uint8_t)name[k]);
}

static void put_type(struct Bytes *b, const char *parameters, uint32_t result)
{
    uint32_t length = 0;
    while (parameters[length])
        length++;
    put(b, 0x60);
    put_u(b, length);
    for (uint32_t k = 0; k < length; k++)
        put(b, parameters[k] == 'i' ? W_TYPE_I32 : W_TYPE_I64);
    put_u(b, 1);
    put(b, result);
}

void module_hints(struct Bytes *b, const struct Batch *made)
{
    uint32_t functions = 0;
    for (uint32_t k = 0; k < made->count; k++)
        functions += made->hint_count[k] != 0;
    if (functions == 0)
        return;
    put(b, 0);
    uint8_t *hole = put_hole(b), *start = b->at;
    put_name(b, "metadata.code.branch_hint");
    put_u(b, functions);
    for (uint32_t k = 0; k < made->count; k++) {
        if (made->hint_count[k] == 0)
            continue;
        put_u(b, k);
        put_u(b, made->hint_count[k]);
        for (uint32_t n = 0; n < made->hint_count[k]; n++) {
            put_u(b, made->hints[k][n]);
            put(b, 1);
            put(b, 0);
        }
    }
    fill_hole(b, hole, (uint32_t)(b->at - start));
}

void module_head(struct Bytes *b, uint32_t first_slot, uint32_t count, uint32_t type)
{
    static const uint8_t magic[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    for (uint32_t k = 0; k < sizeof magic; k++)
        put(b, magic[k]);
    put(b, 1);
    uint8_t *hole = put_hole(b), *start = b->at;
    put_u(b, 3);
    put_type(b, "iiIi", W_TYPE_I64); /* TYPE_REGION */
    put_type(b, "iiI", W_TYPE_I32); /* TYPE_HELPER */
    put_type(b, "iiIII", W_TYPE_I64); /* TYPE_FP_HELPER */
    fill_hole(b, hole, (uint32_t)(b->at - start));
    put(b, 2);
    hole = put_hole(b), start = b->at;
    put_u(b, 2);
    put_name(b, "env"), put_name(b, "memory"), put(b, 2), put(b, 3), put_u(b, 64), put_u(b, 65535);
    put_name(b, "env"), put_name(b, "table"), put(b, 1), put(b, W_FUNCREF), put(b, 0), put_u(b, 1);
    fill_hole(b, hole, (uint32_t)(b->at - start));
    put(b, 3);
    hole = put_hole(b), start = b->at;
    put_u(b, count);
    for (uint32_t k = 0; k < count; k++)
        put_u(b, type);
    fill_hole(b, hole, (uint32_t)(b->at - start));
    put(b, 9);
    hole = put_hole(b), start = b->at;
    put_u(b, 1);
    put_u(b, 0);
    put(b, W_I32_CONST), put_s(b, (int32_t)first_slot), put(b, W_END);
    put_u(b, count);
    for (uint32_t k = 0; k < count; k++)
        put_u(b, k);
    fill_hole(b, hole, (uint32_t)(b->at - start));
}

typedef uint64_t (*FusedProbe)(struct Hart *h, uint32_t what, uint64_t a, uint64_t b, uint64_t c);

/* A module with one function: f64x2.relaxed_madd of three doubles. */
bool module_fused(void)
{
    uint32_t base = MACHINE->jit_code_offset + JIT_CODE_BYTES - 1024;
    struct Bytes b = {mem_at(base), mem_at(base + 1024), false};
    module_head(&b, JIT_FIRST_SLOT - 1, 1, TYPE_FP_HELPER);
    put(&b, 10);
    uint8_t *hole = put_hole(&b), *start = b.at;
    put_u(&b, 1);
    uint8_t *body_hole = put_hole(&b), *body = b.at;
    put_u(&b, 0);
    for (uint32_t k = 2; k < 5; k++) {
        put(&b, W_GET), put_u(&b, k), put(&b, W_F64_FROM_I64);
        put(&b, W_SIMD), put_u(&b, 0x14);
    }
    put(&b, W_SIMD), put_u(&b, 0x107);
    put(&b, W_SIMD), put_u(&b, 0x1d), put(&b, 0);
    put(&b, W_END);
    fill_hole(&b, body_hole, (uint32_t)(b.at - body));
    fill_hole(&b, hole, (uint32_t)(b.at - start));
    if (INSTALL_DONE != host_install(base, (uint32_t)(b.at - (uint8_t *)mem_at(base)), JIT_FIRST_SLOT))
        return false;
    /* (1 + 2^-30) * (1 - 2^-30) - 1 is -2^-60; rounded in between it is 0. */
    const uint64_t a = 0x3ff0000000400000ull, b1 = 0x3fefffffff800000ull, c = 0xbff0000000000000ull;
    return ((FusedProbe)(uintptr_t)(JIT_FIRST_SLOT - 1))(NULL, 0, a, b1, c) == 0xbc30000000000000ull;
}

/* One module's bytes: what is around the functions, and the engine that takes them. */
#ifndef HARTWELL_JIT_MODULE_H
#define HARTWELL_JIT_MODULE_H

#include "jit/emit.h"
#include "jit/registry.h"

/* What is being made into one module. */
struct Batch {
    struct JitRegion made[JIT_QUEUE];
    struct Range ranges[JIT_QUEUE][RANGES_MOST];
    uint16_t hints[JIT_QUEUE][HINTS];
    uint32_t hint_count[JIT_QUEUE];
    uint32_t count, insns;
};

/* Everything in front of the hints: types, imports, `count` functions of one
 * type, their table slots. */
void module_head(struct Bytes *b, uint32_t first_slot, uint32_t count, uint32_t type);

/* Which branches are seldom taken: the custom section of the branch hinting proposal. */
void module_hints(struct Bytes *b, const struct Batch *made);

enum { INSTALL_REFUSED, INSTALL_DONE, INSTALL_FULL }; /* FULL: this engine has no room for it, nor for others */
/* Compiles `bytes` at `offset` as a module and links it into this instance's
 * table, grown to `slots`: INSTALL_*.  0 bytes: the module made ahead, which the
 * embedder has (jit/ahead.h). */
#ifdef __wasm__
__attribute__((import_module("host"), import_name("install")))
#endif
uint32_t host_install(uint32_t offset, uint32_t bytes, uint32_t slots);

/* Does this instance's engine round f64x2.relaxed_madd once? */
bool module_fused(void);

#endif

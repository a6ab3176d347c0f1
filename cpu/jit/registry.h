/* The registry: which regions are translated, in which modules.  One for all
 * harts, in shared memory, used under Jit.lock. */
#ifndef HARTWELL_JIT_REGISTRY_H
#define HARTWELL_JIT_REGISTRY_H

#include "hart/hart.h"
#include "jit/region.h"

/* Guest code that a region came from. */
struct Range {
    uint16_t at, bytes; /* offset in the window */
};
#define RANGES_MOST 64

static inline struct JitHart *jit_hart(const struct Hart *h)
{
    return (struct JitHart *)mem_at(MACHINE->jit_hart_offset + h->id * MACHINE->jit_hart_stride);
}

/* The region whose entry is pc, in RAM page `page`, if its code is still what
 * was translated and the pages around it are mapped as they were. */
struct JitRegion *registry_find(struct Hart *h, uint32_t page, uint64_t pc);

/* What is looked up at once in this page's code often crossed pages: its regions
 * are to be made without frames, and if it goes on then, without groups. */
bool registry_unframed(uint32_t page);
bool registry_ungrouped(uint32_t page);
void registry_ungroup(struct Hart *h, uint32_t page);

/* Now and then: gives them back.  A program's next start has its stack elsewhere. */
void registry_forgive(struct Hart *h);

/* Finds out what this instance's engine does (JIT_FUSED); translations made
 * for one that does otherwise are forgotten. */
void registry_probe(void);

/* After the epoch has moved on: forgets which modules of emptied segments this
 * instance has. */
void registry_follow(struct Hart *h);

/* Translates what the hart has queued, as one module, and registers it; false: there was
 * nothing to make.  What is too much for one stays queued. */
bool registry_translate(struct Hart *h);

/* Makes a module part of this instance; false: the engine refused. */
bool registry_install(struct Hart *h, uint32_t module);

/* A number that no module has: the region's function is in the one made ahead (jit/ahead.h). */
#define MODULE_AHEAD JIT_MODULES

/* Registers a region of that one, whose entry is pc; all but key and module is filled in. */
bool registry_add_ahead(const struct JitRegion *made, uint64_t pc);
void registry_forget_ahead(void);

/* Of the guest code in the ranges of a window whose RAM pages are `page`. */
uint64_t registry_hash(const struct Range *ranges, uint32_t count, const uint32_t *page);

#endif

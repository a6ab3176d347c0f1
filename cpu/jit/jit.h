/* The translator: hot guest code becomes WebAssembly functions, called regions.
 *
 *   jit/jit.c      the hart's side: entering regions, the jump cache, the queue
 *   jit/registry.c what is translated, one registry for all harts; modules
 *   jit/ahead.c    translations made ahead for an image
 *   jit/region.c   which instructions belong to a region, and its blocks;
 *                  jit/callee.c: the callees that do
 *   jit/flow.c     order, dominators, loops; which registers are live and dirty
 *   jit/emit.c     a region as a structured Wasm function; jit/end.c: ends of blocks
 *   jit/insn.c     an instruction as Wasm; jit/memory.c, jit/fp.c (and
 *                  jit/fp_state.c: what it asks of the hart): those kinds
 *   jit/plan.c     which accesses share a look at the TLB; jit/group.c: looks
 *   jit/wasm.h     bytes
 *   jit/help.c     what generated code calls
 *
 * A region is keyed by the physical address of its entry; its code takes the
 * virtual address of the entry's page as a parameter, so it serves every
 * address space that maps the page.  Nothing in it depends on privilege: what
 * does is left to the interpreter or asked of the hart's state.
 *
 * What a region gives back is the next pc.  Bit 0 set: the interpreter must do
 * at least one instruction there (or look at attention) before any region is
 * entered again.  All architectural state is in struct Hart at that point.
 */
#ifndef HARTWELL_JIT_H
#define HARTWELL_JIT_H

#include "hart/hart.h"

enum {
    JIT_COLD, /* nothing ran: go on where you are */
    JIT_RAN,  /* h->pc and h->instret are new */
    JIT_SLOW, /* the same, and the instruction at h->pc is the interpreter's */
};

/* How much a visit adds to a place's counter; Jit.threshold is in these units. */
#define JIT_VISIT 8u
#define JIT_VISIT_RETURN 1u
#define JIT_VISIT_MISSED 24u /* a region wanted to go there and found none */

/* Jit.features, as the engine that runs now has them. */
#define JIT_FUSED 1u /* f64x2.relaxed_madd rounds once */

#define JIT_MOST_FUEL (1 << 26) /* less than any bit of attention */
#define JIT_LONGEST 512  /* instructions between two polls of a region, at most */
#define JIT_LOOK 20000   /* instructions between two looks at the clock while places wait */
#define JIT_DEPTH 160    /* regions that may call each other before all return */
#define JIT_FIRST_SLOT 1024 /* of the function table; below are cpu.wasm's own */

/* A visit to h->pc, whose counter went over the threshold. */
int jit_enter(struct Hart *h, uint16_t *counter, uint64_t limit, bool exact);

/* Before the interpreter runs: sees to it that this instance's caches are its
 * own (the supervisor may have run the hart), and translates what is queued. */
void jit_begin(struct Hart *h);

/* Before the hart waits for an interrupt: translates what is queued, while nobody wants its time. */
void jit_idle(struct Hart *h);

/* Where a run to `limit` is to come back: earlier while places wait, so that the clock is looked
 * at.  Not in runs that repeat, whose stops decide when interrupts come. */
static inline uint64_t jit_until(const struct Hart *h, uint64_t limit)
{
    if (!h->jit_queued || MACHINE->time_mode == TIME_INSTRET)
        return limit;
    uint64_t look = h->jit_look > h->instret ? h->jit_look : h->instret + JIT_LOOK;
    return look < limit ? look : limit;
}

/* Added to half the interpreter's pointer to a decoded entry, gives the offset of its counter. */
uint32_t jit_counter_bias(const struct Hart *h);

static inline uint32_t jit_threshold(void) { return MACHINE->jit.threshold; }
static inline bool jit_on(void) { return MACHINE->jit.threshold != JIT_NEVER; }

/* The interpreter saw a jump or a call through a register, other than a return. */
static inline void jit_note_indirect(const struct Hart *h, uint64_t site, uint64_t target)
{
    struct JitHart *own = (struct JitHart *)mem_at(MACHINE->jit_hart_offset + h->id * MACHINE->jit_hart_stride);
    uint32_t place = ((uint32_t)site * 0x9e3779b1u ^ (uint32_t)target * 0x85ebca6bu) >> 22;
    own->indirect[place] = (struct JitIndirect){(uint32_t)site, (uint32_t)target};
}
_Static_assert(JIT_INDIRECTS == 1 << 10, "as many as a hash of 10 bits names");

/* Where the interpreter saw the jump at `site` lead, JIT_TARGETS at most; how many.
 * What a translation asks for once is kept, as a hot place is not interpreted. */
#define JIT_TARGETS 64
uint32_t jit_targets(const struct Hart *h, uint32_t site, uint32_t *target);

/* What a place's visits add up to so far; `entry`: of code_entry. */
uint32_t jit_heat(const struct Hart *h, uint32_t entry);

void jit_init(void);
void jit_clear_jumps(struct Hart *h);
void jit_reset_counters(struct Hart *h, uint32_t slot); /* of a decoded page that is new */

#endif

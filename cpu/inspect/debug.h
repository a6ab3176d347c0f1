/* Stops of the debugger: breakpoints, watchpoints, harts held.
 *
 * The tables in struct Debug are Python's; it changes them while no hart runs
 * and calls debug_changed().  Guest memory is never patched: a breakpoint is an
 * OP_BREAK entry in a hart's decoded page, put there when a page is first
 * fetched from; a watchpoint keeps its page out of the TLB's tables.  So what
 * holds neither runs as ever. */
#ifndef HARTWELL_DEBUG_H
#define HARTWELL_DEBUG_H

#include "hart/hart.h"

struct Insn;

/* Puts OP_BREAK where breakpoints stand in the decoded page of `va`, at `pa`. */
void debug_mark(const struct Hart *h, struct Insn *page, uint64_t va, uint64_t pa);

/* At an OP_BREAK, h->pc being its address: must the hart stop before it?
 * Otherwise `*stale` says that no breakpoint stands at that place any more. */
bool debug_break(struct Hart *h, uint64_t pa, bool *stale);

/* Does va's page, at `pa`, hold a watched byte, so that it must not be entered
 * in the TLB?  Asked at a miss only. */
bool debug_watched(struct Hart *h, uint64_t va, uint64_t pa);

/* An access on the slow path, before it is made: true when the hart must stop
 * first.  `access` has bits WATCH_READ and WATCH_WRITE; `value` is what will be
 * stored. */
bool debug_access(struct Hart *h, uint64_t va, uint64_t pa, uint32_t size, uint32_t access, uint64_t value);

/* A device has accessed RAM: stops the machine after the fact. */
void debug_dma(uint64_t pa, uint64_t bytes, uint32_t access);

/* Must the hart stand still although the machine runs? */
static inline bool debug_held(struct Hart *h) { return atomic_get(&h->debug.hold) != 0; }

/* Before a hart goes on: throws away what it cached under older tables. */
void debug_refresh(struct Hart *h);

#endif

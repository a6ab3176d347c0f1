/* The interpreter: runs decoded pages. */
#ifndef HARTWELL_INTERP_H
#define HARTWELL_INTERP_H

#include "hart/hart.h"

/* Why interp_run came back; h->pc and h->instret are up to date in each case. */
enum {
    STEP_BUDGET,    /* `limit` instructions have retired */
    STEP_ATTENTION, /* h->attention is set */
    STEP_TRAP,      /* a trap is pending; pc is the instruction's that raised it */
    STEP_WFI,       /* a WFI has retired */
    STEP_DEBUG,     /* a breakpoint stands at pc; Hart.debug.stop has it */
    STEP_MODE,      /* privilege, translation or interrupt enables changed */
};

/* Runs until h->instret reaches `limit`: exactly, or at the next taken jump. */
int interp_run(struct Hart *h, uint64_t limit, bool exact);

#endif

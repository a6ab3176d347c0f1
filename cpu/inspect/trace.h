/* What a hart does, noted in a ring in shared memory while somebody asks for it:
 * traps, interrupts, system calls, notifications of devices, changes of task,
 * and samples for the profiler.
 *
 * Nothing of this is in an instruction's path.  Traps, sret, WFI and MMIO test
 * one word (Machine.trace.mask); samples are taken between two stretches of
 * instructions.  Each hart writes its own ring, the supervisor reads it; a full
 * ring loses the newest record and counts it.
 *
 * Linux's conventions (sscratch and tp hold the task, where its pid lies) come
 * from Python, which has found them in the guest; without them tasks are 0. */
#ifndef HARTWELL_TRACE_H
#define HARTWELL_TRACE_H

#include "hart/hart.h"

static inline bool tracing(uint32_t kinds) { return __builtin_expect((MACHINE->trace.mask & kinds) != 0, 0); }

/* A trap is about to be delivered; h is as the program left it. */
void trace_trap(struct Hart *h, uint64_t cause, uint64_t tval);
void trace_interrupt(struct Hart *h, uint32_t irq);

/* sret was made; pc and privilege are the new ones. */
void trace_return(struct Hart *h);

/* The hart waits for an interrupt. */
void trace_wait(struct Hart *h);

/* A driver notified `queue` of a virtio slot; a hart claimed a PLIC source. */
void trace_notify(struct Hart *h, uint32_t slot, uint32_t queue);
void trace_claim(struct Hart *h, uint32_t source);

/* Between two stretches of instructions: a sample, if one is due. */
void trace_sample(struct Hart *h);

/* Instructions until the next look whether one is due; not always the same, so
 * that no loop keeps step with it. */
uint32_t trace_stretch(struct Hart *h);

#endif

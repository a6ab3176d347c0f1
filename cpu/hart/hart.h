/* A hart: its state lies in struct Hart; this is what other rooms may do to it. */
#ifndef HARTWELL_HART_H
#define HARTWELL_HART_H

#include "machine/machine.h"

enum { PRIV_U = 0, PRIV_S = 1, PRIV_M = 3 };

/* Interrupt numbers, Privileged spec 3.1.9. */
enum { IRQ_SSI = 1, IRQ_MSI = 3, IRQ_STI = 5, IRQ_MTI = 7, IRQ_SEI = 9, IRQ_MEI = 11 };

static inline struct Hart *hart_at(uint32_t i) { return (struct Hart *)mem_at(HART_BASE + i * HART_STRIDE); }

/* Power-on state: off, all CSRs at their reset values.  TLB and decoded code
 * are caches and stay what they are. */
void hart_reset(struct Hart *h, uint32_t id);

/* Makes a hart look up from its work and, if it waits, wake.  Any thread. */
void hart_attend(struct Hart *h, uint32_t attention);

/* Drives one bit of mip.  Any thread. */
void hart_interrupt(struct Hart *h, uint32_t bit, bool on);

/* mtimecmp or stimecmp of a hart was written: it must look at the time. */
void hart_timer_changed(uint32_t hart);

/* Brings MTIP and STIP up to date with the clock, whose time it gives back.  Own thread. */
uint64_t hart_timers(struct Hart *h);

/* Serves code shootdowns and remote fences that others asked of this hart. */
void hart_serve(struct Hart *h);

/* Recomputes what follows from privilege, mstatus and satp (mem_mode, ...). */
void hart_mode_changed(struct Hart *h);

/* Waits, serving others meanwhile, until `other` has reached `target` in the
 * word `ack` or does not execute. */
void hart_await_ack(struct Hart *h, struct Hart *other, uint32_t *ack, uint32_t target);

#endif

#include "devices/plic.h"

enum { WORDS = PLIC_SOURCES / 32, PRIORITY_MAX = 7 };
enum { PENDING = 0x1000, ENABLE = 0x2000, ENABLE_STRIDE = 0x80, CONTEXT = 0x200000, CONTEXT_STRIDE = 0x1000 };

static uint32_t contexts(void) { return 2 * MACHINE->hart_count; }

/* The most urgent source pending and enabled for a context whose priority is
 * above `priority`, 0 if none; the lowest number among equals. */
static uint32_t best(const struct Plic *p, uint32_t context, uint32_t priority)
{
    uint32_t chosen = 0;
    for (uint32_t word = 0; word < WORDS; word++) {
        uint32_t ready = p->pending[word] & p->enable[context * WORDS + word];
        for (; ready; ready &= ready - 1) {
            uint32_t irq = word * 32 + (uint32_t)__builtin_ctz(ready);
            if (p->priority[irq] > priority) {
                priority = p->priority[irq];
                chosen = irq;
            }
        }
    }
    return chosen;
}

/* Brings pending and every hart's external interrupt up to date. */
static void update(struct Plic *p)
{
    /* A level-triggered gateway: high and not being served is pending. */
    for (uint32_t word = 0; word < WORDS; word++)
        p->pending[word] |= p->level[word] & ~p->claimed[word];
    for (uint32_t context = 0; context < contexts(); context++)
        hart_interrupt(hart_at(context / 2), context & 1 ? IRQ_SEI : IRQ_MEI, best(p, context, p->threshold[context]) != 0);
}

void plic_set(uint32_t irq, bool level)
{
    struct Plic *p = &MACHINE->plic;
    uint32_t word = irq / 32, bit = 1u << irq % 32;
    lock(&p->lock);
    if (!(p->level[word] & bit) != !level) {
        p->level[word] ^= bit;
        if (!level)
            p->pending[word] &= ~bit; /* QEMU's and SiFive's: an unclaimed level goes away */
        update(p);
    }
    unlock(&p->lock);
}

/* The threshold masks the interrupt, not the claim ("Interrupt Claim Process"). */
static uint32_t claim(struct Plic *p, uint32_t context)
{
    uint32_t irq = best(p, context, 0);
    if (irq) {
        p->pending[irq / 32] &= ~(1u << irq % 32);
        p->claimed[irq / 32] |= 1u << irq % 32;
        update(p);
    }
    return irq;
}

/* Ignored unless the source is enabled for the context ("Interrupt Completion"). */
static void complete(struct Plic *p, uint32_t context, uint32_t irq)
{
    if (irq == 0 || irq >= PLIC_SOURCES || !(p->enable[context * WORDS + irq / 32] >> irq % 32 & 1))
        return;
    p->claimed[irq / 32] &= ~(1u << irq % 32);
    update(p);
}

bool plic_read(uint32_t offset, uint32_t size, uint64_t *value)
{
    struct Plic *p = &MACHINE->plic;
    uint32_t v = 0, context = (offset - CONTEXT) / CONTEXT_STRIDE, enable = offset - ENABLE;
    if (size != 4 || offset % 4)
        return false;
    lock(&p->lock);
    if (offset < 4 * PLIC_SOURCES)
        v = p->priority[offset / 4];
    else if (offset >= PENDING && offset < PENDING + 4 * WORDS)
        v = p->pending[(offset - PENDING) / 4];
    else if (offset >= ENABLE && enable / ENABLE_STRIDE < contexts() && enable % ENABLE_STRIDE / 4 < WORDS)
        v = p->enable[enable / ENABLE_STRIDE * WORDS + enable % ENABLE_STRIDE / 4];
    else if (offset >= CONTEXT && context < contexts() && offset % CONTEXT_STRIDE == 0)
        v = p->threshold[context];
    else if (offset >= CONTEXT && context < contexts() && offset % CONTEXT_STRIDE == 4)
        v = claim(p, context);
    unlock(&p->lock);
    *value = v;
    return true;
}

bool plic_write(uint32_t offset, uint32_t size, uint64_t value)
{
    struct Plic *p = &MACHINE->plic;
    uint32_t v = (uint32_t)value, context = (offset - CONTEXT) / CONTEXT_STRIDE, enable = offset - ENABLE;
    if (size != 4 || offset % 4)
        return false;
    lock(&p->lock);
    if (offset >= 4 && offset < 4 * PLIC_SOURCES)
        p->priority[offset / 4] = v & PRIORITY_MAX;
    else if (offset >= ENABLE && offset < CONTEXT && enable / ENABLE_STRIDE < contexts() &&
             enable % ENABLE_STRIDE / 4 < WORDS)
        p->enable[enable / ENABLE_STRIDE * WORDS + enable % ENABLE_STRIDE / 4] = enable % ENABLE_STRIDE ? v : v & ~1u;
    else if (offset >= CONTEXT && context < contexts() && offset % CONTEXT_STRIDE == 0)
        p->threshold[context] = v & PRIORITY_MAX;
    else if (offset >= CONTEXT && context < contexts() && offset % CONTEXT_STRIDE == 4)
        complete(p, context, v);
    update(p);
    unlock(&p->lock);
    return true;
}

void plic_reset(void)
{
    memset(&MACHINE->plic, 0, sizeof MACHINE->plic);
}

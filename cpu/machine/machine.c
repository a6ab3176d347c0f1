/* The machine as a whole: clock, doorbell, run control, and the exports by
 * which the control plane drives it.  Names and contracts: docs/contracts.md.
 */
#include "machine/machine.h"


#include "mmu/bus.h"
#include "hart/csr.h"
#include "jit/jit.h"
#include "mmu/mmu.h"
#include "machine/ring.h"
#include "machine/snapshot.h"

#ifndef __wasm__
#include <time.h>
double host_clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}
#endif

uint64_t machine_time(void)
{
    struct Machine *m = MACHINE;
    /* Moves only where the control plane always stops (hartwell.history), so
     * that a look at the clock tells nothing of where else a run was cut. */
    if (m->time_mode == TIME_INSTRET)
        return m->time_offset + hart_at(0)->instret / TIME_GRID * TIME_GRID / (m->time_divisor ? m->time_divisor : 1);
    if (atomic_get(&m->time_frozen))
        return m->time_offset;
    double elapsed = (host_clock_us() - m->time_base_us) * 10;
    return m->time_offset + (elapsed > 0 ? (uint64_t)elapsed : 0);
}

/* Under time_lock, and only while no hart runs. */
static void freeze_time(void)
{
    struct Machine *m = MACHINE;
    uint64_t now = machine_time();
    if (atomic_swap(&m->time_frozen, 1) == 0 && m->time_mode != TIME_INSTRET)
        m->time_offset = now;
}

static void thaw_time(void)
{
    struct Machine *m = MACHINE;
    if (atomic_get(&m->time_frozen) == 0)
        return;
    if (m->time_mode != TIME_INSTRET)
        m->time_base_us = host_clock_us();
    atomic_set(&m->time_frozen, 0);
}

/* Whether time stands still goes with `control` and `running_harts`, which is why
 * all three change under one lock: a last hart that saw a pause and stopped time
 * only after the machine had been told to go on would stop it for good; and who
 * sees that no hart runs in a pause may read the clock's state. */
void machine_hart_runs(void)
{
    struct Machine *m = MACHINE;
    lock(&m->time_lock);
    atomic_add(&m->running_harts, 1);
    unlock(&m->time_lock);
}

bool machine_hart_rests(void)
{
    struct Machine *m = MACHINE;
    lock(&m->time_lock);
    bool last = atomic_get(&m->running_harts) == 1, rests = last && atomic_get(&m->control) == CONTROL_PAUSE;
    if (rests)
        freeze_time();
    atomic_add(&m->running_harts, ~0u);
    unlock(&m->time_lock);
    if (rests)
        doorbell_ring(DOORBELL_PAUSED);
    return last;
}

void doorbell_ring(uint32_t bits)
{
    struct Machine *m = MACHINE;
    /* A bit that is still up means that the supervisor has yet to look. */
    if ((atomic_bits_on(&m->doorbell, bits) & bits) == bits)
        return;
    atomic_add(&m->doorbell_count, 1);
    word_wake(&m->doorbell_count);
    word_wake(&m->doorbell);
}

bool console_emit(uint8_t byte)
{
    struct Machine *m = MACHINE;
    lock(&m->uart.lock);
    bool done = ring_put(&m->uart.tx, byte);
    unlock(&m->uart.lock);
    doorbell_ring(DOORBELL_CONSOLE);
    return done;
}

static void attend_all(uint32_t attention)
{
    for (uint32_t i = 0; i < MACHINE->hart_count; i++)
        hart_attend(hart_at(i), attention);
}

EXPORT void machine_stop(uint32_t reason, uint32_t code)
{
    struct Machine *m = MACHINE;
    uint32_t none = STOP_NONE;
    if (!__atomic_compare_exchange_n(&m->stop_reason, &none, reason, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return;
    m->exit_code = code;
    atomic_set(&m->control, CONTROL_STOP);
    word_wake(&m->control);
    attend_all(ATTENTION_CONTROL);
    doorbell_ring(DOORBELL_STOP);
}

EXPORT void machine_pause(void)
{
    struct Machine *m = MACHINE;
    uint32_t run = CONTROL_RUN;
    lock(&m->time_lock);
    bool paused = __atomic_compare_exchange_n(&m->control, &run, CONTROL_PAUSE, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    if (paused && atomic_get(&m->running_harts) == 0)
        freeze_time();
    unlock(&m->time_lock);
    if (paused)
        attend_all(ATTENTION_CONTROL);
}

EXPORT void machine_resume(void)
{
    struct Machine *m = MACHINE;
    if (atomic_get(&m->control) != CONTROL_PAUSE)
        return;
    /* Whoever stands at a breakpoint goes on past it; one who asks for more has cleared the reasons. */
    for (uint32_t i = 0; i < m->hart_count; i++) {
        struct HartDebug *d = &hart_at(i)->debug;
        if (atomic_get(&d->hold))
            continue;
        uint32_t reason = atomic_swap(&d->stop.reason, DEBUG_NONE);
        if (reason)
            atomic_set(&d->over, reason == DEBUG_WATCHPOINT ? OVER_BREAK | OVER_WATCH : OVER_BREAK);
    }
    atomic_set(&m->debug.dma.reason, DEBUG_NONE);
    lock(&m->time_lock);
    uint32_t pause = CONTROL_PAUSE; /* it may have been stopped for good meanwhile */
    thaw_time();
    __atomic_compare_exchange_n(&m->control, &pause, CONTROL_RUN, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    unlock(&m->time_lock);
    word_wake(&m->control);
}

static void start_over(void)
{
    struct Machine *m = MACHINE;
    for (uint32_t i = 0; i < MAX_HARTS; i++)
        hart_reset(hart_at(i), i);
    m->stop_reason = STOP_NONE;
    m->exit_code = 0;
    if (m->time_mode != TIME_INSTRET)
        m->time_base_us = host_clock_us();
    m->time_offset = 0;
    m->time_frozen = 0;
    m->running_harts = 0;
    m->time_lock = 0;
    atomic_set(&m->doorbell, 0);
    atomic_set(&m->control, CONTROL_RUN);
}

EXPORT void machine_init(void)
{
    struct Machine *m = MACHINE;
    m->magic = MACHINE_MAGIC;
    m->layout_version = LAYOUT_VERSION;
    jit_init();
    for (uint32_t i = 0; i < m->hart_count; i++) {
        hart_at(i)->id = i; /* which says where its tables lie */
        tlb_init(hart_at(i));
        code_init(hart_at(i));
    }
    start_over();
    devices_init();
}

EXPORT void machine_reset(void)
{
    struct Machine *m = MACHINE;
    start_over();
    for (uint32_t i = 0; i < m->hart_count; i++)
        tlb_flush_all(hart_at(i));
    ram_all_dirty();
    devices_reset();
}

/* Wall clock of the guest's RTC in microseconds: in a run that repeats it
 * begins at time_base_us and goes with mtime. */
double machine_wall_us(void)
{
    const struct Machine *m = MACHINE;
    return m->time_mode == TIME_INSTRET ? m->time_base_us + (double)machine_time() / 10 : host_clock_us();
}

EXPORT void machine_skip_time(uint64_t ticks)
{
    MACHINE->time_offset += ticks;
    attend_all(ATTENTION_INTERRUPT);
}

/* Of which layout this is, for those who know it by numbers that were kept (hartwell.snapshot.recipe). */
/* 1 when no hart has anything to do now: each waits for an interrupt, or is off. */
EXPORT uint32_t machine_rests(void)
{
    struct Machine *m = MACHINE;
    for (uint32_t i = 0; i < m->hart_count; i++) {
        uint32_t state = atomic_get(&hart_at(i)->state);
        if (state != HART_WFI && state != HART_OFF)
            return 0;
    }
    return 1;
}

EXPORT uint32_t layout_digest(void) { return LAYOUT_DIGEST; }

EXPORT uint64_t machine_clock(void) { return machine_time(); }

/* Words that Python and the harts share; Python has no atomics of its own. */
EXPORT uint32_t atomic_load(uint32_t offset) { return atomic_get(mem_at(offset)); }
EXPORT void atomic_store(uint32_t offset, uint32_t value) { atomic_set(mem_at(offset), value); }
EXPORT uint32_t atomic_or(uint32_t offset, uint32_t bits) { return atomic_bits_on(mem_at(offset), bits); }
EXPORT uint32_t atomic_and(uint32_t offset, uint32_t bits) { return atomic_bits_off(mem_at(offset), ~bits); }
EXPORT void atomic_notify(uint32_t offset) { word_wake(mem_at(offset)); }
EXPORT void atomic_wait(uint32_t offset, uint32_t value, double seconds)
{
    word_wait(mem_at(offset), value, seconds < 0 ? -1 : (int64_t)(seconds * 1e9));
}

EXPORT uint64_t translate(uint32_t hart, uint64_t va, uint32_t access)
{
    if (hart >= MACHINE->hart_count || access > ACCESS_FETCH)
        return ~0ull;
    struct Hart *h = hart_at(hart);
    uint64_t pa;
    bool global;
    uint64_t span;
    uint32_t set = access == ACCESS_FETCH ? h->fetch_mode : h->mem_mode;
    return mmu_translate(h, va, access, set, true, &pa, &global, &span) ? pa : ~0ull;
}

EXPORT uint64_t csr_read(uint32_t hart, uint32_t number)
{
    uint64_t value;
    return hart < MACHINE->hart_count && csr_get(hart_at(hart), number & 0xfff, &value) ? value : 0;
}

EXPORT void csr_write(uint32_t hart, uint32_t number, uint64_t value)
{
    if (hart < MACHINE->hart_count)
        csr_set(hart_at(hart), number & 0xfff, value);
}

/* A hart's life: start, the loop around the interpreter, waiting, and what
 * other harts ask of it.
 *
 * `executing` is the promise to others: while it is 0 this hart touches no
 * guest memory and serves what was asked (attention) before it does again, so
 * nobody needs to wait for it.
 */
#include "hart/hart.h"


#include "hart/csr.h"
#include "inspect/debug.h"
#include "hart/interp.h"
#include "jit/jit.h"
#include "mmu/mmu.h"
#include "devices/rtc.h"
#include "inspect/trace.h"
#include "hart/trap.h"

enum { HSM_STARTED = 0, HSM_STOPPED = 1, HSM_START_PENDING = 2, HSM_SUSPENDED = 4 };

#define LONGEST_WAIT_NS 1000000000ll /* a clock set back is noticed at the latest then */

void hart_reset(struct Hart *h, uint32_t id)
{
    memset(h->x, 0, sizeof h->x);
    memset(h->f, 0, sizeof h->f);
    h->id = id;
    h->pc = 0;
    h->privilege = PRIV_M;
    h->instret = 0;
    h->reservation_valid = 0;
    h->trap_pending = 0;
    h->hsm_state = HSM_STOPPED;
    h->state = HART_OFF;
    h->executing = h->active = 0;
    h->attention = 0;
    h->rfence_kind = 0;
    h->rfence_ack = h->rfence_request;
    h->mtimecmp_shadow = ~0ull;
    h->debug.hold = h->debug.over = h->debug.stop.reason = 0;
    csr_reset(h);
    if (id < MACHINE->hart_count)
        hart_mode_changed(h);
}

/* What M mode firmware would have set before it enters a kernel. */
static void firmware_setup(struct Hart *h)
{
    h->medeleg = 0xb3ffull & ~(1ull << CAUSE_ECALL_S);
    h->mideleg = (1u << IRQ_SSI) | (1u << IRQ_STI) | (1u << IRQ_SEI);
    h->mcounteren = 7;
    h->scounteren = 7; /* kernels leave it as firmware set it; libc's clock reads time in U mode */
    h->menvcfg = ENVCFG_STCE | ENVCFG_ADUE | ENVCFG_CBZE | ENVCFG_CBCFE | ENVCFG_CBIE;
    h->pmpaddr[0] = (1ull << 54) - 1;
    h->pmpcfg[0] = 0x1f; /* NAPOT over everything: R W X */
}

EXPORT void hart_start(uint32_t hart, uint64_t pc, uint64_t a0, uint64_t a1, uint32_t privilege)
{
    struct Hart *h = hart_at(hart);
    if (hart >= MACHINE->hart_count)
        return;
    if (MACHINE->firmware == FIRMWARE_BUILTIN)
        for (uint32_t i = 0; i < MACHINE->hart_count; i++)
            firmware_setup(hart_at(i));
    h->pc = pc;
    h->x[10] = a0;
    h->x[11] = a1;
    h->privilege = privilege == 2 || privilege > 3 ? PRIV_M : privilege;
    hart_mode_changed(h);
    atomic_set(&h->hsm_state, HSM_STARTED);
    hart_attend(h, ATTENTION_INTERRUPT);
}

void hart_attend(struct Hart *h, uint32_t attention)
{
    atomic_bits_on(&h->attention, attention);
    atomic_add(&h->wake, 1);
    uint32_t state = atomic_get(&h->state);
    if (state != HART_RUNNING)
        word_wake(&h->wake);
}

void hart_interrupt(struct Hart *h, uint32_t bit, bool on)
{
    uint32_t mask = 1u << bit;
    if (on) {
        if (!(atomic_bits_on(&h->mip, mask) & mask))
            hart_attend(h, ATTENTION_INTERRUPT);
    } else {
        atomic_bits_off(&h->mip, mask);
    }
}

void hart_timer_changed(uint32_t hart) { hart_attend(hart_at(hart), ATTENTION_INTERRUPT); }

uint64_t hart_timers(struct Hart *h)
{
    uint64_t now = machine_time();
    h->jit_stretch = 0; /* it may have been measured up to another timer */
    rtc_poll();
    uint32_t due = now >= MACHINE->aclint.mtimecmp[h->id] ? 1u << IRQ_MTI : 0, driven = 1u << IRQ_MTI;
    if (h->menvcfg & ENVCFG_STCE) {
        driven |= 1u << IRQ_STI;
        due |= now >= h->stimecmp ? 1u << IRQ_STI : 0;
    }
    uint32_t have = atomic_get(&h->mip) & driven;
    if (have & ~due)
        atomic_bits_off(&h->mip, have & ~due);
    if (due & ~have)
        atomic_bits_on(&h->mip, due & ~have);
    return now;
}

/* When the next timer could interrupt, in mtime. */
static uint64_t next_timer(const struct Hart *h)
{
    uint64_t due = ~0ull;
    if (h->mie >> IRQ_MTI & 1)
        due = MACHINE->aclint.mtimecmp[h->id];
    if (h->mie >> IRQ_STI & 1 && h->menvcfg & ENVCFG_STCE && h->stimecmp < due)
        due = h->stimecmp;
    return due;
}

EXPORT uint64_t hart_next_timer(uint32_t hart)
{
    return hart < MACHINE->hart_count ? next_timer(hart_at(hart)) : ~0ull;
}

/* Nanoseconds to the next timer that could interrupt. */
static int64_t next_timer_ns(struct Hart *h)
{
    uint64_t now = machine_time(), due = next_timer(h);
    if (due <= now)
        return 0;
    uint64_t ticks = due - now;
    return ticks > LONGEST_WAIT_NS / 100 ? LONGEST_WAIT_NS : (int64_t)ticks * 100;
}

void hart_mode_changed(struct Hart *h)
{
    static const uint8_t set_of[4] = {SET_U, SET_S, SET_M, SET_M};
    uint32_t as = h->privilege;
    if (as == PRIV_M && h->mstatus & MSTATUS_MPRV)
        as = h->mstatus >> 11 & 3;
    uint32_t set = set_of[as];
    if (set == SET_S && h->mstatus & MSTATUS_SUM)
        set = SET_SUM;
    h->fetch_mode = set_of[h->privilege];
    code_mode_changed(h);
    if (set != h->mem_mode || h->tlb_mask == 0)
        tlb_use_set(h, set);
}

/* --- what others ask ---------------------------------------------------------- */

void hart_serve(struct Hart *h)
{
    uint32_t asked = atomic_bits_off(&h->attention, ATTENTION_CODE | ATTENTION_RFENCE);
    if (asked & ATTENTION_CODE) {
        uint32_t sequence = atomic_get(&MACHINE->code_seq);
        tlb_drop_code_writes(h, NO_PAGE);
        atomic_set(&h->code_ack, sequence);
        word_wake(&h->code_ack);
    }
    if (asked & ATTENTION_RFENCE) {
        uint32_t request = atomic_get(&h->rfence_request), kind = atomic_swap(&h->rfence_kind, 0);
        if (kind & RFENCE_TLB)
            tlb_flush_all(h);
        if (kind & RFENCE_CODE)
            code_synchronize(h);
        atomic_set(&h->rfence_ack, request);
        word_wake(&h->rfence_ack);
    }
}

void hart_await_ack(struct Hart *h, struct Hart *other, uint32_t *ack, uint32_t target)
{
    for (uint32_t tries = 0;; tries++) {
        uint32_t seen = atomic_get(ack);
        if ((int32_t)(seen - target) >= 0 || !atomic_get(&other->executing))
            return;
        if (atomic_get(&h->attention) & (ATTENTION_CODE | ATTENTION_RFENCE))
            hart_serve(h);
        else if (tries > 200) /* most answers come within a microsecond; else its thread has no core */
            word_wait(ack, seen, 50000);
    }
}

static void stop_executing(struct Hart *h)
{
    /* Served first: what this hart wrote before must be known to whoever asked. */
    if (atomic_get(&h->attention) & (ATTENTION_CODE | ATTENTION_RFENCE))
        hart_serve(h);
    atomic_set(&h->executing, 0);
}

/* --- the loop ------------------------------------------------------------------ */

/* Says that this hart runs.  Whoever pauses the machine or holds the hart waits
 * for it from here on, so it looks at that once more before it begins. */
static void announce(struct Hart *h)
{
    if (!h->active) {
        atomic_set(&h->active, 1);
        machine_hart_runs();
    }
}

static void withdraw(struct Hart *h)
{
    atomic_set(&h->active, 0);
    if (machine_hart_rests())
        word_wake(&MACHINE->running_harts);
}

static void leave(struct Hart *h)
{
    if (!h->active) /* stands still already; the supervisor may be steering it */
        return;
    stop_executing(h);
    withdraw(h);
}

/* Waits on h->wake, unless something is to be done already. */
static void park(struct Hart *h, uint32_t seen, int64_t ns)
{
    if (ns == 0 || atomic_get(&h->attention))
        return;
    stop_executing(h);
    word_wait(&h->wake, seen, ns);
    atomic_set(&h->executing, 1);
}

/* WFI ends when an enabled interrupt is pending, enabled globally or not; it
 * may end sooner (Privileged spec 3.3.3), which attention does. */
static bool wfi_over(struct Hart *h)
{
    hart_timers(h);
    return (trap_pending(h) & h->mie) != 0;
}

static void wait_for_interrupt(struct Hart *h)
{
    h->stat_wfi++;
    if (tracing(TRACE_SWITCHES))
        trace_wait(h);
    for (;;) {
        uint32_t seen = atomic_get(&h->wake);
        atomic_set(&h->state, HART_WFI);
        if (atomic_get(&h->attention) || wfi_over(h))
            break;
        park(h, seen, next_timer_ns(h));
    }
    atomic_set(&h->state, HART_RUNNING);
}

/* A hart that SBI HSM stopped or suspended; true when it may run. */
static bool hsm_ready(struct Hart *h)
{
    switch (atomic_get(&h->hsm_state)) {
    case HSM_STARTED:
        return true;
    case HSM_START_PENDING:
        break;
    case HSM_SUSPENDED:
        if (!wfi_over(h))
            return false;
        if (h->hsm_start == 0) {
            atomic_set(&h->hsm_state, HSM_STARTED);
            return true;
        }
        break;
    default:
        return false;
    }
    h->pc = h->hsm_start;
    h->x[10] = h->id;
    h->x[11] = h->hsm_opaque;
    h->privilege = PRIV_S;
    h->mstatus &= ~MSTATUS_SIE;
    h->satp = 0;
    tlb_flush_all(h);
    hart_mode_changed(h);
    atomic_set(&h->hsm_state, HSM_STARTED);
    return true;
}

/* Looks at what made the hart look up.  true: leave hart_run with *result. */
static bool attend(struct Hart *h, uint32_t flags, uint32_t *result)
{
    struct Machine *m = MACHINE;
    uint32_t control, before = h->state;
    bool stood = false;
    atomic_bits_off(&h->attention, ATTENTION_INTERRUPT | ATTENTION_CONTROL);
    hart_serve(h);
    while (!(flags & RUN_STEER)) {
        uint32_t seen = atomic_get(&h->wake);
        control = atomic_get(&m->control);
        if (control == CONTROL_STOP || (control == CONTROL_RUN && !debug_held(h))) {
            if (h->active)
                break;
            announce(h); /* and looks again: a pause meanwhile did not wait for this hart */
            continue;
        }
        if (!stood) {
            h->trap_pending = 0; /* the instruction will raise it again, unless somebody changes what it does */
            if (!(flags & RUN_NOWAIT))
                atomic_set(&h->state, HART_PAUSED); /* before leave: who waits for that looks at this */
            leave(h);
        } else if (h->active) { /* it has not begun, and the supervisor may be steering it by now */
            withdraw(h);
        }
        if (flags & RUN_NOWAIT) {
            *result = RUN_PAUSED;
            return true;
        }
        stood = true;
        if (control == CONTROL_PAUSE)
            word_wait(&m->control, CONTROL_PAUSE, -1);
        else /* whoever lets it go, pauses or stops the machine counts this word up */
            word_wait(&h->wake, seen, -1);
    }
    control = atomic_get(&m->control);
    if (stood) {
        atomic_set(&h->state, before);
        atomic_set(&h->executing, 1);
        hart_serve(h);
    }
    debug_refresh(h);
    if (control == CONTROL_STOP) {
        *result = RUN_STOPPED;
        return true;
    }
    hart_timers(h);
    return false;
}

/* One instruction, whatever the debugger has set on it. */
static int step_over(struct Hart *h)
{
    uint64_t before = h->instret;
    int step = interp_run(h, before + 1, true);
    if (h->instret != before || h->trap_pending)
        atomic_set(&h->debug.over, 0);
    return step;
}

#define LONGEST_STRETCH 10000 /* ticks of mtime, 1 ms: the engine replaces no function while it runs */
#define EARLY 250             /* ticks */

/* A run's end is there for timers and for the engine, and each costs a region
 * its way out and back in, by the interpreter.  Regions are fast; so how long
 * they may run over is measured by time, by what this hart did of late, and
 * half of it left where a timer is due. */
static void begin_stretch(struct Hart *h, uint64_t now, uint32_t flags)
{
    uint64_t ran = h->instret - h->jit_begun, took = now - h->jit_begun_at, due = next_timer(h);
    h->jit_begun = h->instret;
    h->jit_begun_at = now;
    if (flags & RUN_EXACT || MACHINE->time_mode == TIME_INSTRET || MACHINE->trace.sample_ticks || due <= now ||
        ran > JIT_MOST_FUEL)
        return;
    uint64_t ticks = (due - now) / 2 + EARLY;
    if (ticks > LONGEST_STRETCH)
        ticks = LONGEST_STRETCH;
    uint64_t most = 4 * ran, count = ran * ticks / (took ? took : 1);
    h->jit_stretch = h->instret + (count < most ? count : most);
}

static uint32_t run(struct Hart *h, uint64_t end, uint32_t flags)
{
    uint32_t result;
    uint64_t traps_left = end - h->instret;
    /* In a pause nothing may change, mip neither: this hart was perhaps not
     * counted when the pause was complete. */
    if (atomic_get(&MACHINE->control) == CONTROL_RUN)
        begin_stretch(h, hart_timers(h), flags);
    for (;;) {
        if (flags & RUN_STEER && atomic_get(&h->debug.stop.reason))
            return RUN_DEBUG_STOP;
        if ((atomic_get(&h->attention) || atomic_get(&MACHINE->control) != CONTROL_RUN || debug_held(h)) &&
            attend(h, flags, &result))
            return result;
        if (!hsm_ready(h)) {
            if (flags & RUN_NOWAIT)
                return RUN_WFI;
            uint32_t seen = atomic_get(&h->wake);
            atomic_set(&h->state, h->hsm_state == HSM_STOPPED ? HART_OFF : HART_WFI);
            park(h, seen, h->hsm_state == HSM_STOPPED ? -1 : next_timer_ns(h));
            continue;
        }
        if (h->state != HART_RUNNING)
            atomic_set(&h->state, HART_RUNNING);
        if (h->trap_pending) {
            trap_deliver(h);
            /* A handler that can't be fetched traps for ever and retires nothing. */
            if (flags & RUN_STEP || traps_left-- == 0)
                return RUN_BUDGET;
        }
        bool over = atomic_get(&h->debug.over);
        /* A run that repeats takes its interrupts where it always does. */
        if (MACHINE->time_mode == TIME_INSTRET || (!over && !(flags & RUN_STEP)))
            trap_interrupt(h);
        if (h->instret >= end)
            return RUN_BUDGET;
        if (!(flags & RUN_STEER)) /* the supervisor interprets: its instance has no translations of this hart's */
            jit_begin(h);
        bool exact = flags & RUN_EXACT;
        int step = over ? step_over(h) : interp_run(h, exact ? end : jit_until(h, end), exact);
        switch (step) {
        case STEP_WFI:
            if (!(flags & RUN_NOWAIT)) {
                jit_idle(h);
                wait_for_interrupt(h);
            } else if (!wfi_over(h) && !atomic_get(&h->attention))
                return RUN_WFI;
            break;
        case STEP_BUDGET:
            if (!over && h->instret < end) /* a look at what waits for the translator */
                break;
            hart_timers(h);
            if (!h->trap_pending && !atomic_get(&h->attention))
                return RUN_BUDGET;
            break;
        default: /* a trap, attention or a new mode: the loop's head looks */
            break;
        }
    }
}

/* The supervisor's turn with a hart whose own thread stands still. */
static uint32_t steer(struct Hart *h, uint32_t budget, uint32_t flags)
{
    uint32_t before = atomic_get(&h->state);
    atomic_set(&h->executing, 1);
    uint32_t result = run(h, h->instret + budget, flags | RUN_NOWAIT);
    if (MACHINE->trace.sample_ticks)
        trace_sample(h);
    stop_executing(h);
    atomic_set(&h->state, before);
    return result;
}

/* As run(), with looks between stretches whether a sample is due. */
static uint32_t run_sampled(struct Hart *h, uint64_t end, uint32_t flags)
{
    for (;;) {
        uint64_t before = h->instret, stretch = before + trace_stretch(h);
        uint32_t result = run(h, stretch < end ? stretch : end, flags);
        trace_sample(h);
        if (result != RUN_BUDGET || h->instret >= end || h->instret == before)
            return result;
    }
}

EXPORT uint32_t hart_run(uint32_t hart, uint32_t budget, uint32_t flags)
{
    if (hart >= MACHINE->hart_count)
        return RUN_STOPPED;
    struct Hart *h = hart_at(hart);
    if (flags & RUN_STEER)
        return steer(h, budget, flags);
    announce(h);
    atomic_set(&h->executing, 1);
    uint64_t end = h->instret + budget;
    uint32_t result = MACHINE->trace.sample_ticks ? run_sampled(h, end, flags) : run(h, end, flags);
    leave(h);
    if (result == RUN_STOPPED)
        atomic_set(&h->state, HART_STOPPED);
    return result;
}

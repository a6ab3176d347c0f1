#include "inspect/trace.h"

#include "mmu/mmu.h"
#include "hart/trap.h"

#define MOST_SLOTS 96 /* of one record: 3 KiB */
#define KERNEL_HALF (1ull << 63)
#define MOST_FRAMES 48
#define MOST_STRINGS 32 /* of an argv */
/* Instructions between two looks at the clock: a look and a way out of
 * translated code cost a microsecond or so, which is to be little of a stretch. */
enum { SHORTEST_STRETCH = 2048, LONGEST_STRETCH = 65536 };

/* A record: this head, then payload up to a multiple of its 32 bytes. */
struct Record {
    uint16_t kind; /* TRACE_KIND_* */
    uint8_t hart, slots;
    uint32_t pid, tgid, number;
    uint64_t time, task; /* mtime; struct task_struct of the guest */
};
_Static_assert(sizeof(struct Record) == TRACE_SLOT_BYTES, "one slot is a record's head");

struct Writer {
    struct Hart *h;
    struct Record head;
    uint8_t payload[(MOST_SLOTS - 1) * TRACE_SLOT_BYTES];
    uint32_t used;
};

/* One translation kept while a stack or a string is read. */
struct Cursor {
    uint64_t page; /* virtual, + 1: 0 is none */
    const uint8_t *bytes;
};

static struct Trace *trace(void) { return &MACHINE->trace; }

/* --- the guest's memory ---------------------------------------------------------- */

/* Copies what is mapped of [va, va + count): how much that was. */
static uint32_t peek(struct Hart *h, uint32_t set, struct Cursor *c, uint64_t va, void *to, uint32_t count)
{
    uint32_t done = 0;
    while (done < count) {
        uint64_t at = va + done, page = at & ~0xfffull, pa;
        bool global;
        uint64_t span;
        if (c->page != page + 1) {
            if (!mmu_translate(h, page, ACCESS_READ, set, true, &pa, &global, &span))
                return done;
            c->bytes = ram_at(pa, 4096);
            c->page = page + 1;
            if (!c->bytes) {
                c->page = 0;
                return done;
            }
        }
        uint32_t offset = (uint32_t)at & 0xfff, part = 4096 - offset < count - done ? 4096 - offset : count - done;
        memcpy((uint8_t *)to + done, c->bytes + offset, part);
        done += part;
    }
    return done;
}

static uint64_t current_task(const struct Hart *h)
{
    uint64_t task = h->privilege == PRIV_U ? h->sscratch : h->x[4];
    return h->privilege != PRIV_M && trace()->pid_offset && task & KERNEL_HALF ? task : 0;
}

/* --- records ---------------------------------------------------------------------- */

static void begin(struct Writer *w, struct Hart *h, uint32_t kind, uint32_t number, uint64_t task)
{
    uint32_t id[2] = {0, 0};
    struct Cursor c = {0, NULL};
    if (task)
        peek(h, SET_S, &c, task + trace()->pid_offset, id, sizeof id);
    w->h = h;
    w->head = (struct Record){(uint16_t)kind, (uint8_t)h->id, 1, id[0], id[1], number, machine_time(), task};
    w->used = 0;
}

static void add(struct Writer *w, const void *bytes, uint32_t count)
{
    if (count > sizeof w->payload - w->used)
        return;
    memcpy(w->payload + w->used, bytes, count);
    w->used += count;
}

static void add_word(struct Writer *w, uint64_t value) { add(w, &value, 8); }

static void end(struct Writer *w)
{
    struct HartTrace *t = &w->h->trace;
    uint32_t slots = 1 + (w->used + TRACE_SLOT_BYTES - 1) / TRACE_SLOT_BYTES, head = t->head;
    if (TRACE_SLOTS - (head - atomic_get(&t->tail)) < slots) {
        t->lost++;
        return;
    }
    w->head.slots = (uint8_t)slots;
    uint8_t *ring = mem_at(MACHINE->trace_offset + w->h->id * MACHINE->trace_stride);
    memcpy(ring + (head % TRACE_SLOTS) * TRACE_SLOT_BYTES, &w->head, TRACE_SLOT_BYTES);
    for (uint32_t i = 1; i < slots; i++) {
        uint32_t at = (i - 1) * TRACE_SLOT_BYTES, left = w->used - at;
        uint8_t *slot = ring + ((head + i) % TRACE_SLOTS) * TRACE_SLOT_BYTES;
        memset(slot, 0, TRACE_SLOT_BYTES);
        memcpy(slot, w->payload + at, left < TRACE_SLOT_BYTES ? left : TRACE_SLOT_BYTES);
    }
    atomic_set(&t->head, head + slots);
}

/* Notes that another task runs here than at the last look. */
static void look_at_task(struct Hart *h)
{
    uint64_t task = current_task(h);
    if (!tracing(TRACE_SWITCHES) || !task || task == h->trace.task)
        return;
    struct Writer w;
    begin(&w, h, TRACE_KIND_SWITCH, 0, task);
    add_word(&w, h->trace.task);
    end(&w);
    h->trace.task = task;
}

/* --- system calls ------------------------------------------------------------------- */

struct Call {
    uint64_t task; /* 0: free */
    uint64_t argument[6];
    uint64_t number;
};

/* The calls that have not returned: where a task's is, or could be. */
static struct Call *call_of(uint64_t task, bool make)
{
    struct Call *calls = mem_at(MACHINE->trace_calls_offset);
    uint32_t first = (uint32_t)((task >> 6) * 2654435761u >> 16) % TRACE_OPEN_CALLS & ~3u;
    for (uint32_t i = 0; i < 4; i++)
        if (__atomic_load_n(&calls[first + i].task, __ATOMIC_SEQ_CST) == task)
            return &calls[first + i];
    for (uint32_t i = 0; make && i < 4; i++) {
        uint64_t none = 0;
        if (__atomic_compare_exchange_n(&calls[first + i].task, &none, task, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return &calls[first + i];
    }
    if (!make)
        return NULL;
    /* All four are taken, maybe by tasks that were killed: the oldest way out. */
    struct Call *call = &calls[first + (task >> 8 & 3)];
    __atomic_store_n(&call->task, task, __ATOMIC_SEQ_CST);
    return call;
}

/* A piece of memory that an argument points to: argument, how it was copied,
 * bytes copied, bytes there were (as far as known), then the bytes. */
static void add_bytes(struct Writer *w, uint32_t argument, uint32_t kind, uint64_t va, uint64_t count)
{
    uint8_t bytes[TRACE_MOST_TEXT];
    uint32_t want = count < trace()->text_bytes ? (uint32_t)count : trace()->text_bytes;
    want = want < sizeof bytes ? want : sizeof bytes;
    struct Cursor c = {0, NULL};
    uint32_t have = peek(w->h, SET_U, &c, va, bytes, want), there = count < ~0u ? (uint32_t)count : ~0u;
    if (kind == TRACE_STRING) {
        there = ~0u; /* unless its end is found */
        for (uint32_t i = 0; i < have; i++)
            if (bytes[i] == 0) {
                have = there = i;
                break;
            }
    }
    uint16_t head[4] = {(uint16_t)argument, (uint16_t)kind, (uint16_t)have, 0};
    if (!va || 12 + have > sizeof w->payload - w->used)
        return;
    if (have == 0 && want && kind != TRACE_STRING)
        return; /* the page was never touched: the pointer will be shown */
    add(w, head, sizeof head);
    add(w, &there, 4);
    add(w, bytes, have);
    w->used = (w->used + 3) & ~3u;
}

static void add_strings(struct Writer *w, uint32_t argument, uint64_t va)
{
    struct Cursor c = {0, NULL};
    for (uint32_t i = 0; i < MOST_STRINGS; i++) {
        uint64_t string = 0;
        if (peek(w->h, SET_U, &c, va + 8 * i, &string, 8) != 8 || !string)
            return;
        add_bytes(w, argument, TRACE_STRING, string, ~0ull);
    }
}

static uint32_t kind_of(uint64_t number, uint32_t argument)
{
    return number < TRACE_CALLS ? trace()->call[number] >> 4 * argument & 15 : 0;
}

static void call_begins(struct Hart *h)
{
    uint64_t number = h->x[17], task = current_task(h);
    const uint64_t *argument = &h->x[10];
    if (number < TRACE_CALLS && !(trace()->call[number] & TRACE_CALL_WANTED))
        return;
    struct Writer w;
    begin(&w, h, TRACE_KIND_CALL, (uint32_t)number, task);
    if (trace()->only_tgid && w.head.tgid != trace()->only_tgid)
        return;
    add(&w, argument, 48);
    add_word(&w, h->pc);
    for (uint32_t i = 0; i < 6; i++)
        switch (kind_of(number, i)) {
        case TRACE_STRING: add_bytes(&w, i, TRACE_STRING, argument[i], ~0ull); break;
        case TRACE_STRINGS: add_strings(&w, i, argument[i]); break;
        case TRACE_IN: add_bytes(&w, i, TRACE_IN, argument[i], i < 5 ? argument[i + 1] : 0); break;
        case TRACE_IN16: add_bytes(&w, i, TRACE_IN16, argument[i], 16); break;
        default: break;
        }
    end(&w);
    if (!task || (number < TRACE_CALLS && trace()->call[number] & TRACE_CALL_ENDS))
        return;
    struct Call *call = call_of(task, true);
    memcpy(call->argument, argument, sizeof call->argument);
    call->number = number;
}

static void call_returns(struct Hart *h)
{
    uint64_t task = current_task(h);
    struct Call *call = task ? call_of(task, false) : NULL;
    if (!call)
        return;
    struct Writer w;
    int64_t result = (int64_t)h->x[10];
    begin(&w, h, TRACE_KIND_RETURN, (uint32_t)call->number, task);
    add_word(&w, h->x[10]);
    for (uint32_t i = 0; i < 6 && result >= 0; i++)
        switch (kind_of(call->number, i)) {
        case TRACE_OUT: add_bytes(&w, i, TRACE_OUT, call->argument[i], (uint64_t)result); break;
        case TRACE_OUT8: add_bytes(&w, i, TRACE_OUT8, call->argument[i], 8); break;
        case TRACE_OUT16: add_bytes(&w, i, TRACE_OUT16, call->argument[i], 16); break;
        default: break;
        }
    end(&w);
    __atomic_store_n(&call->task, 0, __ATOMIC_SEQ_CST);
}

/* --- what the rest of the core calls --------------------------------------------------- */

void trace_trap(struct Hart *h, uint64_t cause, uint64_t tval)
{
    look_at_task(h);
    if (cause == CAUSE_ECALL_U) {
        if (tracing(TRACE_SYSCALLS))
            call_begins(h);
        return;
    }
    if (!tracing(TRACE_TRAPS))
        return;
    struct Writer w;
    begin(&w, h, TRACE_KIND_TRAP, (uint32_t)cause, current_task(h));
    add_word(&w, h->pc);
    add_word(&w, tval);
    add_word(&w, h->privilege);
    end(&w);
}

void trace_interrupt(struct Hart *h, uint32_t irq)
{
    look_at_task(h);
    if (!tracing(TRACE_INTERRUPTS))
        return;
    struct Writer w;
    begin(&w, h, TRACE_KIND_INTERRUPT, irq, current_task(h));
    add_word(&w, h->pc);
    add_word(&w, h->privilege);
    end(&w);
}

void trace_return(struct Hart *h)
{
    look_at_task(h);
    if (h->privilege == PRIV_U && tracing(TRACE_SYSCALLS))
        call_returns(h);
}

void trace_wait(struct Hart *h) { look_at_task(h); }

static void device_event(struct Hart *h, uint32_t kind, uint32_t number, uint32_t detail)
{
    struct Writer w;
    begin(&w, h, kind, number, current_task(h));
    add_word(&w, detail);
    end(&w);
}

void trace_notify(struct Hart *h, uint32_t slot, uint32_t queue) { device_event(h, TRACE_KIND_NOTIFY, slot, queue); }

void trace_claim(struct Hart *h, uint32_t source) { device_event(h, TRACE_KIND_CLAIM, source, 0); }

/* --- samples ------------------------------------------------------------------------------ */

struct Stack {
    uint64_t pc, ra, sp, s0;
};

/* pt_regs (arch/riscv/include/asm/ptrace.h, and the signal ABI): epc, ra, sp, ... s0 eighth. */
static bool saved_registers(struct Hart *h, struct Cursor *c, uint64_t at, struct Stack *s)
{
    uint64_t word[9];
    if (peek(h, SET_S, c, at, word, sizeof word) != sizeof word)
        return false;
    *s = (struct Stack){word[0], word[1], word[2], word[8]};
    return true;
}

/* Follows frame pointers upwards from *s; `frame` gets where calls go on.  In
 * the kernel it goes on through interrupted kernel code; true when it came to
 * a program's registers, which are in *s then. */
static bool frames(struct Hart *h, uint32_t set, struct Stack *s, uint64_t *frame, uint32_t *count)
{
    struct Cursor c = {0, NULL};
    bool kernel = set == SET_S, first = true;
    frame[(*count)++] = s->pc;
    while (*count < MOST_FRAMES) {
        uint64_t pair[2], next, above;
        if (s->s0 & 7 || (s->s0 >= KERNEL_HALF) != kernel || (!kernel && s->s0 - s->sp > 8 << 20) ||
            peek(h, set, &c, s->s0 - 16, pair, 16) != 16)
            return false;
        above = pair[0];
        next = pair[1];
        /* A leaf saves no ra: the caller's frame pointer stands in its place. */
        if (first && !(next & 7) && next - s->s0 - 1 < 1 << 14) {
            above = next;
            next = s->ra;
        }
        first = false;
        if (next < 4096 || (next >= KERNEL_HALF) != kernel)
            return false;
        frame[(*count)++] = next;
        if (kernel && next >= trace()->entry_low && next < trace()->entry_high) {
            if (!saved_registers(h, &c, s->s0, s))
                return false;
            if (s->pc < KERNEL_HALF)
                return true;
            if (*count < MOST_FRAMES)
                frame[(*count)++] = s->pc;
            first = true;
            continue;
        }
        if (!kernel && above <= s->s0)
            return false;
        s->sp = s->s0;
        s->s0 = above;
    }
    return false;
}

/* A stretch is to take between an eighth and a third of the time between two samples. */
static void fit_stretch(struct Hart *h, uint64_t ticks)
{
    uint32_t *stretch = &h->trace.stretch;
    if (*stretch < SHORTEST_STRETCH)
        *stretch = SHORTEST_STRETCH;
    else if (ticks * 8 < trace()->sample_ticks && *stretch < LONGEST_STRETCH)
        *stretch *= 2;
    else if (ticks * 3 > trace()->sample_ticks && *stretch > SHORTEST_STRETCH)
        *stretch /= 2;
}

void trace_sample(struct Hart *h)
{
    struct Trace *t = trace();
    uint64_t now = machine_time(), frame[MOST_FRAMES];
    uint32_t count = 0, kernel;
    fit_stretch(h, now - h->trace.looked);
    h->trace.looked = now;
    if (now < h->trace.sample_due)
        return;
    /* A hart that was held up is not to make up for it. */
    uint64_t next = h->trace.sample_due + t->sample_ticks;
    h->trace.sample_due = next > now ? next : now + t->sample_ticks;
    struct Stack s = {h->pc, h->x[1], h->x[2], h->x[8]};
    struct Writer w;
    begin(&w, h, TRACE_KIND_SAMPLE, 0, current_task(h));
    bool program = h->privilege == PRIV_U;
    if (!program)
        program = frames(h, h->privilege == PRIV_S ? SET_S : SET_M, &s, frame, &count);
    kernel = count;
    if (program && count < MOST_FRAMES)
        frames(h, SET_U, &s, frame, &count);
    w.head.number = h->privilege | kernel << 8 | (count - kernel) << 16;
    add_word(&w, h->satp);
    add(&w, frame, 8 * count);
    end(&w);
}

uint32_t trace_stretch(struct Hart *h)
{
    uint32_t seed = h->trace.seed ? h->trace.seed : 2463534242u + h->id;
    seed ^= seed << 13; /* xorshift32 */
    seed ^= seed >> 17;
    seed ^= seed << 5;
    h->trace.seed = seed;
    uint32_t stretch = h->trace.stretch ? h->trace.stretch : SHORTEST_STRETCH;
    return stretch / 2 + seed % stretch;
}

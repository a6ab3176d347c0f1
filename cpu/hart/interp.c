/* The interpreter: one switch over the entries of decoded pages.
 *
 * `ip` walks the entries of a page (one for each halfword), so the pc is
 * where ip stands; it is worked out only when someone needs it.  Limits and
 * attention are looked at when a jump is taken and when a page is entered,
 * which every loop does.  The cases are generated from hartwell/isa; below are
 * the macros that they are written in.
 */
#include "hart/interp.h"

#include "hart/arith.h"
#include "hart/csr.h"
#include "inspect/debug.h"
#include "hart/decode.h"
#include "fp/fp.h"
#include "jit/jit.h"
#include "mmu/mmu.h"
#include "hart/trap.h"

#define PAGE_ENTRIES 2048
#define PC (page_va + (uint64_t)(ip - page) * 2)
#define NEXT_PC (PC + 2 * LENGTH)
#define BITS insn_bits(h, page, ip, crossing)

#define SAVE(pc_value, retired) (h->pc = (pc_value), h->instret = count + (retired))
#define TRAPPED                \
    do {                       \
        SAVE(PC, 0);           \
        return STEP_TRAP;      \
    } while (0)
#define RAISE(cause, tval)             \
    do {                               \
        trap_raise(h, (cause), (tval)); \
        TRAPPED;                       \
    } while (0)
#define LEAVE(step)        \
    do {                   \
        SAVE(NEXT_PC, 1);  \
        return (step);     \
    } while (0)
#define NEXT      \
    ip += LENGTH; \
    count++;      \
    i = ip;       \
    break

/* Goes to `offset` bytes from here.  What the translator counts: calls, jumps
 * backwards, indirect jumps; returns count least, since who calls often is
 * called or loops often. */
#define GO(offset, visits)                                       \
    do {                                                         \
        int32_t to = (int32_t)(ip - page) + ((int32_t)(offset) >> 1); \
        count++;                                                 \
        visit = (visits);                                        \
        if ((uint32_t)to < PAGE_ENTRIES) {                       \
            ip = page + to;                                      \
            goto jumped;                                         \
        }                                                        \
        target = page_va + (uint64_t)((int64_t)to * 2);          \
        goto enter;                                              \
    } while (0)
#define BRANCH() GO(i->imm, i->imm < 0 ? JIT_VISIT : 0)
#define JUMP_LINK()             \
    do {                        \
        h->x[i->rd] = NEXT_PC;  \
        GO(i->imm, i->imm < 0 || i->rd != 32 ? JIT_VISIT : 0); \
    } while (0)
#define JUMP_INDIRECT()                                                   \
    do {                                                                  \
        target = (h->x[i->rs1] + (uint64_t)(int64_t)i->imm) & ~1ull;      \
        visit = i->rd == 32 && i->rs1 == 1 ? JIT_VISIT_RETURN : JIT_VISIT; \
        if (i->rd != 32 || i->rs1 != 1)                                   \
            jit_note_indirect(h, PC, target);                             \
        h->x[i->rd] = NEXT_PC;                                            \
        count++;                                                          \
        if ((target & ~0xfffull) == page_va) {                            \
            ip = page + (target >> 1 & (PAGE_ENTRIES - 1));               \
            goto jumped;                                                  \
        }                                                                 \
        goto enter;                                                       \
    } while (0)

#define ADDRESS (h->x[i->rs1] + (uint64_t)(int64_t)i->imm)
#define LOAD(bits, type)                                        \
    do {                                                        \
        uint64_t value;                                         \
        if (__builtin_expect(!mem_load##bits(h, ADDRESS, &value), 0)) \
            TRAPPED;                                            \
        h->x[i->rd] = (uint64_t)(int64_t)(type)value;           \
    } while (0)
#define STORE(bits, source)                                           \
    do {                                                              \
        if (__builtin_expect(!mem_store##bits(h, ADDRESS, (source)), 0)) \
            TRAPPED;                                                  \
    } while (0)

/* A: at a host pointer, with the host's own atomics. */
#define AMO_ADDRESS(bits, write)                                              \
    uint64_t va = h->x[i->rs1];                                               \
    uint##bits##_t *at = (uint##bits##_t *)(void *)mem_amo(h, va, bits / 8, write); \
    if (!at)                                                                  \
    TRAPPED
#define SIGNED(bits, value) ((uint64_t)(int64_t)(int##bits##_t)(value))
#define LOAD_RESERVED(bits)                                          \
    do {                                                             \
        AMO_ADDRESS(bits, false);                                    \
        uint##bits##_t value = __atomic_load_n(at, __ATOMIC_SEQ_CST); \
        h->reservation = va;                                         \
        h->reservation_value = value;                                \
        h->reservation_size = bits;                                  \
        h->reservation_valid = 1;                                    \
        h->x[i->rd] = SIGNED(bits, value);                           \
    } while (0)
/* SC succeeds when the word still has the value that LR saw.  Another hart
 * that wrote the same value again goes unseen: the algorithms compilers make
 * of LR/SC do not care, and Wasm has nothing better. */
#define STORE_CONDITIONAL(bits)                                                                      \
    do {                                                                                             \
        AMO_ADDRESS(bits, true);                                                                     \
        uint##bits##_t expected = (uint##bits##_t)h->reservation_value;                              \
        bool done = h->reservation_valid && h->reservation == va && h->reservation_size == bits &&   \
                    __atomic_compare_exchange_n(at, &expected, (uint##bits##_t)h->x[i->imm & 31], false, \
                                                __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                 \
        h->reservation_valid = 0;                                                                    \
        h->x[i->rd] = !done;                                                                         \
    } while (0)
#define AMO(bits, operation)                                   \
    do {                                                       \
        AMO_ADDRESS(bits, true);                               \
        uint##bits##_t value = (uint##bits##_t)h->x[i->imm & 31]; \
        h->x[i->rd] = SIGNED(bits, operation);                 \
    } while (0)
#define AMO_CHOOSE(bits, keep)                                                                       \
    do {                                                                                             \
        AMO_ADDRESS(bits, true);                                                                     \
        uint##bits##_t value = (uint##bits##_t)h->x[i->imm & 31];                                    \
        uint##bits##_t old = __atomic_load_n(at, __ATOMIC_SEQ_CST);                                  \
        while (!__atomic_compare_exchange_n(at, &old, (keep) ? old : value, false, __ATOMIC_SEQ_CST, \
                                            __ATOMIC_SEQ_CST)) {                                     \
        }                                                                                            \
        h->x[i->rd] = SIGNED(bits, old);                                                             \
    } while (0)

/* F and D.  Off is illegal; whatever writes makes them dirty. */
#define FP_ON                            \
    if (!(h->mstatus & MSTATUS_FS))      \
        RAISE(CAUSE_ILLEGAL, BITS);      \
    h->mstatus |= MSTATUS_FS
#define FP_MODE                                             \
    uint32_t rm = (uint32_t)i->imm >> 10 & 7;               \
    rm = rm == 7 ? h->frm : rm;                             \
    if (rm > 4)                                             \
    RAISE(CAUSE_ILLEGAL, BITS)
#define RM rm
#define FP(operation)                \
    do {                             \
        FP_ON;                       \
        FP_MODE;                     \
        (void)rm;                    \
        h->f[i->rd] = (operation);   \
    } while (0)
#define FP_NO_MODE(operation)        \
    do {                             \
        FP_ON;                       \
        h->f[i->rd] = (operation);   \
    } while (0)
#define FP_QUIET FP_NO_MODE
#define FP_TO_X(operation)           \
    do {                             \
        FP_ON;                       \
        FP_MODE;                     \
        h->x[i->rd] = (operation);   \
    } while (0)
#define FP_TO_X_NO_MODE(operation)   \
    do {                             \
        FP_ON;                       \
        h->x[i->rd] = (operation);   \
    } while (0)
#define FP_TO_X_QUIET FP_TO_X_NO_MODE
#define FLOAD(bits, boxed)                               \
    do {                                                 \
        uint64_t value;                                  \
        FP_ON;                                           \
        if (!mem_load##bits(h, ADDRESS, &value))         \
            TRAPPED;                                     \
        h->f[i->rd] = (boxed);                           \
    } while (0)
#define FSTORE(bits)                                     \
    do {                                                 \
        if (!(h->mstatus & MSTATUS_FS))                  \
            RAISE(CAUSE_ILLEGAL, BITS);                  \
        STORE(bits, h->f[i->rd]);                        \
    } while (0)

#define CSR(kind, operand, write)                                                     \
    do {                                                                              \
        uint64_t old;                                                                 \
        SAVE(PC, 0);                                                                  \
        h->trap_tval = BITS;                                                          \
        if (!csr_op(h, (uint32_t)i->imm & 0xfff, (kind), (operand), (write), &old))   \
            return STEP_TRAP;                                                         \
        h->x[i->rd] = old;                                                            \
        if ((write) && csr_matters(h, (uint32_t)i->imm & 0xfff))                      \
            LEAVE(STEP_MODE);                                                         \
    } while (0)
#define SYSTEM(call)             \
    do {                         \
        SAVE(PC, 0);             \
        h->trap_tval = BITS;     \
        if (!(call))             \
            return STEP_TRAP;    \
        LEAVE(STEP_MODE);        \
    } while (0)
#define RETURN(call)             \
    do {                         \
        SAVE(PC, 1);             \
        if (!(call)) {           \
            h->instret = count;  \
            return STEP_TRAP;    \
        }                        \
        return STEP_MODE;        \
    } while (0)
#define WAIT(call)               \
    do {                         \
        SAVE(PC, 0);             \
        if (!(call))             \
            return STEP_TRAP;    \
        LEAVE(STEP_WFI);         \
    } while (0)
#define CBO(kind)                                  \
    do {                                           \
        SAVE(PC, 0);                               \
        h->trap_tval = BITS;                       \
        if (!sys_cbo(h, (kind), h->x[i->rs1]))     \
            return STEP_TRAP;                      \
    } while (0)

/* The bits of the instruction at ip, for tval. */
static uint64_t insn_bits(struct Hart *h, const struct Insn *page, const struct Insn *ip, uint32_t crossing)
{
    if (crossing)
        return crossing;
    const uint8_t *bytes = code_bytes(h, page) + (ip - page) * 2;
    uint32_t bits = half_at(bytes);
    return (bits & 3) == 3 ? bits | half_at(bytes + 2) << 16 : bits;
}

/* Must the outer loop look, after this CSR was written?  Kernels switch
 * sstatus.SIE all the time, mostly with nothing pending. */
static bool csr_matters(struct Hart *h, uint32_t number)
{
    switch (number) {
    case 0x001: case 0x002: case 0x003: /* fflags, frm, fcsr */
    case 0x140: case 0x141: case 0x142: case 0x143: /* sscratch, sepc, scause, stval */
    case 0x340: case 0x341: case 0x342: case 0x343:
        return false;
    case 0x100: case 0x104: case 0x300: case 0x304: /* xstatus, xie */
        return (trap_pending(h) & h->mie) != 0;
    default:
        return true;
    }
}

/* At an OP_BREAK: true when a breakpoint of this hart's stands here.  Where
 * none does any more, the entry is made ready to be decoded again. */
static bool stops_here(struct Hart *h, const struct Insn *page, struct Insn *ip)
{
    bool stale;
    const uint8_t *bytes = code_bytes(h, page) + (ip - page) * 2;
    if (debug_break(h, RAM_BASE + mem_offset(bytes) - RAM_OFFSET, &stale))
        return true;
    if (stale)
        ip->op = OP_UNDECODED;
    return false;
}

static inline __attribute__((always_inline)) int run(struct Hart *h, uint64_t limit, const bool exact)
{
    uint64_t count = h->instret, target = h->pc, page_va;
    struct Insn *page, *ip;
    const struct Insn *i;
    struct Insn crossed;
    uint32_t crossing = 0, heat, visit = JIT_VISIT;
    const uint32_t counters = jit_counter_bias(h), threshold = jit_threshold();
    uint16_t *counter;

enter:
    page = code_fetch(h, target);
    if (!page) {
        SAVE(target, 0);
        return STEP_TRAP;
    }
    page_va = target & ~0xfffull;
    ip = page + (target >> 1 & (PAGE_ENTRIES - 1));
    goto jumped;
resume: /* as enter, but the instruction there is ours whatever has been translated */
    page = code_fetch(h, target);
    if (!page) {
        SAVE(target, 0);
        return STEP_TRAP;
    }
    page_va = target & ~0xfffull;
    ip = page + (target >> 1 & (PAGE_ENTRIES - 1));
    crossing = 0;
    if (count >= limit || atomic_get(&h->attention)) {
        SAVE(PC, 0);
        return count >= limit ? STEP_BUDGET : STEP_ATTENTION;
    }
    goto work;
jumped:
    crossing = 0;
    if (__builtin_expect(count >= limit || atomic_get(&h->attention), 0)) {
        SAVE(PC, 0);
        return count >= limit ? STEP_BUDGET : STEP_ATTENTION;
    }
    if (visit) {
        counter = (uint16_t *)mem_at(counters + (mem_offset(ip) >> 2));
        heat = *counter + visit;
        *counter = (uint16_t)heat;
        if (__builtin_expect(heat > threshold, 0)) {
            SAVE(PC, 0);
            int ran = jit_enter(h, counter, limit, exact);
            if (ran != JIT_COLD) {
                count = h->instret;
                target = h->pc;
                visit = JIT_VISIT_MISSED;
                if (ran == JIT_RAN)
                    goto enter;
                goto resume;
            }
            if (!exact)
                limit = jit_until(h, limit);
        }
    }
work:
    /* One loop, whose every turn may move ip: in a loop of its own for "the same
     * instruction again" the compiler would hoist all that follows from ip, the pc
     * in its forms, to before each instruction. */
    for (i = ip;;) {
        if (exact && count >= limit) {
            SAVE(PC, 0);
            return STEP_BUDGET;
        }
        switch (i->op) {
        case OP_UNDECODED:
            if (ip - page < PAGE_ENTRIES) {
                *ip = decode(code_bytes(h, page) + (ip - page) * 2, (uint32_t)(PAGE_ENTRIES - (ip - page)) * 2);
                break;
            }
            /* past the end, after an instruction that crossed it */
            __attribute__((fallthrough));
        case OP_PAGE_END:
            target = PC;
            visit = 0;
            goto enter;
        case OP_CROSS: {
            uint64_t pc = PC;
            crossing = half_at(code_bytes(h, page) + (ip - page) * 2);
            const struct Insn *rest = code_fetch(h, pc + 2);
            if (!rest) { /* tval is the second page's address, epc the instruction's */
                SAVE(pc, 0);
                return STEP_TRAP;
            }
            crossing |= half_at(code_bytes(h, rest)) << 16;
            crossed = decode_bits(crossing);
            i = &crossed;
            break;
        }
        case OP_BREAK:
            SAVE(PC, 0);
            if (stops_here(h, page, ip))
                return STEP_DEBUG;
            /* Not for this hart, or no longer: the instruction that stands here. */
            crossed = decode(code_bytes(h, page) + (ip - page) * 2, (uint32_t)(PAGE_ENTRIES - (ip - page)) * 2);
            i = &crossed;
            break;
        case OP_ILLEGAL:
            RAISE(CAUSE_ILLEGAL, BITS);
#include "generated/isa_cases.inc"
        default:
            __builtin_unreachable();
        }
    }
}

/* A function of its own: what the engine makes of the other, and when, is what a boot waits for. */
static __attribute__((noinline)) int run_exactly(struct Hart *h, uint64_t limit) { return run(h, limit, true); }

int interp_run(struct Hart *h, uint64_t limit, bool exact)
{
    return exact ? run_exactly(h, limit) : run(h, limit, false);
}

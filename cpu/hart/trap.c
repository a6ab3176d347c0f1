/* Traps and the instructions that change privilege.  Privileged spec 3.1, 3.3,
 * 4.1; CMO spec for cbo.*. */
#include "hart/trap.h"

#include "hart/csr.h"
#include "mmu/mmu.h"
#include "inspect/trace.h"

bool trap_raise(struct Hart *h, uint64_t cause, uint64_t tval)
{
    h->trap_cause = cause;
    h->trap_tval = tval;
    h->trap_pending = 1;
    return false;
}

/* Moves xIE to xPIE and the privilege to xPP, and goes to the vector. */
static void enter(struct Hart *h, uint32_t to, uint64_t cause, uint64_t tval, bool interrupt)
{
    uint64_t vector, status = h->mstatus, code = cause | (interrupt ? 1ull << 63 : 0);
    h->reservation_valid = 0;
    if (to == PRIV_S) {
        h->sepc = h->pc;
        h->scause = code;
        h->stval = tval;
        status &= ~(MSTATUS_SPP | MSTATUS_SPIE | MSTATUS_SIE);
        status |= (h->mstatus & MSTATUS_SIE ? MSTATUS_SPIE : 0) | (h->privilege == PRIV_S ? MSTATUS_SPP : 0);
        vector = h->stvec;
    } else {
        h->mepc = h->pc;
        h->mcause = code;
        h->mtval = tval;
        status &= ~(MSTATUS_MPP | MSTATUS_MPIE | MSTATUS_MIE);
        status |= (h->mstatus & MSTATUS_MIE ? MSTATUS_MPIE : 0) | (uint64_t)h->privilege << 11;
        vector = h->mtvec;
    }
    h->mstatus = status;
    h->privilege = to;
    h->pc = (vector & ~3ull) + (interrupt && (vector & 1) ? 4 * cause : 0);
    hart_mode_changed(h);
}

void trap_deliver(struct Hart *h)
{
    uint64_t cause = h->trap_cause;
    bool to_s = h->privilege != PRIV_M && cause < 64 && (h->medeleg >> cause & 1);
    uint64_t vector = (to_s ? h->stvec : h->mtvec) & ~3ull;
    bool fetch = cause == CAUSE_FETCH_ACCESS || cause == CAUSE_FETCH_PAGE;
    h->trap_pending = 0;
    h->stat_traps++;
    if (fetch && h->pc == vector && h->privilege == (to_s ? PRIV_S : PRIV_M)) {
        /* The handler itself can't be fetched: this hart would trap for ever. */
        machine_stop(STOP_CRASH, h->id);
        return;
    }
    if (tracing(~0u))
        trace_trap(h, cause, h->trap_tval);
    enter(h, to_s ? PRIV_S : PRIV_M, cause, h->trap_tval, false);
}

uint64_t trap_pending(struct Hart *h)
{
    return atomic_get(&h->mip) | (h->seip_soft ? 1u << IRQ_SEI : 0);
}

bool trap_interrupt(struct Hart *h)
{
    static const uint8_t by_urgency[] = {IRQ_MEI, IRQ_MSI, IRQ_MTI, IRQ_SEI, IRQ_SSI, IRQ_STI};
    uint64_t ready = trap_pending(h) & h->mie;
    if (!ready)
        return false;
    uint64_t to_m = ready & ~h->mideleg, to_s = ready & h->mideleg;
    if (h->privilege == PRIV_M && !(h->mstatus & MSTATUS_MIE))
        to_m = 0;
    if (h->privilege == PRIV_M || (h->privilege == PRIV_S && !(h->mstatus & MSTATUS_SIE)))
        to_s = 0;
    uint64_t chosen = to_m ? to_m : to_s;
    if (!chosen)
        return false;
    for (uint32_t i = 0; i < sizeof by_urgency; i++)
        if (chosen >> by_urgency[i] & 1) {
            h->stat_interrupts++;
            if (tracing(~0u))
                trace_interrupt(h, by_urgency[i]);
            enter(h, to_m ? PRIV_M : PRIV_S, by_urgency[i], 0, true);
            return true;
        }
    return false;
}

static bool illegal(struct Hart *h, uint64_t bits) { return trap_raise(h, CAUSE_ILLEGAL, bits); }

/* The bits of instructions without operands, for tval. */
enum { BITS_SRET = 0x10200073, BITS_MRET = 0x30200073, BITS_WFI = 0x10500073 };

bool sys_ecall(struct Hart *h)
{
    if (h->privilege == PRIV_S && MACHINE->firmware == FIRMWARE_BUILTIN) {
        sbi_call(h);
        return true;
    }
    return trap_raise(h, CAUSE_ECALL_U + h->privilege, 0);
}

bool sys_mret(struct Hart *h)
{
    if (h->privilege != PRIV_M)
        return illegal(h, BITS_MRET);
    uint64_t status = h->mstatus, to = status >> 11 & 3;
    status &= ~(MSTATUS_MIE | MSTATUS_MPP);
    status |= (status & MSTATUS_MPIE ? MSTATUS_MIE : 0) | MSTATUS_MPIE;
    if (to != PRIV_M)
        status &= ~MSTATUS_MPRV;
    h->mstatus = status;
    h->privilege = (uint32_t)to;
    h->pc = h->mepc;
    hart_mode_changed(h);
    return true;
}

bool sys_sret(struct Hart *h)
{
    if (h->privilege == PRIV_U || (h->privilege == PRIV_S && h->mstatus & MSTATUS_TSR))
        return illegal(h, BITS_SRET);
    uint64_t status = h->mstatus;
    h->privilege = status & MSTATUS_SPP ? PRIV_S : PRIV_U;
    status &= ~(MSTATUS_SIE | MSTATUS_SPP | MSTATUS_MPRV);
    status |= (status & MSTATUS_SPIE ? MSTATUS_SIE : 0) | MSTATUS_SPIE;
    h->mstatus = status;
    h->pc = h->sepc;
    hart_mode_changed(h);
    if (tracing(~0u))
        trace_return(h);
    return true;
}

bool sys_wfi(struct Hart *h)
{
    if (h->privilege == PRIV_U || (h->privilege == PRIV_S && h->mstatus & MSTATUS_TW))
        return illegal(h, BITS_WFI);
    return true;
}

bool sys_sfence_vma(struct Hart *h, uint64_t va, uint64_t asid, bool va_given, bool asid_given)
{
    if (h->privilege == PRIV_U || (h->privilege == PRIV_S && h->mstatus & MSTATUS_TVM))
        return illegal(h, h->trap_tval);
    h->stat_sfence++;
    (void)asid; /* only one space's entries are in the tables at a time */
    if (va_given)
        tlb_flush_page(h, va);
    else if (asid_given)
        tlb_flush_local(h);
    else {
        tlb_flush_all(h);
        /* More than is promised: a kernel that was only ever run where caches
         * are coherent (xv6) forgets the fence.i between loading a program and
         * running it, but not the fence of a new address space. */
        code_synchronize(h);
    }
    return true;
}

bool sys_fence_i(struct Hart *h)
{
    h->stat_fence_i++;
    code_synchronize(h);
    return true;
}

/* cbo.*: there is no cache to manage, but permission is checked as if. */
bool sys_cbo(struct Hart *h, uint32_t kind, uint64_t va)
{
    uint64_t need = kind == CBO_ZERO ? ENVCFG_CBZE : kind == CBO_INVAL ? ENVCFG_CBIE : ENVCFG_CBCFE;
    if ((h->privilege < PRIV_M && !(h->menvcfg & need)) || (h->privilege < PRIV_S && !(h->senvcfg & need)))
        return illegal(h, h->trap_tval);
    if (kind == CBO_ZERO) {
        for (uint32_t i = 0; i < 64; i += 8)
            if (!mem_store64(h, (va & ~63ull) + i, 0)) {
                h->trap_tval = va;
                return false;
            }
        return true;
    }
    uint64_t pa;
    bool global;
    uint64_t span;
    if (mmu_translate(h, va, ACCESS_READ, h->mem_mode, false, &pa, &global, &span))
        return true;
    h->trap_cause = h->trap_cause == CAUSE_LOAD_PAGE ? CAUSE_STORE_PAGE : CAUSE_STORE_ACCESS;
    return false;
}

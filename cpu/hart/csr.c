/* Control and status registers, Privileged spec chapters 2 to 4.
 *
 * csr_get and csr_set know the registers; csr_op is what a program may do. */
#include "hart/csr.h"

#include "mmu/mmu.h"
#include "hart/trap.h"

enum {
    FFLAGS = 0x001, FRM = 0x002, FCSR = 0x003,
    SSTATUS = 0x100, SIE = 0x104, STVEC = 0x105, SCOUNTEREN = 0x106, SENVCFG = 0x10a,
    SSCRATCH = 0x140, SEPC = 0x141, SCAUSE = 0x142, STVAL = 0x143, SIP = 0x144, STIMECMP = 0x14d, SATP = 0x180,
    MSTATUS = 0x300, MISA = 0x301, MEDELEG = 0x302, MIDELEG = 0x303, MIE = 0x304, MTVEC = 0x305,
    MCOUNTEREN = 0x306, MENVCFG = 0x30a, MCOUNTINHIBIT = 0x320, MHPMEVENT3 = 0x323, MHPMEVENT31 = 0x33f,
    MSCRATCH = 0x340, MEPC = 0x341, MCAUSE = 0x342, MTVAL = 0x343, MIP = 0x344,
    PMPCFG0 = 0x3a0, PMPCFG15 = 0x3af, PMPADDR0 = 0x3b0, PMPADDR63 = 0x3ef,
    TSELECT = 0x7a0, TDATA1 = 0x7a1, TDATA3 = 0x7a3,
    MCYCLE = 0xb00, MINSTRET = 0xb02, MHPMCOUNTER3 = 0xb03, MHPMCOUNTER31 = 0xb1f,
    CYCLE = 0xc00, TIME = 0xc01, INSTRET = 0xc02, HPMCOUNTER3 = 0xc03, HPMCOUNTER31 = 0xc1f,
    MVENDORID = 0xf11, MARCHID = 0xf12, MIMPID = 0xf13, MHARTID = 0xf14, MCONFIGPTR = 0xf15,
};

#define S_INTERRUPTS ((1u << IRQ_SSI) | (1u << IRQ_STI) | (1u << IRQ_SEI))
#define ALL_INTERRUPTS (S_INTERRUPTS | (1u << IRQ_MSI) | (1u << IRQ_MTI) | (1u << IRQ_MEI))
#define S_STATUS (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP | MSTATUS_FS | MSTATUS_SUM | MSTATUS_MXR)
#define M_STATUS (S_STATUS | MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_MPP | MSTATUS_MPRV | MSTATUS_TVM | MSTATUS_TW | MSTATUS_TSR)
#define DELEGABLE 0xb3ffull /* exceptions 0..9, 12, 13, 15 */
#define ENVCFG_U (ENVCFG_CBZE | ENVCFG_CBCFE | ENVCFG_CBIE | 1)
#define UXL (2ull << 32)
#define HAVE(letter) (1ull << ((letter) - 'A'))

void csr_reset(struct Hart *h)
{
    h->mstatus = MSTATUS_XL;
    h->misa = 2ull << 62 | HAVE('A') | HAVE('C') | HAVE('D') | HAVE('F') | HAVE('I') | HAVE('M') | HAVE('S') | HAVE('U') |
              HAVE('B');
    h->medeleg = h->mideleg = h->mie = h->mtvec = h->mscratch = h->mepc = h->mcause = h->mtval = 0;
    h->mcounteren = h->mcountinhibit = 0;
    h->menvcfg = ENVCFG_ADUE;
    h->stvec = h->sscratch = h->sepc = h->scause = h->stval = h->satp = h->scounteren = h->senvcfg = 0;
    h->stimecmp = ~0ull;
    h->cycle_offset = h->instret_offset = 0;
    h->fcsr_flags = h->frm = 0;
    h->seip_soft = 0;
    for (uint32_t i = 0; i < 2; i++)
        h->pmpcfg[i] = 0;
    for (uint32_t i = 0; i < 16; i++)
        h->pmpaddr[i] = 0;
    atomic_set(&h->mip, 0);
}

static uint64_t status_value(const struct Hart *h)
{
    return h->mstatus | ((h->mstatus & MSTATUS_FS) == MSTATUS_FS ? MSTATUS_SD : 0);
}

static void status_set(struct Hart *h, uint64_t value, uint64_t mask)
{
    uint64_t old = h->mstatus, now = (old & ~mask) | (value & mask);
    if ((now & MSTATUS_MPP) == 2ull << 11) /* no hypervisor mode: keep what was */
        now = (now & ~MSTATUS_MPP) | (old & MSTATUS_MPP);
    h->mstatus = now;
    if ((now ^ old) & MSTATUS_MXR)
        tlb_flush_all(h); /* pages were entered as readable under the old rule */
    hart_mode_changed(h);
}

/* Bits of mip that software may drive, and how: SSIP, and STIP while Sstc
 * doesn't.  SEIP is the OR of the PLIC's wire and a bit of its own. */
static void mip_change(struct Hart *h, uint64_t on, uint64_t off, bool machine)
{
    uint32_t can = 1u << IRQ_SSI;
    if (machine && !(h->menvcfg & ENVCFG_STCE))
        can |= 1u << IRQ_STI;
    if (!machine)
        can &= (uint32_t)h->mideleg;
    atomic_bits_off(&h->mip, (uint32_t)off & can);
    atomic_bits_on(&h->mip, (uint32_t)on & can);
    if (machine && (on | off) >> IRQ_SEI & 1)
        h->seip_soft = on >> IRQ_SEI & 1;
}

/* PMP of a page's grain (G = 10): what lies below it reads as fixed. */
static uint64_t pmpaddr_value(const struct Hart *h, uint32_t i)
{
    bool napot = h->pmpcfg[i / 8] >> (i % 8 * 8 + 4) & 1;
    return napot ? h->pmpaddr[i] | 0x1ff : h->pmpaddr[i] & ~0x3ffull;
}

static bool pmp_locked(const struct Hart *h, uint32_t i)
{
    uint8_t own = (uint8_t)(h->pmpcfg[i / 8] >> (i % 8 * 8));
    if (own & 0x80 || i == 15)
        return own & 0x80;
    uint8_t next = (uint8_t)(h->pmpcfg[(i + 1) / 8] >> ((i + 1) % 8 * 8));
    return (next & 0x98) == 0x88; /* a locked TOR locks its lower bound */
}

static void pmpcfg_set(struct Hart *h, uint32_t word, uint64_t value)
{
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t shift = i * 8;
        uint8_t old = (uint8_t)(h->pmpcfg[word] >> shift), now = (uint8_t)(value >> shift) & 0x9f;
        if (old & 0x80)
            continue;
        if ((now & 3) == 2) /* W without R is reserved */
            now &= (uint8_t)~2;
        if ((now & 0x18) == 0x10) /* NA4 is finer than the grain */
            now = (uint8_t)((now & ~0x18) | (old & 0x18));
        h->pmpcfg[word] = (h->pmpcfg[word] & ~(0xffull << shift)) | (uint64_t)now << shift;
    }
    tlb_flush_all(h);
}

static void satp_set(struct Hart *h, uint64_t value)
{
    uint64_t mode = value >> 60, old = h->satp;
    if (mode != 0 && mode != 8 && mode != 9)
        return;
    h->satp = mode ? value : 0;
    if (old >> 60 != mode)
        tlb_flush_all(h);
    else if (old != h->satp)
        tlb_flush_local(h);
}

static uint64_t counter_value(const struct Hart *h, uint32_t which)
{
    if (h->mcountinhibit >> which & 1)
        return h->mhpmcounter[which];
    return h->instret + (which == 0 ? h->cycle_offset : h->instret_offset);
}

/* A write takes effect after the writing instruction has retired. */
static void counter_set(struct Hart *h, uint32_t which, uint64_t value)
{
    uint64_t offset = value - (h->instret + 1);
    h->mhpmcounter[which] = value;
    *(which == 0 ? &h->cycle_offset : &h->instret_offset) = offset;
}

static void countinhibit_set(struct Hart *h, uint64_t value)
{
    static const uint32_t counters[] = {0, 2};
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t which = counters[i];
        uint64_t at = counter_value(h, which);
        h->mcountinhibit = (h->mcountinhibit & ~(1ull << which)) | (value & 1ull << which);
        counter_set(h, which, at);
    }
}

bool csr_get(struct Hart *h, uint32_t number, uint64_t *value)
{
    uint64_t v = 0;
    switch (number) {
    case FFLAGS: v = h->fcsr_flags; break;
    case FRM: v = h->frm; break;
    case FCSR: v = h->fcsr_flags | h->frm << 5; break;
    case SSTATUS: v = (status_value(h) & (S_STATUS | MSTATUS_SD)) | UXL; break;
    case SIE: v = h->mie & h->mideleg; break;
    case STVEC: v = h->stvec; break;
    case SCOUNTEREN: v = h->scounteren; break;
    case SENVCFG: v = h->senvcfg; break;
    case SSCRATCH: v = h->sscratch; break;
    case SEPC: v = h->sepc; break;
    case SCAUSE: v = h->scause; break;
    case STVAL: v = h->stval; break;
    case SIP: v = trap_pending(h) & h->mideleg; break;
    case STIMECMP: v = h->stimecmp; break;
    case SATP: v = h->satp; break;
    case MSTATUS: v = status_value(h); break;
    case MISA: v = h->misa; break;
    case MEDELEG: v = h->medeleg; break;
    case MIDELEG: v = h->mideleg; break;
    case MIE: v = h->mie; break;
    case MTVEC: v = h->mtvec; break;
    case MCOUNTEREN: v = h->mcounteren; break;
    case MENVCFG: v = h->menvcfg; break;
    case MCOUNTINHIBIT: v = h->mcountinhibit; break;
    case MSCRATCH: v = h->mscratch; break;
    case MEPC: v = h->mepc; break;
    case MCAUSE: v = h->mcause; break;
    case MTVAL: v = h->mtval; break;
    case MIP: v = trap_pending(h); break;
    case MCYCLE: case CYCLE: v = counter_value(h, 0); break;
    case MINSTRET: case INSTRET: v = counter_value(h, 2); break;
    case TIME: v = machine_time(); break;
    case MHARTID: v = h->id; break;
    case MVENDORID: case MARCHID: case MIMPID: case MCONFIGPTR: case TSELECT: break;
    default:
        if (number >= TDATA1 && number <= TDATA3)
            break; /* no triggers: type 0 */
        if (number >= PMPCFG0 && number <= PMPCFG15 && number % 2 == 0) {
            v = number <= 0x3a2 ? h->pmpcfg[(number - PMPCFG0) / 2] : 0;
            break;
        }
        if (number >= PMPADDR0 && number <= PMPADDR63) {
            v = number - PMPADDR0 < 16 ? pmpaddr_value(h, number - PMPADDR0) : 0;
            break;
        }
        /* Zihpm: the counters are there and count nothing. */
        if ((number >= MHPMEVENT3 && number <= MHPMEVENT31) || (number >= MHPMCOUNTER3 && number <= MHPMCOUNTER31) ||
            (number >= HPMCOUNTER3 && number <= HPMCOUNTER31))
            break;
        return false;
    }
    *value = v;
    return true;
}

bool csr_set(struct Hart *h, uint32_t number, uint64_t v)
{
    switch (number) {
    case FFLAGS: h->fcsr_flags = v & 31; break;
    case FRM: h->frm = v & 7; break;
    case FCSR: h->fcsr_flags = v & 31, h->frm = v >> 5 & 7; break;
    case SSTATUS: status_set(h, v, S_STATUS); break;
    case SIE: h->mie = (h->mie & ~h->mideleg) | (v & h->mideleg); break;
    case STVEC: h->stvec = v & ~2ull; break;
    case SCOUNTEREN: h->scounteren = v & 0xffffffff; break;
    case SENVCFG: h->senvcfg = v & ENVCFG_U; break;
    case SSCRATCH: h->sscratch = v; break;
    case SEPC: h->sepc = v & ~1ull; break;
    case SCAUSE: h->scause = v; break;
    case STVAL: h->stval = v; break;
    case SIP: mip_change(h, v, ~v, false); break;
    case STIMECMP: h->stimecmp = v, hart_timers(h); break;
    case SATP: satp_set(h, v); break;
    case MSTATUS: status_set(h, v, M_STATUS); break;
    case MISA: break; /* fixed */
    case MEDELEG: h->medeleg = v & DELEGABLE; break;
    case MIDELEG: h->mideleg = v & S_INTERRUPTS; break;
    case MIE: h->mie = v & ALL_INTERRUPTS; break;
    case MTVEC: h->mtvec = v & ~2ull; break;
    case MCOUNTEREN: h->mcounteren = v & 0xffffffff; break;
    case MENVCFG: {
        uint64_t changed = h->menvcfg;
        h->menvcfg = v & (ENVCFG_U | ENVCFG_STCE | ENVCFG_ADUE);
        changed ^= h->menvcfg;
        if (changed & ENVCFG_STCE) {
            atomic_bits_off(&h->mip, 1u << IRQ_STI);
            hart_timers(h);
        }
        break;
    }
    case MCOUNTINHIBIT: countinhibit_set(h, v); break;
    case MSCRATCH: h->mscratch = v; break;
    case MEPC: h->mepc = v & ~1ull; break;
    case MCAUSE: h->mcause = v; break;
    case MTVAL: h->mtval = v; break;
    case MIP: mip_change(h, v, ~v, true); break;
    case MCYCLE: counter_set(h, 0, v); break;
    case MINSTRET: counter_set(h, 2, v); break;
    default:
        if (number == PMPCFG0 || number == PMPCFG0 + 2) {
            pmpcfg_set(h, (number - PMPCFG0) / 2, v);
        } else if (number >= PMPADDR0 && number < PMPADDR0 + 16) {
            if (!pmp_locked(h, number - PMPADDR0)) {
                h->pmpaddr[number - PMPADDR0] = v & ((1ull << 54) - 1);
                tlb_flush_all(h);
            }
        } else {
            return csr_get(h, number, &v); /* known and read-only zero, or unknown */
        }
    }
    return true;
}

static bool counter_allowed(const struct Hart *h, uint32_t number)
{
    uint32_t bit = number & 31;
    return (h->privilege == PRIV_M || h->mcounteren >> bit & 1) && (h->privilege != PRIV_U || h->scounteren >> bit & 1);
}

static bool allowed(struct Hart *h, uint32_t number, bool write)
{
    if (h->privilege < (number >> 8 & 3) || (write && number >> 10 == 3))
        return false;
    if (number <= FCSR)
        return (h->mstatus & MSTATUS_FS) != 0;
    if (number >= CYCLE && number <= HPMCOUNTER31)
        return counter_allowed(h, number);
    if (number == SATP)
        return !(h->privilege == PRIV_S && h->mstatus & MSTATUS_TVM);
    if (number == STIMECMP && h->privilege != PRIV_M)
        return h->menvcfg & ENVCFG_STCE && h->mcounteren & 2;
    return true;
}

bool csr_op(struct Hart *h, uint32_t number, uint32_t kind, uint64_t operand, bool write, uint64_t *old)
{
    uint64_t value;
    if (!allowed(h, number, write) || !csr_get(h, number, &value))
        return trap_raise(h, CAUSE_ILLEGAL, h->trap_tval);
    *old = value;
    if (!write)
        return true;
    if (number == MIP || number == SIP) {
        /* Others drive bits of mip at any time: change just those named. */
        uint64_t on = kind == CSR_RC ? 0 : operand, off = kind == CSR_RS ? 0 : kind == CSR_RC ? operand : ~operand;
        mip_change(h, on, off, number == MIP);
        return true;
    }
    if (kind != CSR_RW)
        operand = kind == CSR_RS ? value | operand : value & ~operand;
    if (number <= FCSR)
        h->mstatus |= MSTATUS_FS;
    return csr_set(h, number, operand) ? true : trap_raise(h, CAUSE_ILLEGAL, h->trap_tval);
}

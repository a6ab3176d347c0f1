/* Built-in firmware: the RISC-V Supervisor Binary Interface 2.0, answered by
 * the core itself, so a kernel starts in S mode with no M-mode image at all.
 * Extensions: base, TIME, IPI, RFENCE, HSM, SRST, DBCN. */
#include "devices/uart.h"
#include "mmu/mmu.h"
#include "hart/trap.h"

enum {
    SBI_SUCCESS = 0, SBI_FAILED = -1, SBI_NOT_SUPPORTED = -2, SBI_INVALID_PARAM = -3, SBI_INVALID_ADDRESS = -5,
    SBI_ALREADY_AVAILABLE = -6,
};

enum {
    EXT_BASE = 0x10, EXT_TIME = 0x54494d45, EXT_IPI = 0x735049, EXT_RFENCE = 0x52464e43, EXT_HSM = 0x48534d,
    EXT_SRST = 0x53525354, EXT_DBCN = 0x4442434e,
};

enum { HSM_STARTED = 0, HSM_STOPPED = 1, HSM_START_PENDING = 2, HSM_SUSPENDED = 4 };
enum { HSM_CLAIMED = 0x100 }; /* ours: whoever starts it still says where; pending, for those who ask */

struct Answer {
    int64_t error;
    uint64_t value;
};

static struct Answer success(uint64_t value) { return (struct Answer){SBI_SUCCESS, value}; }
static struct Answer failure(int64_t error) { return (struct Answer){error, 0}; }

static bool known(uint64_t extension)
{
    static const uint32_t extensions[] = {EXT_BASE, EXT_TIME, EXT_IPI, EXT_RFENCE, EXT_HSM, EXT_SRST, EXT_DBCN};
    for (uint32_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
        if (extension == extensions[i])
            return true;
    return false;
}

static struct Answer base(uint64_t function, uint64_t a0)
{
    switch (function) {
    case 0: return success(2u << 24);   /* specification 2.0 */
    case 1: return success(0x48574c);   /* implementation: none of the registered ones */
    case 2: return success(LAYOUT_VERSION);
    case 3: return success(known(a0));
    case 4: case 5: case 6: return success(0); /* mvendorid, marchid, mimpid */
    default: return failure(SBI_NOT_SUPPORTED);
    }
}

/* SBI chapter 3.1: harts base + i for each bit i of mask, or all. */
static bool hart_mask(uint64_t mask, uint64_t first, uint32_t *harts)
{
    uint32_t all = (1u << MACHINE->hart_count) - 1;
    if (first == ~0ull) {
        *harts = all;
        return true;
    }
    if (first >= MACHINE->hart_count || mask & ~((uint64_t)all >> first))
        return false;
    *harts = (uint32_t)(mask << first);
    return true;
}

static struct Answer ipi(uint64_t mask, uint64_t first)
{
    uint32_t harts;
    if (!hart_mask(mask, first, &harts))
        return failure(SBI_INVALID_PARAM);
    for (uint32_t i = 0; i < MACHINE->hart_count; i++)
        if (harts >> i & 1)
            hart_interrupt(hart_at(i), IRQ_SSI, true);
    return success(0);
}

static struct Answer rfence(struct Hart *h, uint64_t function, uint64_t mask, uint64_t first, uint64_t start, uint64_t size)
{
    uint32_t harts, request[MAX_HARTS], kind = function == 0 ? RFENCE_CODE : RFENCE_TLB;
    if (function > 2)
        return failure(SBI_NOT_SUPPORTED);
    if (!hart_mask(mask, first, &harts))
        return failure(SBI_INVALID_PARAM);
    for (uint32_t i = 0; i < MACHINE->hart_count; i++) {
        struct Hart *other = hart_at(i);
        if (!(harts >> i & 1) || other == h)
            continue;
        atomic_bits_on(&other->rfence_kind, kind);
        request[i] = atomic_add(&other->rfence_request, 1) + 1;
        hart_attend(other, ATTENTION_RFENCE);
    }
    if (harts >> h->id & 1) {
        if (function == 0)
            code_synchronize(h);
        else if (start != 0 && size != 0 && size <= 16 * 4096)
            for (uint64_t page = start & ~4095ull, last = (start + size - 1) & ~4095ull;; page += 4096) {
                tlb_flush_page(h, page);
                if (page == last)
                    break;
            }
        else
            tlb_flush_all(h);
    }
    for (uint32_t i = 0; i < MACHINE->hart_count; i++)
        if (harts >> i & 1 && hart_at(i) != h)
            hart_await_ack(h, hart_at(i), &hart_at(i)->rfence_ack, request[i]);
    return success(0);
}

static bool can_start_at(uint64_t pa) { return pa % 2 == 0 && ram_at(pa, 2); }

static struct Answer hsm(struct Hart *h, uint64_t function, uint64_t a0, uint64_t a1, uint64_t a2)
{
    uint32_t state;
    switch (function) {
    case 0: { /* start */
        if (a0 >= MACHINE->hart_count)
            return failure(SBI_INVALID_PARAM);
        if (!can_start_at(a1))
            return failure(SBI_INVALID_ADDRESS);
        struct Hart *other = hart_at((uint32_t)a0);
        uint32_t stopped = HSM_STOPPED;
        if (!__atomic_compare_exchange_n(&other->hsm_state, &stopped, HSM_CLAIMED, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST))
            return failure(SBI_ALREADY_AVAILABLE);
        other->hsm_start = a1;
        other->hsm_opaque = a2;
        atomic_set(&other->hsm_state, HSM_START_PENDING);
        hart_attend(other, ATTENTION_INTERRUPT);
        return success(0);
    }
    case 1: /* stop: the hart's loop sees it */
        atomic_set(&h->hsm_state, HSM_STOPPED);
        return success(0);
    case 2: /* status */
        if (a0 >= MACHINE->hart_count)
            return failure(SBI_INVALID_PARAM);
        state = atomic_get(&hart_at((uint32_t)a0)->hsm_state);
        return success(state == HSM_CLAIMED ? HSM_START_PENDING : state);
    case 3: /* suspend */
        if ((uint32_t)a0 != 0 && (uint32_t)a0 != 0x80000000u)
            return failure(SBI_INVALID_PARAM);
        if ((uint32_t)a0 != 0 && !can_start_at(a1))
            return failure(SBI_INVALID_ADDRESS);
        h->hsm_start = (uint32_t)a0 ? a1 : 0; /* 0: retentive, go on after the call */
        h->hsm_opaque = a2;
        atomic_set(&h->hsm_state, HSM_SUSPENDED);
        return success(0);
    default:
        return failure(SBI_NOT_SUPPORTED);
    }
}

static struct Answer reset(uint64_t function, uint64_t type, uint64_t reason)
{
    if (function != 0)
        return failure(SBI_NOT_SUPPORTED);
    if ((uint32_t)type > 2 || (uint32_t)reason > 1)
        return failure(SBI_INVALID_PARAM);
    machine_stop((uint32_t)type == 0 ? STOP_POWEROFF : STOP_REBOOT, 0);
    return success(0);
}

static struct Answer debug_console(uint64_t function, uint64_t a0, uint64_t low, uint64_t high)
{
    uint8_t *text;
    uint64_t done = 0;
    switch (function) {
    case 0: /* write */
        text = high ? NULL : ram_at(low, a0);
        if (!text)
            return failure(SBI_INVALID_PARAM);
        while (done < a0 && console_emit(text[done]))
            done++;
        return success(done);
    case 1: /* read */
        text = high ? NULL : ram_at(low, a0);
        if (!text)
            return failure(SBI_INVALID_PARAM);
        done = uart_take(text, a0);
        ram_written(low, done);
        return success(done);
    case 2: /* write byte */
        return console_emit((uint8_t)a0) ? success(0) : failure(SBI_FAILED);
    default:
        return failure(SBI_NOT_SUPPORTED);
    }
}

void sbi_call(struct Hart *h)
{
    const uint64_t *a = &h->x[10];
    uint64_t function = h->x[16];
    struct Answer answer = failure(SBI_NOT_SUPPORTED);
    switch (h->x[17]) {
    case EXT_BASE: answer = base(function, a[0]); break;
    case EXT_TIME:
        if (function == 0) {
            h->stimecmp = a[0];
            hart_timers(h);
            answer = success(0);
        }
        break;
    case EXT_IPI:
        if (function == 0)
            answer = ipi(a[0], a[1]);
        break;
    case EXT_RFENCE: answer = rfence(h, function, a[0], a[1], a[2], a[3]); break;
    case EXT_HSM: answer = hsm(h, function, a[0], a[1], a[2]); break;
    case EXT_SRST: answer = reset(function, a[0], a[1]); break;
    case EXT_DBCN: answer = debug_console(function, a[0], a[1], a[2]); break;
    default: break;
    }
    h->x[10] = (uint64_t)answer.error;
    h->x[11] = answer.value;
}

#include "devices/aclint.h"

enum { MSIP = 0x0000, MTIMECMP = 0x4000, MTIME = 0xbff8 };

/* The 64-bit register at an offset, and whether the access lies in it. */
static bool wide(uint32_t offset, uint32_t base, uint32_t count, uint32_t size, uint32_t *index, uint32_t *shift)
{
    if (offset < base || offset - base >= 8 * count || (size != 4 && size != 8) || offset % size)
        return false;
    *index = (offset - base) / 8;
    *shift = offset % 8 * 8;
    return true;
}

static uint64_t part(uint64_t value, uint32_t size, uint32_t shift)
{
    return size == 8 ? value : (uint32_t)(value >> shift);
}

bool aclint_read(uint32_t offset, uint32_t size, uint64_t *value)
{
    struct Aclint *a = &MACHINE->aclint;
    uint32_t harts = MACHINE->hart_count, index, shift;
    if (offset < MTIMECMP && size == 4 && offset % 4 == 0) {
        *value = offset / 4 < harts ? atomic_get(&a->msip[offset / 4]) : 0;
        return true;
    }
    if (wide(offset, MTIMECMP, harts, size, &index, &shift)) {
        *value = part(__atomic_load_n(&a->mtimecmp[index], __ATOMIC_SEQ_CST), size, shift);
        return true;
    }
    if (wide(offset, MTIME, 1, size, &index, &shift)) {
        *value = part(machine_time(), size, shift);
        return true;
    }
    return offset >= MTIMECMP ? (*value = 0, size == 4 || size == 8) : false;
}

/* mtime is a clock of the host's plus an offset: setting it moves the offset. */
static void set_time(uint32_t size, uint32_t shift, uint64_t value)
{
    struct Machine *m = MACHINE;
    lock(&m->aclint.lock);
    uint64_t now = machine_time(), mask = size == 8 ? ~0ull : 0xffffffffull << shift;
    uint64_t wanted = (now & ~mask) | (size == 8 ? value : value << shift);
    __atomic_store_n(&m->time_offset, m->time_offset + wanted - now, __ATOMIC_SEQ_CST);
    unlock(&m->aclint.lock);
    for (uint32_t hart = 0; hart < m->hart_count; hart++)
        hart_timer_changed(hart);
}

bool aclint_write(uint32_t offset, uint32_t size, uint64_t value)
{
    struct Aclint *a = &MACHINE->aclint;
    uint32_t harts = MACHINE->hart_count, index, shift;
    if (offset < MTIMECMP && size == 4 && offset % 4 == 0) {
        if (offset / 4 < harts) {
            lock(&a->lock); /* else who takes it back may take back what was raised since */
            atomic_set(&a->msip[offset / 4], value & 1);
            hart_interrupt(hart_at(offset / 4), IRQ_MSI, value & 1);
            unlock(&a->lock);
        }
        return true;
    }
    if (wide(offset, MTIMECMP, harts, size, &index, &shift)) {
        lock(&a->lock);
        uint64_t mask = size == 8 ? ~0ull : 0xffffffffull << shift;
        uint64_t wanted = (a->mtimecmp[index] & ~mask) | (size == 8 ? value : value << shift);
        __atomic_store_n(&a->mtimecmp[index], wanted, __ATOMIC_SEQ_CST);
        unlock(&a->lock);
        hart_timer_changed(index);
        return true;
    }
    if (wide(offset, MTIME, 1, size, &index, &shift)) {
        set_time(size, shift, value);
        return true;
    }
    return offset >= MTIMECMP && (size == 4 || size == 8);
}

void aclint_reset(void)
{
    struct Aclint *a = &MACHINE->aclint;
    a->lock = 0;
    for (uint32_t i = 0; i < MAX_HARTS; i++) {
        a->msip[i] = 0;
        a->mtimecmp[i] = ~0ull;
    }
}

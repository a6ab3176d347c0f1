#include "devices/rtc.h"

#include "mmu/bus.h"
#include "devices/plic.h"

enum {
    TIME_LOW = 0x00, TIME_HIGH = 0x04, ALARM_LOW = 0x08, ALARM_HIGH = 0x0c, IRQ_ENABLED = 0x10, CLEAR_ALARM = 0x14,
    ALARM_STATUS = 0x18, CLEAR_INTERRUPT = 0x1c,
};

static uint64_t now_ns(const struct Rtc *r) { return (uint64_t)(machine_wall_us() * 1e3) + r->offset_ns; }

static void update(const struct Rtc *r) { plic_set(IRQ_RTC, r->pending & r->irq_enabled); }

void rtc_poll(void)
{
    struct Rtc *r = &MACHINE->rtc;
    if (!atomic_get(&r->alarm_running))
        return;
    lock(&r->lock);
    if (r->alarm_running && now_ns(r) >= r->alarm_ns) {
        r->alarm_running = 0;
        r->pending = 1;
        update(r);
    }
    unlock(&r->lock);
}

bool rtc_read(uint32_t offset, uint32_t size, uint64_t *value)
{
    struct Rtc *r = &MACHINE->rtc;
    if (size != 4)
        return false;
    lock(&r->lock);
    uint64_t now;
    switch (offset) {
    case TIME_LOW: /* reading it holds the high word */
        now = now_ns(r);
        r->time_high = (uint32_t)(now >> 32);
        *value = (uint32_t)now;
        break;
    case TIME_HIGH: *value = r->time_high; break;
    case ALARM_LOW: *value = (uint32_t)r->alarm_ns; break;
    case ALARM_HIGH: *value = r->alarm_ns >> 32; break;
    case IRQ_ENABLED: *value = r->irq_enabled; break;
    case ALARM_STATUS: *value = r->alarm_running; break;
    default: *value = 0; break;
    }
    unlock(&r->lock);
    return true;
}

bool rtc_write(uint32_t offset, uint32_t size, uint64_t value)
{
    struct Rtc *r = &MACHINE->rtc;
    if (size != 4)
        return false;
    lock(&r->lock);
    switch (offset) {
    case TIME_HIGH: r->time_high = (uint32_t)value; break;
    case TIME_LOW: /* writing it sets both */
        r->offset_ns += ((uint64_t)r->time_high << 32 | value) - now_ns(r);
        break;
    case ALARM_HIGH: r->alarm_ns = (r->alarm_ns & 0xffffffffu) | value << 32; break;
    case ALARM_LOW:
        r->alarm_ns = (r->alarm_ns & ~0xffffffffull) | value;
        atomic_set(&r->alarm_running, 1);
        break;
    case IRQ_ENABLED: r->irq_enabled = value & 1; break;
    case CLEAR_ALARM: atomic_set(&r->alarm_running, 0); break;
    case CLEAR_INTERRUPT: r->pending = 0; break;
    default: break;
    }
    update(r);
    unlock(&r->lock);
    rtc_poll();
    return true;
}

void rtc_reset(void)
{
    struct Rtc *r = &MACHINE->rtc;
    uint64_t offset = r->offset_ns; /* a clock's battery outlives a reset */
    memset(r, 0, sizeof *r);
    r->offset_ns = offset;
}

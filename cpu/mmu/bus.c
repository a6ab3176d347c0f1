#include "mmu/bus.h"

#include "devices/aclint.h"
#include "devices/plic.h"
#include "devices/rtc.h"
#include "devices/syscon.h"
#include "inspect/trace.h"
#include "devices/uart.h"
#include "virtio/mmio.h"
#include "devices/vmgenid.h"

/* Registers that traces want to know of: PLIC specification, "Interrupt Claim
 * Process"; virtio 4.2.2. */
enum { PLIC_CLAIMS = 0x200000, VIRTIO_NOTIFY = 0x050 };

struct Region {
    uint64_t base, size;
    bool (*read)(uint32_t offset, uint32_t size, uint64_t *value);
    bool (*write)(uint32_t offset, uint32_t size, uint64_t value);
};

static const struct Region regions[] = {
    {0x10001000, 0x1000 * MAX_VIRTIO, virtio_mmio_read, virtio_mmio_write},
    {0x0c000000, 0x600000, plic_read, plic_write},
    {0x10000000, 0x100, uart_read, uart_write},
    {0x02000000, 0x10000, aclint_read, aclint_write},
    {0x00101000, 0x1000, rtc_read, rtc_write},
    {0x00100000, 0x1000, syscon_read, syscon_write},
    {0x00102000, 0x10, vmgenid_read, vmgenid_write},
};

static const struct Region *region_at(uint64_t pa, uint32_t size)
{
    for (uint32_t i = 0; i < sizeof regions / sizeof *regions; i++)
        if (pa - regions[i].base < regions[i].size && pa - regions[i].base + size <= regions[i].size)
            return &regions[i];
    return NULL;
}

bool bus_read(struct Hart *h, uint64_t pa, uint32_t size, uint64_t *value)
{
    const struct Region *region = region_at(pa, size);
    if (h)
        h->stat_mmio++;
    if (!region || !region->read((uint32_t)(pa - region->base), size, value))
        return false;
    if (tracing(TRACE_DEVICES) && h && region->read == plic_read && pa - region->base >= PLIC_CLAIMS && (pa & 0xfff) == 4)
        trace_claim(h, (uint32_t)*value);
    return true;
}

bool bus_write(struct Hart *h, uint64_t pa, uint32_t size, uint64_t value)
{
    const struct Region *region = region_at(pa, size);
    if (h)
        h->stat_mmio++;
    if (size < 8)
        value &= (1ull << (8 * size)) - 1;
    if (tracing(TRACE_DEVICES) && h && region && region->write == virtio_mmio_write && (pa & 0xfff) == VIRTIO_NOTIFY)
        trace_notify(h, (uint32_t)(pa - region->base) / 0x1000, (uint32_t)value);
    return region && region->write((uint32_t)(pa - region->base), size, value);
}

void devices_reset(void)
{
    aclint_reset();
    plic_reset();
    uart_reset();
    rtc_reset();
    virtio_mmio_reset();
}

/* The same today: no device keeps anything over a reset but what Python put
 * into its slot. */
void devices_init(void) { devices_reset(); }

/* For tests and tools: as the bus does it for a hart; all ones on a fault. */
EXPORT uint64_t device_read(uint64_t pa, uint32_t size)
{
    uint64_t value;
    return bus_read(NULL, pa, size, &value) ? value : ~0ull;
}

EXPORT uint32_t device_write(uint64_t pa, uint32_t size, uint64_t value) { return bus_write(NULL, pa, size, value); }

#include "devices/vmgenid.h"

#include "devices/plic.h"

bool vmgenid_read(uint32_t offset, uint32_t size, uint64_t *value)
{
    const uint8_t *id = MACHINE->snapshot.generation;
    *value = 0;
    for (uint32_t i = 0; i < size && offset + i < sizeof MACHINE->snapshot.generation; i++)
        *value |= (uint64_t)id[offset + i] << (8 * i);
    plic_set(IRQ_VMGENID, false); /* a read of it is what the interrupt asked for */
    return true;
}

bool vmgenid_write(uint32_t offset, uint32_t size, uint64_t value)
{
    (void)offset, (void)size, (void)value;
    return true;
}

/* Virtual machine generation ID: 16 bytes that change when a machine wakes
 * from a snapshot, so that its kernel mixes new randomness in before two
 * machines that woke from the same one draw the same numbers.
 * Linux Documentation/devicetree/bindings/rng/microsoft,vmgenid.yaml. */
#ifndef HARTWELL_VMGENID_H
#define HARTWELL_VMGENID_H

#include "hart/hart.h"

enum { IRQ_VMGENID = 12 };

bool vmgenid_read(uint32_t offset, uint32_t size, uint64_t *value);
bool vmgenid_write(uint32_t offset, uint32_t size, uint64_t value);

#endif

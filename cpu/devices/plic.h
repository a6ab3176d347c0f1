/* Platform-Level Interrupt Controller.  RISC-V PLIC specification 1.0.0;
 * context 2h is hart h in M mode, 2h + 1 in S mode. */
#ifndef HARTWELL_PLIC_H
#define HARTWELL_PLIC_H

#include "hart/hart.h"

/* Drives the wire of a source.  Any thread. */
void plic_set(uint32_t irq, bool level);

bool plic_read(uint32_t offset, uint32_t size, uint64_t *value);
bool plic_write(uint32_t offset, uint32_t size, uint64_t value);
void plic_reset(void);

#endif

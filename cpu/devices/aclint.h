/* Timers and software interrupts of M mode.  RISC-V ACLINT specification 1.0,
 * in the SiFive CLINT's layout. */
#ifndef HARTWELL_ACLINT_H
#define HARTWELL_ACLINT_H

#include "hart/hart.h"

bool aclint_read(uint32_t offset, uint32_t size, uint64_t *value);
bool aclint_write(uint32_t offset, uint32_t size, uint64_t value);
void aclint_reset(void);

#endif

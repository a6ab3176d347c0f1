/* SiFive test finisher as a syscon: power off, reboot, exit with a code. */
#ifndef HARTWELL_SYSCON_H
#define HARTWELL_SYSCON_H

#include "hart/hart.h"

bool syscon_read(uint32_t offset, uint32_t size, uint64_t *value);
bool syscon_write(uint32_t offset, uint32_t size, uint64_t value);

#endif

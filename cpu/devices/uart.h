/* UART 16550A, as QEMU's `virt` has it (registers one byte apart).
 * National Semiconductor PC16550D data sheet. */
#ifndef HARTWELL_UART_H
#define HARTWELL_UART_H

#include "hart/hart.h"

bool uart_read(uint32_t offset, uint32_t size, uint64_t *value);
bool uart_write(uint32_t offset, uint32_t size, uint64_t value);
void uart_reset(void);

/* What was received, at most `max` bytes, for firmware; how many. */
uint64_t uart_take(uint8_t *to, uint64_t max);

#endif

/* The machine as a whole: its memory, its clock, its doorbell, its end. */
#ifndef HARTWELL_MACHINE_H
#define HARTWELL_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hart/atomics.h"
#include "generated/layout.h"

/* There is no C library in the Wasm build; these become instructions there. */
#define memset __builtin_memset
#define memcpy __builtin_memcpy

#define EXPORT __attribute__((visibility("default")))

/* A byte of the machine's linear memory by its offset.  In Wasm the memory is
 * the address space; a native build (tests, fuzzer) keeps it in one buffer. */
#ifdef __wasm__
static inline void *mem_at(uint32_t offset) { return (void *)(uintptr_t)offset; }
static inline uint32_t mem_offset(const void *p) { return (uint32_t)(uintptr_t)p; }
#else
extern uint8_t *linear_memory;
static inline void *mem_at(uint32_t offset) { return linear_memory + offset; }
static inline uint32_t mem_offset(const void *p) { return (uint32_t)((const uint8_t *)p - linear_memory); }
#endif

/* A byte of guest RAM by its offset in it.  RAM lies at the same place in every
 * machine's memory, so that is one operand with a constant displacement. */
static inline uint8_t *ram_byte(uint32_t at) { return (uint8_t *)mem_at(at) + RAM_OFFSET; }

#define MACHINE ((struct Machine *)mem_at(MACHINE_BASE))

/* Wall clock in microseconds since the Unix epoch, from the host. */
#ifdef __wasm__
__attribute__((import_module("host"), import_name("clock")))
#endif
double host_clock_us(void);

/* mtime: 10 MHz; stands still while the machine is paused. */
uint64_t machine_time(void);

/* What the real-time clock shows, in microseconds since the Unix epoch. */
double machine_wall_us(void);

/* Ends the run of all harts; `reason` is a STOP_*.  The first call wins. */
EXPORT void machine_stop(uint32_t reason, uint32_t code);

/* Every hart is to stand still at its next instruction, and time with it. */
EXPORT void machine_pause(void);

/* Sets DOORBELL_* bits for the supervisor and wakes it if any was new. */
void doorbell_ring(uint32_t bits);

/* One byte to the first console (the UART's transmit ring), from firmware;
 * false when the ring is full. */
bool console_emit(uint8_t byte);

/* One more hart runs, or one less; true when it was the last.  When the last one
 * rests in a pause mtime stands still, before running_harts says so. */
void machine_hart_runs(void);
bool machine_hart_rests(void);

#endif

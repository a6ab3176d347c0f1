/* The kernels that bench/ times: the same C for every machine.
 *
 * Each takes a scale and does `scale` times some hundred microseconds of work
 * (on a native machine), and returns a checksum that depends on all of it.
 * Integer sizes are fixed and doubles are never contracted, so that the
 * checksums of all machines are equal. */
#ifndef KERNELS_H
#define KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t kernel(uint32_t scale);

kernel sieve, quicksort, matmul, crc32, queens, bytecode, copy, sha256, nbody, chase, fib, virtual_calls;

/* Knuth's MMIX generator; the upper half of the state is the good one. */
static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* Mixes a value into a checksum, so that order counts. */
static inline uint64_t mix(uint64_t sum, uint64_t value) { return (sum ^ value) * 0x100000001b3u + (sum >> 29); }

#endif

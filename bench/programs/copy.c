/* The C library's memcpy: 4 MiB in pieces of 16 KiB, some of them misaligned. */
#include "kernels.h"

#include <string.h>

#define PIECE 16384u
#define PIECES 64u

static uint8_t from[PIECE * 4 + 64], to[PIECE * 4 + 64];

uint64_t copy(uint32_t scale)
{
    uint64_t state = 4, sum = 0;
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (uint8_t)next_random(&state);
    for (uint32_t round = 0; round < scale; round++) {
        for (uint32_t i = 0; i < 4 * PIECES; i++)
            memcpy(to + i % 4 * PIECE + (i & 4 ? 8 : 0), from + (i + round) % 4 * PIECE + (i & 8 ? 3 : 0), PIECE);
        uint64_t word;
        memcpy(&word, to + round * 129 % (4 * PIECE), sizeof word);
        sum = mix(sum, word);
        from[round % sizeof from]++;
    }
    return sum;
}

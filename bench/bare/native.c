/* A kernel on this computer: its number, its scale, repetitions; prints the result and the best time in nanoseconds. */
#include "kernels.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static kernel *const list[] = {sieve,  quicksort, matmul, crc32, queens, bytecode,
                               copy,   sha256,    nbody,  chase, fib,    virtual_calls};

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int count, char **words)
{
    if (count != 4)
        return 2;
    uint64_t best = UINT64_MAX, sum = 0;
    for (int n = atoi(words[3]); n > 0; n--) {
        uint64_t begun = now();
        sum = list[atoi(words[1])]((uint32_t)atoi(words[2]));
        uint64_t took = now() - begun;
        best = took < best ? took : best;
    }
    printf("%" PRIu64 " %" PRIu64 "\n", sum, best);
    return 0;
}

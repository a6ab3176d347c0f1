/* Primes below 65,536, one byte each. */
#include "kernels.h"

#include <string.h>

#define LIMIT 65536u

static uint8_t composite[LIMIT];

uint64_t sieve(uint32_t scale)
{
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scale; round++) {
        memset(composite, 0, sizeof composite);
        uint32_t count = 0;
        for (uint32_t i = 2; i < LIMIT; i++) {
            if (composite[i])
                continue;
            count += i;
            for (uint32_t j = 2 * i; j < LIMIT; j += i)
                composite[j] = 1;
        }
        sum = mix(sum, count + round);
    }
    return sum;
}

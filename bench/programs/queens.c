/* Ways to place 9 queens, by recursion over bit sets. */
#include "kernels.h"

#define ALL 0x1ffu

static uint32_t place(uint32_t columns, uint32_t left, uint32_t right)
{
    uint32_t count = 0;
    if (columns == ALL)
        return 1;
    for (uint32_t free = ALL & ~(columns | left | right); free; free &= free - 1) {
        uint32_t queen = free & -free;
        count += place(columns | queen, (left | queen) << 1, (right | queen) >> 1);
    }
    return count;
}

uint64_t queens(uint32_t scale)
{
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scale; round++)
        sum = mix(sum, place(0, round & 1 ? 0 : 1u << 12, 0));
    return sum;
}

/* Fibonacci by double recursion: calls and returns. */
#include "kernels.h"

static __attribute__((noinline)) uint32_t calculate(uint32_t n)
{
    if (n < 2)
        return n;
    return calculate(n - 1) + calculate(n - 2);
}

uint64_t fib(uint32_t scale)
{
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scale; round++)
        sum = mix(sum, calculate(20 + (round & 1)));
    return sum;
}

/* A program for gdb: a loop that adds, with a local structure and a global. */
#include <stdio.h>
#include <stdlib.h>

struct note {
    int step;
    const char *name;
};

volatile long total;
volatile char fresh[64 * 4096]; /* pages that are not there before they are touched */

__attribute__((noinline)) void add(int step)
{
    struct note local = {step, "counted"};
    total += local.step;
    fresh[step * 4096] = (char)step;
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 1;
    for (int step = 1; step <= steps; step++)
        add(step);
    printf("total %ld\n", total);
    return 0;
}

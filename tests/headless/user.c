/* A program for gdb: a loop that adds, with a local structure and a global. */
#include <stdio.h>
#include <stdlib.h>

struct note {
    int step;
    const char *name;
};

volatile long total;

__attribute__((noinline)) void add(int step)
{
    struct note local = {step, "counted"};
    total += local.step;
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 1;
    for (int step = 1; step <= steps; step++)
        add(step);
    printf("total %ld\n", total);
    return 0;
}

/* Spends its time in `hot`, called by `warm`; says its pid first, ends after argv[1] rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile unsigned long sink;

__attribute__((noinline)) static void hot(unsigned long seed)
{
    for (int i = 0; i < 20000; i++)
        seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    sink = seed;
}

__attribute__((noinline)) static void warm(unsigned long round)
{
    hot(round);
    sink += round;
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], 0, 10) : ~0ul;
    printf("%d\n", (int)getpid());
    fflush(stdout);
    for (unsigned long round = 0; round < rounds; round++)
        warm(round);
    return 0;
}

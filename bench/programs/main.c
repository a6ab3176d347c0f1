/* kernels NAME PERCENT REPEATS SECONDS: runs a kernel and prints
 *
 *     NAME CHECKSUM FIRST BEST REPEATS
 *
 * A repetition at 100 percent is some ten milliseconds of a native machine.
 * FIRST and BEST are nanoseconds of the first and the fastest of at least
 * three, at most REPEATS repetitions, begun within SECONDS.
 * `kernels clock` prints the monotonic clock; `kernels list` the names. */
#include "kernels.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *name;
    kernel *run;
    uint32_t scale; /* of 100 percent */
} list[] = {
    {"sieve", sieve, 50}, {"quicksort", quicksort, 100}, {"matmul", matmul, 300}, {"crc32", crc32, 60},
    {"queens", queens, 500}, {"bytecode", bytecode, 200}, {"memcpy", copy, 60}, {"sha256", sha256, 40},
    {"nbody", nbody, 250}, {"chase", chase, 60}, {"fib", fib, 500}, {"virtual", virtual_calls, 60},
};

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int measure(const char *name, kernel *run, uint32_t scale, uint32_t repeats, double seconds)
{
    uint64_t first = 0, best = UINT64_MAX, sum = 0, begun = now();
    uint32_t done = 0;
    while (done < repeats && (done < 3 || (double)(now() - begun) < seconds * 1e9)) {
        uint64_t start = now();
        uint64_t result = run(scale);
        uint64_t taken = now() - start;
        if (done && result != sum) {
            printf("%s is wrong: %016" PRIx64 ", then %016" PRIx64 "\n", name, sum, result);
            return 1;
        }
        sum = result;
        if (!done++)
            first = taken;
        if (taken < best)
            best = taken;
    }
    printf("%s %016" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu32 "\n", name, sum, first, best, done);
    return 0;
}

int main(int count, char **words)
{
    if (count == 2 && !strcmp(words[1], "clock")) {
        printf("%" PRIu64 "\n", now());
        return 0;
    }
    if (count == 2 && !strcmp(words[1], "list")) {
        for (size_t i = 0; i < sizeof list / sizeof *list; i++)
            puts(list[i].name);
        return 0;
    }
    if (count == 5)
        for (size_t i = 0; i < sizeof list / sizeof *list; i++)
            if (!strcmp(words[1], list[i].name)) {
                uint32_t scale = list[i].scale * (uint32_t)atoi(words[2]) / 100;
                return measure(list[i].name, list[i].run, scale ? scale : 1, (uint32_t)atoi(words[3]), atof(words[4]));
            }
    fprintf(stderr, "usage: kernels NAME PERCENT REPEATS SECONDS | clock | list\n");
    return 2;
}

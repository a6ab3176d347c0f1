/* generate SECONDS: a program that generates code without end, as a JIT does.
 *
 * It writes functions one after the other into a ring of pages, each other than
 * all before, calls each until a translator must think it hot, and checks what
 * it returns.  Prints how many; status 1 at the first wrong answer.  RV64.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { ROOM = 4 << 20, TURNS = 4000, LENGTH = 40 };

static uint64_t seed = 88172645463325252ull;

static uint64_t any(void)
{
    seed ^= seed << 13, seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* a0 = turns; a0 = what LENGTH random additions and exclusive ors make of a1, so often. */
static uint32_t *generate(uint32_t *at, int32_t *operand)
{
    for (int k = 0; k < LENGTH; k++) {
        operand[k] = (int32_t)(any() % 4095) - 2047;
        *at++ = (uint32_t)operand[k] << 20 | 11u << 15 | (k & 1 ? 4u : 0u) << 12 | 11u << 7 | 0x13; /* addi, xori a1, a1 */
    }
    *at++ = 0xfff50513; /* addi a0, a0, -1 */
    int32_t back = -4 * (LENGTH + 1); /* bnez a0, the first */
    uint32_t b = (uint32_t)back;
    *at++ = (b >> 12 & 1) << 31 | (b >> 5 & 0x3f) << 25 | 10u << 15 | 1u << 12 | (b >> 1 & 0xf) << 8 | (b >> 11 & 1) << 7 | 0x63;
    *at++ = 0x00058513; /* mv a0, a1 */
    *at++ = 0x00008067; /* ret */
    return at;
}

int main(int count, char **word)
{
    double seconds = count > 1 ? atof(word[1]) : 10;
    uint32_t *ring = mmap(NULL, ROOM, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *at = ring;
    if (ring == MAP_FAILED)
        return perror("mmap"), 2;
    struct timespec begun, now;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (long made = 0;; made++) {
        int32_t operand[LENGTH];
        if (at + LENGTH + 4 > ring + ROOM / sizeof *ring)
            at = ring;
        uint32_t *end = generate(at, operand);
        __builtin___clear_cache((char *)at, (char *)end);
        uint64_t start = any(), want = start, got = ((uint64_t(*)(uint64_t, uint64_t))(uintptr_t)at)(TURNS, start);
        for (int turn = 0; turn < TURNS; turn++)
            for (int k = 0; k < LENGTH; k++)
                want = k & 1 ? want ^ (uint64_t)(int64_t)operand[k] : want + (uint64_t)(int64_t)operand[k];
        if (got != want) {
            printf("function %ld gave %lx, not %lx\n", made, (unsigned long)got, (unsigned long)want);
            return 1;
        }
        at = end;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((double)(now.tv_sec - begun.tv_sec) + (double)(now.tv_nsec - begun.tv_nsec) / 1e9 > seconds) {
            printf("%ld\n", made + 1);
            return 0;
        }
    }
}

/* The kernels without a system: each waits in the mailbox for its turn. */
#include "kernels.h"

#include <stddef.h>

volatile uint64_t mailbox[4]; /* kernel's number and 1, scale, result, done */

static kernel *const list[] = {sieve,  quicksort, matmul, crc32, queens, bytecode,
                               copy,   sha256,    nbody,  chase, fib,    virtual_calls};
char stack[65536] __attribute__((aligned(16)));

void bare_main(void)
{
    for (;;) {
        uint64_t go = mailbox[0];
        if (!go) { /* the run ends here, so that no waiting is measured */
#ifdef __riscv
            __asm__ volatile("wfi");
#endif
            continue;
        }
        mailbox[0] = 0;
        mailbox[2] = list[go - 1]((uint32_t)mailbox[1]);
        mailbox[3] = 1;
    }
}

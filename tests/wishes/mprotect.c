/* mprotect, and faults with handlers that mend them. */
#include "wish.h"

#include <ucontext.h>

static char *area;
static volatile int faults;
static volatile int last_code;

/* Makes the page accessible; the instruction that faulted runs again. */
static void mend(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    faults++;
    last_code = info->si_code;
    mprotect((void *)((uintptr_t)info->si_addr & -PAGE), PAGE, PROT_READ | PROT_WRITE);
}

/* Goes on behind the faulting instruction, with 77 in a0. */
static void skip(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    ucontext_t *at = context;
    unsigned long pc = at->uc_mcontext.__gregs[0];
    at->uc_mcontext.__gregs[0] = pc + ((*(uint16_t *)pc & 3) == 3 ? 4 : 2);
    at->uc_mcontext.__gregs[10] = 77;
    faults++;
}

static long load(void *from)
{
    register long result __asm__("a0") = (long)from;
    __asm__ volatile("ld a0, 0(a0)" : "+r"(result)::"memory");
    return result;
}

int main(void)
{
    area = pages(16 * PAGE, PROT_READ, MAP_PRIVATE);
    handle(SIGSEGV, mend, 0);
    for (int i = 0; i < 16; i++)
        area[i * PAGE + i] = (char)i;
    fact(faults == 16, "each first write to a read-only page faults once");
    fact(last_code == SEGV_ACCERR, "and says that access was denied");
    bool kept = true;
    for (int i = 0; i < 16; i++)
        kept &= area[i * PAGE + i] == i;
    fact(kept && faults == 16, "the write then happened, and no more faults come");

    NEED(mprotect(area, PAGE, PROT_NONE));
    fact(area[0] == 0 && faults == 17, "PROT_NONE faults on reads; the handler mends it");
    NEED(munmap(area + 8 * PAGE, PAGE));
    handle(SIGSEGV, skip, 0);
    fact(load(area + 8 * PAGE) == 77 && faults == 18, "a handler changes registers and pc of what faulted");

    uint32_t *code = pages(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    int (*call)(void) = (int (*)(void))code;
    bool right = true;
    for (int value = 0; value < 100; value++) {
        NEED(mprotect(code, PAGE, PROT_READ | PROT_WRITE));
        code[0] = 0x00000513u | (uint32_t)value << 20; /* li a0, value */
        code[1] = 0x00008067;                          /* ret */
        NEED(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
        __builtin___clear_cache((char *)code, (char *)(code + 2));
        right &= call() == value;
    }
    fact(right, "code written, made executable and run, a hundred times in one place");
    return wish_result();
}

/* setjmp, which returns twice, and longjmp. */
#include "wish.h"

#include <setjmp.h>

static jmp_buf place;
static sigjmp_buf signal_place;
static volatile int depth_reached;

static __attribute__((noinline)) int dive(int depth)
{
    volatile char room[100];
    room[0] = (char)depth;
    depth_reached = depth;
    if (depth == 1000)
        longjmp(place, 42);
    return dive(depth + 1) + room[0];
}

static void jump_out(int signal, siginfo_t *info, void *context)
{
    (void)info;
    (void)context;
    siglongjmp(signal_place, signal);
}

int main(void)
{
    volatile int passes = 0;
    double kept = 1.5;
    int value = setjmp(place);
    passes++;
    if (value == 0)
        dive(1);
    fact(passes == 2 && value == 42, "setjmp returns twice, with longjmp's value the second time");
    fact(depth_reached == 1000, "out of a thousand calls at once");
    fact(kept == 1.5, "registers of floating point are kept");

    volatile int rounds = 0;
    if (setjmp(place) < 10000)
        longjmp(place, ++rounds);
    fact(rounds == 10000, "again and again");

    volatile int null_reads = 0;
    handle(SIGSEGV, jump_out, 0);
    for (volatile int i = 0; i < 100; i++) {
        if (sigsetjmp(signal_place, 1) == 0)
            (void)*(volatile int *)16;
        else
            null_reads++;
    }
    fact(null_reads == 100, "siglongjmp out of a fault's handler, a hundred times");
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    fact(!sigismember(&mask, SIGSEGV), "and the signal mask is what it was");
    return wish_result();
}

/* Busy loops share a hart because the kernel takes it away from them. */
#include "wish.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/time.h>

enum { LOOPS = 4 };

static volatile sig_atomic_t ticks;

static void tick(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    (void)context;
    ticks++;
}

int main(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    NEED(sched_setaffinity(0, sizeof one, &one)); /* all on hart 0, and this process too */
    atomic_ulong *counters = pages(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    pid_t children[LOOPS];
    for (int i = 0; i < LOOPS; i++) {
        children[i] = NEED(fork());
        if (children[i] == 0)
            for (;;)
                counters[i]++;
    }
    for (int tries = 0; tries < 3000; tries++) {
        sleep_ms(20);
        bool all = true;
        for (int i = 0; i < LOOPS; i++)
            all &= atomic_load(&counters[i]) > 100000;
        if (all)
            break;
    }
    bool all = true;
    for (int i = 0; i < LOOPS; i++)
        all &= atomic_load(&counters[i]) > 100000;
    fact(all, "four endless loops on one hart all get on, and so does this");
    for (int i = 0; i < LOOPS; i++)
        kill(children[i], SIGKILL);
    bool killed = true;
    for (int i = 0; i < LOOPS; i++)
        killed &= reap(children[i]) == -SIGKILL;
    fact(killed, "an endless loop can be killed");

    handle(SIGALRM, tick, 0);
    struct itimerval every = {{0, 10000}, {0, 10000}};
    NEED(setitimer(ITIMER_REAL, &every, NULL));
    unsigned long spins = 0;
    while (ticks < 10)
        spins++;
    fact(spins > 0, "a timer's signal interrupts a loop that calls nothing");
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    fact(usage.ru_nivcsw > LOOPS, "the kernel counts involuntary switches");
    return wish_result();
}

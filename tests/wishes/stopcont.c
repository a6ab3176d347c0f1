/* SIGSTOP and SIGCONT on a process that never makes a system call. */
#include "wish.h"

#include <stdatomic.h>

int main(void)
{
    atomic_ulong *counter = pages(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    pid_t child = NEED(fork());
    if (child == 0)
        for (;;)
            atomic_fetch_add(counter, 1);
    while (atomic_load(counter) < 1000)
        sleep_ms(1);
    fact(true, "the child counts");
    bool stops = true, stands = true, goes_on = true, told = true;
    for (int round = 0; round < 5; round++) {
        int status;
        NEED(kill(child, SIGSTOP));
        NEED(waitpid(child, &status, WUNTRACED));
        stops &= WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
        unsigned long seen = atomic_load(counter);
        sleep_ms(30);
        stands &= atomic_load(counter) == seen;
        NEED(kill(child, SIGCONT));
        NEED(waitpid(child, &status, WCONTINUED));
        told &= WIFCONTINUED(status);
        for (int i = 0; i < 30000 && atomic_load(counter) == seen; i++)
            sleep_ms(1);
        goes_on &= atomic_load(counter) > seen;
    }
    fact(stops, "SIGSTOP stops it, and the parent is told");
    fact(stands, "while stopped it does not count");
    fact(told, "the parent is told of SIGCONT");
    fact(goes_on, "and it counts on where it was");
    NEED(kill(child, SIGSTOP));
    NEED(kill(child, SIGKILL));
    fact(reap(child) == -SIGKILL, "a stopped process can be killed");
    return wish_result();
}

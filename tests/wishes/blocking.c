/* Blocking calls block: no time of a CPU goes by in them.
 *
 * With an argument: sleeps so many seconds, for whoever looks at the host's
 * CPU meanwhile.
 */
#include "wish.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

static double wall, cpu;

static void begin(void)
{
    wall = seconds(CLOCK_MONOTONIC);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
}

/* At least `ms` of the clock went by, and hardly any of the processor. */
static void end(long ms, const char *what)
{
    double used = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, passed = seconds(CLOCK_MONOTONIC) - wall;
    char text[200];
    snprintf(text, sizeof text, "%s waits without using the processor", what);
    fact(passed >= (double)ms * 1e-3 - 0.001 && used < passed / 2, text);
}

int main(int count, char **arguments)
{
    if (count > 1) {
        sleep_ms(1000 * atol(arguments[1]));
        return 0;
    }
    enum { MS = 200 };
    int ends[2];
    NEED(pipe(ends));

    begin();
    sleep_ms(MS);
    end(MS, "nanosleep");

    begin();
    struct pollfd one = {ends[0], POLLIN, 0};
    poll(&one, 1, MS);
    end(MS, "poll");

    begin();
    int word = 0;
    struct timespec limit = {0, MS * 1000000l};
    syscall(SYS_futex, &word, FUTEX_WAIT, 0, &limit, NULL, 0);
    end(MS, "futex");

    begin();
    int timer = NEED(timerfd_create(CLOCK_MONOTONIC, 0)), set = NEED(epoll_create1(0));
    struct itimerspec once = {{0, 0}, limit};
    NEED(timerfd_settime(timer, 0, &once, NULL));
    struct epoll_event event = {.events = EPOLLIN};
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, timer, &event));
    epoll_wait(set, &event, 1, -1);
    end(MS, "epoll on a timerfd");

    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    begin();
    fflush(stdout);
    pid_t child = NEED(fork());
    if (child == 0) {
        sleep_ms(MS);
        NEED(write(ends[1], "x", 1));
        sleep_ms(MS);
        _exit(0);
    }
    char byte;
    NEED(read(ends[0], &byte, 1));
    end(MS, "read of an empty pipe");
    begin();
    reap(child);
    end(MS / 2, "waitpid");
    getrusage(RUSAGE_SELF, &after);
    fact(after.ru_nvcsw > before.ru_nvcsw, "each gave its hart away of its own will");
    return wish_result();
}

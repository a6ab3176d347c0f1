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

/* Hardly any time of the processor goes by in `wait`, and at least `ms` of the clock.
 * A host that stood still in the midst of it makes it look like work: so the best of some.
 */
static void waits(long ms, const char *what, void (*wait)(void))
{
    bool idle = false;
    for (int tries = 0; tries < 20 && !idle; tries++) {
        double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        wait();
        double used = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, passed = seconds(CLOCK_MONOTONIC) - wall;
        if (passed < (double)ms * 1e-3 - 0.001)
            break;
        idle = used < passed / 2;
    }
    char text[200];
    snprintf(text, sizeof text, "%s waits without using the processor", what);
    fact(idle, text);
}

enum { MS = 200 };
static const struct timespec limit = {0, MS * 1000000l};
static int ends[2];

static void in_nanosleep(void) { sleep_ms(MS); }

static void in_poll(void)
{
    struct pollfd one = {ends[0], POLLIN, 0};
    poll(&one, 1, MS);
}

static void in_futex(void)
{
    int word = 0;
    syscall(SYS_futex, &word, FUTEX_WAIT, 0, &limit, NULL, 0);
}

static void in_epoll(void)
{
    int timer = NEED(timerfd_create(CLOCK_MONOTONIC, 0)), set = NEED(epoll_create1(0));
    struct itimerspec once = {{0, 0}, limit};
    NEED(timerfd_settime(timer, 0, &once, NULL));
    struct epoll_event event = {.events = EPOLLIN};
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, timer, &event));
    epoll_wait(set, &event, 1, -1);
    close(timer);
    close(set);
}

static void in_read(void)
{
    pid_t child = NEED(fork());
    if (child == 0) {
        sleep_ms(MS);
        NEED(write(ends[1], "x", 1));
        _exit(0);
    }
    char byte;
    NEED(read(ends[0], &byte, 1));
    reap(child);
}

static void in_waitpid(void)
{
    pid_t child = NEED(fork());
    if (child == 0) {
        sleep_ms(MS);
        _exit(0);
    }
    reap(child);
}

int main(int count, char **arguments)
{
    if (count > 1) {
        sleep_ms(1000 * atol(arguments[1]));
        return 0;
    }
    NEED(pipe(ends));
    waits(MS, "nanosleep", in_nanosleep);
    waits(MS, "poll", in_poll);
    waits(MS, "futex", in_futex);
    waits(MS, "epoll on a timerfd", in_epoll);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    fflush(stdout);
    waits(MS, "read of an empty pipe", in_read);
    fflush(stdout);
    waits(MS, "waitpid", in_waitpid);
    getrusage(RUSAGE_SELF, &after);
    fact(after.ru_nvcsw > before.ru_nvcsw, "each gave its hart away of its own will");
    return wish_result();
}

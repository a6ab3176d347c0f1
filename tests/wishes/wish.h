/* What every wish program uses: facts, told one a line, and a result.
 *
 *     PASS what        the fact holds
 *     FAIL what        it does not; the program ends with status 1
 */
#ifndef WISH_H
#define WISH_H

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int wish_failures;

static inline bool fact(bool holds, const char *what)
{
    printf("%s %s\n", holds ? "PASS" : "FAIL", what);
    fflush(stdout);
    wish_failures += !holds;
    return holds;
}

static inline int wish_result(void) { return wish_failures != 0; }

/* A call that must work for the test to mean anything. */
#define NEED(call)                                                                                    \
    ({                                                                                                \
        __typeof__(call) result_ = (call);                                                            \
        if ((long)result_ == -1) {                                                                    \
            printf("FAIL %s:%d: %s: %s\n", __FILE__, __LINE__, #call, strerror(errno));               \
            exit(2);                                                                                  \
        }                                                                                             \
        result_;                                                                                      \
    })

static inline void *pages(size_t bytes, int protection, int flags)
{
    void *at = mmap(NULL, bytes, protection, flags | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        printf("FAIL mmap of %zu bytes: %s\n", bytes, strerror(errno));
        exit(2);
    }
    return at;
}

static inline void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) == -1 && errno == EINTR) {
    }
}

static inline double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Waits for a child; its exit status, or -signal. */
static inline int reap(pid_t child)
{
    int status;
    NEED(waitpid(child, &status, 0));
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static inline void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    NEED(sigaction(signal, &action, NULL));
}

#define PAGE 4096ul

#endif

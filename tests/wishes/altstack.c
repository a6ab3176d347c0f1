/* Signals on an alternate stack: a stack overflow is survived. */
#include "wish.h"

#include <setjmp.h>
#include <sys/resource.h>

static char *alternate;
static sigjmp_buf back;
static volatile bool was_on_alternate, inner_ran;
static volatile uintptr_t fault_at;

/* Whether the caller's frame lies there. */
static inline bool on_alternate(const char *frame)
{
    return frame >= alternate && frame < alternate + 64 * 1024;
}

static void inner(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    (void)context;
    inner_ran = on_alternate(__builtin_frame_address(0));
}

static void overflow(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    fault_at = (uintptr_t)info->si_addr;
    was_on_alternate = on_alternate(__builtin_frame_address(0));
    raise(SIGUSR1);
    siglongjmp(back, 1);
}

static __attribute__((noinline)) int endless(int depth)
{
    volatile char room[1000];
    if (depth < 0)
        return 0;
    room[depth % 1000] = (char)depth;
    return endless(depth + 1) + room[0];
}

int main(void)
{
    struct rlimit limit = {256 * 1024, 256 * 1024};
    NEED(setrlimit(RLIMIT_STACK, &limit));
    alternate = pages(64 * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    stack_t stack = {.ss_sp = alternate, .ss_size = 64 * 1024}, old;
    NEED(sigaltstack(&stack, NULL));
    handle(SIGSEGV, overflow, SA_ONSTACK);
    handle(SIGUSR1, inner, SA_ONSTACK);
    int survived = 0;
    for (volatile int i = 0; i < 5; i++)
        if (sigsetjmp(back, 1) == 0)
            endless(0);
        else
            survived++;
    fact(survived == 5, "a stack overflow is caught, and again");
    fact(was_on_alternate, "its handler runs on the alternate stack");
    uintptr_t here = (uintptr_t)&limit;
    fact(fault_at < here && here - fault_at < 1024 * 1024, "it says where the stack ended");
    fact(inner_ran, "a second signal nests there");
    NEED(sigaltstack(NULL, &old));
    fact(old.ss_sp == alternate && !(old.ss_flags & SS_ONSTACK), "and afterwards it is free");
    inner_ran = true;
    handle(SIGUSR1, inner, 0);
    raise(SIGUSR1);
    fact(!inner_ran, "without SA_ONSTACK a handler runs on the normal stack");
    return wish_result();
}

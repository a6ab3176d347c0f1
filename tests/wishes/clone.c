/* clone with a stack of its own. */
#include "wish.h"

#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>

static char stack[64 * 1024] __attribute__((aligned(16)));
static atomic_int done;
static volatile int seen;
static volatile uintptr_t stack_at;
static int file;

static int child_main(void *argument)
{
    char here;
    stack_at = (uintptr_t)&here;
    seen = *(int *)argument;
    return 21;
}

static int closes(void *argument)
{
    close(*(int *)argument);
    return 0;
}

static int waits(void *argument)
{
    (void)argument;
    sleep_ms(20);
    seen = 9;
    atomic_store(&done, 0);
    syscall(SYS_futex, &done, FUTEX_WAKE, 1, NULL, NULL, 0);
    return 0;
}

static void wait_cleared(atomic_int *word)
{
    for (int value; (value = atomic_load(word)) != 0;)
        syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static bool on_stack(void)
{
    return stack_at > (uintptr_t)stack && stack_at < (uintptr_t)stack + sizeof stack;
}

int main(void)
{
    int value = 5;
    pid_t child = NEED(clone(child_main, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &value));
    fact(seen == 5, "CLONE_VM | CLONE_VFORK: the child has run when clone returns, in the parent's memory");
    fact(on_stack(), "on the stack it was given");
    fact(reap(child) == 21, "and its result is waited for");

    value = 6;
    stack_at = 0;
    child = NEED(clone(child_main, stack + sizeof stack, CLONE_VFORK | SIGCHLD, &value));
    fact(reap(child) == 21 && seen == 5 && stack_at == 0, "CLONE_VFORK alone: a memory of its own");

    atomic_store(&done, 1);
    child = NEED(clone(waits, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL));
    fact(seen == 5, "CLONE_VM alone: both run");
    wait_cleared(&done);
    fact(seen == 9, "and a futex in that memory tells of its end");
    reap(child);

    int files[2];
    NEED(pipe(files));
    file = files[0];
    child = NEED(clone(closes, stack + sizeof stack, CLONE_FILES | SIGCHLD, &file));
    reap(child);
    errno = 0;
    fact(close(file) == -1 && errno == EBADF, "CLONE_FILES: what the child closes is closed");
    file = files[1];
    child = NEED(clone(closes, stack + sizeof stack, SIGCHLD, &file));
    reap(child);
    fact(close(file) == 0, "without it the parent keeps its file");
    return wish_result();
}

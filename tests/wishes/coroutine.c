/* Several stacks in one thread: coroutines.
 *
 * musl has no makecontext and swapcontext for RISC-V, so the switch is written
 * out here; and the kernel's own ucontext is used to switch by force, from a
 * timer's signal.
 */
#include "wish.h"

#include <sys/time.h>
#include <ucontext.h>

struct context {
    unsigned long ra, sp, s[12];
    double fs[12];
};

void context_switch(struct context *from, const struct context *to);
__asm__(".text\n.globl context_switch\n.type context_switch, @function\ncontext_switch:\n"
        ".macro each op, fop, base\n"
        "    \\op ra, 0(\\base)\n    \\op sp, 8(\\base)\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11\n"
        "    \\op s\\n, 16+8*\\n(\\base)\n    \\fop fs\\n, 112+8*\\n(\\base)\n"
        ".endr\n.endm\n"
        "    each sd, fsd, a0\n"
        "    each ld, fld, a1\n"
        "    ret\n");

static struct context main_context, contexts[8];
static char stacks[8][16 * 1024] __attribute__((aligned(16)));
static int current;
static unsigned long produced[8];

static void yield(void) { context_switch(&contexts[current], &main_context); }

static void fibonacci(void)
{
    unsigned long a = 0, b = 1;
    for (;;) {
        produced[current] = a;
        yield();
        unsigned long next = a + b;
        a = b;
        b = next;
    }
}

static void halves(void)
{
    double value = 1 << 20;
    for (;;) {
        produced[current] = (unsigned long)value;
        yield();
        value *= 0.5;
    }
}

static void enter(int number)
{
    current = number;
    context_switch(&main_context, &contexts[number]);
}

/* --- switched by force: two endless loops and a timer ------------------------ */

static volatile unsigned long spun[2];
static volatile int active, switches;
static ucontext_t saved[2];
static bool started;

static __attribute__((noreturn)) void spin(unsigned long number)
{
    for (;;)
        spun[number]++;
}

static void exchange(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    ucontext_t *at = context;
    saved[active].uc_mcontext = at->uc_mcontext;
    active = !active;
    switches++;
    if (!started) { /* the second loop begins as a copy of the first, on a stack of its own */
        started = true;
        at->uc_mcontext.__gregs[0] = (unsigned long)spin;
        at->uc_mcontext.__gregs[2] = (unsigned long)(stacks[7] + sizeof stacks[7]);
        at->uc_mcontext.__gregs[10] = 1;
    } else if (switches < 20 || active) {
        at->uc_mcontext = saved[active].uc_mcontext;
    } else {
        fact(spun[0] > 1000 && spun[1] > 1000, "a signal's ucontext switches between endless loops");
        _exit(wish_result());
    }
}

int main(void)
{
    for (int i = 0; i < 6; i++) {
        contexts[i].ra = (unsigned long)(i % 2 ? halves : fibonacci);
        contexts[i].sp = (unsigned long)(stacks[i] + sizeof stacks[i]);
    }
    for (int round = 0; round <= 20; round++)
        for (int i = 0; i < 6; i++)
            enter(i);
    bool integer = true, real = true;
    for (int i = 0; i < 6; i += 2) {
        integer &= produced[i] == 6765;
        real &= produced[i + 1] == 1;
    }
    fact(integer, "coroutines keep their integer registers");
    fact(real, "and their floating-point registers");
    for (int i = 0; i < 100000; i++)
        enter(i % 6);
    fact(true, "a hundred thousand switches");

    handle(SIGALRM, exchange, 0);
    struct itimerval every = {{0, 5000}, {0, 5000}};
    NEED(setitimer(ITIMER_REAL, &every, NULL));
    spin(0);
}

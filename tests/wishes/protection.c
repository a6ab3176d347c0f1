/* Memory protection: processes from each other, and the kernel from all. */
#include "wish.h"

#include <sys/uio.h>

static volatile int secret = 1;
static void *volatile fault_at;

/* Ends a child with what it was hit by: 100 + si_code, if the address fits. */
static void report(int signal, siginfo_t *info, void *context)
{
    (void)context;
    _exit(signal == SIGSEGV && info->si_addr == fault_at ? 100 + info->si_code : 99);
}

static int outcome(void (*act)(void))
{
    fflush(stdout);
    pid_t child = NEED(fork());
    if (child == 0) {
        handle(SIGSEGV, report, 0);
        act();
        _exit(0);
    }
    return reap(child);
}

static void read_kernel(void)
{
    fault_at = (void *)0xffffffff80000000ul;
    (void)*(volatile int *)fault_at;
}

static void write_kernel(void)
{
    fault_at = (void *)0xffffffd800000000ul;
    *(volatile int *)fault_at = 1;
}

static void read_nothing(void)
{
    fault_at = (void *)8;
    (void)*(volatile int *)fault_at;
}

static void run_data(void)
{
    static uint32_t code[] = {0x00008067}; /* ret */
    fault_at = code;
    ((void (*)(void))fault_at)();
}

static void write_code(void)
{
    fault_at = (void *)run_data;
    *(volatile int *)fault_at = 0;
}

static void default_action(void)
{
    signal(SIGSEGV, SIG_DFL);
    read_kernel();
}

static void privileged(void) { __asm__ volatile("csrr t0, sstatus" ::: "t0"); }
static void change_table(void) { __asm__ volatile("csrw satp, zero"); }

int main(void)
{
    pid_t child = NEED(fork());
    if (child == 0) {
        secret = 2;
        _exit(secret == 2 ? 0 : 1);
    }
    fact(reap(child) == 0 && secret == 1, "the same address holds different things in two processes");

    fact(outcome(read_kernel) == 100 + SEGV_MAPERR || outcome(read_kernel) == 100 + SEGV_ACCERR,
         "reading kernel memory is SIGSEGV with its address");
    int written = outcome(write_kernel);
    fact(written == 100 + SEGV_MAPERR || written == 100 + SEGV_ACCERR, "writing kernel memory is SIGSEGV");
    fact(outcome(read_nothing) == 100 + SEGV_MAPERR, "a null pointer is SIGSEGV, SEGV_MAPERR");
    fact(outcome(run_data) == 100 + SEGV_ACCERR, "data cannot be executed");
    fact(outcome(write_code) == 100 + SEGV_ACCERR, "code cannot be written");
    fact(outcome(default_action) == -SIGSEGV, "unhandled, it ends the process, and only that");
    fact(outcome(privileged) == -SIGILL, "reading a supervisor register is SIGILL");
    fact(outcome(change_table) == -SIGILL, "changing the page table is SIGILL");

    int ends[2];
    NEED(pipe(ends));
    errno = 0;
    fact(write(ends[1], (void *)0xffffffff80000000ul, 8) == -1 && errno == EFAULT,
         "a system call given a kernel address says EFAULT");
    struct iovec here = {(void *)&secret, sizeof secret}, there = {(void *)&secret, sizeof secret};
    child = NEED(fork());
    if (child == 0) {
        pause();
        _exit(0);
    }
    secret = 3;
    fact(process_vm_readv(child, &here, 1, &there, 1, 0) == sizeof secret && secret == 1,
         "another process is read through the kernel only");
    kill(child, SIGKILL);
    reap(child);
    return wish_result();
}

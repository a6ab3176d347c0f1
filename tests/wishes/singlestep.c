/* A debugger's hold on a process: breakpoints, single steps, registers, system calls.
 *
 * RISC-V has no step bit, so Linux offers no PTRACE_SINGLESTEP there; a step is
 * what gdb makes of it: a breakpoint on each place that may come next.
 */
#include "wish.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

enum { PC = 0, A0 = 10, A7 = 17 };

unsigned long walked(unsigned long times);
__asm__(".text\n.balign 4\n.option push\n.option norvc\n"
        ".globl walked\n.type walked, @function\nwalked:\n"
        "    li t0, 0\n"
        "1:  addi t0, t0, 3\n"
        "    addi a0, a0, -1\n"
        "    bnez a0, 1b\n"
        "    mv a0, t0\n"
        "    ret\n"
        ".size walked, .-walked\n.option pop\n");

static pid_t child;

static void registers(int request, unsigned long *values)
{
    struct iovec all = {values, 32 * sizeof *values};
    NEED(ptrace(request, child, (void *)NT_PRSTATUS, &all));
}

static unsigned long word_of(unsigned long at)
{
    return (unsigned long)ptrace(PTRACE_PEEKTEXT, child, (void *)(at & ~7ul), NULL);
}

static uint32_t text_at(unsigned long at) { return (uint32_t)(word_of(at) >> (at & 4) * 8); }

/* Puts a halfword into the text; what was there. */
static uint16_t poke(unsigned long at, uint16_t half)
{
    int shift = (int)(at & 6) * 8;
    unsigned long word = word_of(at), changed = (word & ~(0xfffful << shift)) | (unsigned long)half << shift;
    NEED(ptrace(PTRACE_POKETEXT, child, (void *)(at & ~7ul), (void *)changed));
    return (uint16_t)(word >> shift);
}

static int resume(int request)
{
    int status;
    NEED(ptrace(request, child, NULL, NULL));
    NEED(waitpid(child, &status, 0));
    return WIFSTOPPED(status) ? WSTOPSIG(status) : -1;
}

/* Runs up to `first`, or to `second` if that is not 0. */
static int run_to(unsigned long first, unsigned long second)
{
    const uint16_t c_ebreak = 0x9002;
    uint16_t one = poke(first, c_ebreak), two = second ? poke(second, c_ebreak) : 0;
    int signal = resume(PTRACE_CONT);
    if (second)
        poke(second, two);
    poke(first, one);
    return signal;
}

static int step(const unsigned long *values)
{
    unsigned long pc = values[PC];
    uint32_t word = text_at(pc);
    if (word == 0x00008067) /* ret */
        return run_to(values[1], 0);
    if ((word & 0x7f) == 0x63) { /* a branch; all here go back by less than 32 bytes */
        long back = (long)((word >> 8 & 15) << 1) - 32;
        return run_to(pc + 4, pc + (unsigned long)back);
    }
    return run_to(pc + 4, 0);
}

int main(void)
{
    enum { TIMES = 10 };
    child = NEED(fork());
    if (child == 0) {
        NEED(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
        raise(SIGSTOP);
        unsigned long result = walked(TIMES), other = walked(1);
        _exit(result == 3 * TIMES && other == 21 && syscall(SYS_getppid) == 4321 ? 0 : 1);
    }
    int status;
    NEED(waitpid(child, &status, 0));
    fact(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "the traced process stops");
    unsigned long values[32], start = (unsigned long)walked;
    fact(run_to(start, 0) == SIGTRAP, "a breakpoint is SIGTRAP");
    registers(PTRACE_GETREGSET, values);
    fact(values[PC] == start && values[A0] == TIMES, "pc and arguments are read where it stands");

    int steps = 0;
    bool in_order = true;
    while (values[PC] - start < 24 && steps < 100) {
        unsigned long at = (values[PC] - start) / 4;
        unsigned long expected = steps == 0 ? 0 : steps <= 3 * TIMES ? 1 + (steps - 1u) % 3 : steps - 3u * TIMES + 3;
        in_order &= at == expected;
        if (step(values) != SIGTRAP)
            break;
        registers(PTRACE_GETREGSET, values);
        steps++;
    }
    fact(steps == 3 + 3 * TIMES, "each of its 33 instructions is a step");
    fact(in_order, "in the program's order");
    fact(values[A0] == 3 * TIMES, "and the result is in a0");

    run_to(start, 0);
    registers(PTRACE_GETREGSET, values);
    values[A0] = 7;
    registers(PTRACE_SETREGSET, values);
    resume(PTRACE_SYSCALL);
    registers(PTRACE_GETREGSET, values);
    fact(values[A7] == SYS_getppid, "a system call is seen before it happens");
    resume(PTRACE_SYSCALL);
    registers(PTRACE_GETREGSET, values);
    bool own = values[A0] == (unsigned long)getpid();
    values[A0] = 4321;
    registers(PTRACE_SETREGSET, values);
    fact(own, "and with its result after");
    NEED(ptrace(PTRACE_CONT, child, NULL, NULL));
    fact(reap(child) == 0, "registers and results that the tracer changed are the program's");
    return wish_result();
}

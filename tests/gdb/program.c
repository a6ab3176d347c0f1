/* What gdb debugs here: two harts in M mode, a global that both write, a trap
 * handler, structures and recursion to look at. */

typedef unsigned long u64;

struct point {
    int x, y;
};

volatile u64 counter, other, woken, spin = 1;
volatile struct point here = {3, 4};
static volatile u64 *const poweroff = (u64 *)0x100000;

__attribute__((noinline)) u64 depth(u64 n)
{
    if (n == 0)
        return counter;
    u64 below = depth(n - 1);
    return below + 1;
}

__attribute__((noinline)) void work(u64 hart, u64 round)
{
    struct point local = {(int)round, (int)hart};
    counter += 1;
    other = depth(3) + (u64)local.x;
    here.x = local.x;
}

__attribute__((interrupt("machine"), aligned(4))) void handler(void)
{
    u64 epc;
    __asm__ volatile("csrr %0, mepc" : "=r"(epc));
    woken++;
    __asm__ volatile("csrw mepc, %0" : : "r"(epc + 4));
}

void begin(u64 hart)
{
    __asm__ volatile("csrw mtvec, %0" : : "r"(handler));
    for (u64 round = 0; spin; round++) {
        work(hart, round);
        __asm__ volatile(".option push; .option norvc; ecall; .option pop");
    }
    *(volatile unsigned *)poweroff = 0x5555;
    for (;;)
        __asm__ volatile("wfi");
}

__attribute__((naked, section(".text.start"))) void _start(void)
{
    __asm__ volatile("la sp, stacks; addi t0, a0, 1; slli t0, t0, 12; add sp, sp, t0; j begin");
}

u64 stacks[8 * 512] __attribute__((aligned(16)));

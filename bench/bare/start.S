# M mode, floating point on, a stack.
    .section .text.start, "ax"
    .globl _start
_start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, stack
    li t0, 65536
    add sp, sp, t0
    li t0, 0x6000
    csrs mstatus, t0
    call bare_main

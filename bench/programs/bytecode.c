/* An interpreter of a stack machine, as languages have one: its program counts
 * Collatz steps. */
#include "kernels.h"

enum { PUSH, LOAD, STORE, ADD, MULTIPLY, SHIFT, ODD, LESS, JUMP, JUMP_IF, HALT };

/* Locals: 0 number, 1 its path's value, 2 steps, 3 limit. */
static const int32_t program[] = {
    /*  0 */ PUSH, 1, STORE, 0,
    /*  4 */ LOAD, 0, LOAD, 3, LESS, JUMP_IF, 12, HALT,
    /* 12 */ LOAD, 0, STORE, 1,
    /* 16 */ PUSH, 1, LOAD, 1, LESS, JUMP_IF, 32,
    /* 23 */ LOAD, 0, PUSH, 1, ADD, STORE, 0, JUMP, 4,
    /* 32 */ LOAD, 2, PUSH, 1, ADD, STORE, 2, LOAD, 1, ODD, JUMP_IF, 51,
    /* 44 */ LOAD, 1, SHIFT, STORE, 1, JUMP, 16,
    /* 51 */ LOAD, 1, PUSH, 3, MULTIPLY, PUSH, 1, ADD, STORE, 1, JUMP, 16,
};

static uint32_t run(const int32_t *code, uint32_t limit)
{
    uint32_t stack[16], locals[4] = {0, 0, 0, limit}, *top = stack, steps = 0;
    for (const int32_t *at = code;; steps++) {
        switch (*at++) {
        case PUSH: *top++ = (uint32_t)*at++; break;
        case LOAD: *top++ = locals[*at++]; break;
        case STORE: locals[*at++] = *--top; break;
        case ADD: top--; top[-1] += *top; break;
        case MULTIPLY: top--; top[-1] *= *top; break;
        case SHIFT: top[-1] >>= 1; break;
        case ODD: top[-1] &= 1; break;
        case LESS: top--; top[-1] = top[-1] < *top; break;
        case JUMP: at = code + *at; break;
        case JUMP_IF: at = *--top ? code + *at : at + 1; break;
        case HALT: return locals[2] ^ steps << 8;
        }
    }
}

uint64_t bytecode(uint32_t scale)
{
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scale; round++)
        sum = mix(sum, run(program, 80 + round % 8));
    return sum;
}

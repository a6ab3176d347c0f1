/* Virtual calls: 256 objects of four classes in random order, as C++ has them. */
#include "kernels.h"

#define OBJECTS 256

struct object;
struct class {
    uint32_t (*turn)(struct object *, uint32_t);
};
struct object {
    const struct class *class;
    uint32_t a, b;
};

static uint32_t add(struct object *o, uint32_t x) { return o->a += x; }
static uint32_t rotate(struct object *o, uint32_t x) { return o->a = (o->a << 5 | o->a >> 27) ^ x; }
static uint32_t swap(struct object *o, uint32_t x)
{
    uint32_t a = o->a;
    o->a = o->b + x;
    return o->b = a;
}
static uint32_t multiply(struct object *o, uint32_t x) { return o->b = o->b * 5 + (x | 1); }

static const struct class classes[4] = {{add}, {rotate}, {swap}, {multiply}};
static struct object objects[OBJECTS];

uint64_t virtual_calls(uint32_t scale)
{
    uint64_t state = 8, sum = 0;
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = (struct object){&classes[next_random(&state) % 4], next_random(&state), next_random(&state)};
    for (uint32_t round = 0; round < scale; round++) {
        uint32_t x = round;
        for (int i = 0; i < 100 * OBJECTS; i++)
            x ^= objects[i % OBJECTS].class->turn(&objects[i % OBJECTS], x);
        sum = mix(sum, x);
    }
    return sum;
}

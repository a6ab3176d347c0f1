/* A walk along a random cycle through 1 MiB: nothing but dependent loads. */
#include "kernels.h"

#define NODES 65536u /* of 16 bytes */

static struct node {
    uint32_t next, value, unused[2];
} nodes[NODES];

static void link_nodes(void)
{
    uint64_t state = 7;
    for (uint32_t i = 0; i < NODES; i++)
        nodes[i].next = i;
    for (uint32_t i = NODES - 1; i > 0; i--) { /* Sattolo: one cycle through all */
        uint32_t j = next_random(&state) % i, other = nodes[i].next;
        nodes[i].next = nodes[j].next;
        nodes[j].next = other;
    }
    for (uint32_t i = 0; i < NODES; i++)
        nodes[i].value = next_random(&state);
}

uint64_t chase(uint32_t scale)
{
    if (!nodes[0].next)
        link_nodes();
    uint64_t sum = 0;
    uint32_t at = 0;
    for (uint32_t round = 0; round < scale; round++) {
        uint32_t total = 0;
        for (int i = 0; i < 20000; i++) {
            total += nodes[at].value;
            at = nodes[at].next;
        }
        sum = mix(sum, total);
    }
    return sum;
}

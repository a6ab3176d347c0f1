/* Five bodies under gravity, 800 steps; square root and division included. */
#include "kernels.h"

#include <math.h>
#include <string.h>

#define BODIES 5

static struct body {
    double x, y, z, vx, vy, vz, mass;
} bodies[BODIES];

static void step(double dt)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            struct body *a = &bodies[i], *b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double square = dx * dx + dy * dy + dz * dz + 0.01;
            double size = dt / (square * sqrt(square));
            a->vx -= dx * b->mass * size, a->vy -= dy * b->mass * size, a->vz -= dz * b->mass * size;
            b->vx += dx * a->mass * size, b->vy += dy * a->mass * size, b->vz += dz * a->mass * size;
        }
    for (int i = 0; i < BODIES; i++) {
        struct body *a = &bodies[i];
        a->x += dt * a->vx, a->y += dt * a->vy, a->z += dt * a->vz;
    }
}

uint64_t nbody(uint32_t scale)
{
    uint64_t state = 6, sum = 0;
    for (int i = 0; i < BODIES; i++) {
        double *field = &bodies[i].x;
        for (int j = 0; j < 7; j++)
            field[j] = next_random(&state) / 4294967296.0 + (j == 6 ? 1 : 0);
    }
    for (uint32_t round = 0; round < scale; round++) {
        for (int i = 0; i < 800; i++)
            step(0.001);
        uint64_t bits;
        memcpy(&bits, &bodies[round % BODIES].x, sizeof bits);
        sum = mix(sum, bits);
    }
    return sum;
}

/* Product of two 48 by 48 matrices of doubles, as a textbook writes it. */
#include "kernels.h"

#include <string.h>

#define N 48

static double a[N][N], b[N][N], c[N][N];

uint64_t matmul(uint32_t scale)
{
    uint64_t state = 2, sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = next_random(&state) / 4294967296.0 - 0.5;
            b[i][j] = next_random(&state) / 4294967296.0 - 0.5;
        }
    for (uint32_t round = 0; round < scale; round++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double total = 0;
                for (int k = 0; k < N; k++)
                    total += a[i][k] * b[k][j];
                c[i][j] = total;
            }
        uint64_t bits;
        memcpy(&bits, &c[round % N][round * 7 % N], sizeof bits);
        sum = mix(sum, bits);
        a[round * 5 % N][round % N] += 0.25;
    }
    return sum;
}

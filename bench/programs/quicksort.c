/* Quicksort of 2,048 random words, by Hoare's partition. */
#include "kernels.h"

#define COUNT 2048

static uint32_t items[COUNT];

static void sort(uint32_t *a, int low, int high)
{
    while (low < high) {
        uint32_t pivot = a[(low + high) / 2];
        int i = low - 1, j = high + 1;
        for (;;) {
            while (a[++i] < pivot) { }
            while (a[--j] > pivot) { }
            if (i >= j)
                break;
            uint32_t other = a[i];
            a[i] = a[j];
            a[j] = other;
        }
        sort(a, low, j);
        low = j + 1;
    }
}

uint64_t quicksort(uint32_t scale)
{
    uint64_t state = 1, sum = 0;
    for (uint32_t round = 0; round < scale; round++) {
        for (int i = 0; i < COUNT; i++)
            items[i] = next_random(&state);
        sort(items, 0, COUNT - 1);
        for (int i = 0; i < COUNT; i += 16)
            sum = mix(sum, items[i] + (i && items[i] < items[i - 1]));
    }
    return sum;
}

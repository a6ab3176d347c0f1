/* CRC-32 (IEEE 802.3) of 64 KiB, a byte at a time from a table. */
#include "kernels.h"

static uint32_t table[256];
static uint8_t data[65536];

uint64_t crc32(uint32_t scale)
{
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
            table[i] = value;
        }
    uint64_t state = 3, sum = 0;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)next_random(&state);
    for (uint32_t round = 0; round < scale; round++) {
        uint32_t crc = ~0u;
        for (size_t i = 0; i < sizeof data; i++)
            crc = crc >> 8 ^ table[(crc ^ data[i]) & 0xff];
        sum = mix(sum, ~crc);
        data[round % sizeof data]++;
    }
    return sum;
}

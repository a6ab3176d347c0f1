/* Reads or writes a block device past the page cache: what the disk itself does.
 *
 *     blocks DEVICE read|write BYTES sequential|random SECONDS REGION
 *
 * One request at a time, of BYTES, within the first REGION bytes; prints how
 * many and the seconds they took. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    int writes = !strcmp(argv[2], "write"), random = !strcmp(argv[4], "random");
    size_t bytes = strtoull(argv[3], NULL, 10);
    uint64_t slots = strtoull(argv[6], NULL, 10) / bytes, seed = 88172645463325252u, slot = 0, count = 0;
    int file = open(argv[1], O_RDWR | O_DIRECT);
    void *buffer;
    if (file < 0 || slots == 0 || posix_memalign(&buffer, 4096, bytes)) {
        perror(argv[1]);
        return 1;
    }
    memset(buffer, 0x5a, bytes);
    double begun = now(), end = begun + atof(argv[5]), at;
    do {
        for (int i = 0; i < 16; i++, count++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17; /* xorshift64 */
            slot = random ? seed % slots : count % slots;
            ssize_t done = writes ? pwrite(file, buffer, bytes, (off_t)(slot * bytes))
                                  : pread(file, buffer, bytes, (off_t)(slot * bytes));
            if (done != (ssize_t)bytes) {
                perror(argv[2]);
                return 1;
            }
        }
        at = now();
    } while (at < end);
    printf("%llu %.6f\n", (unsigned long long)count, at - begun);
    return 0;
}

/* Reads or writes a block device past the page cache: what the disk itself does.
 *
 *     blocks DEVICE read|write BYTES sequential|random SECONDS REGION [DEPTH]
 *
 * Requests of BYTES within the first REGION bytes, DEPTH of them at a time
 * (Linux's own asynchronous I/O, as fio's libaio engine has it; without DEPTH one
 * after the other by pread and pwrite); prints how many and the seconds they took. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DEEPEST = 256, ROUND = 16 };

static int file, writes, random_order;
static size_t bytes;
static uint64_t slots, seed = 88172645463325252u, count;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static off_t next(void)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17; /* xorshift64 */
    return (off_t)((random_order ? seed % slots : count % slots) * bytes);
}

static int failed(const char *what)
{
    perror(what);
    return 1;
}

static int one_at_a_time(char *buffer)
{
    for (int i = 0; i < ROUND; i++, count++) {
        off_t at = next();
        ssize_t done = writes ? pwrite(file, buffer, bytes, at) : pread(file, buffer, bytes, at);
        if (done != (ssize_t)bytes)
            return failed("transfer");
    }
    return 0;
}

/* Fills the queue, waits for at least one, and takes what has come. */
static int several(aio_context_t context, char *buffers, long depth, long *under_way)
{
    static struct iocb blocks[DEEPEST], *list[DEEPEST];
    static struct io_event events[DEEPEST];
    static int spare[DEEPEST], spares = -1;
    if (spares < 0)
        for (spares = 0; spares < depth; spares++)
            spare[spares] = spares;
    long begun = 0;
    for (; *under_way + begun < depth; begun++, count++) {
        int which = spare[--spares];
        blocks[which] = (struct iocb){
            .aio_data = (uint64_t)which, .aio_lio_opcode = writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD, .aio_fildes = (uint32_t)file,
            .aio_buf = (uint64_t)(uintptr_t)(buffers + (size_t)which * bytes), .aio_nbytes = bytes, .aio_offset = next()};
        list[begun] = &blocks[which];
    }
    if (begun && syscall(SYS_io_submit, context, begun, list) != begun)
        return failed("io_submit");
    *under_way += begun;
    long come = syscall(SYS_io_getevents, context, 1L, depth, events, NULL);
    if (come < 1)
        return failed("io_getevents");
    for (long i = 0; i < come; i++) {
        if (events[i].res != (int64_t)bytes)
            return failed("transfer");
        spare[spares++] = (int)events[i].data;
    }
    *under_way -= come;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 7)
        return 2;
    writes = !strcmp(argv[2], "write"), random_order = !strcmp(argv[4], "random");
    bytes = strtoull(argv[3], NULL, 10);
    slots = strtoull(argv[6], NULL, 10) / bytes;
    long depth = argc > 7 ? atol(argv[7]) : 0, under_way = 0;
    aio_context_t context = 0;
    char *buffer;
    file = open(argv[1], O_RDWR | O_DIRECT);
    if (file < 0 || slots == 0 || depth > DEEPEST || posix_memalign((void **)&buffer, 4096, bytes * (size_t)(depth ? depth : 1)))
        return failed(argv[1]);
    if (depth && syscall(SYS_io_setup, depth, &context))
        return failed("io_setup");
    memset(buffer, 0x5a, bytes * (size_t)(depth ? depth : 1));
    double begun = now(), end = begun + atof(argv[5]), at;
    do {
        if (depth ? several(context, buffer, depth, &under_way) : one_at_a_time(buffer))
            return 1;
        at = now();
    } while (at < end);
    printf("%llu %.6f\n", (unsigned long long)(count - (uint64_t)under_way), at - begun);
    return 0;
}

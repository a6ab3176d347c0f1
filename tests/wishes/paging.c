/* Demand paging and copy-on-write, counted. */
#include "wish.h"

#include <fcntl.h>

enum { PAGES = 1024 };

static long minor_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

/* Pages of [at, at + PAGES pages) that have memory behind them. */
static int present(int pagemap, char *at)
{
    static uint64_t entries[PAGES];
    NEED(pread(pagemap, entries, sizeof entries, (off_t)((uintptr_t)at / PAGE * 8)));
    int count = 0;
    for (int i = 0; i < PAGES; i++)
        count += entries[i] >> 63;
    return count;
}

int main(void)
{
    char *at = pages(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
    madvise(at, PAGES * PAGE, MADV_NOHUGEPAGE);
    int pagemap = NEED(open("/proc/self/pagemap", O_RDONLY));
    fact(present(pagemap, at) == 0, "a new mapping has no memory behind it");

    long before = minor_faults();
    for (int i = 0; i < PAGES; i += 2)
        at[i * PAGE] = 1;
    long taken = minor_faults() - before;
    fact(present(pagemap, at) == PAGES / 2, "every second page touched: half are present");
    fact(taken >= PAGES / 2 && taken < PAGES / 2 + 32, "one minor fault a page, counted by getrusage");
    before = minor_faults();
    for (int i = 0; i < PAGES; i += 2)
        at[i * PAGE] = 2;
    fact(minor_faults() - before < 8, "touched again: no faults");

    unsigned char resident[PAGES];
    NEED(mincore(at, PAGES * PAGE, resident));
    bool alternate = true;
    for (int i = 0; i < PAGES; i++)
        alternate &= (resident[i] & 1) == (i % 2 == 0);
    fact(alternate, "mincore says the same, page by page");

    int *report = pages(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    pid_t child = NEED(fork());
    if (child == 0) {
        long start = minor_faults();
        bool same = true;
        for (int i = 0; i < PAGES; i += 2)
            same &= at[i * PAGE] == 2;
        report[0] = same;
        report[1] = (int)(minor_faults() - start);
        start = minor_faults();
        for (int i = 0; i < 200; i += 2)
            at[i * PAGE] = 3;
        report[2] = (int)(minor_faults() - start);
        _exit(0);
    }
    reap(child);
    fact(report[0] == 1, "after fork the child reads the parent's pages");
    fact(report[2] >= 100 && report[2] < 132, "each page it writes is copied by one fault");
    bool untouched = true;
    for (int i = 0; i < PAGES; i += 2)
        untouched &= at[i * PAGE] == 2;
    fact(untouched, "the parent's pages stay as they were");

    NEED(madvise(at, PAGES * PAGE, MADV_DONTNEED));
    fact(present(pagemap, at) == 0 && at[0] == 0, "MADV_DONTNEED gives pages back; they come again as zeros");

    char *large = pages(1ul << 36, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
    large[(1ul << 36) - 1] = 1;
    fact(large[1ul << 35] == 0, "64 GiB of address space can be mapped and touched here and there");
    return wish_result();
}

/* Mappings shared between processes. */
#include "wish.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/shm.h>

static long futex(atomic_int *word, int operation, int value)
{
    return syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

int main(void)
{
    atomic_int *shared = pages(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    int *private = pages(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    *private = 5;
    pid_t child = NEED(fork());
    if (child == 0) {
        for (int i = 0; i < 100000; i++)
            atomic_fetch_add(&shared[1], 1);
        *private = 6;
        atomic_store(&shared[0], 7);
        futex(&shared[0], FUTEX_WAKE, 1);
        _exit(0);
    }
    for (int i = 0; i < 100000; i++)
        atomic_fetch_add(&shared[1], 1);
    while (atomic_load(&shared[0]) == 0)
        futex(&shared[0], FUTEX_WAIT, 0);
    reap(child);
    fact(shared[0] == 7, "a futex in shared memory wakes another process");
    fact(shared[1] == 200000, "two processes count atomically in one word");
    fact(*private == 5, "what is private stays private");

    int file = NEED(memfd_create("wish", 0));
    NEED(ftruncate(file, 2 * PAGE));
    char *first = NEED(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    char *second = NEED(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    strcpy(first + PAGE - 3, "across");
    fact(first != second && strcmp(second + PAGE - 3, "across") == 0, "one file at two addresses is the same memory");
    char text[8] = "";
    NEED(pread(file, text, 6, PAGE - 3));
    fact(strcmp(text, "across") == 0, "read sees what the mapping wrote");
    NEED(pwrite(file, "X", 1, 0));
    fact(first[0] == 'X', "the mapping sees what write wrote");
    child = NEED(fork());
    if (child == 0) {
        char *own = NEED(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
        own[1] = 'Y';
        _exit(own[0] == 'X' ? 0 : 1);
    }
    fact(reap(child) == 0 && first[1] == 'Y', "a process that maps the file itself shares it");

    int segment = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
    if (segment == -1 && errno == ENOSYS)
        return wish_result(); /* a kernel without System V IPC */
    int *at = shmat(NEED(segment), NULL, 0);
    child = NEED(fork());
    if (child == 0) {
        *at = 42;
        _exit(0);
    }
    reap(child);
    fact(*at == 42, "System V shared memory is shared");
    shmctl(segment, IPC_RMID, NULL);
    return wish_result();
}

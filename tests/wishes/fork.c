/* fork, vfork, exec and posix_spawn. */
#include "wish.h"

#include <spawn.h>

extern char **environ;

static int recursive(int depth)
{
    if (depth == 0)
        return 1;
    pid_t child = fork();
    if (child == 0)
        _exit(recursive(depth - 1));
    int here = recursive(depth - 1);
    return here + reap(child);
}

int main(int count, char **arguments)
{
    if (count > 1)
        return strcmp(arguments[1], "exec") == 0 && getenv("WISH") ? 33 : 1;
    setenv("WISH", "yes", 1);
    volatile int local = 1;
    char *heap = strdup("parent");
    fflush(stdout);
    pid_t child = NEED(fork());
    if (child == 0) {
        local = 2;
        strcpy(heap, "child");
        _exit(local == 2 && getppid() != getpid() ? 11 : 1);
    }
    fact(reap(child) == 11, "fork returns twice");
    fact(local == 1 && strcmp(heap, "parent") == 0, "the child has its own stack and heap");
    fact(recursive(5) == 32, "thirty-one processes forked by forks");

    volatile int order = 0;
    child = NEED(vfork());
    if (child == 0) {
        order = 1; /* the parent's memory; it waits */
        execl("/proc/self/exe", arguments[0], "exec", NULL);
        _exit(1);
    }
    fact(order == 1, "vfork lends the parent's memory until exec");
    fact(reap(child) == 33, "and the child becomes another program");

    child = NEED(vfork());
    if (child == 0) {
        order = 2;
        _exit(12);
    }
    fact(order == 2 && reap(child) == 12, "or until the child exits");

    char *words[] = {arguments[0], "exec", NULL};
    fact(posix_spawn(&child, "/proc/self/exe", NULL, NULL, words, environ) == 0 && reap(child) == 33, "posix_spawn");

    int ends[2];
    NEED(pipe(ends));
    child = NEED(fork());
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execl("/bin/sh", "sh", "-c", "echo from a shell", NULL);
        _exit(1);
    }
    close(ends[1]);
    char text[64] = "";
    size_t have = 0;
    for (ssize_t more; (more = read(ends[0], text + have, sizeof text - 1 - have)) > 0;)
        have += (size_t)more;
    reap(child);
    fact(strcmp(text, "from a shell\n") == 0, "pipe, fork, dup2, exec: a shell's output is read");
    return wish_result();
}

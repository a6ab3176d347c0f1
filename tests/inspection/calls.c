/* Makes system calls that a test knows, each with arguments worth decoding. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
    char buffer[64];
    int fd = open("/tmp/calls-\"test\"", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0 || write(fd, "one\ntwo\0three", 13) != 13 || lseek(fd, 4, SEEK_SET) != 4)
        return 1;
    if (read(fd, buffer, sizeof buffer) != 9 || memcmp(buffer, "two\0three", 9))
        return 2;
    if (open("/nowhere/at/all", O_RDONLY) >= 0 || errno != ENOENT)
        return 3;
    if (syscall(SYS_read, 99, buffer, 5) != -1 || errno != EBADF)
        return 4;
    void *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(page, 4096, PROT_NONE);
    munmap(page, 8192);
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) || socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0)
        return 5;
    struct timespec wait = {0, 30000000};
    syscall(SYS_nanosleep, &wait, NULL);
    unlink("/tmp/calls-\"test\"");
    pid_t child = fork();
    if (child == 0) {
        char *argv[] = {"true", "and", "more", NULL};
        execv("/usr/bin/true", argv);
        _exit(9);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 6;
}

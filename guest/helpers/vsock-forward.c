/* vsock-forward: carries TCP connections of the guest over vsock, both ways.
 *
 *     vsock-forward out PORT VSOCK_PORT   127.0.0.1:PORT leads to the host's VSOCK_PORT
 *     vsock-forward in VSOCK_PORT         the host names a port of 127.0.0.1 in the first
 *                                         two bytes (big-endian); one byte answers: 0 connected
 *
 * No C library: it is built at set-up by a compiler that would first have to
 * build one.  RISC-V Linux's system calls, include/uapi/asm-generic/unistd.h. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long i64;

enum {
    SYS_close = 57, SYS_read = 63, SYS_write = 64, SYS_ppoll = 73, SYS_exit_group = 94, SYS_rt_sigaction = 134,
    SYS_socket = 198, SYS_bind = 200, SYS_listen = 201, SYS_connect = 203, SYS_setsockopt = 208, SYS_shutdown = 210,
    SYS_clone = 220, SYS_accept4 = 242,
};
enum { AF_INET = 2, AF_VSOCK = 40, SOCK_STREAM = 1, SOL_SOCKET = 1, SO_REUSEADDR = 2, SHUT_WR = 1 };
enum { SIGPIPE = 13, SIGCHLD = 17, POLLIN = 1, POLLERR = 8, POLLHUP = 16, HOST_CID = 2, ANY = -1 };

static i64 call(i64 number, i64 a, i64 b, i64 c, i64 d, i64 e)
{
    register i64 a7 __asm__("a7") = number;
    register i64 a0 __asm__("a0") = a;
    register i64 a1 __asm__("a1") = b;
    register i64 a2 __asm__("a2") = c;
    register i64 a3 __asm__("a3") = d;
    register i64 a4 __asm__("a4") = e;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4) : "memory");
    return a0;
}

struct in_address {
    u16 family, port;
    u32 address;
    u8 zero[8];
};
struct vm_address {
    u16 family, reserved;
    u32 port, cid;
    u8 flags, zero[3];
};
struct poll {
    int fd;
    u16 events, revents;
};

static u16 swap(u32 port) { return (u16)(port << 8 | (port >> 8 & 0xff)); }

static int tcp(u32 port, int listening)
{
    struct in_address at = {AF_INET, swap(port), 0x0100007f, {0}};
    int fd = (int)call(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0), on = 1;
    call(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, (i64)&on, sizeof on);
    return call(listening ? SYS_bind : SYS_connect, fd, (i64)&at, sizeof at, 0, 0) ? -1 : fd;
}

static int vsock(u32 cid, u32 port, int listening)
{
    struct vm_address at = {AF_VSOCK, 0, port, cid, 0, {0}};
    int fd = (int)call(SYS_socket, AF_VSOCK, SOCK_STREAM, 0, 0, 0);
    return call(listening ? SYS_bind : SYS_connect, fd, (i64)&at, sizeof at, 0, 0) ? -1 : fd;
}

static int write_all(int fd, const u8 *data, i64 count)
{
    while (count > 0) {
        i64 done = call(SYS_write, fd, (i64)data, count, 0, 0);
        if (done <= 0)
            return 0;
        data += done;
        count -= done;
    }
    return 1;
}

/* Copies between two sockets until both have ended. */
static void join(int one, int two)
{
    static u8 buffer[65536];
    struct poll ends[2] = {{one, POLLIN, 0}, {two, POLLIN, 0}};
    while (ends[0].fd >= 0 || ends[1].fd >= 0) {
        if (call(SYS_ppoll, (i64)ends, 2, 0, 0, 8) < 0)
            return;
        for (int i = 0; i < 2; i++) {
            if (ends[i].fd < 0 || !(ends[i].revents & (POLLIN | POLLERR | POLLHUP)))
                continue;
            int other = i ? one : two;
            i64 count = call(SYS_read, ends[i].fd, (i64)buffer, sizeof buffer, 0, 0);
            if (count < 0 || (count > 0 && !write_all(other, buffer, count)))
                return;
            if (count == 0) {
                call(SYS_shutdown, other, SHUT_WR, 0, 0, 0);
                ends[i].fd = -1;
            }
        }
    }
}

static void serve_in(int peer)
{
    u8 port[2], answer = 0;
    for (int have = 0; have < 2;) {
        i64 count = call(SYS_read, peer, (i64)(port + have), 2 - have, 0, 0);
        if (count <= 0)
            return;
        have += (int)count;
    }
    int fd = tcp((u32)(port[0] << 8 | port[1]), 0);
    answer = fd < 0;
    if (write_all(peer, &answer, 1) && fd >= 0)
        join(peer, fd);
}

static void serve_out(int peer, u32 port)
{
    int fd = vsock(HOST_CID, port, 0);
    if (fd >= 0)
        join(peer, fd);
}

static u32 number(const char *text)
{
    u32 value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (u32)(*text - '0');
    return value;
}

static int run(i64 count, char **words)
{
    int out = count == 4 && words[1][0] == 'o';
    if (!out && !(count == 3 && words[1][0] == 'i')) {
        static const u8 usage[] = "usage: vsock-forward out PORT VSOCK_PORT | in VSOCK_PORT\n";
        write_all(2, usage, sizeof usage - 1);
        return 2;
    }
    /* Ignored: children are not waited for, and a peer that is gone is an error of write. */
    i64 ignore[4] = {1, 0, 0, 0};
    call(SYS_rt_sigaction, SIGCHLD, (i64)ignore, 0, 8, 0);
    call(SYS_rt_sigaction, SIGPIPE, (i64)ignore, 0, 8, 0);
    int listening = out ? tcp(number(words[2]), 1) : vsock((u32)ANY, number(words[2]), 1);
    if (listening < 0 || call(SYS_listen, listening, 64, 0, 0, 0)) {
        static const u8 taken[] = "vsock-forward: the port can't be listened on\n";
        write_all(2, taken, sizeof taken - 1);
        return 1;
    }
    for (;;) {
        int peer = (int)call(SYS_accept4, listening, 0, 0, 0, 0);
        if (peer < 0)
            continue;
        if (call(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) {
            call(SYS_close, listening, 0, 0, 0, 0);
            if (out)
                serve_out(peer, number(words[3]));
            else
                serve_in(peer);
            return 0;
        }
        call(SYS_close, peer, 0, 0, 0, 0);
    }
}

__attribute__((used, noreturn)) static void begin(i64 *stack)
{
    call(SYS_exit_group, run(stack[0], (char **)(stack + 1)), 0, 0, 0, 0);
    __builtin_unreachable();
}

__attribute__((naked, noreturn)) void _start(void) { __asm__("mv a0, sp\n andi sp, sp, -16\n call begin"); }

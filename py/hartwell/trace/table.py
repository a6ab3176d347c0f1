"""System calls of riscv64 Linux, as of 6.12: numbers, names, arguments.

Numbers: the kernel's include/uapi/asm-generic/unistd.h, and 258 and 259 of
arch/riscv.  Arguments: the manual pages, section 2.

A line is `number name argument:kind ...`; kinds are those of `KINDS`.  `!` after
a name: the call does not return.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hartwell.layout import CONSTANTS

KINDS: dict[str, int] = {
    # How an argument is shown (hartwell.trace.decode), and what the core copies for it.
    "int": 0, "uint": 0, "hex": 0, "ptr": 0, "oct": 0, "fd": 0, "dirfd": 0, "off": 0,
    "open": 0, "prot": 0, "map": 0, "clone": 0, "at": 0, "sig": 0, "whence": 0, "futex": 0, "mode": 0, "clock": 0,
    "family": 0, "socktype": 0, "fcntl": 0, "how": 0, "access": 0, "wait": 0, "advice": 0, "resource": 0,
    "str": CONSTANTS["TRACE_STRING"],
    "strs": CONSTANTS["TRACE_STRINGS"],
    "in": CONSTANTS["TRACE_IN"],  # as many bytes as the next argument says
    "sockaddr": CONSTANTS["TRACE_IN"],
    "out": CONSTANTS["TRACE_OUT"],  # as many bytes as the call returns
    "pair": CONSTANTS["TRACE_OUT8"],  # two descriptors that the call makes
    "time": CONSTANTS["TRACE_IN16"],  # struct timespec
    "timeout": CONSTANTS["TRACE_OUT16"],  # struct timespec that the call fills in
}

_TABLE = """
0 io_setup nr:uint ctx:ptr
1 io_destroy ctx:hex
2 io_submit ctx:hex nr:int iocbs:ptr
3 io_cancel ctx:hex iocb:ptr result:ptr
4 io_getevents ctx:hex min:int nr:int events:ptr timeout:time
5 setxattr path:str name:str value:in size:uint flags:hex
6 lsetxattr path:str name:str value:in size:uint flags:hex
7 fsetxattr fd:fd name:str value:in size:uint flags:hex
8 getxattr path:str name:str value:ptr size:uint
9 lgetxattr path:str name:str value:ptr size:uint
10 fgetxattr fd:fd name:str value:ptr size:uint
11 listxattr path:str list:ptr size:uint
12 llistxattr path:str list:ptr size:uint
13 flistxattr fd:fd list:ptr size:uint
14 removexattr path:str name:str
15 lremovexattr path:str name:str
16 fremovexattr fd:fd name:str
17 getcwd buf:out size:uint
19 eventfd2 count:uint flags:hex
20 epoll_create1 flags:hex
21 epoll_ctl epfd:fd op:int fd:fd event:ptr
22 epoll_pwait epfd:fd events:ptr max:int timeout:int mask:ptr size:uint
23 dup fd:fd
24 dup3 fd:fd to:fd flags:open
25 fcntl fd:fd command:fcntl argument:hex
26 inotify_init1 flags:hex
27 inotify_add_watch fd:fd path:str mask:hex
28 inotify_rm_watch fd:fd watch:int
29 ioctl fd:fd request:hex argument:hex
30 ioprio_set which:int who:int priority:int
31 ioprio_get which:int who:int
32 flock fd:fd operation:int
33 mknodat dirfd:dirfd path:str mode:oct device:hex
34 mkdirat dirfd:dirfd path:str mode:oct
35 unlinkat dirfd:dirfd path:str flags:at
36 symlinkat target:str dirfd:dirfd path:str
37 linkat olddirfd:dirfd old:str newdirfd:dirfd new:str flags:at
39 umount2 target:str flags:hex
40 mount source:str target:str type:str flags:hex data:ptr
41 pivot_root new:str old:str
43 statfs path:str buf:ptr
44 fstatfs fd:fd buf:ptr
45 truncate path:str length:off
46 ftruncate fd:fd length:off
47 fallocate fd:fd mode:hex offset:off length:off
48 faccessat dirfd:dirfd path:str mode:access
49 chdir path:str
50 fchdir fd:fd
51 chroot path:str
52 fchmod fd:fd mode:oct
53 fchmodat dirfd:dirfd path:str mode:oct
54 fchownat dirfd:dirfd path:str uid:int gid:int flags:at
55 fchown fd:fd uid:int gid:int
56 openat dirfd:dirfd path:str flags:open mode:mode
57 close fd:fd
58 vhangup
59 pipe2 fds:pair flags:open
60 quotactl command:hex special:str id:int address:ptr
61 getdents64 fd:fd entries:ptr size:uint
62 lseek fd:fd offset:off whence:whence
63 read fd:fd buf:out count:uint
64 write fd:fd buf:in count:uint
65 readv fd:fd iov:ptr count:int
66 writev fd:fd iov:ptr count:int
67 pread64 fd:fd buf:out count:uint offset:off
68 pwrite64 fd:fd buf:in count:uint offset:off
69 preadv fd:fd iov:ptr count:int low:off high:off
70 pwritev fd:fd iov:ptr count:int low:off high:off
71 sendfile out:fd in:fd offset:ptr count:uint
72 pselect6 nfds:int read:ptr write:ptr except:ptr timeout:time mask:ptr
73 ppoll fds:ptr nfds:uint timeout:time mask:ptr size:uint
74 signalfd4 fd:fd mask:ptr size:uint flags:hex
75 vmsplice fd:fd iov:ptr count:uint flags:hex
76 splice in:fd inoff:ptr out:fd outoff:ptr length:uint flags:hex
77 tee in:fd out:fd length:uint flags:hex
78 readlinkat dirfd:dirfd path:str buf:out size:uint
79 newfstatat dirfd:dirfd path:str buf:ptr flags:at
80 fstat fd:fd buf:ptr
81 sync
82 fsync fd:fd
83 fdatasync fd:fd
84 sync_file_range fd:fd offset:off length:off flags:hex
85 timerfd_create clock:clock flags:hex
86 timerfd_settime fd:fd flags:hex new:ptr old:ptr
87 timerfd_gettime fd:fd current:ptr
88 utimensat dirfd:dirfd path:str times:ptr flags:at
89 acct path:str
90 capget header:ptr data:ptr
91 capset header:ptr data:ptr
92 personality persona:hex
93 exit! status:int
94 exit_group! status:int
95 waitid type:int id:int info:ptr options:wait usage:ptr
96 set_tid_address address:ptr
97 unshare flags:clone
98 futex address:ptr op:futex value:uint timeout:ptr address2:ptr value3:uint
99 set_robust_list head:ptr size:uint
100 get_robust_list pid:int head:ptr size:ptr
101 nanosleep request:time remain:ptr
102 getitimer which:int current:ptr
103 setitimer which:int new:ptr old:ptr
104 kexec_load entry:hex count:uint segments:ptr flags:hex
105 init_module image:ptr size:uint parameters:str
106 delete_module name:str flags:open
107 timer_create clock:clock event:ptr timer:ptr
108 timer_gettime timer:int current:ptr
109 timer_getoverrun timer:int
110 timer_settime timer:int flags:hex new:ptr old:ptr
111 timer_delete timer:int
112 clock_settime clock:clock time:time
113 clock_gettime clock:clock time:timeout
114 clock_getres clock:clock time:timeout
115 clock_nanosleep clock:clock flags:hex request:time remain:ptr
116 syslog type:int buf:ptr length:int
117 ptrace request:int pid:int address:hex data:hex
118 sched_setparam pid:int param:ptr
119 sched_setscheduler pid:int policy:int param:ptr
120 sched_getscheduler pid:int
121 sched_getparam pid:int param:ptr
122 sched_setaffinity pid:int size:uint mask:ptr
123 sched_getaffinity pid:int size:uint mask:ptr
124 sched_yield
125 sched_get_priority_max policy:int
126 sched_get_priority_min policy:int
127 sched_rr_get_interval pid:int interval:timeout
128 restart_syscall
129 kill pid:int signal:sig
130 tkill tid:int signal:sig
131 tgkill pid:int tid:int signal:sig
132 sigaltstack new:ptr old:ptr
133 rt_sigsuspend mask:ptr size:uint
134 rt_sigaction signal:sig new:ptr old:ptr size:uint
135 rt_sigprocmask how:how set:ptr old:ptr size:uint
136 rt_sigpending set:ptr size:uint
137 rt_sigtimedwait set:ptr info:ptr timeout:time size:uint
138 rt_sigqueueinfo pid:int signal:sig info:ptr
139 rt_sigreturn!
140 setpriority which:int who:int priority:int
141 getpriority which:int who:int
142 reboot magic:hex magic2:hex command:hex argument:ptr
143 setregid real:int effective:int
144 setgid gid:int
145 setreuid real:int effective:int
146 setuid uid:int
147 setresuid real:int effective:int saved:int
148 getresuid real:ptr effective:ptr saved:ptr
149 setresgid real:int effective:int saved:int
150 getresgid real:ptr effective:ptr saved:ptr
151 setfsuid uid:int
152 setfsgid gid:int
153 times buf:ptr
154 setpgid pid:int pgid:int
155 getpgid pid:int
156 getsid pid:int
157 setsid
158 getgroups size:int list:ptr
159 setgroups size:int list:ptr
160 newuname buf:ptr
161 sethostname name:in length:uint
162 setdomainname name:in length:uint
163 getrlimit resource:resource limit:ptr
164 setrlimit resource:resource limit:time
165 getrusage who:int usage:ptr
166 umask mask:oct
167 prctl option:int a2:hex a3:hex a4:hex a5:hex
168 getcpu cpu:ptr node:ptr cache:ptr
169 gettimeofday time:timeout zone:ptr
170 settimeofday time:time zone:ptr
171 adjtimex timex:ptr
172 getpid
173 getppid
174 getuid
175 geteuid
176 getgid
177 getegid
178 gettid
179 sysinfo info:ptr
180 mq_open name:str flags:open mode:mode attributes:ptr
181 mq_unlink name:str
182 mq_timedsend queue:fd message:in length:uint priority:uint timeout:time
183 mq_timedreceive queue:fd message:out length:uint priority:ptr timeout:time
184 mq_notify queue:fd event:ptr
185 mq_getsetattr queue:fd new:ptr old:ptr
186 msgget key:hex flags:hex
187 msgctl queue:int command:int buf:ptr
188 msgrcv queue:int message:ptr size:uint type:int flags:hex
189 msgsnd queue:int message:ptr size:uint flags:hex
190 semget key:hex count:int flags:hex
191 semctl set:int number:int command:int argument:hex
192 semtimedop set:int operations:ptr count:uint timeout:time
193 semop set:int operations:ptr count:uint
194 shmget key:hex size:uint flags:hex
195 shmctl id:int command:int buf:ptr
196 shmat id:int address:ptr flags:hex
197 shmdt address:ptr
198 socket family:family type:socktype protocol:int
199 socketpair family:family type:socktype protocol:int fds:pair
200 bind fd:fd address:sockaddr length:uint
201 listen fd:fd backlog:int
202 accept fd:fd address:ptr length:ptr
203 connect fd:fd address:sockaddr length:uint
204 getsockname fd:fd address:ptr length:ptr
205 getpeername fd:fd address:ptr length:ptr
206 sendto fd:fd buf:in length:uint flags:hex address:sockaddr addrlen:uint
207 recvfrom fd:fd buf:out length:uint flags:hex address:ptr addrlen:ptr
208 setsockopt fd:fd level:int option:int value:in length:uint
209 getsockopt fd:fd level:int option:int value:ptr length:ptr
210 shutdown fd:fd how:int
211 sendmsg fd:fd message:ptr flags:hex
212 recvmsg fd:fd message:ptr flags:hex
213 readahead fd:fd offset:off count:uint
214 brk address:ptr
215 munmap address:ptr length:uint
216 mremap address:ptr old:uint new:uint flags:hex to:ptr
217 add_key type:str description:str payload:in length:uint keyring:int
218 request_key type:str description:str info:str keyring:int
219 keyctl operation:int a2:hex a3:hex a4:hex a5:hex
220 clone flags:clone stack:ptr parent:ptr tls:ptr child:ptr
221 execve path:str argv:strs envp:ptr
222 mmap address:ptr length:uint prot:prot flags:map fd:fd offset:hex
223 fadvise64_64 fd:fd offset:off length:off advice:int
224 swapon path:str flags:hex
225 swapoff path:str
226 mprotect address:ptr length:uint prot:prot
227 msync address:ptr length:uint flags:hex
228 mlock address:ptr length:uint
229 munlock address:ptr length:uint
230 mlockall flags:hex
231 munlockall
232 mincore address:ptr length:uint vector:ptr
233 madvise address:ptr length:uint advice:advice
234 remap_file_pages address:ptr size:uint prot:prot offset:hex flags:map
235 mbind address:ptr length:uint mode:int nodes:ptr max:uint flags:hex
236 get_mempolicy mode:ptr nodes:ptr max:uint address:ptr flags:hex
237 set_mempolicy mode:int nodes:ptr max:uint
238 migrate_pages pid:int max:uint old:ptr new:ptr
239 move_pages pid:int count:uint pages:ptr nodes:ptr status:ptr flags:hex
240 rt_tgsigqueueinfo pid:int tid:int signal:sig info:ptr
241 perf_event_open attributes:ptr pid:int cpu:int group:fd flags:hex
242 accept4 fd:fd address:ptr length:ptr flags:hex
243 recvmmsg fd:fd messages:ptr count:uint flags:hex timeout:time
258 riscv_hwprobe pairs:ptr count:uint size:uint cpus:ptr flags:hex
259 riscv_flush_icache start:ptr end:ptr flags:hex
260 wait4 pid:int status:ptr options:wait usage:ptr
261 prlimit64 pid:int resource:resource new:ptr old:ptr
262 fanotify_init flags:hex eventflags:open
263 fanotify_mark fd:fd flags:hex mask:hex dirfd:dirfd path:str
264 name_to_handle_at dirfd:dirfd path:str handle:ptr mount:ptr flags:at
265 open_by_handle_at mount:fd handle:ptr flags:open
266 clock_adjtime clock:clock timex:ptr
267 syncfs fd:fd
268 setns fd:fd type:clone
269 sendmmsg fd:fd messages:ptr count:uint flags:hex
270 process_vm_readv pid:int local:ptr locals:uint remote:ptr remotes:uint flags:hex
271 process_vm_writev pid:int local:ptr locals:uint remote:ptr remotes:uint flags:hex
272 kcmp pid1:int pid2:int type:int index1:hex index2:hex
273 finit_module fd:fd parameters:str flags:hex
274 sched_setattr pid:int attributes:ptr flags:hex
275 sched_getattr pid:int attributes:ptr size:uint flags:hex
276 renameat2 olddirfd:dirfd old:str newdirfd:dirfd new:str flags:hex
277 seccomp operation:int flags:hex arguments:ptr
278 getrandom buf:out length:uint flags:hex
279 memfd_create name:str flags:hex
280 bpf command:int attributes:ptr size:uint
281 execveat dirfd:dirfd path:str argv:strs envp:ptr flags:at
282 userfaultfd flags:open
283 membarrier command:int flags:hex cpu:int
284 mlock2 address:ptr length:uint flags:hex
285 copy_file_range in:fd inoff:ptr out:fd outoff:ptr length:uint flags:hex
286 preadv2 fd:fd iov:ptr count:int low:off high:off flags:hex
287 pwritev2 fd:fd iov:ptr count:int low:off high:off flags:hex
288 pkey_mprotect address:ptr length:uint prot:prot key:int
289 pkey_alloc flags:hex rights:hex
290 pkey_free key:int
291 statx dirfd:dirfd path:str flags:at mask:hex buf:ptr
292 io_pgetevents ctx:hex min:int nr:int events:ptr timeout:time mask:ptr
293 rseq area:ptr length:uint flags:hex signature:hex
294 kexec_file_load kernel:fd initrd:fd length:uint cmdline:str flags:hex
424 pidfd_send_signal pidfd:fd signal:sig info:ptr flags:hex
425 io_uring_setup entries:uint parameters:ptr
426 io_uring_enter fd:fd submit:uint complete:uint flags:hex mask:ptr size:uint
427 io_uring_register fd:fd opcode:int argument:ptr count:uint
428 open_tree dirfd:dirfd path:str flags:hex
429 move_mount fromdirfd:dirfd from:str todirfd:dirfd to:str flags:hex
430 fsopen type:str flags:hex
431 fsconfig fd:fd command:int key:str value:ptr aux:int
432 fsmount fd:fd flags:hex attributes:hex
433 fspick dirfd:dirfd path:str flags:hex
434 pidfd_open pid:int flags:hex
435 clone3 arguments:ptr size:uint
436 close_range first:fd last:fd flags:hex
437 openat2 dirfd:dirfd path:str how:ptr size:uint
438 pidfd_getfd pidfd:fd target:fd flags:hex
439 faccessat2 dirfd:dirfd path:str mode:access flags:at
440 process_madvise pidfd:fd iov:ptr count:uint advice:advice flags:hex
441 epoll_pwait2 epfd:fd events:ptr max:int timeout:time mask:ptr size:uint
442 mount_setattr dirfd:dirfd path:str flags:at attributes:ptr size:uint
443 quotactl_fd fd:fd command:hex id:int address:ptr
444 landlock_create_ruleset attributes:ptr size:uint flags:hex
445 landlock_add_rule ruleset:fd type:int attributes:ptr flags:hex
446 landlock_restrict_self ruleset:fd flags:hex
447 memfd_secret flags:hex
448 process_mrelease pidfd:fd flags:hex
449 futex_waitv waiters:ptr count:uint flags:hex timeout:time clock:clock
450 set_mempolicy_home_node start:ptr length:uint node:uint flags:hex
451 cachestat fd:fd range:ptr stat:ptr flags:hex
452 fchmodat2 dirfd:dirfd path:str mode:oct flags:at
453 map_shadow_stack address:ptr size:uint flags:hex
454 futex_wake address:ptr mask:hex count:int flags:hex
455 futex_wait address:ptr value:uint mask:hex flags:hex timeout:time clock:clock
456 futex_requeue waiters:ptr flags:hex wake:int requeue:int
457 statmount request:ptr buf:ptr size:uint flags:hex
458 listmount request:ptr ids:ptr count:uint flags:hex
459 lsm_get_self_attr attribute:uint context:ptr size:ptr flags:hex
460 lsm_set_self_attr attribute:uint context:ptr size:uint flags:hex
461 lsm_list_modules ids:ptr size:ptr flags:hex
462 mseal start:ptr length:uint flags:hex
"""

# The kernel's name of a call where people know it by another.
_KNOWN_AS = {"newuname": "uname", "fadvise64_64": "fadvise64"}


@dataclass(frozen=True)
class Call:
    """A system call: its number, the name it is known by, the kernel's own name, its arguments."""

    number: int
    name: str
    symbol: str
    arguments: tuple[tuple[str, str], ...]  # (name, kind)
    returns: bool

    @property
    def mask(self) -> int:
        """What the core copies: Machine.trace.call of this number, without TRACE_CALL_WANTED."""
        bits = sum(KINDS[kind] << 4 * i for i, (_, kind) in enumerate(self.arguments))
        return bits | (0 if self.returns else CONSTANTS["TRACE_CALL_ENDS"])


@cache
def calls() -> dict[int, Call]:
    """All of them, by number."""
    found = {}
    for line in _TABLE.strip().splitlines():
        number, name, *arguments = line.split()
        symbol = name.rstrip("!")
        pairs = tuple((argument.split(":")[0], argument.split(":")[1]) for argument in arguments)
        found[int(number)] = Call(int(number), _KNOWN_AS.get(symbol, symbol), symbol, pairs, not name.endswith("!"))
    return found


@cache
def by_name() -> dict[str, Call]:
    """By both names."""
    return {**{call.symbol: call for call in calls().values()}, **{call.name: call for call in calls().values()}}

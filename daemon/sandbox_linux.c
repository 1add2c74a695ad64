/* daemon/sandbox_linux.c - the system calls of each sandbox, by seccomp
 *
 * The lists are what tests/system were seen to make, read through and cut. A process that makes another is
 * killed (SIGSYS), which the monitor's log says, or refused where it runs code of others; with --sandbox=log
 * it is let through and in the kernel's log.
 *
 * How to add one: run the test with --sandbox=log, look the number up ("syscall=" in dmesg or the audit
 * log), and ask what somebody who has taken the role over could do with it. tests/unit/daemon/test_sandbox.c
 * counts what a network may do and tries what nobody may.
 */
#include "daemon/sandbox.h"

#include <errno.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEADLY = -1 };

struct call_rule {
    int call;
    int error; /* 0: allowed; DEADLY; else what is answered */
    unsigned argument;
    uint64_t mask, value; /* only if that argument, masked, is the value; mask 0: whatever it is */
};

/* An int is half of what the kernel gets; the other half may be anything. */
#define INT_MASK 0xFFFFFFFFu

#define NAMESPACES                                                                                           \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |            \
     CLONE_NEWNET)

#define ALLOW(name)                                                                                          \
    {                                                                                                        \
        .call = SCMP_SYS(name)                                                                               \
    }
#define ALLOW_IF(name, number, its_mask, its_value)                                                          \
    {                                                                                                        \
        .call = SCMP_SYS(name), .argument = (number), .mask = (its_mask), .value = (its_value)               \
    }
#define REFUSE(name, with)                                                                                   \
    {                                                                                                        \
        .call = SCMP_SYS(name), .error = (with)                                                              \
    }

/* The way of a frame, first, because the kernel may look at one after the other. */
static const struct call_rule frames[] = {
    ALLOW(recvmmsg), ALLOW(sendmmsg),    ALLOW(recvfrom), ALLOW(sendmsg),       ALLOW(recvmsg),
    ALLOW(sendto),   ALLOW(epoll_pwait), ALLOW(read),     ALLOW(epoll_wait),    ALLOW(writev),
    ALLOW(poll),     ALLOW(ppoll),       ALLOW(write),    ALLOW(clock_gettime),
};

/* What a process is made of: memory without code, time, signals, the end; and sockets that it was given.
 * tgkill is abort()'s, and added with the process's own number. */
static const struct call_rule process[] = {
    ALLOW(close),
    ALLOW(fcntl),
    ALLOW_IF(ioctl, 1, INT_MASK, FIONBIO),
    ALLOW_IF(mmap, 2, PROT_EXEC, 0),
    ALLOW(munmap),
    ALLOW(mremap),
    ALLOW(madvise),
    ALLOW(brk),
    ALLOW(futex),
    ALLOW(getrandom),
    ALLOW(fstat),
    ALLOW(newfstatat),
    ALLOW(getpid),
    ALLOW(gettid),
    ALLOW(getuid),
    ALLOW(rt_sigaction),
    ALLOW(rt_sigprocmask),
    ALLOW(rt_sigreturn),
    ALLOW(restart_syscall),
    ALLOW(exit_group),
    ALLOW(getsockopt),
    ALLOW(setsockopt),
    ALLOW(getsockname),
    ALLOW(getpeername),
    ALLOW(shutdown),
    ALLOW(connect),
    ALLOW(accept4),
};

/* It opens nothing: sockets are passed to it. The one it makes is to ask whether a datagram client still
 * listens. The C library may look for the time zone, and lives with UTC. */
static const struct call_rule network[] = {
    ALLOW(epoll_ctl),
    ALLOW_IF(socket, 0, INT_MASK, AF_UNIX),
    REFUSE(openat, EACCES),
};

/* A front end makes the pair between its network and its uplink. */
static const struct call_rule front[] = {
    ALLOW_IF(socketpair, 0, INT_MASK, AF_UNIX),
};

/* libslirp: the outside, and /etc/resolv.conf. No unix socket: the host's services are not the outside. */
static const struct call_rule uplink[] = {
    ALLOW_IF(socket, 0, INT_MASK, AF_INET),
    ALLOW_IF(socket, 0, INT_MASK, AF_INET6),
    ALLOW(bind),
    ALLOW(listen),
    ALLOW(accept),
    ALLOW_IF(ioctl, 1, INT_MASK, FIONREAD),
    ALLOW_IF(prlimit64, 0, INT_MASK, 0), /* its own */
    ALLOW(openat),
    ALLOW(lseek),
};

/* The state folder; users and groups, for which the C library may ask a service on a unix socket; the
 * kernel, by netlink, for interfaces and routes. */
static const struct call_rule control[] = {
    ALLOW(pread64),
    ALLOW(pselect6), /* libmicrohttpd's turn */
    ALLOW(select),
    ALLOW(gettimeofday),
    ALLOW(epoll_ctl),
    ALLOW_IF(socket, 0, INT_MASK, AF_UNIX),
    ALLOW_IF(socket, 0, INT_MASK, AF_NETLINK),
    ALLOW_IF(socketpair, 0, INT_MASK, AF_UNIX),
    ALLOW_IF(ioctl, 1, INT_MASK, SIOCGIFINDEX),
    ALLOW_IF(ioctl, 1, INT_MASK, SIOCGIFNAME),
    ALLOW(bind),
    ALLOW(openat),
    ALLOW(lseek),
    ALLOW(flock),
    ALLOW(fsync),
    ALLOW(dup),
    ALLOW(readlink),
    ALLOW(readlinkat),
    ALLOW(getdents64),
    ALLOW(mkdir),
    ALLOW(mkdirat),
    ALLOW(unlinkat),
    ALLOW(renameat),
    ALLOW(access),
    ALLOW(faccessat),
    ALLOW(faccessat2),
    ALLOW(geteuid),
    ALLOW(uname),
};

/* The kernel's rules, and dnsmasq, which inherits all this. */
static const struct call_rule nat[] = {
    /* to start it, and to end it */
    ALLOW_IF(clone, 0, NAMESPACES, 0),
    REFUSE(clone3, ENOSYS), /* whose flags are behind a pointer; clone does as well */
    ALLOW(vfork),
    ALLOW(execve),
    ALLOW(wait4),
    ALLOW(pidfd_open),
    ALLOW(kill),
    ALLOW(tgkill),
    ALLOW(setpgid),
    ALLOW(getppid),
    ALLOW(prctl),
    ALLOW(capget),
    ALLOW(capset),
    ALLOW(close_range),
    ALLOW(dup),
    ALLOW(dup2),
    ALLOW(dup3),
    ALLOW(pipe),
    ALLOW(pipe2),
    /* programs and libraries that are loaded */
    ALLOW(mmap),
    ALLOW(mprotect),
    ALLOW(arch_prctl),
    ALLOW(set_tid_address),
    ALLOW(set_robust_list),
    ALLOW(rseq),
    ALLOW(prlimit64),
    ALLOW(sched_getaffinity),
    ALLOW(pread64),
    ALLOW(readlink),
    ALLOW(readlinkat),
    /* its files */
    ALLOW(openat),
    ALLOW(access),
    ALLOW(faccessat),
    ALLOW(faccessat2),
    ALLOW(lseek),
    ALLOW(getdents64),
    ALLOW(ftruncate),
    ALLOW(fsync),
    ALLOW(rename),
    ALLOW(renameat),
    ALLOW(renameat2),
    ALLOW(unlink),
    ALLOW(unlinkat),
    ALLOW(umask),
    ALLOW(getcwd),
    ALLOW(chdir),
    ALLOW(inotify_init1),
    ALLOW(inotify_add_watch),
    /* interfaces, rules, DHCP, DNS */
    ALLOW_IF(socket, 0, INT_MASK, AF_UNIX),
    ALLOW_IF(socket, 0, INT_MASK, AF_INET),
    ALLOW_IF(socket, 0, INT_MASK, AF_INET6),
    ALLOW_IF(socket, 0, INT_MASK, AF_NETLINK),
    ALLOW(socketpair),
    ALLOW(bind),
    ALLOW(listen),
    ALLOW(accept),
    ALLOW(ioctl),
    ALLOW(pselect6),
    /* who and when */
    ALLOW(geteuid),
    ALLOW(getgid),
    ALLOW(getpgrp),
    ALLOW(getegid),
    ALLOW(getgroups),
    ALLOW(uname),
    ALLOW(alarm),
    ALLOW(nanosleep),
    ALLOW(clock_nanosleep),
};

/* Control looks users and groups up, for which a host may have modules of its own (LDAP, systemd), and nat
 * has dnsmasq: code of others, whose next version may want something else. So what is on none of the lists is
 * refused and kills nobody, but for this, which none of them has a reason for. */
static const struct call_rule deadly[] = {
    REFUSE(execveat, DEADLY),
    REFUSE(ptrace, DEADLY),
    REFUSE(process_vm_readv, DEADLY),
    REFUSE(mount, DEADLY),
    REFUSE(process_vm_writev, DEADLY),
    REFUSE(unshare, DEADLY),
    REFUSE(setns, DEADLY),
    REFUSE(bpf, DEADLY),
    REFUSE(io_uring_setup, DEADLY),
    REFUSE(userfaultfd, DEADLY),
    REFUSE(init_module, DEADLY),
    REFUSE(finit_module, DEADLY),
    REFUSE(kexec_load, DEADLY),
    REFUSE(perf_event_open, DEADLY),
    REFUSE(chroot, DEADLY),
    REFUSE(pivot_root, DEADLY),
    REFUSE(pidfd_getfd, DEADLY),
};

static bool runs_code_of_others(enum sandbox sandbox)
{
    return sandbox == SANDBOX_CONTROL || sandbox == SANDBOX_NAT;
}

#if defined(__SANITIZE_ADDRESS__)
/* What the sanitizers' own code does, most of it at the end: the leak checker is a thread that stops the
 * others as a debugger does, and reports read what is mapped. A build for tests only. */
static const struct call_rule sanitizer[] = {
    ALLOW(clone),      ALLOW(clone3),
    ALLOW(ptrace),     ALLOW(wait4),
    ALLOW(prctl),      ALLOW(open),
    ALLOW(stat),       ALLOW(lstat),
    ALLOW(getdents),   ALLOW(tkill),
    ALLOW(kill),       ALLOW(openat),
    ALLOW(getdents64), ALLOW(readlink),
    ALLOW(readlinkat), ALLOW(sigaltstack),
    ALLOW(mprotect),   ALLOW(sched_yield),
    ALLOW(getppid),    ALLOW(mmap),
    ALLOW(nanosleep),  ALLOW(clock_nanosleep),
    ALLOW(prlimit64),  ALLOW(process_vm_readv),
    ALLOW(tgkill),     ALLOW(set_robust_list),
    ALLOW(rseq),       ALLOW(sched_getaffinity),
    ALLOW(lseek),      ALLOW(pread64),
    ALLOW(getuid),     ALLOW(geteuid),
    ALLOW(pipe2),      ALLOW(pipe),
    ALLOW(dup2),       ALLOW(access),
};
#endif

/* ---- loading ---- */

struct filter {
    scmp_filter_ctx context;
    uint32_t otherwise; /* the action that need not be added */
    bool is_log;        /* nothing is refused */
    uint8_t priority;   /* of the next rule */
    int error;
};

static void add(struct filter *filter, const struct call_rule *rule)
{
    const uint32_t action = rule->error == DEADLY ? SCMP_ACT_KILL_PROCESS
                            : rule->error         ? SCMP_ACT_ERRNO((uint16_t)rule->error)
                                                  : SCMP_ACT_ALLOW;
    const struct scmp_arg_cmp compare = {
        .arg = rule->argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = rule->mask, .datum_b = rule->value};
    if (filter->error || (filter->is_log && rule->error))
        return;
    const int r = seccomp_rule_add_array(filter->context, action, rule->call, rule->mask ? 1 : 0, &compare);
    filter->error = r == -EEXIST ? 0 : r; /* the first counts */
    /* One that this machine does not have has no place. */
    if (filter->priority)
        (void)seccomp_syscall_priority(filter->context, rule->call, filter->priority--);
}

#define ADD_ALL(filter, rules) add_rules((filter), (rules), sizeof(rules) / sizeof((rules)[0]))

static void add_rules(struct filter *filter, const struct call_rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add(filter, &rules[i]);
}

static void add_role(struct filter *filter, enum sandbox sandbox)
{
    const struct call_rule own_end =
        ALLOW_IF(tgkill, 0, INT_MASK, (uint32_t)getpid()); /* abort() sends itself a signal */
#if defined(__SANITIZE_ADDRESS__)
    ADD_ALL(filter, sanitizer);
#endif
    ADD_ALL(filter, frames);
    ADD_ALL(filter, process);
    add(filter, &own_end);
    if (sandbox == SANDBOX_NETWORK || sandbox == SANDBOX_FRONT)
        ADD_ALL(filter, network);
    if (sandbox == SANDBOX_FRONT)
        ADD_ALL(filter, front);
    else if (sandbox == SANDBOX_UPLINK)
        ADD_ALL(filter, uplink);
    else if (sandbox == SANDBOX_NAT)
        ADD_ALL(filter, nat);
    else if (sandbox == SANDBOX_CONTROL)
        ADD_ALL(filter, control);
    if (runs_code_of_others(sandbox))
        ADD_ALL(filter, deadly);
}

static int load(struct filter *filter, enum sandbox sandbox)
{
    filter->context = seccomp_init(filter->otherwise);
    if (!filter->context) /* the kernel does not know that action, or will not say */
        return -ENOSYS;
    /* Calls of another kind, of 32 bits on a machine of 64, are a way around every number above. */
    filter->error = seccomp_attr_set(filter->context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    /* A tree, where the library can make one: the order does not matter then. */
    (void)seccomp_attr_set(filter->context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    add_role(filter, sandbox);
    if (!filter->error)
        filter->error = seccomp_load(filter->context);
    seccomp_release(filter->context);
#if defined(__GLIBC__)
    (void)malloc_trim(0); /* what the making of it took, an idle process need not keep */
#endif
    return filter->error;
}

int sandbox_filter_calls(enum sandbox sandbox, enum sandbox_mode mode, char *ret_why, size_t why_size)
{
    struct filter filter = {.otherwise = mode == SANDBOX_LOG            ? SCMP_ACT_LOG
                                         : runs_code_of_others(sandbox) ? SCMP_ACT_ERRNO(EPERM)
                                                                        : SCMP_ACT_KILL_PROCESS,
                            .is_log = mode == SANDBOX_LOG,
                            .priority = UINT8_MAX};
    const int r = load(&filter, sandbox);
    if (r == 0)
        return 0;
    snprintf(ret_why, why_size, "no seccomp: %s", strerror(-r));
    return -1;
}

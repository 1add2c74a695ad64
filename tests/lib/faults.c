/* tests/lib/faults.c - see faults.h
 *
 * With FAULTS_DIR (vmswitchd_faulty) each process maps the file FAULTS_DIR/<pid>, a struct fault for each
 * kind, before main(); one that has a role begins with what is in FAULTS_DIR/plan.<role>, if that is there.
 * Nothing here allocates: it runs inside malloc, and under the sanitizers before they are ready.
 */
#include "tests/lib/faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef FAULTS_DIR
#include "daemon/sandbox.h"
#endif

/* Under the sanitizers these are theirs, which know what is a leak. */
#ifdef FAULTS_SANITIZED
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif
void *REAL(memalign)(size_t align, size_t size);
void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *old, size_t size);

static struct fault own[FAULT_N];
static struct fault *volatile faults = own;
#ifdef FAULTS_DIR
static struct fault spared[FAULT_N];
#endif

static bool fails(enum fault_kind kind)
{
    struct fault *fault = &faults[kind];
    const uint64_t number = __atomic_fetch_add(&fault->calls, 1, __ATOMIC_RELAXED);

    if (number < fault->from || number >= fault->until)
        return false;
    __atomic_fetch_add(&fault->hits, 1, __ATOMIC_RELAXED);
    errno = (int)fault->error;
    return true;
}

void faults_arm(enum fault_kind kind, uint64_t k, uint64_t n, int error)
{
    struct fault *fault = &faults[kind];

    fault->hits = 0;
    fault->error = (uint64_t)error;
    fault->from = fault->calls + k;
    fault->until = fault->from + n;
}

uint64_t faults_disarm(enum fault_kind kind)
{
    faults[kind].until = 0;
    return faults[kind].hits;
}

uint64_t faults_calls(enum fault_kind kind)
{
    return faults[kind].calls;
}

/* ---- where another process reads and writes ---- */

#ifdef FAULTS_DIR
static void read_role(char *role, size_t size)
{
    static const char word[] = "--role=";
    char line[1024];
    const int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd >= 0 ? read(fd, line, sizeof(line) - 1) : -1;

    if (fd >= 0)
        close(fd);
    line[n > 0 ? n : 0] = '\0';
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(line + at) + 1)
        if (strncmp(line + at, word, sizeof(word) - 1) == 0)
            snprintf(role, size, "%s", line + at + sizeof(word) - 1);
}

static void read_plan(struct fault *page)
{
    char path[256], role[32] = "monitor";
    int fd;

    read_role(role, sizeof(role));
    snprintf(path, sizeof(path), "%s/plan.%s", FAULTS_DIR, role);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, page, sizeof(own)) != (ssize_t)sizeof(own))
        memset(page, 0, sizeof(own));
    close(fd);
}

static void __attribute__((constructor)) map_page(void)
{
    char path[256];
    void *page = MAP_FAILED;
    int fd;

    snprintf(path, sizeof(path), "%s/%d", FAULTS_DIR, (int)getpid());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    if (ftruncate(fd, sizeof(own)) == 0)
        page = mmap(NULL, sizeof(own), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED)
        return;
    read_plan(page);
    faults = page;
}

/* libseccomp without memory crashes, or makes a filter that lacks calls, which ends the process as well;
 * glibc crashes while it loads what it looks users up with (docs/testing.md). What they take does not count.
 */
#define SPARED(type, name, declared, given)                                                                  \
    type __real_##name declared;                                                                             \
    type __wrap_##name declared;                                                                             \
    type __wrap_##name declared                                                                              \
    {                                                                                                        \
        struct fault *counted = faults;                                                                      \
        type ret;                                                                                            \
                                                                                                             \
        faults = spared;                                                                                     \
        ret = __real_##name given;                                                                           \
        faults = counted;                                                                                    \
        return ret;                                                                                          \
    }

SPARED(int, sandbox_filter_calls, (enum sandbox sandbox, enum sandbox_mode mode, char *ret_why, size_t size),
       (sandbox, mode, ret_why, size))
SPARED(struct passwd *, getpwnam, (const char *user), (user))
SPARED(struct group *, getgrnam, (const char *group), (group))
#endif

/* ---- memory ---- */

void *malloc(size_t size)
{
    return fails(FAULT_MEMORY) ? NULL : REAL(malloc)(size);
}

void *calloc(size_t n, size_t size)
{
    return fails(FAULT_MEMORY) ? NULL : REAL(calloc)(n, size);
}

void *realloc(void *old, size_t size)
{
    return fails(FAULT_MEMORY) ? NULL : REAL(realloc)(old, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    return fails(FAULT_MEMORY) ? NULL : REAL(memalign)(align, size);
}

/* Under the sanitizers theirs does not come to malloc() above. */
char *strdup(const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = malloc(size);

    return copy ? memcpy(copy, text, size) : NULL;
}

/* ---- system calls ---- */

/* The next definition of 'name' after ours, with our own type. */
#define NEXT(name)                                                                                           \
    static __typeof__(&(name)) next;                                                                         \
    if (!next)                                                                                               \
    *(void **)(void *)&next = dlsym(RTLD_NEXT, #name)

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *len, int flags)
{
    NEXT(accept4);
    return fails(FAULT_ACCEPT) ? -1 : next(fd, address, len, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    NEXT(recvmsg);
    return fails(FAULT_RECVMSG) ? -1 : next(fd, message, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    NEXT(sendmsg);
    /* Of descriptors alone: too many are on their way. */
    if (faults[FAULT_SENDMSG].error == ETOOMANYREFS && !message->msg_controllen)
        return next(fd, message, flags);
    return fails(FAULT_SENDMSG) ? -1 : next(fd, message, flags);
}

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
    NEXT(recv);
    return fails(FAULT_RECV) ? -1 : next(fd, bytes, len, flags);
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
    NEXT(send);
    return fails(FAULT_SEND) ? -1 : next(fd, bytes, len, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags, struct timespec *timeout)
{
    NEXT(recvmmsg);
    return fails(FAULT_RECVMMSG) ? -1 : next(fd, messages, n, flags, timeout);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags)
{
    NEXT(sendmmsg);
    return fails(FAULT_SENDMMSG) ? -1 : next(fd, messages, n, flags);
}

int socket(int domain, int type, int protocol)
{
    NEXT(socket);
    return fails(FAULT_SOCKET) ? -1 : next(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
    NEXT(socketpair);
    return fails(FAULT_SOCKETPAIR) ? -1 : next(domain, type, protocol, fds);
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    NEXT(connect);
    return fails(FAULT_CONNECT) ? -1 : next(fd, address, len);
}

int openat(int dir_fd, const char *path, int flags, ...)
{
    NEXT(openat);
    mode_t mode = 0;
    va_list args;

    if (flags & (O_CREAT | O_TMPFILE)) {
        va_start(args, flags);
        mode = va_arg(args, mode_t); /* NOLINT(clang-analyzer-valist.Uninitialized): it is, a line above */
        va_end(args);
    }
    return fails(FAULT_OPENAT) ? -1 : next(dir_fd, path, flags, mode);
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    NEXT(epoll_wait);
    return fails(FAULT_WAIT) ? -1 : next(fd, events, max, timeout);
}

int epoll_pwait(int fd, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
    NEXT(epoll_pwait);
    return fails(FAULT_WAIT) ? -1 : next(fd, events, max, timeout, mask);
}

int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    NEXT(poll);
    return fails(FAULT_WAIT) ? -1 : next(fds, n, timeout);
}

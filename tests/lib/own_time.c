/* tests/lib/own_time.c - a test's clock stands still while other processes have the processor
 *
 * Linked into a test of times, it takes the place of the C library's monotonic clock for the test, what it
 * tests and libuv: what they see is the processor time of their own process and the time that they have
 * slept. So a wait of 1 ms lasts 1 ms and a deadline comes when it is due, however busy the machine is, and
 * what a test asserts about times stays as sharp as it is on a machine of its own.
 *
 * A sleep counts as what was asked for at most: what it takes longer is others' doing.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MS_NS = 1000000, S_NS = 1000000000 };

static uint64_t slept_ns;

static uint64_t read_clock(clockid_t id)
{
    struct timespec now = {.tv_sec = 0};

    syscall(SYS_clock_gettime, id, &now);
    return (uint64_t)now.tv_sec * S_NS + (uint64_t)now.tv_nsec;
}

int clock_gettime(clockid_t id, struct timespec *ret_now)
{
    uint64_t now_ns;

    if (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE)
        return (int)syscall(SYS_clock_gettime, id, ret_now);
    /* Not from 0: some read that as "never". */
    now_ns = (uint64_t)S_NS + read_clock(CLOCK_PROCESS_CPUTIME_ID) + slept_ns;
    *ret_now =
        (struct timespec){.tv_sec = (time_t)(now_ns / S_NS), .tv_nsec = (long)(now_ns % (uint64_t)S_NS)};
    return 0;
}

/* A sleep that began at 'begin_ns' and was to last 'timeout_ms' at most (negative: any time) is over. */
static void wake(uint64_t begin_ns, int timeout_ms)
{
    const int error = errno;
    const uint64_t took_ns = read_clock(CLOCK_MONOTONIC) - begin_ns;
    const uint64_t most_ns = (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * MS_NS;

    slept_ns += timeout_ms < 0 || took_ns < most_ns ? took_ns : most_ns;
    errno = error;
}

int epoll_pwait(int fd, struct epoll_event *events, int max, int timeout_ms, const sigset_t *mask)
{
    const uint64_t begin_ns = read_clock(CLOCK_MONOTONIC);
    const int n = (int)syscall(SYS_epoll_pwait, fd, events, max, timeout_ms, mask, _NSIG / 8);

    wake(begin_ns, timeout_ms);
    return n;
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
    return epoll_pwait(fd, events, max, timeout_ms, NULL);
}

int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    const uint64_t begin_ns = read_clock(CLOCK_MONOTONIC);
    const int n_ready = (int)syscall(SYS_poll, fds, n, timeout_ms);

    wake(begin_ns, timeout_ms);
    return n_ready;
}

int usleep(useconds_t us)
{
    const struct timespec length = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};
    const int r = nanosleep(&length, NULL);

    slept_ns += (uint64_t)us * 1000;
    return r;
}

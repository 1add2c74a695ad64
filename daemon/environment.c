#include "daemon/environment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/log.h"

extern char **environ;

static int open_standard_fds(void)
{
    struct stat st;
    for (int fd = 0; fd <= STDERR_FILENO; fd++) {
        /* open() takes the lowest number, which is this one. */
        if (fstat(fd, &st) < 0 && open("/dev/null", O_RDWR) < 0)
            return -errno;
    }
    return 0;
}

static bool is_kept(int fd, const int *kept, size_t n_kept)
{
    for (size_t i = 0; i < n_kept; i++) {
        if (kept[i] == fd)
            return true;
    }
    return fd <= STDERR_FILENO;
}

/* /dev/fd lists them on Linux and macOS alike; without it, every number is tried. */
static void close_inherited_fds(const int *kept, size_t n_kept)
{
    DIR *dir = opendir("/dev/fd");
    if (!dir) {
        for (int fd = STDERR_FILENO + 1; fd < ENVIRONMENT_FDS_MAX; fd++) {
            if (!is_kept(fd, kept, n_kept))
                close(fd);
        }
        return;
    }
    bool is_more = true;
    while (is_more) { /* closing while listing may skip entries: until a pass finds none */
        is_more = false;
        rewinddir(dir);
        const struct dirent *entry;
        while ((entry = readdir(dir))) {
            long fd = strtol(entry->d_name, NULL, 10); /* 0 for ".", which is kept */
            if (!is_kept((int)fd, kept, n_kept) && fd != dirfd(dir) && close((int)fd) == 0)
                is_more = true;
        }
    }
    closedir(dir);
}

/* Handlers do not survive an exec, ignored signals do. */
static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int signal_number = 1; signal_number < NSIG; signal_number++) {
        struct sigaction action;
        if (sigaction(signal_number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            signal(signal_number, SIG_DFL);
    }
    signal(SIGPIPE, SIG_IGN); /* the log may be a pipe whose reader has gone */
}

static void reset_variables(void)
{
    static const char *const kept_names[] = {"HOME",         "LANG",          "TZ",
                                             "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"};
    enum { N_KEPT = sizeof(kept_names) / sizeof(kept_names[0]) };
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    static char no_uring[] =
        "UV_USE_IO_URING=0"; /* libuv would have the kernel make calls that no filter sees */
    static char *kept[N_KEPT + 3];
    size_t n = 0;
    kept[n++] = path;
    kept[n++] = no_uring;
    for (char **variable = environ; variable && *variable; variable++) {
        const char *equals = strchr(*variable, '=');
        size_t len = equals ? (size_t)(equals - *variable) : 0;
        for (size_t i = 0; i < N_KEPT && n <= N_KEPT + 1; i++) {
            if (len == strlen(kept_names[i]) && strncmp(*variable, kept_names[i], len) == 0)
                kept[n++] = *variable;
        }
    }
    kept[n] = NULL;
    environ = kept;
}

/* A soft limit of 1,024 is for programs that use select(); the hard one is what the administrator means. */
static void raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    rlim_t want = limit.rlim_max < ENVIRONMENT_FDS_MAX ? limit.rlim_max : ENVIRONMENT_FDS_MAX;
    if (limit.rlim_cur >= want)
        return;
    /* macOS says that there is no hard limit and refuses what is above one that it has all the same. */
    int r = -1;
    for (rlim_t next = want; r < 0 && next > limit.rlim_cur; next /= 2)
        r = setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = next, .rlim_max = limit.rlim_max});
    if (r < 0)
        log_warn("the limit of open files stays: %s", strerror(errno));
}

int environment_isolate(const int *kept, size_t n_kept)
{
    int r = open_standard_fds();
    if (r < 0)
        return r;
    close_inherited_fds(kept, n_kept);
    reset_signals();
    reset_variables();
    raise_fd_limit();
    umask(077);
    return 0;
}

int environment_reset(const int *kept, size_t n_kept)
{
    int r = environment_isolate(kept, n_kept);
    if (r < 0)
        return r;
    return chdir("/") < 0 ? -errno : 0;
}

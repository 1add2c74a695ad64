#include "daemon/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The pid another daemon wrote; for the message alone. 0 if there is none. */
static long written_pid(int fd)
{
    char text[64];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return strncmp(text, "pid ", 4) == 0 ? strtol(text + 4, NULL, 10) : 0;
}

static void write_holder(int fd)
{
    char text[128], since[32] = "?";
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm))
        strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", &tm);
    int len = snprintf(text, sizeof(text), "pid %ld\nsince %s\nversion %s\n", (long)getpid(), since,
                       VMSWITCH_VERSION);
    /* A full disk leaves an empty file: the lock holds all the same. */
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)len, 0) < 0)
        return;
}

static int refuse(int fd, int error, const char *dir, const char *what, char *why, size_t size)
{
    snprintf(why, size, "%s/%s %s", dir, LOCK_NAME, what);
    if (fd >= 0)
        close(fd);
    return -error;
}

int lock_take(int dir_fd, const char *dir, char *ret_why, size_t why_size)
{
    struct stat st;
    /* O_NONBLOCK: a FIFO in the way must not stop us. */
    int fd = openat(dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0 && errno == ELOOP)
        return refuse(-1, ELOOP, dir, "is a symbolic link; remove it", ret_why, why_size);
    if (fd < 0) {
        int error = errno;
        snprintf(ret_why, why_size, "%s/%s cannot be opened: %s", dir, LOCK_NAME, strerror(error));
        return -error;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid != geteuid())
        return refuse(fd, EPERM, dir, "is not a plain file of ours; remove it", ret_why, why_size);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int error = errno;
        if (error == EWOULDBLOCK)
            snprintf(ret_why, why_size,
                     "another vmswitchd (pid %ld) runs in %s; stop it, or say --runtime-dir", written_pid(fd),
                     dir);
        else
            snprintf(ret_why, why_size, "%s/%s cannot be locked: %s", dir, LOCK_NAME, strerror(error));
        close(fd);
        return -error;
    }
    fchmod(fd, 0644); /* the pid is for everyone to read */
    write_holder(fd);
    return fd;
}

void lock_release(int lock_fd)
{
    /* Closing unlocks, so even a failure to empty it is of no consequence. */
    if (ftruncate(lock_fd, 0) < 0)
        fsync(lock_fd);
    close(lock_fd);
}

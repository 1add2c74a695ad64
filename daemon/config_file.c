#include "daemon/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/config.h"

#define COPY_NAME ".configuration"

int config_file_open(const char *path, char *ret_why, size_t why_size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not stop us */
    if (fd < 0 || fstat(fd, &st) < 0) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        snprintf(ret_why, why_size, "the configuration %s: %s", path, strerror(error));
        return -error;
    }
    if (S_ISREG(st.st_mode))
        return fd;
    close(fd);
    snprintf(ret_why, why_size, "the configuration %s is not a plain file", path);
    return -EINVAL;
}

static int write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* pread: the offset is not ours alone. */
static int copy_bytes(int from, int to)
{
    char bytes[16384];
    for (off_t at = 0; at <= CONFIG_SIZE_MAX;) {
        ssize_t n = pread(from, bytes, sizeof(bytes), at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = write_all(to, bytes, (size_t)n);
        if (r < 0)
            return r;
        at += n;
    }
    return 0;
}

int config_file_copy(int fd, const char *path, int dir_fd, const char *dir, char *ret_why, size_t why_size)
{
    unlinkat(dir_fd, COPY_NAME, 0); /* of one that was killed at the next line */
    int copy = openat(dir_fd, COPY_NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = copy < 0 ? -errno : 0;
    if (r == 0) {
        unlinkat(dir_fd, COPY_NAME, 0);
        r = copy_bytes(fd, copy);
    }
    if (r == 0 && lseek(copy, 0, SEEK_SET) < 0)
        r = -errno;
    if (r == 0)
        return copy;
    if (copy >= 0)
        close(copy);
    snprintf(ret_why, why_size, "the configuration %s could not be copied to %s: %s", path, dir,
             strerror(-r));
    return r;
}

#include "daemon/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 1024 };

static int join(char path[PATH_SIZE], const char *folder, const char *name, const char *ending)
{
    const int n = snprintf(path, PATH_SIZE, "%s/%s%s", folder, name, ending);
    return n < 0 || n >= PATH_SIZE ? -ENAMETOOLONG : 0;
}

int text_file_write(const char *folder, const char *name, const char *text)
{
    char path[PATH_SIZE], whole[PATH_SIZE];
    const size_t len = strlen(text);
    int r = join(path, folder, name, ".new");
    r = r < 0 ? r : join(whole, folder, name, "");
    if (r < 0)
        return r;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    const ssize_t n = write(fd, text, len);
    r = n < 0 ? -errno : (size_t)n < len ? -ENOSPC : 0;
    close(fd);
    return r < 0 ? r : rename(path, whole) < 0 ? -errno : 0;
}

static char *read_all(int fd, size_t max, size_t *ret_len, int *ret_error)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        *ret_error = -EINVAL;
        return NULL;
    }
    if ((size_t)st.st_size > max) {
        *ret_error = -EFBIG;
        return NULL;
    }
    char *text = malloc((size_t)st.st_size + 1);
    const ssize_t n = text ? read(fd, text, (size_t)st.st_size) : -1;
    if (n < 0) {
        *ret_error = text ? -errno : -ENOMEM;
        free(text);
        return NULL;
    }
    text[n] = '\0';
    *ret_len = (size_t)n;
    return text;
}

char *text_file_read(const char *folder, const char *name, size_t max, size_t *ret_len, int *ret_error)
{
    char path[PATH_SIZE];
    *ret_len = 0;
    *ret_error = join(path, folder, name, "");
    if (*ret_error < 0)
        return NULL;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        *ret_error = -errno;
        return NULL;
    }
    char *text = read_all(fd, max, ret_len, ret_error);
    close(fd);
    return text;
}

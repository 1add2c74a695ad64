#include "tests/fake-sdk/fake_launch.h"

#include <errno.h>
#include <launch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static fake_launch_fn *behind;
static char path[108]; /* of FAKE_LAUNCHD; the daemon clears its environment */
static char asked[FAKE_LAUNCH_NAMES_MAX][64];
static size_t n_asked;

__attribute__((constructor)) static void remember_path(void)
{
    const char *value = getenv("FAKE_LAUNCHD");
    if (value)
        snprintf(path, sizeof(path), "%s", value);
}

void fake_launch_stand_behind(fake_launch_fn *fn)
{
    behind = fn;
    n_asked = 0;
}

static int connect_to_path(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, sizeof(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    fprintf(stderr, "fake_launch: nobody listens at %s\n", path);
    abort();
}

/* One message: "ERRNO\n" with what it carries. */
static int receive(int fd, int ret_fds[FAKE_LAUNCH_FDS_MAX], size_t *ret_n)
{
    char text[16] = "";
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * FAKE_LAUNCH_FDS_MAX)];
    struct iovec piece = {.iov_base = text, .iov_len = sizeof(text) - 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    *ret_n = 0;
    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) <= 0)
        return EIO;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS) {
        *ret_n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(ret_fds, CMSG_DATA(header), *ret_n * sizeof(int));
    }
    return (int)strtol(text, NULL, 10);
}

static int ask_path(const char *name, int ret_fds[FAKE_LAUNCH_FDS_MAX], size_t *ret_n)
{
    char line[128];
    if (!path[0])
        return ESRCH;
    int fd = connect_to_path();
    int len = snprintf(line, sizeof(line), "%s\n", name);
    int error = send(fd, line, (size_t)len, MSG_NOSIGNAL) == len ? receive(fd, ret_fds, ret_n) : EIO;
    close(fd);
    return error;
}

bool fake_launch_look_up(const char *service)
{
    char name[96];
    int none[FAKE_LAUNCH_FDS_MAX];
    size_t n = 0;
    snprintf(name, sizeof(name), "mach %s", service);
    return ask_path(name, none, &n) == 0;
}

static bool was_asked(const char *name)
{
    for (size_t i = 0; i < n_asked; i++)
        if (strcmp(asked[i], name) == 0)
            return true;
    return false;
}

int launch_activate_socket(const char *name, int **fds, size_t *cnt)
{
    int found[FAKE_LAUNCH_FDS_MAX];
    size_t n = 0;
    *fds = NULL;
    *cnt = 0;
    if (was_asked(name))
        return EALREADY;
    int error = behind ? behind(name, found, &n) : ask_path(name, found, &n);
    if (error)
        return error;
    if (n_asked < FAKE_LAUNCH_NAMES_MAX)
        snprintf(asked[n_asked++], sizeof(asked[0]), "%s", name);
    *fds = malloc(sizeof(found));
    memcpy(*fds, found, n * sizeof(int));
    *cnt = n;
    return 0;
}

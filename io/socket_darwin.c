/* io/socket_darwin.c - see socket_platform.h; single-threaded processes, so nobody forks in between */
#include "io/socket_platform.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static int cloexec(int fd)
{
    if (fd < 0)
        return -errno;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

int socket_open_cloexec(int type)
{
    return cloexec(socket(AF_UNIX, type, 0));
}

int socket_accept_cloexec(int fd)
{
    int accepted = cloexec(accept(fd, NULL, NULL));

    /* O_NONBLOCK is inherited from the listener here. */
    if (accepted >= 0)
        (void)fcntl(accepted, F_SETFL, 0);
    return accepted;
}

ssize_t socket_receive_message(int fd, struct msghdr *message)
{
    ssize_t n = recvmsg(fd, message, MSG_DONTWAIT);

    if (n < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            int received;

            memcpy(&received, (char *)c + at, sizeof received);
            (void)fcntl(received, F_SETFD, FD_CLOEXEC);
        }
    }
    return n;
}

int64_t socket_file_time_ns(const struct stat *st)
{
    return (int64_t)st->st_mtimespec.tv_sec * 1000000000 + st->st_mtimespec.tv_nsec;
}

void socket_set_no_sigpipe(int fd)
{
    int on = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
}

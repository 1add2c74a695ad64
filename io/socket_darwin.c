/* io/socket_darwin.c - see socket_platform.h; single-threaded processes, so nobody forks in between */
#include "io/socket_platform.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/time.h>

enum { SEND_WAIT_US = 1000 /* the shortest that is surely not rounded to 0, which is "for ever" */ };

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

    /* Inherited from the listener, which libuv polls; not left to that. */
    if (accepted >= 0)
        (void)fcntl(accepted, F_SETFL, O_NONBLOCK);
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

void socket_restore_blocking(int fd, int flags)
{
    /* A send would block the whole network. */
    (void)fd;
    (void)flags;
}

bool socket_hears_peer_only(void)
{
    return false;
}

void socket_set_send_options(int fd)
{
    const struct timeval wait = {.tv_sec = 0, .tv_usec = SEND_WAIT_US};
    int on = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
}

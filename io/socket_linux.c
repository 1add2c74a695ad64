/* io/socket_linux.c - see socket_platform.h */
#include "io/socket_platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

int socket_open_cloexec(int type)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    return fd < 0 ? -errno : fd;
}

int socket_accept_cloexec(int fd)
{
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    return accepted < 0 ? -errno : accepted;
}

ssize_t socket_receive_message(int fd, struct msghdr *message)
{
    ssize_t n = recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    return n < 0 ? -errno : n;
}

int64_t socket_file_time_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

void socket_restore_blocking(int fd, int flags)
{
    (void)fcntl(fd, F_SETFL, flags);
}

bool socket_hears_peer_only(void)
{
    return true;
}

void socket_set_send_options(int fd)
{
    /* Every send passes MSG_NOSIGNAL and MSG_DONTWAIT. */
    (void)fd;
}

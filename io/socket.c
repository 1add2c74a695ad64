/* io/socket.c - see socket.h */
#include "io/socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/piece.h"
#include "io/socket_platform.h"

/* What one message can carry: 253 on Linux (SCM_MAX_FD), 512 on XNU. All are taken, so that all can be
 * closed. */
enum { SOCKET_FDS = 512, SOCKET_BUFFER_MIN = 4096 };

int socket_check(int fd, enum link_kind *ret_kind)
{
    struct stat st;
    struct sockaddr_un address = {.sun_family = AF_UNSPEC};
    socklen_t len = sizeof address;
    int type = 0, listens = 0;
    struct pollfd poll_fd = {.fd = fd};

    if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
        return UV_ENOTSOCK;
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return UV_ENOTSOCK; /* an O_PATH descriptor of a socket file */
    if (address.sun_family != AF_UNIX)
        return UV_EPROTONOSUPPORT;
    len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || (type != SOCK_STREAM && type != SOCK_DGRAM))
        return UV_EPROTOTYPE;
    len = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens)
        return UV_EINVAL;
    len = sizeof address;
    if (getpeername(fd, (struct sockaddr *)&address, &len) < 0)
        return UV_ENOTCONN;
    /* The name of a stream's peer outlives it. */
    if (poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & POLLHUP))
        return UV_ENOTCONN;
    *ret_kind = type == SOCK_STREAM ? LINK_STREAM : LINK_DATAGRAM;
    return 0;
}

const char *socket_check_message(int error)
{
    switch (error) {
    case 0:
        return "the descriptor is fine";
    case UV_ENOTSOCK:
        return "the descriptor is not a socket";
    case UV_EPROTONOSUPPORT:
        return "the descriptor is a socket, but not a unix socket";
    case UV_EPROTOTYPE:
        return "the descriptor is a unix socket, but neither stream nor datagram";
    case UV_ENOTCONN:
        return "the descriptor is a unix socket, but not connected or its peer is gone";
    case UV_EINVAL:
        return "the descriptor is a listening socket";
    default:
        return "the descriptor cannot be used";
    }
}

static void set_buffer(int fd, int option, int bytes)
{
    while (setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof bytes) < 0 && bytes > SOCKET_BUFFER_MIN)
        bytes /= 2;
}

void socket_set_buffers(int fd, int bytes)
{
    set_buffer(fd, SO_SNDBUF, bytes);
    set_buffer(fd, SO_RCVBUF, bytes);
    socket_set_send_options(fd);
}

long socket_send_fd(int socket, const void *bytes, size_t len, int fd)
{
    struct iovec iov = piece_of(bytes, len);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (fd >= 0) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    n = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

/* Keeps the first descriptor if none is kept yet, closes and counts the others. */
static void take_descriptors(const struct cmsghdr *c, int *kept, unsigned *extra)
{
    size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

    for (size_t i = 0; i < n_fds; i++) {
        int fd;

        memcpy(&fd, (const char *)c + CMSG_LEN(0) + i * sizeof fd, sizeof fd);
        if (*kept < 0) {
            *kept = fd;
        } else {
            close(fd);
            (*extra)++;
        }
    }
}

long socket_receive_fd(int socket, void *bytes, size_t len, int *ret_fd, unsigned *ret_extra)
{
    struct iovec iov = {.iov_base = bytes, .iov_len = len};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(SOCKET_FDS * sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t n;

    *ret_fd = -1;
    *ret_extra = 0;
    n = socket_receive_message(socket, &message);
    if (n < 0)
        return n;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            take_descriptors(c, ret_fd, ret_extra);
    if (message.msg_flags & MSG_CTRUNC)
        (*ret_extra)++; /* what did not fit our limit of descriptors was closed by the kernel */
    return n;
}

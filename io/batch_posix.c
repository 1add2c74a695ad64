/* io/batch_posix.c - see batch_posix.h; also built and tested on Linux */
#include "io/batch_posix.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "io/piece.h"
#include "switch/frame.h"

void batch_close_descriptors(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t n_fds;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n_fds; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            close(fd);
        }
    }
}

socklen_t batch_from_len(socklen_t told)
{
    return told <= sizeof((struct batch_slot *)0)->from ? told : 0;
}

static ssize_t receive(int fd, struct msghdr *message)
{
    struct batch_control control;
    ssize_t n;

    message->msg_control = control.bytes;
    message->msg_controllen = sizeof control.bytes;
    n = recvmsg(fd, message, MSG_DONTWAIT);
    if (n < 0)
        return -errno;
    if (message->msg_controllen > 0)
        batch_close_descriptors(message);
    return n;
}

int batch_posix_receive(struct batch *batch, int fd, unsigned max, bool wants_sources)
{
    int n = 0;

    for (; n < (int)max; n++) {
        struct batch_slot *slot = &batch->slots[n];
        struct iovec iov = {.iov_base = slot->bytes, .iov_len = FRAME_LEN_MAX + 1};
        struct msghdr message = {.msg_name = wants_sources ? &slot->from : NULL,
                                 .msg_namelen = wants_sources ? sizeof slot->from : 0,
                                 .msg_iov = &iov,
                                 .msg_iovlen = 1};
        ssize_t len = receive(fd, &message);

        if (len < 0)
            return n > 0 ? n : (int)len;
        slot->len = (uint32_t)len;
        slot->from_len = batch_from_len(message.msg_namelen);
    }
    return n;
}

int batch_posix_send(int fd, const struct frame *const *frames, unsigned n, const struct sockaddr_un *to,
                     socklen_t to_len)
{
    unsigned i;

    for (i = 0; i < n && i < IO_DGRAM_SLOTS; i++) {
        struct iovec pieces[BATCH_PIECES];
        struct msghdr message = {.msg_name = piece_base(to), .msg_namelen = to_len, .msg_iov = pieces};

        if (frames[i]->n_rest >= BATCH_PIECES)
            return i > 0 ? (int)i : -EMSGSIZE;
        message.msg_iovlen += batch_lay_out(frames[i], pieces); /* its type differs between systems */
        if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            return i > 0 ? (int)i : -errno;
    }
    return (int)i;
}

ssize_t batch_posix_read(int fd, uint8_t *bytes, size_t len)
{
    struct iovec iov = {.iov_base = bytes, .iov_len = len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    return receive(fd, &message);
}

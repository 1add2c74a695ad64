/* io/batch_linux.c - recvmmsg and sendmmsg, see batch.h */
#include "io/batch.h"

#include <errno.h>

#include "io/piece.h"
#include "switch/frame.h"

int batch_receive(struct batch *batch, int fd, unsigned max, bool wants_sources)
{
    struct mmsghdr messages[IO_DGRAM_SLOTS];
    struct iovec iov[IO_DGRAM_SLOTS];
    int n;

    for (unsigned i = 0; i < max; i++) {
        struct batch_slot *slot = &batch->slots[i];

        iov[i] = (struct iovec){.iov_base = slot->bytes, .iov_len = FRAME_LEN_MAX + 1};
        messages[i].msg_hdr = (struct msghdr){.msg_name = wants_sources ? &slot->from : NULL,
                                              .msg_namelen = wants_sources ? sizeof slot->from : 0,
                                              .msg_iov = &iov[i],
                                              .msg_iovlen = 1};
    }
    n = recvmmsg(fd, messages, max, MSG_DONTWAIT, NULL);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        batch->slots[i].len = messages[i].msg_len;
        batch->slots[i].from_len = messages[i].msg_hdr.msg_namelen;
        /* A path of 108 bytes is told as 111: with a NUL for which there is no room (unix(7), BUGS). */
        if (batch->slots[i].from_len > sizeof batch->slots[i].from)
            batch->slots[i].from_len = sizeof batch->slots[i].from;
    }
    return n;
}

int batch_send(int fd, const struct batch_message *messages, unsigned n)
{
    struct mmsghdr headers[IO_DGRAM_SLOTS];
    int sent;

    if (n > IO_DGRAM_SLOTS)
        n = IO_DGRAM_SLOTS;
    for (unsigned i = 0; i < n; i++)
        headers[i].msg_hdr = (struct msghdr){.msg_name = piece_base(messages[i].to),
                                             .msg_namelen = messages[i].to ? messages[i].to_len : 0,
                                             .msg_iov = messages[i].iov,
                                             .msg_iovlen = messages[i].n_iov};
    sent = sendmmsg(fd, headers, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

ssize_t batch_read(int fd, uint8_t *bytes, size_t len)
{
    ssize_t n = recv(fd, bytes, len, MSG_DONTWAIT);

    return n < 0 ? -errno : n;
}

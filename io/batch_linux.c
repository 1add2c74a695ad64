/* io/batch_linux.c - recvmmsg and sendmmsg, see batch.h */
#include "io/batch.h"

#include <errno.h>

#include "io/piece.h"
#include "switch/frame.h"

/* The kernel reads 64 headers of 56 bytes for each call that may get so many; to write them anew each time
 * would cost a call that gets one datagram more than all the rest of its way. */
struct calls {
    bool is_ready;
    struct iovec parts[IO_DGRAM_SLOTS];
    struct mmsghdr plain[IO_DGRAM_SLOTS], sourced[IO_DGRAM_SLOTS], sent[IO_DGRAM_SLOTS];
    struct iovec pieces[IO_DGRAM_SLOTS][BATCH_PIECES]; /* of those sent */
};

_Static_assert(sizeof(struct calls) <= BATCH_CALLS, "room for what the calls are told");

static struct calls *calls_of(struct batch *batch)
{
    struct calls *calls = batch->calls;

    for (size_t i = 0; i < IO_DGRAM_SLOTS && !calls->is_ready; i++) {
        struct batch_slot *slot = &batch->slots[i];

        calls->parts[i] = (struct iovec){.iov_base = slot->bytes, .iov_len = FRAME_LEN_MAX + 1};
        calls->sent[i].msg_hdr = (struct msghdr){.msg_iov = calls->pieces[i]};
        calls->plain[i].msg_hdr = (struct msghdr){.msg_iov = &calls->parts[i], .msg_iovlen = 1};
        calls->sourced[i].msg_hdr = (struct msghdr){.msg_name = &slot->from,
                                                    .msg_namelen = sizeof slot->from,
                                                    .msg_iov = &calls->parts[i],
                                                    .msg_iovlen = 1};
    }
    calls->is_ready = true;
    return calls;
}

int batch_receive(struct batch *batch, int fd, unsigned max, bool wants_sources)
{
    struct calls *calls = calls_of(batch);
    struct mmsghdr *messages = wants_sources ? calls->sourced : calls->plain;
    int n = recvmmsg(fd, messages, max, MSG_DONTWAIT, NULL);

    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        struct batch_slot *slot = &batch->slots[i];

        slot->len = messages[i].msg_len;
        slot->from_len = messages[i].msg_hdr.msg_namelen;
        /* A path of 108 bytes is told as 111: with a NUL for which there is no room (unix(7), BUGS). */
        if (slot->from_len > sizeof slot->from)
            slot->from_len = sizeof slot->from;
        if (wants_sources)
            messages[i].msg_hdr.msg_namelen = sizeof slot->from; /* it said how long this one was */
    }
    return n;
}

int batch_send(struct batch *batch, int fd, const struct frame *const *frames, unsigned n,
               const struct sockaddr_un *to, socklen_t to_len)
{
    struct calls *calls = calls_of(batch);
    unsigned i;
    int sent;

    for (i = 0; i < n && i < IO_DGRAM_SLOTS && frames[i]->n_rest < BATCH_PIECES; i++) {
        struct msghdr *header = &calls->sent[i].msg_hdr;

        header->msg_name = piece_base(to);
        header->msg_namelen = to_len;
        header->msg_iovlen = batch_lay_out(frames[i], calls->pieces[i]);
    }
    if (i == 0)
        return -EMSGSIZE;
    sent = sendmmsg(fd, calls->sent, i, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

ssize_t batch_read(int fd, uint8_t *bytes, size_t len)
{
    ssize_t n = recv(fd, bytes, len, MSG_DONTWAIT);

    return n < 0 ? -errno : n;
}

bool batch_wakes_when_room(void)
{
    return true;
}

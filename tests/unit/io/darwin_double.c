/* tests/unit/io/darwin_double.c - see darwin_double.h */
#include "darwin_double.h"

#include <errno.h>
#include <string.h>

#include "io/piece.h"

enum { DATAGRAMS_MAX = 1024, CONTROL_SIZE = 4096, RECEIVED_MAX = 64 /* seen of one call to a VM */ };

struct darwin_double darwin_double;

void darwin_double_reset(void)
{
    darwin_double = (struct darwin_double){
        .room = 1000, .room_bytes = SIZE_MAX, .full_error = ENOBUFS, .len_max = 1024 * 1024};
}

static ssize_t refuse(int error)
{
    errno = error;
    return -1;
}

/* What holds of every call; XNU says EINVAL. */
static bool is_sane(const struct msghdr_x *messages, unsigned n, int flags)
{
    if (n == 0 || n > DATAGRAMS_MAX || flags != MSG_DONTWAIT)
        return false;
    for (unsigned i = 0; i < n; i++)
        if (messages[i].msg_flags != 0 || messages[i].msg_iovlen <= 0)
            return false;
    return true;
}

/* Takes one datagram; its control goes to 'control_of', a message that may not be its own. */
static ssize_t take(int fd, struct msghdr_x *message, struct msghdr_x *control_of, size_t *ret_control_len)
{
    union {
        struct cmsghdr align;
        char bytes[CONTROL_SIZE];
    } control;
    struct msghdr plain = {.msg_name = message->msg_name,
                           .msg_namelen = message->msg_namelen,
                           .msg_iov = message->msg_iov,
                           .msg_iovlen = (size_t)message->msg_iovlen,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
    ssize_t len = recvmsg(fd, &plain, MSG_DONTWAIT);

    if (len < 0)
        return -1;
    message->msg_datalen = (size_t)len;
    message->msg_namelen = plain.msg_namelen;
    *ret_control_len = plain.msg_controllen;
    if (plain.msg_controllen <= control_of->msg_controllen)
        memcpy(control_of->msg_control, control.bytes, plain.msg_controllen);
    return len;
}

ssize_t recvmsg_x(int fd, const struct msghdr_x *messages, unsigned n, int flags)
{
    struct msghdr_x *out = piece_base(messages); /* const in the prototype, and written all the same */
    size_t control_lens[RECEIVED_MAX] = {0};
    unsigned taken = 0, n_controls = 0;

    darwin_double.n_receives++;
    if (darwin_double.refuses_with)
        return refuse(darwin_double.refuses_with);
    if (!is_sane(messages, n, flags))
        return refuse(EINVAL);
    if (n > darwin_double.n_biggest)
        darwin_double.n_biggest = n;
    for (; taken < n && taken < RECEIVED_MAX; taken++) {
        size_t control_len = 0;

        if (take(fd, &out[taken], &out[n_controls], &control_len) < 0)
            break;
        if (control_len > 0)
            control_lens[n_controls++] = control_len;
    }
    for (unsigned i = 0; i < taken; i++)
        out[i].msg_controllen = (socklen_t)control_lens[i];
    if (taken > 0)
        return (ssize_t)taken;
    return darwin_double.is_shut ? 0 : -1;
}

static size_t len_of(const struct msghdr_x *message)
{
    size_t len = 0;

    for (int i = 0; i < message->msg_iovlen; i++)
        len += message->msg_iov[i].iov_len;
    return len;
}

/* 0 or an errno. */
static int give(int fd, const struct msghdr_x *message, unsigned at)
{
    const struct msghdr plain = {.msg_name = message->msg_name,
                                 .msg_namelen = message->msg_namelen,
                                 .msg_iov = message->msg_iov,
                                 .msg_iovlen = (size_t)message->msg_iovlen};

    if (darwin_double.fails_with && at == darwin_double.fails_at)
        return darwin_double.fails_with;
    if (len_of(message) > darwin_double.len_max)
        return EMSGSIZE;
    if (darwin_double.room == 0 || len_of(message) > darwin_double.room_bytes)
        return darwin_double.full_error;
    if (sendmsg(darwin_double.has_detour ? darwin_double.detour : fd, &plain, MSG_DONTWAIT | MSG_NOSIGNAL) <
        0)
        return errno == EAGAIN ? ENOBUFS : errno;
    darwin_double.room--;
    darwin_double.room_bytes -= len_of(message);
    return 0;
}

ssize_t sendmsg_x(int fd, const struct msghdr_x *messages, unsigned n, int flags)
{
    unsigned sent = 0;
    int error = 0;

    darwin_double.n_sends++;
    if (darwin_double.refuses_with)
        return refuse(darwin_double.refuses_with);
    if (!is_sane(messages, n, flags))
        return refuse(EINVAL);
    darwin_double.is_sending = true;
    while (!darwin_double.gives_nothing && sent < n && (error = give(fd, &messages[sent], sent)) == 0)
        sent++;
    darwin_double.is_sending = false;
    if (error && (sent == 0 || (error != darwin_double.full_error && error != EMSGSIZE)))
        return refuse(error);
    return (ssize_t)sent;
}

/* perf/port.c - see port.h: sending and receiving */
#include "perf/port.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "perf/frame.h"

enum {
    READ_SIZE = 256 * 1024, /* streams: per call */
    SLOT_SIZE = FRAME_MAX + 64
};

static bool send_stream(struct port *port, struct burst *burst)
{
    size_t stride = burst->frame_size + 4;
    size_t size = burst->n_frames * stride;
    ssize_t n = send(port->fd, burst->bytes + burst->sent_bytes, size - burst->sent_bytes,
                     MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return false;
        err(1, "port %u: send", port->index);
    }
    burst->sent_bytes += (size_t)n;
    burst->n_sent = burst->sent_bytes / stride;
    return burst->sent_bytes == size;
}

static bool send_datagrams(struct port *port, struct burst *burst)
{
    struct mmsghdr messages[BATCH_MAX];
    struct iovec parts[BATCH_MAX];
    unsigned n = burst->n_frames - (unsigned)burst->n_sent;
    int taken;

    if (n == 1) {
        ssize_t sent =
            send(port->fd, burst_frame(burst, burst->n_sent), burst->frame_size, MSG_DONTWAIT | MSG_NOSIGNAL);
        taken = sent < 0 ? -1 : 1;
    } else {
        for (unsigned i = 0; i < n; i++) {
            parts[i] = (struct iovec){burst_frame(burst, burst->n_sent + i), burst->frame_size};
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
        }
        taken = sendmmsg(port->fd, messages, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (taken < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return false;
        err(1, "port %u: send", port->index);
    }
    burst->n_sent += (size_t)taken;
    return burst->n_sent == burst->n_frames;
}

static bool send_tap(const struct port *port, struct burst *burst)
{
    while (burst->n_sent < burst->n_frames) {
        if (write(port->fd, burst_frame(burst, burst->n_sent), burst->frame_size) < 0) {
            if (errno == EAGAIN || errno == EINTR)
                return false;
            err(1, "port %u: write", port->index);
        }
        burst->n_sent++;
    }
    return true;
}

bool port_send(struct port *port, struct burst *burst)
{
    bool is_done = port->is_stream ? send_stream(port, burst)
                   : port->is_tap  ? send_tap(port, burst)
                                   : send_datagrams(port, burst);

    port->begun = is_done ? NULL : burst;
    return is_done;
}

static void receive_stream(struct port *port, port_frame_fn *on_frame, void *arg)
{
    ssize_t n = recv(port->fd, port->in + port->in_len, READ_SIZE - port->in_len, MSG_DONTWAIT);
    size_t at = 0, have;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        err(1, "port %u: recv", port->index);
    if (n == 0)
        errx(1, "port %u: the switch closed it", port->index);
    have = port->in_len + (size_t)n;
    while (have - at >= 4) {
        uint32_t len;

        memcpy(&len, port->in + at, 4);
        len = ntohl(len);
        if (len > SLOT_SIZE)
            errx(1, "port %u: frame of %u bytes: the stream is out of step", port->index, len);
        if (have - at - 4 < len)
            break;
        on_frame(arg, port, port->in + at + 4, len);
        at += 4 + len;
    }
    port->in_len = have - at;
    memmove(port->in, port->in + at, port->in_len);
}

static void receive_datagrams(struct port *port, port_frame_fn *on_frame, void *arg)
{
    static uint8_t slots[BATCH_MAX][SLOT_SIZE];
    static struct iovec parts[BATCH_MAX];
    static struct mmsghdr messages[BATCH_MAX];
    int n;

    if (parts[0].iov_base == NULL)
        for (unsigned i = 0; i < BATCH_MAX; i++) {
            parts[i] = (struct iovec){slots[i], SLOT_SIZE};
            messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
        }
    n = recvmmsg(port->fd, messages, BATCH_MAX, MSG_DONTWAIT, NULL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        err(1, "port %u: recv", port->index);
    for (int i = 0; i < n; i++) {
        if (messages[i].msg_len == 0)
            errx(1, "port %u: an empty datagram: the switch closed it", port->index);
        on_frame(arg, port, slots[i], messages[i].msg_len);
    }
}

/* As many frames as a datagram port may get from one call. */
static void receive_tap(struct port *port, port_frame_fn *on_frame, void *arg)
{
    static uint8_t frame[SLOT_SIZE];

    for (unsigned i = 0; i < BATCH_MAX; i++) {
        ssize_t n = read(port->fd, frame, sizeof(frame));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0)
            err(1, "port %u: read", port->index);
        on_frame(arg, port, frame, (size_t)n);
    }
}

void port_receive(struct port *port, port_frame_fn *on_frame, void *arg)
{
    if (port->is_stream)
        receive_stream(port, on_frame, arg);
    else if (port->is_tap)
        receive_tap(port, on_frame, arg);
    else
        receive_datagrams(port, on_frame, arg);
}

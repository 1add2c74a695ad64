/* daemon/data_port.c - see data_port.h */
#include "daemon/data_port.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/batch.h"
#include "io/framing.h"
#include "io/queue.h"
#include "io/socket.h"

enum {
    QUEUE_FRAMES_MAX = IO_QUEUE_BYTES / 64, /* so that the bytes are the limit */
    FRAMES_PER_SPLIT = 128,
};

struct data_port {
    int fd;
    size_t in_len;
    struct data_port_counters counters;
    struct queue out;
    uint8_t ring[IO_QUEUE_BYTES];
    uint8_t in[IO_STREAM_LONG];
};

struct data_port *data_port_create(void)
{
    struct data_port *port = calloc(1, sizeof(*port));
    if (!port)
        return NULL;
    port->fd = -1;
    queue_init(&port->out, (uint32_t)(offsetof(struct data_port, ring) - offsetof(struct data_port, out)),
               sizeof(port->ring), QUEUE_FRAMES_MAX);
    return port;
}

void data_port_destroy(struct data_port *port)
{
    if (!port)
        return;
    data_port_detach(port);
    free(port);
}

void data_port_attach(struct data_port *port, int fd)
{
    data_port_detach(port);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    socket_set_buffers(fd, IO_SOCKET_BUFFER);
    port->fd = fd;
}

void data_port_detach(struct data_port *port)
{
    if (port->fd < 0)
        return;
    close(port->fd);
    port->fd = -1;
    port->in_len = 0;
    port->counters.drop_gone += queue_clear(&port->out);
}

int data_port_fd(const struct data_port *port)
{
    return port->fd;
}

bool data_port_wants_write(const struct data_port *port)
{
    return !queue_is_empty(&port->out);
}

static bool is_transient(long error)
{
    return error == -EAGAIN || error == -EWOULDBLOCK || error == -EINTR || error == -ENOBUFS;
}

/* Hands over the whole frames at the front of in[] and moves the rest down. */
static int deliver(struct data_port *port, data_port_frame *on_frame, void *ctx)
{
    struct framing_result result = {.n_frames = FRAMES_PER_SPLIT};
    size_t at = 0;
    do {
        struct frame frames[FRAMES_PER_SPLIT];
        framing_split(port->in + at, port->in_len - at, false, frames, FRAMES_PER_SPLIT, &result);
        for (size_t i = 0; i < result.n_frames; i++)
            on_frame(ctx, frames[i].head, frames[i].len);
        port->counters.frames_in += result.n_frames;
        port->counters.runts += result.n_runts;
        at += result.consumed;
    } while (result.consumed > 0 && !result.is_bad);
    port->in_len -= at;
    memmove(port->in, port->in + at, port->in_len);
    return result.is_bad ? -EBADMSG : 0;
}

int data_port_receive(struct data_port *port, data_port_frame *on_frame, void *ctx)
{
    /* A record is shorter than in[], and no whole one is left behind: there is room. */
    ssize_t n = batch_read(port->fd, port->in + port->in_len, sizeof(port->in) - port->in_len);
    if (n == 0)
        return -ECONNRESET;
    if (n < 0)
        return is_transient(n) ? 0 : (int)n;
    port->in_len += (size_t)n;
    return deliver(port, on_frame, ctx);
}

void data_port_queue(struct data_port *port, const uint8_t *frame, size_t len)
{
    /* A queue only copies, so it need not have a head; and a head would be ours to write. */
    const struct frame_segment whole = {frame, (uint32_t)len};
    const struct frame view = {.len = whole.len, .rest = &whole, .n_rest = 1};

    if (port->fd < 0)
        port->counters.drop_gone++;
    else if (!queue_push(&port->out, &view))
        port->counters.drop_full++;
}

int data_port_flush(struct data_port *port)
{
    while (!queue_is_empty(&port->out)) {
        struct iovec iov[2];
        unsigned n_iov = queue_peek(&port->out, iov);
        uint64_t bytes = 0;
        ssize_t n = batch_write(port->fd, iov, n_iov);
        if (n < 0)
            return is_transient(n) ? 0 : (int)n;
        queue_advance(&port->out, (size_t)n, &port->counters.frames_out, &bytes);
    }
    return 0;
}

const struct data_port_counters *data_port_counters(struct data_port *port)
{
    port->counters.queued = port->out.n_frames;
    return &port->counters;
}

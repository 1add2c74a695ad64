/* io/link_datagram.c - a VM on a connected datagram socket, and what all datagram links share
 *
 * The good path: on_readable -> one batch of datagrams -> lan_receive; datagram_send -> one batch out.
 * What can go wrong: the peer's queue is full (frames wait in ours; a wake-up tells when there is room, or a
 * timer asks where the system tells nothing: ENOBUFS on macOS, and unconnected sockets, which always look
 * writable); the socket refuses one frame for its size (dropped, the next is tried); the peer is gone; the
 * client has shut our socket down by its duplicate of it (readable for ever, with nothing to read: closed).
 * Datagram sources are never made to wait: a client that meets EAGAIN may break, as libkrun does on Linux.
 */
#include "io/link.h"

#include <errno.h>
#include <string.h>

#include "io/framing.h"
#include "io/link_internal.h"
#include "io/socket.h"

enum {
    DATAGRAM_GREETING_LEN = 4,
    /* A wake-up for nothing is rare (somebody else has read from the same description); so many in a row are
     * a socket that will always look readable. */
    DATAGRAM_IDLE_READS = 64,
};

bool datagram_is_greeting(const struct batch_slot *slot)
{
    return slot->len == DATAGRAM_GREETING_LEN && memcmp(slot->bytes, "VFKT", DATAGRAM_GREETING_LEN) == 0;
}

/* ---- in ---- */

/* Frames of the slots that have a possible length, into io's. Returns how many. */
static size_t make_frames(struct io *io, struct batch_slot *slots, size_t n, struct vnet_refused *refused)
{
    size_t n_frames = 0;

    for (struct batch_slot *slot = slots; slot < slots + n; slot++) {
        if (slot->len >= FRAME_LEN_MIN && slot->len <= FRAME_LEN_MAX) {
            frame_put_len(slot->bytes - FRAME_PREFIX, slot->len);
            io->frames[n_frames++] =
                (struct frame){.head = slot->bytes, .len = slot->len, .head_len = slot->len};
            continue;
        }
        refused->runts += slot->len < FRAME_LEN_MIN;
        refused->oversize += slot->len > FRAME_LEN_MAX;
        refused->bytes += slot->len;
    }
    return n_frames;
}

enum lan_verdict datagram_offer(struct link *link, struct batch_slot *slots, size_t n, bool may_wait)
{
    struct io *io = link->io;
    struct port *port = link->port;
    struct vnet_refused refused = {.runts = 0};
    size_t n_frames = make_frames(io, slots, n, &refused);

    link->has_big = n > 0 && slots[n - 1].len > IO_DGRAM_BIG;
    n_frames = vnet_unwrap(port->offload, lan_mtu(io->lan), io->frames, n_frames, &refused);
    if (n_frames > 0 && link_receive(link, n_frames, may_wait) == LAN_WAIT) {
        vnet_undo(port->offload, io->frames, n_frames);
        return LAN_WAIT;
    }
    vnet_count(port, &refused);
    return LAN_TAKEN;
}

void datagram_deliver(struct link *link, size_t first, size_t n)
{
    (void)datagram_offer(link, link->io->batch.slots + first, n, false);
}

/* True if nothing has come, and cannot be told from a socket whose receiving side has been shut down: Linux
 * then says EAGAIN, other systems give empty datagrams without end. */
static bool is_idle_read(const struct batch *batch, int n, unsigned max)
{
    if (n == -EAGAIN || n == -EWOULDBLOCK)
        return true;
    if (n < (int)max)
        return false;
    for (int i = 0; i < n; i++)
        if (batch->slots[i].len > 0)
            return false;
    return true;
}

static void on_readable(struct link *link)
{
    struct batch *batch = &link->io->batch;
    unsigned max = io_batch_size(link->io, link->has_big);
    int n = batch_receive(batch, link->fd, max, false);
    size_t first = 0;

    if (!is_idle_read(batch, n, max))
        link->n_idle_reads = 0;
    else if (++link->n_idle_reads >= DATAGRAM_IDLE_READS)
        link_fail(link, "the client has shut its socket down");
    if (n == -EAGAIN || n == -EWOULDBLOCK || n == -EINTR)
        return;
    if (n < 0) {
        link_fail_errno(link, "the client has left", n);
        return;
    }
    if (!link->is_greeted && datagram_is_greeting(&batch->slots[0]))
        first = 1;
    link->is_greeted = true;
    datagram_deliver(link, first, (size_t)n - first);
}

/* ---- out ---- */

enum refusal {
    REFUSAL_FULL,  /* later */
    REFUSAL_FRAME, /* this frame, for itself */
    REFUSAL_GONE,  /* the link has failed */
};

static enum refusal refused(struct link *link, int error)
{
    switch (-error) {
    case EAGAIN:
    case EINTR:
        link->is_unwakeable = link->to != NULL || !batch_wakes_when_room();
        return REFUSAL_FULL;
    case ENOBUFS:
    case ENOMEM:
        link->is_unwakeable = true;
        return REFUSAL_FULL;
    case ECONNREFUSED:
    case ECONNRESET:
    case ENOTCONN:
    case EPIPE:
    case EDESTADDRREQ:
        link_fail(link, "the client has left");
        return REFUSAL_GONE;
    case ENOENT: /* an unconnected client's address */
    case ENOTSOCK:
    case EPROTOTYPE:
    case EPERM: /* it has connected to somebody else */
    case EACCES:
        if (link->to) {
            link_fail_errno(link, "the client's address no longer answers", error);
            return REFUSAL_GONE;
        }
        return REFUSAL_FRAME;
    default: /* EMSGSIZE: longer than the client's or our buffer takes */
        return REFUSAL_FRAME;
    }
}

/* Sends past the empty queue. Returns how many frames are done with. */
static size_t send_frames(struct link *link, const struct frame *const *frames, size_t n)
{
    size_t done = 0;

    while (done < n) {
        const unsigned most = n - done < IO_DGRAM_SLOTS ? (unsigned)(n - done) : IO_DGRAM_SLOTS;
        int sent = batch_send(&link->io->batch, link->fd, frames + done, most, link->to, link->to_len);

        if (sent > 0) {
            size_t bytes = 0;

            for (size_t i = done; i < done + (size_t)sent; i++)
                bytes += frames[i]->len;
            link_sent(link, (size_t)sent, bytes);
            done += (size_t)sent;
        }
        if (sent > 0)
            continue;
        if (refused(link, sent) != REFUSAL_FRAME)
            break;
        link_drop(link, DROP_send_failed, 1);
        done++;
    }
    return done;
}

void datagram_send(struct port *port, const struct frame *const *frames, size_t n)
{
    struct link *link = port->link;
    size_t done = 0;

    frames = link_wrap(link, frames, n);
    if (link->state == LINK_SERVING && queue_is_empty(&link->resume->out)) {
        done = send_frames(link, frames, n);
        if (done == n)
            return;
    }
    link_keep(link, frames + done, n - done);
}

/* The first frames of the queue, as they lie there: in two pieces where they wrap. */
struct queue_view {
    struct frame frames[IO_DGRAM_SLOTS];
    struct frame_segment rests[IO_DGRAM_SLOTS];
    const struct frame *at[IO_DGRAM_SLOTS];
};

static unsigned view_queue(const struct queue *queue, struct queue_view *view)
{
    uint32_t position = 0, len;
    unsigned n;

    for (n = 0; n < IO_DGRAM_SLOTS; n++) {
        struct iovec iov[2];
        const unsigned n_iov = queue_next(queue, &position, iov, &len);

        if (n_iov == 0)
            break;
        view->frames[n] = (struct frame){.head = iov[0].iov_base,
                                         .head_len = (uint32_t)iov[0].iov_len,
                                         .len = len,
                                         .rest = &view->rests[n],
                                         .n_rest = n_iov - 1};
        if (n_iov == 2)
            view->rests[n] = (struct frame_segment){iov[1].iov_base, (uint32_t)iov[1].iov_len};
        view->at[n] = &view->frames[n];
    }
    return n;
}

void datagram_flush(struct link *link)
{
    struct queue *queue = &link->resume->out;

    while (!queue_is_empty(queue)) {
        struct queue_view view;
        const unsigned n = view_queue(queue, &view);
        int sent = batch_send(&link->io->batch, link->fd, view.at, n, link->to, link->to_len);

        for (int i = 0; i < sent; i++)
            link_sent(link, 1, queue_pop(queue));
        if (sent > 0) {
            link_took(link);
        } else if (refused(link, sent) == REFUSAL_FRAME) {
            queue_pop(queue);
            link_drop(link, DROP_send_failed, 1);
        } else {
            break;
        }
    }
    link->port->queued = queue->n_frames;
}

static const struct port_ops datagram_ops = {.send = datagram_send};

static const struct link_class datagram_class = {
    .kind = LINK_DATAGRAM,
    .on_readable = on_readable,
    .flush = datagram_flush,
};

int link_datagram_open(struct io *io, struct port *port, int fd, link_closed_fn *on_closed, void *ctx)
{
    socket_set_buffers(fd, (int)io->settings.socket_bytes);
    return link_open(io, port, fd, &datagram_class, &datagram_ops, on_closed, ctx);
}

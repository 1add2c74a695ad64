/* io/link_tap_linux.c - a TAP interface of the host, one frame per read and per write
 *
 * The good path: on_readable -> a batch of frames -> lan_receive; tap_send -> one writev each.
 * What can go wrong: a destination pushes back (the batch is held in slots of our own and reading stops: the
 * host's own queue fills and slows its senders, as a network card's would); the kernel has no memory for now
 * (frames wait in the queue, a timer tries again); the interface is down (EIO: the frame is dropped, the link
 * stays, for it may come up again); the interface is deleted under us (the link ends).
 *
 * read() and write() are right here, unlike on a client's socket: the descriptor is ours alone, so nobody can
 * take O_NONBLOCK from it.
 */
#include "io/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/link_internal.h"
#include "io/piece.h"

enum {
    TAP_IOV = 16,
    TAP_TURN = 64, /* frames, and then the others' turn */
};

/* ---- in ---- */

struct tap {
    struct link link; /* first: link->class->free gets the whole */
    struct batch batch;
    size_t n_held; /* slots that have been read and not been taken */
};

static struct tap *tap_of(struct link *link)
{
    return (struct tap *)(void *)link;
}

/* Fills up to 'max' slots. Returns how many, or the negative errno of the first read. */
static int read_frames(struct tap *tap, unsigned max)
{
    int n = 0;

    while (n < (int)max) {
        struct batch_slot *slot = &tap->batch.slots[n];
        ssize_t len = read(tap->link.fd, slot->bytes, FRAME_LEN_MAX + 1);

        if (len < 0)
            return n > 0 ? n : -errno;
        slot->len = (uint32_t)len;
        slot->from_len = 0;
        n++;
    }
    return n;
}

/* Offers what is held. Returns false if it has to wait. */
static bool offer(struct tap *tap, bool may_wait)
{
    struct link *link = &tap->link;

    if (datagram_offer(link, tap->batch.slots, tap->n_held, may_wait && link_may_wait(link)) == LAN_WAIT) {
        link_want(link, link->events & ~UV_READABLE);
        link_wait(link);
        return false;
    }
    tap->n_held = 0;
    return true;
}

static void on_readable(struct link *link)
{
    struct tap *tap = tap_of(link);

    for (int left = TAP_TURN; left > 0 && link->state == LINK_SERVING;) {
        unsigned max = io_batch_size(link->io, link->has_big);
        int n = read_frames(tap, max);

        if (n == -EBADFD || n == -ENODEV)
            link_fail(link, "the interface has vanished");
        if (n <= 0)
            return;
        tap->n_held = (size_t)n;
        if (!offer(tap, true) || n < (int)max)
            return;
        left -= n;
    }
}

static void resume_offering(struct link *link, bool may_wait)
{
    if (link->state == LINK_SERVING && offer(tap_of(link), may_wait))
        link_want(link, link->events | UV_READABLE);
}

/* ---- out ---- */

enum refusal {
    REFUSAL_FULL,  /* later */
    REFUSAL_FRAME, /* this frame, for itself */
    REFUSAL_GONE,  /* the link has failed */
};

static enum refusal refused(struct link *link, int error)
{
    switch (error) {
    case EAGAIN:
    case EINTR:
        return REFUSAL_FULL;
    case ENOBUFS:
    case ENOMEM:
        link->is_unwakeable = true;
        return REFUSAL_FULL;
    case EBADFD:
    case ENODEV:
        link_fail(link, "the interface has vanished");
        return REFUSAL_GONE;
    default: /* EIO: it is down. EINVAL: longer than its MTU */
        return REFUSAL_FRAME;
    }
}

/* Returns 0 or a positive errno. */
static int write_frame(const struct link *link, const struct frame *frame)
{
    struct iovec iov[TAP_IOV];

    if (frame->n_rest >= TAP_IOV)
        return EMSGSIZE;
    iov[0] = piece_of(frame->head, frame->head_len);
    for (uint32_t i = 0; i < frame->n_rest; i++)
        iov[i + 1] = piece_of(frame->rest[i].base, frame->rest[i].len);
    return writev(link->fd, iov, (int)frame->n_rest + 1) < 0 ? errno : 0;
}

static void tap_send(struct port *port, const struct frame *const *frames, size_t n)
{
    struct link *link = port->link;
    size_t done = 0;

    frames = link_wrap(link, frames, n);
    while (link->state == LINK_SERVING && queue_is_empty(&link->resume->out) && done < n) {
        int error = write_frame(link, frames[done]);

        if (error == 0) {
            link_sent(link, 1, frames[done]->len);
        } else if (refused(link, error) == REFUSAL_FRAME) {
            link_drop(link, DROP_send_failed, 1);
        } else {
            break;
        }
        done++;
    }
    if (done < n)
        link_keep(link, frames + done, n - done);
}

static void tap_flush(struct link *link)
{
    struct queue *queue = &link->resume->out;

    while (!queue_is_empty(queue)) {
        struct iovec iov[2];
        uint32_t position = 0, len;
        unsigned n_iov = queue_next(queue, &position, iov, &len);

        if (writev(link->fd, iov, (int)n_iov) >= 0) {
            link_sent(link, 1, queue_pop(queue));
            link_took(link);
        } else if (refused(link, errno) == REFUSAL_FRAME) {
            queue_pop(queue);
            link_drop(link, DROP_send_failed, 1);
        } else {
            break;
        }
    }
    link->port->queued = queue->n_frames;
}

static const struct port_ops tap_ops = {.send = tap_send};

static void free_tap(struct link *link)
{
    struct tap *tap = tap_of(link);
    link_closed_fn *on_closed = link->on_closed;
    struct port *port = link->port;
    void *ctx = link->ctx;
    char reason[LINK_REASON_SIZE];

    memcpy(reason, link->reason, sizeof reason);
    batch_deinit(&tap->batch);
    free(tap);
    on_closed(port, ctx, reason);
}

static const struct link_class tap_class = {
    .kind = LINK_TAP,
    .on_readable = on_readable,
    .flush = tap_flush,
    .resume = resume_offering,
    .free = free_tap,
};

int link_tap_open(struct io *io, struct port *port, int fd, link_closed_fn *on_closed, void *ctx)
{
    int flags = fcntl(fd, F_GETFL);
    struct tap *tap;
    int r;

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return uv_translate_sys_error(errno);
    tap = calloc(1, sizeof *tap);
    if (!tap)
        return UV_ENOMEM;
    r = batch_init(&tap->batch);
    if (r < 0)
        goto free_tap;
    r = link_open_as(&tap->link, io, port, fd, &tap_class, &tap_ops, on_closed, ctx);
    if (r < 0)
        goto deinit_batch;
    return 0;

deinit_batch:
    batch_deinit(&tap->batch);
free_tap:
    free(tap);
    return r;
}

/* io/link_stream.c - a VM on a stream socket
 *
 * The good path: on_readable -> one large read -> take -> framing_split -> lan_receive; stream_send -> one
 * gathered write straight from the receive buffer -> done.
 * What can go wrong: a record is cut by the end of a read (carried over in front of the next); a destination
 * pushes back (the rest is carried, reading stops until it is taken); the peer's socket is full (a begun
 * frame and all later ones go through the queue); a length is out of range (logged, closed); the peer leaves.
 */
#include "io/link.h"

#include <errno.h>
#include <string.h>

#include "io/framing.h"
#include "io/link_internal.h"
#include "io/log.h"
#include "io/piece.h"
#include "io/socket.h"

/* Pieces of one gathered write; neighbours in a receive buffer are one piece, so this is rarely reached. The
 * systems' limit is 1024. */
enum { STREAM_IOV = 256 };

/* Reads for the last words of a client that is gone: more than IO_SOCKET_BUFFER. Bounded, because the client
 * may have closed one direction only and write on. */
enum { STREAM_LAST_READS = 16 };

/* ---- in ---- */

/* Keeps what cannot be taken yet. 'bytes' may be the carried bytes themselves. */
static void carry(struct link *link, const uint8_t *bytes, size_t len)
{
    struct resume *resume = link->resume;

    memmove(resume_in(resume), bytes, len);
    resume->in_len = (uint32_t)len;
    if (resume->in_len > resume->in_touched) {
        resume->in_touched = resume->in_len;
        io_keep(link);
    }
}

static void refuse_length(struct link *link, uint32_t len)
{
    link->is_garbled = true;
    port_drop_in(link->port, DROP_bad_length, 0);
    log_limited(&link->io->length_log, uv_now(link->io->loop), LOG_WARN,
                "port %s: a length of %u, limit %d: link closed", link->port->name, len, FRAME_LEN_MAX);
    link_fail(link, "the client announced a frame longer than 69632 bytes");
}

/* Forwards whole records and carries the rest. 'may_wait' holds for the first batch; the later ones may. */
static void take(struct link *link, uint8_t *bytes, size_t len, bool may_wait)
{
    struct port *port = link->port;
    struct frame *frames = link->io->frames;
    struct framing_result split;
    size_t done = 0;

    do {
        struct vnet_refused refused = {.runts = 0};
        size_t n;

        framing_split(bytes + done, len - done, frames, LAN_BATCH_MAX, &split);
        if (split.n_frames > 0)
            link->record_len = FRAME_PREFIX + frames[split.n_frames - 1].len;
        n = vnet_unwrap(port->offload, lan_mtu(link->io->lan), frames, split.n_frames, &refused);
        if (n > 0 && link_receive(link, n, may_wait && link_may_wait(link)) == LAN_WAIT) {
            vnet_undo(port->offload, frames, n);
            link_want(link, link->events & ~UV_READABLE);
            link_wait(link);
            break;
        }
        may_wait = link->state == LINK_SERVING; /* its last words are not held up */
        refused.runts += split.n_runts;
        refused.bytes += split.runt_bytes;
        vnet_count(port, &refused);
        done += split.consumed;
        if (split.is_bad) {
            refuse_length(link, split.bad_len);
            len = done;
        }
    } while (split.n_frames == LAN_BATCH_MAX && !split.is_bad);
    carry(link, bytes + done, len - done);
}

/* Bytes to read behind 'carried' ones. Records are mostly as long as the last, so a read that ends where such
 * a record would end leaves nothing to carry: what is carried is copied. */
static size_t read_size(const struct link *link, size_t carried)
{
    const struct io *io = link->io;
    size_t most = io_read_size(io);

    if (most == io->settings.read_bytes && link->record_len > most / 2)
        most = IO_STREAM_LONG; /* one long record at a time would pay the price of a turn for each */

    size_t whole = link->record_len > 0 ? (carried + most) / link->record_len * link->record_len : 0;

    return whole > carried ? whole - carried : most;
}

/* One read behind what is carried. Returns what batch_read() does. */
static ssize_t read_and_take(struct link *link, bool may_wait)
{
    struct resume *resume = link->resume;
    uint8_t *end = link->io->stream_bytes + STREAM_COPY_MAX;
    uint8_t *start = end - resume->in_len;
    size_t carried = resume->in_len;
    ssize_t n;

    if (carried > STREAM_COPY_MAX) {
        start = resume_in(resume);
        end = start + carried;
    } else {
        memcpy(start, resume_in(resume), carried);
    }
    n = batch_read(link->fd, end, read_size(link, carried));
    if (n > 0) {
        if (start == resume_in(resume) && carried + (size_t)n > resume->in_touched) {
            resume->in_touched = (uint32_t)(carried + (size_t)n);
            io_keep(link);
        }
        take(link, start, carried + (size_t)n, may_wait);
    }
    return n;
}

static void on_readable(struct link *link)
{
    ssize_t n = read_and_take(link, true);

    if (n == 0)
        link_fail(link, "the client closed its end");
    else if (n < 0 && n != -EAGAIN && n != -EWOULDBLOCK && n != -EINTR)
        link_fail_errno(link, "reading failed", (int)n);
}

static void resume_taking(struct link *link, bool may_wait)
{
    if (link->state != LINK_SERVING)
        return;
    take(link, resume_in(link->resume), link->resume->in_len, may_wait);
    if (link->state == LINK_SERVING && list_is_empty(&link->of_waiting))
        link_want(link, link->events | UV_READABLE);
}

/* What the client had sent whole before it left is still its neighbours': what is carried, and what its
 * socket still holds when a write to it was the first to find it gone. */
static void end_stream(struct link *link)
{
    if (link->port->link == link) {
        list_remove(&link->of_waiting);
        if (link->resume->in_len > 0)
            take(link, resume_in(link->resume), link->resume->in_len, false);
        for (int i = 0; i < STREAM_LAST_READS && !link->is_garbled; i++)
            if (read_and_take(link, false) <= 0)
                break;
    }
    link_end(link);
}

/* ---- out ---- */

/* Lays out the first frame and those that lie behind it in the same receive buffer as one piece, prefixes
 * included, up to one that has more elsewhere. Returns how many. */
static size_t gather_row(const struct frame *const *frames, size_t n, struct iovec *ret_piece)
{
    const uint8_t *start = frames[0]->head - FRAME_PREFIX, *end = frames[0]->head + frames[0]->head_len;
    size_t i;

    for (i = 1; i < n && frames[i]->head == end + FRAME_PREFIX && frames[i - 1]->n_rest == 0; i++)
        end = frames[i]->head + frames[i]->head_len;
    *ret_piece = piece_of(start, (size_t)(end - start));
    return i;
}

/* Lays out as many frames as fit. Returns how many. */
static size_t gather(const struct frame *const *frames, size_t n, struct iovec iov[STREAM_IOV],
                     unsigned *ret_n_iov, size_t *ret_bytes)
{
    unsigned used = 0;
    size_t bytes = 0, i = 0;

    while (i < n && used + 1 + FRAME_REST_MAX <= STREAM_IOV) {
        i += gather_row(frames + i, n - i, &iov[used++]);
        for (uint32_t k = 0; k < frames[i - 1]->n_rest; k++)
            iov[used++] = piece_of(frames[i - 1]->rest[k].base, frames[i - 1]->rest[k].len);
    }
    for (unsigned k = 0; k < used; k++)
        bytes += iov[k].iov_len;
    *ret_n_iov = used;
    *ret_bytes = bytes;
    return i;
}

/* Counts the frames that the first 'sent' of their 'bytes' complete; the one they begin goes to the queue as
 * a rest. Returns how many frames are thereby done with. */
static size_t account(struct link *link, const struct frame *const *frames, size_t n, size_t bytes,
                      size_t sent)
{
    size_t whole = 0, i;

    if (sent == bytes) {
        link_sent(link, n, bytes - n * FRAME_PREFIX);
        return n;
    }
    for (i = 0; i < n && sent >= FRAME_PREFIX + (size_t)frames[i]->len; i++) {
        sent -= FRAME_PREFIX + (size_t)frames[i]->len;
        whole += frames[i]->len;
    }
    link_sent(link, i, whole);
    if (sent > 0)
        queue_push_rest(&link->resume->out, frames[i++], sent);
    return i;
}

/* The errno of a refused write: the queue takes over, or the end has come. */
static void on_refused(struct link *link, int error)
{
    link->is_unwakeable = error == -ENOBUFS || error == -ENOMEM;
    if (!link->is_unwakeable && error != -EAGAIN && error != -EWOULDBLOCK && error != -EINTR)
        link_fail_errno(link, "writing failed", error);
}

/* Writes past the empty queue. Returns how many frames are done with. */
static size_t write_frames(struct link *link, const struct frame *const *frames, size_t n)
{
    size_t done = 0;

    while (done < n) {
        struct iovec iov[STREAM_IOV];
        unsigned n_iov;
        size_t bytes;
        size_t n_gathered = gather(frames + done, n - done, iov, &n_iov, &bytes);
        ssize_t sent;

        if (n_gathered == 0)
            break; /* more pieces than one write takes: the queue makes one of them */
        sent = batch_write(link->fd, iov, n_iov);
        if (sent <= 0) {
            on_refused(link, sent == 0 ? -EAGAIN : (int)sent);
            break;
        }
        link->is_unwakeable = false;
        if ((size_t)sent < bytes)
            link_took(link); /* the queue begins now */
        done += account(link, frames + done, n_gathered, bytes, (size_t)sent);
        if ((size_t)sent < bytes)
            break;
    }
    return done;
}

static void stream_send(struct port *port, const struct frame *const *frames, size_t n)
{
    struct link *link = port->link;
    size_t done = 0;

    frames = link_wrap(link, frames, n);
    if (link->state == LINK_SERVING && queue_is_empty(&link->resume->out)) {
        done = write_frames(link, frames, n);
        if (done == n && queue_is_empty(&link->resume->out))
            return;
    }
    link_keep(link, frames + done, n - done);
}

static void flush(struct link *link)
{
    struct iovec iov[2];
    uint64_t n_frames = 0, bytes = 0;
    unsigned n_iov = queue_peek(&link->resume->out, iov);
    ssize_t sent;

    if (n_iov == 0)
        return;
    sent = batch_write(link->fd, iov, n_iov);
    if (sent <= 0) {
        on_refused(link, sent == 0 ? -EAGAIN : (int)sent);
        return;
    }
    link_took(link);
    queue_advance(&link->resume->out, (size_t)sent, &n_frames, &bytes);
    link_sent(link, n_frames, bytes);
    link->port->queued = link->resume->out.n_frames;
}

static const struct port_ops stream_ops = {.send = stream_send};

static const struct link_class stream_class = {
    .kind = LINK_STREAM,
    .drains = true,
    .on_readable = on_readable,
    .flush = flush,
    .resume = resume_taking,
    .end = end_stream,
};

int link_stream_open(struct io *io, struct port *port, int fd, link_closed_fn *on_closed, void *ctx)
{
    socket_set_buffers(fd, (int)io->settings.socket_bytes);
    return link_open(io, port, fd, &stream_class, &stream_ops, on_closed, ctx);
}

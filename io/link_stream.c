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
#include "switch/row.h"

/* Pieces of one gathered write; neighbours in a receive buffer are one piece, so this is rarely reached. The
 * systems' limit is 1024. */
enum { STREAM_IOV = 256 };

/* Reads for the last words of a client that is gone: more than IO_SOCKET_BUFFER. Bounded, because the client
 * may have closed one direction only and write on. */
enum { STREAM_LAST_READS = 16 };

/* ---- in ---- */

/* Keeps what cannot be taken yet: where it is, if that is the link's own memory. */
static void carry(struct link *link, const uint8_t *bytes, size_t len)
{
    struct resume *resume = link->resume;
    uint8_t *own = resume_in(resume);
    const uintptr_t at = (uintptr_t)bytes - (uintptr_t)own;
    const bool is_own = at <= resume->in_size; /* nothing may be left, at its very end */

    if (!is_own)
        memcpy(own, bytes, len);
    resume->in_from = is_own ? (uint32_t)at : 0;
    resume->in_len = (uint32_t)len;
    if (resume->in_from + resume->in_len > resume->in_touched) {
        resume->in_touched = resume->in_from + resume->in_len;
        io_keep(link);
    }
    if (len == 0)
        resume->in_from = 0;
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

        framing_split(bytes + done, len - done, port->offload == OFFLOAD_OFF, frames, LAN_BATCH_MAX, &split);
        if (split.n_frames > 0)
            link->record_len = FRAME_PREFIX + split.last_len;
        n = vnet_unwrap(port->offload, lan_mtu(link->io->lan), frames, split.n_rows, &refused);
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
 * a record would end leaves nothing to carry. */
static size_t read_size(const struct link *link, size_t carried)
{
    const struct io *io = link->io;
    size_t most = io_read_size(io);

    if (most == io->settings.read_bytes && link->record_len > most / 2)
        most = IO_STREAM_LONG; /* one long record at a time would pay the price of a turn for each */

    size_t whole = link->record_len > 0 ? (carried + most) / link->record_len * link->record_len : 0;

    return whole > carried ? whole - carried : most;
}

/* Where to read: the carried bytes lie there, and *ret_room are free behind them. All links share a buffer
 * that the processor has at hand, for which what is carried is copied. Long records are read in two or three
 * parts, so that this would be a third of all bytes: they are read into the link's own memory and stay where
 * they are. */
static uint8_t *read_place(struct link *link, size_t *ret_room)
{
    struct resume *resume = link->resume;
    uint8_t *own = resume_in(resume);

    if (resume->in_len <= STREAM_COPY_MAX && link->record_len <= STREAM_COPY_MAX) {
        uint8_t *start = link->io->stream_bytes + STREAM_COPY_MAX - resume->in_len;

        memcpy(start, own + resume->in_from, resume->in_len);
        *ret_room = io_read_room(&link->io->settings);
        return start;
    }
    if (resume->in_from > 0 && (resume->in_len <= STREAM_COPY_MAX ||
                                resume->in_from + FRAME_PREFIX + FRAME_LEN_MAX > resume->in_size)) {
        memmove(own, own + resume->in_from, resume->in_len);
        resume->in_from = 0;
    }
    *ret_room = resume->in_size - resume->in_from - resume->in_len;
    return own + resume->in_from;
}

/* One read behind what is carried. Returns what batch_read() does. */
static ssize_t read_and_take(struct link *link, bool may_wait)
{
    const size_t carried = link->resume->in_len;
    size_t room, wanted = read_size(link, carried);
    uint8_t *start = read_place(link, &room);
    ssize_t n = batch_read(link->fd, start + carried, wanted < room ? wanted : room);

    if (n > 0)
        take(link, start, carried + (size_t)n, may_wait);
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
    take(link, resume_in(link->resume) + link->resume->in_from, link->resume->in_len, may_wait);
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
            take(link, resume_in(link->resume) + link->resume->in_from, link->resume->in_len, false);
        for (int i = 0; i < STREAM_LAST_READS && !link->is_garbled; i++)
            if (read_and_take(link, false) <= 0)
                break;
    }
    link_end(link);
}

/* ---- out ---- */

/* What one write is to send. */
struct stream_write {
    struct iovec iov[STREAM_IOV];
    unsigned n_iov;
    size_t n_rows, n_frames, bytes;
};

/* Lays out the first row and those that lie behind it in the same receive buffer as one piece, prefixes
 * included, up to one that has more elsewhere. Returns how many. */
static size_t gather_neighbours(const struct frame *const *rows, size_t n, struct stream_write *write)
{
    const uint8_t *start = rows[0]->head - FRAME_PREFIX, *end = row_end(rows[0]);
    size_t i;

    write->n_frames += row_count(rows[0]);
    for (i = 1; i < n && rows[i]->head == end + FRAME_PREFIX && rows[i - 1]->n_rest == 0; i++) {
        end = row_end(rows[i]);
        write->n_frames += row_count(rows[i]);
    }
    write->iov[write->n_iov++] = piece_of(start, (size_t)(end - start));
    write->bytes += (size_t)(end - start);
    return i;
}

/* Lays out as many rows as fit: none, if the first has more pieces than fit at all. */
static void gather(const struct frame *const *rows, size_t n, struct stream_write *write)
{
    size_t i = 0;

    write->n_iov = 0;
    write->n_frames = write->bytes = 0;
    while (i < n && write->n_iov + 1 + FRAME_REST_MAX <= STREAM_IOV) {
        i += gather_neighbours(rows + i, n - i, write);
        for (uint32_t k = 0; k < rows[i - 1]->n_rest; k++) {
            const struct frame_segment *segment = &rows[i - 1]->rest[k];

            write->iov[write->n_iov++] = piece_of(segment->base, segment->len);
            write->bytes += segment->len;
        }
    }
    write->n_rows = i;
}

/* The errno of a refused write: the queue takes over, or the end has come. */
static void on_refused(struct link *link, int error)
{
    link->is_unwakeable = error == -ENOBUFS || error == -ENOMEM;
    if (!link->is_unwakeable && error != -EAGAIN && error != -EWOULDBLOCK && error != -EINTR)
        link_fail_errno(link, "writing failed", error);
}

/* Writes past the empty queue. Returns how many rows are sent; *ret_sent: bytes of the next ones that are. */
static size_t write_rows(struct link *link, const struct frame *const *rows, size_t n, size_t *ret_sent)
{
    size_t done = 0;

    while (done < n) {
        struct stream_write write;
        ssize_t sent;

        gather(rows + done, n - done, &write);
        if (write.n_rows == 0)
            break; /* more pieces than one write takes: the queue makes one of them */
        sent = batch_write(link->fd, write.iov, write.n_iov);
        if (sent <= 0) {
            on_refused(link, sent == 0 ? -EAGAIN : (int)sent);
            break;
        }
        link->is_unwakeable = false;
        if ((size_t)sent < write.bytes) {
            link_took(link); /* the queue begins now */
            *ret_sent = (size_t)sent;
            break;
        }
        link_sent(link, write.n_frames, write.bytes - write.n_frames * FRAME_PREFIX);
        done += write.n_rows;
    }
    return done;
}

/* The frames of *n rows by themselves, valid until the next call; *n: how many. */
static const struct frame *const *spread(struct io *io, const struct frame *const *rows, size_t *n)
{
    size_t n_frames = 0;

    for (size_t i = 0; i < *n; i++)
        n_frames += row_count(rows[i]);
    if (n_frames == *n)
        return rows;
    for (size_t i = 0, at = 0; i < *n; i++)
        at += row_spread(rows[i], 1, io->singles + at);
    for (size_t i = 0; i < n_frames; i++)
        io->single[i] = &io->singles[i];
    *n = n_frames;
    return io->single;
}

/* Counts the frames that the first 'sent' bytes complete; the one they begin goes to the queue as a rest, and
 * so do all behind it. */
static void keep(struct link *link, const struct frame *const *rows, size_t n, size_t sent)
{
    const struct frame *const *frames = spread(link->io, rows, &n);
    size_t whole = 0, i;

    for (i = 0; i < n && sent >= FRAME_PREFIX + (size_t)frames[i]->len; i++) {
        sent -= FRAME_PREFIX + (size_t)frames[i]->len;
        whole += frames[i]->len;
    }
    link_sent(link, i, whole);
    if (sent > 0)
        queue_push_rest(&link->resume->out, frames[i++], sent);
    link_keep(link, frames + i, n - i);
}

static void stream_send(struct port *port, const struct frame *const *rows, size_t n)
{
    struct link *link = port->link;
    size_t done = 0, sent = 0;

    rows = link_wrap(link, rows, n);
    if (link->state == LINK_SERVING && queue_is_empty(&link->resume->out))
        done = write_rows(link, rows, n, &sent);
    if (done < n)
        keep(link, rows + done, n - done, sent);
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

static const struct port_ops stream_ops = {.send = stream_send, .takes_rows = true};

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

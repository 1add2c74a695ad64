/* io/link.c - the life of a link, whatever its kind, see link.h and link_internal.h
 *
 * The good path: link_open -> on_poll -> class->on_readable; class->flush when the socket has room again.
 * The end: link_fail (found while reading or sending) or link_close (asked for) -> io's chores -> class->end
 * -> link_unplug -> link_release -> link_on_handle_closed -> on_closed.
 */
#include "io/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/link_internal.h"
#include "io/socket_platform.h"

const char *link_kind_name(enum link_kind kind)
{
    static const char *const names[] = {"stream", "datagram", "tap"};

    _Static_assert(sizeof names / sizeof *names == LINK_N_KINDS, "a name per kind");
    return names[kind];
}

/* ---- life ---- */

int link_init(struct link *link, struct io *io, const struct link_class *class, const struct port_ops *ops)
{
    link->resume = resume_create(&io->settings);
    if (!link->resume)
        return UV_ENOMEM;
    link->resume->kind = class->kind;
    link->class = class;
    link->ops = ops;
    link->io = io;
    link->fd = -1;
    link->state = LINK_IDLE;
    link->retry_ms = LINK_RETRY_MIN_MS;
    list_init(&link->of_io);
    list_init(&link->of_ending);
    list_init(&link->of_waiting);
    list_init(&link->of_pushing);
    list_init(&link->of_probed);
    list_init(&link->of_later);
    list_append(&io->links, &link->of_io);
    return 0;
}

void link_deinit(struct link *link)
{
    list_remove(&link->of_io);
    list_remove(&link->of_ending);
    list_remove(&link->of_waiting);
    list_remove(&link->of_pushing);
    list_remove(&link->of_probed);
    list_remove(&link->of_later);
    resume_destroy(link->resume);
}

/* libuv makes every description that it polls non-blocking; a client may share this one and rely on its
 * flags. */
static int init_poll(struct link *link, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    int r = uv_poll_init(link->io->loop, &link->poll, fd);

    if (r == 0 && flags >= 0 && !(flags & O_NONBLOCK))
        socket_restore_blocking(fd, flags);
    return r;
}

int link_open_handles(struct link *link, int fd)
{
    if (fd >= 0) {
        int r = init_poll(link, fd);

        if (r < 0)
            return r;
        link->poll.data = link;
        link->has_poll = true;
        link->n_handles++;
    }
    uv_timer_init(link->io->loop, &link->timer);
    link->timer.data = link;
    link->n_handles++;
    link->fd = fd;
    return 0;
}

int link_open_as(struct link *link, struct io *io, struct port *port, int fd, const struct link_class *class,
                 const struct port_ops *ops, link_closed_fn *on_closed, void *ctx)
{
    int r = link_init(link, io, class, ops);

    if (r < 0)
        return r;
    r = link_open_handles(link, fd);
    if (r < 0) {
        link_deinit(link);
        return r;
    }
    link->on_closed = on_closed;
    link->ctx = ctx;
    link_plug(link, port);
    link_want(link, UV_READABLE);
    return 0;
}

int link_open(struct io *io, struct port *port, int fd, const struct link_class *class,
              const struct port_ops *ops, link_closed_fn *on_closed, void *ctx)
{
    struct link *link = calloc(1, sizeof *link);
    int r = link ? link_open_as(link, io, port, fd, class, ops, on_closed, ctx) : UV_ENOMEM;

    if (r < 0)
        free(link);
    return r;
}

/* The longest frame that may be sent to the port. */
static uint32_t longest_of(const struct port *port)
{
    return port->offload == OFFLOAD_OFF ? port->frame_max : FRAME_OFFLOAD_MAX;
}

void link_plug(struct link *link, struct port *port)
{
    struct peer peer;

    peer_of(link->fd, &peer);
    link->resume->is_peer_known = peer.is_known;
    link->resume->peer_uid = (uint32_t)peer.uid;
    link->resume->peer_gid = (uint32_t)peer.gid;
    link->resume->peer_pid = (int32_t)peer.pid;
    memcpy(link->resume->port, port->name, sizeof link->resume->port);
    link->port = port;
    queue_resize(&link->resume->out, io_queue_size(&link->io->settings, longest_of(port)));
    link->header_len = port->offload == OFFLOAD_VIRTIO ? VNET_HEADER : 0;
    link->state = LINK_SERVING;
    link->is_greeted = false;
    link->n_idle_reads = 0;
    link->is_unwakeable = false;
    link->retry_ms = LINK_RETRY_MIN_MS;
    link->reason[0] = '\0';
    port_plug(port, link->ops, link);
}

void link_unplug(struct link *link)
{
    struct port *port = link->port;

    list_remove(&link->of_waiting);
    list_remove(&link->of_probed);
    link_stop_pushing(link);
    if (!port || port->link != link)
        return;
    link_drop(link, DROP_link_closed, queue_clear(&link->resume->out));
    port->queued = 0;
    if (link->resume->in_len > 0)
        port_drop_in(port, DROP_cut_short,
                     link->resume->in_len > FRAME_PREFIX ? link->resume->in_len - FRAME_PREFIX : 0);
    link->resume->in_len = 0;
    port_unplug(port);
}

void link_on_handle_closed(uv_handle_t *handle)
{
    struct link *link = handle->data;
    link_closed_fn *on_closed = link->on_closed;
    struct port *port = link->port;
    void *ctx = link->ctx;
    char reason[LINK_REASON_SIZE];

    if (--link->n_handles > 0)
        return;
    memcpy(reason, link->reason, sizeof reason);
    if (link->has_poll)
        close(link->fd);
    link_deinit(link);
    if (link->class->free) {
        link->class->free(link);
        return;
    }
    free(link);
    on_closed(port, ctx, reason);
}

void link_release(struct link *link)
{
    if (link->state == LINK_CLOSING)
        return;
    link->state = LINK_CLOSING;
    list_remove(&link->of_ending);
    if (link->has_poll)
        uv_close((uv_handle_t *)&link->poll, link_on_handle_closed);
    uv_close((uv_handle_t *)&link->timer, link_on_handle_closed);
}

void link_end(struct link *link)
{
    link_unplug(link);
    link_release(link);
}

void link_fail(struct link *link, const char *reason)
{
    if (link->state != LINK_SERVING)
        return;
    link->state = LINK_ENDING;
    (void)snprintf(link->reason, sizeof link->reason, "%s", reason);
    link_want(link, 0);
    list_append(&link->io->ending, &link->of_ending);
    io_chores_soon(link->io);
}

void link_fail_errno(struct link *link, const char *what, int error)
{
    char reason[LINK_REASON_SIZE];

    (void)snprintf(reason, sizeof reason, "%s: %s", what, strerror(-error));
    link_fail(link, reason);
}

static void on_drained(uv_timer_t *timer)
{
    link_release(timer->data);
}

void link_close(struct port *port, enum link_close how, const char *reason)
{
    struct link *link = port->link;

    if (!link)
        return;
    if (link->state == LINK_SERVING)
        (void)snprintf(link->reason, sizeof link->reason, "%s", reason);
    if (link->state == LINK_SERVING && how == LINK_CLOSE_DRAIN && link->class->drains) {
        link_unplug(link);
        link->state = LINK_DRAINING;
        link_want(link, UV_READABLE);
        uv_timer_start(&link->timer, on_drained, LINK_DRAIN_MS, 0);
        return;
    }
    link_fail(link, reason);
    link_unplug(link);
}

void link_status(const struct port *port, struct link_status *ret_status)
{
    const struct link *link = port->link;

    *ret_status = (struct link_status){.kind = LINK_STREAM};
    if (!link)
        return;
    ret_status->kind = link->class->kind;
    ret_status->queued_bytes = link->resume->out.len;
    if (!queue_is_empty(&link->resume->out))
        ret_status->stalled_since_ms = link->took_at_us / 1000;
}

/* ---- wake-ups ---- */

/* The peer was blocked in a write: it gets the chance to finish it, and sees the end only then. */
static void discard(struct link *link)
{
    ssize_t n = batch_read(link->fd, link->io->stream_bytes, link->io->settings.read_bytes);

    if (n == 0 || (n < 0 && n != -EAGAIN && n != -EWOULDBLOCK && n != -EINTR))
        link_release(link);
}

/* libuv stops the handle when the socket has an error and leaves it to us to find out which. What a stream's
 * peer sent before it died is still to be read, and its error comes behind that; a datagram socket's error
 * (ECONNRESET: the client has connected elsewhere) is taken here. */
static void on_socket_error(struct link *link)
{
    int error = 0;
    socklen_t len = sizeof error;
    int wanted = link->events;

    link->events = 0;
    if (link->class->kind == LINK_DATAGRAM)
        (void)getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0)
        link_fail_errno(link, "the client has left", -error);
    if (link->state != LINK_ENDING)
        link_want(link, wanted);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link *link = poll->data;

    if (status < 0) {
        on_socket_error(link);
        events = link->events & UV_READABLE;
    }
    if (link->state == LINK_DRAINING) {
        discard(link);
        return;
    }
    if ((events & UV_WRITABLE) && link->state == LINK_SERVING) {
        link->class->flush(link);
        link_settle(link);
    }
    if ((events & UV_READABLE) && (link->state == LINK_SERVING || link->state == LINK_IDLE)) {
        io_ready(link->io, &link->ready_ms);
        if (!io_goes_later(link))
            link->class->on_readable(link);
    }
}

void link_want(struct link *link, int events)
{
    if (!link->has_poll || events == link->events || link->state == LINK_CLOSING)
        return;
    link->events = events;
    if (events == 0)
        uv_poll_stop(&link->poll);
    else
        uv_poll_start(&link->poll, events, on_poll);
}

/* Flushes where no wake-up tells when; the next try comes the later the longer nothing goes. */
static void try_again(struct link *link)
{
    uint64_t took_at_us = link->took_at_us;

    link->class->flush(link);
    if (link->took_at_us != took_at_us)
        link->retry_ms = LINK_RETRY_MIN_MS;
    else if (link->retry_ms * 2 < LINK_RETRY_MAX_MS)
        link->retry_ms *= 2;
    else
        link->retry_ms = LINK_RETRY_MAX_MS;
}

static void on_retry(uv_timer_t *timer)
{
    struct link *link = timer->data;

    if (link->state != LINK_SERVING)
        return;
    try_again(link);
    link_settle(link);
}

/* ---- receiving ---- */

enum lan_verdict link_receive(struct link *link, size_t n_frames, bool may_wait)
{
    struct io *io = link->io;
    enum lan_verdict verdict;

    io->source = link;
    verdict = lan_receive(io->lan, link->port, io->frames, n_frames, may_wait, uv_now(io->loop));
    io->source = NULL;
    return verdict;
}

/* ---- sending ---- */

void link_took(struct link *link)
{
    link->took_at_us = io_now_us();
    link->is_unwakeable = false;
}

void link_sent(struct link *link, size_t n, size_t wire_bytes)
{
    link->port->counters.frames_out += n;
    link->port->counters.bytes_out += wire_bytes - n * link->header_len;
}

const struct frame *const *link_wrap(struct link *link, const struct frame *const *frames, size_t n)
{
    return link->header_len > 0 ? vnet_wrap(&link->io->vnet, frames, n) : frames;
}

void link_drop(struct link *link, enum drop_reason reason, size_t n)
{
    link->port->counters.drops[reason] += n;
}

void link_stop_pushing(struct link *link)
{
    if (list_is_empty(&link->of_pushing))
        return;
    list_remove(&link->of_pushing);
    link->port->pushes_back = false;
    if (list_is_empty(&link->io->waiting))
        return;
    link->io->is_relieved = true;
    io_chores_soon(link->io);
}

static bool is_over_mark(const struct queue *queue)
{
    return queue->n_frames >= queue->frames_max / 2 || queue->len >= queue->size / 2;
}

static bool is_under_mark(const struct queue *queue)
{
    return queue->n_frames < queue->frames_max / 4 && queue->len < queue->size / 4;
}

/* Time since 'at_us' by the clock of this turn of the loop: asked for each copy to a stuck port, so it must
 * not cost a look at the real one. */
static uint64_t elapsed_us(const struct link *link, uint64_t at_us)
{
    const uint64_t turn_us = uv_now(link->io->loop) * 1000;

    return turn_us > at_us ? turn_us - at_us : 0;
}

/* A port pushes back from half of a limit on and until a quarter, and only while its reader is reading: one
 * that has taken nothing for PRESSURE_STALLED_US costs nobody a wait. */
static void update_pressure(struct link *link)
{
    const struct queue *queue = &link->resume->out;
    struct port *port = link->port;
    bool is_stalled;

    if (!port->pushes_back && !is_over_mark(queue))
        return;
    is_stalled = elapsed_us(link, link->took_at_us) > PRESSURE_STALLED_US;
    if (!port->pushes_back && !is_stalled) {
        port->pushes_back = true;
        list_append(&link->io->pushing, &link->of_pushing);
    } else if (port->pushes_back && (is_under_mark(queue) || is_stalled)) {
        link_stop_pushing(link);
    }
}

/* A full socket's wake-up comes only when most of its buffer is free (see io_refresh_pushing). So a port
 * whose queue is past its mark is asked before more is queued, or it would lose frames while it reads: each
 * time if it is known to read; now and then if it looks stalled, for its reader may just not have been
 * scheduled. */
static void ask_again(struct link *link)
{
    if (link->is_unwakeable || !is_over_mark(&link->resume->out))
        return;
    if (link->port->pushes_back) {
        link->class->flush(link);
    } else if (elapsed_us(link, link->asked_at_us) >= link->retry_ms * UINT64_C(1000)) {
        link->asked_at_us = uv_now(link->io->loop) * 1000;
        try_again(link);
    }
}

void link_settle(struct link *link)
{
    struct port *port = link->port;
    bool is_empty = queue_is_empty(&link->resume->out);

    if (link->state != LINK_SERVING)
        return;
    port->queued = link->resume->out.n_frames;
    update_pressure(link);
    if (is_empty)
        link->retry_ms = LINK_RETRY_MIN_MS;
    if (!is_empty && link->is_unwakeable) {
        if (!uv_is_active((const uv_handle_t *)&link->timer))
            uv_timer_start(&link->timer, on_retry, link->retry_ms, 0);
        is_empty = true; /* a poll for room would say "room" at once, and for ever */
    }
    link_want(link, (link->events & UV_READABLE) | (is_empty ? 0 : UV_WRITABLE));
}

static bool is_down_to_reserve(const struct queue *queue)
{
    return queue->n_frames >= queue->frames_max - queue->frames_max / LINK_RESERVE ||
           queue->len >= queue->size - queue->size / LINK_RESERVE;
}

/* The last part of a queue is for sources that send little: where one floods a port that cannot take it all,
 * another's frames would find the queue full as often as the flood's. So each source has a right to so many
 * frames a ms there, and a few saved up. */
static bool may_use_reserve(struct link *source)
{
    uint64_t now_ms, saved;

    if (!source)
        return true;
    now_ms = uv_now(source->io->loop);
    saved = source->reserve_right + (now_ms - source->reserve_at_ms) * LINK_RESERVE_PER_MS;
    source->reserve_at_ms = now_ms;
    source->reserve_right = saved < LINK_RESERVE_MAX ? (unsigned)saved : LINK_RESERVE_MAX;
    if (source->reserve_right == 0)
        return false;
    source->reserve_right--;
    return true;
}

void link_keep(struct link *link, const struct frame *const *frames, size_t n)
{
    struct queue *queue = &link->resume->out;

    if (link->state == LINK_SERVING)
        ask_again(link);
    if (link->state != LINK_SERVING) {
        link_drop(link, DROP_link_closed, n);
        return;
    }
    if (n > 0 && queue_is_empty(queue))
        link->took_at_us = io_now_us(); /* the clock of a stall starts here */
    for (size_t i = 0; i < n; i++)
        if ((is_down_to_reserve(queue) && !may_use_reserve(link->io->source)) ||
            !queue_push(queue, frames[i]))
            link_drop(link, DROP_queue_full, 1);
    io_keep(link);
    link_settle(link);
}

bool link_may_wait(struct link *link)
{
    struct io *io = link->io;

    if (list_is_empty(&io->pushing))
        return false;
    io_refresh_pushing(io);
    /* An allowance shorter than the longest wait is not used: the timer could not keep to it. */
    return !list_is_empty(&io->pushing) &&
           pressure_allowance_us(&link->pressure, io_now_us()) >= PRESSURE_PAUSE_MAX_US;
}

/* io/dgram_path.c - the datagram path of one port, one client at a time, see link.h
 *
 * The good path: a datagram from a bound source -> adopt: the client is asked for, connected back, plugged
 * in; from then on this is a connected datagram link (link_datagram.c). Connected, because then neither side
 * is held to the kernel's queue of 10 datagrams, and a full queue is followed by a wake-up.
 *
 * The price: while we are connected to a client, nobody else can reach the path, and a client that is gone
 * shows nothing. So a silent client is asked for every DGRAM_PATH_PROBE_MS, without a datagram:
 *   its file is another one now          gone, and its successor waits to get in
 *   the file is there, nobody behind     gone
 *   somebody is there                    alive
 *   no file                              clients may unlink theirs, so this alone says nothing. When the file
 *                                        has just gone (vfkit removes its own on the way out), and after
 *                                        each UNLINKED_ASK_MS of silence, it is asked by a frame that no
 *                                        guest takes for its own: the kernel answers "refused" if it is gone
 *
 * A send that is refused ends it at once. The end: disconnect (which also empties the socket's receive
 * queue), empty ours, unplug: a new client of the same path gets nothing old.
 *
 * A greeting from the client that we have is a new life of the same client: gone and adopted again.
 */
#include "io/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/dgram_address.h"
#include "io/link_internal.h"
#include "io/piece.h"
#include "io/socket.h"
#include "io/socket_platform.h"

enum { UNLINKED_ASK_MS = 5000 };

struct dgram_path {
    struct link link; /* first: link->class->free gets the whole */
    const struct dgram_path_events *events;
    void *ctx;
    struct dgram_address client;
    struct dgram_refusals refusals;
    bool is_connected;
    bool hears_client_only; /* what others had sent before we connected has been read */
    bool is_heard;          /* since the last probe */
    bool has_file;          /* at the last probe that found it silent */
    uint64_t asked_at_ms;
};

static struct dgram_path *path_of(struct link *link)
{
    return (struct dgram_path *)(void *)link;
}

/* ---- a client leaves ---- */

static void disconnect(struct dgram_path *path)
{
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    if (!path->is_connected)
        return;
    /* Some systems report an error for the address and disconnect all the same. */
    (void)connect(path->link.fd, &nobody, sizeof nobody);
    path->is_connected = false;
}

static void lose_client(struct dgram_path *path, const char *reason)
{
    struct link *link = &path->link;

    link_unplug(link);
    list_remove(&link->of_ending);
    uv_timer_stop(&link->timer);
    link->state = LINK_IDLE;
    link_want(link, UV_READABLE);
    path->events->on_client_gone(path->ctx, link->port, reason);
}

static void end_client(struct link *link)
{
    char reason[LINK_REASON_SIZE];

    memcpy(reason, link->reason, sizeof reason);
    disconnect(path_of(link));
    lose_client(path_of(link), reason);
}

/* ---- is it still there? ---- */

/* Behind a header (vnet.h) where the client has one. Not of the network: it is not counted. */
static bool is_refusing(struct link *link)
{
    uint8_t wire[VNET_HEADER + DGRAM_QUESTION_LEN] = {[10] = 1}; /* one buffer */
    size_t skipped = VNET_HEADER - link->header_len;
    const struct frame question = {.head = wire + skipped, .head_len = (uint32_t)(sizeof wire - skipped)};
    int r;

    dgram_address_make_question(wire + VNET_HEADER);
    r = batch_send(&link->io->batch, link->fd, &(const struct frame *){&question}, 1, NULL, 0);
    return r == -ECONNREFUSED || r == -ENOTCONN || r == -ECONNRESET;
}

static void probe(struct link *link)
{
    struct dgram_path *path = path_of(link);
    uint64_t now_ms = uv_now(link->io->loop);
    int r;

    if (link->state != LINK_SERVING)
        return;
    if (path->is_heard) {
        path->is_heard = false;
        path->asked_at_ms = now_ms;
        return;
    }
    if (dgram_address_is_replaced(&path->client)) {
        link_fail(link, "another client has bound its address");
        return;
    }
    r = dgram_address_probe(&path->client);
    if (r == -ENOENT && (path->has_file || now_ms - path->asked_at_ms >= UNLINKED_ASK_MS)) {
        path->has_file = false;
        path->asked_at_ms = now_ms;
        if (is_refusing(link))
            r = -ECONNREFUSED;
    }
    if (r == -ECONNREFUSED)
        link_fail(link, "the client has left");
}

/* ---- a client comes ---- */

static void refuse(struct dgram_path *path, const struct batch_slot *slot)
{
    port_drop_in(path->link.port, DROP_not_peer, slot->len);
}

/* False: this source cannot be answered, or the owner does not want it. */
static bool is_welcome(struct dgram_path *path, struct dgram_address *source)
{
    struct port *port = path->link.port;
    uint64_t now_ms = uv_now(path->link.io->loop);
    int r = dgram_address_probe(source);

    if (r == -EACCES || r == -ENOENT) {
        if (dgram_refusals_note(&path->refusals, source, true, now_ms))
            path->events->on_denied(path->ctx, port, source->path, r);
        return false;
    }
    if (r == -ECONNREFUSED || !path->events->on_client(path->ctx, port, source->path)) {
        dgram_refusals_note(&path->refusals, source, false, now_ms);
        return false;
    }
    return path->link.state == LINK_IDLE;
}

/* Returns true if the datagram was a greeting or is dropped; false: it is the client's first frame. */
static bool adopt(struct dgram_path *path, const struct batch_slot *slot)
{
    struct link *link = &path->link;
    struct dgram_address source;

    if (link->port->ops || !dgram_address_of(&source, slot) ||
        dgram_refusals_hold(&path->refusals, slot, uv_now(link->io->loop)) || !is_welcome(path, &source)) {
        refuse(path, slot);
        return true;
    }
    if (connect(link->fd, (const struct sockaddr *)&source.name, source.len) < 0) {
        refuse(path, slot);
        path->events->on_client_gone(path->ctx, link->port, "the client could not be connected back");
        return true;
    }
    path->is_connected = true;
    path->hears_client_only = false;
    path->client = source;
    dgram_address_note_file(&path->client);
    path->is_heard = path->has_file = true;
    path->asked_at_ms = uv_now(link->io->loop);
    link_plug(link, link->port);
    link->is_greeted = true;
    io_probe(link);
    return slot->len < FRAME_LEN_MIN;
}

static bool is_from_client(const struct dgram_path *path, const struct batch_slot *slot)
{
    return path->hears_client_only || dgram_address_is_from(&path->client, slot);
}

/* Frames of the client from slot i on. Returns the slot behind them: a stranger's, or a greeting. */
static size_t deliver_run(struct dgram_path *path, size_t i, size_t n)
{
    const struct batch_slot *slots = path->link.io->batch.slots;
    size_t first = i;

    while (i < n && is_from_client(path, &slots[i]) && !datagram_is_greeting(&slots[i]))
        i++;
    if (i > first) {
        path->is_heard = true;
        datagram_deliver(&path->link, first, i - first);
    }
    return i;
}

static void take_batch(struct dgram_path *path, size_t n)
{
    struct link *link = &path->link;
    const struct batch_slot *slots = link->io->batch.slots;
    size_t i = 0;

    while (i < n && link->state != LINK_CLOSING) {
        if (link->state == LINK_IDLE) {
            if (adopt(path, &slots[i]))
                i++;
        } else if (link->state != LINK_SERVING || !is_from_client(path, &slots[i])) {
            /* A stranger's was in the socket's queue before we connected. */
            refuse(path, &slots[i++]);
        } else if (datagram_is_greeting(&slots[i])) {
            /* Still connected: where it is the same socket, connecting again changes and loses nothing. */
            lose_client(path, "the client has started anew");
        } else {
            i = deliver_run(path, i, n);
        }
    }
    if (link->state == LINK_IDLE)
        disconnect(path);
}

/* Datagrams of the only one there is come without their source. */
static void put_sources(const struct dgram_path *path, struct batch_slot *slots, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (datagram_is_greeting(&slots[i])) {
            slots[i].from = path->client.name;
            slots[i].from_len = path->client.len;
        }
}

static void on_readable(struct link *link)
{
    struct dgram_path *path = path_of(link);
    struct batch *batch = &link->io->batch;
    unsigned max = io_batch_size(link->io, link->has_big);
    bool wants_sources = !path->is_connected || !path->hears_client_only;
    int n = batch_receive(batch, link->fd, max, wants_sources);

    if (n > 0 && !wants_sources)
        put_sources(path, batch->slots, (size_t)n);
    if (path->is_connected && n < (int)max)
        path->hears_client_only = socket_hears_peer_only();
    if (n > 0)
        take_batch(path, (size_t)n);
    else if (n != -EAGAIN && n != -EWOULDBLOCK && n != -EINTR)
        link_fail_errno(link, "the client has left", n);
}

/* ---- life ---- */

static void free_path(struct link *link)
{
    free(path_of(link));
}

static const struct port_ops path_ops = {.send = datagram_send};

static const struct link_class path_class = {
    .kind = LINK_DATAGRAM,
    .on_readable = on_readable,
    .flush = datagram_flush,
    .end = end_client,
    .probe = probe,
    .free = free_path,
};

int dgram_path_open(struct dgram_path **ret_path, struct io *io, struct port *port, int fd,
                    const struct dgram_path_events *events, void *ctx)
{
    struct dgram_path *path = calloc(1, sizeof *path);
    int r;

    if (!path)
        return UV_ENOMEM;
    r = link_init(&path->link, io, &path_class, &path_ops);
    if (r < 0)
        goto free_path;
    r = link_open_handles(&path->link, fd);
    if (r < 0)
        goto deinit_link;
    socket_set_buffers(fd, (int)io->settings.socket_bytes);
    path->link.port = port;
    path->events = events;
    path->ctx = ctx;
    link_want(&path->link, UV_READABLE);
    *ret_path = path;
    return 0;

deinit_link:
    link_deinit(&path->link);
free_path:
    free(path);
    return r;
}

void dgram_path_close(struct dgram_path *path)
{
    if (!path || path->link.state == LINK_CLOSING)
        return;
    link_unplug(&path->link);
    link_release(&path->link);
}

/* io/dgram_hub.c - the shared datagram path of a network, see link.h
 *
 * The good path: a batch of datagrams with their sources; each run of one source goes to the lan as that
 * client's; replies leave by the same socket with the client's address. It is never connected, so any number
 * of clients share it, and none can be told "writable": a socket of this kind always looks so. A full client
 * is therefore tried again by its link's timer, 1 ms later and more and more seldom up to 50 ms.
 *
 * What can go wrong: a client is gone (a send is refused, or a silent one does not answer the probe every
 * HUB_PROBE_MS): its port is unplugged and its place is free. A client has bound the same path anew: noticed
 * by its greeting, or by the file, before anything queued is sent there. A source without a path cannot be
 * answered: refused and counted.
 */
#include "io/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/dgram_address.h"
#include "io/link_internal.h"
#include "io/socket.h"

enum {
    HUB_BUCKETS = 256, /* about one client each: a network has at most 256 ports */
    HUB_PROBE_MS = 5000,
};

struct hub_client {
    struct link link; /* first: link->class->free gets the whole */
    struct dgram_hub *hub;
    struct dgram_address address;
    struct hub_client *next; /* in its bucket */
    struct list of_hub;
    bool is_heard; /* since the last probe */
};

struct dgram_hub {
    struct io *io;
    const struct dgram_hub_events *events;
    void *ctx;
    int fd;
    uint64_t ready_ms; /* see io_ready() */
    bool is_closing;
    struct hub_client *buckets[HUB_BUCKETS];
    struct hub_client *last; /* the last found: datagrams come in runs */
    struct list clients;
    uint64_t n_refused;
    struct dgram_refusals refusals;
    uv_poll_t poll;
    uv_timer_t probe;
    unsigned n_handles;
};

static struct hub_client *client_of(struct link *link)
{
    return (struct hub_client *)(void *)link;
}

/* ---- the table: source address -> client ---- */

/* FNV-1a. Clients choose their addresses, but there are few, and a walk is short at worst. */
static struct hub_client **bucket_of(struct dgram_hub *hub, const struct sockaddr_un *name, socklen_t len)
{
    uint32_t hash = 2166136261U;

    for (size_t i = offsetof(struct sockaddr_un, sun_path); i < len; i++)
        hash = (hash ^ (uint8_t)((const char *)name)[i]) * 16777619U;
    return &hub->buckets[hash % HUB_BUCKETS];
}

static struct hub_client *find(struct dgram_hub *hub, const struct batch_slot *slot)
{
    if (hub->last && dgram_address_is_from(&hub->last->address, slot))
        return hub->last;
    for (struct hub_client *c = *bucket_of(hub, &slot->from, slot->from_len); c; c = c->next)
        if (dgram_address_is_from(&c->address, slot)) {
            hub->last = c;
            return c;
        }
    return NULL;
}

static void on_probe(uv_timer_t *timer)
{
    struct dgram_hub *hub = timer->data;

    for (struct list *node = hub->clients.next; node != &hub->clients; node = node->next) {
        struct hub_client *client = LIST_OWNER(node, struct hub_client, of_hub);
        int r;

        if (client->is_heard) {
            client->is_heard = false;
            continue;
        }
        r = dgram_address_probe(&client->address);
        if (r == -ECONNREFUSED || r == -ENOENT)
            link_fail(&client->link, "the client has left");
        else if (dgram_address_is_replaced(&client->address))
            link_fail(&client->link, "another client has bound its address");
    }
    if (list_is_empty(&hub->clients))
        uv_timer_stop(timer);
}

static void insert(struct dgram_hub *hub, struct hub_client *client)
{
    struct hub_client **bucket = bucket_of(hub, &client->address.name, client->address.len);

    client->next = *bucket;
    *bucket = client;
    list_append(&hub->clients, &client->of_hub);
    if (!uv_is_active((const uv_handle_t *)&hub->probe))
        uv_timer_start(&hub->probe, on_probe, HUB_PROBE_MS, HUB_PROBE_MS);
}

/* Takes the client out of the table and its port; its memory goes on a later turn. */
static void forget(struct hub_client *client)
{
    struct dgram_hub *hub = client->hub;
    struct hub_client **at = bucket_of(hub, &client->address.name, client->address.len);

    while (*at && *at != client)
        at = &(*at)->next;
    if (*at)
        *at = client->next;
    if (hub->last == client)
        hub->last = NULL;
    list_remove(&client->of_hub);
    link_end(&client->link);
}

/* ---- a client ---- */

static void lose(struct hub_client *client, const char *reason)
{
    struct dgram_hub *hub = client->hub;

    forget(client);
    hub->events->on_client_gone(hub->ctx, client->link.port, reason);
}

static void end_client(struct link *link)
{
    lose(client_of(link), link->reason);
}

static void free_client(struct link *link)
{
    free(client_of(link));
}

/* By the retry timer only, so the look at the file costs the frame path nothing. */
static void flush(struct link *link)
{
    if (dgram_address_is_replaced(&client_of(link)->address))
        link_fail(link, "another client has bound its address");
    else
        datagram_flush(link);
}

static const struct port_ops hub_ops = {.send = datagram_send};

static const struct link_class hub_class = {
    .kind = LINK_DATAGRAM,
    .flush = flush,
    .end = end_client,
    .free = free_client,
};

static struct hub_client *make_client(struct dgram_hub *hub, const struct dgram_address *source)
{
    struct hub_client *client = calloc(1, sizeof *client);
    struct port *port;

    if (!client)
        return NULL;
    list_init(&client->of_hub);
    if (link_init(&client->link, hub->io, &hub_class, &hub_ops) < 0) {
        free(client);
        return NULL;
    }
    port = hub->events->on_client(hub->ctx, source->path);
    if (!port) {
        link_deinit(&client->link);
        free(client);
        return NULL;
    }
    (void)link_open_handles(&client->link, -1); /* a timer only: cannot fail */
    client->hub = hub;
    client->address = *source;
    dgram_address_note_file(&client->address);
    client->link.fd = hub->fd;
    client->link.to = &client->address.name;
    client->link.to_len = client->address.len;
    insert(hub, client);
    link_plug(&client->link, port);
    return client;
}

/* Returns NULL if the source cannot be answered or is not wanted. */
static struct hub_client *adopt(struct dgram_hub *hub, const struct batch_slot *slot)
{
    uint64_t now_ms = uv_now(hub->io->loop);
    struct hub_client *client = NULL;
    struct dgram_address source;
    int r;

    if (!dgram_address_of(&source, slot) || dgram_refusals_hold(&hub->refusals, slot, now_ms))
        return NULL;
    r = dgram_address_probe(&source);
    if (r != -EACCES && r != -ECONNREFUSED && r != -ENOENT)
        client = make_client(hub, &source);
    if (!client && dgram_refusals_note(&hub->refusals, &source, r == -EACCES || r == -ENOENT, now_ms))
        hub->events->on_denied(hub->ctx, source.path, r);
    return client;
}

/* ---- receiving ---- */

static size_t run_len(const struct batch_slot *slots, size_t n)
{
    size_t len = 1;

    while (len < n && slots[len].from_len == slots[0].from_len &&
           memcmp(&slots[len].from, &slots[0].from, slots[0].from_len) == 0 &&
           !datagram_is_greeting(&slots[len]))
        len++;
    return len;
}

/* n datagrams of one source, of which only the first can be a greeting. */
static void take_run(struct dgram_hub *hub, size_t first, size_t n)
{
    const struct batch_slot *slot = &hub->io->batch.slots[first];
    struct hub_client *client = find(hub, slot);
    bool is_greeting = datagram_is_greeting(slot);

    if (client && (is_greeting || client->link.state != LINK_SERVING)) {
        lose(client, "the client has started anew");
        client = NULL;
    }
    if (!client && !hub->is_closing) {
        client = adopt(hub, slot);
        is_greeting = slot->len < FRAME_LEN_MIN;
    }
    if (!client) {
        hub->n_refused += n;
        return;
    }
    client->is_heard = true;
    client->link.is_greeted = true;
    datagram_deliver(&client->link, first + is_greeting, n - is_greeting);
}

static void on_datagrams(uv_poll_t *poll, int status, int events)
{
    struct dgram_hub *hub = poll->data;
    struct batch *batch = &hub->io->batch;
    int n;

    (void)events;
    if (status < 0) /* libuv has stopped it; the error is in nobody's way */
        uv_poll_start(&hub->poll, UV_READABLE, on_datagrams);
    io_ready(hub->io, &hub->ready_ms);
    n = batch_receive(batch, hub->fd, io_batch_size(hub->io, hub->last && hub->last->link.has_big), true);
    for (size_t i = 0; n > 0 && i < (size_t)n && !hub->is_closing;) {
        size_t len = run_len(&batch->slots[i], (size_t)n - i);

        take_run(hub, i, len);
        i += len;
    }
}

/* ---- life ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct dgram_hub *hub = handle->data;

    if (--hub->n_handles > 0)
        return;
    close(hub->fd);
    free(hub);
}

int dgram_hub_open(struct dgram_hub **ret_hub, struct io *io, int fd, const struct dgram_hub_events *events,
                   void *ctx)
{
    struct dgram_hub *hub = calloc(1, sizeof *hub);
    int r;

    if (!hub)
        return UV_ENOMEM;
    hub->io = io;
    hub->events = events;
    hub->ctx = ctx;
    hub->fd = fd;
    list_init(&hub->clients);
    r = uv_poll_init(io->loop, &hub->poll, fd);
    if (r < 0) {
        free(hub);
        return r;
    }
    socket_set_buffers(fd, (int)io->settings.socket_bytes);
    uv_timer_init(io->loop, &hub->probe);
    hub->poll.data = hub;
    hub->probe.data = hub;
    hub->n_handles = 2;
    uv_poll_start(&hub->poll, UV_READABLE, on_datagrams);
    *ret_hub = hub;
    return 0;
}

void dgram_hub_detach(struct dgram_hub *hub, struct port *port)
{
    struct link *link = port->link;

    if (!link || link->class != &hub_class || client_of(link)->hub != hub)
        return;
    forget(client_of(link));
}

void dgram_hub_close(struct dgram_hub *hub)
{
    if (!hub || hub->is_closing)
        return;
    hub->is_closing = true;
    while (!list_is_empty(&hub->clients))
        forget(LIST_OWNER(hub->clients.next, struct hub_client, of_hub));
    uv_close((uv_handle_t *)&hub->poll, on_handle_closed);
    uv_close((uv_handle_t *)&hub->probe, on_handle_closed);
}

uint64_t dgram_hub_refused(const struct dgram_hub *hub)
{
    return hub->n_refused;
}

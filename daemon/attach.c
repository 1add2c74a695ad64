/* daemon/attach.c - attach.sock: plugs in a descriptor that a client passes
 *
 * The good path: connect -> one JSON line with one descriptor -> the right to attach is checked -> both the
 * descriptor and this connection go to the network process -> one JSON line back. The connection is the
 * lease: its end detaches the port unless "persist" was said. What can go wrong: too many clients, a line too
 * long or too late, no or several descriptors, no right: each gets one line of problem and is closed.
 * Descriptors never outlive their client.
 */
#include "daemon/control_internal.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/shortage.h"
#include "daemon/attach_line.h"
#include "io/link.h"
#include "io/listener.h"
#include "io/socket.h"

enum {
    LINE_TIMEOUT_MS = 5000,
    PENDING_MAX = 64, /* connections that have not said their line yet; root's are not counted */
    PENDING_PER_UID_MAX = 16,
};

struct attach_client {
    struct attach_client *next;
    struct attach_server *server;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned n_handles;
    int fd;
    int data_fd;
    unsigned n_fds;
    struct peer peer;
    size_t len;
    bool is_asking; /* the network has been asked */
    bool is_closed;
    char network[NETWORK_NAME_SIZE];
    char line[ATTACH_LINE_MAX];
};

struct attach_server {
    struct control *control;
    struct listener *listener;
    struct attach_client *clients;
    struct log_limit attached_log, refused_log;
    bool is_closing;
};

/* ---- life of a client ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct attach_client *client = handle->data;
    if (--client->n_handles > 0)
        return;
    struct attach_client **at = &client->server->clients;
    struct attach_server *server = client->server;
    while (*at != client)
        at = &(*at)->next;
    *at = client->next;
    close(client->fd);
    if (client->data_fd >= 0)
        close(client->data_fd);
    free(client);
    if (server->is_closing && !server->clients)
        free(server);
}

static void client_close(struct attach_client *client)
{
    if (client->is_closed)
        return;
    client->is_closed = true;
    uv_close((uv_handle_t *)&client->poll, on_handle_closed);
    uv_close((uv_handle_t *)&client->timer, on_handle_closed);
}

/* A client that does not take 4 KiB at once loses the line. */
static void send_text(struct attach_client *client, const char *text)
{
    char line[ATTACH_LINE_MAX];
    int n = snprintf(line, sizeof(line), "%s\n", text);
    if (n > 0 && (size_t)n < sizeof(line))
        send(client->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Sends one line; takes 'body'. */
static void send_problem(struct attach_client *client, json_t *body)
{
    const uint64_t n_short = shortage_count();
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if (text && shortage_count() == n_short)
        send_text(client, text);
    else
        send_text(client,
                  "{\"status\":503,\"title\":\"Service Unavailable\",\"detail\":\"it was refused, and the "
                  "daemon has no memory left to say why\",\"next_step\":\"try again in a second\"}");
    free(text);
    json_decref(body);
}

/* The network has the connection as well, so a client that was told nothing would wait for ever: this needs
 * no memory. Names are plain. */
static void send_port(struct attach_client *client, const char *port)
{
    char text[NETWORK_NAME_SIZE + PORT_NAME_SIZE + 32];
    snprintf(text, sizeof(text), "{\"network\":\"%s\",\"port\":\"%s\"}", client->network, port);
    send_text(client, text);
}

static void refuse(struct attach_client *client, unsigned status, const char *detail, const char *next_step)
{
    static const char *const titles[] = {"Bad Request", "Forbidden", "Not Found", "Conflict",
                                         "Unprocessable Content"};
    const char *title = status == 400   ? titles[0]
                        : status == 403 ? titles[1]
                        : status == 404 ? titles[2]
                        : status == 409 ? titles[3]
                        : status == 422 ? titles[4]
                                        : "Service Unavailable";
    log_audit_limited(&client->server->refused_log, uv_now(client->poll.loop),
                      "attach by uid %d refused: %u %s", client->peer.is_known ? (int)client->peer.uid : -1,
                      status, detail);
    send_problem(client, json_pack("{s:i, s:s, s:s, s:s*}", "status", (int)status, "title", title, "detail",
                                   detail, "next_step", next_step));
    client_close(client);
}

/* ---- the line ---- */

static bool is_member_of(int fd, const char *group)
{
    const struct group *entry = group[0] ? getgrnam(group) : NULL;
    return entry && peer_is_member(fd, entry->gr_gid);
}

/* Root, the API's group, the network's group, and the network's owner. What root made is owned by the service
 * user only as far as its process goes. */
static bool may_attach(const struct attach_client *client, const struct managed *m)
{
    const struct hello *hello = &client->server->control->hello;
    const struct peer *peer = &client->peer;
    if (!peer->is_known)
        return false;
    if (peer->uid == 0 || (hello->has_api_group && peer_is_member(client->fd, (gid_t)hello->api_gid)))
        return true;
    if (peer->uid == m->uid && !(hello->is_root && m->uid == hello->service_uid))
        return true;
    return is_member_of(client->fd, m->spec.sockets.group);
}

static void on_attached(void *ctx, struct message *answer)
{
    struct attach_client *client = ctx;
    const struct done *done = ask_done(answer);
    client->is_asking = false;
    if (client->is_closed) /* the server ends */
        return;
    if (!done || (!done->status && !port_name_is_valid(done->port))) {
        refuse(client, 503, "the network's process has not answered within 1 s", "GET /v1/health says why");
    } else if (done->status) {
        refuse(client, done->status, done->why, NULL);
    } else {
        log_audit_limited(&client->server->attached_log, uv_now(client->poll.loop),
                          "attach by uid %d: port %s", client->peer.is_known ? (int)client->peer.uid : -1,
                          done->port);
        send_port(client, done->port);
        client_close(client); /* our copy of the connection; the network has the lease */
    }
}

static void ask_network(struct attach_client *client, struct managed *m, const struct attach_line *wanted)
{
    struct attach_order order = {.persist = wanted->persist,
                                 .isolated = wanted->isolated,
                                 .has_offload = wanted->has_offload,
                                 .offload = wanted->offload,
                                 .peer = client->peer};
    const int lease_fd = dup(client->fd);
    if (lease_fd < 0) {
        refuse(client, 503, "no descriptors left", "try again later");
        return;
    }
    snprintf(order.port, sizeof(order.port), "%s", wanted->port);
    uv_poll_stop(&client->poll);
    uv_timer_stop(&client->timer);
    client->is_asking = true;
    snprintf(client->network, sizeof(client->network), "%s", m->spec.name);
    struct asks *asks = &client->server->control->asks;
    /* The pair shares an id: the one that the second message, the question, will get. */
    channel_uv_send(m->channel, MSG_ATTACH, asks->next_id + 1, &order, sizeof(order), client->data_fd);
    client->data_fd = -1;
    asks_send(asks, m->channel, MSG_LEASE, NULL, 0, lease_fd, ASK_NETWORK_MS, on_attached, client);
}

static void check_and_ask(struct attach_client *client, const struct attach_line *wanted)
{
    enum link_kind kind;
    struct managed *m = managed_find(client->server->control, wanted->network);
    int r;
    if (client->n_fds != 1 || client->data_fd < 0) {
        refuse(client, 422,
               client->n_fds ? "more than one descriptor came with the line, or the daemon has none left"
                             : "no descriptor came with the line",
               "pass exactly one connected AF_UNIX socket as SCM_RIGHTS");
    } else if (!m) {
        refuse(client, 404, "there is no such network", "GET /v1/networks lists them");
    } else if (!may_attach(client, m)) {
        refuse(client, 403, "this user may not attach to the network",
               "be root, a member of the group vmswitch or of the network's group, or the network's owner");
    } else if ((r = socket_check(client->data_fd, &kind)) < 0) {
        refuse(client, 422, socket_check_message(r),
               "pass one end of a socketpair, or a connected AF_UNIX socket");
    } else if (wanted->has_kind && wanted->wants_stream != (kind == LINK_STREAM)) {
        refuse(client, 422, "\"kind\" is not the kind of the socket that was passed",
               "leave it out, or pass a socket of that kind");
    } else if (!m->channel) {
        refuse(client, 503, "the network does not run now", "GET /v1/health says why");
    } else {
        ask_network(client, m, wanted);
    }
}

static void take_line(struct attach_client *client, size_t len)
{
    const uint64_t n_short = shortage_count();
    char why[ATTACH_WHY_SIZE];
    struct attach_line wanted;
    const int r = attach_line_parse(client->line, len, &wanted, why);
    if (shortage_count() != n_short)
        refuse(client, 503, "the daemon has no memory left", "try again in a second");
    else if (r < 0)
        refuse(client, 400, why, "send {\"network\": NAME} and a newline");
    else
        check_and_ask(client, &wanted);
}

static void take_data_fd(struct attach_client *client, int fd, unsigned extra)
{
    client->n_fds += extra + (fd >= 0);
    if (fd < 0)
        return;
    if (client->data_fd < 0)
        client->data_fd = fd;
    else
        close(fd);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct attach_client *client = poll->data;
    int fd = -1;
    unsigned extra = 0;
    (void)status;
    (void)events;
    long n = socket_receive_fd(client->fd, client->line + client->len, sizeof(client->line) - client->len,
                               &fd, &extra);
    take_data_fd(client, fd, extra);
    if (n == -EAGAIN || n == -EINTR)
        return;
    if (n <= 0) {
        client_close(client);
        return;
    }
    client->len += (size_t)n;
    const char *end = memchr(client->line, '\n', client->len);
    if (end)
        take_line(client, (size_t)(end - client->line));
    else if (client->len == sizeof(client->line))
        refuse(client, 400, "the line is longer than 4096 bytes", NULL);
}

static void on_too_late(uv_timer_t *timer)
{
    refuse(timer->data, 400, "no line came within 5 s", NULL);
}

/* ---- clients come ---- */

/* Root, and the user of a daemon that is not root's, could end the daemon as well: they are not limited, so
 * that nobody else can keep them out. */
static bool is_one_too_many(const struct attach_server *server, const struct peer *peer)
{
    unsigned n = 0, n_same = 0;
    if (peer->is_known && (peer->uid == 0 || (!server->control->hello.is_root && peer->uid == getuid())))
        return false;
    for (const struct attach_client *client = server->clients; client; client = client->next) {
        const bool counts = !client->is_closed && client->peer.uid != 0;
        n += counts;
        n_same += counts && client->peer.uid == peer->uid;
    }
    return n >= PENDING_MAX || n_same >= PENDING_PER_UID_MAX;
}

static void turn_away(int fd, const char *detail)
{
    char line[256];
    const int len = snprintf(line, sizeof(line),
                             "{\"status\":503,\"title\":\"Service Unavailable\",\"detail\":\"%s\","
                             "\"next_step\":\"try again in a second\"}\n",
                             detail);
    send(fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
}

static void on_accept(void *ctx, int fd)
{
    struct attach_server *server = ctx;
    struct peer peer;
    peer_of(fd, &peer);
    if (is_one_too_many(server, &peer)) {
        turn_away(fd, "too many connections have not said their line yet");
        return;
    }
    struct attach_client *client = calloc(1, sizeof(*client));
    if (!client || uv_poll_init(&server->control->loop, &client->poll, fd) < 0) {
        free(client);
        turn_away(fd, "the daemon has no memory left");
        return;
    }
    uv_timer_init(&server->control->loop, &client->timer);
    client->poll.data = client->timer.data = client;
    client->n_handles = 2;
    client->server = server;
    client->fd = fd;
    client->data_fd = -1;
    client->peer = peer;
    client->next = server->clients;
    server->clients = client;
    uv_poll_start(&client->poll, UV_READABLE, on_readable);
    uv_timer_start(&client->timer, on_too_late, LINE_TIMEOUT_MS, 0);
}

int attach_open(struct attach_server **ret_server, struct control *control, int fd)
{
    struct attach_server *server = calloc(1, sizeof(*server));
    if (!server)
        return UV_ENOMEM;
    server->control = control;
    int r = listener_open(&server->listener, &control->loop, fd, on_accept, server);
    if (r < 0) {
        free(server);
        return r;
    }
    *ret_server = server;
    return 0;
}

void attach_close(struct attach_server *server)
{
    server->is_closing = true;
    log_limit_end(&server->attached_log, "attach");
    log_limit_end(&server->refused_log, "attach refused");
    listener_close(server->listener);
    if (!server->clients)
        free(server);
    else
        for (struct attach_client *client = server->clients; client; client = client->next)
            client_close(client);
}

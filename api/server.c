/* api/server.c - HTTP on a unix socket, from the loop that everything else of the process runs on
 *
 * How it works
 *   We accept, read the peer's credentials, apply the caps, and hand the socket to libmicrohttpd, which has
 *   neither a listening socket nor a thread. It tells by fd_set what it waits for; one uv_poll_t per
 * connection waits for that, and any event, like the timer, runs pump(): libmicrohttpd once, then the
 * deadlines, then what to wait for next. That is O(64) per event, and API events are few.
 *
 * What is always true
 *   libmicrohttpd closes a socket only after on_connection() has closed its uv_poll_t, so libuv never holds a
 * number that has become another file. A connection is in one slot from accept until its uv handle is gone.
 *
 * When it is full, or slow
 *   A client over a cap gets a 503 and is closed at once. A client that misses a deadline has its socket shut
 * down, which libmicrohttpd sees as its end (its own time-out does not cover a slow header). An op that
 * misses its own is answered for with a 503.
 */
#include "api/server.h"

#include <fcntl.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/listener.h"
#include "io/log.h"
#include "io/socket.h"

/* Room for a header of API_HEADER_MAX, for its parsed form, and for the header of the answer. */
enum { CONNECTION_MEMORY = API_HEADER_MAX + 4 * 1024 };

const struct api_limits api_limits_default = {
    .connections = API_CONNECTIONS_MAX,
    .per_uid = 16,
    .reserved = 2,
    .privileged = 0,
    .header_ms = 5 * 1000,
    .request_ms = 10 * 1000,
    .answer_ms = 30 * 1000,
    .write_ms = 10 * 1000,
};

static void pump(struct api_server *server);

static void on_handle_closed(struct api_server *server)
{
    if (--server->n_handles == 0 && server->is_closing)
        free(server);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct connection *conn = handle->data;

    conn->state = CONN_FREE;
    on_handle_closed(conn->server);
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_handle_closed(handle->data);
}

static void connection_close(struct connection *conn)
{
    connection_reset(conn);
    conn->state = CONN_CLOSING;
    uv_close((uv_handle_t *)&conn->poll, on_poll_closed);
}

/* libmicrohttpd has taken a socket, or is about to close it. */
static void on_connection(void *ctx, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct api_server *server = ctx;
    struct connection *conn = *socket_context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = server->accepting;
        server->accepting->mhd = mhd;
        server->accepting->state = CONN_HEADER;
    } else if (conn) {
        connection_close(conn);
    }
}

/* Names need no '%', so a path is taken as it was sent: nothing to decode twice. */
static size_t keep_escapes(void *ctx, struct MHD_Connection *mhd, char *text)
{
    (void)ctx;
    (void)mhd;
    return strlen(text);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct connection *conn = poll->data;

    (void)events;
    if (status < 0)
        conn->events = 0; /* libuv has stopped it; libmicrohttpd finds the error when it reads */
    pump(conn->server);
}

static void on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

void server_kick(struct api_server *server)
{
    server->kicked = true;
    uv_timer_start(&server->timer, on_timer, 0, 0);
}

static void expire(struct api_server *server, uint64_t now_ms)
{
    for (int i = 0; i < API_CONNECTIONS_MAX; i++) {
        struct connection *conn = &server->connections[i];
        if (conn->state == CONN_FREE || conn->state == CONN_CLOSING || now_ms < conn->due_ms)
            continue;
        conn->due_ms = UINT64_MAX;
        if (conn->call)
            connection_give_up(conn, "the daemon did not answer in time");
        else
            shutdown(conn->fd, SHUT_RDWR); /* makes it readable and unwritable: libmicrohttpd closes it */
    }
}

/* Polls each connection for what libmicrohttpd waits for. */
static void poll_connections(struct api_server *server)
{
    fd_set in, out, error;
    int max = -1;

    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&error);
    MHD_get_fdset2(server->daemon, &in, &out, &error, &max, FD_SETSIZE);
    for (int i = 0; i < API_CONNECTIONS_MAX; i++) {
        struct connection *conn = &server->connections[i];
        int events;
        if (conn->state == CONN_FREE || conn->state == CONN_CLOSING)
            continue;
        events = (FD_ISSET(conn->fd, &in) ? UV_READABLE : 0) | (FD_ISSET(conn->fd, &out) ? UV_WRITABLE : 0);
        if (events == conn->events)
            continue;
        conn->events = events;
        if (events)
            uv_poll_start(&conn->poll, events, on_poll);
        else
            uv_poll_stop(&conn->poll);
    }
}

static void arm_timer(struct api_server *server, uint64_t now_ms)
{
    MHD_UNSIGNED_LONG_LONG mhd_ms;
    uint64_t due_ms = UINT64_MAX;

    for (int i = 0; i < API_CONNECTIONS_MAX; i++) {
        const struct connection *conn = &server->connections[i];
        if (conn->state != CONN_FREE && conn->state != CONN_CLOSING && conn->due_ms < due_ms)
            due_ms = conn->due_ms;
    }
    if (MHD_get_timeout(server->daemon, &mhd_ms) == MHD_YES && now_ms + mhd_ms < due_ms)
        due_ms = now_ms + mhd_ms;
    if (server->kicked)
        due_ms = now_ms;
    if (due_ms == UINT64_MAX)
        uv_timer_stop(&server->timer);
    else
        uv_timer_start(&server->timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

/* Nothing is suspended any more: lets libmicrohttpd say what it can say at once, and ends it. It takes three
 * steps: resume, make the answer, send it. */
static void finish(struct api_server *server)
{
    for (int i = 0; i < 3; i++)
        MHD_run(server->daemon);
    MHD_stop_daemon(server->daemon);
    uv_close((uv_handle_t *)&server->timer, on_timer_closed);
}

static void pump(struct api_server *server)
{
    uint64_t now_ms = uv_now(server->loop);

    server->kicked = false;
    if (server->is_closing) {
        finish(server);
        return;
    }
    MHD_run(server->daemon);
    expire(server, now_ms);
    poll_connections(server);
    arm_timer(server, now_ms);
}

/* Under the caps? A peer that the kernel does not tell counts as uid -1, which no account has. */
static bool is_admitted(const struct api_server *server, const struct peer *peer)
{
    const struct api_limits *limits = &server->limits;
    uid_t uid = peer->is_known ? peer->uid : (uid_t)-1;
    uint32_t n = 0, n_same = 0;

    for (int i = 0; i < API_CONNECTIONS_MAX; i++) {
        const struct connection *conn = &server->connections[i];
        n += conn->state != CONN_FREE;
        n_same += conn->state != CONN_FREE && (conn->peer.is_known ? conn->peer.uid : (uid_t)-1) == uid;
    }
    if (uid == limits->privileged)
        return n < limits->connections;
    return n_same < limits->per_uid && n + limits->reserved < limits->connections;
}

/* Says why, as far as the socket takes it at once. */
static void turn_away(struct api_server *server, int fd, const struct peer *peer)
{
    static const char answer[] =
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        "\r\n"
        "{\n  \"type\": \"about:blank\",\n  \"title\": \"Service Unavailable\",\n  \"status\": 503,\n"
        "  \"detail\": \"too many API connections\",\n  \"next_step\": \"close some, then try again in a "
        "second\"\n}\n";
    uint32_t suppressed;

    (void)socket_send_fd(fd, answer, sizeof(answer) - 1, -1);
    close(fd);
    if (log_allowed(&server->log_limit, uv_now(server->loop), &suppressed))
        log_warn("api: a connection of uid %ld was refused: too many (%u more not logged)",
                 peer->is_known ? (long)peer->uid : -1L, suppressed);
}

/* Gives 'fd' to libmicrohttpd, which closes it in any case; 'conn' is then open or free. */
static void connection_open(struct api_server *server, struct connection *conn, int fd,
                            const struct peer *peer)
{
    struct sockaddr_storage address = {.ss_family = AF_UNIX};

    memset(conn, 0, sizeof(*conn));
    if (uv_poll_init(server->loop, &conn->poll, fd) < 0) {
        close(fd);
        return;
    }
    server->n_handles++;
    conn->poll.data = conn;
    conn->server = server;
    conn->state = CONN_HEADER;
    conn->fd = fd;
    conn->peer = *peer;
    conn->opened_ms = uv_now(server->loop);
    conn->due_ms = conn->opened_ms + server->limits.header_ms;
    server->accepting = conn;
    if (MHD_add_connection(server->daemon, fd, (struct sockaddr *)&address, sizeof(sa_family_t)) != MHD_YES &&
        conn->state != CONN_CLOSING)
        connection_close(conn); /* the number is free, but nobody has opened a file since */
    server->accepting = NULL;
}

void server_add(struct api_server *server, int fd, const struct peer *peer)
{
    int flags = fcntl(fd, F_GETFL);

    if (server->is_closing || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        close(fd);
        return;
    }
    for (int i = 0; is_admitted(server, peer) && i < API_CONNECTIONS_MAX; i++) {
        if (server->connections[i].state == CONN_FREE) {
            connection_open(server, &server->connections[i], fd, peer);
            pump(server);
            return;
        }
    }
    turn_away(server, fd, peer);
}

static void on_accept(void *ctx, int fd)
{
    struct peer peer;

    peer_of(fd, &peer);
    server_add(ctx, fd, &peer);
}

static struct MHD_Daemon *start_daemon(struct api_server *server)
{
    return MHD_start_daemon(
        MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, connection_on_request, server,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)API_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, 0U, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, (void *)server, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_escapes, (void *)server, MHD_OPTION_END);
}

int server_open(struct api_server **ret_server, uv_loop_t *loop, int fd, const struct api_ops *ops, void *ctx,
                const struct api_limits *limits)
{
    struct api_server *server = calloc(1, sizeof(*server));
    int r = UV_ENOMEM;

    if (!server)
        return r;
    server->loop = loop;
    server->ops = ops;
    server->ctx = ctx;
    server->limits = *limits;
    server->daemon = start_daemon(server);
    if (!server->daemon)
        goto free_server;
    r = fd < 0 ? 0 : listener_open(&server->listener, loop, fd, on_accept, server);
    if (r < 0)
        goto stop_daemon;
    uv_timer_init(loop, &server->timer);
    server->timer.data = server;
    server->n_handles = 1;
    *ret_server = server;
    return 0;

stop_daemon:
    MHD_stop_daemon(server->daemon);
free_server:
    free(server);
    return r;
}

int api_server_open(struct api_server **ret_server, uv_loop_t *loop, int fd, const struct api_ops *ops,
                    void *ctx)
{
    return server_open(ret_server, loop, fd, ops, ctx, &api_limits_default);
}

void api_server_close(struct api_server *server)
{
    if (!server || server->is_closing)
        return;
    listener_close(server->listener);
    server->is_closing = true;
    for (int i = 0; i < API_CONNECTIONS_MAX; i++) {
        if (server->connections[i].call)
            connection_give_up(&server->connections[i], "the daemon is stopping");
    }
    server_kick(server); /* the rest on the next turn: we may be inside libmicrohttpd, called by an op */
}

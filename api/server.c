/* api/server.c - HTTP on a unix socket, from the loop that everything else of the process runs on
 *
 * How it works
 *   door.c accepts, and hands a socket with a good head to libmicrohttpd, which has neither a listening
 * socket nor a thread. It tells by fd_set what it waits for; one uv_poll_t per connection waits for that, and
 * any event, like the timer, runs server_pump(): libmicrohttpd once, then the deadlines, then what to wait
 * for next. That is O(64) per event, and API events are few.
 *
 * What is always true
 *   libmicrohttpd closes a socket only after on_connection() has closed its uv_poll_t, so libuv never holds a
 * number that has become another file. A connection is in one slot from accept until its uv handle is gone.
 *
 * When it is slow
 *   A client that misses a deadline has its socket shut down, and libmicrohttpd finds that when it next
 * tries. An op that misses its own is answered for with a 503.
 */
#include "api/server.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>

#include "api/door.h"
#include "api/head.h"
#include "io/listener.h"

/* Room for the largest head, for its parsed form (about 50 bytes a field), and for the head of the answer. */
enum { CONNECTION_MEMORY = 2 * HEAD_MAX };

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

void server_forget(struct connection *conn)
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
    } else if (conn) {
        server_forget(conn);
    }
}

/* Names need no '%', so a path is taken as it was sent: nothing to decode twice. */
static size_t keep_escapes(void *ctx, struct MHD_Connection *mhd, char *text)
{
    (void)ctx;
    (void)mhd;
    return strlen(text);
}

/* Tells libmicrohttpd what libuv saw, not what select() would: a full socket whose client is gone is ready
 * for the one, not for the other, and would keep us awake. */
static void run_ready(struct connection *conn, bool is_readable, bool is_writable)
{
    fd_set in, out, none;

    memset(&in, 0, sizeof(in));
    memset(&out, 0, sizeof(out));
    memset(&none, 0, sizeof(none));
    if (is_readable)
        FD_SET(conn->fd, &in);
    if (is_writable)
        FD_SET(conn->fd, &out);
    MHD_run_from_select(conn->server->daemon, &in, &out, &none);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct connection *conn = poll->data;

    if (status < 0)
        conn->events = 0; /* libuv has stopped it; who reads finds the error */
    if (conn->state == CONN_HEAD)
        door_look(conn, status < 0 || events & UV_DISCONNECT);
    else if (conn->state == CONN_BODY || conn->state == CONN_ANSWERING)
        run_ready(conn, status < 0 || events & UV_READABLE, status < 0 || events & UV_WRITABLE);
    server_pump(conn->server);
}

void server_poll(struct connection *conn, int events)
{
    if (events == conn->events)
        return;
    conn->events = events;
    if (events)
        uv_poll_start(&conn->poll, events, on_poll);
    else
        uv_poll_stop(&conn->poll);
}

static void on_timer(uv_timer_t *timer)
{
    server_pump(timer->data);
}

void server_kick(struct api_server *server)
{
    server->kicked = true;
    uv_timer_start(&server->timer, on_timer, 0, 0);
}

/* Heads that were not complete when they were last looked at. */
static void look_again(struct api_server *server, uint64_t now_ms)
{
    for (int i = 0; i < API_CONNECTIONS_MAX; i++) {
        struct connection *conn = &server->connections[i];
        if (conn->state == CONN_HEAD && now_ms >= conn->look_ms)
            door_look(conn, false);
    }
}

/* A socket is shut down and libmicrohttpd told that it is ready, so that it tries, fails and closes: a full
 * one does not become writable by being shut down. */
static void expire(struct api_server *server, uint64_t now_ms)
{
    for (int i = 0; i < API_CONNECTIONS_MAX; i++) {
        struct connection *conn = &server->connections[i];
        if (conn->state == CONN_FREE || conn->state == CONN_CLOSING || now_ms < conn->due_ms)
            continue;
        conn->due_ms = UINT64_MAX;
        if (conn->call) {
            connection_give_up(conn, "the daemon did not answer in time");
        } else if (conn->state == CONN_HEAD) {
            door_close(conn);
        } else {
            shutdown(conn->fd, SHUT_RDWR);
            run_ready(conn, true, true);
        }
    }
}

/* Polls each connection for what libmicrohttpd waits for. */
static void poll_connections(struct api_server *server)
{
    fd_set in, out, error;
    int max = -1;

    memset(&in, 0, sizeof(in));
    memset(&out, 0, sizeof(out));
    memset(&error, 0, sizeof(error));
    MHD_get_fdset2(server->daemon, &in, &out, &error, &max, FD_SETSIZE);
    for (int i = 0; i < API_CONNECTIONS_MAX; i++) {
        struct connection *conn = &server->connections[i];
        if (conn->state == CONN_BODY || conn->state == CONN_WAITING || conn->state == CONN_ANSWERING)
            server_poll(conn, (FD_ISSET(conn->fd, &in) ? UV_READABLE : 0) |
                                  (FD_ISSET(conn->fd, &out) ? UV_WRITABLE : 0));
    }
}

static void arm_timer(struct api_server *server, uint64_t now_ms)
{
    MHD_UNSIGNED_LONG_LONG mhd_ms;
    uint64_t due_ms = UINT64_MAX;

    for (int i = 0; i < API_CONNECTIONS_MAX; i++) {
        const struct connection *conn = &server->connections[i];
        if (conn->state == CONN_FREE || conn->state == CONN_CLOSING)
            continue;
        if (conn->due_ms < due_ms)
            due_ms = conn->due_ms;
        if (conn->state == CONN_HEAD && conn->look_ms < due_ms)
            due_ms = conn->look_ms;
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
    for (int i = 0; i < API_CONNECTIONS_MAX; i++) {
        if (server->connections[i].state == CONN_HEAD)
            door_close(&server->connections[i]);
    }
    uv_close((uv_handle_t *)&server->timer, on_timer_closed);
}

void server_pump(struct api_server *server)
{
    uint64_t now_ms = uv_now(server->loop);

    server->kicked = false;
    if (server->is_closing) {
        finish(server);
        return;
    }
    look_again(server, now_ms);
    MHD_run(server->daemon);
    expire(server, now_ms);
    poll_connections(server);
    arm_timer(server, now_ms);
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
    r = fd < 0 ? 0 : listener_open(&server->listener, loop, fd, door_on_accept, server);
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

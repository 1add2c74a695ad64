/* api/door.c - who comes in
 *
 * How it works
 *   A client gets a slot if the caps allow. What it sends is looked at with MSG_PEEK until its head is
 * complete (api/head.h); then libmicrohttpd gets the socket with every byte still in it. An incomplete head
 * would keep the socket readable, so until the next look, LOOK_MS later, we only wait for the client's end.
 *
 * What is always true
 *   libmicrohttpd sees no socket whose head is not complete and plain, so no slow one either.
 *
 * When it is full
 *   A client over a cap gets a 503 and is closed at once, as one with a bad head gets its problem: one send
 * that does not wait.
 */
#include "api/door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/head.h"
#include "api/problem.h"
#include "api/server.h"
#include "io/socket.h"

enum { LOOK_MS = 20 };

/* Says why, as far as the socket takes it at once, and closes. */
static void turn_away(int fd, const struct api_problem *problem)
{
    char answer[1024], unread[HEAD_MAX];
    char *text = problem_text(problem);
    int len = snprintf(answer, sizeof(answer),
                       "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Type: " PROBLEM_TYPE
                       "\r\nContent-Length: %zu\r\n\r\n%s",
                       problem->status, problem_title(problem), text ? strlen(text) : 0, text ? text : "");

    if (len > 0 && (size_t)len < sizeof(answer))
        (void)socket_send_fd(fd, answer, (size_t)len, -1);
    /* Closed with bytes unread, a unix socket gives its peer an error behind the answer. */
    (void)recv(fd, unread, sizeof(unread), MSG_DONTWAIT);
    free(text);
    close(fd);
}

void door_close(struct connection *conn)
{
    int fd = conn->fd;

    server_forget(conn); /* before the close: libuv still knows the number */
    close(fd);
}

/* From here on the socket is libmicrohttpd's, which closes it in any case. */
static void hand_on(struct connection *conn)
{
    struct api_server *server = conn->server;
    struct sockaddr_storage address = {.ss_family = AF_UNIX};

    conn->state = CONN_BODY;
    conn->due_ms = conn->opened_ms + server->limits.request_ms;
    server->accepting = conn;
    if (MHD_add_connection(server->daemon, conn->fd, (struct sockaddr *)&address,
                           sizeof(address.ss_family)) != MHD_YES &&
        conn->state != CONN_CLOSING)
        server_forget(conn); /* it is closed already, but nobody has opened a file since */
    server->accepting = NULL;
}

void door_look(struct connection *conn, bool is_over)
{
    char bytes[HEAD_MAX];
    ssize_t n = recv(conn->fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    struct head_refusal refusal = {.status = 400};
    struct api_problem problem;
    int fd = conn->fd;

    conn->look_ms = UINT64_MAX;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) && !is_over)
        return;
    if (n <= 0) {
        door_close(conn);
        return;
    }
    switch (head_check(bytes, (size_t)n, &refusal)) {
    case HEAD_GOOD:
        hand_on(conn);
        break;
    case HEAD_BAD:
        problem = (struct api_problem){
            .status = refusal.status, .detail = refusal.detail, .next_step = refusal.next_step};
        server_forget(conn);
        turn_away(fd, &problem);
        break;
    case HEAD_MORE:
        if (is_over) {
            door_close(conn);
            break;
        }
        conn->look_ms = uv_now(conn->server->loop) + LOOK_MS;
        server_poll(conn, UV_DISCONNECT);
        break;
    }
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

static void refuse_one_too_many(struct api_server *server, int fd, const struct peer *peer)
{
    static const struct api_problem problem = {.status = 503,
                                               .detail = "there are too many API connections",
                                               .next_step = "close some, then try again in a second"};

    log_limited(&server->log_limit, uv_now(server->loop), LOG_WARN,
                "api: a connection of uid %ld was refused: too many", peer->is_known ? (long)peer->uid : -1L);
    turn_away(fd, &problem);
}

/* Gives 'fd' the slot 'conn'. */
static void take_in(struct api_server *server, struct connection *conn, int fd, const struct peer *peer)
{
    memset(conn, 0, sizeof(*conn));
    if (uv_poll_init(server->loop, &conn->poll, fd) < 0) {
        close(fd);
        return;
    }
    server->n_handles++;
    conn->poll.data = conn;
    conn->server = server;
    conn->state = CONN_HEAD;
    conn->fd = fd;
    conn->peer = *peer;
    conn->opened_ms = uv_now(server->loop);
    conn->due_ms = conn->opened_ms + server->limits.header_ms;
    conn->look_ms = UINT64_MAX;
    server_poll(conn, UV_READABLE | UV_DISCONNECT);
    server_pump(server);
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
            take_in(server, &server->connections[i], fd, peer);
            return;
        }
    }
    refuse_one_too_many(server, fd, peer);
}

void door_on_accept(void *ctx, int fd)
{
    struct peer peer;

    peer_of(fd, &peer);
    server_add(ctx, fd, &peer);
}

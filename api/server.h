/* api/server.h - the server's own side: limits, and what a connection needs of it */
#ifndef API_SERVER_H
#define API_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/api.h"
#include "api/connection.h"
#include "io/log.h"

enum { API_CONNECTIONS_MAX = 64 };

/* Times are injected so that tests need not wait for them. */
struct api_limits {
    uint32_t connections; /* at most API_CONNECTIONS_MAX */
    uint32_t per_uid;     /* not for 'privileged' */
    uint32_t reserved;    /* of 'connections', for 'privileged' alone */
    uid_t privileged;     /* root: it must get through when others fill the place */
    uint32_t header_ms, request_ms, answer_ms, write_ms;
};
extern const struct api_limits api_limits_default;

struct api_server {
    uv_loop_t *loop;
    const struct api_ops *ops;
    void *ctx;
    struct api_limits limits;
    struct MHD_Daemon *daemon;
    struct listener *listener; /* NULL in tests that add their connections themselves */
    uv_timer_t timer;
    bool kicked;     /* the daemon must run on the next turn */
    bool is_closing; /* no op is called any more */
    uint32_t n_handles;
    struct log_limit log_limit;   /* of clients turned away */
    struct connection *accepting; /* handed to libmicrohttpd right now */
    struct connection connections[API_CONNECTIONS_MAX];
};

/* As api_server_open(); 'fd' may be -1: nothing is accepted, see server_add(). */
int server_open(struct api_server **ret_server, uv_loop_t *loop, int fd, const struct api_ops *ops, void *ctx,
                const struct api_limits *limits);

/* Serves the connected socket 'fd' (taken in any case). A client over a cap gets a 503 and is closed. */
void server_add(struct api_server *server, int fd, const struct peer *peer);

/* libmicrohttpd runs on the next turn: an answer waits, or a deadline changed. */
void server_kick(struct api_server *server);

/* Does what there is to do now, and arms what waits for the rest. Not from inside an op. */
void server_pump(struct api_server *server);

/* Waits for 'events' on a connection's socket (0: none). */
void server_poll(struct connection *conn, int events);

/* Drops what is ours of a connection whose socket is about to be closed; its slot is free on a later turn. */
void server_forget(struct connection *conn);

#endif

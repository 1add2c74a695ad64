/* api/api.h - what the daemon lets the HTTP API do
 *
 * The API parses, limits, checks and routes a request, then calls one function of struct api_ops, which the
 * control role fills. Each op answers exactly once, now or on a later turn, by one of the api_reply
 * functions. A call stays valid until it is answered, even when its client has gone (the answer is then
 * dropped).
 */
#ifndef API_API_H
#define API_API_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "api/network_spec.h"
#include "io/peer.h"

struct api_call;

struct api_problem {
    unsigned status;       /* 4xx or 5xx */
    const char *title;     /* "Conflict"; NULL: the standard phrase of the status */
    const char *detail;    /* a sentence: what is wrong */
    const char *field;     /* JSON pointer of the offending field, or NULL */
    const char *next_step; /* what the caller can do, or NULL */
};

/* Strings of 'problem' are copied. */
void api_reply_problem(struct api_call *call, const struct api_problem *problem);

/* Takes the reference 'body' (NULL: no body, for 204). */
void api_reply_json(struct api_call *call, unsigned status, json_t *body);

/* Who asks; valid as long as the call. */
const struct peer *api_call_peer(const struct api_call *call);

struct api_reload { /* which networks may be restarted where a change needs it */
    bool all;
    uint32_t n_names; /* or these */
    char names[NETWORKS_MAX][NETWORK_NAME_SIZE];
};

struct api_ops {
    void (*info)(void *ctx, struct api_call *call);
    void (*health)(void *ctx, struct api_call *call);
    void (*networks)(void *ctx, struct api_call *call);
    void (*network)(void *ctx, struct api_call *call, const char *name);
    /* is_create: POST, 409 if it exists. Else PUT: create or change, 201 or 200. */
    void (*put_network)(void *ctx, struct api_call *call, const struct network_spec *spec, bool is_create);
    void (*delete_network)(void *ctx, struct api_call *call, const char *name);
    void (*ports)(void *ctx, struct api_call *call, const char *network);
    void (*port)(void *ctx, struct api_call *call, const char *network, const char *port);
    void (*put_port)(void *ctx, struct api_call *call, const char *network, const struct port_spec *spec);
    void (*patch_port)(void *ctx, struct api_call *call, const char *network, const char *port,
                       const struct port_change *change);
    void (*delete_port)(void *ctx, struct api_call *call, const char *network, const char *port);
    void (*fdb)(void *ctx, struct api_call *call, const char *network);
    void (*flush_fdb)(void *ctx, struct api_call *call, const char *network);
    void (*interfaces)(void *ctx, struct api_call *call);
    void (*reload)(void *ctx, struct api_call *call, const struct api_reload *request);
};

struct api_server;

/* Serves HTTP on the listening unix socket 'fd' (taken on success). 'ops' and 'ctx' must outlive it. Returns
 * 0 or a negative libuv code. */
int api_server_open(struct api_server **ret_server, uv_loop_t *loop, int fd, const struct api_ops *ops,
                    void *ctx);

/* Stops accepting, answers open calls with 503, closes all connections; freed on a later turn. */
void api_server_close(struct api_server *server);

#endif

/* api/connection.h - one client of the API, from accept to close: it asks once and is answered once
 *
 *   HEAD       accepted; the head of the request is coming, and is left in the socket until it is complete
 *                                                              due: header_ms after accept
 *   BODY       the head is good; libmicrohttpd has the socket  due: request_ms after accept
 *   WAITING    an op has the call; libmicrohttpd has suspended  due: answer_ms, then 503 in the op's stead
 *   ANSWERING  the answer goes out                              due: write_ms
 *   CLOSING    libmicrohttpd closes the socket; the uv handle goes on a later turn
 *   FREE       the slot can be used again
 */
#ifndef API_CONNECTION_H
#define API_CONNECTION_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "api/call.h"
#include "io/peer.h"

enum connection_state { CONN_FREE, CONN_HEAD, CONN_BODY, CONN_WAITING, CONN_ANSWERING, CONN_CLOSING };

struct connection {
    struct api_server *server;
    enum connection_state state;
    uv_poll_t poll;
    int fd;     /* libmicrohttpd's from BODY on, which closes it */
    int events; /* polled for */
    struct peer peer;
    uint64_t opened_ms, due_ms;
    uint64_t look_ms; /* HEAD: when to look at it again */
    struct MHD_Connection *mhd;
    bool in_handler; /* the answer is queued when the handler returns */

    /* The request. */
    const struct route *route;
    struct route_names names;
    char *body;
    size_t body_len, body_size;

    struct api_call *call; /* while WAITING */

    /* The answer, until it is queued. */
    struct MHD_Response *response;
    unsigned status;
    bool is_lost; /* memory was short: the handler closes without one */
};

/* libmicrohttpd's handler of requests; its context is the server. */
enum MHD_Result connection_on_request(void *ctx, struct MHD_Connection *mhd, const char *url,
                                      const char *method, const char *version, const char *data,
                                      size_t *data_size, void **state);

/* Queues the only answer, or resumes so that it will be. Takes 'text' (malloc'd; NULL: no body, for 204, or
 * memory was short). 'allow' is the value of that header, or NULL. */
void connection_answer(struct connection *conn, unsigned status, const char *type, char *text,
                       const char *allow);

/* Answers 503 in the stead of an op that has the call, which from now on answers to nobody. */
void connection_give_up(struct connection *conn, const char *why);

/* Frees what the request left behind. */
void connection_reset(struct connection *conn);

#endif

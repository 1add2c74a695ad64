/* api/call.h - a request that was understood, on its way to an op and back
 *
 * Made when the body is complete, freed by its answer. It outlives its connection: then 'connection' is NULL
 * and the answer goes nowhere.
 */
#ifndef API_CALL_H
#define API_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "api/api.h"
#include "api/routes.h"
#include "api/spec_json.h"

struct connection;

struct api_call {
    struct connection *connection; /* NULL: the client, or the server, has gone */
    const struct api_ops *ops;
    void *ctx;
    const struct route *route;
    struct route_names names;
    struct peer peer;
    uint64_t n_short; /* shortage_count() when it began */
};

/* True if JSON that was made since the call began may lack something. */
bool call_is_short_of_memory(const struct api_call *call);

/* The problem of a spec that does not hold: 400 or 422. */
void call_reply_spec_error(struct api_call *call, unsigned status, const struct spec_error *error);

#endif

#include "api/call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/connection.h"
#include "api/shortage.h"
#include "api/json_out.h"
#include "api/problem.h"
#include "io/log.h"

const struct peer *api_call_peer(const struct api_call *call)
{
    return &call->peer;
}

/* The route's path with its names filled in. */
static const char *path_of(const struct api_call *call, char *path, size_t size)
{
    const char *from = call->route->path;
    size_t len = 0;

    while (*from && len + 1 < size) {
        const char *name = strncmp(from, "{network}", 9) == 0 ? call->names.network
                           : strncmp(from, "{port}", 6) == 0  ? call->names.port
                                                              : NULL;
        if (!name) {
            path[len++] = *from++;
            continue;
        }
        len += (size_t)snprintf(path + len, size - len, "%s", name);
        from = strchr(from, '}') + 1;
    }
    path[len < size ? len : size - 1] = '\0';
    return path;
}

/* Takes 'text'; ends the call. */
static void finish(struct api_call *call, unsigned status, const char *type, char *text)
{
    char path[128];
    char who[32] = "unknown";

    if (call->peer.is_known)
        snprintf(who, sizeof(who), "%" PRIuMAX, (uintmax_t)call->peer.uid);
    if (call->route->is_mutation)
        log_audit("uid %s: %s %s: %u", who, call->route->method, path_of(call, path, sizeof(path)), status);
    if (call->connection) {
        connection_answer(call->connection, status, type, text, NULL);
        call->connection->call = NULL;
    } else {
        free(text);
    }
    free(call);
}

void api_reply_problem(struct api_call *call, const struct api_problem *problem)
{
    finish(call, problem->status, PROBLEM_TYPE, problem_text(problem));
}

bool call_is_short_of_memory(const struct api_call *call)
{
    return shortage_count() != call->n_short;
}

void api_reply_json(struct api_call *call, unsigned status, json_t *body)
{
    static const struct api_problem no_memory = {
        .status = 503, .detail = "there is no memory for the answer", .next_step = PROBLEM_NEXT_HEALTH};
    char *text = call_is_short_of_memory(call) ? NULL : json_out(body);

    json_decref(body);
    if (text || status == 204)
        finish(call, status, "application/json", text);
    else
        api_reply_problem(call, &no_memory);
}

void call_reply_spec_error(struct api_call *call, unsigned status, const struct spec_error *error)
{
    char detail[sizeof(error->field) + sizeof(error->rule) + 16], next_step[512];
    struct api_problem problem = {.status = status, .detail = detail, .next_step = next_step};

    problem.field = error->field;
    snprintf(detail, sizeof(detail), "%s %s", error->field[0] ? error->field : "the body", error->rule);
    snprintf(next_step, sizeof(next_step), "send for example %s", call->route->example);
    api_reply_problem(call, &problem);
}

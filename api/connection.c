#include "api/connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/head.h"
#include "api/shortage.h"
#include "api/problem.h"
#include "api/server.h"

static void answer_problem(struct connection *conn, const struct api_problem *problem, const char *allow)
{
    connection_answer(conn, problem->status, PROBLEM_TYPE, problem_text(problem), allow);
}

static void refuse(struct connection *conn, unsigned status, const char *detail, const char *next_step)
{
    const struct api_problem problem = {.status = status, .detail = detail, .next_step = next_step};

    answer_problem(conn, &problem, NULL);
}

/* Finds the route. Returns false if the request was answered: there is none. */
static bool find_route(struct connection *conn, const char *method, const char *url)
{
    char allow[ROUTE_ALLOW_SIZE], next_step[ROUTE_ALLOW_SIZE + 16];
    struct api_problem problem = {.status = 404, .next_step = "see GET /v1/networks for what there is"};

    switch (route_find(method, url, &conn->route, &conn->names, allow)) {
    case ROUTE_FOUND:
        return true;
    case ROUTE_NO_METHOD:
        problem.status = 405;
        problem.detail = "this path has no such method";
        problem.next_step = next_step;
        snprintf(next_step, sizeof(next_step), "use one of %s", allow);
        answer_problem(conn, &problem, allow);
        return false;
    case ROUTE_BAD_NAME:
        refuse(conn, 400,
               "a name in the path must be 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or a digit",
               "use the name as it is shown, nothing escaped");
        return false;
    case ROUTE_NO_PATH:
        break;
    }
    problem.detail = "there is no such path";
    answer_problem(conn, &problem, NULL);
    return false;
}

/* The head is here, and head_check() found it plain. */
static void begin(struct connection *conn, const char *method, const char *url)
{
    const char *length =
        MHD_lookup_connection_value(conn->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    if (MHD_get_connection_values(conn->mhd, MHD_GET_ARGUMENT_KIND, NULL, NULL) > 0)
        refuse(conn, 400, "no path takes a query", "leave out the '?' and what follows");
    else if (find_route(conn, method, url) && conn->route->body == BODY_NONE && length &&
             strtoull(length, NULL, 10) > 0)
        refuse(conn, 400, "this method takes no body here", "leave the body out");
}

/* Grows with what has come, not with what was announced: 64 clients that announce cost nothing. */
static void append(struct connection *conn, const char *data, size_t len)
{
    size_t need = conn->body_len + len;
    char *body;

    if (need > conn->body_size) {
        size_t size = need < 4096 ? 4096 : need * 2;
        body = need > HEAD_BODY_MAX ? NULL : realloc(conn->body, size);
        if (!body) {
            conn->is_lost = true;
            return;
        }
        conn->body = body;
        conn->body_size = size;
    }
    memcpy(conn->body + conn->body_len, data, len);
    conn->body_len = need;
}

/* The body is here: hands the call to its op. */
static void dispatch(struct connection *conn)
{
    struct api_server *server = conn->server;
    struct api_call *call = server->is_closing ? NULL : calloc(1, sizeof(*call));

    if (!call) {
        refuse(conn, 503, server->is_closing ? "the daemon is stopping" : "there is no memory",
               PROBLEM_NEXT_HEALTH);
        return;
    }
    call->connection = conn;
    call->ops = server->ops;
    call->ctx = server->ctx;
    call->route = conn->route;
    call->names = conn->names;
    call->peer = conn->peer;
    call->n_short = shortage_count();
    conn->call = call;
    conn->state = CONN_WAITING;
    conn->due_ms = uv_now(server->loop) + server->limits.answer_ms;
    route_dispatch(call, &conn->names, conn->body, conn->body_len);
}

static enum MHD_Result queue_answer(struct connection *conn)
{
    enum MHD_Result result;

    conn->state = CONN_ANSWERING;
    conn->due_ms = uv_now(conn->server->loop) + conn->server->limits.write_ms;
    result = MHD_queue_response(conn->mhd, conn->status, conn->response);
    MHD_destroy_response(conn->response);
    conn->response = NULL;
    return result;
}

enum MHD_Result connection_on_request(void *ctx, struct MHD_Connection *mhd, const char *url,
                                      const char *method, const char *version, const char *data,
                                      size_t *data_size, void **state)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *conn = info->socket_context;

    (void)ctx;
    (void)version;
    conn->in_handler = true;
    if (!conn->response && !conn->is_lost) {
        if (!*state) {
            *state = conn;
            begin(conn, method, url);
        } else if (*data_size) {
            append(conn, data, *data_size);
            *data_size = 0;
        } else {
            dispatch(conn);
            if (!conn->response && conn->call)
                MHD_suspend_connection(mhd);
        }
    }
    conn->in_handler = false;
    if (conn->response)
        return queue_answer(conn);
    return conn->is_lost ? MHD_NO : MHD_YES;
}

void connection_answer(struct connection *conn, unsigned status, const char *type, char *text,
                       const char *allow)
{
    bool is_suspended = conn->state == CONN_WAITING && !conn->in_handler;

    if (text)
        conn->response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    else if (status == 204)
        conn->response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (conn->response) {
        conn->status = status;
        MHD_add_response_header(conn->response, MHD_HTTP_HEADER_CONNECTION, "close");
        if (text)
            MHD_add_response_header(conn->response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        if (allow)
            MHD_add_response_header(conn->response, MHD_HTTP_HEADER_ALLOW, allow);
    } else {
        conn->is_lost = true;
        free(text);
    }
    if (!is_suspended)
        return;
    MHD_resume_connection(conn->mhd);
    server_kick(conn->server);
}

void connection_give_up(struct connection *conn, const char *why)
{
    conn->call->connection = NULL;
    conn->call = NULL;
    refuse(conn, 503, why, PROBLEM_NEXT_HEALTH);
}

void connection_reset(struct connection *conn)
{
    if (conn->call)
        conn->call->connection = NULL;
    if (conn->response)
        MHD_destroy_response(conn->response);
    free(conn->body);
    conn->call = NULL;
    conn->response = NULL;
    conn->body = NULL;
    conn->body_len = conn->body_size = 0;
    conn->is_lost = false;
}

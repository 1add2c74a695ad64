#include "api/routes.h"

#include <stdio.h>
#include <string.h>

#include "api/call.h"
#include "api/problem.h"
#include "api/reload_request.h"
#include "api/spec_json.h"

/* Each of these is one op; what they share is in route_dispatch(). */

static void get_info(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)names;
    (void)body;
    call->ops->info(call->ctx, call);
}

static void get_health(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)names;
    (void)body;
    call->ops->health(call->ctx, call);
}

static void get_networks(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)names;
    (void)body;
    call->ops->networks(call->ctx, call);
}

static void put_spec(struct api_call *call, const char *name, const json_t *body, bool is_create)
{
    struct network_spec spec;
    struct spec_error error;

    if (network_spec_from_json(body, name, &spec, &error) < 0)
        call_reply_spec_error(call, 400, &error);
    else if (network_spec_check(&spec, &error) < 0)
        call_reply_spec_error(call, 422, &error);
    else
        call->ops->put_network(call->ctx, call, &spec, is_create);
}

static void post_network(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)names;
    put_spec(call, NULL, body, true);
}

static void get_network(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)body;
    call->ops->network(call->ctx, call, names->network);
}

static void put_network(struct api_call *call, const struct route_names *names, const json_t *body)
{
    put_spec(call, names->network, body, false);
}

static void delete_network(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)body;
    call->ops->delete_network(call->ctx, call, names->network);
}

static void get_ports(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)body;
    call->ops->ports(call->ctx, call, names->network);
}

static void get_port(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)body;
    call->ops->port(call->ctx, call, names->network, names->port);
}

static void put_port(struct api_call *call, const struct route_names *names, const json_t *body)
{
    struct port_spec spec;
    struct spec_error error;

    if (port_spec_from_json(body, names->port, &spec, &error) < 0)
        call_reply_spec_error(call, 400, &error);
    else
        call->ops->put_port(call->ctx, call, names->network, &spec);
}

static void patch_port(struct api_call *call, const struct route_names *names, const json_t *body)
{
    struct port_change change;
    struct spec_error error;

    if (port_change_from_json(body, &change, &error) < 0)
        call_reply_spec_error(call, 400, &error);
    else
        call->ops->patch_port(call->ctx, call, names->network, names->port, &change);
}

static void delete_port(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)body;
    call->ops->delete_port(call->ctx, call, names->network, names->port);
}

static void get_fdb(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)body;
    call->ops->fdb(call->ctx, call, names->network);
}

static void delete_fdb(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)body;
    call->ops->flush_fdb(call->ctx, call, names->network);
}

static void get_interfaces(struct api_call *call, const struct route_names *names, const json_t *body)
{
    (void)names;
    (void)body;
    call->ops->interfaces(call->ctx, call);
}

static void post_reload(struct api_call *call, const struct route_names *names, const json_t *body)
{
    struct api_reload request;
    struct spec_error error;

    (void)names;
    if (reload_request_from_json(body, &request, &error) < 0)
        call_reply_spec_error(call, 400, &error);
    else
        call->ops->reload(call->ctx, call, &request);
}

#define NETWORK "/v1/networks/{network}"
#define PORT NETWORK "/ports/{port}"

const struct route routes[] = {
    {"GET", "/v1", BODY_NONE, false, get_info, NULL, "Version, platform, uptime and limits of the daemon."},
    {"GET", "/v1/health", BODY_NONE, false, get_health, NULL,
     "For each network whether it works, and if not, why."},
    {"GET", "/v1/networks", BODY_NONE, false, get_networks, NULL, "Lists the networks."},
    {"POST", "/v1/networks", BODY_REQUIRED, true, post_network, "{\"name\": \"lab\", \"mode\": \"internal\"}",
     "Creates a network."},
    {"GET", NETWORK, BODY_NONE, false, get_network, NULL, "Shows a network."},
    {"PUT", NETWORK, BODY_REQUIRED, true, put_network, "{\"mode\": \"internal\"}",
     "Creates a network, or changes it to what the body says."},
    {"DELETE", NETWORK, BODY_NONE, true, delete_network, NULL,
     "Detaches all ports of a network and removes it."},
    {"GET", NETWORK "/ports", BODY_NONE, false, get_ports, NULL, "Lists the ports of a network."},
    {"GET", PORT, BODY_NONE, false, get_port, NULL, "Shows a port."},
    {"PUT", PORT, BODY_OPTIONAL, true, put_port, "{\"link\": \"up\", \"isolated\": false}",
     "Makes a named port with socket paths of its own, or changes it to what the body says."},
    {"PATCH", PORT, BODY_REQUIRED, true, patch_port, "{\"link\": \"down\"}",
     "Sets the link of a port up or down, or isolates it."},
    {"DELETE", PORT, BODY_NONE, true, delete_port, NULL, "Detaches a port; a named one is removed."},
    {"GET", NETWORK "/fdb", BODY_NONE, false, get_fdb, NULL,
     "Lists the forwarding table: addresses and their ports."},
    {"DELETE", NETWORK "/fdb", BODY_NONE, true, delete_fdb, NULL,
     "Forgets the learned addresses of a network."},
    {"GET", "/v1/interfaces", BODY_NONE, false, get_interfaces, NULL,
     "Lists the host interfaces that a bridged network can use."},
    {"POST", "/v1/reload", BODY_OPTIONAL, true, post_reload, "{\"restart\": true}",
     "Reads the configuration file again and applies what has changed."},
};
const size_t n_routes = sizeof(routes) / sizeof(routes[0]);

/* Copies the segment at '*path' and moves behind it. An over-long one is cut, which no valid name survives.
 */
static void take_segment(const char **path, char *segment, size_t size)
{
    size_t len = strcspn(*path, "/");

    snprintf(segment, size, "%.*s", (int)(len < size ? len : size), *path);
    if (len >= size)
        segment[0] = '\0';
    *path += len;
}

/* ROUTE_FOUND, ROUTE_BAD_NAME or ROUTE_NO_PATH. Segment by segment: an empty one fits nothing. */
static enum route_match match_path(const char *pattern, const char *path, struct route_names *names)
{
    bool is_bad = false;

    for (; *pattern == '/' && *path == '/' && path[1] && path[1] != '/';) {
        size_t len = strcspn(++pattern, "/"), path_len = strcspn(++path, "/");
        if (*pattern == '{') {
            char *name = pattern[1] == 'n' ? names->network : names->port;
            take_segment(&path, name, PORT_NAME_SIZE);
            is_bad |= !port_name_is_valid(name);
        } else if (len == path_len && strncmp(pattern, path, len) == 0) {
            path += path_len;
        } else {
            return ROUTE_NO_PATH;
        }
        pattern += len;
    }
    if (*pattern || *path)
        return ROUTE_NO_PATH;
    return is_bad ? ROUTE_BAD_NAME : ROUTE_FOUND;
}

static void add_allowed(char allow[ROUTE_ALLOW_SIZE], const char *method)
{
    size_t len = strlen(allow);

    snprintf(allow + len, ROUTE_ALLOW_SIZE - len, "%s%s%s", len ? ", " : "", method,
             strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

enum route_match route_find(const char *method, const char *path, const struct route **ret_route,
                            struct route_names *ret_names, char allow[ROUTE_ALLOW_SIZE])
{
    enum route_match best = ROUTE_NO_PATH;

    allow[0] = '\0';
    if (strcmp(method, "HEAD") == 0)
        method = "GET"; /* the library leaves the body out */
    for (size_t i = 0; i < n_routes; i++) {
        struct route_names names = {.network = ""};
        enum route_match match = match_path(routes[i].path, path, &names);
        if (match == ROUTE_NO_PATH)
            continue;
        if (match == ROUTE_BAD_NAME)
            return match;
        if (strcmp(method, routes[i].method) == 0) {
            *ret_route = &routes[i];
            *ret_names = names;
            return ROUTE_FOUND;
        }
        add_allowed(allow, routes[i].method);
        best = ROUTE_NO_METHOD;
    }
    return best;
}

void route_dispatch(struct api_call *call, const struct route_names *names, const char *body, size_t len)
{
    char why[160], detail[224], next_step[256];
    int line = 1;
    json_t *json = NULL;
    struct api_problem problem = {.status = 400, .detail = detail, .next_step = next_step};
    const struct api_problem no_memory = {
        .status = 503, .detail = "there is no memory for the body", .next_step = PROBLEM_NEXT_HEALTH};

    if (call->route->body != BODY_NONE) {
        /* curl -X PUT .../ports/vm1 without a body is how one makes a plain port. */
        bool is_left_out = len == 0 && call->route->body == BODY_OPTIONAL;
        json = is_left_out ? json_object() : json_parse_limited(body, len, why, sizeof(why), &line);
        if (!json && call_is_short_of_memory(call)) {
            api_reply_problem(call, &no_memory);
            return;
        }
        if (!json) {
            snprintf(detail, sizeof(detail), "the body is not the JSON it must be: line %d: %s", line, why);
            snprintf(next_step, sizeof(next_step), "send for example %s", call->route->example);
            api_reply_problem(call, &problem);
            return;
        }
    }
    call->route->handle(call, names, json);
    json_decref(json);
}

/* api/routes.h - the table of routes: what the API answers to, and how a body becomes a call of an op
 *
 * The one table feeds the router, etc/openapi.yaml (a test compares them) and the manual page.
 */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "api/api.h"

#define ROUTE_ALLOW_SIZE 64

enum route_body { BODY_NONE, BODY_OPTIONAL, BODY_REQUIRED };

struct route_names {
    char network[NETWORK_NAME_SIZE];
    char port[PORT_NAME_SIZE];
};

struct route {
    const char *method;
    const char *path; /* segments; {network} and {port} stand for a name */
    enum route_body body;
    bool is_mutation; /* audited */
    void (*handle)(struct api_call *call, const struct route_names *names, const json_t *body);
    const char *example;  /* a body that is accepted, or NULL */
    const char *sentence; /* for the manual */
};

extern const struct route routes[];
extern const size_t n_routes;

enum route_match {
    ROUTE_FOUND,
    ROUTE_BAD_NAME,  /* 400: the path fits but for a name */
    ROUTE_NO_PATH,   /* 404 */
    ROUTE_NO_METHOD, /* 405: 'allow' lists those the path has */
};

/* 'path' is as it was sent, nothing unescaped: no name needs a '%'. HEAD finds what GET does. 'ret_names' is
 * filled with ROUTE_FOUND alone, 'allow' with ROUTE_NO_METHOD. */
enum route_match route_find(const char *method, const char *path, const struct route **ret_route,
                            struct route_names *ret_names, char allow[ROUTE_ALLOW_SIZE]);

/* Parses 'body' as the route wants it and calls the op, or answers the problem. */
void route_dispatch(struct api_call *call, const struct route_names *names, const char *body, size_t len);

#endif

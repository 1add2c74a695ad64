/* daemon/reload_plan.h - from a network as it runs to the network that the configuration wants
 *
 * How it works
 *   Pure: two descriptions in, a list of orders and two lists of fields out. What can change while frames
 * flow becomes orders, in an order in which none is refused for the sake of a later one (an address that
 * moves from one port to another is let go first); the rest is named as what needs a restart.
 *
 * What is always true
 *   A network that runs as 'is', given 'live' and the steps, differs from a fresh start with 'should' in the
 * fields of 'needs_restart' and in no other.
 */
#ifndef DAEMON_RELOAD_PLAN_H
#define DAEMON_RELOAD_PLAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/network_spec.h"

struct network_want { /* borrowed */
    struct network_spec spec;
    uint32_t uid, gid; /* whom it runs as */
    uint32_t n_ports;
    const struct port_spec *ports;
};

enum reload_step_kind {
    RELOAD_REMOVE_PORT,
    RELOAD_RELEASE_PORT, /* put, with its static addresses cut down to those it keeps */
    RELOAD_PUT_PORT,     /* made, or set to what is wanted; may be refused: a client holds its offload */
};

struct reload_step {
    enum reload_step_kind kind;
    bool is_new; /* of a PUT: there was none of that name */
    struct port_spec port;
};

struct reload_plan {
    bool changes_spec;        /* 'live' is not what it runs with */
    struct network_spec live; /* that, with what can change while frames flow */
    uint32_t n_steps;
    struct reload_step *steps;
    json_t *changed;       /* JSON pointers of what becomes as wanted: "/isolated", "/ports/db" */
    json_t *needs_restart; /* of what does not: "/mtu", "/user" */
};

/* Returns 0 and a plan for reload_plan_free(), or -ENOMEM and an empty one. */
int reload_plan_make(struct reload_plan *ret_plan, const struct network_want *is,
                     const struct network_want *should);

/* An empty plan is fine. */
void reload_plan_free(struct reload_plan *plan);

/* Appends the pointer of each field in which the objects differ, below 'base'. Objects are compared field by
 * field, arrays as a whole. */
void reload_plan_name_fields(json_t *list, const char *base, json_t *is, json_t *should);

#endif

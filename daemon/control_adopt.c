/* daemon/control_adopt.c - a network that runs since before this control did
 *
 * The good path: it is asked what it runs with and which ports it has -> what it runs with, and what is
 * wanted of it, are compared as for a reload -> it is configured as at a start, with what can change while
 * frames flow, so that whatever the control before it left half done is done now.
 *
 * What needs a restart waits for it, where the configuration is to be reloaded only: nobody asked for one. A
 * change over the API did ask, and goes on. One that does not answer is configured as it should be; it says
 * itself if only a restart makes it so.
 */
#include "daemon/control_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/reload_plan.h"

struct adoption {
    struct managed *m;
    struct network_spec spec; /* it runs with */
    uint32_t uid, gid;
    const struct query_result *result; /* of this turn alone */
    struct port_spec ports[NETWORK_PORTS_MAX];
    uint32_t n_ports;
};

static bool text_ends(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

/* What a network says of itself is checked like anybody's words. */
static bool spec_is_sane(const struct network_spec *spec, const char *name)
{
    return text_ends(spec->name, sizeof(spec->name)) && strcmp(spec->name, name) == 0 &&
           text_ends(spec->interface, sizeof(spec->interface)) &&
           text_ends(spec->sockets.group, sizeof(spec->sockets.group)) && (unsigned)spec->mode < MODE_N &&
           (unsigned)spec->uplink < WANT_N && spec->uplink != WANT_AUTO &&
           (unsigned)spec->offload < OFFLOAD_N && spec->n_forwards <= NETWORK_FORWARDS_MAX;
}

/* ---- its ports, as far as they show ---- */

static const struct port_snapshot *find_snapshot(const struct adoption *adoption, const char *port)
{
    for (uint32_t i = 0; i < adoption->result->n_ports; i++)
        if (strcmp(adoption->result->ports[i].name, port) == 0)
            return &adoption->result->ports[i];
    return NULL;
}

static void add_port(struct adoption *adoption, const struct port_snapshot *snapshot)
{
    struct port_spec *port = &adoption->ports[adoption->n_ports++];
    *port = (struct port_spec){.enabled = snapshot->enabled,
                               .isolated = snapshot->isolated,
                               .offload_is_set = true,
                               .offload = snapshot->offload};
    memcpy(port->name, snapshot->name, sizeof(port->name));
    for (uint32_t i = 0; i < adoption->result->n_fdb && port->n_statics < PORT_STATICS_MAX; i++) {
        const struct fdb_snapshot *entry = &adoption->result->fdb[i];
        if (entry->is_static && strcmp(entry->port, port->name) == 0)
            port->statics[port->n_statics++] = entry->mac;
    }
}

static void list_ports(struct adoption *adoption)
{
    for (uint32_t i = 0; i < adoption->result->n_ports; i++) {
        const struct port_snapshot *snapshot = &adoption->result->ports[i];
        if (snapshot->is_named && adoption->n_ports < NETWORK_PORTS_MAX)
            add_port(adoption, snapshot);
    }
}

/* ---- from what it is to what it should be ---- */

static void remove_port(struct managed *m, const char *port)
{
    struct port_name_order order = {.port = ""};
    snprintf(order.port, sizeof(order.port), "%s", port);
    managed_unbind(m, port);
    managed_send(m, MSG_PORT_REMOVE, &order, sizeof(order), -1);
}

/* The rest of the plan is in what every start says. */
static void make_room(struct managed *m, const struct reload_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct reload_step *step = &plan->steps[i];
        struct port_order put = {.spec = step->port};
        if (step->kind == RELOAD_REMOVE_PORT)
            remove_port(m, step->port.name);
        else if (step->kind == RELOAD_RELEASE_PORT)
            managed_send(m, MSG_PORT_PUT, &put, sizeof(put), -1);
    }
}

/* A client holds a port's offload: it stays until a restart. */
static void keep_held_ports(struct adoption *adoption, const struct network_spec *live, json_t *fields)
{
    struct managed *m = adoption->m;
    for (uint32_t i = 0; i < m->n_ports; i++) {
        struct port_spec *port = &m->ports[i];
        const struct port_snapshot *snapshot = find_snapshot(adoption, port->name);
        const enum port_offload wanted = port->offload_is_set ? port->offload : live->offload;
        char field[PORT_NAME_SIZE + 32];
        if (!snapshot || !snapshot->has_client || snapshot->offload == wanted)
            continue;
        port->offload_is_set = true;
        port->offload = snapshot->offload;
        snprintf(field, sizeof(field), "/ports/%s/offload", port->name);
        json_array_append_new(fields, json_string(field));
    }
}

static void wait_for_restart(struct adoption *adoption, struct reload_plan *plan)
{
    struct managed *m = adoption->m;
    struct pending *pending = managed_new_pending(m);
    if (!pending)
        return; /* then it is restarted */
    *pending = (struct pending){
        .source = m->source, .spec = m->spec, .uid = m->uid, .gid = m->gid, .n_ports = m->n_ports};
    memcpy(pending->ports, m->ports, m->n_ports * sizeof(*m->ports));
    keep_held_ports(adoption, &plan->live, plan->needs_restart);
    m->spec = plan->live;
    m->uplink = adoption->spec.uplink;
    m->uid = adoption->uid;
    m->gid = adoption->gid;
    pending->fields = json_incref(plan->needs_restart);
    if (json_array_size(pending->fields) > 0)
        log_info("network %s: adopted as it runs; the configuration has it otherwise", m->spec.name);
    else
        managed_drop_pending(m);
}

static void compare(struct adoption *adoption)
{
    struct managed *m = adoption->m;
    const struct network_want should = {
        .spec = m->spec, .uid = m->uid, .gid = m->gid, .n_ports = m->n_ports, .ports = m->ports};
    struct network_want is = {.spec = adoption->spec, .uid = adoption->uid, .gid = adoption->gid};
    struct reload_plan plan;
    list_ports(adoption);
    is.n_ports = adoption->n_ports;
    is.ports = adoption->ports;
    if (m->uplink == is.spec.uplink) /* "auto" is what it has come to */
        is.spec.uplink = m->spec.uplink;
    if (reload_plan_make(&plan, &is, &should) < 0)
        return;
    make_room(m, &plan);
    if (m->source == SOURCE_CONFIG)
        wait_for_restart(adoption, &plan);
    reload_plan_free(&plan);
}

/* ---- asking ---- */

static void finish(struct adoption *adoption)
{
    struct managed *m = adoption->m;
    m->is_adopted = false;
    if (m->channel && m->phase == PHASE_STARTING) {
        managed_configure(m);
        uplink_reconfigure(m);
    }
    managed_unref(m);
    free(adoption);
}

static void on_ports(void *ctx, struct managed *m, const struct query_result *result)
{
    struct adoption *adoption = ctx;
    adoption->result = result;
    if (result && m->channel && m->phase == PHASE_STARTING)
        compare(adoption);
    finish(adoption);
}

static void on_spec(void *ctx, struct message *answer)
{
    struct adoption *adoption = ctx;
    const struct network_spec *spec = answer && answer->type == MSG_SPEC ? answer->payload : NULL;
    if (!spec || !spec_is_sane(spec, adoption->m->spec.name)) {
        finish(adoption);
        return;
    }
    adoption->spec = *spec;
    control_query(adoption->m, true, true, on_ports, adoption);
}

void managed_adopt_running(struct managed *m, uint32_t uid, uint32_t gid)
{
    struct adoption *adoption = calloc(1, sizeof(*adoption));
    if (!adoption) {
        managed_configure(m);
        return;
    }
    *adoption = (struct adoption){.m = m, .uid = uid, .gid = gid};
    m->is_adopted = true;
    managed_ref(m);
    asks_send(&m->control->asks, m->channel, MSG_ASK_SPEC, NULL, 0, -1, ASK_NETWORK_MS, on_spec, adoption);
}

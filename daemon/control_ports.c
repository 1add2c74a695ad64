/* daemon/control_ports.c - the API's operations on ports and the forwarding database of a network
 *
 * Each sends a question to the network process and answers the call when that answers: an op_job is the call
 * meanwhile.
 */
#include "daemon/control_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct op_job {
    struct managed *m;
    struct api_call *call;
    unsigned status; /* of success */
    char port[PORT_NAME_SIZE];
    struct port_spec spec, before; /* of a PUT: what is wanted, and what was */
    struct port_change change;
};

static struct op_job *job_new(struct managed *m, struct api_call *call, const char *port)
{
    struct op_job *job = calloc(1, sizeof(*job));
    if (!job) {
        control_reply_problem(call, 503, "out of memory", NULL, "try again later");
        return NULL;
    }
    job->m = m;
    job->call = call;
    job->status = 200;
    snprintf(job->port, sizeof(job->port), "%s", port);
    managed_ref(m);
    return job;
}

static void job_free(struct op_job *job)
{
    managed_unref(job->m);
    free(job);
}

static void reply_unresponsive(struct op_job *job)
{
    control_reply_problem(job->call, 503,
                          job->m->channel ? "the network's process has not answered within 1 s: unresponsive"
                                          : "the network does not run now",
                          NULL, "GET /v1/health says why");
}

static void reply_no_port(struct op_job *job)
{
    char detail[160];
    snprintf(detail, sizeof(detail), "network %s has no port %s", job->m->spec.name, job->port);
    control_reply_problem(job->call, 404, detail, NULL,
                          "GET /v1/networks/{n}/ports lists them; PUT makes a named one");
}

/* ---- look ---- */

static json_t *show_port(const struct managed *m, const struct port_snapshot *port,
                         const struct query_result *result)
{
    char stream[MESSAGE_PATH_SIZE + 96], datagram[MESSAGE_PATH_SIZE + 96];
    const char *dir = m->control->hello.runtime_dir;
    snprintf(stream, sizeof(stream), "%s/%s.%s.stream", dir, m->spec.name, port->name);
    snprintf(datagram, sizeof(datagram), "%s/%s.%s.dgram", dir, m->spec.name, port->name);
    return view_port(port, result->fdb, result->n_fdb,
                     port->is_named && m->spec.sockets.stream ? stream : NULL,
                     port->is_named && m->spec.sockets.datagram ? datagram : NULL);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct port_snapshot *)a)->name, ((const struct port_snapshot *)b)->name);
}

static void on_ports(void *ctx, struct managed *m, const struct query_result *result)
{
    struct op_job *job = ctx;
    if (!result) {
        reply_unresponsive(job);
    } else {
        json_t *list = json_array();
        if (result->n_ports > 0)
            qsort(result->ports, result->n_ports, sizeof(*result->ports), by_name);
        for (uint32_t i = 0; i < result->n_ports; i++)
            json_array_append_new(list, show_port(m, &result->ports[i], result));
        api_reply_json(job->call, 200, json_pack("{s:o}", "ports", list));
    }
    job_free(job);
}

void control_ports_op(void *ctx, struct api_call *call, const char *network)
{
    struct managed *m = control_network_or_404(ctx, call, network);
    struct op_job *job = m ? job_new(m, call, "") : NULL;
    if (job)
        control_query(m, true, true, on_ports, job);
}

static void on_port(void *ctx, struct managed *m, const struct query_result *result)
{
    struct op_job *job = ctx;
    const struct port_snapshot *port = NULL;
    for (uint32_t i = 0; result && i < result->n_ports; i++)
        if (strcmp(result->ports[i].name, job->port) == 0)
            port = &result->ports[i];
    if (!result)
        reply_unresponsive(job);
    else if (!port)
        reply_no_port(job);
    else
        api_reply_json(job->call, job->status, show_port(m, port, result));
    job_free(job);
}

void control_port_op(void *ctx, struct api_call *call, const char *network, const char *port)
{
    struct managed *m = control_network_or_404(ctx, call, network);
    struct op_job *job = m ? job_new(m, call, port) : NULL;
    if (job)
        control_query(m, true, true, on_port, job);
}

static void on_fdb(void *ctx, struct managed *m, const struct query_result *result)
{
    struct op_job *job = ctx;
    (void)m;
    if (!result) {
        reply_unresponsive(job);
    } else {
        json_t *list = json_array();
        for (uint32_t i = 0; i < result->n_fdb; i++)
            json_array_append_new(list, view_fdb_entry(&result->fdb[i]));
        api_reply_json(job->call, 200, json_pack("{s:o}", "fdb", list));
    }
    job_free(job);
}

void control_fdb_op(void *ctx, struct api_call *call, const char *network)
{
    struct managed *m = control_network_or_404(ctx, call, network);
    struct op_job *job = m ? job_new(m, call, "") : NULL;
    if (job)
        control_query(m, false, true, on_fdb, job);
}

/* ---- change ---- */

/* Sends an order to the network; false after the call was answered because it does not run. */
static bool send_order(struct op_job *job, uint16_t type, const void *payload, uint32_t len, ask_fn *fn)
{
    struct managed *m = job->m;
    if (!m->channel) {
        reply_unresponsive(job);
        job_free(job);
        return false;
    }
    asks_send(&m->control->asks, m->channel, type, payload, len, -1, ASK_NETWORK_MS, fn, job);
    return true;
}

static void on_flushed(void *ctx, struct message *answer)
{
    struct op_job *job = ctx;
    const struct done *done = ask_done(answer);
    if (!done)
        reply_unresponsive(job);
    else
        api_reply_json(job->call, 200, json_pack("{s:I}", "flushed", (json_int_t)done->count));
    job_free(job);
}

void control_flush_fdb_op(void *ctx, struct api_call *call, const char *network)
{
    struct managed *m = control_network_or_404(ctx, call, network);
    struct op_job *job = m ? job_new(m, call, "") : NULL;
    if (job)
        send_order(job, MSG_FLUSH_FDB, NULL, 0, on_flushed);
}

static void reply_not_saved(struct op_job *job)
{
    control_reply_problem(job->call, 503, "the change could not be written to the state folder", NULL,
                          "free some disk space; the log says more");
    job_free(job);
}

static void on_put(void *ctx, unsigned status, const char *why)
{
    struct op_job *job = ctx;
    struct managed *m = job->m;
    if (!status) {
        control_query(m, true, true, on_port, job);
        return;
    }
    control_reply_problem(job->call, status, why, NULL, NULL);
    struct port_spec *kept = managed_find_port(m, job->port);
    if (job->status == 200 && status < 500 && kept && port_spec_is_same(kept, &job->spec)) {
        /* No later PUT has come in between. Kept, it would be refused again at each restart. */
        *kept = job->before;
        managed_save(m);
    }
    if (job->status == 201) { /* new: what was refused leaves nothing behind */
        struct port_name_order order = {.port = ""};
        snprintf(order.port, sizeof(order.port), "%s", job->port);
        managed_forget_port(m, job->port);
        managed_save(m);
        managed_unbind(m, job->port);
        if (status != 409)
            managed_send(m, MSG_PORT_REMOVE, &order, sizeof(order), -1);
    }
    job_free(job);
}

void control_put_port_op(void *ctx, struct api_call *call, const char *network, const struct port_spec *spec)
{
    struct managed *m = control_network_or_404(ctx, call, network);
    if (!m || control_refuse_deleted(m, call) || control_refuse_configured(m, call))
        return;
    struct port_spec *old = managed_find_port(m, spec->name);
    struct op_job *job;
    if (!old && m->n_ports == NETWORK_PORTS_MAX) {
        control_reply_problem(call, 503, "the network has 256 named ports already", NULL, "delete one");
        return;
    }
    if (!(job = job_new(m, call, spec->name)))
        return;
    if (!m->channel) {
        reply_unresponsive(job);
        job_free(job);
        return;
    }
    const struct port_spec before = old ? *old : *spec;
    job->spec = *spec;
    job->before = before;
    job->status = old ? 200 : 201;
    *(old ? old : &m->ports[m->n_ports++]) = *spec;
    if (managed_save(m) < 0) {
        if (old)
            *old = before;
        else
            m->n_ports--;
        reply_not_saved(job);
        return;
    }
    managed_put_port(m, spec, on_put, job);
}

static void on_patched(void *ctx, struct message *answer)
{
    struct op_job *job = ctx;
    const struct done *done = ask_done(answer);
    struct port_spec *spec = managed_find_port(job->m, job->port);
    if (!done) {
        reply_unresponsive(job);
        job_free(job);
        return;
    }
    if (done->status) {
        control_reply_problem(job->call, done->status, done->why, NULL, NULL);
        job_free(job);
        return;
    }
    if (spec) {
        spec->enabled = job->change.has_enabled ? job->change.enabled : spec->enabled;
        spec->isolated = job->change.has_isolated ? job->change.isolated : spec->isolated;
        /* Of the configuration's it lasts until the next reload or start. */
        if (job->m->source != SOURCE_CONFIG && managed_save(job->m) < 0) {
            reply_not_saved(job);
            return;
        }
    }
    control_query(job->m, true, true, on_port, job);
}

void control_patch_port_op(void *ctx, struct api_call *call, const char *network, const char *port,
                           const struct port_change *change)
{
    struct managed *m = control_network_or_404(ctx, call, network);
    struct op_job *job = m && !control_refuse_deleted(m, call) ? job_new(m, call, port) : NULL;
    struct port_change_order order = {.change = *change};
    if (!job)
        return;
    job->change = *change;
    snprintf(order.port, sizeof(order.port), "%s", port);
    send_order(job, MSG_PORT_CHANGE, &order, sizeof(order), on_patched);
}

static void on_deleted(void *ctx, struct message *answer)
{
    struct op_job *job = ctx;
    const struct done *done = ask_done(answer);
    if (!done)
        reply_unresponsive(job);
    else if (done->status == 404)
        reply_no_port(job);
    else if (done->status)
        control_reply_problem(job->call, done->status, done->why, NULL, NULL);
    else
        api_reply_json(job->call, 204, NULL);
    job_free(job);
}

/* Removes a named port from what is kept. False after the call was answered. */
static bool forget_port(struct op_job *job)
{
    struct managed *m = job->m;
    const bool was_named = managed_find_port(m, job->port) != NULL;
    if (m->source == SOURCE_CONFIG)
        return true;
    managed_forget_port(m, job->port);
    if (was_named && managed_save(m) < 0) {
        reply_not_saved(job);
        return false;
    }
    managed_unbind(m, job->port); /* also where an earlier try got no further than the file */
    if (was_named && !m->channel) {
        api_reply_json(job->call, 204, NULL);
        job_free(job);
        return false;
    }
    return true;
}

void control_delete_port_op(void *ctx, struct api_call *call, const char *network, const char *port)
{
    struct managed *m = control_network_or_404(ctx, call, network);
    struct port_name_order order = {.port = ""};
    if (!m || control_refuse_deleted(m, call) ||
        (managed_find_port(m, port) && control_refuse_configured(m, call)))
        return;
    struct op_job *job = job_new(m, call, port);
    if (!job || !forget_port(job))
        return;
    snprintf(order.port, sizeof(order.port), "%s", port);
    send_order(job, MSG_PORT_REMOVE, &order, sizeof(order), on_deleted);
}

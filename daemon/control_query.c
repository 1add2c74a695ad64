/* daemon/control_query.c - asks a network for a snapshot and puts its pages together */
#include "daemon/control_internal.h"

#include <stdlib.h>
#include <string.h>

#include "api/shortage.h"
#include "switch/fdb.h"

struct query_job {
    struct managed *m;
    query_fn *fn;
    void *ctx;
    struct query_result result;
    unsigned n_open; /* the network, and its uplink's process if there is one */
    bool has_report, is_complete;
    bool is_bad; /* memory was short, or the network talked nonsense */
};

/* Printable ASCII, ended within 'size': what a network process says is checked like anybody's words. */
static bool is_plain(const char *text, uint32_t size)
{
    if (!message_text_ok(text, size))
        return false;
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}

static bool report_is_ok(const struct network_report *report)
{
    return is_plain(report->uplink_reason, sizeof(report->uplink_reason)) &&
           is_plain(report->uplink_facts.ifname, sizeof(report->uplink_facts.ifname)) &&
           is_plain(report->lan.flap_port, sizeof(report->lan.flap_port)) &&
           is_plain(report->lan.flap_claimed, sizeof(report->lan.flap_claimed)) &&
           (unsigned)report->uplink_kind < UPLINK_N_KINDS && (unsigned)report->uplink_state < UPLINK_N_STATES;
}

static bool port_is_ok(const struct port_snapshot *port)
{
    return is_plain(port->name, sizeof(port->name)) && is_plain(port->kind, sizeof(port->kind)) &&
           is_plain(port->via, sizeof(port->via)) && is_plain(port->problem, sizeof(port->problem)) &&
           (unsigned)port->offload < OFFLOAD_N;
}

static void finish(struct query_job *job)
{
    if (--job->n_open > 0)
        return;
    job->fn(job->ctx, job->m, job->is_complete ? &job->result : NULL);
    managed_unref(job->m);
    free(job->result.ports);
    free(job->result.fdb);
    free(job);
}

static void *grow(struct query_job *job, void *array, size_t n_old, size_t n_new, size_t size)
{
    void *grown = realloc(array, (n_old + n_new) * size);
    if (grown)
        return grown;
    shortage_note();
    job->is_bad = true;
    return array;
}

static void take_ports(struct query_job *job, const struct ports_page *page)
{
    struct query_result *result = &job->result;
    job->is_bad |= page->n > PORTS_PER_PAGE || result->n_ports + page->n > NETWORK_PORTS_MAX + 1;
    for (uint32_t i = 0; !job->is_bad && i < page->n; i++)
        job->is_bad |= !port_is_ok(&page->ports[i]);
    if (job->is_bad || page->n == 0)
        return;
    result->ports = grow(job, result->ports, result->n_ports, page->n, sizeof(*page->ports));
    if (job->is_bad)
        return;
    memcpy(result->ports + result->n_ports, page->ports, page->n * sizeof(*page->ports));
    result->n_ports += page->n;
}

static uint32_t fdb_entries_max(const struct managed *m)
{
    return (m->spec.limits.fdb_entries ? m->spec.limits.fdb_entries : FDB_CAPACITY) + FDB_STATIC_MAX;
}

static void take_fdb(struct query_job *job, const struct fdb_page *page)
{
    struct query_result *result = &job->result;
    job->is_bad |= page->n > FDB_PER_PAGE || result->n_fdb + page->n > fdb_entries_max(job->m);
    for (uint32_t i = 0; !job->is_bad && i < page->n; i++)
        job->is_bad |= !is_plain(page->entries[i].port, sizeof(page->entries[i].port));
    if (job->is_bad || page->n == 0)
        return;
    result->fdb = grow(job, result->fdb, result->n_fdb, page->n, sizeof(*page->entries));
    if (job->is_bad)
        return;
    memcpy(result->fdb + result->n_fdb, page->entries, page->n * sizeof(*page->entries));
    result->n_fdb += page->n;
}

static void on_answer(void *ctx, struct message *answer)
{
    struct query_job *job = ctx;
    if (!answer) {
        finish(job);
    } else if (answer->type == MSG_SNAPSHOT) {
        job->result.report = *(const struct network_report *)answer->payload;
        job->has_report = report_is_ok(&job->result.report);
    } else if (answer->type == MSG_SNAPSHOT_PORTS) {
        take_ports(job, answer->payload);
    } else if (answer->type == MSG_SNAPSHOT_FDB) {
        take_fdb(job, answer->payload);
    } else {
        job->is_complete = job->has_report && !job->is_bad;
        finish(job);
    }
}

static void on_uplink_answer(void *ctx, struct message *answer)
{
    struct query_job *job = ctx;
    if (answer && answer->type == MSG_UPLINK_COUNTERS) {
        job->result.uplink = *(const struct uplink_counters *)answer->payload;
        job->result.has_uplink = true;
    }
    finish(job);
}

void control_query(struct managed *m, bool ports, bool fdb, query_fn *fn, void *ctx)
{
    const struct query query = {.ports = ports, .fdb = fdb};
    struct query_job *job = m->channel ? calloc(1, sizeof(*job)) : NULL;
    if (m->channel && !job)
        shortage_note();
    if (!job) {
        fn(ctx, m, NULL);
        return;
    }
    job->m = m;
    job->fn = fn;
    job->ctx = ctx;
    managed_ref(m);
    job->n_open = 1;
    const bool has_counters = m->up.role == ROLE_UPLINK || m->up.role == ROLE_VMNET;
    if (m->up.channel && has_counters && !ports && !fdb) {
        job->n_open++;
        asks_send(&m->control->asks, m->up.channel, MSG_UPLINK_ASK, NULL, 0, -1, ASK_UPLINK_MS,
                  on_uplink_answer, job);
    }
    asks_send(&m->control->asks, m->channel, MSG_QUERY, &query, sizeof(query), -1, ASK_NETWORK_MS, on_answer,
              job);
}

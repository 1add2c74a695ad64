/* daemon/control_api.c - the API's operations on the daemon and its networks */
#include "daemon/control_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"

void control_reply_problem(struct api_call *call, unsigned status, const char *detail, const char *field,
                           const char *next_step)
{
    const struct api_problem problem = {
        .status = status, .detail = detail, .field = field, .next_step = next_step};
    api_reply_problem(call, &problem);
}

struct managed *control_network_or_404(struct control *control, struct api_call *call, const char *name)
{
    struct managed *m = managed_find(control, name);
    char detail[96];
    if (m)
        return m;
    snprintf(detail, sizeof(detail), "there is no network %s", name);
    control_reply_problem(call, 404, detail, NULL,
                          "GET /v1/networks lists them; POST /v1/networks makes one");
    return NULL;
}

bool control_refuse_deleted(struct managed *m, struct api_call *call)
{
    if (!m->delete_when_stopped)
        return false;
    control_reply_problem(call, 409, "the network is just being deleted", NULL, "try again in a second");
    return true;
}

bool control_refuse_configured(struct managed *m, struct api_call *call)
{
    char detail[MESSAGE_PATH_SIZE + 96];
    if (m->source != SOURCE_CONFIG)
        return false;
    snprintf(detail, sizeof(detail), "network %s comes from the configuration file %s", m->spec.name,
             m->control->hello.config_path);
    control_reply_problem(call, 409, detail, NULL, "change it in the file, then POST /v1/reload");
    return true;
}

/* ---- what a network shows ---- */

struct network_paths {
    char stream[MESSAGE_PATH_SIZE + 64], datagram[MESSAGE_PATH_SIZE + 64], attach[MESSAGE_PATH_SIZE + 64];
};

static void fill_paths(const struct managed *m, struct network_paths *paths, struct network_status *status)
{
    const char *dir = m->control->hello.runtime_dir;
    snprintf(paths->stream, sizeof(paths->stream), "%s/%s.stream", dir, m->spec.name);
    snprintf(paths->datagram, sizeof(paths->datagram), "%s/%s.dgram", dir, m->spec.name);
    snprintf(paths->attach, sizeof(paths->attach), "%s/attach.sock", dir);
    status->stream_path = m->spec.sockets.stream ? paths->stream : NULL;
    status->datagram_path = m->spec.sockets.datagram ? paths->datagram : NULL;
    status->attach_path = paths->attach;
}

/* Called "failed" once restarts have become rare: somebody should look. */
enum { FAILED_FROM_DELAY_MS = 4000 };

void control_fill_health(const struct managed *m, const struct query_result *result,
                         struct network_status *status)
{
    status->reason = m->failure[0] ? m->failure : NULL;
    if (m->phase == PHASE_STARTING || (m->phase == PHASE_STOPPED && !m->failure[0])) {
        status->health = "starting";
    } else if (m->phase != PHASE_RUNNING) {
        status->health = m->is_refused || m->retry.delay_ms >= FAILED_FROM_DELAY_MS ? "failed" : "degraded";
    } else if (!result) {
        status->health = "unresponsive";
        status->reason = "its process has not answered within 1 s";
    } else {
        const enum uplink_state state = result->report.uplink_state;
        status->health = uplink_state_name(state);
        status->reason = result->report.uplink_reason[0] ? result->report.uplink_reason : NULL;
    }
}

static void fill_status(const struct managed *m, const struct query_result *result,
                        struct network_status *status)
{
    static const char *const sources[] = {
        [SOURCE_API] = "api", [SOURCE_DEFAULT] = "default", [SOURCE_CONFIG] = "configuration"};
    *status = (struct network_status){
        .source = sources[m->source],
        .file = m->source == SOURCE_CONFIG ? m->control->hello.config_path : NULL,
        .pid = m->pid,
        .owner_uid = m->uid,
        .uplink_kind = m->uplink == WANT_USER    ? UPLINK_USER
                       : m->uplink == WANT_TAP   ? UPLINK_TAP
                       : m->uplink == WANT_VMNET ? UPLINK_VMNET
                                                 : UPLINK_NONE,
        .uplink_state = UPLINK_STARTING,
        .uplink_pid = m->up.pid,
        .warning = control_warning(m),
        .needs_restart = m->pending ? m->pending->fields : NULL,
        .holders = m->up.has_holders ? &m->up.holders : NULL,
    };
    if (result) {
        status->uplink_state = result->report.uplink_state;
        status->uplink_reason = result->report.uplink_reason[0] ? result->report.uplink_reason : NULL;
        status->ifname = result->report.uplink_facts.ifname[0] ? result->report.uplink_facts.ifname : NULL;
        status->subnet = result->report.uplink_facts.subnet;
        status->lan = &result->report.lan;
        status->uplink_counters = result->has_uplink ? &result->uplink : NULL;
    }
    control_fill_health(m, result, status);
}

static json_t *show_network(struct managed *m, const struct query_result *result)
{
    struct network_paths paths;
    struct network_status status;
    fill_status(m, result, &status);
    fill_paths(m, &paths, &status);
    return view_network(&m->spec, &status);
}

struct one_network {
    struct api_call *call;
    unsigned status;
};

static void on_one_network(void *ctx, struct managed *m, const struct query_result *result)
{
    struct one_network *one = ctx;
    api_reply_json(one->call, one->status, show_network(m, result));
    free(one);
}

void control_reply_network(struct managed *m, struct api_call *call, unsigned status)
{
    struct one_network *one = malloc(sizeof(*one));
    if (!one) {
        control_reply_problem(call, 503, "out of memory", NULL, "try again later");
        return;
    }
    *one = (struct one_network){.call = call, .status = status};
    control_query(m, false, false, on_one_network, one);
}

/* ---- all networks at once ---- */

/* Networks answer in any order; the list keeps the order of their names. */
struct gather {
    struct api_call *call;
    unsigned n, n_open;
    unsigned n_bad; /* not up */
    bool is_health;
    struct gather_slot {
        struct gather *gather;
        struct managed *m;
        json_t *shown;
    } slots[NETWORKS_MAX];
};

static void gather_close(struct gather *gather)
{
    if (--gather->n_open > 0)
        return;
    json_t *list = json_array();
    for (unsigned i = 0; i < gather->n; i++)
        if (gather->slots[i].shown)
            json_array_append_new(list, gather->slots[i].shown);
    json_t *body = json_pack("{s:o}", "networks", list);
    if (gather->is_health)
        json_object_set_new(body, "status", json_string(gather->n_bad ? "degraded" : "up"));
    api_reply_json(gather->call, 200, body);
    free(gather);
}

static void on_gathered(void *ctx, struct managed *m, const struct query_result *result)
{
    struct gather_slot *slot = ctx;
    struct network_status status;
    if (!m->is_gone) {
        fill_status(m, result, &status);
        slot->gather->n_bad += strcmp(status.health, "up") != 0;
        slot->shown =
            slot->gather->is_health ? view_health_entry(m->spec.name, &status) : show_network(m, result);
    }
    gather_close(slot->gather);
}

static int by_name(const void *a, const void *b)
{
    const struct gather_slot *left = a, *right = b;
    return strcmp(left->m->spec.name, right->m->spec.name);
}

static void gather_all(struct control *control, struct api_call *call, bool is_health)
{
    struct gather *gather = calloc(1, sizeof(*gather));
    if (!gather) {
        control_reply_problem(call, 503, "out of memory", NULL, "try again later");
        return;
    }
    gather->call = call;
    gather->is_health = is_health;
    gather->n_open = 1; /* ours: nobody answers before all were asked */
    for (struct managed *m = control->networks; m && gather->n < NETWORKS_MAX; m = m->next)
        gather->slots[gather->n++] = (struct gather_slot){.gather = gather, .m = m};
    qsort(gather->slots, gather->n, sizeof(gather->slots[0]), by_name);
    for (unsigned i = 0; i < gather->n; i++) {
        gather->n_open++;
        control_query(gather->slots[i].m, false, false, on_gathered, &gather->slots[i]);
    }
    gather_close(gather);
}

static void networks_op(void *ctx, struct api_call *call)
{
    gather_all(ctx, call, false);
}

static void health_op(void *ctx, struct api_call *call)
{
    gather_all(ctx, call, true);
}

static void network_op(void *ctx, struct api_call *call, const char *name)
{
    struct managed *m = control_network_or_404(ctx, call, name);
    if (m)
        control_reply_network(m, call, 200);
}

/* ---- change ---- */

static void reply_spec_error(struct api_call *call, const struct spec_error *error)
{
    control_reply_problem(call, 422, error->rule, error->field[0] ? error->field : NULL, NULL);
}

static bool refuse_overlap(struct control *control, const struct network_spec *spec, struct api_call *call)
{
    for (const struct managed *m = control->networks; m; m = m->next) {
        char detail[160];
        if (strcmp(m->spec.name, spec->name) == 0 || !config_subnets_overlap(&m->spec, spec))
            continue;
        snprintf(detail, sizeof(detail), "its IPv4 subnet overlaps that of network %s", m->spec.name);
        control_reply_problem(call, 409, detail, "/ipv4", "choose another gateway and netmask");
        return true;
    }
    return false;
}

static void change_network(struct managed *m, const struct network_spec *spec, struct api_call *call)
{
    const struct network_spec before = m->spec;
    m->spec = *spec;
    if (managed_save(m) < 0) {
        m->spec = before;
        control_reply_problem(call, 503, "the change could not be written to the state folder", NULL,
                              "free some disk space; the log says more");
        return;
    }
    if (m->phase == PHASE_RUNNING && network_spec_differs_live_only(&before, spec)) {
        struct network_spec resolved = *spec;
        resolved.uplink = m->uplink;
        managed_send(m, MSG_CONFIGURE, &resolved, sizeof(resolved), -1);
        uplink_reconfigure(m);
        control_reply_network(m, call, 200);
        return;
    }
    if (!m->has_before) /* else the one before that is what last worked */
        m->before = before;
    m->has_before = true;
    m->restart_at_once = true;
    managed_wait(m, call, 200);
    managed_stop(m);
}

static void touch_network(struct managed *m, struct api_call *call)
{
    if (m->phase == PHASE_RUNNING) {
        control_reply_network(m, call, 200);
        return;
    }
    managed_wait(m, call, 200);
    managed_start(m); /* does nothing if it is on its way */
}

/* Whom a network runs as: who asked for it. What root asks for runs as the service user, and so does what
 * anybody asks of a daemon that can be no other. Root's group goes to no network either. */
static void owner_of(const struct control *control, const struct peer *peer, uint32_t *ret_uid,
                     uint32_t *ret_gid)
{
    const bool is_ours = !control->hello.is_root || !peer->is_known || peer->uid == 0;
    *ret_uid = is_ours ? control->hello.service_uid : peer->uid;
    *ret_gid = is_ours || peer->gid == 0 ? control->hello.service_gid : peer->gid;
}

static void make_network(struct control *control, const struct network_spec *spec, struct api_call *call)
{
    uint32_t uid, gid;
    struct managed *m;
    if (control->n_networks >= NETWORKS_MAX) {
        control_reply_problem(call, 503, "all 64 networks are in use", NULL, "delete one");
        return;
    }
    owner_of(control, api_call_peer(call), &uid, &gid);
    m = managed_add(control, spec, SOURCE_API, uid, gid);
    if (!m || managed_save(m) < 0) {
        if (m) {
            m->delete_when_stopped = true;
            managed_stop(m);
        }
        control_reply_problem(call, 503, "the network could not be written to the state folder", NULL,
                              "free some disk space; the log says more");
        return;
    }
    m->is_new = true;
    managed_wait(m, call, 201);
    managed_start(m);
}

/* A network that is so already is left alone, whatever the host has come to since. */
static bool refuse_host(const struct managed *m, const struct network_spec *spec, struct api_call *call)
{
    return !(m && network_spec_is_same(&m->spec, spec)) &&
           control_refuse_host(spec, m ? m->up.tap : "", call);
}

/* What vmnet would refuse without a word, or would take away from the host. Its own subnet, which a change
 * leaves as it is, is not in its way. */
static bool refuse_vmnet(const struct managed *m, const struct network_spec *spec, struct api_call *call)
{
    const bool is_its_own = m && m->uplink == WANT_VMNET && m->spec.ipv4.gateway == spec->ipv4.gateway &&
                            m->spec.ipv4.netmask == spec->ipv4.netmask;
    return spec->ipv4.gateway && !is_its_own && control_refuse_subnet(spec, "", call);
}

static void put_network_op(void *ctx, struct api_call *call, const struct network_spec *spec, bool is_create)
{
    struct control *control = ctx;
    struct managed *m = managed_find(control, spec->name);
    enum network_uplink uplink;
    struct spec_error error;
    if (network_spec_check(spec, &error) < 0 || control_resolve_uplink(control, spec, &uplink, &error) < 0 ||
        control_check_bridge(control, spec, &error) < 0) {
        reply_spec_error(call, &error);
    } else if (m && is_create) {
        control_reply_problem(call, 409, "a network of this name exists", "/name",
                              "change it with PUT, or choose another name");
    } else if ((m && (control_refuse_deleted(m, call) || control_refuse_configured(m, call))) ||
               refuse_overlap(control, spec, call) || (uplink == WANT_TAP && refuse_host(m, spec, call)) ||
               (uplink == WANT_VMNET && refuse_vmnet(m, spec, call))) {
        return;
    } else if (m && network_spec_is_same(&m->spec, spec)) {
        touch_network(m, call);
    } else if (!m) {
        make_network(control, spec, call);
    } else {
        change_network(m, spec, call);
    }
}

static void delete_network_op(void *ctx, struct api_call *call, const char *name)
{
    struct managed *m = control_network_or_404(ctx, call, name);
    if (!m || control_refuse_configured(m, call))
        return;
    if (managed_forget_state(m) < 0)
        control_reply_problem(call, 503, "the network could not be removed from the state folder", NULL,
                              "the log says more");
    else
        managed_delete(m, call);
}

/* ---- the daemon ---- */

static json_t *show_sandbox(const struct sandbox_state *state)
{
    return json_pack("{s:s, s:b, s:b, s:s?}", "mode", sandbox_mode_name(sandbox_mode()), "system_calls",
                     state->filters_calls, "files", state->confines_files, "missing",
                     state->missing[0] ? state->missing : NULL);
}

static void info_op(void *ctx, struct api_call *call)
{
    const struct control *control = ctx;
    const uint64_t up_s = (uv_now(&control->loop) - control->started_ms) / 1000;
    uv_utsname_t uts;
    uv_os_uname(&uts);
    api_reply_json(
        call, 200,
        json_pack(
            "{s:s, s:s, s:s, s:s, s:I, s:b, s:s, s:I, s:o, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}}",
            "name", "vmswitchd", "version", VMSWITCH_VERSION, "api", "v1", "platform", uts.sysname,
            "uptime_s", (json_int_t)up_s, "privileged", control->hello.is_root, "runtime_dir",
            control->hello.runtime_dir, "log_lost", (json_int_t)log_lost(), "sandbox",
            show_sandbox(&control->sandbox), "limits", "networks", NETWORKS_MAX, "ports_per_network",
            NETWORK_PORTS_MAX, "frame_bytes", FRAME_LEN_MAX, "queue_frames", IO_QUEUE_FRAMES, "queue_bytes",
            IO_QUEUE_BYTES, "fdb_entries", FDB_CAPACITY, "fdb_per_port", FDB_PORT_LIMIT, "fdb_uplink",
            FDB_UPLINK_LIMIT, "forwards", NETWORK_FORWARDS_MAX));
}

const struct api_ops control_api_ops = {
    .info = info_op,
    .health = health_op,
    .networks = networks_op,
    .network = network_op,
    .put_network = put_network_op,
    .delete_network = delete_network_op,
    .ports = control_ports_op,
    .port = control_port_op,
    .put_port = control_put_port_op,
    .patch_port = control_patch_port_op,
    .delete_port = control_delete_port_op,
    .fdb = control_fdb_op,
    .flush_fdb = control_flush_fdb_op,
    .interfaces = control_interfaces_op,
    .reload = control_reload_op,
};

/* daemon/control_reload.c - the configuration file again: read, checked, and applied to what runs
 *
 * The good path: POST /v1/reload or SIGHUP -> the monitor opens the file and sends a copy -> it is parsed,
 * and everything that a start would refuse is looked for -> KEEP_CONFIG: from here on it holds, for the next
 * control as well -> in one turn of the loop every network is compared with what is wanted
 * (daemon/reload_plan.c), and removed, changed, restarted if that was asked for, or added -> when all of them
 * have settled the call is answered.
 *
 * What is always true
 *   One reload at a time; others wait. Before KEEP_CONFIG nothing has changed, and any error ends it so. What
 * needs a restart that nobody asked for is kept in the network's 'pending' and taken at its next start,
 * whatever that start is for.
 */
#include "daemon/control_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/reload_plan.h"

struct wanted { /* a network of the file */
    const struct network_config *config;
    uint32_t uid, gid;
};

struct reload {
    struct reload *next;
    struct control *control;
    struct api_call *call; /* NULL: SIGHUP, or answered already */
    struct api_reload request;
    bool is_at_work, is_over; /* is_over: the daemon ends */
    bool is_short;            /* memory was: not all of the file has been applied */

    char path[MESSAGE_PATH_SIZE];
    struct config config; /* as read; control's after KEEP_CONFIG */
    struct wanted wanted[NETWORKS_MAX];
    unsigned n_open;  /* answers to come, and ours while we work */
    struct job *jobs; /* that are open */
    json_t *networks, *settings;
    unsigned counts[5]; /* by enum outcome */
};

enum outcome { UNCHANGED, CHANGED, ADDED, REMOVED, NEEDS_RESTART };
static const char *const outcome_names[] = {"unchanged", "changed", "added", "removed", "needs_restart"};
_Static_assert(sizeof(outcome_names) / sizeof(outcome_names[0]) == NEEDS_RESTART + 1, "a name for each");

/* What is done about one network. */
struct job {
    struct job *next;
    struct reload *reload;
    struct managed *m; /* holds a reference; NULL: there is no memory for it */
    json_t *shown;     /* in reload->networks */
    enum outcome outcome;
    unsigned n_open;
    bool is_restarted;
    bool may_wait;         /* what needs a restart becomes pending */
    struct pending wanted; /* 'fields' unused */
    uint32_t n_before;
    struct port_spec before[NETWORK_PORTS_MAX];
    struct reload_plan plan;
    char reason[MESSAGE_WHY_SIZE];
};

static void begin_next(struct control *control);

/* ---- the end of a reload ---- */

static void reload_free(struct reload *reload)
{
    struct control *control = reload->control;
    struct reload **at = &control->reloads;
    while (*at != reload)
        at = &(*at)->next;
    *at = reload->next;
    if (!*at)
        control->reloads_end = at;
    config_deinit(&reload->config);
    json_decref(reload->networks);
    json_decref(reload->settings);
    free(reload);
}

static void end(struct reload *reload)
{
    struct control *control = reload->control;
    const bool is_over = reload->is_over;
    reload_free(reload);
    if (is_over)
        return;
    begin_next(control);
    if (!control->reloads)
        control_ready_begin(control);
}

static void refuse(struct reload *reload, unsigned status, const char *why, const char *next_step)
{
    if (!reload->is_over)
        log_error("nothing was reloaded: %s", why);
    if (reload->call)
        control_reply_problem(reload->call, status, why, NULL, next_step);
    end(reload);
}

static void refuse_file(struct reload *reload, const char *why)
{
    refuse(reload, 422, why, "nothing was changed; correct the file, then reload again");
}

static void answer(struct reload *reload)
{
    const unsigned *counts = reload->counts;
    log_info("%s reloaded: networks: %u added, %u removed, %u changed, %u unchanged, %u need a restart",
             reload->path, counts[ADDED], counts[REMOVED], counts[CHANGED], counts[UNCHANGED],
             counts[NEEDS_RESTART]);
    if (reload->is_short) {
        log_error("%s: memory was short: not all of it has been applied; reload again", reload->path);
        if (reload->call)
            control_reply_problem(reload->call, 503, "memory was short: not all of the file has been applied",
                                  NULL, "reload again");
    } else if (reload->call) {
        api_reply_json(reload->call, 200,
                       json_pack("{s:s, s:O, s:O}", "file", reload->path, "settings", reload->settings,
                                 "networks", reload->networks));
    }
    control_renew_if_needed(reload->control);
    end(reload);
}

static void reload_close(struct reload *reload)
{
    if (--reload->n_open == 0)
        answer(reload);
}

void control_reload_end(struct control *control)
{
    for (struct reload *reload = control->reloads, *next; reload; reload = next) {
        next = reload->next;
        reload->is_over = true;
        if (reload->call)
            control_reply_problem(reload->call, 503, "the daemon is ending", NULL, NULL);
        reload->call = NULL;
        if (!reload->is_at_work) /* else what it waits for is answered now */
            reload_free(reload);
    }
}

/* ---- one network ---- */

static void log_fields(const struct job *job, const char *what, const json_t *fields)
{
    char list[256] = "";
    size_t len = 0;
    for (size_t i = 0; i < json_array_size(fields) && len < sizeof(list); i++)
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "",
                                json_string_value(json_array_get(fields, i)));
    if (json_array_size(fields) > 0)
        log_info("network %s: %s: %s", job->m->spec.name, what, list);
}

static void show(struct job *job)
{
    struct reload_plan *plan = &job->plan;
    if (job->is_restarted) {
        json_array_extend(plan->changed, plan->needs_restart);
        json_array_clear(plan->needs_restart);
    }
    if (json_array_size(plan->needs_restart) > 0)
        job->outcome = NEEDS_RESTART;
    else if (job->outcome == UNCHANGED && (json_array_size(plan->changed) > 0 || job->is_restarted))
        job->outcome = CHANGED;
    job->reload->counts[job->outcome]++;
    if (job->outcome == CHANGED || job->outcome == NEEDS_RESTART) {
        log_fields(job, job->is_restarted ? "changed by a restart" : "changed", plan->changed);
        log_fields(job, "needs a restart (vmswitch reload --restart) for", plan->needs_restart);
    }
    json_object_set_new(job->shown, "result", json_string(outcome_names[job->outcome]));
    json_object_set(job->shown, "changed", plan->changed);
    json_object_set(job->shown, "needs_restart", plan->needs_restart);
    json_object_set_new(job->shown, "restarted", json_boolean(job->is_restarted));
    json_object_set_new(job->shown, "reason", job->reason[0] ? json_string(job->reason) : json_null());
}

/* What could not be done waits for the next start. */
static void keep_pending(struct job *job)
{
    struct managed *m = job->m;
    if (!job->may_wait || job->is_restarted || m->is_gone)
        return;
    if (json_array_size(job->plan.needs_restart) == 0) {
        managed_drop_pending(m);
        m->source = job->wanted.source;
        return;
    }
    struct pending *pending = managed_new_pending(m);
    job->reload->is_short |= !pending;
    if (!pending)
        return;
    *pending = job->wanted;
    pending->fields = json_incref(job->plan.needs_restart);
}

static void job_free(struct job *job)
{
    struct job **at = &job->reload->jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    reload_plan_free(&job->plan);
    managed_unref(job->m);
    free(job);
}

static void job_close(struct job *job)
{
    struct reload *reload = job->reload;
    if (--job->n_open > 0)
        return;
    keep_pending(job);
    show(job);
    job_free(job);
    reload_close(reload);
}

static void note_shortage(struct reload *reload, const char *name)
{
    reload->is_short = true;
    log_error("network %s: not reloaded: out of memory", name);
}

/* Returns a job, with one answer to come; NULL after it was noted that memory is short. */
static struct job *job_new(struct reload *reload, struct managed *m, const char *name)
{
    static const struct network_want nothing = {.n_ports = 0};
    struct job *job = m ? calloc(1, sizeof(*job)) : NULL;
    json_t *shown = json_pack("{s:s}", "name", name);
    if (!job || !shown || reload_plan_make(&job->plan, &nothing, &nothing) < 0) {
        note_shortage(reload, name);
        json_decref(shown);
        free(job);
        return NULL;
    }
    json_array_append_new(reload->networks, shown);
    job->reload = reload;
    job->next = reload->jobs;
    reload->jobs = job;
    job->m = m;
    job->shown = shown;
    job->n_open = 1;
    managed_ref(m);
    reload->n_open++;
    return job;
}

static void on_settled(void *ctx, unsigned status, const char *why)
{
    struct job *job = ctx;
    if (status)
        snprintf(job->reason, sizeof(job->reason), "%s", why);
    job_close(job);
}

static void wait_for(struct job *job)
{
    job->n_open++;
    managed_wait_settled(job->m, false, on_settled, job);
}

/* ---- ports of a network that goes on ---- */

struct port_job {
    struct job *job;
    const struct reload_step *step;
};

/* "/ports/db" and "/ports/db/link" are of port db; "/ports/db2" is not. */
static bool is_of_port(const char *pointer, const char *port)
{
    const size_t len = strlen(port);
    return strncmp(pointer, "/ports/", 7) == 0 && strncmp(pointer + 7, port, len) == 0 &&
           (pointer[7 + len] == '\0' || pointer[7 + len] == '/');
}

/* The port stays as it was: its fields wait for a restart. */
static void move_fields(struct reload_plan *plan, const char *port)
{
    for (size_t i = 0; i < json_array_size(plan->changed);) {
        json_t *field = json_array_get(plan->changed, i);
        if (!is_of_port(json_string_value(field), port)) {
            i++;
            continue;
        }
        json_array_append(plan->needs_restart, field);
        json_array_remove(plan->changed, i);
    }
}

static const struct port_spec *find_before(const struct job *job, const char *port)
{
    for (uint32_t i = 0; i < job->n_before; i++)
        if (strcmp(job->before[i].name, port) == 0)
            return &job->before[i];
    return NULL;
}

static void order_remove(struct managed *m, const char *port)
{
    struct port_name_order order = {.port = ""};
    snprintf(order.port, sizeof(order.port), "%s", port);
    managed_forget_port(m, port);
    managed_unbind(m, port);
    managed_send(m, MSG_PORT_REMOVE, &order, sizeof(order), -1);
}

static void take_back_port(struct job *job, const struct reload_step *step, unsigned status)
{
    struct managed *m = job->m;
    const struct port_spec *before = find_before(job, step->port.name);
    struct port_spec *kept = managed_find_port(m, step->port.name);
    struct port_order put = {.spec = before ? *before : step->port};
    if (before && kept) {
        *kept = *before;
        managed_send(m, MSG_PORT_PUT, &put, sizeof(put), -1); /* its addresses may have been let go */
    } else if (status == 409) {                               /* there is something else of that name */
        managed_forget_port(m, step->port.name);
        managed_unbind(m, step->port.name);
    } else {
        order_remove(m, step->port.name);
    }
    move_fields(&job->plan, step->port.name);
}

static void on_put(void *ctx, unsigned status, const char *why)
{
    struct port_job *port = ctx;
    struct job *job = port->job;
    if (status)
        snprintf(job->reason, sizeof(job->reason), "port %s: %.200s", port->step->port.name, why);
    if (status && status < 500) /* else the network is about to start again, with the new one */
        take_back_port(job, port->step, status);
    free(port);
    job_close(job);
}

static void put_port(struct job *job, const struct reload_step *step)
{
    struct managed *m = job->m;
    struct port_spec *port = managed_find_port(m, step->port.name);
    struct port_job *port_job = malloc(sizeof(*port_job));
    job->reload->is_short |= !port_job;
    if (port_job && !port && m->n_ports < NETWORK_PORTS_MAX)
        port = &m->ports[m->n_ports++];
    if (!port_job || !port) {
        free(port_job);
        return;
    }
    *port = step->port;
    if (!m->channel) { /* told when it has started */
        free(port_job);
        return;
    }
    *port_job = (struct port_job){.job = job, .step = step};
    job->n_open++;
    managed_put_port(m, &step->port, on_put, port_job);
}

static void do_step(struct job *job, const struct reload_step *step)
{
    struct managed *m = job->m;
    struct port_order put = {.spec = step->port};
    if (step->kind == RELOAD_REMOVE_PORT)
        order_remove(m, step->port.name);
    else if (step->kind == RELOAD_RELEASE_PORT)
        managed_send(m, MSG_PORT_PUT, &put, sizeof(put), -1);
    else
        put_port(job, step);
}

/* ---- a network that is there ---- */

static bool may_restart(const struct reload *reload, const char *name)
{
    bool may = reload->request.all;
    for (uint32_t i = 0; i < reload->request.n_names; i++)
        may |= strcmp(reload->request.names[i], name) == 0;
    return may;
}

static void take_whole(struct managed *m, const struct pending *wanted)
{
    m->source = wanted->source;
    m->spec = wanted->spec;
    m->uid = wanted->uid;
    m->gid = wanted->gid;
    m->n_ports = wanted->n_ports;
    memcpy(m->ports, wanted->ports, wanted->n_ports * sizeof(*wanted->ports));
}

/* Starts it, whatever it is at, with what is wanted. */
static void restart(struct job *job)
{
    struct managed *m = job->m;
    const bool ran = m->phase == PHASE_RUNNING || m->phase == PHASE_STARTING;
    take_whole(m, &job->wanted);
    m->refusal = 0;
    m->restart_at_once = true;
    job->is_restarted = ran;
    wait_for(job);
    managed_stop(m);
}

/* It has been told nothing yet: it will be told the new. */
static bool is_untold(const struct managed *m, const struct job *job)
{
    return m->phase == PHASE_STARTING && !m->channel && m->uid == job->wanted.uid &&
           m->gid == job->wanted.gid;
}

static void apply_live(struct job *job)
{
    struct managed *m = job->m;
    struct network_spec resolved = job->plan.live;
    m->spec = job->plan.live;
    resolved.uplink = m->uplink;
    if (job->plan.changes_spec) {
        managed_send(m, MSG_CONFIGURE, &resolved, sizeof(resolved), -1);
        uplink_reconfigure(m);
    }
    for (uint32_t i = 0; i < job->plan.n_steps; i++)
        do_step(job, &job->plan.steps[i]);
}

/* The wanted one becomes what runs, as far as it may. */
static void apply(struct job *job)
{
    struct managed *m = job->m;
    struct reload_plan *plan = &job->plan;
    struct spec_error error;
    const bool differs = json_array_size(plan->changed) + json_array_size(plan->needs_restart) > 0;
    if (is_untold(m, job)) {
        take_whole(m, &job->wanted);
        json_array_extend(plan->changed, plan->needs_restart);
        json_array_clear(plan->needs_restart);
        control_resolve_uplink(m->control, &m->spec, &m->uplink, &error);
    } else if (m->phase == PHASE_STOPPED || m->phase == PHASE_STOPPING) {
        json_array_extend(plan->changed, plan->needs_restart);
        json_array_clear(plan->needs_restart);
        if (differs || m->is_refused)
            restart(job);
    } else if (json_array_size(plan->needs_restart) > 0 && may_restart(job->reload, m->spec.name)) {
        restart(job);
    } else {
        apply_live(job);
    }
}

static void set_wanted(struct job *job, const struct network_spec *spec, uint32_t uid, uint32_t gid,
                       const struct port_spec *ports, uint32_t n_ports)
{
    job->wanted =
        (struct pending){.source = SOURCE_API, .spec = *spec, .uid = uid, .gid = gid, .n_ports = n_ports};
    if (n_ports > 0)
        memcpy(job->wanted.ports, ports, n_ports * sizeof(*ports));
    job->n_before = job->m->n_ports;
    memcpy(job->before, job->m->ports, job->m->n_ports * sizeof(*ports));
}

static void change(struct job *job)
{
    struct managed *m = job->m;
    struct pending *wanted = &job->wanted;
    enum network_uplink uplink;
    struct spec_error error;
    job->may_wait = true;
    m->is_new = m->has_before = false;
    managed_drop_pending(m);
    /* "auto" and what it comes to are the same. */
    if (control_resolve_uplink(m->control, &wanted->spec, &uplink, &error) == 0 && uplink == m->uplink)
        m->spec.uplink = wanted->spec.uplink;
    const struct network_want is = {
        .spec = m->spec, .uid = m->uid, .gid = m->gid, .n_ports = m->n_ports, .ports = job->before};
    const struct network_want should = {.spec = wanted->spec,
                                        .uid = wanted->uid,
                                        .gid = wanted->gid,
                                        .n_ports = wanted->n_ports,
                                        .ports = wanted->ports};
    reload_plan_free(&job->plan);
    if (reload_plan_make(&job->plan, &is, &should) < 0) {
        job->may_wait = false;
        note_shortage(job->reload, m->spec.name);
    } else {
        apply(job);
    }
    job_close(job);
}

static void change_configured(struct reload *reload, struct managed *m, const struct wanted *wanted)
{
    const struct network_config *nc = wanted->config;
    struct job *job = job_new(reload, m, nc->spec.name);
    if (!job)
        return;
    set_wanted(job, &nc->spec, wanted->uid, wanted->gid, nc->ports, nc->n_ports);
    /* From now on the API has no say in it. */
    job->wanted.source = m->source = SOURCE_CONFIG;
    change(job);
}

static void add(struct reload *reload, const struct wanted *wanted)
{
    const struct network_config *nc = wanted->config;
    struct managed *m = managed_add(reload->control, &nc->spec, SOURCE_CONFIG, wanted->uid, wanted->gid);
    struct job *job = job_new(reload, m, nc->spec.name);
    if (!job && m) {
        m->delete_when_stopped = true;
        managed_stop(m);
    }
    if (!job)
        return;
    m->n_ports = nc->n_ports;
    memcpy(m->ports, nc->ports, nc->n_ports * sizeof(*nc->ports));
    job->outcome = ADDED;
    wait_for(job);
    managed_start(m);
    job_close(job);
}

static void remove_network(struct reload *reload, struct managed *m)
{
    struct job *job = job_new(reload, m, m->spec.name);
    if (!job)
        return;
    job->outcome = REMOVED;
    job->n_open++;
    managed_remove(m, on_settled, job);
    job_close(job);
}

/* ---- those that are not in the file (any more) ---- */

struct uncovered {
    struct reload *reload;
    struct managed *m;
    bool is_found;
};

/* One made over the API was behind the file's of the same name: a start would find it now. */
static void on_uncovered(void *ctx, const struct state_network *kept)
{
    struct uncovered *uncovered = ctx;
    const struct hello *hello = &uncovered->reload->control->hello;
    const bool is_ours = !hello->is_root || kept->uid == 0;
    struct job *job = job_new(uncovered->reload, uncovered->m, kept->spec->name);
    uncovered->is_found = true;
    if (!job)
        return;
    set_wanted(job, kept->spec, is_ours ? hello->service_uid : kept->uid,
               is_ours ? hello->service_gid : kept->gid, kept->ports, kept->n_ports);
    change(job); /* the file's until it is as it was kept */
}

static void on_damaged(void *ctx, const char *file, const char *why)
{
    (void)ctx;
    (void)file;
    log_error("%s", why);
}

static void take_away(struct reload *reload, struct managed *m)
{
    static const struct state_visitor visitor = {.on_network = on_uncovered, .on_damaged = on_damaged};
    struct uncovered uncovered = {.reload = reload, .m = m};
    if (m->source == SOURCE_CONFIG &&
        state_load_one(reload->control->state, m->spec.name, &visitor, &uncovered) < 0)
        note_shortage(reload, m->spec.name); /* it stays until it is known what to do with it */
    else if (!uncovered.is_found)
        remove_network(reload, m);
}

/* The file says what the API may bridge to. */
static void check_bridged(struct reload *reload, struct managed *m)
{
    struct spec_error error;
    const bool runs = m->phase == PHASE_RUNNING || m->phase == PHASE_STARTING;
    if (!runs && m->is_refused && m->phase == PHASE_STOPPED)
        managed_start(m);
    if (!runs || control_check_bridge(reload->control, &m->spec, &error) == 0)
        return;
    struct job *job = job_new(reload, m, m->spec.name);
    if (!job)
        return;
    snprintf(job->reason, sizeof(job->reason), "interface %.200s", error.rule);
    json_array_append_new(job->plan.needs_restart, json_string(error.field));
    set_wanted(job, &m->spec, m->uid, m->gid, m->ports, m->n_ports);
    if (may_restart(reload, m->spec.name))
        restart(job);
    job_close(job);
}

/* ---- the whole ---- */

static void commit(struct reload *reload)
{
    struct control *control = reload->control;
    struct config before = control->config;
    control->config = reload->config;
    reload->config = before;
    memcpy(control->hello.config_path, reload->path, sizeof(reload->path));
    channel_uv_send(control->monitor, MSG_KEEP_CONFIG, 0, NULL, 0, -1);
    control_set_log_level(control, &control->config);
    if (before.has_log_level != control->config.has_log_level ||
        before.log_level != control->config.log_level)
        json_array_append_new(reload->settings, json_string("/log_level"));
    if (before.n_bridged_interfaces != control->config.n_bridged_interfaces ||
        memcmp(before.bridged_interfaces, control->config.bridged_interfaces,
               sizeof(before.bridged_interfaces)) != 0)
        json_array_append_new(reload->settings, json_string("/bridged_interfaces"));
}

static void apply_all(struct reload *reload)
{
    struct control *control = reload->control;
    const uint32_t n_wanted = reload->config.n_networks;
    commit(reload);
    log_info("%s: read and found good", reload->path);
    reload->n_open = 1; /* ours: not answered before all is asked */
    for (struct managed *m = control->networks, *next; m; m = next) {
        next = m->next;
        if (config_find(&control->config, m->spec.name))
            continue;
        if (m->source != SOURCE_API)
            take_away(reload, m);
        else
            check_bridged(reload, m);
    }
    for (uint32_t i = 0; i < n_wanted; i++) {
        struct managed *m = managed_find(control, reload->wanted[i].config->spec.name);
        if (m)
            change_configured(reload, m, &reload->wanted[i]);
        else
            add(reload, &reload->wanted[i]);
    }
    reload_close(reload);
}

/* A network that runs on must not be stopped for what cannot run. */
static bool check_servable(struct reload *reload, const struct wanted *wanted, char *why, size_t size)
{
    const struct network_spec *spec = &wanted->config->spec;
    const struct network_config *before = config_find(&reload->control->config, spec->name);
    enum network_uplink uplink;
    struct spec_error error;
    if (control_resolve_uplink(reload->control, spec, &uplink, &error) == 0)
        return true;
    if (before && !network_spec_differs_live_only(&before->spec, spec))
        before = NULL;
    if (before) /* it has been so since the start */
        return true;
    /* Of a very long path the sentence's end is left out. */
    if (snprintf(why, size, "%s: network %s: %s: %s", reload->path, spec->name, error.field + 1, error.rule) <
        0)
        *why = 0;
    return false;
}

/* All that can be refused. Fills reload->wanted; false with a sentence. */
static bool check_all(struct reload *reload, char *why, size_t size)
{
    const struct config *config = &reload->config;
    struct control *control = reload->control;
    uint32_t n = config->n_networks;
    for (uint32_t i = 0; i < config->n_networks; i++) {
        struct wanted *wanted = &reload->wanted[i];
        wanted->config = &config->networks[i];
        if (control_owner_of(control, wanted->config, reload->path, &wanted->uid, &wanted->gid, why, size) <
                0 ||
            !check_servable(reload, wanted, why, size))
            return false;
    }
    for (const struct managed *m = control->networks; m; m = m->next)
        n += m->source == SOURCE_API && !config_find(config, m->spec.name);
    if (n > NETWORKS_MAX)
        snprintf(why, size,
                 "%s: %u networks and those made over the API are more than %d; delete some of these",
                 reload->path, config->n_networks, NETWORKS_MAX);
    for (uint32_t i = 0; i < reload->request.n_names && n <= NETWORKS_MAX; i++) {
        if (config_find(config, reload->request.names[i]) || managed_find(control, reload->request.names[i]))
            continue;
        snprintf(why, size, "restart: there is no network %s, in %s or else", reload->request.names[i],
                 reload->path);
        return false;
    }
    return n <= NETWORKS_MAX;
}

static void go_on(struct reload *reload);

static void on_deleted(void *ctx, unsigned status, const char *why)
{
    struct reload *reload = ctx;
    if (status)
        refuse(reload, status, why, "nothing was changed; reload again");
    else
        go_on(reload);
}

/* A name is free when what had it is gone: one deletion after the other. */
static void go_on(struct reload *reload)
{
    char why[CONFIG_WHY_SIZE];
    if (reload->is_over) {
        end(reload);
        return;
    }
    for (struct managed *m = reload->control->networks; m; m = m->next) {
        if (!m->delete_when_stopped)
            continue;
        managed_wait_settled(m, true, on_deleted, reload);
        return;
    }
    if (check_all(reload, why, sizeof(why)))
        apply_all(reload);
    else
        refuse_file(reload, why);
}

static void on_read(void *ctx, struct message *answer)
{
    struct reload *reload = ctx;
    const struct config_read *read = answer && answer->type == MSG_CONFIG_READ ? answer->payload : NULL;
    char why[CONFIG_WHY_SIZE];
    if (!read || !message_text_ok(read->path, sizeof(read->path)) ||
        !message_text_ok(read->why, sizeof(read->why)) || (!read->error && answer->fd < 0)) {
        refuse(reload, 503, "the monitor did not answer", "try again");
        return;
    }
    if (read->error) {
        const bool is_none = !read->path[0];
        refuse(reload, is_none ? 409 : 422, is_none ? "vmswitchd has no configuration file" : read->why,
               is_none ? "start it with --config, or make the default file" : "nothing was changed");
        return;
    }
    memcpy(reload->path, read->path, sizeof(reload->path));
    const int r = config_load(answer->fd, reload->path, &reload->config, why, sizeof(why));
    if (r == -ENOMEM)
        refuse(reload, 503, why, "nothing was changed; reload again");
    else if (r < 0)
        refuse_file(reload, why);
    else
        go_on(reload);
}

static void begin_next(struct control *control)
{
    struct reload *reload = control->reloads;
    if (!reload || reload->is_at_work)
        return;
    reload->is_at_work = true;
    asks_send(&control->asks, control->monitor, MSG_READ_CONFIG, NULL, 0, -1, ASK_MONITOR_MS, on_read,
              reload);
}

void control_reload(struct control *control, struct api_call *call, const struct api_reload *request)
{
    struct reload *reload = calloc(1, sizeof(*reload));
    if (reload) {
        reload->networks = json_array();
        reload->settings = json_array();
    }
    if (!reload || !reload->networks || !reload->settings) {
        if (call)
            control_reply_problem(call, 503, "out of memory", NULL, "try again later");
        log_error("not reloaded: out of memory");
        if (reload) {
            json_decref(reload->networks);
            json_decref(reload->settings);
        }
        free(reload);
        return;
    }
    reload->control = control;
    reload->call = call;
    reload->request = *request;
    *control->reloads_end = reload;
    control->reloads_end = &reload->next;
    begin_next(control);
}

void control_reload_op(void *ctx, struct api_call *call, const struct api_reload *request)
{
    control_reload(ctx, call, request);
}

/* daemon/control_networks.c - one network, from wanted to running to gone
 *
 * The good path: managed_start -> the monitor starts a process -> CONFIGURE -> named ports -> sockets bound
 * by the monitor and handed on -> PHASE_RUNNING, callers answered. What can go wrong: a refusal of the
 * monitor (a path too long, an unknown group) fails the start and is told to who asked; a process that dies
 * is started again with back-off; each step may be repeated, as after a crash of control.
 */
#include "daemon/control_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A start, or a put of one port: several questions, done when all are answered. The first error counts. */
struct task {
    struct managed *m;
    unsigned n_open;
    unsigned status;
    char why[MESSAGE_WHY_SIZE];
    void (*on_done)(struct task *task);
    managed_port_done *port_done;
    void *ctx;
};

struct step { /* one socket: bound by the monitor, then listened on by the network */
    struct step *next;
    struct task *task;
    struct bind_request request;
    struct listen_order listen;
};

struct managed *managed_find(struct control *control, const char *name)
{
    for (struct managed *m = control->networks; m; m = m->next)
        if (strcmp(m->spec.name, name) == 0)
            return m;
    return NULL;
}

static void on_restart(uv_timer_t *timer)
{
    managed_start(timer->data);
}

struct managed *managed_add(struct control *control, const struct network_spec *spec, enum source source,
                            uint32_t uid, uint32_t gid)
{
    struct managed *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->control = control;
    m->spec = *spec;
    m->source = source;
    m->uid = uid;
    m->gid = gid;
    m->refs = 1; /* the list's */
    uv_timer_init(&control->loop, &m->restart_timer);
    m->restart_timer.data = m;
    nat_init(m);
    m->next = control->networks;
    control->networks = m;
    control->n_networks++;
    return m;
}

void managed_ref(struct managed *m)
{
    m->refs++;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct managed *m = handle->data;
    managed_drop_pending(m);
    free(m);
}

/* One after the other: the second closes the memory of both. */
static void on_nat_timer_closed(uv_handle_t *handle)
{
    struct managed *m = handle->data;
    uv_close((uv_handle_t *)&m->restart_timer, on_timer_closed);
}

void managed_unref(struct managed *m)
{
    if (--m->refs == 0)
        uv_close((uv_handle_t *)&m->up.nat_timer, on_nat_timer_closed);
}

int managed_save(struct managed *m)
{
    char why[STATE_WHY_SIZE];
    if (m->delete_when_stopped || m->is_gone)
        return 0; /* its file is gone and must not come back */
    const struct state_network network = {
        .spec = &m->spec, .uid = m->uid, .gid = m->gid, .ports = m->ports, .n_ports = m->n_ports};
    int r = state_save(m->control->state, &network, why, sizeof(why));
    if (r < 0)
        log_error("%s", why);
    else
        m->source = SOURCE_API;
    return r;
}

int managed_forget_state(struct managed *m)
{
    char why[STATE_WHY_SIZE];
    int r = state_remove(m->control->state, m->spec.name, why, sizeof(why));
    if (r < 0)
        log_error("%s", why);
    return r;
}

void managed_drop_pending(struct managed *m)
{
    if (m->pending)
        json_decref(m->pending->fields);
    free(m->pending);
    m->pending = NULL;
}

struct pending *managed_new_pending(struct managed *m)
{
    managed_drop_pending(m);
    m->pending = calloc(1, sizeof(*m->pending));
    return m->pending;
}

void managed_take_pending(struct managed *m)
{
    const struct pending *pending = m->pending;
    if (!pending)
        return;
    m->source = pending->source;
    m->spec = pending->spec;
    m->uid = pending->uid;
    m->gid = pending->gid;
    m->n_ports = pending->n_ports;
    memcpy(m->ports, pending->ports, pending->n_ports * sizeof(*pending->ports));
    managed_drop_pending(m);
}

struct port_spec *managed_find_port(struct managed *m, const char *port)
{
    for (uint32_t i = 0; i < m->n_ports; i++)
        if (strcmp(m->ports[i].name, port) == 0)
            return &m->ports[i];
    return NULL;
}

void managed_forget_port(struct managed *m, const char *port)
{
    struct port_spec *spec = managed_find_port(m, port);
    if (spec)
        *spec = m->ports[--m->n_ports];
}

/* ---- calls that wait ---- */

void managed_wait(struct managed *m, struct api_call *call, unsigned status)
{
    struct waiter *waiter = malloc(sizeof(*waiter));
    if (!waiter) {
        control_reply_problem(call, 503, "out of memory", NULL, "try again later");
        return;
    }
    *waiter = (struct waiter){.next = m->waiters, .call = call, .status = status};
    m->waiters = waiter;
}

void managed_wait_settled(struct managed *m, bool is_end, managed_settled *fn, void *ctx)
{
    struct waiter *waiter = malloc(sizeof(*waiter));
    if (!waiter) {
        fn(ctx, 503, "out of memory");
        return;
    }
    *waiter = (struct waiter){.next = m->waiters, .status = is_end ? 204 : 200, .fn = fn, .ctx = ctx};
    m->waiters = waiter;
}

static struct waiter *take_waiters(struct managed *m)
{
    struct waiter *waiters = m->waiters;
    m->waiters = NULL;
    return waiters;
}

static void answer_all(struct managed *m)
{
    for (struct waiter *w = take_waiters(m), *next; w; w = next) {
        next = w->next;
        if (!w->call)
            w->fn(w->ctx, 0, "");
        else if (w->status == 204)
            api_reply_json(w->call, 204, NULL);
        else
            control_reply_network(m, w->call, w->status);
        free(w);
    }
}

static void refuse_one(struct waiter *waiter, unsigned status, const char *why)
{
    if (waiter->call)
        control_reply_problem(waiter->call, status, why, NULL, NULL);
    else
        waiter->fn(waiter->ctx, status, why);
    free(waiter);
}

/* Those that wait for its end go on waiting, unless the daemon's comes first. */
static void refuse_waiters(struct managed *m, unsigned status, const char *why, bool is_over)
{
    for (struct waiter *w = take_waiters(m), *next; w; w = next) {
        next = w->next;
        if (w->status != 204 || is_over) {
            refuse_one(w, status, why);
            continue;
        }
        w->next = m->waiters;
        m->waiters = w;
    }
}

static void refuse_all(struct managed *m, unsigned status, const char *why)
{
    refuse_waiters(m, status, why, false);
}

/* ---- tasks ---- */

static struct task *task_new(struct managed *m, void (*on_done)(struct task *task))
{
    struct task *task = calloc(1, sizeof(*task));
    if (!task)
        return NULL;
    task->m = m;
    task->n_open = 1; /* the maker's: no task ends before all of it was asked */
    task->on_done = on_done;
    managed_ref(m);
    return task;
}

static void task_fail(struct task *task, unsigned status, const char *why)
{
    if (task->status)
        return;
    task->status = status;
    snprintf(task->why, sizeof(task->why), "%s", why);
}

static void task_close(struct task *task)
{
    if (--task->n_open > 0)
        return;
    struct managed *m = task->m;
    task->on_done(task);
    free(task);
    managed_unref(m);
}

static void on_order_done(void *ctx, struct message *answer)
{
    struct task *task = ctx;
    const struct done *done = ask_done(answer);
    if (!done)
        task_fail(task, 503, "the network process did not answer");
    else if (done->status)
        task_fail(task, done->status, done->why);
    task_close(task);
}

static void order(struct task *task, uint16_t type, const void *payload, uint32_t len, int fd)
{
    struct managed *m = task->m;
    task->n_open++;
    asks_send(&m->control->asks, m->channel, type, payload, len, fd, ASK_MONITOR_MS, on_order_done, task);
}

/* What may be otherwise the next time. */
static bool is_transient(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS || error == ENOSPC ||
           error == EAGAIN || error == ESRCH;
}

static void ask_binds(struct control *control);

static void on_bound(void *ctx, struct message *answer)
{
    struct step *step = ctx;
    struct task *task = step->task;
    struct control *control = task->m->control;
    const struct bound *bound = answer && answer->type == MSG_BOUND ? answer->payload : NULL;
    control->n_binds_open--;
    if (step->listen.port[0] && !managed_find_port(task->m, step->listen.port)) {
        managed_unbind(task->m, step->listen.port); /* the port was removed meanwhile, which is no failure */
    } else if (!bound) {
        task_fail(task, 503, "the monitor did not answer");
    } else if (bound->error) {
        task_fail(task, is_transient(bound->error) ? 503 : 422, bound->why);
    } else if (!task->m->channel) {
        task_fail(task, 503, "the network process has gone");
    } else {
        order(task, MSG_LISTEN, &step->listen, sizeof(step->listen), answer->fd);
        answer->fd = -1;
    }
    free(step);
    task_close(task);
    ask_binds(control);
}

/* Asks for the next sockets. A few at a time: each answer carries a descriptor, and the monitor's channel
 * holds so many and no more. */
static void ask_binds(struct control *control)
{
    while (control->binds && control->n_binds_open < BINDS_OPEN_MAX) {
        struct step *step = control->binds;
        control->binds = step->next;
        if (!control->binds)
            control->binds_end = &control->binds;
        control->n_binds_open++;
        asks_send(&control->asks, control->monitor, MSG_BIND, &step->request, sizeof(step->request), -1,
                  ASK_MONITOR_MS, on_bound, step);
    }
}

static void bind_socket(struct task *task, const char *port, enum socket_kind kind)
{
    struct managed *m = task->m;
    struct control *control = m->control;
    struct step *step = calloc(1, sizeof(*step));
    if (!step) {
        task_fail(task, 503, "out of memory");
        return;
    }
    step->task = task;
    step->request = (struct bind_request){.kind = kind, .mode = m->spec.sockets.mode, .uid = m->uid};
    snprintf(step->request.network, sizeof(step->request.network), "%s", m->spec.name);
    snprintf(step->request.port, sizeof(step->request.port), "%s", port);
    snprintf(step->request.group, sizeof(step->request.group), "%s", m->spec.sockets.group);
    step->listen.kind = kind;
    snprintf(step->listen.port, sizeof(step->listen.port), "%s", port);
    task->n_open++;
    if (!control->binds)
        control->binds_end = &control->binds;
    *control->binds_end = step;
    control->binds_end = &step->next;
    ask_binds(control);
}

static void bind_sockets(struct task *task, const char *port)
{
    if (task->m->spec.sockets.stream)
        bind_socket(task, port, SOCKET_STREAM);
    if (task->m->spec.sockets.datagram)
        bind_socket(task, port, SOCKET_DGRAM);
}

static void order_port(struct task *task, const struct port_spec *spec)
{
    struct port_order put = {.spec = *spec};
    order(task, MSG_PORT_PUT, &put, sizeof(put), -1);
    bind_sockets(task, spec->name);
}

static void on_port_done(struct task *task)
{
    task->port_done(task->ctx, task->status, task->why);
}

void managed_put_port(struct managed *m, const struct port_spec *spec, managed_port_done *on_done, void *ctx)
{
    struct task *task = m->channel ? task_new(m, on_port_done) : NULL;
    if (!task) {
        on_done(ctx, 503, m->channel ? "out of memory" : "the network does not run");
        return;
    }
    task->port_done = on_done;
    task->ctx = ctx;
    order_port(task, spec);
    task_close(task);
}

void managed_unbind(struct managed *m, const char *port)
{
    struct unbind_request request = {.port = ""};
    snprintf(request.network, sizeof(request.network), "%s", m->spec.name);
    snprintf(request.port, sizeof(request.port), "%s", port);
    channel_uv_send(m->control->monitor, MSG_UNBIND, 0, &request, sizeof(request), -1);
}

/* ---- start ---- */

static void after_stop(struct managed *m);

static void child_name(const struct managed *m, struct child_id *child)
{
    *child = (struct child_id){.role = ROLE_NETWORK};
    snprintf(child->name, sizeof(child->name), "%s", m->spec.name);
}

static void set_failure(struct managed *m, const char *why)
{
    snprintf(m->failure, sizeof(m->failure), "%s", why);
    if (why[0])
        log_warn("network %s: %s", m->spec.name, why);
}

static void retry_later(struct managed *m)
{
    const uint64_t up_ms = m->started_ms ? uv_now(&m->control->loop) - m->started_ms : 0;
    const uint32_t delay_ms = uplink_retry_next(&m->retry, up_ms);
    m->phase = PHASE_STOPPED;
    m->started_ms = 0;
    log_warn("network %s: starting again in %u ms", m->spec.name, delay_ms);
    uv_timer_start(&m->restart_timer, on_restart, delay_ms, 0);
}

/* What was refused leaves nothing behind: a new network goes, a changed one is again as it was. */
static void take_back(struct managed *m, unsigned status)
{
    if (m->is_new) {
        managed_forget_state(m);
        m->delete_when_stopped = true;
    } else if (m->has_before) {
        m->spec = m->before;
        m->has_before = false;
        m->restart_at_once = true;
        managed_save(m);
    } else {
        m->is_refused = status == 422; /* trying again is pointless until something changes */
    }
}

static void on_started_whole(struct task *task)
{
    struct managed *m = task->m;
    if (m->phase != PHASE_STARTING || !m->channel)
        return;                         /* it died meanwhile: managed_exited() goes on */
    if (task->status == DONE_RESTART) { /* adopted with settings that are not wanted any more */
        m->restart_at_once = true;
        managed_stop(m);
        return;
    }
    if (task->status) {
        set_failure(m, task->why);
        m->refusal = task->status; /* told when nothing of it is left */
        take_back(m, task->status);
        managed_stop(m);
        return;
    }
    m->phase = PHASE_RUNNING;
    m->is_new = m->has_before = false;
    set_failure(m, "");
    log_info("network %s: runs, pid %d", m->spec.name, (int)m->pid);
    nat_adopt(m);
    answer_all(m);
}

void managed_configure(struct managed *m)
{
    struct task *task = task_new(m, on_started_whole);
    struct network_spec spec = m->spec;
    if (!task) {
        managed_stop(m);
        return;
    }
    spec.uplink = m->uplink;
    order(task, MSG_CONFIGURE, &spec, sizeof(spec), -1);
    bind_sockets(task, "");
    for (uint32_t i = 0; i < m->n_ports; i++)
        order_port(task, &m->ports[i]);
    task_close(task);
}

static void on_message(void *ctx, struct message *message)
{
    struct managed *m = ctx;
    if (message->type == MSG_UPLINK_WANTED)
        uplink_wanted(m);
    else
        asks_answer(&m->control->asks, m->channel, message);
}

static void close_channel(struct managed *m)
{
    struct channel_uv *channel = m->channel;
    m->channel = NULL;
    if (!channel)
        return;
    asks_lost(&m->control->asks, channel);
    channel_uv_close(channel);
}

/* Its end of the channel is closed: it dies, or broke the rules and must. */
static void on_lost(void *ctx, int error)
{
    struct managed *m = ctx;
    struct child_id child;
    (void)error;
    close_channel(m);
    child_name(m, &child);
    channel_uv_send(m->control->monitor, MSG_STOP, 0, &child, sizeof(child), -1);
}

static bool take_channel(struct managed *m, int pid, int *fd)
{
    m->pid = pid;
    m->started_ms = uv_now(&m->control->loop);
    if (channel_uv_open(&m->channel, &m->control->loop, *fd, on_message, on_lost, m) < 0) {
        managed_stop(m);
        return false;
    }
    *fd = -1;
    return true;
}

static void on_started(void *ctx, struct message *answer)
{
    struct managed *m = ctx;
    const struct child_started *started = answer && answer->type == MSG_STARTED ? answer->payload : NULL;
    struct child_id child;
    if (m->phase == PHASE_STARTING) {
        if (started && !started->error && answer->fd >= 0) {
            if (take_channel(m, started->pid, &answer->fd))
                managed_configure(m);
        } else {
            if (!started || !started->error) { /* it runs, or may run, all the same */
                child_name(m, &child);
                channel_uv_send(m->control->monitor, MSG_STOP, 0, &child, sizeof(child), -1);
            }
            set_failure(m, !started         ? "the monitor did not answer"
                           : started->error ? started->why
                                            : "the channel to its process was lost: no descriptors left");
            m->refusal = 503;
            take_back(m, 503);
            after_stop(m);
        }
    } else if (m->phase == PHASE_STOPPING && (!started || started->error)) {
        after_stop(m); /* it never ran: no MSG_EXITED will come */
    } else if (m->phase == PHASE_STOPPING) {
        m->pid = started->pid; /* whose end is waited for */
    }
    managed_unref(m);
}

void managed_start(struct managed *m)
{
    struct child_start start = {.uid = m->uid, .gid = m->gid};
    struct spec_error error;
    if (m->phase != PHASE_STOPPED || m->is_gone)
        return;
    uv_timer_stop(&m->restart_timer);
    m->is_refused = false;
    if (control_resolve_uplink(m->control, &m->spec, &m->uplink, &error) < 0 ||
        (m->source == SOURCE_API && control_check_bridge(m->control, &m->spec, &error) < 0)) {
        m->is_refused = true;
        set_failure(m, error.rule);
        refuse_all(m, 422, error.rule);
        return;
    }
    control_look_at_interface(m);
    m->phase = PHASE_STARTING;
    child_name(m, &start.child);
    managed_ref(m);
    asks_send(&m->control->asks, m->control->monitor, MSG_START, &start, sizeof(start), -1, ASK_MONITOR_MS,
              on_started, m);
}

void managed_adopt(struct managed *m, struct orphan *orphan)
{
    struct spec_error error;
    /* If it cannot be served any more, that shows when it is asked to be so. */
    control_resolve_uplink(m->control, &m->spec, &m->uplink, &error);
    control_look_at_interface(m);
    m->phase = PHASE_STARTING;
    log_info("network %s: adopted, pid %d", m->spec.name, (int)orphan->running.pid);
    if (take_channel(m, orphan->running.pid, &orphan->fd))
        managed_adopt_running(m, orphan->running.uid, orphan->running.gid);
}

/* ---- stop ---- */

/* Whoever waits for the end of a network finds none of its sockets when he hears of it. */
static void on_unbound(void *ctx, struct message *answer)
{
    struct managed *m = ctx;
    (void)answer;
    answer_all(m);
    managed_unref(m);
}

static void forget(struct managed *m)
{
    struct unbind_request unbind = {.port = ""};
    struct network_name name;
    struct managed **at = &m->control->networks;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    m->control->n_networks--;
    m->is_gone = true;
    uv_timer_stop(&m->restart_timer);
    memcpy(name.network, m->spec.name, sizeof(name.network));
    channel_uv_send(m->control->monitor, MSG_FORGET, 0, &name, sizeof(name), -1);
    memcpy(unbind.network, m->spec.name, sizeof(unbind.network));
    asks_send(&m->control->asks, m->control->monitor, MSG_UNBIND, &unbind, sizeof(unbind), -1, ASK_MONITOR_MS,
              on_unbound, m);
}

/* No process runs any more. */
static void after_stop(struct managed *m)
{
    m->phase = PHASE_STOPPED;
    if (!m->delete_when_stopped && (m->restart_at_once || m->is_refused || m->pending))
        managed_unbind(m, "");
    if (m->pending)
        log_info("network %s: starts as the configuration has it now", m->spec.name);
    managed_take_pending(m);
    if (m->refusal) {
        refuse_all(m, m->refusal, m->failure);
        m->refusal = 0;
    }
    if (m->delete_when_stopped) {
        log_info("network %s: deleted", m->spec.name);
        forget(m);
    } else if (m->restart_at_once) {
        m->restart_at_once = false;
        managed_start(m);
    } else if (!m->is_refused) {
        retry_later(m);
    }
}

void managed_stop(struct managed *m)
{
    struct child_id child;
    uplink_stop(m);
    if (m->phase == PHASE_STOPPING)
        return;
    /* Also where none runs: the monitor may know of one that we gave up on. */
    child_name(m, &child);
    channel_uv_send(m->control->monitor, MSG_STOP, 0, &child, sizeof(child), -1);
    if (m->phase == PHASE_STOPPED)
        after_stop(m);
    else
        m->phase = PHASE_STOPPING;
}

static void begin_delete(struct managed *m)
{
    refuse_all(m, 409, "the network was deleted meanwhile");
    m->refusal = 0;
    m->delete_when_stopped = true;
}

void managed_delete(struct managed *m, struct api_call *call)
{
    begin_delete(m);
    managed_wait(m, call, 204);
    managed_stop(m);
}

void managed_remove(struct managed *m, managed_settled *fn, void *ctx)
{
    begin_delete(m);
    managed_wait_settled(m, true, fn, ctx);
    managed_stop(m);
}

void control_describe_exit(int status, char *why, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(why, size, "its process died (%s)", strsignal(WTERMSIG(status)));
    else
        snprintf(why, size, "its process ended (exit code %d)", WEXITSTATUS(status));
}

void managed_exited(struct managed *m, const struct child_exited *exited)
{
    char why[MESSAGE_WHY_SIZE];
    /* Of one that had the name before: it may end, and be told of, while its successor is on its way. The
     * monitor tells of a start before it tells of its end. */
    if (m->pid != exited->pid)
        return;
    close_channel(m);
    m->pid = 0;
    if (m->phase != PHASE_STOPPING) {
        control_describe_exit(exited->status, why, sizeof(why));
        set_failure(m, why);
        m->refusal = 503;
        if (m->is_new)
            take_back(m, 503);
    }
    after_stop(m);
}

void managed_send(struct managed *m, uint16_t type, const void *payload, uint32_t len, int fd)
{
    if (m->channel)
        channel_uv_send(m->channel, type, 0, payload, len, fd);
    else if (fd >= 0)
        close(fd);
}

static void drop_binds(struct control *control)
{
    for (struct step *step; (step = control->binds);) {
        control->binds = step->next;
        task_fail(step->task, 503, "the daemon is ending");
        task_close(step->task);
        free(step);
    }
}

void managed_free_all(struct control *control)
{
    drop_binds(control);
    for (struct managed *m = control->networks, *next; m; m = next) {
        next = m->next;
        refuse_waiters(m, 503, "the daemon is ending", true);
        close_channel(m);
        if (m->up.channel)
            channel_uv_close(m->up.channel);
        m->is_gone = true;
        managed_unref(m);
    }
    control->networks = NULL;
}

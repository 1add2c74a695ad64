/* daemon/control_uplinks.c - the uplink of one network: a TAP from the monitor, or a process of its own, or
 * both
 *
 * The network asks (MSG_UPLINK_WANTED) and asks again after a while; here each asking is answered with an fd
 * (MSG_UPLINK) or with the reason why there is none (MSG_UPLINK_REPORT). Nothing is retried here.
 */
#include "daemon/control_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void uplink_report(struct managed *m, enum uplink_state state, const char *reason)
{
    struct uplink_report message = {.state = state};
    snprintf(message.reason, sizeof(message.reason), "%.*s", (int)sizeof(message.reason) - 1, reason);
    managed_send(m, MSG_UPLINK_REPORT, &message, sizeof(message), -1);
}

static void plug(struct managed *m, enum uplink_kind kind, const struct uplink_facts *facts, int fd)
{
    struct uplink_order order = {.kind = kind, .facts = *facts};
    managed_send(m, MSG_UPLINK, &order, sizeof(order), fd);
}

/* ---- tap ---- */

static void on_tap(void *ctx, struct message *answer)
{
    struct managed *m = ctx;
    const struct tap_opened *tap = answer && answer->type == MSG_TAP ? answer->payload : NULL;
    m->up.is_starting = false;
    if (!tap || (!tap->error && answer->fd < 0)) {
        uplink_report(m, UPLINK_DEGRADED, "the monitor did not answer");
    } else if (tap->error) {
        uplink_report(m, UPLINK_DEGRADED, tap->why);
    } else {
        memcpy(m->up.tap, tap->facts.ifname, sizeof(m->up.tap));
        plug(m, UPLINK_TAP, &tap->facts, answer->fd);
        answer->fd = -1;
        if (nat_is_wanted(m)) {
            uplink_report(m, UPLINK_STARTING, "");
            nat_serve(m);
        }
    }
    managed_unref(m);
}

static void open_tap(struct managed *m)
{
    struct tap_request request = {.mtu = m->spec.mtu, .uid = m->uid};
    if (m->spec.mode == MODE_BRIDGED) {
        snprintf(request.bridge, sizeof(request.bridge), "%s", m->spec.interface);
    } else {
        request.address = m->spec.ipv4.gateway;
        request.netmask = m->spec.ipv4.netmask;
    }
    snprintf(request.network, sizeof(request.network), "%s", m->spec.name);
    m->up.is_starting = true;
    managed_ref(m);
    asks_send(&m->control->asks, m->control->monitor, MSG_OPEN_TAP, &request, sizeof(request), -1,
              ASK_MONITOR_MS, on_tap, m);
}

/* ---- a process ---- */

static void child_name(const struct managed *m, struct child_id *child)
{
    *child = (struct child_id){.role = m->up.role};
    snprintf(child->name, sizeof(child->name), "%s", m->spec.name);
}

/* A socketpair between the two processes; each gets one end. */
static void give_data(struct managed *m)
{
    int fds[2];
    m->up.is_wanted = false;
    int r = channel_pair(fds);
    if (r < 0) {
        uplink_report(m, UPLINK_DEGRADED, uv_strerror(r));
        return;
    }
    m->up.has_data = true;
    channel_uv_send(m->up.channel, MSG_UPLINK_DATA, 0, NULL, 0, fds[0]);
    plug(m, m->up.role == ROLE_VMNET ? UPLINK_VMNET : UPLINK_USER, &m->up.facts, fds[1]);
}

/* Says a NAT that was there before this control: now it can be told what should be. */
static void take_tap_name(struct managed *m)
{
    if (m->up.tap[0] || !message_text_ok(m->up.facts.ifname, sizeof(m->up.facts.ifname)))
        return;
    memcpy(m->up.tap, m->up.facts.ifname, sizeof(m->up.tap));
    uplink_reconfigure(m);
}

static void on_message(void *ctx, struct message *message)
{
    struct managed *m = ctx;
    if (message->type == MSG_UPLINK_COUNTERS) {
        asks_answer(&m->control->asks, m->up.channel, message);
    } else if (message->type == MSG_UPLINK_READY) {
        m->up.facts = *(const struct uplink_facts *)message->payload;
        if (m->up.role == ROLE_NAT) {
            take_tap_name(m);
            return;
        }
        m->up.facts.ifname[0] = 0; /* it has none: not its own to name */
        m->up.is_ready = true;
        if (m->up.is_wanted)
            give_data(m);
    } else if (message->type == MSG_UPLINK_HOLDERS) {
        m->up.holders = *(const struct broker_holders *)message->payload;
        m->up.has_holders = true;
    } else if (message->type == MSG_UPLINK_REPORT) {
        const struct uplink_report *from = message->payload;
        if (m->up.role != ROLE_NAT)
            m->up.started_ms = uv_now(&m->control->loop); /* it does something about it */
        if ((unsigned)from->state < UPLINK_N_STATES && message_text_ok(from->reason, sizeof(from->reason))) {
            memcpy(m->up.reason, from->reason, sizeof(m->up.reason));
            uplink_report(m, from->state, from->reason);
        }
    }
}

static void close_channel(struct managed *m)
{
    if (m->up.channel)
        asks_lost(&m->control->asks, m->up.channel);
    channel_uv_close(m->up.channel);
    m->up.channel = NULL;
    m->up.is_ready = m->up.has_data = m->up.has_holders = false;
}

static void on_lost(void *ctx, int error)
{
    (void)error;
    uplink_stop(ctx);
}

static void take_channel(struct managed *m, int pid, int *fd)
{
    m->up.pid = pid;
    if (channel_uv_open(&m->up.channel, &m->control->loop, *fd, on_message, on_lost, m) < 0) {
        uplink_stop(m);
        return;
    }
    *fd = -1;
    uplink_reconfigure(m);
}

static void fail_start(struct managed *m, const char *why)
{
    uplink_report(m, UPLINK_DEGRADED, why);
    if (m->up.role == ROLE_NAT)
        nat_retry_later(m); /* a network that has its TAP asks for nothing */
}

static void on_started(void *ctx, struct message *answer)
{
    struct managed *m = ctx;
    const struct child_started *started = answer && answer->type == MSG_STARTED ? answer->payload : NULL;
    m->up.is_starting = false;
    if (started && !started->error) {
        m->up.pid = started->pid;
        m->up.started_ms = uv_now(&m->control->loop);
    }
    if (started && !started->error && answer->fd >= 0 && m->phase != PHASE_STOPPING && !m->is_gone)
        take_channel(m, started->pid, &answer->fd);
    else if (started && !started->error)
        uplink_stop(m); /* not wanted any more, or no descriptor was left for its channel */
    else
        fail_start(m, started ? started->why : "the monitor did not answer");
    managed_unref(m);
}

void uplink_start_process(struct managed *m)
{
    struct child_start start = {.uid = m->uid, .gid = m->gid};
    m->up.role = m->uplink == WANT_VMNET ? ROLE_VMNET : m->uplink == WANT_TAP ? ROLE_NAT : ROLE_UPLINK;
    m->up.reason[0] = 0;
    child_name(m, &start.child);
    m->up.is_starting = true;
    managed_ref(m);
    asks_send(&m->control->asks, m->control->monitor, MSG_START, &start, sizeof(start), -1, ASK_MONITOR_MS,
              on_started, m);
}

/* A vmnet says something about each try: it may be UPLINK_RETRY_MAX_MS until the next, which has 10 s. */
enum { USER_READY_MS = 4000, VMNET_READY_MS = UPLINK_RETRY_MAX_MS + 15 * 1000 };

static bool hangs(const struct managed *m)
{
    const uint64_t silent_ms = uv_now(&m->control->loop) - m->up.started_ms;
    return silent_ms > (m->up.role == ROLE_VMNET ? VMNET_READY_MS : USER_READY_MS);
}

void uplink_wanted(struct managed *m)
{
    const bool is_process = m->uplink == WANT_USER || m->uplink == WANT_VMNET;
    if (m->phase == PHASE_STOPPING)
        return;
    m->up.is_wanted = true;
    if (m->up.is_starting)
        return;
    if (m->uplink == WANT_TAP)
        open_tap(m);
    else if (m->up.is_ready)
        give_data(m);
    else if (is_process && !m->up.channel)
        uplink_start_process(m);
    else if (is_process && hangs(m))
        uplink_stop(m); /* it hangs; its end is reported, and the network asks again */
}

void uplink_reconfigure(struct managed *m)
{
    struct network_spec spec = m->spec;
    spec.uplink = m->uplink;
    if (m->is_adopted)
        return; /* what it was told is not known to be what is wanted: see control_adopt.c */
    if (m->up.role == ROLE_NAT)
        nat_send(m);
    else if (m->up.channel)
        channel_uv_send(m->up.channel, MSG_CONFIGURE, 0, &spec, sizeof(spec), -1);
}

void uplink_adopt(struct managed *m, struct orphan *orphan)
{
    m->up.role = orphan->running.child.role;
    take_channel(m, orphan->running.pid, &orphan->fd);
}

void uplink_stop(struct managed *m)
{
    struct child_id child;
    close_channel(m);
    uv_timer_stop(&m->up.nat_timer);
    if (m->up.role == ROLE_MONITOR)
        return; /* none was ever started */
    child_name(m, &child);
    channel_uv_send(m->control->monitor, MSG_STOP, 0, &child, sizeof(child), -1);
}

void uplink_exited(struct managed *m, const struct child_exited *exited)
{
    char why[UPLINK_REASON_SIZE];
    int status = exited->status;
    if (m->up.pid != exited->pid)
        return;
    close_channel(m);
    m->up.pid = 0;
    control_describe_exit(status, why, sizeof(why));
    if (m->phase == PHASE_STOPPING)
        return;
    log_warn("network %s: uplink: %s", m->spec.name, why);
    /* One that went by itself has said why. Said again, because all that the network has seen since may be
     * that its link has ended. */
    uplink_report(m, UPLINK_DEGRADED, m->up.reason[0] && WIFEXITED(status) ? m->up.reason : why);
    if (m->up.role == ROLE_NAT)
        nat_retry_later(m);
}

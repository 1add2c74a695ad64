/* daemon/front_uplink.c - the uplink of a front end: a TAP from the keeper, or a process that it starts
 *
 * The network asks, and asks again after a while; each asking is answered with the uplink or with the reason
 * why there is none. Nothing is retried here.
 */
#include "daemon/front_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/interface_kind.h"
#include "io/log.h"

/* A vmnet says something about each try: it may be UPLINK_RETRY_MAX_MS until the next, which has 10 s. */
enum { USER_READY_MS = 4000, VMNET_READY_MS = UPLINK_RETRY_MAX_MS + 15 * 1000 };

static void report(struct front *front, enum uplink_state state, const char *reason)
{
    struct uplink_report message = {.state = state};
    snprintf(message.reason, sizeof(message.reason), "%.*s", (int)sizeof(message.reason) - 1, reason);
    network_report_uplink(front->network, &message);
    if (state != UPLINK_UP && message.reason[0])
        front_uplink_failed(front, message.reason);
}

static void plug(struct front *front, enum uplink_kind kind, const struct uplink_facts *facts, int fd)
{
    const struct uplink_order order = {.kind = kind, .facts = *facts};
    front->uplink.is_wanted = false;
    front->uplink.facts = *facts;
    network_plug_uplink(front->network, &order, fd);
    if (network_wants_uplink(front->network))
        front_uplink_failed(front, "it could not be plugged in");
    else if (!front_nat_is_wanted(front))
        front_uplink_is_up(front);
}

static void ask(struct front *front, uint16_t type, const void *payload, uint32_t len)
{
    front->uplink.is_asked = true;
    channel_uv_send(front->keeper, type, 0, payload, len, -1);
}

static void stop_process(struct front *front)
{
    const struct child_id id = {.role = ROLE_UPLINK}; /* the keeper knows which */
    front_uplink_close(front);
    channel_uv_send(front->keeper, MSG_STOP, 0, &id, sizeof(id), -1);
}

/* ---- a process ---- */

/* A socketpair between the two processes; each gets one end. */
static void give_data(struct front *front)
{
    int fds[2];
    int r = channel_pair(fds);
    if (r < 0) {
        report(front, UPLINK_DEGRADED, uv_strerror(r));
        return;
    }
    front->uplink.has_data = true;
    channel_uv_send(front->uplink.channel, MSG_UPLINK_DATA, 0, NULL, 0, fds[0]);
    plug(front, front->plan->spec.uplink == WANT_VMNET ? UPLINK_VMNET : UPLINK_USER, &front->uplink.facts,
         fds[1]);
}

static void on_message(void *ctx, struct message *message)
{
    struct front *front = ctx;
    struct front_uplink *up = &front->uplink;
    if (message->type == MSG_UPLINK_READY && front_nat_is_wanted(front)) {
        return; /* the TAP has its facts already */
    } else if (message->type == MSG_UPLINK_READY) {
        up->facts = *(const struct uplink_facts *)message->payload;
        up->facts.ifname[0] = 0; /* it has none: not its own to name */
        up->is_ready = true;
        if (up->is_wanted)
            give_data(front);
    } else if (message->type == MSG_UPLINK_REPORT) {
        const struct uplink_report *from = message->payload;
        up->started_ms = uv_now(&front->loop); /* it does something about it */
        if ((unsigned)from->state < UPLINK_N_STATES && message_text_ok(from->reason, sizeof(from->reason))) {
            memcpy(up->reason, from->reason, sizeof(up->reason));
            report(front, from->state, from->reason);
            if (from->state == UPLINK_UP && front_nat_is_wanted(front))
                front_uplink_is_up(front);
        }
    }
}

static void on_lost(void *ctx, int error)
{
    (void)error;
    stop_process(ctx);
}

static void warn_of_wifi(const struct network_spec *spec)
{
    if (spec->uplink == WANT_VMNET && spec->mode == MODE_BRIDGED &&
        interface_kind(spec->interface) == INTERFACE_KIND_WIFI)
        log_warn("%s: %s", spec->interface, INTERFACE_WIFI_WARNING);
}

static void on_started(struct front *front, struct message *message)
{
    const struct child_started *started = message->payload;
    struct front_uplink *up = &front->uplink;
    up->is_asked = false;
    if (started->error || message->fd < 0) {
        report(front, UPLINK_DEGRADED, started->error ? started->why : "no descriptors left");
        if (front_nat_is_wanted(front))
            front_nat_retry_later(front); /* a network that has its TAP asks for nothing */
        return;
    }
    up->pid = started->pid;
    up->started_ms = uv_now(&front->loop);
    up->reason[0] = 0;
    if (channel_uv_open(&up->channel, &front->loop, message->fd, on_message, on_lost, front) < 0) {
        stop_process(front);
        return;
    }
    message->fd = -1;
    warn_of_wifi(&front->plan->spec);
    if (front_nat_is_wanted(front))
        front_nat_send(front);
    else
        channel_uv_send(up->channel, MSG_CONFIGURE, 0, &front->plan->spec, sizeof(front->plan->spec), -1);
}

static void on_exited(struct front *front, const struct child_exited *exited)
{
    struct front_uplink *up = &front->uplink;
    int status = exited->status; /* macOS's macros want a variable */
    const bool has_said_why = up->reason[0] && WIFEXITED(status);
    char why[UPLINK_REASON_SIZE];
    if (up->pid != exited->pid)
        return;
    front_uplink_close(front);
    up->pid = 0;
    if (has_said_why)
        memcpy(why, up->reason, sizeof(why));
    else if (WIFSIGNALED(status))
        snprintf(why, sizeof(why), "its process was ended by signal %d", WTERMSIG(status));
    else
        snprintf(why, sizeof(why), "its process ended with code %d", WEXITSTATUS(status));
    log_warn("uplink: %s", why);
    report(front, UPLINK_DEGRADED, why); /* the network may have seen no more than the end of its link */
    if (front_nat_is_wanted(front))
        front_nat_retry_later(front);
}

/* ---- tap ---- */

static void on_tap(struct front *front, struct message *message)
{
    const struct tap_opened *tap = message->payload;
    front->uplink.is_asked = false;
    if (tap->error || message->fd < 0) {
        report(front, UPLINK_DEGRADED, tap->error ? tap->why : "no descriptors left");
        return;
    }
    memcpy(front->uplink.tap, tap->facts.ifname, sizeof(front->uplink.tap));
    plug(front, UPLINK_TAP, &tap->facts, message->fd);
    message->fd = -1;
    if (!front_nat_is_wanted(front))
        return;
    report(front, UPLINK_STARTING, "");
    front_nat_serve(front);
}

/* ---- the rest ---- */

void front_uplink_wanted(void *ctx)
{
    static const struct child_start start;
    static const struct tap_request tap;
    struct front *front = ctx;
    struct front_uplink *up = &front->uplink;
    const bool is_vmnet = front->plan->spec.uplink == WANT_VMNET;
    up->is_wanted = true;
    if (up->is_asked || front->is_ending)
        return;
    if (front->plan->spec.uplink == WANT_TAP)
        ask(front, MSG_OPEN_TAP, &tap, sizeof(tap));
    else if (up->is_ready)
        give_data(front);
    else if (!up->channel)
        ask(front, MSG_START, &start, sizeof(start));
    else if (uv_now(&front->loop) - up->started_ms > (is_vmnet ? VMNET_READY_MS : USER_READY_MS))
        stop_process(front); /* it hangs; its end is reported, and the network asks again */
}

bool front_uplink_message(struct front *front, struct message *message)
{
    switch (message->type) {
    case MSG_STARTED:
        on_started(front, message);
        return true;
    case MSG_EXITED:
        on_exited(front, message->payload);
        return true;
    case MSG_TAP:
        on_tap(front, message);
        return true;
    default:
        return false;
    }
}

void front_uplink_close(struct front *front)
{
    channel_uv_close(front->uplink.channel);
    front->uplink.channel = NULL;
    front->uplink.is_ready = front->uplink.has_data = false;
}

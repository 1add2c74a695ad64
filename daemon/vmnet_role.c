/* daemon/vmnet_role.c - the process of one network's `vmnet` uplink
 *
 * The good path: MSG_HELLO and MSG_CONTROL from the monitor, MSG_CONFIGURE from control; vmnet starts, as
 * root where there is root; privileges go for good; MSG_UPLINK_READY tells control, MSG_UPLINK_DATA brings
 * the network's socket, and frames pass both ways in turns of one poll(2) loop.
 *
 * What can go wrong
 *   vmnet refuses to start: tried again, later and later, while the network says starting; for good where
 * trying is pointless. It does not answer at all, or its interface is gone: this process ends, control starts
 * another, which is root again and asks for the same interface id. Control or the network is gone: as in
 * uplink_role.c.
 *
 * What is always true
 *   No byte of a guest is read before the privileges are gone. What control says before that is one flat
 * struct, checked here.
 */
#include "daemon/roles.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/channel.h"
#include "daemon/data_port.h"
#include "daemon/message.h"
#include "daemon/poll_set.h"
#include "daemon/privileges.h"
#include "daemon/vmnet_settings.h"
#include "io/log.h"
#include "io/uplink_vmnet.h"
#include "switch/mac.h"

enum {
    BATCHES_PER_TURN = 4, /* read from vmnet before the other direction has its turn */
    ROLE_NAME_SIZE = 16 + NETWORK_NAME_SIZE,
};

struct vmnet_role {
    struct channel *monitor;
    struct channel *control; /* NULL: none at present */
    struct data_port *data;
    uint32_t uid, gid;

    bool has_hello, is_configured;
    bool is_unprivileged;
    bool is_ending, is_over; /* the interface is being stopped; has been */
    int exit_code;
    uint64_t now_ms; /* of this turn */

    struct network_spec spec;
    struct vmnet_uplink *uplink; /* NULL: not asked for yet, waits, or pointless */
    struct uplink_retry retry;
    uint64_t retry_ms; /* 0: no try is due */
    struct uplink_report state, said;
    struct poll_set set;
};

bool vmnet_role_exists(void)
{
    return true;
}

static uint64_t clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Stops the interface first. */
static void end(struct vmnet_role *role, int exit_code)
{
    if (!role->is_ending)
        role->exit_code = exit_code;
    role->is_ending = true;
    role->is_over = role->is_over || !role->uplink;
    if (role->uplink)
        vmnet_uplink_stop(role->uplink, role->now_ms);
}

/* ---- what control hears ---- */

static void lose_control(struct vmnet_role *role)
{
    channel_destroy(role->control);
    role->control = NULL;
}

static void tell_control(struct vmnet_role *role, uint16_t type, const void *payload, uint32_t len)
{
    /* A failure shows again where the channel is read, which is also where it is closed. */
    if (role->control)
        channel_send(role->control, type, 0, payload, len, -1);
}

static void set_state(struct vmnet_role *role, enum uplink_state state, const char *reason)
{
    role->state = (struct uplink_report){.state = state};
    snprintf(role->state.reason, sizeof(role->state.reason), "%s", reason);
}

static void report(struct vmnet_role *role, bool is_wanted)
{
    const struct uplink_report *state = &role->state;
    bool is_new = state->state != role->said.state || strcmp(state->reason, role->said.reason) != 0;
    if (is_new && state->state == UPLINK_UP)
        log_info("uplink is up");
    else if (is_new && state->reason[0])
        log_warn("uplink is %s: %s", uplink_state_name(state->state), state->reason);
    role->said = *state;
    if (is_new || is_wanted)
        tell_control(role, MSG_UPLINK_REPORT, state, sizeof(*state));
}

static void tell_all(struct vmnet_role *role)
{
    if (role->state.state == UPLINK_UP) {
        /* No address to pin: vmnet's MAC is meant for a guest, the host's own shows in its frames. */
        const struct vmnet_facts *vmnet = vmnet_uplink_facts(role->uplink);
        const struct uplink_facts facts = {.mtu = vmnet->mtu, .subnet = vmnet->subnet};
        tell_control(role, MSG_UPLINK_READY, &facts, sizeof(facts));
    }
    report(role, true);
}

/* ---- the interface ---- */

static void open_uplink(struct vmnet_role *role)
{
    struct vmnet_settings settings;
    char why[UPLINK_REASON_SIZE];
    role->retry_ms = 0;
    vmnet_settings_of(&role->spec, &settings);
    int r = vmnet_uplink_open(&role->uplink, &settings, role->now_ms, why);
    if (r == -EINVAL)
        set_state(role, UPLINK_FAILED, why);
    else if (r < 0)
        role->retry_ms = role->now_ms + uplink_retry_next(&role->retry, 0);
}

/* Root is needed no more: the interface has started, or never will. */
static void drop_privileges(struct vmnet_role *role)
{
    char why[MESSAGE_WHY_SIZE];
    if (role->is_unprivileged)
        return;
    if (privileges_drop(role->uid, role->gid, why, sizeof(why)) < 0) {
        log_error("%s", why);
        end(role, EXIT_FAILED);
        return;
    }
    role->is_unprivileged = true;
}

static void log_facts(const struct vmnet_facts *facts)
{
    char address[INET_ADDRSTRLEN], mac[MAC_TEXT_SIZE];
    const struct in_addr in = {.s_addr = htonl(facts->subnet.gateway)};
    mac_format(facts->mac, mac);
    inet_ntop(AF_INET, &in, address, sizeof(address));
    log_info("vmnet: host %s, mtu %u, frames of up to %u bytes, %u in a read, %u in a write, mac %s",
             facts->subnet.gateway ? address : "unknown", facts->mtu, facts->frame_max, facts->read_max,
             facts->write_max, mac);
}

static void on_up(struct vmnet_role *role)
{
    drop_privileges(role);
    if (role->is_ending)
        return;
    log_facts(vmnet_uplink_facts(role->uplink));
    set_state(role, UPLINK_UP, "");
    tell_all(role);
}

static void on_failed(struct vmnet_role *role)
{
    const bool may_pass = vmnet_uplink_may_pass(role->uplink);
    const bool is_unanswered = vmnet_uplink_is_unanswered(role->uplink);
    set_state(role, may_pass ? UPLINK_STARTING : UPLINK_FAILED, vmnet_uplink_reason(role->uplink));
    report(role, true); /* also if it is the same again: control hears that we are at it */
    if (is_unanswered) {
        end(role, EXIT_FAILED);
        return;
    }
    vmnet_uplink_destroy(role->uplink);
    role->uplink = NULL;
    if (may_pass)
        role->retry_ms = role->now_ms + uplink_retry_next(&role->retry, 0);
    else
        drop_privileges(role);
}

static void log_counters(const struct vmnet_role *role)
{
    const struct vmnet_counters *vmnet = vmnet_uplink_counters(role->uplink);
    const struct data_port_counters *data = data_port_counters(role->data);
    log_debug("frames to vmnet: %" PRIu64 " in %" PRIu64 " writes; dropped: full %" PRIu64
              ", refused %" PRIu64 ", length %" PRIu64 ", lost %" PRIu64 ", runt %" PRIu64,
              vmnet->frames_out, vmnet->writes, vmnet->drop_full, vmnet->drop_refused, vmnet->drop_length,
              vmnet->drop_lost, data->runts);
    log_debug("frames from vmnet: %" PRIu64 " in %" PRIu64 " reads, %" PRIu64 " events; dropped: bad %" PRIu64
              ", full %" PRIu64 ", gone %" PRIu64,
              vmnet->frames_in, vmnet->reads, vmnet->events, vmnet->drop_in_bad, data->drop_full,
              data->drop_gone);
}

static void look_at_uplink(struct vmnet_role *role)
{
    if (!role->uplink)
        return;
    const enum vmnet_state state = vmnet_uplink_poll(role->uplink, role->now_ms);
    if (state == VMNET_STOPPED) {
        role->is_over = true;
    } else if (role->is_ending) {
        return;
    } else if (state == VMNET_UP && role->state.state == UPLINK_STARTING) {
        on_up(role);
    } else if (state == VMNET_FAILED) {
        on_failed(role);
    } else if (state == VMNET_LOST) {
        /* First, so that what the network shows in the end is the reason, not that its link has ended. */
        data_port_detach(role->data);
        set_state(role, UPLINK_DEGRADED, vmnet_uplink_reason(role->uplink));
        report(role, false);
        end(role, EXIT_FAILED);
    }
}

/* ---- frames ---- */

static void on_vmnet_frame(void *ctx, const uint8_t *frame, size_t len)
{
    struct vmnet_role *role = ctx;
    data_port_queue(role->data, frame, len);
}

static void on_guest_frame(void *ctx, const uint8_t *frame, size_t len)
{
    struct vmnet_role *role = ctx;
    vmnet_uplink_send(role->uplink, frame, len, role->now_ms);
}

static bool is_up(const struct vmnet_role *role)
{
    return role->state.state == UPLINK_UP && !role->is_ending;
}

static void lose_data(struct vmnet_role *role, int error)
{
    log_counters(role);
    log_warn("the link to the network ended: %s",
             error == -ECONNRESET ? "closed by the other side" : strerror(-error));
    data_port_detach(role->data);
}

static void move_frames(struct vmnet_role *role, int data_seen)
{
    int r = 0;
    for (int i = 0; i < BATCHES_PER_TURN && vmnet_uplink_has_frames(role->uplink); i++)
        vmnet_uplink_receive(role->uplink, on_vmnet_frame, role);
    if (data_seen & (POLLIN | POLLHUP | POLLERR))
        r = data_port_receive(role->data, on_guest_frame, role);
    vmnet_uplink_flush(role->uplink, role->now_ms);
    if (r == 0 && data_port_fd(role->data) >= 0)
        r = data_port_flush(role->data);
    if (r < 0)
        lose_data(role, r);
}

/* ---- what the monitor and control say ---- */

static bool spec_is_valid(const struct network_spec *spec)
{
    return message_text_ok(spec->name, sizeof(spec->name)) && port_name_is_valid(spec->name) &&
           message_text_ok(spec->interface, sizeof(spec->interface)) &&
           (spec->mode == MODE_SHARED || spec->mode == MODE_HOST || spec->mode == MODE_BRIDGED);
}

static int configure(struct vmnet_role *role, const struct network_spec *spec)
{
    if (!spec_is_valid(spec))
        return -EBADMSG;
    if (!role->is_configured) {
        role->spec = *spec;
        role->is_configured = true;
        open_uplink(role);
    }
    tell_all(role);
    return 0;
}

static int on_control_message(void *ctx, struct message *message)
{
    struct vmnet_role *role = ctx;
    if (message->type == MSG_CONFIGURE)
        return configure(role, message->payload);
    if (message->type == MSG_UPLINK_DATA && message->fd >= 0 && role->is_unprivileged) {
        data_port_attach(role->data, message->fd);
        message->fd = -1;
        return 0;
    }
    return -EBADMSG;
}

static int hear_hello(struct vmnet_role *role, const struct hello *hello)
{
    char name[ROLE_NAME_SIZE];
    if (role->has_hello || hello->protocol != MESSAGE_PROTOCOL || hello->role != ROLE_VMNET ||
        !message_text_ok(hello->name, sizeof(hello->name)) || hello->log_level < LOG_ERROR ||
        hello->log_level >= LOG_N_LEVELS)
        return -EBADMSG;
    role->has_hello = true;
    snprintf(name, sizeof(name), "uplink %s", hello->name);
    log_open(name, (enum log_level)hello->log_level);
    return 0;
}

static int on_monitor_message(void *ctx, struct message *message)
{
    struct vmnet_role *role = ctx;
    if (message->type == MSG_HELLO)
        return hear_hello(role, message->payload);
    if (message->type == MSG_LOG_LEVEL) {
        log_set_level((enum log_level)((const struct log_order *)message->payload)->level);
        return 0;
    }
    if (message->type != MSG_CONTROL || !role->has_hello || message->fd < 0)
        return -EBADMSG;
    lose_control(role);
    role->control = channel_create(message->fd);
    if (!role->control)
        return -ENOMEM;
    message->fd = -1;
    tell_all(role);
    return 0;
}

static void serve_channels(struct vmnet_role *role, int monitor_seen, int control_seen)
{
    if (control_seen) { /* before the monitor, which may replace it */
        channel_flush(role->control);
        if (channel_receive(role->control, on_control_message, role) < 0) {
            log_info("control is gone: traffic goes on");
            lose_control(role);
        }
    }
    if (monitor_seen) {
        channel_flush(role->monitor);
        int r = channel_receive(role->monitor, on_monitor_message, role);
        if (r < 0 && r != -ECONNRESET)
            log_error("the channel to the monitor failed: %s", strerror(-r));
        if (r < 0)
            end(role, r == -ECONNRESET ? EXIT_OK : EXIT_FAILED);
    }
}

/* ---- the loop ---- */

static int sooner(int a, int b)
{
    return b < 0 || (a >= 0 && a < b) ? a : b;
}

static int run_timers(struct vmnet_role *role)
{
    int timeout_ms = role->uplink ? vmnet_uplink_timeout(role->uplink, role->now_ms) : -1;
    if (!role->retry_ms || role->is_ending)
        return timeout_ms;
    if (role->now_ms < role->retry_ms)
        return sooner(timeout_ms, (int)(role->retry_ms - role->now_ms));
    open_uplink(role);
    return 0;
}

static int channel_events(const struct channel *channel)
{
    return POLLIN | (channel_wants_write(channel) ? POLLOUT : 0);
}

static int watch_data(struct vmnet_role *role)
{
    /* While vmnet has no room the network's socket fills, and the network drops and counts. */
    int events = vmnet_uplink_is_full(role->uplink) ? 0 : POLLIN;
    if (data_port_fd(role->data) < 0)
        return -1;
    events |= data_port_wants_write(role->data) ? POLLOUT : 0;
    return events ? poll_set_add(&role->set, data_port_fd(role->data), events) : -1;
}

static void turn(struct vmnet_role *role)
{
    struct poll_set *set = &role->set;
    int timeout_ms = run_timers(role), control = -1, data = -1, monitor = -1;
    report(role, false);

    set->n = 0;
    if (!role->is_ending)
        monitor = poll_set_add(set, channel_fd(role->monitor), channel_events(role->monitor));
    if (role->control && !role->is_ending)
        control = poll_set_add(set, channel_fd(role->control), channel_events(role->control));
    if (role->uplink)
        poll_set_add(set, vmnet_uplink_fd(role->uplink), POLLIN);
    if (is_up(role))
        data = watch_data(role);

    bool poll_failed = poll(set->fds, set->n, timeout_ms) < 0;
    for (unsigned i = 0; poll_failed && i < set->n; i++)
        set->fds[i].revents = 0; /* interrupted: undefined */
    role->now_ms = clock_ms();

    look_at_uplink(role);
    if (is_up(role))
        move_frames(role, poll_set_seen(set, data));
    look_at_uplink(role); /* a read or write may have found it gone: nothing else would tell */
    if (!role->is_ending)
        serve_channels(role, poll_set_seen(set, monitor), poll_set_seen(set, control));
}

int vmnet_main(int channel_fd, uint32_t uid, uint32_t gid)
{
    struct vmnet_role *role = calloc(1, sizeof(*role));
    if (!role)
        return EXIT_FAILED;
    role->uid = uid;
    role->gid = gid;
    role->now_ms = clock_ms();
    role->monitor = channel_create(channel_fd);
    role->data = data_port_create();
    if (!role->monitor || !role->data)
        end(role, EXIT_FAILED);

    while (!role->is_over)
        turn(role);

    if (role->uplink)
        log_counters(role);
    int exit_code = role->exit_code;
    vmnet_uplink_destroy(role->uplink);
    data_port_destroy(role->data);
    channel_destroy(role->control);
    channel_destroy(role->monitor);
    free(role);
    return exit_code;
}

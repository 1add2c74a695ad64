/* daemon/vmnet_role.c - the process of one network's `vmnet` uplink
 *
 * The loop, the channels and what ends them: daemon/uplink_process.h. Here: vmnet starts when it is
 * configured, as root where there is root; privileges go for good; MSG_UPLINK_READY tells control,
 * MSG_UPLINK_DATA brings the network's socket, and frames pass both ways.
 *
 * What can go wrong
 *   vmnet refuses to start: tried again, later and later, while the network says starting; for good where
 * trying is pointless. It does not answer at all, or its interface is gone: this process ends, control starts
 * another, which is root again and asks for the same interface id.
 *
 * What is always true
 *   No byte of a guest is read before the privileges are gone. What control says before that is one flat
 * struct, checked here.
 */
#include "daemon/roles.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/privileges.h"
#include "daemon/subnet_conflict.h"
#include "daemon/uplink_process.h"
#include "daemon/vmnet_settings.h"
#include "io/log.h"
#include "io/system_version_darwin.h"
#include "io/uplink_vmnet.h"
#include "switch/mac.h"

enum {
    BATCHES_PER_TURN = 4, /* read from vmnet before the other direction has its turn */
};

struct vmnet_role {
    struct uplink_process process;
    uint32_t uid, gid;
    bool is_configured, is_unprivileged;

    struct network_spec spec;
    struct vmnet_uplink *uplink; /* NULL: not asked for yet, waits, or pointless */
    bool has_asked_offload;      /* which may be why it did not start: */
    bool asks_less;              /* the next try is without */
    struct uplink_retry retry;
    uint64_t retry_ms; /* 0: no try is due */
    struct uplink_report state;
    bool is_up; /* the interface is; the state may be degraded all the same, for a forward */
    struct broker_holders holders; /* as control has heard it */
};

bool vmnet_role_exists(void)
{
    return true;
}

/* From macOS 26 on an entitlement does, which the scripts that install and sign give. */
bool vmnet_role_may_start(bool is_root)
{
    return is_root || system_version() >= 2600;
}

/* Stops the interface first. */
static void stop(void *ctx)
{
    struct vmnet_role *role = ctx;
    if (role->uplink)
        vmnet_uplink_stop(role->uplink, role->process.now_ms);
    else
        role->process.is_over = true;
}

/* ---- what control hears ---- */

static void set_state(struct vmnet_role *role, enum uplink_state state, const char *reason)
{
    role->state = (struct uplink_report){.state = state};
    snprintf(role->state.reason, sizeof(role->state.reason), "%s", reason);
}

static void report(struct vmnet_role *role, bool is_wanted)
{
    uplink_process_report(&role->process, &role->state, is_wanted);
}

static void tell_holders(struct vmnet_role *role, bool is_wanted)
{
    const struct broker_holders *holders = role->uplink ? vmnet_uplink_holders(role->uplink) : NULL;
    if (!holders || (!is_wanted && memcmp(holders, &role->holders, sizeof(*holders)) == 0))
        return;
    role->holders = *holders;
    uplink_process_tell(&role->process, MSG_UPLINK_HOLDERS, holders, sizeof(*holders));
}

static void tell_all(void *ctx)
{
    struct vmnet_role *role = ctx;
    if (role->is_up) {
        /* No address to pin: vmnet's MAC is meant for a guest, the host's own shows in its frames. */
        const struct vmnet_facts *vmnet = vmnet_uplink_facts(role->uplink);
        const struct uplink_facts facts = {
            .mtu = vmnet->mtu,
            .subnet = vmnet->subnet,
            .has_vnet_header = vmnet->header_len > 0,
            .has_raw_offload = vmnet->header_len == 0 && (vmnet->has_tso || vmnet->has_checksum_offload),
            .whole_max = vmnet->has_tso ? vmnet->frame_max : PORT_WHOLE_NONE,
        };
        uplink_process_tell(&role->process, MSG_UPLINK_READY, &facts, sizeof(facts));
    }
    report(role, true);
    tell_holders(role, true);
}

/* ---- the interface ---- */

static void wait_and_retry(struct vmnet_role *role)
{
    role->retry_ms = role->process.now_ms + uplink_retry_next(&role->retry, 0);
}

/* What has the subnet may have come since the network was asked for, and a configuration's is not asked about
 * before it starts. vmnet would take the addresses away from it. */
static bool is_taken(const struct vmnet_settings *settings, char why[UPLINK_REASON_SIZE])
{
    char with[64];
    if (!settings->gateway ||
        subnet_conflict_find(settings->gateway, settings->netmask, "", with, sizeof(with)) == 0)
        return false;
    snprintf(why, UPLINK_REASON_SIZE, "its subnet overlaps %s: choose another ipv4.gateway", with);
    return true;
}

static void open_uplink(struct vmnet_role *role)
{
    struct vmnet_settings settings;
    char why[UPLINK_REASON_SIZE];
    role->retry_ms = 0;
    vmnet_settings_of(&role->spec, &settings);
    if (is_taken(&settings, why)) {
        set_state(role, UPLINK_STARTING, why);
        report(role, true);
        wait_and_retry(role);
        return;
    }
    if (role->asks_less)
        settings.wants_tso = settings.wants_checksum_offload = settings.wants_virtio_header = false;
    role->has_asked_offload =
        settings.wants_tso || settings.wants_checksum_offload || settings.wants_virtio_header;
    int r = vmnet_uplink_open(&role->uplink, &settings, role->process.now_ms, why);
    if (r == -EINVAL)
        set_state(role, UPLINK_FAILED, why);
    else if (r < 0)
        wait_and_retry(role);
}

/* Root is needed no more: the interface has started, or never will. */
static void drop_privileges(struct vmnet_role *role)
{
    char why[MESSAGE_WHY_SIZE];
    if (role->is_unprivileged)
        return;
    if (privileges_drop(role->uid, role->gid, why, sizeof(why)) < 0) {
        log_error("%s", why);
        uplink_process_end(&role->process, EXIT_FAILED);
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
    log_info("vmnet: host %s, mtu %u, frames of up to %u bytes, %s, %u in a read, %u in a write, mac %s",
             facts->subnet.gateway ? address : "unknown", facts->mtu, facts->frame_max,
             facts->header_len             ? "virtio header"
             : facts->has_checksum_offload ? "checksum offload"
                                           : "no offload",
             facts->read_max, facts->write_max, mac);
}

static void set_forwards(struct vmnet_role *role)
{
    struct vmnet_rule rules[VMNET_RULES_MAX];
    if (role->is_up)
        vmnet_uplink_forward(role->uplink, rules, vmnet_rules_of(&role->spec, rules));
}

/* A forward that is not there: the rest works. */
static void look_at_forwards(struct vmnet_role *role)
{
    char reason[UPLINK_REASON_SIZE];
    if (vmnet_uplink_forward_failure(role->uplink, reason))
        set_state(role, UPLINK_DEGRADED, reason);
    else
        set_state(role, UPLINK_UP, "");
}

static void on_up(struct vmnet_role *role)
{
    drop_privileges(role);
    if (role->process.is_ending)
        return;
    log_facts(vmnet_uplink_facts(role->uplink));
    role->is_up = true;
    set_forwards(role);
    look_at_forwards(role);
    tell_all(role);
}

/* A vmnet that has none of the offload that was asked for does not say so. A failure for another reason fails
 * again at once, and the next try asks for all again. */
static bool try_with_less(struct vmnet_role *role)
{
    role->asks_less = role->has_asked_offload && vmnet_uplink_may_ask_less(role->uplink);
    if (!role->asks_less)
        return false;
    log_info("%s; once more without offload", vmnet_uplink_reason(role->uplink));
    vmnet_uplink_destroy(role->uplink);
    role->uplink = NULL;
    open_uplink(role);
    return true;
}

static void on_failed(struct vmnet_role *role)
{
    if (try_with_less(role))
        return;
    const bool may_pass = vmnet_uplink_may_pass(role->uplink);
    const bool is_unanswered = vmnet_uplink_is_unanswered(role->uplink);
    set_state(role, may_pass ? UPLINK_STARTING : UPLINK_FAILED, vmnet_uplink_reason(role->uplink));
    report(role, true); /* also if it is the same again: control hears that we are at it */
    if (is_unanswered) {
        uplink_process_end(&role->process, EXIT_FAILED);
        return;
    }
    vmnet_uplink_destroy(role->uplink);
    role->uplink = NULL;
    if (may_pass)
        wait_and_retry(role);
    else
        drop_privileges(role);
}

static void log_counters(const struct vmnet_role *role)
{
    const struct vmnet_counters *vmnet = vmnet_uplink_counters(role->uplink);
    const struct data_port_counters *data = data_port_counters(role->process.data);
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
    const enum vmnet_state state = vmnet_uplink_poll(role->uplink, role->process.now_ms);
    tell_holders(role, false);
    if (state == VMNET_STOPPED) {
        role->process.is_over = true;
    } else if (role->process.is_ending) {
        return;
    } else if (state == VMNET_UP && !role->is_up) {
        on_up(role);
    } else if (state == VMNET_UP) {
        look_at_forwards(role);
    } else if (state == VMNET_FAILED) {
        on_failed(role);
    } else if (state == VMNET_LOST) {
        /* First, so that what the network shows in the end is the reason, not that its link has ended. */
        data_port_detach(role->process.data);
        role->is_up = false;
        set_state(role, UPLINK_DEGRADED, vmnet_uplink_reason(role->uplink));
        report(role, false);
        uplink_process_end(&role->process, EXIT_FAILED);
    }
}

/* ---- frames ---- */

static void on_vmnet_frame(void *ctx, const uint8_t *frame, size_t len)
{
    struct vmnet_role *role = ctx;
    data_port_queue(role->process.data, frame, len);
}

static void on_guest_frame(void *ctx, const uint8_t *frame, size_t len)
{
    struct vmnet_role *role = ctx;
    vmnet_uplink_send(role->uplink, frame, len, role->process.now_ms);
}

static bool is_up(const struct vmnet_role *role)
{
    return role->is_up && !role->process.is_ending;
}

static void lose_data(struct vmnet_role *role, int error)
{
    log_counters(role);
    log_warn("the link to the network ended: %s",
             error == -ECONNRESET ? "closed by the other side" : strerror(-error));
    data_port_detach(role->process.data);
}

static void move_frames(struct vmnet_role *role, int data_seen)
{
    int r = 0;
    for (int i = 0; i < BATCHES_PER_TURN && vmnet_uplink_has_frames(role->uplink); i++)
        vmnet_uplink_receive(role->uplink, on_vmnet_frame, role);
    if (data_seen & (POLLIN | POLLHUP | POLLERR))
        r = data_port_receive(role->process.data, on_guest_frame, role);
    vmnet_uplink_flush(role->uplink, role->process.now_ms);
    if (r == 0 && data_port_fd(role->process.data) >= 0)
        r = data_port_flush(role->process.data);
    if (r < 0)
        lose_data(role, r);
}

/* ---- what the monitor and control say ---- */

static bool spec_is_valid(const struct network_spec *spec)
{
    return message_text_ok(spec->name, sizeof(spec->name)) && port_name_is_valid(spec->name) &&
           message_text_ok(spec->interface, sizeof(spec->interface)) &&
           message_text_ok(spec->vmnet.external_interface, sizeof(spec->vmnet.external_interface)) &&
           spec->n_forwards <= NETWORK_FORWARDS_MAX &&
           spec->ipv4.n_reservations <= NETWORK_RESERVATIONS_MAX &&
           (spec->mode == MODE_SHARED || spec->mode == MODE_HOST || spec->mode == MODE_BRIDGED);
}

static int configure(void *ctx, const struct network_spec *spec)
{
    struct vmnet_role *role = ctx;
    if (!spec_is_valid(spec))
        return -EBADMSG;
    const bool is_first = !role->is_configured;
    role->spec = *spec; /* but for its forwards it is for the next try: what runs stays as it is */
    role->is_configured = true;
    if (is_first)
        open_uplink(role);
    set_forwards(role);
    tell_all(role);
    return 0;
}

/* No byte of a guest before the privileges are gone. */
static bool may_attach(void *ctx)
{
    const struct vmnet_role *role = ctx;
    return role->is_unprivileged;
}

/* ---- a turn ---- */

static int run_timers(void *ctx)
{
    struct vmnet_role *role = ctx;
    const uint64_t now_ms = role->process.now_ms;
    int timeout_ms = role->uplink ? vmnet_uplink_timeout(role->uplink, now_ms) : -1;
    if (role->retry_ms && !role->process.is_ending) {
        const bool is_due = now_ms >= role->retry_ms;
        timeout_ms = uplink_process_sooner(timeout_ms, is_due ? 0 : (int64_t)(role->retry_ms - now_ms));
        if (is_due)
            open_uplink(role);
    }
    report(role, false);
    return timeout_ms;
}

static int data_events(void *ctx)
{
    const struct vmnet_role *role = ctx;
    if (!is_up(role))
        return 0;
    /* While vmnet has no room the network's socket fills, and the network drops and counts. */
    return (vmnet_uplink_is_full(role->uplink) ? 0 : POLLIN) |
           (data_port_wants_write(role->process.data) ? POLLOUT : 0);
}

static void watch(void *ctx, int *timeout_ms)
{
    struct vmnet_role *role = ctx;
    (void)timeout_ms;
    if (role->uplink)
        poll_set_add(&role->process.set, vmnet_uplink_fd(role->uplink), POLLIN);
}

static void work(void *ctx, bool poll_failed, int data_seen)
{
    struct vmnet_role *role = ctx;
    (void)poll_failed;
    look_at_uplink(role);
    if (is_up(role))
        move_frames(role, data_seen);
    look_at_uplink(role); /* a read or write may have found it gone: nothing else would tell */
}

static void count(void *ctx, struct uplink_counters *counters)
{
    const struct vmnet_role *role = ctx;
    if (!role->uplink)
        return;
    const struct vmnet_counters *vmnet = vmnet_uplink_counters(role->uplink);
    counters->to_host = vmnet->frames_out;
    counters->from_host = vmnet->frames_in + vmnet->drop_in_bad;
    counters->waiting += vmnet_uplink_waiting(role->uplink);
    counters->drops[UPLINK_DROP_length] = vmnet->drop_length;
    counters->drops[UPLINK_DROP_refused] = vmnet->drop_refused;
    counters->drops[UPLINK_DROP_host_full] = vmnet->drop_full;
    counters->drops[UPLINK_DROP_host_gone] = vmnet->drop_lost;
    counters->drops[UPLINK_DROP_from_host_bad] = vmnet->drop_in_bad;
}

static const struct uplink_process_ops role_ops = {
    .configure = configure,
    .may_attach = may_attach,
    .tell_all = tell_all,
    .run_timers = run_timers,
    .data_events = data_events,
    .watch = watch,
    .work = work,
    .count = count,
    .stop = stop,
};

int vmnet_main(int channel_fd, uint32_t uid, uint32_t gid)
{
    struct vmnet_role *role = calloc(1, sizeof(*role));
    if (!role)
        return EXIT_FAILED;
    role->uid = uid;
    role->gid = gid;
    uplink_process_open(&role->process, ROLE_VMNET, channel_fd, &role_ops, role);
    int exit_code = uplink_process_run(&role->process);
    if (role->uplink)
        log_counters(role);
    vmnet_uplink_destroy(role->uplink);
    uplink_process_close(&role->process);
    free(role);
    return exit_code;
}

/* daemon/uplink_role.c - the process of one network's `user` uplink
 *
 * The good path: MSG_HELLO and MSG_CONTROL from the monitor, MSG_CONFIGURE and MSG_UPLINK_DATA from control;
 * then turns of one poll(2) loop: libslirp's sockets, the network's frames, one write back, the channels.
 * libslirp gathers its sockets for each poll and closes them as it likes, which is why this role has no
 * uv loop: a handle could outlive its descriptor.
 *
 * What can go wrong
 *   The monitor is gone: exit. Control is gone: traffic goes on, the next control gets the facts and the
 * state again. The network is gone: degraded until control passes another socket. A forward that cannot be
 * bound or a full lease table: degraded, the rest works. libslirp crashes over a guest's frame: this process
 *   ends, the network does not, and control starts another.
 *
 * What a guest cannot do
 *   Take more than SLIRP_FDS_MAX descriptors: while libslirp works, the process's own limit is lower than
 *   while it talks to the monitor and control, which can therefore always pass one more.
 */
#include "daemon/roles.h"

#include <errno.h>
#include <inttypes.h>
#include <libslirp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "daemon/channel.h"
#include "daemon/data_port.h"
#include "daemon/dhcp_watch.h"
#include "daemon/forwards.h"
#include "daemon/guest_frame.h"
#include "daemon/message.h"
#include "daemon/poll_set.h"
#include "daemon/reassembly.h"
#include "daemon/slirp_uplink.h"
#include "io/log.h"
#include "switch/mac.h"

enum {
    SLIRP_FDS_MAX = 1024,   /* all of the process's while libslirp works */
    CHANNEL_FDS_EXTRA = 32, /* on top, for what channels receive */
    ROLE_NAME_SIZE = 16 + NETWORK_NAME_SIZE,
};

struct uplink_role {
    struct channel *monitor;
    struct channel *control; /* NULL: none at present */
    struct data_port *data;

    bool has_hello;
    bool is_over;
    int exit_code;
    uint64_t now_ms; /* of this turn */

    struct network_spec spec;
    struct guest_rules rules;
    struct slirp_uplink *slirp; /* NULL: not configured, or it could not start */
    struct forwards forwards;
    struct dhcp_watch dhcp;
    struct reassembly reassembly;
    char start_failure[UPLINK_REASON_SIZE];
    char data_failure[UPLINK_REASON_SIZE]; /* "": attached, or not yet */

    struct uplink_report said;
    uint64_t drops[GUEST_N_VERDICTS]; /* guests' frames that libslirp did not get, [GUEST_OK]: those it got */
    uint64_t drop_no_lease, drop_lease_range;
    struct poll_set set;
};

static uint64_t clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void end(struct uplink_role *role, int exit_code)
{
    role->is_over = true;
    role->exit_code = exit_code;
}

/* ---- what control hears ---- */

static void lose_control(struct uplink_role *role)
{
    channel_destroy(role->control);
    role->control = NULL;
}

static void tell_control(struct uplink_role *role, uint16_t type, const void *payload, uint32_t len)
{
    /* A failure shows again where the channel is read, which is also where it is closed. */
    if (role->control)
        channel_send(role->control, type, 0, payload, len, -1);
}

static void find_state(const struct uplink_role *role, struct uplink_report *report)
{
    char mac[MAC_TEXT_SIZE];
    report->state = UPLINK_DEGRADED;
    if (!role->slirp) {
        report->state = role->start_failure[0] ? UPLINK_FAILED : UPLINK_STARTING;
        memcpy(report->reason, role->start_failure, sizeof(report->reason));
    } else if (role->data_failure[0]) {
        memcpy(report->reason, role->data_failure, sizeof(report->reason));
    } else if (forwards_failure(&role->forwards, report->reason)) {
        return;
    } else if (role->dhcp.is_exhausted) {
        mac_format(role->dhcp.starving, mac);
        snprintf(report->reason, sizeof(report->reason),
                 "DHCP lease table full (%u leases): none left for %s", role->dhcp.n_leases, mac);
    } else {
        report->state = UPLINK_UP;
    }
}

static void report(struct uplink_role *role, bool is_wanted)
{
    struct uplink_report report = {0};
    find_state(role, &report);
    bool is_new = report.state != role->said.state || strcmp(report.reason, role->said.reason) != 0;
    if (is_new && report.state == UPLINK_UP)
        log_info("uplink is up");
    else if (is_new)
        log_warn("uplink is %s: %s", uplink_state_name(report.state), report.reason);
    role->said = report;
    if (is_new || is_wanted)
        tell_control(role, MSG_UPLINK_REPORT, &report, sizeof(report));
}

/* Everything that control may not know: it is new, or it asked. */
static void tell_all(struct uplink_role *role)
{
    if (role->slirp) {
        struct uplink_facts facts = slirp_uplink_facts(role->slirp);
        tell_control(role, MSG_UPLINK_READY, &facts, sizeof(facts));
    }
    report(role, role->slirp || role->start_failure[0]);
}

/* ---- frames ---- */

static void on_slirp_frame(void *ctx, const uint8_t *frame, size_t len)
{
    struct uplink_role *role = ctx;
    if (dhcp_watch_reply(&role->dhcp, frame, len))
        data_port_queue(role->data, frame, len);
    else
        role->drop_lease_range++;
}

static void on_guest_frame(void *ctx, const uint8_t *frame, size_t len)
{
    struct uplink_role *role = ctx;
    enum guest_verdict verdict = guest_frame_check(&role->rules, frame, len);
    role->drops[verdict]++;
    if (verdict != GUEST_OK)
        return;
    frame = reassembly_add(&role->reassembly, frame, len, role->now_ms, &len);
    if (!frame)
        return;
    if (dhcp_watch_request(&role->dhcp, frame, len, role->now_ms))
        slirp_uplink_input(role->slirp, frame, len);
    else
        role->drop_no_lease++;
}

static void log_counters(const struct uplink_role *role)
{
    const struct data_port_counters *data = data_port_counters(role->data);
    log_debug("frames: in %" PRIu64 ", out %" PRIu64, data->frames_in, data->frames_out);
    log_debug("frames of libslirp dropped: full %" PRIu64 ", gone %" PRIu64 ", lease_range %" PRIu64,
              data->drop_full, data->drop_gone, role->drop_lease_range);
    log_debug("frames of guests dropped: runt %" PRIu64 ", no_lease %" PRIu64 ", bad_fragment %" PRIu64
              ", stale_fragment %" PRIu64,
              data->runts, role->drop_no_lease, role->reassembly.drop_bad, role->reassembly.drop_stale);
    for (int i = GUEST_OK + 1; i < GUEST_N_VERDICTS; i++)
        if (role->drops[i] > 0)
            log_debug("frames of guests dropped: %s %" PRIu64, guest_verdict_name((enum guest_verdict)i),
                      role->drops[i]);
}

static void lose_data(struct uplink_role *role, int error)
{
    log_counters(role);
    data_port_detach(role->data);
    snprintf(role->data_failure, sizeof(role->data_failure), "the link to the network ended: %s",
             error == -ECONNRESET ? "closed by the other side" : strerror(-error));
}

static void attach_data(struct uplink_role *role, int fd)
{
    data_port_attach(role->data, fd);
    role->data_failure[0] = 0;
}

/* ---- what the monitor and control say ---- */

static bool needs_a_new_slirp(const struct uplink_role *role, const struct network_spec *spec)
{
    const struct network_spec *old = &role->spec;
    return !role->slirp || old->ipv4.gateway != spec->ipv4.gateway ||
           old->ipv4.netmask != spec->ipv4.netmask || old->ipv4.dhcp_end != spec->ipv4.dhcp_end ||
           old->ipv4.dhcp != spec->ipv4.dhcp || old->ipv6.has_prefix != spec->ipv6.has_prefix ||
           memcmp(old->ipv6.prefix, spec->ipv6.prefix, sizeof(spec->ipv6.prefix)) != 0 ||
           old->mtu != spec->mtu || old->host_loopback != spec->host_loopback;
}

static void start_slirp(struct uplink_role *role, const struct network_spec *spec)
{
    struct slirp_addresses addresses;
    role->start_failure[0] = 0;
    if (slirp_addresses_choose(spec, &addresses, role->start_failure) < 0 ||
        slirp_uplink_create(&role->slirp, spec, &addresses, on_slirp_frame, role, role->start_failure) < 0)
        return;
    dhcp_watch_init(&role->dhcp, addresses.dhcp_first, addresses.n_leases);
    role->rules = (struct guest_rules){.gateway = addresses.gateway,
                                       .mtu = slirp_uplink_facts(role->slirp).mtu,
                                       .has_ipv6 = spec->ipv6.has_prefix};
}

static int configure(struct uplink_role *role, const struct network_spec *spec)
{
    if (spec->n_forwards > NETWORK_FORWARDS_MAX)
        return -EBADMSG;
    if (role->slirp && needs_a_new_slirp(role, spec))
        log_warn("only the forwards change while running: the rest needs a new process");
    if (!role->slirp)
        start_slirp(role, spec);
    role->spec = *spec;
    if (role->slirp)
        forwards_apply(&role->forwards, spec, role->slirp, role->now_ms);
    tell_all(role);
    return 0;
}

static int on_control_message(void *ctx, struct message *message)
{
    struct uplink_role *role = ctx;
    if (message->type == MSG_CONFIGURE)
        return configure(role, message->payload);
    if (message->type == MSG_UPLINK_DATA && message->fd >= 0) {
        attach_data(role, message->fd);
        message->fd = -1;
        return 0;
    }
    return -EBADMSG;
}

/* "4.7.0" as 40700 */
static unsigned long version_number(const char *text)
{
    unsigned long number = 0;
    for (int i = 0; i < 3; i++) {
        char *end = NULL;
        number = number * 100 + strtoul(text, &end, 10);
        text = *end == '.' ? end + 1 : end;
    }
    return number;
}

static void log_version(void)
{
    /* Older ones read behind a packet's end; a process for each network keeps what they read to that network.
     */
    if (version_number(slirp_version_string()) < 40902)
        log_info("libslirp %s is older than 4.9.2, which fixes CVE-2026-9539", slirp_version_string());
}

static int hear_hello(struct uplink_role *role, const struct hello *hello)
{
    char name[ROLE_NAME_SIZE];
    if (role->has_hello || hello->protocol != MESSAGE_PROTOCOL || hello->role != ROLE_UPLINK ||
        !message_text_ok(hello->name, sizeof(hello->name)) || hello->log_level < LOG_ERROR ||
        hello->log_level >= LOG_N_LEVELS)
        return -EBADMSG;
    role->has_hello = true;
    snprintf(name, sizeof(name), "uplink %s", hello->name);
    log_open(name, (enum log_level)hello->log_level);
    log_version();
    return 0;
}

static int take_control(struct uplink_role *role, struct message *message)
{
    lose_control(role);
    role->control = channel_create(message->fd);
    if (!role->control)
        return -ENOMEM;
    message->fd = -1;
    tell_all(role);
    return 0;
}

static int on_monitor_message(void *ctx, struct message *message)
{
    struct uplink_role *role = ctx;
    if (message->type == MSG_HELLO)
        return hear_hello(role, message->payload);
    if (message->type == MSG_CONTROL && role->has_hello && message->fd >= 0)
        return take_control(role, message);
    if (message->type == MSG_LOG_LEVEL) {
        log_set_level((enum log_level)((const struct log_order *)message->payload)->level);
        return 0;
    }
    return -EBADMSG;
}

/* ---- the loop ---- */

/* While libslirp works it may not open a descriptor above this. */
static void limit_descriptors(rlim_t max)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max < max ? limit.rlim_max : max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int sooner(int timeout_ms, int64_t wait_ms)
{
    if (wait_ms < 0 || (timeout_ms >= 0 && timeout_ms <= wait_ms))
        return timeout_ms;
    return wait_ms > INT_MAX ? INT_MAX : (int)wait_ms;
}

static int channel_events(const struct channel *channel)
{
    return POLLIN | (channel_wants_write(channel) ? POLLOUT : 0);
}

static void serve_channels(struct uplink_role *role, int monitor_seen, int control_seen)
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

static void serve_data(struct uplink_role *role, int seen)
{
    int r = 0;
    if (seen & (POLLIN | POLLHUP | POLLERR))
        r = data_port_receive(role->data, on_guest_frame, role);
    if (r == 0)
        r = data_port_flush(role->data);
    if (r < 0)
        lose_data(role, r);
}

static int run_timers(struct uplink_role *role)
{
    int timeout_ms = -1;
    if (!role->slirp)
        return timeout_ms;
    timeout_ms = sooner(timeout_ms, forwards_retry(&role->forwards, role->slirp, role->now_ms));
    return sooner(timeout_ms, dhcp_watch_expire(&role->dhcp, role->now_ms));
}

static void turn(struct uplink_role *role)
{
    int timeout_ms = run_timers(role);
    report(role, false);

    struct poll_set *set = &role->set;
    set->n = 0;
    int monitor = poll_set_add(set, channel_fd(role->monitor), channel_events(role->monitor));
    int control = -1, data = -1;
    if (role->control)
        control = poll_set_add(set, channel_fd(role->control), channel_events(role->control));
    if (role->slirp && data_port_fd(role->data) >= 0)
        data = poll_set_add(set, data_port_fd(role->data),
                            POLLIN | (data_port_wants_write(role->data) ? POLLOUT : 0));
    if (role->slirp)
        slirp_uplink_prepare(role->slirp, set, &timeout_ms);

    bool poll_failed = poll(set->fds, set->n, timeout_ms) < 0;
    for (unsigned i = 0; poll_failed && i < set->n; i++)
        set->fds[i].revents = 0; /* interrupted: undefined */
    role->now_ms = clock_ms();

    if (role->slirp) {
        limit_descriptors(SLIRP_FDS_MAX);
        slirp_uplink_finish(role->slirp, set, poll_failed);
        if (data >= 0)
            serve_data(role, poll_set_seen(set, data));
        limit_descriptors(SLIRP_FDS_MAX + CHANNEL_FDS_EXTRA);
    }
    serve_channels(role, poll_set_seen(set, monitor), poll_set_seen(set, control));
}

int uplink_main(int fd)
{
    struct uplink_role *role = calloc(1, sizeof(*role));
    if (!role)
        return EXIT_FAILED;
    role->monitor = channel_create(fd);
    role->data = data_port_create();
    if (!role->monitor || !role->data)
        end(role, EXIT_FAILED);
    signal(SIGPIPE, SIG_IGN); /* libslirp sends without MSG_NOSIGNAL */
    role->now_ms = clock_ms();
    limit_descriptors(SLIRP_FDS_MAX + CHANNEL_FDS_EXTRA);

    while (!role->is_over)
        turn(role);

    int exit_code = role->exit_code;
    slirp_uplink_destroy(role->slirp);
    data_port_destroy(role->data);
    channel_destroy(role->control);
    channel_destroy(role->monitor);
    free(role);
    return exit_code;
}

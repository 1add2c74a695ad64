/* daemon/uplink_role.c - the process of one network's `user` uplink
 *
 * The loop, the channels and what ends them: daemon/uplink_process.h. Here: libslirp's sockets, the network's
 * frames, one write back.
 *
 * What can go wrong
 *   The network is gone: degraded until control passes another socket. A forward that cannot be bound or a
 * full lease table: degraded, the rest works. libslirp crashes over a guest's frame: this process ends, the
 * network does not, and control starts another.
 *
 * What a guest cannot do
 *   Take more than SLIRP_FDS_MAX descriptors: while libslirp works, the process's own limit is lower than
 *   while it talks to the monitor and control, which can therefore always pass one more.
 */
#include "daemon/roles.h"

#include <errno.h>
#include <inttypes.h>
#include <libslirp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/dhcp_watch.h"
#include "daemon/forwards.h"
#include "daemon/guest_frame.h"
#include "daemon/reassembly.h"
#include "daemon/sandbox.h"
#include "daemon/slirp_uplink.h"
#include "daemon/uplink_process.h"
#include "io/log.h"
#include "switch/mac.h"

enum {
    SLIRP_FDS_MAX = 1024,   /* all of the process's while libslirp works */
    CHANNEL_FDS_EXTRA = 32, /* on top, for what channels receive */
};

struct uplink_role {
    struct uplink_process process;
    struct network_spec spec;
    struct guest_rules rules;
    struct slirp_uplink *slirp; /* NULL: not configured, or it could not start */
    struct forwards forwards;
    struct dhcp_watch dhcp;
    struct reassembly reassembly;
    char start_failure[UPLINK_REASON_SIZE];
    char data_failure[UPLINK_REASON_SIZE]; /* "": attached, or not yet */

    uint64_t drops[GUEST_N_VERDICTS]; /* guests' frames that libslirp did not get, [GUEST_OK]: those it got */
    uint64_t drop_no_lease, drop_lease_range;
    uint64_t from_host, to_host, joined; /* frames of libslirp's, to it, and fragments that wait for others */
};

/* ---- what control hears ---- */

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
    uplink_process_report(&role->process, &report, is_wanted);
}

/* Everything that control may not know: it is new, or it asked. */
static void tell_all(void *ctx)
{
    struct uplink_role *role = ctx;
    if (role->slirp) {
        struct uplink_facts facts = slirp_uplink_facts(role->slirp);
        uplink_process_tell(&role->process, MSG_UPLINK_READY, &facts, sizeof(facts));
    }
    report(role, role->slirp || role->start_failure[0]);
}

/* ---- frames ---- */

static void on_slirp_frame(void *ctx, const uint8_t *frame, size_t len)
{
    struct uplink_role *role = ctx;
    role->from_host++;
    if (dhcp_watch_reply(&role->dhcp, frame, len))
        data_port_queue(role->process.data, frame, len);
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
    const uint64_t n_bad = role->reassembly.drop_bad;
    frame = reassembly_add(&role->reassembly, frame, len, role->process.now_ms, &len);
    if (!frame) {
        role->joined += role->reassembly.drop_bad == n_bad;
    } else if (dhcp_watch_request(&role->dhcp, frame, len, role->process.now_ms)) {
        role->to_host++;
        slirp_uplink_input(role->slirp, frame, len);
    } else {
        role->drop_no_lease++;
    }
}

static void log_counters(const struct uplink_role *role)
{
    const struct data_port_counters *data = data_port_counters(role->process.data);
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
    data_port_detach(role->process.data);
    snprintf(role->data_failure, sizeof(role->data_failure), "the link to the network ended: %s",
             error == -ECONNRESET ? "closed by the other side" : strerror(-error));
}

static bool may_attach(void *ctx)
{
    (void)ctx;
    return true;
}

static void attached(void *ctx)
{
    struct uplink_role *role = ctx;
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

static void start_slirp(struct uplink_role *role, const struct network_spec *spec)
{
    struct slirp_addresses addresses;
    role->start_failure[0] = 0;
    log_version();
    if (slirp_addresses_choose(spec, &addresses, role->start_failure) < 0 ||
        slirp_uplink_create(&role->slirp, spec, &addresses, on_slirp_frame, role, role->start_failure) < 0)
        return;
    dhcp_watch_init(&role->dhcp, addresses.dhcp_first, addresses.n_leases);
    role->rules = (struct guest_rules){.gateway = addresses.gateway,
                                       .mtu = slirp_uplink_facts(role->slirp).mtu,
                                       .has_ipv6 = spec->ipv6.has_prefix};
}

static int configure(void *ctx, const struct network_spec *spec)
{
    struct uplink_role *role = ctx;
    if (spec->n_forwards > NETWORK_FORWARDS_MAX)
        return -EBADMSG;
    if (role->slirp && needs_a_new_slirp(role, spec))
        log_warn("only the forwards change while running: the rest needs a new process");
    if (!role->slirp)
        start_slirp(role, spec);
    role->spec = *spec;
    if (role->slirp)
        forwards_apply(&role->forwards, spec, role->slirp, role->process.now_ms);
    tell_all(role);
    return 0;
}

/* ---- a turn ---- */

/* While libslirp works it may not open a descriptor above this. */
static void limit_descriptors(rlim_t max)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max < max ? limit.rlim_max : max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void serve_data(struct uplink_role *role, int seen)
{
    int r = 0;
    if (seen & (POLLIN | POLLHUP | POLLERR))
        r = data_port_receive(role->process.data, on_guest_frame, role);
    if (r == 0)
        r = data_port_flush(role->process.data);
    if (r < 0)
        lose_data(role, r);
}

static int run_timers(void *ctx)
{
    struct uplink_role *role = ctx;
    int timeout_ms = -1;
    if (role->slirp) {
        timeout_ms = uplink_process_sooner(
            timeout_ms, forwards_retry(&role->forwards, role->slirp, role->process.now_ms));
        timeout_ms = uplink_process_sooner(timeout_ms, dhcp_watch_expire(&role->dhcp, role->process.now_ms));
    }
    report(role, false);
    return timeout_ms;
}

static int data_events(void *ctx)
{
    const struct uplink_role *role = ctx;
    if (!role->slirp)
        return 0;
    return POLLIN | (data_port_wants_write(role->process.data) ? POLLOUT : 0);
}

static void watch(void *ctx, int *timeout_ms)
{
    struct uplink_role *role = ctx;
    if (role->slirp)
        slirp_uplink_prepare(role->slirp, &role->process.set, timeout_ms);
}

static void work(void *ctx, bool poll_failed, int data_seen)
{
    struct uplink_role *role = ctx;
    if (!role->slirp)
        return;
    limit_descriptors(SLIRP_FDS_MAX);
    slirp_uplink_finish(role->slirp, &role->process.set, poll_failed);
    if (data_port_fd(role->process.data) >= 0)
        serve_data(role, data_seen);
    limit_descriptors(SLIRP_FDS_MAX + CHANNEL_FDS_EXTRA);
}

static void count(void *ctx, struct uplink_counters *counters)
{
    static const enum uplink_drop reasons[GUEST_N_VERDICTS] = {
        [GUEST_TOO_SHORT] = UPLINK_DROP_too_short,     [GUEST_TOO_LONG] = UPLINK_DROP_too_long,
        [GUEST_NOT_IP] = UPLINK_DROP_not_ip,           [GUEST_BAD_HEADER] = UPLINK_DROP_bad_header,
        [GUEST_BAD_ADDRESS] = UPLINK_DROP_bad_address, [GUEST_REFUSED] = UPLINK_DROP_service_off};
    const struct uplink_role *role = ctx;
    counters->to_host = role->to_host;
    counters->from_host = role->from_host;
    counters->joined = role->joined;
    for (int i = GUEST_OK + 1; i < GUEST_N_VERDICTS; i++)
        counters->drops[reasons[i]] = role->drops[i];
    counters->drops[UPLINK_DROP_no_lease] = role->drop_no_lease;
    counters->drops[UPLINK_DROP_bad_fragment] = role->reassembly.drop_bad;
    counters->drops[UPLINK_DROP_lease_range] = role->drop_lease_range;
}

static const struct uplink_process_ops role_ops = {
    .configure = configure,
    .may_attach = may_attach,
    .attached = attached,
    .tell_all = tell_all,
    .run_timers = run_timers,
    .data_events = data_events,
    .watch = watch,
    .work = work,
    .count = count,
};

int uplink_main(int fd)
{
    struct uplink_role *role = calloc(1, sizeof(*role));
    if (!role)
        return EXIT_FAILED;
    signal(SIGPIPE, SIG_IGN); /* libslirp sends without MSG_NOSIGNAL */
    limit_descriptors(SLIRP_FDS_MAX + CHANNEL_FDS_EXTRA);
    uplink_process_open(&role->process, ROLE_UPLINK, fd, &role_ops, role);
    struct sandbox_state sandbox;
    sandbox_enter(SANDBOX_UPLINK, NULL, &sandbox);
    int exit_code = uplink_process_run(&role->process);
    slirp_uplink_destroy(role->slirp);
    uplink_process_close(&role->process);
    free(role);
    return exit_code;
}

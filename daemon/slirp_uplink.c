/* daemon/slirp_uplink.c - see slirp_uplink.h */
#include "daemon/slirp_uplink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <libslirp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/dhcp_watch.h"
#include "io/log.h"
#include "switch/mac.h"

#if !defined(SLIRP_CONFIG_VERSION_MAX) || SLIRP_CONFIG_VERSION_MAX < 4
#error "libslirp >= 4.7 is needed: older ones can't turn DHCP off"
#endif

enum {
    CONFIG_VERSION = 4,
    MTU_DEFAULT = 1500,
    TIMERS_MAX = SLIRP_TIMER_NUM,
    SLIRP_WAIT_MAX_MS = 1000, /* what it says when it waits for nothing */
    AWAKE_MS = 3000,
    SLEEP_MAX_MS = 60 * 1000,
};

static const uint32_t loopback = 0x7F000001;

struct slirp_timer {
    SlirpTimerId id;
    void *ctx;
    int64_t at_ms; /* INT64_MAX: not set */
    bool is_used;
};

struct slirp_uplink {
    Slirp *slirp;
    slirp_uplink_output *output;
    void *ctx;
    struct uplink_facts facts;
    struct slirp_timer timers[TIMERS_MAX];
    struct log_limit guest_errors;
    struct poll_set *set; /* during prepare and finish */
    bool is_used;         /* a guest has sent something since the last prepare */
    int64_t awake_until_ms;
};

static struct in_addr to_in_addr(uint32_t address)
{
    return (struct in_addr){.s_addr = htonl(address)};
}

static int refuse(char why[UPLINK_REASON_SIZE], const char *what)
{
    snprintf(why, UPLINK_REASON_SIZE, "%s", what);
    return -EINVAL;
}

int slirp_addresses_choose(const struct network_spec *spec, struct slirp_addresses *ret,
                           char why[UPLINK_REASON_SIZE])
{
    uint32_t gateway = spec->ipv4.gateway, mask = spec->ipv4.netmask;
    uint32_t first = (gateway & mask) + 1, last = (gateway | ~mask) - 1;
    if (mask == 0 || gateway < first || gateway > last || first == last)
        return refuse(why, "ipv4: the gateway's subnet has no room for a name server beside it");
    *ret = (struct slirp_addresses){.gateway = gateway};
    ret->nameserver = gateway < last ? gateway + 1 : gateway - 1;
    ret->dhcp_first = gateway + 2;
    if (!spec->ipv4.dhcp)
        return 0;
    uint32_t end = spec->ipv4.dhcp_end < last ? spec->ipv4.dhcp_end : last;
    if (last == gateway + 1 && end == last) {
        /* A /30: the one address is the guest's, and the gateway its name server. */
        ret->nameserver = gateway;
        ret->dhcp_first = end;
    }
    if (gateway >= last || end < ret->dhcp_first)
        return refuse(why, "ipv4: no address left for DHCP between the gateway + 2 and dhcp_end");
    uint32_t room = end - ret->dhcp_first + 1;
    ret->n_leases = room < SLIRP_LEASES ? room : SLIRP_LEASES;
    return 0;
}

/* ---- what libslirp calls ---- */

static int64_t now_ns(void *opaque)
{
    (void)opaque;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t now_ms(void)
{
    return now_ns(NULL) / 1000000;
}

static ssize_t on_packet(const void *frame, size_t len, void *opaque)
{
    struct slirp_uplink *uplink = opaque;
    uplink->output(uplink->ctx, frame, len);
    return (ssize_t)len;
}

static void on_guest_error(const char *message, void *opaque)
{
    struct slirp_uplink *uplink = opaque;
    char text[128];
    log_limited(&uplink->guest_errors, (uint64_t)now_ms(), LOG_INFO, "libslirp says: %s",
                log_escape(message, text, sizeof(text)));
}

/* What libslirp says through glib would otherwise go to stderr as it is and as often as a guest likes. */
static void on_glib_message(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer opaque)
{
    (void)domain;
    (void)level;
    on_guest_error(message ? message : "", opaque);
}

static void *on_timer_new(SlirpTimerId id, void *timer_ctx, void *opaque)
{
    struct slirp_uplink *uplink = opaque;
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        if (uplink->timers[i].is_used)
            continue;
        uplink->timers[i] =
            (struct slirp_timer){.id = id, .ctx = timer_ctx, .at_ms = INT64_MAX, .is_used = true};
        return &uplink->timers[i];
    }
    return NULL; /* not reached: one timer of each id */
}

static void on_timer_free(void *timer, void *opaque)
{
    (void)opaque;
    if (timer)
        ((struct slirp_timer *)timer)->is_used = false;
}

static void on_timer_mod(void *timer, int64_t at_ms, void *opaque)
{
    (void)opaque;
    if (timer)
        ((struct slirp_timer *)timer)->at_ms = at_ms;
}

/* The sockets are gathered before each poll and the loop never sleeps while libslirp works: nothing to do. */
static void on_poll_fd(int fd, void *opaque)
{
    (void)fd;
    (void)opaque;
}

static void on_notify(void *opaque)
{
    (void)opaque;
}

static const SlirpCb callbacks = {
    .send_packet = on_packet,
    .guest_error = on_guest_error,
    .clock_get_ns = now_ns,
    .timer_new_opaque = on_timer_new,
    .timer_free = on_timer_free,
    .timer_mod = on_timer_mod,
    .register_poll_fd = on_poll_fd,
    .unregister_poll_fd = on_poll_fd,
    .notify = on_notify,
};

/* ---- life ---- */

static struct in6_addr ipv6_at(const uint8_t prefix[16], uint8_t last)
{
    struct in6_addr address;
    memcpy(address.s6_addr, prefix, 8); /* a /64 */
    memset(address.s6_addr + 8, 0, 8);
    address.s6_addr[15] = last;
    return address;
}

static SlirpConfig config_of(const struct network_spec *spec, const struct slirp_addresses *addresses)
{
    uint32_t mtu = spec->mtu ? spec->mtu : MTU_DEFAULT;
    return (SlirpConfig){
        .version = CONFIG_VERSION,
        .in_enabled = true,
        .vnetwork = to_in_addr(spec->ipv4.gateway & spec->ipv4.netmask),
        .vnetmask = to_in_addr(spec->ipv4.netmask),
        .vhost = to_in_addr(addresses->gateway),
        .vnameserver = to_in_addr(addresses->nameserver),
        .vdhcp_start = to_in_addr(addresses->dhcp_first),
        .disable_dhcp = !spec->ipv4.dhcp,
        .in6_enabled = spec->ipv6.has_prefix,
        .vprefix_addr6 = ipv6_at(spec->ipv6.prefix, 0),
        .vprefix_len = 64,
        .vhost6 = ipv6_at(spec->ipv6.prefix, 2),
        .vnameserver6 = ipv6_at(spec->ipv6.prefix, 3),
        .if_mtu = mtu,
        .if_mru = mtu,
        .disable_host_loopback = !spec->host_loopback,
        .enable_emu = false,
    };
}

/* libslirp's own address: 52:55 and the gateway's IPv4 address (special_ethaddr, libslirp src/slirp.c). */
static uint64_t mac_of(uint32_t gateway)
{
    return UINT64_C(0x5255) << 32 | gateway;
}

int slirp_uplink_create(struct slirp_uplink **ret_uplink, const struct network_spec *spec,
                        const struct slirp_addresses *addresses, slirp_uplink_output *output, void *ctx,
                        char why[UPLINK_REASON_SIZE])
{
    struct slirp_uplink *uplink = calloc(1, sizeof(*uplink));
    if (!uplink) {
        snprintf(why, UPLINK_REASON_SIZE, "out of memory");
        return -ENOMEM;
    }
    SlirpConfig config = config_of(spec, addresses);
    uplink->output = output;
    uplink->ctx = ctx;
    uplink->facts = (struct uplink_facts){.mac = mac_of(addresses->gateway), .mtu = (uint32_t)config.if_mtu};
    g_log_set_default_handler(on_glib_message, uplink);
    uplink->slirp = slirp_new(&config, &callbacks, uplink);
    if (!uplink->slirp) {
        snprintf(why, UPLINK_REASON_SIZE, "libslirp %s refuses the configuration (mtu %zu)",
                 slirp_version_string(), config.if_mtu);
        g_log_set_default_handler(g_log_default_handler, NULL);
        free(uplink);
        return -EINVAL;
    }
    *ret_uplink = uplink;
    return 0;
}

void slirp_uplink_destroy(struct slirp_uplink *uplink)
{
    if (!uplink)
        return;
    slirp_cleanup(uplink->slirp);
    g_log_set_default_handler(g_log_default_handler, NULL);
    free(uplink);
}

struct uplink_facts slirp_uplink_facts(const struct slirp_uplink *uplink)
{
    return uplink->facts;
}

/* ---- traffic ---- */

void slirp_uplink_input(struct slirp_uplink *uplink, const uint8_t *frame, size_t len)
{
    uplink->is_used = true;
    slirp_input(uplink->slirp, frame, (int)len);
}

static int on_add_poll(int fd, int events, void *opaque)
{
    struct slirp_uplink *uplink = opaque;
    int wanted = 0;
    wanted |= events & SLIRP_POLL_IN ? POLLIN : 0;
    wanted |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
    wanted |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
    return poll_set_add(uplink->set, fd,
                        wanted); /* -1, where the set is full, means "nothing seen" to libslirp */
}

static int on_get_revents(int index, void *opaque)
{
    const struct slirp_uplink *uplink = opaque;
    int seen = poll_set_seen(uplink->set, index);
    int events = 0;
    events |= seen & POLLIN ? SLIRP_POLL_IN : 0;
    events |= seen & POLLOUT ? SLIRP_POLL_OUT : 0;
    events |= seen & POLLPRI ? SLIRP_POLL_PRI : 0;
    events |= seen & POLLERR ? SLIRP_POLL_ERR : 0;
    events |= seen & POLLHUP ? SLIRP_POLL_HUP : 0;
    return events;
}

static void fire_timers(struct slirp_uplink *uplink)
{
    int64_t now = now_ms();
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        struct slirp_timer *timer = &uplink->timers[i];
        if (!timer->is_used || timer->at_ms > now)
            continue;
        timer->at_ms = INT64_MAX; /* before the call, which sets it anew */
        slirp_handle_timer(uplink->slirp, timer->id, timer->ctx);
    }
}

static int until_next_timer(const struct slirp_uplink *uplink, int timeout_ms)
{
    int64_t now = now_ms(), wait = timeout_ms < 0 ? INT_MAX : timeout_ms;
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        const struct slirp_timer *timer = &uplink->timers[i];
        if (timer->is_used && timer->at_ms != INT64_MAX && timer->at_ms - now < wait)
            wait = timer->at_ms > now ? timer->at_ms - now : 0;
    }
    return (int)wait;
}

/* libslirp wants to be called each second even if it holds no socket, no connection (then it says 500 ms or
 * less) and no half of a packet: an idle network would never sleep. A packet that waits for a guest's ARP
 * answer needs that second, so not until guests have been silent for a while; and then at least once a
 * minute. */
static bool may_sleep(struct slirp_uplink *uplink, uint32_t wait, bool has_sockets)
{
    int64_t now = now_ms();
    if (uplink->is_used || has_sockets)
        uplink->awake_until_ms = now + AWAKE_MS;
    uplink->is_used = false;
    return wait == SLIRP_WAIT_MAX_MS && now >= uplink->awake_until_ms;
}

void slirp_uplink_prepare(struct slirp_uplink *uplink, struct poll_set *set, int *timeout_ms)
{
    const uint32_t until_timer = (uint32_t)until_next_timer(uplink, *timeout_ms);
    const unsigned n_before = set->n;
    uint32_t wait = until_timer;
    uplink->set = set;
    slirp_pollfds_fill(uplink->slirp, &wait, on_add_poll, uplink);
    uplink->set = NULL;
    if (may_sleep(uplink, wait, set->n > n_before))
        wait = until_timer < SLEEP_MAX_MS ? until_timer : SLEEP_MAX_MS;
    *timeout_ms = wait < INT_MAX ? (int)wait : INT_MAX;
}

void slirp_uplink_finish(struct slirp_uplink *uplink, struct poll_set *set, bool poll_failed)
{
    uplink->set = set;
    slirp_pollfds_poll(uplink->slirp, poll_failed, on_get_revents, uplink);
    uplink->set = NULL;
    fire_timers(uplink);
}

/* ---- forwards ---- */

static struct in_addr host_of(const struct network_forward *forward)
{
    return to_in_addr(forward->host_ip ? forward->host_ip : loopback);
}

int slirp_uplink_add_forward(struct slirp_uplink *uplink, const struct network_forward *forward)
{
    errno = 0;
    int r = slirp_add_hostfwd(uplink->slirp, forward->is_udp, host_of(forward), forward->host_port,
                              to_in_addr(forward->guest_ip), forward->guest_port);
    if (r >= 0)
        return 0;
    return errno ? -errno : -EIO;
}

void slirp_uplink_remove_forward(struct slirp_uplink *uplink, const struct network_forward *forward)
{
    slirp_remove_hostfwd(uplink->slirp, forward->is_udp, host_of(forward), forward->host_port);
}

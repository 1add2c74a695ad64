/* api/network_spec.c - what a network is by default, and which combinations make sense */
#include "api/network_spec.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "api/address.h"
#include "api/offer.h"
#include "api/spec_check.h"
#include "api/reservations.h"
#include "api/spec_json.h"
#include "api/vmnet_spec.h"
#include "io/settings.h"

static const char *const mode_names[] = {"shared", "host", "bridged", "internal"};
static const char *const uplink_names[] = {"auto", "none", "user", "tap", "vmnet"};

_Static_assert(sizeof(mode_names) / sizeof(mode_names[0]) == MODE_N, "a name for each mode");
_Static_assert(sizeof(uplink_names) / sizeof(uplink_names[0]) == WANT_N, "a name for each uplink");

/* Rows are modes: what may carry them. */
static const bool fits[MODE_N][WANT_N] = {
    [MODE_SHARED] = {[WANT_AUTO] = true, [WANT_USER] = true, [WANT_TAP] = true, [WANT_VMNET] = true},
    [MODE_HOST] = {[WANT_AUTO] = true, [WANT_TAP] = true, [WANT_VMNET] = true},
    [MODE_BRIDGED] = {[WANT_AUTO] = true, [WANT_TAP] = true, [WANT_VMNET] = true},
    [MODE_INTERNAL] = {[WANT_AUTO] = true, [WANT_NONE] = true},
};

const char *network_mode_name(enum network_mode mode)
{
    return (unsigned)mode < MODE_N ? mode_names[mode] : "unknown";
}

const char *network_uplink_name(enum network_uplink uplink)
{
    return (unsigned)uplink < WANT_N ? uplink_names[uplink] : "unknown";
}

static bool same_reservations(const struct network_spec *a, const struct network_spec *b)
{
    if (a->ipv4.n_reservations != b->ipv4.n_reservations)
        return false;
    for (uint32_t i = 0; i < a->ipv4.n_reservations; i++) {
        const struct network_reservation *one = &a->ipv4.reservations[i], *other = &b->ipv4.reservations[i];
        if (one->mac != other->mac || one->address != other->address)
            return false;
    }
    return true;
}

static bool same_addresses(const struct network_spec *a, const struct network_spec *b)
{
    return a->ipv4.gateway == b->ipv4.gateway && a->ipv4.netmask == b->ipv4.netmask &&
           a->ipv4.dhcp_end == b->ipv4.dhcp_end && a->ipv4.dhcp == b->ipv4.dhcp && same_reservations(a, b) &&
           a->ipv6.has_prefix == b->ipv6.has_prefix &&
           memcmp(a->ipv6.prefix, b->ipv6.prefix, sizeof(a->ipv6.prefix)) == 0;
}

static bool same_sockets(const struct network_spec *a, const struct network_spec *b)
{
    return a->sockets.stream == b->sockets.stream && a->sockets.datagram == b->sockets.datagram &&
           a->sockets.mode == b->sockets.mode && strcmp(a->sockets.group, b->sockets.group) == 0;
}

static bool same_limits(const struct network_spec *a, const struct network_spec *b)
{
    return a->limits.fdb_entries == b->limits.fdb_entries &&
           a->limits.fdb_per_port == b->limits.fdb_per_port && a->limits.fdb_uplink == b->limits.fdb_uplink &&
           a->limits.queue_frames == b->limits.queue_frames && a->limits.queue_bytes == b->limits.queue_bytes;
}

static bool same_tuning(const struct network_spec *a, const struct network_spec *b)
{
    return a->tuning.read_bytes == b->tuning.read_bytes && a->tuning.batch_frames == b->tuning.batch_frames &&
           a->tuning.socket_bytes == b->tuning.socket_bytes &&
           a->tuning.busy_poll_us == b->tuning.busy_poll_us;
}

bool network_spec_differs_live_only(const struct network_spec *a, const struct network_spec *b)
{
    return strcmp(a->name, b->name) == 0 && a->mode == b->mode && a->uplink == b->uplink &&
           strcmp(a->interface, b->interface) == 0 && a->mtu == b->mtu &&
           a->host_loopback == b->host_loopback && a->offload == b->offload && same_addresses(a, b) &&
           network_vmnet_is_same(&a->vmnet, &b->vmnet) && same_sockets(a, b) && same_limits(a, b) &&
           same_tuning(a, b);
}

bool network_spec_is_same(const struct network_spec *a, const struct network_spec *b)
{
    if (!network_spec_differs_live_only(a, b) || a->isolated != b->isolated ||
        a->n_forwards != b->n_forwards || a->ipv4.dhcp_is_set != b->ipv4.dhcp_is_set)
        return false;
    for (uint32_t i = 0; i < a->n_forwards; i++) {
        const struct network_forward *one = &a->forwards[i], *other = &b->forwards[i];
        if (one->is_udp != other->is_udp || one->host_ip != other->host_ip ||
            one->host_port != other->host_port || one->guest_ip != other->guest_ip ||
            one->guest_port != other->guest_port)
            return false;
    }
    return true;
}

void network_spec_take_live(struct network_spec *spec, const struct network_spec *from)
{
    spec->isolated = from->isolated;
    spec->n_forwards = from->n_forwards;
    memcpy(spec->forwards, from->forwards, sizeof(spec->forwards));
}

bool port_spec_is_same(const struct port_spec *a, const struct port_spec *b)
{
    return strcmp(a->name, b->name) == 0 && a->enabled == b->enabled && a->isolated == b->isolated &&
           a->offload_is_set == b->offload_is_set && a->offload == b->offload &&
           a->n_statics == b->n_statics &&
           memcmp(a->statics, b->statics, a->n_statics * sizeof(a->statics[0])) == 0;
}

void network_spec_init(struct network_spec *spec, const char *name, enum network_mode mode)
{
    memset(spec, 0, sizeof(*spec)); /* padding too: it travels as it lies */
    snprintf(spec->name, sizeof(spec->name), "%s", name);
    spec->mode = mode;
    spec->uplink = WANT_AUTO;
    spec->mtu = 1500;
    network_vmnet_init(&spec->vmnet);
    spec->sockets.stream = true;
    spec->sockets.datagram = true;
    spec->sockets.mode = 0600;
    spec->tuning.read_bytes = IO_STREAM_READ;
    spec->tuning.batch_frames = IO_DGRAM_SLOTS;
    spec->tuning.socket_bytes = IO_SOCKET_BUFFER;
    if (mode != MODE_SHARED && mode != MODE_HOST)
        return;
    /* 192.168.105/24 is what socket_vmnet has made people expect; host differs so that both can run. */
    spec->ipv4.gateway = mode == MODE_SHARED ? 0xC0A86901 : 0xC0A86A01;
    spec->ipv4.netmask = 0xFFFFFF00;
    spec->ipv4.dhcp_end = (spec->ipv4.gateway | ~spec->ipv4.netmask) - 1;
    spec->ipv4.dhcp = mode == MODE_SHARED;
}

bool network_spec_wants_nat(const struct network_spec *spec, enum network_uplink uplink)
{
    return uplink == WANT_TAP && (spec->mode == MODE_SHARED || (spec->mode == MODE_HOST && spec->ipv4.dhcp));
}

int spec_refuse(struct spec_error *error, const char *field, const char *format, ...)
{
    va_list args;

    snprintf(error->field, sizeof(error->field), "%s", field);
    va_start(args, format);
    vsnprintf(error->rule, sizeof(error->rule), format, args);
    va_end(args);
    return -1;
}

static int check_uplink(const struct network_spec *spec, struct spec_error *error)
{
    const char *mode = network_mode_name(spec->mode), *uplink = network_uplink_name(spec->uplink);
    const char *why = offer_refusal_of_uplink(spec->uplink);

    if (!fits[spec->mode][spec->uplink]) {
        char list[64] = "";
        for (int i = 0; i < WANT_N; i++) {
            size_t len = strlen(list);
            if (fits[spec->mode][i])
                snprintf(list + len, sizeof(list) - len, "%s\"%s\"", len ? ", " : "", uplink_names[i]);
        }
        return spec_refuse(error, "/uplink", "\"%s\" does not go with \"mode\": \"%s\", which takes %s",
                           uplink, mode, list);
    }
    if (why)
        return spec_refuse(error, "/uplink", "\"%s\" cannot be had: %s", uplink, why);
    if (spec->mode == MODE_BRIDGED && !spec->interface[0])
        return spec_refuse(error, "/interface", "must name the host interface when \"mode\" is \"bridged\"");
    if (spec->mode != MODE_BRIDGED && spec->interface[0])
        return spec_refuse(error, "/interface",
                           "must be null unless \"mode\" is \"bridged\", which this is not");
    return 0;
}

static int check_ipv4(const struct network_spec *spec, struct spec_error *error)
{
    uint32_t hosts = ~spec->ipv4.netmask, gateway = spec->ipv4.gateway, end = spec->ipv4.dhcp_end;

    if (!gateway) {
        /* vmnet has addresses of its own choice. */
        if ((spec->mode == MODE_SHARED || spec->mode == MODE_HOST) && spec->uplink != WANT_VMNET)
            return spec_refuse(error, "/ipv4", "must not be null when \"mode\" is \"%s\"",
                               network_mode_name(spec->mode));
        return 0;
    }
    if (!ipv4_is_host(gateway) || (gateway & hosts) == 0 || (gateway & hosts) == hosts)
        return spec_refuse(error, "/ipv4/gateway",
                           "must be a unicast address inside its subnet, neither its first nor "
                           "its last");
    if ((end & ~hosts) != (gateway & ~hosts) || (end & hosts) == hosts || end <= gateway)
        return spec_refuse(error, "/ipv4/dhcp_end",
                           "must be in the gateway's subnet, behind the gateway and before the "
                           "last address");
    if (spec->ipv4.dhcp && (spec->mode == MODE_INTERNAL || spec->mode == MODE_BRIDGED))
        return spec_refuse(error, "/ipv4/dhcp",
                           "must not be true when \"mode\" is \"%s\": nothing there serves DHCP",
                           network_mode_name(spec->mode));
    return 0;
}

/* "auto" becomes libslirp in mode shared. */
static bool is_user(const struct network_spec *spec)
{
    return spec->mode == MODE_SHARED && (spec->uplink == WANT_USER || spec->uplink == WANT_AUTO);
}

static bool is_nat66(const struct network_spec *spec)
{
    return spec->mode == MODE_SHARED && spec->uplink == WANT_VMNET;
}

/* The host's kernel does it. */
static bool is_nat(const struct network_spec *spec)
{
    return spec->mode == MODE_SHARED && spec->uplink == WANT_TAP;
}

/* libslirp and the kernel's NAT have an address of the host's; vmnet takes what comes to the Mac, at whatever
 * address. */
static int check_forward_host(const struct network_spec *spec, uint32_t i, const char *field,
                              struct spec_error *error)
{
    const struct network_forward *forward = &spec->forwards[i];

    if ((is_user(spec) || is_nat(spec)) && forward->host_ip == 0)
        return spec_refuse(error, field,
                           "must name an address of this host with the uplink \"%s\", not 0.0.0.0",
                           is_nat(spec) ? "tap" : "user");
    if (is_nat66(spec) && forward->host_ip != 0)
        return spec_refuse(error, field,
                           "must be \"0.0.0.0:%u\" with the uplink \"vmnet\", which forwards what comes from "
                           "outside to any address of the Mac, and nothing that the Mac itself sends",
                           (unsigned)forward->host_port);
    return 0;
}

static int check_forward(const struct network_spec *spec, uint32_t i, struct spec_error *error)
{
    const struct network_forward *forward = &spec->forwards[i];
    uint32_t hosts = ~spec->ipv4.netmask;
    char field[64];

    snprintf(field, sizeof(field), "/forwards/%u/guest", i);
    if ((forward->guest_ip & ~hosts) != (spec->ipv4.gateway & ~hosts) || (forward->guest_ip & hosts) == 0 ||
        (forward->guest_ip & hosts) == hosts || forward->guest_ip == spec->ipv4.gateway)
        return spec_refuse(error, field, "must be a guest's address in the network's subnet");
    snprintf(field, sizeof(field), "/forwards/%u/host", i);
    if (check_forward_host(spec, i, field, error) < 0)
        return -1;
    for (uint32_t j = 0; j < i; j++) {
        const struct network_forward *other = &spec->forwards[j];
        if (other->is_udp == forward->is_udp && other->host_ip == forward->host_ip &&
            other->host_port == forward->host_port)
            return spec_refuse(error, field, "must differ from that of /forwards/%u", j);
    }
    return 0;
}

/* Whose DHCP server can be told. */
static int check_reservations(const struct network_spec *spec, struct spec_error *error)
{
    if (!spec->ipv4.n_reservations)
        return 0;
    if (!spec->ipv4.dhcp)
        return spec_refuse(error, "/ipv4/reservations",
                           "must be empty where \"ipv4.dhcp\" is false: nobody gives out addresses");
    if (is_user(spec))
        return spec_refuse(error, "/ipv4/reservations",
                           "must be empty with the uplink \"user\": libslirp gives out addresses in the "
                           "order in which guests ask");
    for (uint32_t i = 0; i < spec->ipv4.n_reservations; i++) {
        if (reservation_check(spec, i, error) < 0)
            return -1;
    }
    return 0;
}

int network_spec_check(const struct network_spec *spec, struct spec_error *ret_error)
{
    if (check_uplink(spec, ret_error) < 0 || check_ipv4(spec, ret_error) < 0)
        return -1;
    if (check_reservations(spec, ret_error) < 0 || network_vmnet_check(spec, ret_error) < 0)
        return -1;
    if (spec->n_forwards && !is_user(spec) && !is_nat66(spec) && !is_nat(spec))
        return spec_refuse(
            ret_error, "/forwards",
            "must be empty unless the uplink is \"user\", \"tap\" or \"vmnet\" and \"mode\" is "
            "\"shared\", which this is not");
    if (spec->n_forwards && !spec->ipv4.gateway)
        return spec_refuse(ret_error, "/forwards",
                           "must be empty while \"ipv4\" is null: give the network a subnet, so that a "
                           "guest's address is known");
    if (spec->host_loopback && !is_user(spec))
        return spec_refuse(ret_error, "/host_loopback",
                           "must be false unless the uplink is \"user\", which this is not");
    if (spec->ipv6.has_prefix && !is_user(spec) && !is_nat66(spec))
        return spec_refuse(ret_error, "/ipv6/prefix",
                           "must be null unless the uplink is \"user\", or \"vmnet\" with \"mode\": "
                           "\"shared\", which this is not");
    if (spec->ipv6.has_prefix && is_nat66(spec) && spec->ipv6.prefix[0] != 0xFD)
        return spec_refuse(ret_error, "/ipv6/prefix", "must be in fd00::/8 with the uplink \"vmnet\"");
    for (uint32_t i = 0; i < spec->n_forwards; i++) {
        if (check_forward(spec, i, ret_error) < 0)
            return -1;
    }
    return 0;
}

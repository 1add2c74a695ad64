/* daemon/control_host.c - what the host has against a network that is asked for over the API
 *
 * The monitor looks again when it opens the TAP, whoever asked for the network; this is to tell who asks at
 * once, and before anything is written down.
 */
#include "daemon/control_internal.h"

#include <stdio.h>
#include <string.h>

#include "daemon/bridges.h"
#include "daemon/dhcp_server.h"
#include "daemon/interface_kind.h"
#include "daemon/subnet_conflict.h"

bool control_refuse_subnet(const struct network_spec *spec, const char *own, struct api_call *call)
{
    char with[96], detail[192];
    if (subnet_conflict_find(spec->ipv4.gateway, spec->ipv4.netmask, own, with, sizeof(with)) == 0)
        return false;
    snprintf(detail, sizeof(detail), "its IPv4 subnet overlaps %s, which this host has already", with);
    control_reply_problem(call, 409, detail, "/ipv4", "choose another gateway and netmask");
    return true;
}

static bool refuse_interface(const struct network_spec *spec, struct api_call *call)
{
    static struct bridge bridges[BRIDGES_MAX];
    char detail[160];
    const int n = bridges_list(bridges);
    const struct bridge *found = NULL;
    for (int i = 0; i < n && !found; i++)
        if (strcmp(bridges[i].name, spec->interface) == 0)
            found = &bridges[i];
    if (n < 0 || n == BRIDGES_MAX)
        return false; /* not all is known: the monitor says the rest */
    if (!found) {
        snprintf(detail, sizeof(detail), "this host has no interface %s", spec->interface);
        control_reply_problem(call, 422, detail, "/interface", "GET /v1/interfaces lists what there is");
        return true;
    }
    /* Open vSwitch's bridges are TAPs where it runs without the kernel's module. */
    if (strcmp(found->type, "bridge") == 0 || strcmp(found->type, "ovs") == 0 ||
        strcmp(found->type, "tap") == 0)
        return false;
    snprintf(detail, sizeof(detail), "%s is not a bridge, its type is \"%s\"", spec->interface, found->type);
    if (strcmp(found->type, "wifi") == 0) {
        control_reply_problem(call, 422, detail, "/interface",
                              "Wi-Fi can't be a port of a bridge: take a wired interface, or \"mode\": "
                              "\"shared\" with forwards for what is to be reached");
        return true;
    }
    control_reply_problem(
        call, 422, detail, "/interface",
        "make a bridge (ip link add br0 type bridge), put the interface into it (ip link set eth0 "
        "master br0), and name the bridge");
    return true;
}

bool control_refuse_host(const struct network_spec *spec, const char *own, struct api_call *call)
{
    if (spec->mode == MODE_BRIDGED)
        return refuse_interface(spec, call);
    if (network_spec_wants_nat(spec, WANT_TAP) && !dhcp_server_program()) {
        const bool is_shared = spec->mode == MODE_SHARED;
        control_reply_problem(call, 422, "with a TAP, DHCP and DNS are dnsmasq's, which is not installed",
                              is_shared ? "/uplink" : "/ipv4/dhcp",
                              is_shared ? "install it (Debian: dnsmasq-base), or take \"uplink\": \"user\""
                                        : "install it (Debian: dnsmasq-base), or set it to false");
        return true;
    }
    return spec->ipv4.gateway && control_refuse_subnet(spec, own, call);
}

const char *control_warning(const struct managed *m)
{
    return m->is_on_wifi ? INTERFACE_WIFI_WARNING : NULL;
}

void control_look_at_interface(struct managed *m)
{
    m->is_on_wifi = m->uplink == WANT_VMNET && m->spec.mode == MODE_BRIDGED &&
                    interface_kind(m->spec.interface) == INTERFACE_KIND_WIFI;
    if (m->is_on_wifi)
        log_warn("network %s: %s: %s", m->spec.name, m->spec.interface, control_warning(m));
}

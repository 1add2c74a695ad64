#include "daemon/broker_settings_darwin.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MTU_USUAL = 1500 };

static_assert((int)NETWORK_RESERVATIONS_MAX <= (int)NETWORK_RESERVED_MAX, "one list goes into the other");

static void set_services(const struct network_spec *spec, struct network_settings *settings)
{
    const struct network_vmnet *vmnet = &spec->vmnet;
    settings->has_nat44 = vmnet->nat44;
    settings->has_nat66 = vmnet->nat66;
    settings->has_dns_proxy = vmnet->dns_proxy;
    settings->has_router_advertisement = vmnet->router_advertisement;
    snprintf(settings->external_interface, sizeof(settings->external_interface), "%s",
             vmnet->external_interface);
}

static void set_reserved(const struct network_spec *spec, struct network_settings *settings)
{
    settings->n_reserved = spec->ipv4.n_reservations;
    for (uint32_t i = 0; i < settings->n_reserved; i++)
        settings->reserved[i] = (struct network_reserved){.mac = spec->ipv4.reservations[i].mac,
                                                          .address = spec->ipv4.reservations[i].address};
}

int broker_settings(const struct network_spec *spec, struct network_settings *ret_settings,
                    char why[UPLINK_REASON_SIZE])
{
    if (spec->mode != MODE_SHARED && spec->mode != MODE_HOST) {
        snprintf(why, UPLINK_REASON_SIZE, "mode: only shared and host networks can be network objects");
        return -EINVAL;
    }
    if (spec->vmnet.has_network_id || spec->vmnet.has_host_ipv6) {
        snprintf(why, UPLINK_REASON_SIZE, "vmnet: a network object has no network_id and no host_ipv6");
        return -EINVAL;
    }
    if (spec->ipv4.gateway && spec->ipv4.dhcp_end != (spec->ipv4.gateway | ~spec->ipv4.netmask) - 1) {
        snprintf(why, UPLINK_REASON_SIZE, "ipv4.dhcp_end: a network object's DHCP has the whole subnet");
        return -EINVAL;
    }
    network_settings_init(ret_settings, spec->mode == MODE_HOST ? VMNET_MODE_HOST : VMNET_MODE_SHARED);
    ret_settings->gateway = spec->ipv4.gateway;
    ret_settings->netmask = spec->ipv4.netmask;
    ret_settings->has_dhcp = spec->ipv4.dhcp || !spec->ipv4.gateway;
    ret_settings->mtu = spec->mtu == MTU_USUAL ? 0 : spec->mtu;
    ret_settings->has_prefix = spec->ipv6.has_prefix && spec->mode == MODE_SHARED;
    memcpy(ret_settings->prefix, spec->ipv6.prefix, sizeof(ret_settings->prefix));
    set_services(spec, ret_settings);
    set_reserved(spec, ret_settings);
    return network_settings_check(ret_settings, why);
}

static void format_subnet(const struct uplink_subnet *subnet, char *text, size_t size)
{
    char address[INET_ADDRSTRLEN];
    unsigned len = 0;
    const struct in_addr in = {.s_addr = htonl(subnet->gateway & subnet->netmask)};
    for (uint32_t mask = subnet->netmask; mask; mask <<= 1)
        len++;
    inet_ntop(AF_INET, &in, address, sizeof(address));
    snprintf(text, size, "%s/%u", address, len);
}

json_t *broker_configuration(const struct network_settings *settings, const struct uplink_subnet *subnet,
                             const uint8_t prefix[16], bool is_isolated)
{
    char range[INET_ADDRSTRLEN + 4], gateway[INET_ADDRSTRLEN], ipv6[INET6_ADDRSTRLEN],
        ipv6_range[INET6_ADDRSTRLEN + 4];
    const struct in_addr in = {.s_addr = htonl(subnet->gateway)};
    format_subnet(subnet, range, sizeof(range));
    inet_ntop(AF_INET, &in, gateway, sizeof(gateway));
    inet_ntop(AF_INET6, prefix, ipv6, sizeof(ipv6));
    snprintf(ipv6_range, sizeof(ipv6_range), "%s/64", ipv6);
    return json_pack("{s:s, s:b, s:b, s:i, s:b, s:b, s:b, s:s, s:s, s:s, s:b}", "mode",
                     settings->mode == VMNET_MODE_HOST ? "host" : "shared", "dhcp", settings->has_dhcp,
                     "dnsProxy", settings->has_dns_proxy, "mtu",
                     settings->mtu ? (int)settings->mtu : MTU_USUAL, "nat44", settings->has_nat44, "nat66",
                     settings->has_nat66, "routerAdvertisement", settings->has_router_advertisement, "subnet",
                     range, "gateway", gateway, "ipv6Prefix", ipv6_range, "isolated", is_isolated);
}

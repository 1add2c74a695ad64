#include "daemon/vmnet_settings.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "daemon/broker_settings_darwin.h"
#include "io/vmnet_features.h"

enum { MTU_USUAL = 1500 };

static_assert((int)NETWORK_FORWARDS_MAX == (int)VMNET_RULES_MAX, "one list goes into the other");
static_assert((int)NETWORK_RESERVATIONS_MAX == (int)VMNET_RESERVATIONS_MAX, "one list goes into the other");

static void set_ids(const struct network_spec *spec, struct vmnet_settings *settings)
{
    const struct network_vmnet *vmnet = &spec->vmnet;
    if (vmnet->has_interface_id)
        memcpy(settings->interface_id, vmnet->interface_id, sizeof(settings->interface_id));
    else
        vmnet_interface_id(spec->name, settings->interface_id);
    memcpy(settings->network_id, vmnet->has_network_id ? vmnet->network_id : settings->interface_id,
           sizeof(settings->network_id));
}

static void set_reservations(const struct network_spec *spec, struct vmnet_settings *settings)
{
    const uint32_t n = spec->ipv4.n_reservations;
    settings->n_reservations = n < VMNET_RESERVATIONS_MAX ? n : VMNET_RESERVATIONS_MAX;
    for (uint32_t i = 0; i < settings->n_reservations; i++)
        settings->reservations[i] = (struct vmnet_reservation){.mac = spec->ipv4.reservations[i].mac,
                                                               .address = spec->ipv4.reservations[i].address};
}

void vmnet_settings_of(const struct network_spec *spec, struct vmnet_settings *ret_settings)
{
    static const enum vmnet_mode modes[] = {[MODE_SHARED] = VMNET_MODE_SHARED,
                                            [MODE_HOST] = VMNET_MODE_HOST,
                                            [MODE_BRIDGED] = VMNET_MODE_BRIDGED};
    const struct network_vmnet *vmnet = &spec->vmnet;
    struct network_settings object;
    char why[UPLINK_REASON_SIZE];
    *ret_settings = (struct vmnet_settings){
        .mode = modes[spec->mode],
        .gateway = spec->ipv4.gateway,
        .netmask = spec->ipv4.netmask,
        .dhcp_end = spec->ipv4.dhcp_end,
        .has_dhcp = spec->ipv4.dhcp || !spec->ipv4.gateway,
        .has_host_ipv6 = vmnet->has_host_ipv6,
        .mtu = spec->mtu == MTU_USUAL ? 0 : spec->mtu,
        .is_isolated = vmnet->isolation_is_set ? vmnet->isolation : spec->isolated,
        .wants_tso = vmnet->tso,
        .wants_checksum_offload = vmnet->checksum_offload,
        .wants_virtio_header = vmnet->virtio_header && vmnet_has(VMNET_VIRTIO_HEADER),
        .has_no_nat44 = !vmnet->nat44,
        .has_no_nat66 = !vmnet->nat66,
        .has_no_dns_proxy = !vmnet->dns_proxy,
        .has_no_router_advertisement = !vmnet->router_advertisement,
    };
    if (network_objects_exist() && broker_settings(spec, &object, why) == 0)
        snprintf(ret_settings->broker_network, sizeof(ret_settings->broker_network), "%s", spec->name);
    set_ids(spec, ret_settings);
    set_reservations(spec, ret_settings);
    memcpy(ret_settings->host_ipv6, vmnet->host_ipv6, sizeof(ret_settings->host_ipv6));
    snprintf(ret_settings->interface, sizeof(ret_settings->interface), "%s", spec->interface);
    snprintf(ret_settings->external_interface, sizeof(ret_settings->external_interface), "%s",
             vmnet->external_interface);
    if (spec->ipv6.has_prefix)
        inet_ntop(AF_INET6, spec->ipv6.prefix, ret_settings->nat66_prefix,
                  sizeof(ret_settings->nat66_prefix));
}

uint32_t vmnet_rules_of(const struct network_spec *spec, struct vmnet_rule ret_rules[VMNET_RULES_MAX])
{
    const uint32_t n = spec->n_forwards < VMNET_RULES_MAX ? spec->n_forwards : VMNET_RULES_MAX;
    for (uint32_t i = 0; i < n; i++)
        ret_rules[i] = (struct vmnet_rule){.is_udp = spec->forwards[i].is_udp,
                                           .host_port = spec->forwards[i].host_port,
                                           .guest_port = spec->forwards[i].guest_port,
                                           .guest = spec->forwards[i].guest_ip};
    return n;
}

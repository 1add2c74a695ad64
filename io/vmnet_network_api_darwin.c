#include "io/vmnet_network_api_darwin.h"

#include <assert.h>
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

static_assert(sizeof(void (*)(void)) == sizeof(void *), "dlsym() gives functions as pointers to data");

#define CONFIGURATION "vmnet_network_configuration_"

static const struct {
    const char *symbol;
    size_t offset;
} names[] = {
    {"CFRelease", offsetof(struct network_api, release)},
    {CONFIGURATION "create", offsetof(struct network_api, configuration_create)},
    {CONFIGURATION "disable_dhcp", offsetof(struct network_api, disable_dhcp)},
    {CONFIGURATION "disable_nat44", offsetof(struct network_api, disable_nat44)},
    {CONFIGURATION "disable_nat66", offsetof(struct network_api, disable_nat66)},
    {CONFIGURATION "disable_dns_proxy", offsetof(struct network_api, disable_dns_proxy)},
    {CONFIGURATION "disable_router_advertisement",
     offsetof(struct network_api, disable_router_advertisement)},
    {CONFIGURATION "set_external_interface", offsetof(struct network_api, set_external_interface)},
    {CONFIGURATION "set_ipv4_subnet", offsetof(struct network_api, set_ipv4_subnet)},
    {CONFIGURATION "set_ipv6_prefix", offsetof(struct network_api, set_ipv6_prefix)},
    {CONFIGURATION "set_mtu", offsetof(struct network_api, set_mtu)},
    {CONFIGURATION "add_dhcp_reservation", offsetof(struct network_api, add_dhcp_reservation)},
    {CONFIGURATION "add_port_forwarding_rule", offsetof(struct network_api, add_port_forwarding_rule)},
    {"vmnet_network_create", offsetof(struct network_api, create)},
    {"vmnet_network_copy_serialization", offsetof(struct network_api, copy_serialization)},
    {"vmnet_network_create_with_serialization", offsetof(struct network_api, create_with_serialization)},
    {"vmnet_network_get_ipv4_subnet", offsetof(struct network_api, get_ipv4_subnet)},
    {"vmnet_network_get_ipv6_prefix", offsetof(struct network_api, get_ipv6_prefix)},
    {"vmnet_interface_start_with_network", offsetof(struct network_api, start)},
};

bool network_api_load(struct network_api *ret_api)
{
    static_assert(sizeof(*ret_api) == sizeof(names) / sizeof(names[0]) * sizeof(void *),
                  "each function has its name");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        void *function = dlsym(RTLD_DEFAULT, names[i].symbol);
        if (!function)
            return false;
        memcpy((char *)ret_api + names[i].offset, &function, sizeof(function));
    }
    return true;
}

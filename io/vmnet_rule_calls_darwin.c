#include "io/vmnet_rule_calls_darwin.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* A data pointer that is one to a function: POSIX says that dlsym() may be used so. */
static void find(const char *symbol, void *ret_function)
{
    *(void **)ret_function = dlsym(RTLD_DEFAULT, symbol);
}

static uint8_t protocol_of(const struct vmnet_rule *rule)
{
    return rule->is_udp ? IPPROTO_UDP : IPPROTO_TCP;
}

vmnet_return_t vmnet_rule_add(interface_ref interface, const struct vmnet_rule *rule, vmnet_rule_done done)
{
    vmnet_return_t (*add)(interface_ref, uint8_t, uint16_t, uint8_t, const void *, uint16_t, vmnet_rule_done);
    vmnet_return_t (*add_ipv4)(interface_ref, uint8_t, uint16_t, struct in_addr, uint16_t, vmnet_rule_done);
    const struct in_addr guest = {.s_addr = htonl(rule->guest)};
    find("vmnet_interface_add_ip_port_forwarding_rule", &add);
    find("vmnet_interface_add_port_forwarding_rule", &add_ipv4);
    if (add) /* the outside's port first: a network object's rule has them the other way round */
        return add(interface, protocol_of(rule), rule->host_port, AF_INET, &guest, rule->guest_port, done);
    if (add_ipv4)
        return add_ipv4(interface, protocol_of(rule), rule->host_port, guest, rule->guest_port, done);
    return VMNET_FAILURE;
}

vmnet_return_t vmnet_rule_remove(interface_ref interface, const struct vmnet_rule *rule, vmnet_rule_done done)
{
    vmnet_return_t (*take)(interface_ref, uint8_t, uint16_t, uint8_t, vmnet_rule_done);
    vmnet_return_t (*take_ipv4)(interface_ref, uint8_t, uint16_t, vmnet_rule_done);
    find("vmnet_interface_remove_ip_port_forwarding_rule", &take);
    find("vmnet_interface_remove_port_forwarding_rule", &take_ipv4);
    if (take)
        return take(interface, protocol_of(rule), rule->host_port, AF_INET, done);
    if (take_ipv4)
        return take_ipv4(interface, protocol_of(rule), rule->host_port, done);
    return VMNET_FAILURE;
}

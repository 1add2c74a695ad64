/* io/vmnet_network_api_darwin.h - macOS 26's functions for network objects, looked up by name
 *
 * The same executable runs where there are none, and is built where no header declares them. Objects are
 * plain pointers here: Apple's types are opaque, too.
 */
#ifndef IO_VMNET_NETWORK_API_DARWIN_H
#define IO_VMNET_NETWORK_API_DARWIN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <vmnet/vmnet.h>

struct network_api {
    void (*release)(const void *object); /* CFRelease() */

    void *(*configuration_create)(uint32_t mode, vmnet_return_t *ret_status);
    void (*disable_dhcp)(void *configuration);
    void (*disable_nat44)(void *configuration);
    void (*disable_nat66)(void *configuration);
    void (*disable_dns_proxy)(void *configuration);
    void (*disable_router_advertisement)(void *configuration);
    vmnet_return_t (*set_external_interface)(void *configuration, const char *name);
    vmnet_return_t (*set_ipv4_subnet)(void *configuration, const struct in_addr *host,
                                      const struct in_addr *mask);
    vmnet_return_t (*set_ipv6_prefix)(void *configuration, const struct in6_addr *prefix, uint8_t len);
    vmnet_return_t (*set_mtu)(void *configuration, uint32_t mtu);
    vmnet_return_t (*add_dhcp_reservation)(void *configuration, const uint8_t mac[6],
                                           const struct in_addr *address);
    /* The runtime call for a running interface has the two ports the other way round. */
    vmnet_return_t (*add_port_forwarding_rule)(void *configuration, uint8_t protocol, sa_family_t family,
                                               uint16_t internal_port, uint16_t external_port,
                                               const void *internal_address);

    void *(*create)(void *configuration, vmnet_return_t *ret_status);
    xpc_object_t (*copy_serialization)(void *network, vmnet_return_t *ret_status);
    void *(*create_with_serialization)(xpc_object_t serialization, vmnet_return_t *ret_status);
    void (*get_ipv4_subnet)(void *network, struct in_addr *ret_host, struct in_addr *ret_mask);
    void (*get_ipv6_prefix)(void *network, struct in6_addr *ret_prefix, uint8_t *ret_len);
    interface_ref (*start)(void *network, xpc_object_t desc, dispatch_queue_t queue,
                           vmnet_start_interface_completion_handler_t handler);
};

/* Returns false if the running system lacks one of them. */
bool network_api_load(struct network_api *ret_api);

#endif

/* io/vmnet_network_darwin.h - network objects of macOS 26: a vmnet network that outlives its interfaces
 *
 * How it works
 *   network_object_create() makes a network from our settings, on a thread of its own, with a deadline:
 * Apple's call may block for ever. network_object_serialize() gives what another process needs to join it,
 * network_object_open() joins by that, network_object_start() starts an interface. The network lives as long
 * as its creator has its reference; whoever joined sees its end as the end of the interface.
 *
 * What is always true
 *   An interface is started on a copy made through the serialization, because stopping an interface releases
 * the object that it was started on. Nothing here is called on a loop's thread.
 *
 * What macOS does not have: a subnet whose host is not its first address, an end of the DHCP range.
 */
#ifndef IO_VMNET_NETWORK_DARWIN_H
#define IO_VMNET_NETWORK_DARWIN_H

#include <stdbool.h>
#include <stdint.h>
#include <vmnet/vmnet.h>

#include "io/uplink_vmnet.h"

enum {
    NETWORK_CREATE_MS = 10 * 1000, /* a creation that has said nothing by then has failed */
    NETWORK_RESERVED_MAX = 64,
    NETWORK_RULES_MAX = 32,
};

/* Addresses in host byte order, here and below. */
struct network_reserved {
    uint64_t mac;
    uint32_t address;
};

struct network_rule {
    bool is_udp;
    uint16_t host_port, guest_port;
    uint32_t guest;
};

struct network_settings {
    enum vmnet_mode mode;      /* VMNET_MODE_SHARED or VMNET_MODE_HOST */
    uint32_t gateway, netmask; /* 0: the system chooses both */
    bool has_prefix;
    uint8_t prefix[16]; /* a /64; else the system chooses */
    bool has_dhcp, has_nat44, has_nat66, has_dns_proxy, has_router_advertisement;
    uint32_t mtu;                                /* 0: the system's */
    char external_interface[UPLINK_IFNAME_SIZE]; /* "": that of the default route; mode shared */
    uint32_t n_reserved, n_rules;
    struct network_reserved reserved[NETWORK_RESERVED_MAX];
    struct network_rule rules[NETWORK_RULES_MAX]; /* mode shared */
};

/* Everything on, nothing chosen: what the system does by itself. */
void network_settings_init(struct network_settings *settings, enum vmnet_mode mode);
/* Returns 0, or -EINVAL and what macOS can't do in 'why', beginning with the field. */
int network_settings_check(const struct network_settings *settings, char why[UPLINK_REASON_SIZE]);

/* True if the running system has network objects. */
bool network_objects_exist(void);

struct network_object;

/* Called once, on the queue: the network, whose reference it gets, or NULL, what vmnet said
 * (io/vmnet_status_darwin.h) and a sentence. */
typedef void network_object_created(void *ctx, struct network_object *network, uint32_t status,
                                    const char *why);

/* 'settings' have been checked and are copied. What comes after 'deadline_ms' is released. */
void network_object_create(const struct network_settings *settings, uint32_t deadline_ms,
                           dispatch_queue_t queue, network_object_created *on_created, void *ctx);

/* From network_object_serialize() of another process. Returns NULL, and a status and a sentence. */
struct network_object *network_object_open(xpc_object_t serialization, uint32_t *ret_status,
                                           char why[UPLINK_REASON_SIZE]);
/* NULL is fine. */
void network_object_release(struct network_object *network);

/* To be released by the caller, sent as it is. NULL: see 'why'. */
xpc_object_t network_object_serialize(struct network_object *network, char why[UPLINK_REASON_SIZE]);

/* What it has, chosen by us or by the system: subnet (a DHCP end that is the last address) and prefix. */
void network_object_subnet(const struct network_object *network, struct uplink_subnet *ret_subnet,
                           uint8_t ret_prefix[16]);

/* As vmnet_start_interface(), on a copy of the network. Returns NULL and a status if that can't be made: then
 * the handler is not called. */
interface_ref network_object_start(struct network_object *network, xpc_object_t desc, dispatch_queue_t queue,
                                   vmnet_start_interface_completion_handler_t handler, uint32_t *ret_status);

/* A sentence with a next step for what a network object's call said: unlike the classic interface's, a
 * missing entitlement shows as 1002. */
void network_object_describe(const char *what, uint32_t status, char why[UPLINK_REASON_SIZE]);

#endif

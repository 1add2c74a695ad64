#include "io/vmnet_network_darwin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/system_version_darwin.h"
#include "io/vmnet_network_api_darwin.h"
#include "io/vmnet_status_darwin.h"

enum { VERSION_FIRST = 2600, MTU_MIN = 1280, MTU_MAX = 65535 };

struct network_object {
    struct network_api api;
    void *ref; /* Apple's */
};

/* Between the queue that makes it and the queue that waits; freed by the second of the two answers, the
 * network's and the clock's, both of which come on the second queue. */
struct creation {
    struct network_settings settings;
    dispatch_queue_t queue;
    network_object_created *on_created;
    void *ctx;
    unsigned n_open; /* answers still to come */
    bool is_told;
};

/* ---- settings ---- */

void network_settings_init(struct network_settings *settings, enum vmnet_mode mode)
{
    *settings = (struct network_settings){.mode = mode,
                                          .has_dhcp = true,
                                          .has_nat44 = true,
                                          .has_nat66 = true,
                                          .has_dns_proxy = true,
                                          .has_router_advertisement = true};
}

static int refuse(char why[UPLINK_REASON_SIZE], const char *what)
{
    snprintf(why, UPLINK_REASON_SIZE, "%s", what);
    return -EINVAL;
}

static int check_subnet(const struct network_settings *settings, char why[UPLINK_REASON_SIZE])
{
    char text[INET_ADDRSTRLEN];
    const struct in_addr first = {.s_addr = htonl((settings->gateway & settings->netmask) + 1)};
    if (!settings->gateway)
        return 0;
    if (!settings->netmask || ~settings->netmask < 3 || (~settings->netmask & (~settings->netmask + 1)))
        return refuse(why, "ipv4.netmask: no subnet with room for a host and guests");
    if (ntohl(first.s_addr) == settings->gateway)
        return 0;
    inet_ntop(AF_INET, &first, text, sizeof(text));
    snprintf(why, UPLINK_REASON_SIZE,
             "ipv4.gateway: macOS 26 gives the host the first address of its subnet: say %s", text);
    return -EINVAL;
}

int network_settings_check(const struct network_settings *settings, char why[UPLINK_REASON_SIZE])
{
    if (settings->mode != VMNET_MODE_SHARED && settings->mode != VMNET_MODE_HOST)
        return refuse(why, "mode: only shared and host networks can be network objects");
    if (settings->mode == VMNET_MODE_HOST && settings->external_interface[0])
        return refuse(why, "external_interface: only a shared network has one");
    if (settings->mode == VMNET_MODE_HOST && settings->n_rules > 0)
        return refuse(why, "forwards: only a shared network can have forwards");
    if (settings->mtu && (settings->mtu < MTU_MIN || settings->mtu > MTU_MAX))
        return refuse(why, "mtu: from 1280 to 65535");
    if (settings->has_prefix && settings->prefix[0] != 0xFD)
        return refuse(why, "ipv6.prefix: vmnet takes a prefix of fd00::/8");
    if (settings->n_reserved > NETWORK_RESERVED_MAX || settings->n_rules > NETWORK_RULES_MAX)
        return refuse(why, "ipv4.reservations, forwards: too many");
    return check_subnet(settings, why);
}

bool network_objects_exist(void)
{
    struct network_api api;
    return system_version() >= VERSION_FIRST && network_api_load(&api);
}

void network_object_describe(const char *what, uint32_t status, char why[UPLINK_REASON_SIZE])
{
    const char *text = NULL;
    if (status == VMNET_FAILURE)
        text = "failure (1001): its subnet is in use or is not a private one; try another ipv4.gateway";
    else if (status == VMNET_MEM_FAILURE)
        text = "1002: is vmswitchd signed with the entitlement com.apple.security.virtualization?";
    if (text)
        snprintf(why, UPLINK_REASON_SIZE, "%s: %s", what, text);
    else
        vmnet_status_describe(what, status, why);
}

/* ---- creation, on a queue of its own ---- */

static void switch_off(const struct network_api *api, void *configuration,
                       const struct network_settings *settings)
{
    if (!settings->has_dhcp)
        api->disable_dhcp(configuration);
    if (!settings->has_nat44)
        api->disable_nat44(configuration);
    if (!settings->has_nat66)
        api->disable_nat66(configuration);
    if (!settings->has_dns_proxy)
        api->disable_dns_proxy(configuration);
    if (!settings->has_router_advertisement)
        api->disable_router_advertisement(configuration);
}

static vmnet_return_t set_addresses(const struct network_api *api, void *configuration,
                                    const struct network_settings *settings)
{
    vmnet_return_t status = VMNET_SUCCESS;
    if (settings->gateway) {
        /* The host's address, not the subnet's: with that, a network comes into being on which no interface
         * starts. */
        const struct in_addr host = {.s_addr = htonl(settings->gateway)};
        const struct in_addr mask = {.s_addr = htonl(settings->netmask)};
        status = api->set_ipv4_subnet(configuration, &host, &mask);
    }
    if (status == VMNET_SUCCESS && settings->has_prefix) {
        struct in6_addr prefix;
        memcpy(&prefix, settings->prefix, sizeof(prefix));
        prefix.s6_addr[15] |= 1; /* likewise */
        status = api->set_ipv6_prefix(configuration, &prefix, 64);
    }
    return status;
}

static vmnet_return_t add_reservation(const struct network_api *api, void *configuration,
                                      const struct network_reserved *reserved)
{
    uint8_t mac[6];
    const struct in_addr address = {.s_addr = htonl(reserved->address)};
    for (unsigned i = 0; i < sizeof(mac); i++)
        mac[i] = (uint8_t)(reserved->mac >> (8 * (sizeof(mac) - 1 - i)));
    return api->add_dhcp_reservation(configuration, mac, &address);
}

static vmnet_return_t add_rule(const struct network_api *api, void *configuration,
                               const struct network_rule *rule)
{
    const struct in_addr guest = {.s_addr = htonl(rule->guest)};
    return api->add_port_forwarding_rule(configuration, rule->is_udp ? IPPROTO_UDP : IPPROTO_TCP, AF_INET,
                                         rule->guest_port, rule->host_port, &guest);
}

static vmnet_return_t configure(const struct network_api *api, void *configuration,
                                const struct network_settings *settings)
{
    switch_off(api, configuration, settings);
    vmnet_return_t status = set_addresses(api, configuration, settings);
    if (status == VMNET_SUCCESS && settings->mtu)
        status = api->set_mtu(configuration, settings->mtu);
    if (status == VMNET_SUCCESS && settings->external_interface[0])
        status = api->set_external_interface(configuration, settings->external_interface);
    for (uint32_t i = 0; i < settings->n_reserved && status == VMNET_SUCCESS; i++)
        status = add_reservation(api, configuration, &settings->reserved[i]);
    for (uint32_t i = 0; i < settings->n_rules && status == VMNET_SUCCESS; i++)
        status = add_rule(api, configuration, &settings->rules[i]);
    return status;
}

static struct network_object *make(const struct network_settings *settings, vmnet_return_t *ret_status)
{
    struct network_object *network = calloc(1, sizeof(*network));
    *ret_status = VMNET_MEM_FAILURE;
    if (!network)
        return NULL;
    *ret_status = VMNET_STATUS_NO_OBJECTS;
    void *configuration = NULL;
    if (network_api_load(&network->api))
        configuration = network->api.configuration_create(
            settings->mode == VMNET_MODE_HOST ? VMNET_HOST_MODE : VMNET_SHARED_MODE, ret_status);
    if (configuration) {
        *ret_status = configure(&network->api, configuration, settings);
        if (*ret_status == VMNET_SUCCESS)
            network->ref = network->api.create(configuration, ret_status);
        network->api.release(configuration);
    }
    if (network->ref)
        return network;
    if (*ret_status == VMNET_SUCCESS)
        *ret_status = VMNET_FAILURE; /* nothing, with a success */
    free(network);
    return NULL;
}

/* ---- creation, on the queue that waits ---- */

static void answer(struct creation *creation, struct network_object *network, uint32_t status)
{
    char why[UPLINK_REASON_SIZE] = "";
    if (!creation->is_told) {
        creation->is_told = true;
        if (!network)
            network_object_describe("vmnet made no network", status, why);
        creation->on_created(creation->ctx, network, status, why);
    } else {
        network_object_release(network); /* too late */
    }
    if (--creation->n_open > 0)
        return;
    dispatch_release(creation->queue);
    free(creation);
}

void network_object_create(const struct network_settings *settings, uint32_t deadline_ms,
                           dispatch_queue_t queue, network_object_created *on_created, void *ctx)
{
    struct creation *creation = calloc(1, sizeof(*creation));
    /* Serial: on a concurrent one the call fails. */
    dispatch_queue_t maker =
        creation ? dispatch_queue_create("vmswitch.network", DISPATCH_QUEUE_SERIAL) : NULL;
    if (!maker) {
        free(creation);
        dispatch_async(queue, ^{
          on_created(ctx, NULL, VMNET_MEM_FAILURE, "out of memory");
        });
        return;
    }
    *creation = (struct creation){
        .settings = *settings, .queue = queue, .on_created = on_created, .ctx = ctx, .n_open = 2};
    dispatch_retain(queue);
    dispatch_async(maker, ^{
      vmnet_return_t status;
      struct network_object *network = make(&creation->settings, &status);
      dispatch_async(creation->queue, ^{
        answer(creation, network, status);
      });
    });
    dispatch_after(dispatch_time(DISPATCH_TIME_NOW, deadline_ms * (int64_t)NSEC_PER_MSEC), queue, ^{
      answer(creation, NULL, VMNET_STATUS_SILENT);
    });
    dispatch_release(maker);
}

/* ---- a network ---- */

struct network_object *network_object_open(xpc_object_t serialization, uint32_t *ret_status,
                                           char why[UPLINK_REASON_SIZE])
{
    struct network_object *network = calloc(1, sizeof(*network));
    vmnet_return_t status = network ? VMNET_STATUS_NO_OBJECTS : VMNET_MEM_FAILURE;
    if (network && network_api_load(&network->api))
        network->ref = network->api.create_with_serialization(serialization, &status);
    if (network && network->ref)
        return network;
    *ret_status = status == VMNET_SUCCESS ? VMNET_FAILURE : status;
    network_object_describe("the network could not be joined", *ret_status, why);
    free(network);
    return NULL;
}

void network_object_release(struct network_object *network)
{
    if (!network)
        return;
    network->api.release(network->ref);
    free(network);
}

xpc_object_t network_object_serialize(struct network_object *network, char why[UPLINK_REASON_SIZE])
{
    vmnet_return_t status = VMNET_SUCCESS;
    xpc_object_t serialization = network->api.copy_serialization(network->ref, &status);
    if (!serialization)
        network_object_describe("the network could not be handed out",
                                status == VMNET_SUCCESS ? VMNET_FAILURE : status, why);
    return serialization;
}

void network_object_subnet(const struct network_object *network, struct uplink_subnet *ret_subnet,
                           uint8_t ret_prefix[16])
{
    struct in_addr host = {0}, mask = {0};
    struct in6_addr prefix = {0};
    uint8_t len = 0;
    network->api.get_ipv4_subnet(network->ref, &host, &mask);
    network->api.get_ipv6_prefix(network->ref, &prefix, &len);
    const uint32_t netmask = ntohl(mask.s_addr), subnet = ntohl(host.s_addr) & netmask;
    *ret_subnet = (struct uplink_subnet){.netmask = netmask};
    if (netmask) {
        ret_subnet->gateway = subnet + 1; /* whether it said the host's address or the subnet's */
        ret_subnet->dhcp_end = (subnet | ~netmask) - 1;
    }
    memcpy(ret_prefix, &prefix, sizeof(prefix));
    memset(ret_prefix + 8, 0, 8);
}

interface_ref network_object_start(struct network_object *network, xpc_object_t desc, dispatch_queue_t queue,
                                   vmnet_start_interface_completion_handler_t handler, uint32_t *ret_status)
{
    char why[UPLINK_REASON_SIZE];
    xpc_object_t serialization = network_object_serialize(network, why);
    *ret_status = VMNET_FAILURE;
    struct network_object *copy = serialization ? network_object_open(serialization, ret_status, why) : NULL;
    if (serialization)
        xpc_release(serialization);
    if (!copy)
        return NULL;
    *ret_status = VMNET_SUCCESS;
    interface_ref interface = copy->api.start(copy->ref, desc, queue, handler);
    network_object_release(copy); /* the interface has a reference of its own, which its stop releases */
    return interface;
}

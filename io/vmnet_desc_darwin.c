#include "io/vmnet_desc_darwin.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <vmnet/vmnet.h>

#include "switch/frame.h"
#include "switch/mac.h"

enum {
    CALL_FRAMES_OLD = 200,  /* likewise; before macOS 15 an interface does not say */
    CALL_FRAMES_MAX = 1024, /* ours: memory */
    MTU_OLD = 1500,
    VIRTIO_HEADER = 12,
};

static int refuse(char why[UPLINK_REASON_SIZE], const char *what)
{
    snprintf(why, UPLINK_REASON_SIZE, "%s", what);
    return -EINVAL;
}

/* The first setting that only a network object can have, or NULL. */
static const char *beyond_classic(const struct vmnet_settings *settings)
{
    return settings->n_reservations > 0            ? "ipv4.reservations"
           : settings->has_no_nat44                ? "vmnet.nat44"
           : settings->has_no_nat66                ? "vmnet.nat66"
           : settings->has_no_dns_proxy            ? "vmnet.dns_proxy"
           : settings->has_no_router_advertisement ? "vmnet.router_advertisement"
           : settings->external_interface[0]       ? "vmnet.external_interface"
                                                   : NULL;
}

int vmnet_desc_check(const struct vmnet_settings *settings, char why[UPLINK_REASON_SIZE])
{
    const char *beyond = beyond_classic(settings);
    if (beyond) {
        snprintf(why, UPLINK_REASON_SIZE,
                 "%s: needs a vmnet network object, which is not used here; leave it out", beyond);
        return -EINVAL;
    }
    if (settings->mode == VMNET_MODE_BRIDGED)
        return settings->interface[0] ? 0 : refuse(why, "interface: a bridged network needs one");
    if (!settings->has_dhcp && settings->mode != VMNET_MODE_HOST)
        return refuse(
            why, "ipv4.dhcp: vmnet can't be without DHCP in mode shared; use mode host, or let it be true");
    if (!settings->has_dhcp && !settings->gateway)
        return refuse(why, "ipv4.gateway: vmnet without DHCP needs an address for the host");
    if (settings->gateway && (!settings->netmask || !settings->dhcp_end))
        return refuse(why, "ipv4: vmnet takes gateway, netmask and dhcp_end together or none of them");
    return 0;
}

static void set_address(xpc_object_t desc, const char *key, uint32_t address)
{
    char text[INET_ADDRSTRLEN];
    const struct in_addr in = {.s_addr = htonl(address)};
    inet_ntop(AF_INET, &in, text, sizeof(text));
    xpc_dictionary_set_string(desc, key, text);
}

static void set_host_ipv6(xpc_object_t desc, const struct vmnet_settings *settings)
{
    char text[INET6_ADDRSTRLEN];
    if (settings->has_host_ipv6 && inet_ntop(AF_INET6, settings->host_ipv6, text, sizeof(text)))
        xpc_dictionary_set_string(desc, vmnet_host_ipv6_address_key, text);
}

static void set_addresses(xpc_object_t desc, const struct vmnet_settings *settings)
{
    if (!settings->gateway)
        return;
    if (settings->has_dhcp) {
        set_address(desc, vmnet_start_address_key, settings->gateway);
        set_address(desc, vmnet_end_address_key, settings->dhcp_end);
        set_address(desc, vmnet_subnet_mask_key, settings->netmask);
    } else {
        /* A network with an identifier of its own is one without DHCP. */
        xpc_dictionary_set_uuid(desc, vmnet_network_identifier_key, settings->network_id);
        set_address(desc, vmnet_host_ip_address_key, settings->gateway);
        set_address(desc, vmnet_host_subnet_mask_key, settings->netmask);
        set_host_ipv6(desc, settings);
    }
}

/* A key that came after the oldest macOS that this runs on: looked up by name, for the same executable runs
 * where it is not. NULL: not here. */
static const char *find_key(const char *symbol)
{
    const char *const *key = (const char *const *)dlsym(RTLD_DEFAULT, symbol);
    return key ? *key : NULL;
}

static const char *header_key(const struct vmnet_settings *settings)
{
    return settings->wants_virtio_header ? find_key("vmnet_enable_virtio_header_key") : NULL;
}

static const char *checksum_key(const struct vmnet_settings *settings)
{
    return settings->wants_checksum_offload ? find_key("vmnet_enable_checksum_offload_key") : NULL;
}

void vmnet_desc_add_offload(xpc_object_t desc, const struct vmnet_settings *settings)
{
    /* The header says of each frame what the checksum key says of all: vmnet takes one or the other. */
    const char *key = header_key(settings);
    if (!key)
        key = checksum_key(settings);
    if (key)
        xpc_dictionary_set_bool(desc, key, true);
    if (settings->wants_tso)
        xpc_dictionary_set_bool(desc, vmnet_enable_tso_key, true);
}

xpc_object_t vmnet_desc_make(const struct vmnet_settings *settings)
{
    static const uint64_t modes[] = {[VMNET_MODE_SHARED] = VMNET_SHARED_MODE,
                                     [VMNET_MODE_HOST] = VMNET_HOST_MODE,
                                     [VMNET_MODE_BRIDGED] = VMNET_BRIDGED_MODE};
    xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);
    if (!desc)
        return NULL;
    xpc_dictionary_set_uint64(desc, vmnet_operation_mode_key, modes[settings->mode]);
    xpc_dictionary_set_uuid(desc, vmnet_interface_id_key, settings->interface_id);
    vmnet_desc_add_offload(desc, settings);
    if (settings->mode == VMNET_MODE_BRIDGED) {
        xpc_dictionary_set_string(desc, vmnet_shared_interface_name_key, settings->interface);
        return desc;
    }
    set_addresses(desc, settings);
    if (settings->mtu)
        xpc_dictionary_set_uint64(desc, vmnet_mtu_key, settings->mtu);
    if (settings->is_isolated)
        xpc_dictionary_set_bool(desc, vmnet_enable_isolation_key, true);
    if (settings->mode == VMNET_MODE_SHARED && settings->nat66_prefix[0])
        xpc_dictionary_set_string(desc, vmnet_nat66_prefix_key, settings->nat66_prefix);
    return desc;
}

xpc_object_t vmnet_desc_make_member(const struct vmnet_settings *settings)
{
    xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);
    if (!desc)
        return NULL;
    vmnet_desc_add_offload(desc, settings);
    if (settings->is_isolated)
        xpc_dictionary_set_bool(desc, vmnet_enable_isolation_key, true);
    return desc;
}

static uint32_t get_address(xpc_object_t param, const char *key)
{
    const char *text = xpc_dictionary_get_string(param, key);
    struct in_addr in;
    return text && inet_pton(AF_INET, text, &in) == 1 ? ntohl(in.s_addr) : 0;
}

static uint32_t get_number(xpc_object_t param, const char *key, uint32_t otherwise)
{
    uint64_t value = xpc_dictionary_get_uint64(param, key);
    return value > 0 && value <= UINT32_MAX ? (uint32_t)value : otherwise;
}

static uint32_t get_frames(xpc_object_t param, const char *symbol)
{
    const char *key = find_key(symbol);
    const uint32_t frames = key ? get_number(param, key, CALL_FRAMES_OLD) : CALL_FRAMES_OLD;
    return frames < CALL_FRAMES_MAX ? frames : CALL_FRAMES_MAX;
}

static void read_subnet(xpc_object_t param, struct uplink_subnet *subnet)
{
    subnet->gateway = get_address(param, vmnet_start_address_key);
    subnet->netmask = get_address(param, vmnet_subnet_mask_key);
    subnet->dhcp_end = get_address(param, vmnet_end_address_key);
}

bool vmnet_desc_read(xpc_object_t param, const struct vmnet_settings *settings, struct vmnet_facts *ret_facts)
{
    const char *mac = param ? xpc_dictionary_get_string(param, vmnet_mac_address_key) : NULL;
    *ret_facts = (struct vmnet_facts){.mac = 0};
    if (!param)
        return false;
    if (mac && !mac_parse(mac, &ret_facts->mac))
        ret_facts->mac = 0;
    ret_facts->mtu = get_number(param, vmnet_mtu_key, MTU_OLD);
    ret_facts->header_len = header_key(settings) ? VIRTIO_HEADER : 0;
    ret_facts->has_tso = settings->wants_tso;
    ret_facts->has_checksum_offload = ret_facts->header_len > 0 || checksum_key(settings);
    ret_facts->frame_max = get_number(param, vmnet_max_packet_size_key, ret_facts->mtu + FRAME_LEN_MIN);
    /* Whether it counts the header is not documented. Nobody sends a frame that long. */
    if (ret_facts->frame_max == FRAME_OFFLOAD_MAX + ret_facts->header_len)
        ret_facts->frame_max = FRAME_OFFLOAD_MAX;
    if (ret_facts->frame_max <= FRAME_LEN_MIN || ret_facts->frame_max > FRAME_OFFLOAD_MAX)
        return false;
    ret_facts->read_max = get_frames(param, "vmnet_read_max_packets_key");
    ret_facts->write_max = get_frames(param, "vmnet_write_max_packets_key");
    read_subnet(param, &ret_facts->subnet);
    return true;
}

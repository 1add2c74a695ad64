#include "daemon/vmnet_helper_json.h"

#include <arpa/inet.h>
#include <jansson.h>

#include "api/address.h"
#include "io/settings.h"
#include "switch/mac.h"

enum { PREFIX_LEN = 64 };

static json_t *ipv4_text(uint32_t ip)
{
    char text[IPV4_TEXT_SIZE];
    ipv4_format(ip, text);
    return json_string(text);
}

static json_t *ipv6_text(const uint8_t prefix[16])
{
    char text[INET6_ADDRSTRLEN] = "::";
    inet_ntop(AF_INET6, prefix, text, sizeof(text));
    return json_string(text);
}

/* Bridged has no addresses: they are of another's subnet. */
static bool has_addresses(const struct helper_facts *facts)
{
    return facts->start && (facts->mode == MODE_SHARED || facts->mode == MODE_HOST);
}

static void add_network(json_t *line, const struct helper_facts *facts)
{
    if (facts->start) {
        json_object_set_new(line, "net_ipv4_subnet", ipv4_text(facts->start & facts->mask));
        json_object_set_new(line, "net_ipv4_mask", ipv4_text(facts->mask));
    }
    json_object_set_new(line, "net_ipv6_prefix", ipv6_text(facts->prefix));
    json_object_set_new(line, "net_ipv6_prefix_len", json_integer(PREFIX_LEN));
}

char *helper_json(const struct helper_facts *facts)
{
    char id[INTERFACE_ID_TEXT_SIZE], mac[MAC_TEXT_SIZE];
    json_t *line = json_object();
    interface_id_format(facts->interface_id, id);
    mac_format(facts->mac, mac);
    if (has_addresses(facts)) {
        json_object_set_new(line, "vmnet_subnet_mask", ipv4_text(facts->mask));
        json_object_set_new(line, "vmnet_start_address", ipv4_text(facts->start));
        json_object_set_new(line, "vmnet_end_address", ipv4_text(facts->end));
        json_object_set_new(line, "vmnet_nat66_prefix", ipv6_text(facts->prefix));
    }
    json_object_set_new(line, "vmnet_mtu", json_integer(facts->mtu));
    json_object_set_new(line, "vmnet_interface_id", json_string(id));
    json_object_set_new(line, "vmnet_max_packet_size", json_integer(facts->frame_max));
    json_object_set_new(line, "vmnet_mac_address", json_string(mac));
    json_object_set_new(line, "vmnet_read_max_packets", json_integer(IO_DGRAM_SLOTS));
    json_object_set_new(line, "vmnet_write_max_packets", json_integer(IO_DGRAM_SLOTS));
    if (facts->is_joined)
        add_network(line, facts);
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    return text;
}

/* switch/packet.c - where the headers of a frame lie
 *
 * How it works
 *   Each step is given what lies between its offset and the end of the packet, and looks at a byte only after
 *   the length has been compared. Every IPv6 extension moves on by at least 8 bytes, so the walk ends.
 */
#include "switch/packet.h"

#include "switch/checksum.h"
#include "switch/frame.h"

enum {
    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_IPV6 = 0x86DD,
    ETHERTYPE_VLAN = 0x8100,
    ETHERTYPE_VLAN_OUTER = 0x88A8,

    IPV4_HEADER_MIN = 20,
    IPV4_FRAGMENT = 0x3FFF, /* "more fragments" and the offset */
    IPV6_HEADER = 40,
    IPV6_HOP_BY_HOP = 0,
    IPV6_DESTINATION_OPTIONS = 60,
    TCP_HEADER_MIN = 20,
    UDP_HEADER = 8,
};

/* Returns the EtherType behind the tags and sets 'network'. */
static uint16_t parse_ethernet(const uint8_t *bytes, uint32_t len, struct packet *packet)
{
    uint32_t at = FRAME_ETHER_HEADER;
    uint16_t type = packet_get_be16(bytes + at - 2);

    for (int i = 0; i < PACKET_TAGS_MAX; i++) {
        if ((type != ETHERTYPE_VLAN && type != ETHERTYPE_VLAN_OUTER) || len - at < FRAME_VLAN_TAG)
            break;
        at += FRAME_VLAN_TAG;
        type = packet_get_be16(bytes + at - 2);
    }
    packet->network = at;
    return type;
}

static bool parse_ipv4(const uint8_t *bytes, uint32_t len, struct packet *packet, uint8_t *ret_protocol)
{
    const uint8_t *header = bytes + packet->network;
    uint32_t room = len - packet->network;

    if (room < IPV4_HEADER_MIN || header[0] >> 4 != 4)
        return false;
    uint32_t header_len = (header[0] & 0x0FU) * 4;
    uint32_t total_len = packet_get_be16(header + 2);
    if (header_len < IPV4_HEADER_MIN || total_len < header_len || total_len > room)
        return false;
    packet->transport = packet->network + header_len;
    packet->end = packet->network + total_len;
    if ((packet_get_be16(header + 6) & IPV4_FRAGMENT) == 0)
        *ret_protocol = header[9];
    return true;
}

/* A routing header is not walked past: with one, the checksum is over a destination that is not in the IPv6
 * header. Behind a fragment header may lie the middle of something. A packet may hold 8,000 extensions: the
 * walk ends where no headers are wanted any more. */
static bool parse_ipv6(const uint8_t *bytes, uint32_t len, struct packet *packet, uint8_t *ret_protocol)
{
    const uint8_t *header = bytes + packet->network;
    uint32_t room = len - packet->network;

    if (room < IPV6_HEADER || header[0] >> 4 != 6 || packet_get_be16(header + 4) > room - IPV6_HEADER)
        return false;
    uint32_t at = packet->network + IPV6_HEADER;
    uint32_t end = at + packet_get_be16(header + 4);
    uint8_t next = header[6];
    while ((next == IPV6_HOP_BY_HOP || next == IPV6_DESTINATION_OPTIONS) && at < PACKET_HEADERS_MAX) {
        if (end - at < 8)
            return false;
        uint32_t extension_len = (bytes[at + 1] + 1U) * 8;
        if (end - at < extension_len)
            return false;
        next = bytes[at];
        at += extension_len;
    }
    packet->transport = at;
    packet->end = end;
    *ret_protocol = next;
    return true;
}

static void parse_transport(const uint8_t *bytes, struct packet *packet, uint8_t protocol)
{
    const uint8_t *header = bytes + packet->transport;
    uint32_t room = packet->end - packet->transport;
    uint32_t header_len = 0;

    if (protocol == PACKET_TCP && room >= TCP_HEADER_MIN)
        header_len = header[12] >> 4 >= TCP_HEADER_MIN / 4 ? (header[12] >> 4) * 4U : 0;
    else if (protocol == PACKET_UDP)
        header_len = UDP_HEADER;
    if (header_len == 0 || header_len > room || packet->transport + header_len > PACKET_HEADERS_MAX)
        return;
    packet->payload = packet->transport + header_len;
    packet->protocol = protocol;
}

bool packet_parse(const uint8_t *bytes, uint32_t len, struct packet *ret_packet)
{
    struct packet *packet = ret_packet;
    uint8_t protocol = 0;

    *packet = (struct packet){.end = len};
    uint16_t type = parse_ethernet(bytes, len, packet);
    packet->transport = packet->network;
    packet->payload = packet->network;
    if (type == ETHERTYPE_IPV4) {
        if (!parse_ipv4(bytes, len, packet, &protocol))
            return false;
        packet->version = 4;
    } else if (type == ETHERTYPE_IPV6) {
        if (!parse_ipv6(bytes, len, packet, &protocol))
            return false;
        packet->version = 6;
    } else {
        return true;
    }
    packet->payload = packet->transport;
    parse_transport(bytes, packet, protocol);
    return true;
}

uint64_t packet_pseudo_sum(const uint8_t *bytes, const struct packet *packet, uint32_t transport_len)
{
    const uint8_t *header = bytes + packet->network;
    uint64_t sum = packet->version == 4 ? checksum_add(0, header + 12, 8) : checksum_add(0, header + 8, 32);

    sum = checksum_add_be16(sum, packet->protocol);
    return checksum_add_be16(sum, (uint16_t)transport_len);
}

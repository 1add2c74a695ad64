/* daemon/guest_frame.c - see guest_frame.h */
#include "daemon/guest_frame.h"

#include <string.h>

enum {
    ETHER_SIZE = 14,
    ARP_SIZE = 28, /* for Ethernet and IPv4 (RFC 826) */
    IPV4_SIZE = 20,
    IPV6_SIZE = 40,
    TYPE_IPV4 = 0x0800,
    TYPE_ARP = 0x0806,
    TYPE_IPV6 = 0x86DD,
    PROTOCOL_ICMP = 1,
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,
    PROTOCOL_ICMPV6 = 58,
    PORT_TFTP = 69,
};

static uint32_t load16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

static uint32_t load32(const uint8_t *bytes)
{
    return load16(bytes) << 16 | load16(bytes + 2);
}

/* The least a packet of 'protocol' has behind its IP header; what libslirp reads without looking. */
static size_t transport_size(uint8_t protocol)
{
    switch (protocol) {
    case PROTOCOL_TCP:
        return 20;
    case PROTOCOL_UDP:
    case PROTOCOL_ICMP:
    case PROTOCOL_ICMPV6:
        return 8;
    default:
        return 0;
    }
}

static bool is_of_this_host(uint32_t ipv4)
{
    return ipv4 >> 24 == 127 || ipv4 >> 24 == 0; /* RFC 1122, 3.2.1.3 */
}

static enum guest_verdict check_arp(const uint8_t *arp, size_t len)
{
    if (len < ARP_SIZE)
        return GUEST_TOO_SHORT;
    static const uint8_t ethernet_ipv4[] = {0, 1, 8, 0, 6, 4};
    return memcmp(arp, ethernet_ipv4, sizeof(ethernet_ipv4)) == 0 ? GUEST_OK : GUEST_BAD_HEADER;
}

static enum guest_verdict check_ipv4(const struct guest_rules *rules, const uint8_t *ip, size_t len)
{
    if (len < IPV4_SIZE)
        return GUEST_TOO_SHORT;
    size_t header = (size_t)(ip[0] & 0xF) * 4, total = load16(ip + 2);
    if (ip[0] >> 4 != 4 || header < IPV4_SIZE || total < header || total > len)
        return GUEST_BAD_HEADER;
    uint32_t to = load32(ip + 16), from = load32(ip + 12);
    if (is_of_this_host(to) || from >> 24 == 127)
        return GUEST_BAD_ADDRESS;
    bool is_first = (load16(ip + 6) & 0x1FFF) == 0; /* fragments behind the first carry no transport header */
    if (is_first && total - header < transport_size(ip[9]))
        return GUEST_TOO_SHORT;
    if (is_first && ip[9] == PROTOCOL_UDP && to == rules->gateway && load16(ip + header + 2) == PORT_TFTP)
        return GUEST_REFUSED;
    return GUEST_OK;
}

/* ::/96 has ::, ::1 and the old IPv4-compatible addresses, ::ffff:0:0/96 the mapped ones. */
static bool is_ipv6_of_this_host(const uint8_t *ipv6)
{
    static const uint8_t zero[12], mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    return memcmp(ipv6, zero, sizeof(zero)) == 0 || memcmp(ipv6, mapped, sizeof(mapped)) == 0;
}

static enum guest_verdict check_ipv6(const uint8_t *ip, size_t len)
{
    if (len < IPV6_SIZE)
        return GUEST_TOO_SHORT;
    size_t payload = load16(ip + 4);
    if (ip[0] >> 4 != 6 || payload > len - IPV6_SIZE)
        return GUEST_BAD_HEADER;
    if (payload < transport_size(ip[6]))
        return GUEST_TOO_SHORT;
    return is_ipv6_of_this_host(ip + 24) ? GUEST_BAD_ADDRESS : GUEST_OK;
}

enum guest_verdict guest_frame_check(const struct guest_rules *rules, const uint8_t *frame, size_t len)
{
    if (len < ETHER_SIZE)
        return GUEST_TOO_SHORT;
    if (len > ETHER_SIZE + (size_t)rules->mtu)
        return GUEST_TOO_LONG;
    const uint8_t *packet = frame + ETHER_SIZE;
    switch (load16(frame + 12)) {
    case TYPE_ARP:
        return check_arp(packet, len - ETHER_SIZE);
    case TYPE_IPV4:
        return check_ipv4(rules, packet, len - ETHER_SIZE);
    case TYPE_IPV6:
        return rules->has_ipv6 ? check_ipv6(packet, len - ETHER_SIZE) : GUEST_NOT_IP;
    default:
        return GUEST_NOT_IP;
    }
}

const char *guest_verdict_name(enum guest_verdict verdict)
{
    static const char *const names[GUEST_N_VERDICTS] = {
        [GUEST_OK] = "ok",           [GUEST_TOO_SHORT] = "too_short",   [GUEST_TOO_LONG] = "too_long",
        [GUEST_NOT_IP] = "not_ip",   [GUEST_BAD_HEADER] = "bad_header", [GUEST_BAD_ADDRESS] = "bad_address",
        [GUEST_REFUSED] = "refused",
    };
    return names[verdict];
}

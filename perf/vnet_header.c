/* perf/vnet_header.c - see vnet_header.h */
#include "perf/vnet_header.h"

#include <stdbool.h>
#include <string.h>

enum {
    ETH_SIZE = 14,
    IPV4_SIZE_MIN = 20,
    IPV6_SIZE = 40,
    TCP_SIZE_MIN = 20,
    UDP_SIZE = 8,
    TYPE_IPV4 = 0x0800,
    TYPE_IPV6 = 0x86dd,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    TCP_CSUM_AT = 16,
    UDP_CSUM_AT = 6
};

/* Where the transport header of a frame begins. */
struct transport {
    size_t at;
    uint8_t proto;
    bool is_ipv6;
};

static unsigned get_be16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static void put_le16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value & 0xff);
    at[1] = (uint8_t)(value >> 8 & 0xff);
}

static bool find_in_ipv4(const uint8_t *frame, size_t len, struct transport *found)
{
    const uint8_t *ip = frame + ETH_SIZE;
    size_t size;

    if (len < ETH_SIZE + IPV4_SIZE_MIN || ip[0] >> 4 != 4)
        return false;
    size = (size_t)(ip[0] & 15) * 4;
    /* More fragments, or not the first: the checksum is over the whole of them, not over this frame. */
    if (size < IPV4_SIZE_MIN || (get_be16(ip + 6) & 0x3fff) != 0)
        return false;
    *found = (struct transport){.at = ETH_SIZE + size, .proto = ip[9]};
    return true;
}

static bool find_in_ipv6(const uint8_t *frame, size_t len, struct transport *found)
{
    const uint8_t *ip = frame + ETH_SIZE;

    if (len < ETH_SIZE + IPV6_SIZE || ip[0] >> 4 != 6)
        return false;
    *found = (struct transport){.at = ETH_SIZE + IPV6_SIZE, .proto = ip[6], .is_ipv6 = true};
    return true;
}

static bool find(const uint8_t *frame, size_t len, struct transport *found)
{
    if (len < ETH_SIZE)
        return false;
    switch (get_be16(frame + 12)) {
    case TYPE_IPV4:
        return find_in_ipv4(frame, len, found);
    case TYPE_IPV6:
        return find_in_ipv6(frame, len, found);
    default:
        return false;
    }
}

static void rebuild_tcp(uint8_t *header, const uint8_t *frame, size_t len, size_t mtu,
                        const struct transport *t)
{
    size_t size, headers;

    if (len < t->at + TCP_SIZE_MIN)
        return;
    size = (size_t)(frame[t->at + 12] >> 4) * 4;
    headers = t->at + size;
    if (size < TCP_SIZE_MIN || len < headers)
        return;
    header[0] = VNET_NEEDS_CSUM;
    put_le16(header + 6, t->at);
    put_le16(header + 8, TCP_CSUM_AT);
    if (len <= mtu + ETH_SIZE || headers >= mtu + ETH_SIZE)
        return;
    header[1] = t->is_ipv6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4;
    put_le16(header + 2, headers);
    put_le16(header + 4, mtu + ETH_SIZE - headers);
}

void vnet_header_rebuild(uint8_t header[VNET_HEADER_SIZE], const uint8_t *frame, size_t len, size_t mtu)
{
    struct transport t;

    memset(header, 0, VNET_HEADER_SIZE);
    if (!find(frame, len, &t))
        return;
    if (t.proto == PROTO_TCP) {
        rebuild_tcp(header, frame, len, mtu, &t);
    } else if (t.proto == PROTO_UDP && len >= t.at + UDP_SIZE && get_be16(frame + t.at + UDP_CSUM_AT) != 0) {
        header[0] = VNET_NEEDS_CSUM; /* a zero says that there is no checksum: nothing to finish */
        put_le16(header + 6, t.at);
        put_le16(header + 8, UDP_CSUM_AT);
    }
}

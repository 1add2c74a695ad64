/* switch/packet.h - where the headers of a frame lie
 *
 * What always holds after packet_parse(): FRAME_LEN_MIN <= network <= transport <= payload <= end <= len, and
 * if 'protocol' is set, a whole TCP or UDP header lies between 'transport' and 'payload'.
 */
#ifndef SWITCH_PACKET_H
#define SWITCH_PACKET_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PACKET_TAGS_MAX = 2,
    PACKET_HEADERS_MAX =
        256,        /* Ethernet to TCP: 142 at most with IPv4; so 134 are left for IPv6 extensions */
    PACKET_TCP = 6, /* protocol numbers (IANA) */
    PACKET_UDP = 17,
};

/* All offsets count from the start of the frame. */
struct packet {
    uint32_t network;   /* behind Ethernet and tags */
    uint32_t transport; /* behind the headers of IP; == network if there is no IP */
    uint32_t payload;   /* behind the TCP or UDP header; == transport if there is none */
    uint32_t end;       /* of the IP packet: what follows is padding; len if there is no IP */
    uint8_t version;    /* of IP: 4, 6; else 0 */
    uint8_t protocol;   /* PACKET_TCP, PACKET_UDP; else 0, also for a fragment */
};

/* Reads a frame of at least FRAME_LEN_MIN bytes. Returns false if it says that it holds IP and does not. */
bool packet_parse(const uint8_t *bytes, uint32_t len, struct packet *ret_packet);

/* Returns the sum of the pseudo-header of the TCP or UDP packet, as long as 'transport_len' says. */
uint64_t packet_pseudo_sum(const uint8_t *bytes, const struct packet *packet, uint32_t transport_len);

static inline uint16_t packet_get_be16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline void packet_put_be16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static inline uint32_t packet_get_be32(const uint8_t *bytes)
{
    return (uint32_t)packet_get_be16(bytes) << 16 | packet_get_be16(bytes + 2);
}

static inline void packet_put_be32(uint8_t *bytes, uint32_t value)
{
    packet_put_be16(bytes, value >> 16);
    packet_put_be16(bytes + 2, value);
}

#endif

/* switch/offload.c - what a frame with an offload descriptor is, and its checksum
 *
 * How it works
 *   The only thing in a descriptor that is believed is what the bytes do not contradict: packet_parse() says
 *   where the headers are, and a descriptor for segmentation has to say the same.
 */
#include "switch/offload.h"

#include <string.h>

#include "switch/checksum.h"

enum {
    TCP_CHECKSUM_AT = 16,
    UDP_CHECKSUM_AT = 6,
    UDP_LEN_AT = 4,
};

static uint16_t checksum_at(const struct packet *packet)
{
    return packet->protocol == PACKET_TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT;
}

static bool is_gso_type_of(uint8_t gso_type, const struct packet *packet)
{
    switch (gso_type) {
    case OFFLOAD_GSO_TCPV4:
    case OFFLOAD_GSO_TCPV4 | OFFLOAD_GSO_ECN:
        return packet->version == 4 && packet->protocol == PACKET_TCP;
    case OFFLOAD_GSO_TCPV6:
    case OFFLOAD_GSO_TCPV6 | OFFLOAD_GSO_ECN:
        return packet->version == 6 && packet->protocol == PACKET_TCP;
    case OFFLOAD_GSO_UDP_L4:
        return packet->protocol == PACKET_UDP;
    default:
        return false;
    }
}

static bool is_gso_of(const struct frame_offload *offload, const struct packet *packet)
{
    uint32_t payload_len = packet->end - packet->payload;

    if (!is_gso_type_of(offload->gso_type, packet) || offload->gso_size == 0)
        return false;
    if (offload->csum_start != packet->transport)
        return false;
    if (packet->protocol == PACKET_TCP)
        return offload->gso_size >= OFFLOAD_TCP_GSO_SIZE_MIN;
    return payload_len <= (uint32_t)offload->gso_size * OFFLOAD_SEGMENTS_MAX;
}

/* True if the field may be written: it is the checksum of TCP or UDP, or behind it (that of what a tunnel
 * carries), but no port, flag or address. */
static bool is_checksum_of(const struct frame_offload *offload, const struct packet *packet, uint32_t len)
{
    if ((uint32_t)offload->csum_start + offload->csum_offset + 2 > len)
        return false;
    if (packet->protocol != 0 && offload->csum_start == packet->transport)
        return offload->csum_offset == checksum_at(packet);
    return offload->csum_start >= packet->payload;
}

bool offload_accept(struct frame *frame)
{
    struct frame_offload *offload = &frame->offload;
    struct packet packet;

    if ((offload->flags & OFFLOAD_NEEDS_CSUM) == 0) {
        bool is_plain = offload->gso_type == OFFLOAD_GSO_NONE;
        *offload = (struct frame_offload){0};
        return is_plain;
    }
    if (!packet_parse(frame->head, frame->len, &packet) || !is_checksum_of(offload, &packet, frame->len))
        return false;

    uint8_t gso_type = offload->gso_type;
    if (gso_type != OFFLOAD_GSO_NONE) {
        if (packet.end != frame->len || !is_gso_of(offload, &packet))
            return false;
        /* As Linux does (virtio_net_hdr_to_skb): what is one segment is none. */
        if (packet.end - packet.payload <= offload->gso_size)
            gso_type = OFFLOAD_GSO_NONE;
    }
    offload->flags = OFFLOAD_NEEDS_CSUM;
    offload->gso_type = gso_type;
    offload->gso_size = gso_type == OFFLOAD_GSO_NONE ? 0 : offload->gso_size;
    offload->header_len = gso_type == OFFLOAD_GSO_NONE ? 0 : (uint16_t)packet.payload;
    return true;
}

/* A UDP packet may have no checksum; one that is not as long as IP says is not for us to understand. */
static bool has_checksum(const struct frame *frame, const struct packet *packet)
{
    const uint8_t *header = frame->head + packet->transport;

    if (packet->protocol == PACKET_TCP)
        return true;
    return packet->protocol == PACKET_UDP &&
           packet_get_be16(header + UDP_LEN_AT) == packet->end - packet->transport &&
           packet_get_be16(header + UDP_CHECKSUM_AT) != 0;
}

static bool infer_gso(struct frame_offload *offload, const struct packet *packet, uint32_t mtu)
{
    uint32_t headers_len = packet->payload - packet->network;

    if (packet->protocol != PACKET_TCP || mtu < headers_len + OFFLOAD_TCP_GSO_SIZE_MIN)
        return false;
    offload->gso_type = packet->version == 4 ? OFFLOAD_GSO_TCPV4 : OFFLOAD_GSO_TCPV6;
    offload->gso_size = (uint16_t)(mtu - headers_len);
    offload->header_len = (uint16_t)packet->payload;
    return true;
}

bool offload_infer(struct frame *frame, uint32_t mtu)
{
    struct frame_offload *offload = &frame->offload;
    struct packet packet;

    *offload = (struct frame_offload){0};
    bool is_understood = packet_parse(frame->head, frame->len, &packet);
    bool is_long = frame->len - packet.network > mtu;
    if (!is_understood || !has_checksum(frame, &packet))
        return !is_long;

    if (is_long) {
        if (packet.end != frame->len || !infer_gso(offload, &packet, mtu))
            return false;
    } else {
        /* offload_finish() sums to the end of the frame. */
        memset(frame->head + packet.end, 0, frame->len - packet.end);
    }
    offload->flags = OFFLOAD_NEEDS_CSUM;
    offload->csum_start = (uint16_t)packet.transport;
    offload->csum_offset = checksum_at(&packet);
    checksum_store_partial(frame->head + packet.transport + offload->csum_offset,
                           packet_pseudo_sum(frame->head, &packet, packet.end - packet.transport));
    return true;
}

void offload_finish(struct frame *frame)
{
    const struct frame_offload *offload = &frame->offload;

    if ((offload->flags & OFFLOAD_NEEDS_CSUM) == 0)
        return;
    uint8_t *field = frame->head + offload->csum_start + offload->csum_offset;
    uint64_t sum = checksum_add(0, frame->head + offload->csum_start, frame->len - offload->csum_start);
    /* Nothing but UDP (and DCCP, which does not mind) has its checksum there. */
    if (offload->csum_offset == UDP_CHECKSUM_AT)
        checksum_store_udp(field, sum);
    else
        checksum_store(field, sum);
    frame->offload = (struct frame_offload){0};
}

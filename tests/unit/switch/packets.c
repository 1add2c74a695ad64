/* tests/unit/switch/packets.c - see packets.h */
#include "tests/unit/switch/packets.h"

#include <string.h>

static void put16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static void put32(uint8_t *bytes, uint32_t value)
{
    put16(bytes, value >> 16);
    put16(bytes + 2, value);
}

uint32_t packets_sum(uint32_t sum, const uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    return sum;
}

static uint32_t pseudo_sum(const uint8_t *bytes, uint32_t network, uint32_t transport_len, uint8_t protocol)
{
    bool is_ipv6 = bytes[network] >> 4 == 6;
    uint32_t sum =
        is_ipv6 ? packets_sum(0, bytes + network + 8, 32) : packets_sum(0, bytes + network + 12, 8);
    uint8_t last[4] = {0, protocol, (uint8_t)(transport_len >> 8), (uint8_t)transport_len};

    return packets_sum(sum, last, 4);
}

static uint32_t make_ethernet(uint8_t *bytes, const struct packets_shape *shape)
{
    static const uint8_t addresses[] = {0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1};
    uint32_t at = sizeof(addresses);

    memcpy(bytes, addresses, sizeof(addresses));
    for (uint32_t i = 0; i < shape->n_tags; i++) {
        put16(bytes + at, shape->n_tags == 2 && i == 0 ? 0x88A8 : 0x8100);
        put16(bytes + at + 2, 100 + i);
        at += 4;
    }
    put16(bytes + at, shape->version == 4 ? 0x0800 : 0x86DD);
    return at + 2;
}

static uint32_t make_ipv4(uint8_t *header, const struct packets_shape *shape, uint32_t transport_len)
{
    uint32_t len = 20 + shape->network_more;

    header[0] = (uint8_t)(0x40 | len / 4);
    put16(header + 2, len + transport_len);
    put16(header + 4, shape->id);
    put16(header + 6, 0x4000);
    header[8] = 64;
    header[9] = shape->protocol;
    put32(header + 12, 0x0A000001);
    put32(header + 16, 0x0A000002);
    memset(header + 20, 1, shape->network_more); /* no operation */
    put16(header + 10, ~packets_sum(0, header, len));
    return len;
}

static uint32_t make_ipv6(uint8_t *header, const struct packets_shape *shape, uint32_t transport_len)
{
    static const uint8_t addresses[32] = {0xFD, [15] = 1, [16] = 0xFD, [31] = 2};

    header[0] = 0x60;
    put16(header + 4, shape->network_more + transport_len);
    header[6] = shape->network_more > 0 ? 0 : shape->protocol;
    header[7] = 64;
    memcpy(header + 8, addresses, sizeof(addresses));
    if (shape->network_more > 0) {
        header[40] = shape->protocol;
        header[41] = (uint8_t)(shape->network_more / 8 - 1);
        header[42] = 1; /* PadN over the rest; 257 bytes do not occur */
        header[43] = (uint8_t)(shape->network_more - 4);
    }
    return 40 + shape->network_more;
}

static uint32_t transport_header_len(const struct packets_shape *shape)
{
    return shape->protocol == PACKETS_TCP ? 20 + shape->tcp_more : 8;
}

static void make_transport(uint8_t *header, const struct packets_shape *shape)
{
    put16(header, 1000);
    put16(header + 2, 2000);
    if (shape->protocol == PACKETS_UDP) {
        put16(header + 4, 8 + shape->payload_len);
        return;
    }
    put32(header + 4, shape->sequence);
    put32(header + 8, 77);
    header[12] = (uint8_t)((20 + shape->tcp_more) / 4 << 4);
    header[13] = shape->tcp_flags;
    put16(header + 14, 500);
    memset(header + 20, 1, shape->tcp_more); /* no operation */
}

static uint32_t field_of(const struct packets_packet *packet)
{
    return packet->transport + (packet->shape.protocol == PACKETS_TCP ? 16 : 6);
}

void packets_make(struct packets_packet *packet, const struct packets_shape *shape, uint32_t seed)
{
    uint8_t *bytes = packet->room + FRAME_PREFIX;
    uint32_t transport_len = transport_header_len(shape) + shape->payload_len;

    memset(bytes, 0, 300);
    packet->shape = *shape;
    packet->network = make_ethernet(bytes, shape);
    packet->transport = packet->network;
    packet->transport += shape->version == 4 ? make_ipv4(bytes + packet->network, shape, transport_len)
                                             : make_ipv6(bytes + packet->network, shape, transport_len);
    make_transport(bytes + packet->transport, shape);
    packet->payload = packet->transport + transport_header_len(shape);
    for (uint32_t i = 0; i < shape->payload_len; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[packet->payload + i] = (uint8_t)(seed >> 24);
    }
    uint32_t len = packet->payload + shape->payload_len;
    put32(packet->room, len);
    put16(bytes + field_of(packet), pseudo_sum(bytes, packet->network, transport_len, shape->protocol));
    packet->frame = (struct frame){.head = bytes, .len = len, .head_len = len};
}

void packets_describe(struct packets_packet *packet, uint16_t gso_size)
{
    uint8_t gso_type = packet->shape.version == 4 ? 1 : 4;

    if (packet->shape.protocol == PACKETS_UDP)
        gso_type = 5;
    packet->frame.offload =
        (struct frame_offload){.flags = 1,
                               .gso_type = gso_size > 0 ? gso_type : 0,
                               .gso_size = gso_size,
                               .csum_start = (uint16_t)packet->transport,
                               .csum_offset = (uint16_t)(field_of(packet) - packet->transport)};
}

static void finish(uint8_t *bytes, const struct packets_packet *packet, uint32_t transport_len)
{
    uint32_t at = field_of(packet);

    put16(bytes + at, 0);
    uint32_t sum = pseudo_sum(bytes, packet->network, transport_len, packet->shape.protocol);
    sum = ~packets_sum(sum, bytes + packet->transport, transport_len) & 0xFFFF;
    if (sum == 0 && packet->shape.protocol == PACKETS_UDP)
        sum = 0xFFFF;
    put16(bytes + at, sum);
}

uint32_t packets_segment(const struct packets_packet *packet, uint32_t gso_size, uint32_t index,
                         uint8_t *ret_bytes)
{
    const struct packets_shape *shape = &packet->shape;
    uint32_t from = index * gso_size;

    if (from >= shape->payload_len)
        return 0;
    uint32_t len = shape->payload_len - from > gso_size ? gso_size : shape->payload_len - from;
    bool is_last = from + len == shape->payload_len;
    uint32_t transport_len = transport_header_len(shape) + len;

    /* The headers of a packet that has only this payload, made as the whole was made. */
    struct packets_shape mine = *shape;
    mine.payload_len = len;
    mine.id = (uint16_t)(shape->id + index);
    mine.sequence = shape->sequence + from;
    if (!is_last)
        mine.tcp_flags &= 0xFF - 0x01 - 0x08;
    if (index > 0)
        mine.tcp_flags &= 0xFF - 0x80;
    memset(ret_bytes, 0, packet->payload);
    make_ethernet(ret_bytes, &mine);
    if (shape->version == 4)
        make_ipv4(ret_bytes + packet->network, &mine, transport_len);
    else
        make_ipv6(ret_bytes + packet->network, &mine, transport_len);
    make_transport(ret_bytes + packet->transport, &mine);
    memcpy(ret_bytes + packet->payload, packet->frame.head + packet->payload + from, len);
    finish(ret_bytes, packet, transport_len);
    return packet->payload + len;
}

bool packets_is_right(const uint8_t *bytes, uint32_t len, uint32_t network, uint32_t transport,
                      uint8_t protocol)
{
    uint32_t sum = pseudo_sum(bytes, network, len - transport, protocol);

    if (packets_sum(sum, bytes + transport, len - transport) != 0xFFFF)
        return false;
    return bytes[network] >> 4 == 6 ||
           packets_sum(0, bytes + network, (bytes[network] & 0x0FU) * 4) == 0xFFFF;
}

uint32_t packets_flatten(const struct frame *frame, uint8_t *ret_bytes)
{
    uint32_t len = frame->head_len;

    memcpy(ret_bytes, frame->head, frame->head_len);
    for (uint32_t i = 0; i < frame->n_rest; i++) {
        memcpy(ret_bytes + len, frame->rest[i].base, frame->rest[i].len);
        len += frame->rest[i].len;
    }
    return len;
}

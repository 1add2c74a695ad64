/* switch/offload_cut.c - finished frames made of a GSO frame
 *
 * How it works
 *   Each piece gets a copy of the headers, in which only what differs from piece to piece is written anew,
 * and a view of its part of the payload. What is written, and how, is what Linux does (inet_gso_segment,
 *   ipv6_gso_segment, tcp_gso_segment, __udp_gso_segment): a test compares the bytes with those of a kernel.
 *   Checksums are computed from nothing rather than from the sender's partial one.
 */
#include "switch/offload.h"

#include <string.h>

#include "switch/checksum.h"

enum {
    IPV4_TOTAL_LEN_AT = 2,
    IPV4_ID_AT = 4,
    IPV4_CHECKSUM_AT = 10,
    IPV6_PAYLOAD_LEN_AT = 4,
    IPV6_HEADER = 40,
    TCP_SEQUENCE_AT = 4,
    TCP_FLAGS_AT = 13,
    TCP_CHECKSUM_AT = 16,
    UDP_LEN_AT = 4,
    UDP_CHECKSUM_AT = 6,

    TCP_FIN = 0x01,
    TCP_PSH = 0x08,
    TCP_CWR = 0x80,
};

/* A part of the payload. */
struct part {
    uint32_t at; /* in the frame */
    uint32_t len;
    uint32_t index;
    bool is_last;
};

/* Lays out 'piece': prefix, headers as they are in 'frame', and behind them 'part'. */
static void lay_out(const struct frame *frame, const struct packet *packet, const struct part *part,
                    struct offload_piece *piece)
{
    uint32_t headers_len = packet->payload;
    uint32_t len = headers_len + part->len;
    uint32_t head_len = headers_len > FRAME_HEAD_MIN ? headers_len : FRAME_HEAD_MIN;
    uint8_t *head = piece->bytes + FRAME_PREFIX;

    if (head_len > len)
        head_len = len;
    packet_put_be32(piece->bytes, len);
    memcpy(head, frame->head, headers_len);
    memcpy(head + headers_len, frame->head + part->at, head_len - headers_len);
    piece->payload.base = frame->head + part->at + (head_len - headers_len);
    piece->payload.len = len - head_len;
    piece->frame = (struct frame){.head = head, .len = len, .head_len = head_len};
    if (len > head_len) {
        piece->frame.rest = &piece->payload;
        piece->frame.n_rest = 1;
    }
}

static void write_ip(uint8_t *head, const struct packet *packet, const struct part *part)
{
    uint8_t *header = head + packet->network;
    uint32_t len = packet->payload - packet->network + part->len;

    if (packet->version == 6) {
        packet_put_be16(header + IPV6_PAYLOAD_LEN_AT, len - IPV6_HEADER);
        return;
    }
    packet_put_be16(header + IPV4_TOTAL_LEN_AT, len);
    packet_put_be16(header + IPV4_ID_AT, packet_get_be16(header + IPV4_ID_AT) + part->index);
    packet_put_be16(header + IPV4_CHECKSUM_AT, 0);
    checksum_store(header + IPV4_CHECKSUM_AT, checksum_add(0, header, packet->transport - packet->network));
}

static void write_tcp(uint8_t *header, uint32_t offset, const struct part *part)
{
    uint8_t flags = header[TCP_FLAGS_AT];

    packet_put_be32(header + TCP_SEQUENCE_AT, packet_get_be32(header + TCP_SEQUENCE_AT) + offset);
    if (!part->is_last)
        flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    if (part->index > 0)
        flags &= (uint8_t)~TCP_CWR;
    header[TCP_FLAGS_AT] = flags;
}

/* Writes the checksum of 'piece', whose headers are otherwise complete. */
static void write_checksum(const struct frame *frame, const struct packet *packet, const struct part *part,
                           struct offload_piece *piece)
{
    uint8_t *head = piece->frame.head;
    uint32_t header_len = packet->payload - packet->transport;
    bool is_tcp = packet->protocol == PACKET_TCP;
    uint8_t *field = head + packet->transport + (is_tcp ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT);
    uint64_t sum = packet_pseudo_sum(head, packet, header_len + part->len);

    packet_put_be16(field, 0);
    sum = checksum_add(sum, head + packet->transport, header_len);
    sum = checksum_add(sum, frame->head + part->at, part->len);
    if (is_tcp)
        checksum_store(field, sum);
    else
        checksum_store_udp(field, sum);
}

bool offload_finish_whole(const struct frame *frame, struct offload_piece *ret_piece)
{
    struct packet packet;

    if (!packet_parse(frame->head, frame->len, &packet) || packet.protocol != PACKET_TCP)
        return false;
    const struct part all = {.at = packet.payload, .len = packet.end - packet.payload, .is_last = true};
    lay_out(frame, &packet, &all, ret_piece);
    write_checksum(frame, &packet, &all, ret_piece);
    return true;
}

void offload_cut_begin(struct offload_cut *cut, const struct frame *frame)
{
    *cut = (struct offload_cut){.frame = frame};
    (void)packet_parse(frame->head, frame->len, &cut->packet);
    cut->at = cut->packet.payload;
}

size_t offload_cut_next(struct offload_cut *cut, struct offload_piece *pieces, size_t max)
{
    const struct packet *packet = &cut->packet;
    uint32_t gso_size = cut->frame->offload.gso_size;
    size_t n = 0;

    while (n < max && cut->at < packet->end) {
        struct offload_piece *piece = &pieces[n++];
        uint32_t left = packet->end - cut->at;
        const struct part part = {.at = cut->at,
                                  .len = left < gso_size ? left : gso_size,
                                  .index = cut->n_given,
                                  .is_last = left <= gso_size};
        lay_out(cut->frame, packet, &part, piece);
        write_ip(piece->frame.head, packet, &part);
        uint8_t *header = piece->frame.head + packet->transport;
        if (packet->protocol == PACKET_TCP)
            write_tcp(header, cut->at - packet->payload, &part);
        else
            packet_put_be16(header + UDP_LEN_AT, packet->payload - packet->transport + part.len);
        write_checksum(cut->frame, packet, &part, piece);
        cut->at += part.len;
        cut->n_given++;
    }
    return n;
}

uint32_t offload_cut_count(const struct frame *frame)
{
    uint32_t payload_len = frame->len - frame->offload.header_len;

    return (payload_len + frame->offload.gso_size - 1) / frame->offload.gso_size;
}

uint32_t offload_cut_len(const struct frame *frame)
{
    return (uint32_t)frame->offload.header_len + frame->offload.gso_size;
}

/* fuzz_offload - a virtio_net_hdr and a frame, which are refused or come out finished
 *
 * The input is the header (10 bytes, little-endian) and the frame. It is taken twice: with the descriptor,
 * and as from a sender that offloads and sends none, with an MTU that hdr_len gives. Every frame lies in
 * memory of just its length, so that a sanitizer sees any look behind it. The judge is
 * tests/unit/switch/packets.h.
 */
#include <stdlib.h>
#include <string.h>

#include "switch/offload.h"
#include "tests/unit/switch/packets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER_LEN = 10, PIECES = 5 };

struct copy {
    uint8_t *room;
    struct frame frame;
};

static void demand(bool is_true)
{
    if (!is_true)
        abort();
}

static uint16_t little_endian(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static struct copy copy_of(const uint8_t *bytes, uint32_t len)
{
    struct copy copy = {.room = malloc(FRAME_PREFIX + len)};

    demand(copy.room != NULL);
    packet_put_be32(copy.room, len);
    memcpy(copy.room + FRAME_PREFIX, bytes, len);
    copy.frame = (struct frame){.head = copy.room + FRAME_PREFIX, .len = len, .head_len = len};
    return copy;
}

static uint32_t network_of(const uint8_t *bytes, uint32_t len)
{
    uint32_t at = 12;

    while (at < 20 && at + 6 <= len &&
           ((bytes[at] == 0x81 && bytes[at + 1] == 0) || (bytes[at] == 0x88 && bytes[at + 1] == 0xA8)))
        at += 4;
    return at + 2;
}

static uint8_t protocol_of(const struct frame *frame)
{
    return frame->offload.csum_offset == 16 ? PACKETS_TCP : PACKETS_UDP;
}

/* Checks what switch/frame.h promises, and writes the bytes. */
static uint32_t flatten(const struct frame *frame, uint8_t *ret_bytes)
{
    uint32_t len = packets_flatten(frame, ret_bytes);

    demand(len == frame->len && packet_get_be32(frame->head - FRAME_PREFIX) == len);
    demand(frame->head_len >= (len < FRAME_HEAD_MIN ? len : FRAME_HEAD_MIN));
    demand(offload_is_plain(frame));
    return len;
}

/* The length that IP gives is that of the segment, and so is UDP's. */
static void demand_lengths(const uint8_t *bytes, uint32_t len, uint32_t network, uint32_t transport,
                           uint8_t protocol)
{
    if (bytes[network] >> 4 == 4)
        demand(packet_get_be16(bytes + network + 2) == len - network);
    else
        demand(packet_get_be16(bytes + network + 4) == len - network - 40);
    if (protocol == PACKETS_UDP)
        demand(packet_get_be16(bytes + transport + 4) == len - transport);
}

static void check_cut(const struct frame *frame)
{
    static uint8_t bytes[FRAME_LEN_MAX];
    static struct offload_piece pieces[PIECES];
    const struct frame_offload *offload = &frame->offload;
    uint32_t network = network_of(frame->head, frame->len);
    uint32_t payload = offload->header_len;
    uint32_t at = payload;
    uint32_t n_segments = 0;
    struct offload_cut cut;
    size_t n;

    demand(offload_cut_count(frame) > 1 && offload_cut_count(frame) <= OFFLOAD_SEGMENTS_MAX);
    offload_cut_begin(&cut, frame);
    while ((n = offload_cut_next(&cut, pieces, PIECES)) > 0) {
        for (size_t i = 0; i < n; i++) {
            uint32_t len = flatten(&pieces[i].frame, bytes);
            demand(len > payload && len <= offload_cut_len(frame) && at + (len - payload) <= frame->len);
            demand(memcmp(bytes + payload, frame->head + at, len - payload) == 0);
            demand_lengths(bytes, len, network, offload->csum_start, protocol_of(frame));
            demand(packets_is_right(bytes, len, network, offload->csum_start, protocol_of(frame)));
            at += len - payload;
            n_segments++;
        }
    }
    demand(at == frame->len && n_segments == offload_cut_count(frame));
}

static void check_whole(const struct frame *frame)
{
    static uint8_t bytes[FRAME_LEN_MAX];
    static struct offload_piece piece;
    uint32_t field = (uint32_t)frame->offload.csum_start + frame->offload.csum_offset;

    if (!offload_finish_whole(frame, &piece)) {
        demand(protocol_of(frame) == PACKETS_UDP);
        return;
    }
    uint32_t len = flatten(&piece.frame, bytes);
    demand(len == frame->len && memcmp(bytes, frame->head, field) == 0);
    demand(memcmp(bytes + field + 2, frame->head + field + 2, len - field - 2) == 0);
    /* The header of IPv4 is the sender's, right or wrong. */
    uint32_t network = network_of(bytes, len);
    if (bytes[network] >> 4 == 4) {
        packet_put_be16(bytes + network + 10, 0);
        packet_put_be16(bytes + network + 10, ~packets_sum(0, bytes + network, (bytes[network] & 0x0FU) * 4));
    }
    demand(packets_is_right(bytes, len, network, frame->offload.csum_start, PACKETS_TCP));
}

/* The field, and nothing else, becomes the complement of what the sum was. */
static void check_finish(struct frame *frame)
{
    static uint8_t before[FRAME_LEN_MAX];
    struct frame_offload offload = frame->offload;
    uint32_t field = (uint32_t)offload.csum_start + offload.csum_offset;

    memcpy(before, frame->head, frame->len);
    offload_finish(frame);
    demand(offload_is_plain(frame));
    if (offload.flags != 0) {
        uint32_t sum = ~packets_sum(0, before + offload.csum_start, frame->len - offload.csum_start) & 0xFFFF;
        packet_put_be16(before + field, sum == 0 && offload.csum_offset == 6 ? 0xFFFF : sum);
    }
    demand(memcmp(before, frame->head, frame->len) == 0);
}

static void check(struct frame *frame)
{
    demand(offload_is_plain(frame) || frame->offload.flags == OFFLOAD_NEEDS_CSUM);
    if (offload_is_gso(frame)) {
        check_cut(frame);
        check_whole(frame);
    } else {
        check_finish(frame);
    }
}

static void check_accept(const uint8_t *header, const uint8_t *bytes, uint32_t len)
{
    struct copy copy = copy_of(bytes, len);

    copy.frame.offload = (struct frame_offload){.flags = header[0],
                                                .gso_type = header[1],
                                                .header_len = little_endian(header + 2),
                                                .gso_size = little_endian(header + 4),
                                                .csum_start = little_endian(header + 6),
                                                .csum_offset = little_endian(header + 8)};
    if (offload_accept(&copy.frame)) {
        demand(memcmp(copy.frame.head, bytes, len) == 0 && copy.frame.len == len);
        check(&copy.frame);
    }
    free(copy.room);
}

static void check_infer(uint32_t mtu, const uint8_t *bytes, uint32_t len)
{
    struct copy copy = copy_of(bytes, len);

    if (offload_infer(&copy.frame, mtu)) {
        struct copy again = copy_of(copy.frame.head, len);
        demand(offload_infer(&again.frame, mtu));
        demand(memcmp(again.frame.head, copy.frame.head, len) == 0);
        demand(memcmp(&again.frame.offload, &copy.frame.offload, sizeof(again.frame.offload)) == 0);
        demand(offload_accept(&again.frame));
        demand(memcmp(&again.frame.offload, &copy.frame.offload, sizeof(again.frame.offload)) == 0);
        demand(offload_is_gso(&copy.frame) ? offload_cut_len(&copy.frame) <= mtu + network_of(bytes, len)
                                           : len <= mtu + network_of(bytes, len));
        check(&copy.frame);
        free(again.room);
    }
    free(copy.room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEADER_LEN + FRAME_LEN_MIN || size > HEADER_LEN + FRAME_LEN_MAX)
        return 0;
    uint32_t len = (uint32_t)(size - HEADER_LEN);
    check_accept(data, data + HEADER_LEN, len);
    check_infer(little_endian(data + 2), data + HEADER_LEN, len);
    return 0;
}

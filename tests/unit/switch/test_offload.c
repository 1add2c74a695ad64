/* tests/unit/switch/test_offload.c - descriptors that are believed and not, checksums, segments */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "switch/checksum.h"
#include "switch/offload.h"
#include "tests/unit/switch/packets.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { MTU = 1500, PIECES = 7 };

static struct packets_packet packet; /* big */
static struct offload_piece pieces[PIECES];
static uint8_t flat[PACKETS_SIZE];
static uint8_t expected[PACKETS_SIZE];

static const struct packets_shape tcp4 = {.version = 4, .protocol = PACKETS_TCP, .payload_len = 4000};
static const struct packets_shape tcp6 = {.version = 6, .protocol = PACKETS_TCP, .payload_len = 4000};
static const struct packets_shape udp4 = {.version = 4, .protocol = PACKETS_UDP, .payload_len = 4000};
static const struct packets_shape udp6 = {.version = 6, .protocol = PACKETS_UDP, .payload_len = 4000};
static const struct packets_shape *const shapes[] = {&tcp4, &tcp6, &udp4, &udp6};

static struct packets_shape short_of(const struct packets_shape *shape, uint32_t payload_len)
{
    struct packets_shape made = *shape;

    made.payload_len = payload_len;
    return made;
}

static void make_gso(const struct packets_shape *shape, uint16_t gso_size)
{
    packets_make(&packet, shape, 1);
    packets_describe(&packet, gso_size);
}

static void make_short(const struct packets_shape *shape, uint32_t payload_len)
{
    struct packets_shape made = short_of(shape, payload_len);

    packets_make(&packet, &made, payload_len);
}

static uint8_t *at(uint32_t offset)
{
    return packet.frame.head + offset;
}

static void assert_is_plain(const struct frame *frame)
{
    static const struct frame_offload nothing;

    assert_true(offload_is_plain(frame));
    assert_memory_equal(&frame->offload, &nothing, sizeof(nothing));
}

static void assert_is_right(const uint8_t *bytes, uint32_t len)
{
    assert_true(packets_is_right(bytes, len, packet.network, packet.transport, packet.shape.protocol));
}

/* ---- checksums ---- */

static void sum_is_that_of_16_bit_words_at_any_length_and_alignment(void **state)
{
    (void)state;
    static uint8_t bytes[400];
    uint8_t field[2];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(rand() % 4 == 0 ? 0xFF : rand());
    for (uint32_t shift = 0; shift < 17; shift++) {
        for (uint32_t len = 0; len <= 300; len++) {
            uint32_t sum = packets_sum(0, bytes + shift, len);
            checksum_store_partial(field, checksum_add(0, bytes + shift, len));
            assert_int_equal(packet_get_be16(field), sum);
            checksum_store(field, checksum_add_be16(checksum_add(0, bytes + shift, len), 0xABCD));
            sum += 0xABCD;
            assert_int_equal(packet_get_be16(field), ~((sum & 0xFFFF) + (sum >> 16)) & 0xFFFF);
        }
    }
}

static void sum_of_the_longest_frame_of_ones_does_not_overflow(void **state)
{
    (void)state;
    static uint8_t ones[FRAME_LEN_MAX];
    uint8_t field[2];

    memset(ones, 0xFF, sizeof(ones));
    checksum_store_partial(field, checksum_add(UINT32_MAX, ones, sizeof(ones)));
    assert_int_equal(packet_get_be16(field), 0xFFFF);
    checksum_store(field, checksum_add(0, ones, sizeof(ones)));
    assert_int_equal(packet_get_be16(field), 0);
    checksum_store_udp(field, checksum_add(0, ones, sizeof(ones)));
    assert_int_equal(packet_get_be16(field), 0xFFFF);
}

/* ---- accept ---- */

static void descriptor_without_work_means_a_finished_frame(void **state)
{
    (void)state;

    packets_make(&packet, &tcp4, 1);
    packet.frame.offload = (struct frame_offload){
        .flags = OFFLOAD_DATA_VALID | 0xF8, .header_len = 9, .gso_size = 5, .csum_start = 9999};
    assert_true(offload_accept(&packet.frame));
    assert_is_plain(&packet.frame);
}

static void segmentation_without_checksum_is_refused(void **state)
{
    (void)state;

    make_gso(&tcp4, 1000);
    packet.frame.offload.flags = OFFLOAD_DATA_VALID;
    assert_false(offload_accept(&packet.frame));
}

static void accepted_descriptor_says_what_the_bytes_say(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        make_gso(shapes[i], 1000);
        struct frame_offload described = packet.frame.offload;
        packet.frame.offload.header_len = 60000;
        packet.frame.offload.flags |= OFFLOAD_DATA_VALID;
        assert_true(offload_accept(&packet.frame));
        assert_true(offload_is_gso(&packet.frame));
        described.header_len = (uint16_t)packet.payload;
        assert_memory_equal(&packet.frame.offload, &described, sizeof(described));

        packets_describe(&packet, 0);
        described = packet.frame.offload;
        packet.frame.offload.header_len = 60000;
        packet.frame.offload.gso_size = 7;
        assert_true(offload_accept(&packet.frame));
        assert_memory_equal(&packet.frame.offload, &described, sizeof(described));
    }
}

static void segmentation_of_what_is_one_segment_is_taken_away(void **state)
{
    (void)state;

    make_gso(&tcp4, 4000);
    assert_true(offload_accept(&packet.frame));
    assert_false(offload_is_gso(&packet.frame));
    assert_int_equal(packet.frame.offload.flags, OFFLOAD_NEEDS_CSUM);
    make_gso(&tcp4, 3999);
    assert_true(offload_accept(&packet.frame));
    assert_true(offload_is_gso(&packet.frame));
    make_gso(&udp4, UINT16_MAX);
    assert_true(offload_accept(&packet.frame));
    assert_false(offload_is_gso(&packet.frame));
}

static void only_the_type_of_the_packet_is_accepted(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        for (uint32_t type = 1; type < 256; type++) {
            make_gso(shapes[i], 1000);
            uint32_t right = packet.frame.offload.gso_type;
            packet.frame.offload.gso_type = (uint8_t)type;
            bool is_right = type == right || (right != OFFLOAD_GSO_UDP_L4 && type == (right | 0x80));
            assert_int_equal(offload_accept(&packet.frame), is_right);
        }
    }
}

static void too_small_segments_are_refused(void **state)
{
    (void)state;
    static const uint16_t too_small[] = {0, 1, OFFLOAD_TCP_GSO_SIZE_MIN - 1};

    for (size_t i = 0; i < N_OF(too_small); i++) {
        packets_make(&packet, &tcp6, 1);
        packets_describe(&packet, 1);
        packet.frame.offload.gso_size = too_small[i];
        assert_false(offload_accept(&packet.frame));
    }
    make_gso(&tcp6, OFFLOAD_TCP_GSO_SIZE_MIN);
    assert_true(offload_accept(&packet.frame));

    make_gso(&udp4, 3); /* 1,334 segments */
    assert_true(offload_accept(&packet.frame));
    make_gso(&udp4, 2); /* 2,000 */
    assert_false(offload_accept(&packet.frame));
    make_short(&udp4, 0);
    packets_describe(&packet, 1);
    packet.frame.offload.gso_size = 0;
    assert_false(offload_accept(&packet.frame));
}

static void checksum_field_has_to_lie_in_the_frame(void **state)
{
    (void)state;

    make_short(&udp4, 20);
    uint32_t len = packet.frame.len;
    for (uint32_t start = 0; start < 100; start++) {
        for (uint32_t offset = 0; offset < 100; offset++) {
            packet.frame.offload = (struct frame_offload){
                .flags = 1, .csum_start = (uint16_t)start, .csum_offset = (uint16_t)offset};
            bool is_own = start == packet.transport && offset == 6;
            bool is_inner = start >= packet.payload && start + offset + 2 <= len;
            assert_int_equal(offload_accept(&packet.frame), is_own || is_inner);
        }
    }
    packet.frame.offload =
        (struct frame_offload){.flags = 1, .csum_start = UINT16_MAX, .csum_offset = UINT16_MAX};
    assert_false(offload_accept(&packet.frame));
}

static void checksum_of_a_protocol_not_known_is_accepted_behind_the_ethernet_header(void **state)
{
    (void)state;

    make_short(&udp4, 20);
    *at(12) = 0x12;
    packet.frame.offload = (struct frame_offload){.flags = 1, .csum_start = 14, .csum_offset = 2};
    assert_true(offload_accept(&packet.frame));
    packet.frame.offload = (struct frame_offload){.flags = 1, .csum_start = 13, .csum_offset = 2};
    assert_false(offload_accept(&packet.frame));
}

static void segmentation_needs_the_checksum_of_its_own_header(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        for (int delta = -2; delta <= 2; delta++) {
            make_gso(shapes[i], 1000);
            packet.frame.offload.csum_start = (uint16_t)(packet.transport + (uint32_t)delta);
            assert_int_equal(offload_accept(&packet.frame), delta == 0);
            make_gso(shapes[i], 1000);
            packet.frame.offload.csum_offset = (uint16_t)(packet.frame.offload.csum_offset + delta);
            assert_int_equal(offload_accept(&packet.frame), delta == 0);
        }
        make_gso(shapes[i], 1000);
        packet.frame.offload.csum_start = (uint16_t)packet.payload;
        assert_false(offload_accept(&packet.frame));
    }
}

/* Makes what IP says of its length fit 'len' bytes of frame, as far as there is a header to say it. */
static void fit_length(uint8_t *bytes, uint32_t len)
{
    uint8_t *header = bytes + packet.network;

    if (packet.shape.version == 4 && len >= packet.network + 20)
        packet_put_be16(header + 2, len - packet.network);
    else if (packet.shape.version == 6 && len >= packet.network + 40)
        packet_put_be16(header + 4, len - packet.network - 40);
}

static void assert_truncated_is_refused(uint32_t len, bool is_fitted)
{
    /* A copy that ends where the frame does, so that a sanitizer sees any look behind it. */
    uint8_t *copy = malloc(len);

    assert_non_null(copy);
    memcpy(copy, packet.frame.head, len);
    if (is_fitted)
        fit_length(copy, len);
    struct frame frame = {.head = copy, .len = len, .head_len = len, .offload = packet.frame.offload};
    assert_false(offload_accept(&frame));
    assert_true(offload_infer(&frame, MTU));
    assert_is_plain(&frame);
    free(copy);
}

static void headers_truncated_at_any_byte_are_refused(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        struct packets_shape shape = *shapes[i];
        shape.n_tags = 2;
        shape.network_more = 16;
        shape.tcp_more = 12;
        make_gso(&shape, 1000);
        for (uint32_t len = FRAME_LEN_MIN; len < packet.payload; len++) {
            assert_truncated_is_refused(len, false);
            assert_truncated_is_refused(len, true);
        }
    }
}

static void assert_headers_are_refused(void)
{
    packets_describe(&packet, 0);
    assert_false(offload_accept(&packet.frame));
    assert_true(offload_infer(&packet.frame, MTU));
    assert_is_plain(&packet.frame);
}

static void broken_ip_headers_are_refused(void **state)
{
    (void)state;

    for (uint8_t words = 0; words < 5; words++) {
        make_short(&tcp4, 100);
        *at(packet.network) = (uint8_t)(0x40 | words);
        packet.transport = packet.network + 4U * words;
        assert_headers_are_refused();
    }
    for (uint32_t total_len = 0; total_len < 40; total_len++) {
        make_short(&tcp4, 0);
        packet_put_be16(at(packet.network + 2), total_len);
        if (total_len < 20)
            assert_headers_are_refused();
        assert_true(offload_infer(&packet.frame, MTU));
        assert_is_plain(&packet.frame);
    }
    for (uint8_t version = 0; version < 16; version++) {
        if (version == 6)
            continue;
        make_short(&tcp6, 100);
        *at(packet.network) = (uint8_t)(version << 4);
        assert_headers_are_refused();
    }
    struct packets_shape shape = short_of(&tcp6, 100);
    shape.network_more = 8;
    packets_make(&packet, &shape, 1);
    *at(packet.network + 41) = 255; /* an extension longer than the packet */
    assert_headers_are_refused();
}

static void padding_is_never_payload(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        make_gso(shapes[i], 1000);
        packet.frame.len++;
        packet.frame.head_len++;
        assert_false(offload_accept(&packet.frame));
        assert_false(offload_infer(&packet.frame, MTU));
    }
}

static void fragments_are_not_cut(void **state)
{
    (void)state;
    static const uint16_t fragments[] = {0x2000, 0x0001, 0x1FFF, 0x6000};

    for (size_t i = 0; i < N_OF(fragments); i++) {
        make_gso(&tcp4, 1000);
        packet_put_be16(at(packet.network + 6), fragments[i]);
        assert_false(offload_accept(&packet.frame));
        assert_false(offload_infer(&packet.frame, MTU));
        make_short(&tcp4, 100);
        packet_put_be16(at(packet.network + 6), fragments[i]);
        assert_true(offload_infer(&packet.frame, MTU));
        assert_is_plain(&packet.frame);
    }
    struct packets_shape with_extension = tcp6;
    with_extension.network_more = 8;
    make_gso(&with_extension, 1000);
    *at(packet.network + 6) = 44; /* a fragment header */
    assert_false(offload_accept(&packet.frame));
    assert_false(offload_infer(&packet.frame, MTU));
}

static void lengths_that_disagree_are_refused(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        for (int delta = -1; delta <= 1; delta++) {
            make_gso(shapes[i], 1000);
            uint8_t *field = at(packet.network + (packet.shape.version == 4 ? 2 : 4));
            packet_put_be16(field, packet_get_be16(field) + (uint32_t)delta);
            assert_int_equal(offload_accept(&packet.frame), delta == 0);
        }
        make_gso(shapes[i], 1000);
        packet_put_be16(at(packet.network + (packet.shape.version == 4 ? 2 : 4)), 0);
        assert_false(offload_accept(&packet.frame));
    }
    for (uint8_t words = 0; words < 16; words++) {
        make_gso(&tcp4, 1000);
        *at(packet.transport + 12) = (uint8_t)(words << 4);
        assert_int_equal(offload_accept(&packet.frame), words >= 5);
        make_gso(&tcp4, 1000);
        *at(packet.network) = (uint8_t)(0x40 | words);
        assert_int_equal(offload_accept(&packet.frame), words == 5);
        make_gso(&tcp4, 1000);
        *at(packet.network) = (uint8_t)(words << 4 | 5);
        assert_int_equal(offload_accept(&packet.frame), words == 4);
    }
}

static void ipv6_extensions_are_walked_no_further_than_the_limit(void **state)
{
    (void)state;
    struct packets_shape shape = tcp6;

    for (uint32_t len = 8; len < 256; len += 8) {
        shape.network_more = len;
        make_gso(&shape, 1000);
        assert_int_equal(offload_accept(&packet.frame), packet.payload <= OFFLOAD_HEADERS_MAX);
    }
    /* As many as fit, each of 8 bytes, all of which say that another follows. */
    make_gso(&tcp6, 1000);
    for (uint32_t i = packet.transport; i < packet.frame.len; i++)
        *at(i) = 0;
    *at(packet.network + 6) = 0;
    assert_false(offload_accept(&packet.frame));
    assert_false(offload_infer(&packet.frame, MTU));
    assert_true(offload_infer(&packet.frame, 9000));
    assert_is_plain(&packet.frame);
}

/* Its checksum is over another destination than the header has. */
static void checksum_behind_a_routing_header_is_left_alone(void **state)
{
    (void)state;
    struct packets_shape shape = tcp6;

    shape.network_more = 24;
    make_gso(&shape, 1000);
    *at(packet.network + 6) = 43;
    assert_false(offload_accept(&packet.frame));
    shape.payload_len = 100;
    packets_make(&packet, &shape, 1);
    *at(packet.network + 6) = 43;
    packet_put_be16(at(packet.transport + 16), 0x1234);
    assert_true(offload_infer(&packet.frame, MTU));
    assert_is_plain(&packet.frame);
    assert_int_equal(packet_get_be16(at(packet.transport + 16)), 0x1234);
}

/* ---- finish ---- */

static void partial_checksum_is_completed_in_place(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        for (uint32_t len = 0; len < 200; len++) {
            make_short(shapes[i], len);
            packets_describe(&packet, 0);
            assert_true(offload_accept(&packet.frame));
            offload_finish(&packet.frame);
            assert_is_plain(&packet.frame);
            assert_is_right(packet.frame.head, packet.frame.len);
        }
    }
}

/* Two bytes of payload that make the sum of all else 0xFFFF. */
static void udp_checksum_is_never_zero(void **state)
{
    (void)state;

    make_short(&udp4, 2);
    packet_put_be16(at(packet.payload), 0);
    uint32_t sum = packets_sum(0, at(packet.transport), 10);
    packet_put_be16(at(packet.payload), 0xFFFF - sum);
    packets_describe(&packet, 0);
    assert_true(offload_accept(&packet.frame));
    offload_finish(&packet.frame);
    assert_int_equal(packet_get_be16(at(packet.transport + 6)), 0xFFFF);
    assert_is_right(packet.frame.head, packet.frame.len);
}

static void plain_frame_is_not_touched(void **state)
{
    (void)state;

    packets_make(&packet, &tcp4, 1);
    memcpy(expected, packet.frame.head, packet.frame.len);
    offload_finish(&packet.frame);
    assert_memory_equal(packet.frame.head, expected, packet.frame.len);
}

/* ---- infer ---- */

static void checksum_partial_or_complete_is_inferred_to_the_same(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        make_short(shapes[i], 333);
        assert_true(offload_infer(&packet.frame, MTU));
        assert_int_equal(packet.frame.offload.flags, OFFLOAD_NEEDS_CSUM);
        assert_int_equal(packet.frame.offload.csum_start, packet.transport);
        assert_false(offload_is_gso(&packet.frame));
        offload_finish(&packet.frame);
        assert_is_right(packet.frame.head, packet.frame.len);
        memcpy(expected, packet.frame.head, packet.frame.len);
        for (int again = 0; again < 2; again++)
            assert_true(offload_infer(&packet.frame, MTU));
        offload_finish(&packet.frame);
        assert_memory_equal(packet.frame.head, expected, packet.frame.len);
    }
}

static void padding_does_not_count_in_an_inferred_checksum(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        for (uint32_t len = 0; len < 8; len++) {
            make_short(shapes[i], len);
            uint32_t end = packet.frame.len;
            memset(at(end), 0xEE, 5);
            packet.frame.len += 5;
            packet.frame.head_len += 5;
            assert_true(offload_infer(&packet.frame, MTU));
            offload_finish(&packet.frame);
            assert_is_right(packet.frame.head, end);
        }
    }
}

static void udp_without_a_checksum_stays_without(void **state)
{
    (void)state;

    make_short(&udp4, 100);
    packet_put_be16(at(packet.transport + 6), 0);
    assert_true(offload_infer(&packet.frame, MTU));
    assert_is_plain(&packet.frame);
    make_short(&udp4, 100);
    packet_put_be16(at(packet.transport + 4), 107); /* not the length that IP says */
    assert_true(offload_infer(&packet.frame, MTU));
    assert_is_plain(&packet.frame);
}

static void long_tcp_is_cut_to_the_mtu(void **state)
{
    (void)state;

    for (uint32_t n_tags = 0; n_tags <= 2; n_tags++) {
        for (size_t i = 0; i < 2; i++) {
            struct packets_shape shape = *shapes[i];
            shape.n_tags = n_tags;
            shape.network_more = 8;
            shape.tcp_more = 12;
            shape.payload_len = MTU - (i == 0 ? 28 : 48) - 32;
            packets_make(&packet, &shape, 1);
            assert_true(offload_infer(&packet.frame, MTU));
            assert_false(offload_is_gso(&packet.frame));
            uint16_t gso_size = (uint16_t)shape.payload_len++;
            for (int again = 0; again < 2; again++) {
                packets_make(&packet, &shape, 1);
                assert_true(offload_infer(&packet.frame, MTU));
                assert_int_equal(packet.frame.offload.gso_type, i == 0 ? 1 : 4);
                assert_int_equal(packet.frame.offload.gso_size, gso_size);
                assert_int_equal(offload_cut_count(&packet.frame), 2);
                assert_int_equal(offload_cut_len(&packet.frame), MTU + 14 + 4 * n_tags);
            }
            assert_true(offload_accept(&packet.frame));
        }
    }
}

static void what_is_long_and_not_tcp_is_refused(void **state)
{
    (void)state;

    packets_make(&packet, &udp4, 1);
    assert_false(offload_infer(&packet.frame, MTU));
    assert_true(offload_infer(&packet.frame, 9000));
    packets_make(&packet, &tcp4, 1);
    *at(12) = 0x12;
    assert_false(offload_infer(&packet.frame, MTU));
    packets_make(&packet, &tcp4, 1);
    assert_false(offload_infer(&packet.frame, 40 + OFFLOAD_TCP_GSO_SIZE_MIN - 1));
    assert_true(offload_infer(&packet.frame, 40 + OFFLOAD_TCP_GSO_SIZE_MIN));
}

static void frame_that_is_not_what_it_says_is_left_alone(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        for (uint32_t spoilt = 12; spoilt < 70; spoilt++) {
            make_short(shapes[i], 100);
            *at(spoilt) ^= 0x55;
            memcpy(expected, packet.frame.head, packet.frame.len);
            assert_true(offload_infer(&packet.frame, MTU));
            if (offload_is_plain(&packet.frame))
                assert_memory_equal(packet.frame.head, expected, packet.frame.len);
        }
    }
}

/* ---- whole, cut ---- */

/* Prefix and lengths are as switch/frame.h promises, and the payload is not copied but for a few bytes. */
static void assert_is_sound(const struct frame *frame)
{
    uint32_t in_pieces = frame->head_len;

    assert_int_equal(packet_get_be32(frame->head - FRAME_PREFIX), frame->len);
    assert_true(frame->head_len >= (frame->len < FRAME_HEAD_MIN ? frame->len : FRAME_HEAD_MIN));
    assert_true(frame->head_len <= packet.payload || frame->head_len <= FRAME_HEAD_MIN);
    for (uint32_t i = 0; i < frame->n_rest; i++) {
        in_pieces += frame->rest[i].len;
        assert_true(frame->rest[i].base >= packet.frame.head);
        assert_true(frame->rest[i].base + frame->rest[i].len <= packet.frame.head + packet.frame.len);
    }
    assert_int_equal(in_pieces, frame->len);
    assert_int_equal(frame->n_rest == 0, frame->rest == NULL);
    assert_is_plain(frame);
}

static void finished_whole_is_the_frame_with_a_right_checksum(void **state)
{
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        struct packets_shape shape = *shapes[i];
        shape.tcp_flags = 0x99;
        shape.payload_len = 65000;
        make_gso(&shape, 1000);
        assert_true(offload_accept(&packet.frame));
        memcpy(expected, packet.frame.head, packet.frame.len);
        assert_true(offload_finish_whole(&packet.frame, pieces));
        assert_is_sound(&pieces[0].frame);
        assert_memory_equal(packet.frame.head, expected, packet.frame.len);
        uint32_t len = packets_flatten(&pieces[0].frame, flat);
        assert_int_equal(len, packet.frame.len);
        assert_is_right(flat, len);
        packets_segment(&packet, 65535, 0, expected);
        assert_memory_equal(flat, expected, len);
    }
    make_gso(&udp4, 1000);
    assert_true(offload_accept(&packet.frame));
    assert_false(offload_finish_whole(&packet.frame, pieces));
}

/* Cuts 'packet', 'max' at a time, and compares each segment with the naive one. */
static void assert_cut_is_naive(uint32_t gso_size, size_t max)
{
    struct offload_cut cut;
    uint32_t n_segments = 0, longest = 0;
    size_t n;

    assert_true(offload_accept(&packet.frame));
    assert_true(offload_is_gso(&packet.frame));
    offload_cut_begin(&cut, &packet.frame);
    while ((n = offload_cut_next(&cut, pieces, max)) > 0) {
        for (size_t i = 0; i < n; i++) {
            assert_is_sound(&pieces[i].frame);
            uint32_t len = packets_flatten(&pieces[i].frame, flat);
            assert_int_equal(len, packets_segment(&packet, gso_size, n_segments++, expected));
            assert_memory_equal(flat, expected, len);
            assert_is_right(flat, len);
            longest = len > longest ? len : longest;
        }
    }
    assert_int_equal(packets_segment(&packet, gso_size, n_segments, expected), 0);
    assert_int_equal(offload_cut_count(&packet.frame), n_segments);
    assert_int_equal(offload_cut_len(&packet.frame), longest);
    assert_int_equal(offload_cut_next(&cut, pieces, max), 0);
}

static void segments_are_those_of_a_naive_segmenter(void **state)
{
    (void)state;

    for (int round = 0; round < 1500; round++) {
        struct packets_shape shape = *shapes[rand() % 4];
        uint32_t gso_size = OFFLOAD_TCP_GSO_SIZE_MIN + (uint32_t)rand() % 1500;
        shape.n_tags = (uint32_t)rand() % 3;
        shape.network_more = shape.version == 4 ? 4U * ((uint32_t)rand() % 11) : 8U * ((uint32_t)rand() % 11);
        shape.tcp_more = 4U * ((uint32_t)rand() % 11);
        shape.payload_len = gso_size + 1 + (uint32_t)rand() % (round % 16 == 0 ? 60000 : 5000);
        shape.sequence = (uint32_t)rand() * 2654435761U;
        shape.id = (uint16_t)rand();
        shape.tcp_flags = (uint8_t)rand();
        packets_make(&packet, &shape, (uint32_t)rand());
        packets_describe(&packet, (uint16_t)gso_size);
        if (shape.protocol == PACKETS_TCP && rand() % 2)
            packet.frame.offload.gso_type |= OFFLOAD_GSO_ECN;
        assert_cut_is_naive(gso_size, 1 + (size_t)rand() % PIECES);
    }
}

static void longest_packet_makes_the_most_segments(void **state)
{
    (void)state;
    struct packets_shape shape = short_of(&tcp4, OFFLOAD_PACKET_MAX - 40);

    make_gso(&shape, OFFLOAD_TCP_GSO_SIZE_MIN);
    assert_cut_is_naive(OFFLOAD_TCP_GSO_SIZE_MIN, PIECES);
    assert_int_equal(offload_cut_count(&packet.frame), OFFLOAD_SEGMENTS_MAX);
}

static void tiny_datagrams_lie_in_one_piece(void **state)
{
    (void)state;

    for (uint16_t gso_size = 1; gso_size < 60; gso_size++) {
        struct packets_shape shape = short_of(&udp4, 150);
        make_gso(&shape, gso_size);
        assert_cut_is_naive(gso_size, PIECES);
    }
}

/* Of the first of two datagrams, whose two bytes of payload make it so. */
static void udp_checksum_of_a_segment_is_never_zero(void **state)
{
    (void)state;
    struct packets_shape shape = short_of(&udp4, 4);

    make_gso(&shape, 2);
    packet_put_be16(at(packet.payload), 0);
    packets_segment(&packet, 2, 0, expected);
    packet_put_be16(at(packet.payload), packet_get_be16(expected + packet.transport + 6));
    assert_cut_is_naive(2, PIECES);
    assert_int_equal(packet_get_be16(pieces[0].frame.head + packet.transport + 6), 0xFFFF);
}

static void cutting_does_not_change_the_frame(void **state)
{
    (void)state;

    for (size_t i = 0; i < N_OF(shapes); i++) {
        make_gso(shapes[i], 100);
        memcpy(expected, packet.frame.head - FRAME_PREFIX, packet.frame.len + FRAME_PREFIX);
        struct offload_cut cut;
        offload_cut_begin(&cut, &packet.frame);
        while (offload_cut_next(&cut, pieces, PIECES) > 0)
            ;
        assert_memory_equal(packet.frame.head - FRAME_PREFIX, expected, packet.frame.len + FRAME_PREFIX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sum_is_that_of_16_bit_words_at_any_length_and_alignment),
        cmocka_unit_test(sum_of_the_longest_frame_of_ones_does_not_overflow),
        cmocka_unit_test(descriptor_without_work_means_a_finished_frame),
        cmocka_unit_test(segmentation_without_checksum_is_refused),
        cmocka_unit_test(accepted_descriptor_says_what_the_bytes_say),
        cmocka_unit_test(segmentation_of_what_is_one_segment_is_taken_away),
        cmocka_unit_test(only_the_type_of_the_packet_is_accepted),
        cmocka_unit_test(too_small_segments_are_refused),
        cmocka_unit_test(checksum_field_has_to_lie_in_the_frame),
        cmocka_unit_test(checksum_of_a_protocol_not_known_is_accepted_behind_the_ethernet_header),
        cmocka_unit_test(segmentation_needs_the_checksum_of_its_own_header),
        cmocka_unit_test(headers_truncated_at_any_byte_are_refused),
        cmocka_unit_test(broken_ip_headers_are_refused),
        cmocka_unit_test(padding_is_never_payload),
        cmocka_unit_test(fragments_are_not_cut),
        cmocka_unit_test(lengths_that_disagree_are_refused),
        cmocka_unit_test(ipv6_extensions_are_walked_no_further_than_the_limit),
        cmocka_unit_test(checksum_behind_a_routing_header_is_left_alone),
        cmocka_unit_test(partial_checksum_is_completed_in_place),
        cmocka_unit_test(udp_checksum_is_never_zero),
        cmocka_unit_test(plain_frame_is_not_touched),
        cmocka_unit_test(checksum_partial_or_complete_is_inferred_to_the_same),
        cmocka_unit_test(padding_does_not_count_in_an_inferred_checksum),
        cmocka_unit_test(udp_without_a_checksum_stays_without),
        cmocka_unit_test(long_tcp_is_cut_to_the_mtu),
        cmocka_unit_test(what_is_long_and_not_tcp_is_refused),
        cmocka_unit_test(frame_that_is_not_what_it_says_is_left_alone),
        cmocka_unit_test(finished_whole_is_the_frame_with_a_right_checksum),
        cmocka_unit_test(segments_are_those_of_a_naive_segmenter),
        cmocka_unit_test(longest_packet_makes_the_most_segments),
        cmocka_unit_test(tiny_datagrams_lie_in_one_piece),
        cmocka_unit_test(udp_checksum_of_a_segment_is_never_zero),
        cmocka_unit_test(cutting_does_not_change_the_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of io/vnet.c: headers of frames, put on and taken off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/framing.h"
#include "io/vnet.h"
#include "switch/offload.h"
#include "tests/unit/switch/packets.h"

enum { MTU = 1500, N = 8, ROOM = FRAME_PREFIX + VNET_HEADER + PACKETS_SIZE };

static struct packets_packet packet;
static uint8_t records[N][ROOM];
static uint8_t before[N][ROOM];
static struct frame frames[N];
static struct vnet_room room;

static const struct packets_shape tcp4 = {.version = 4, .protocol = PACKETS_TCP, .payload_len = 9000};
static const struct packets_shape tcp6 = {.version = 6, .protocol = PACKETS_TCP, .payload_len = 65515};
static const struct packets_shape udp4 = {.version = 4, .protocol = PACKETS_UDP, .payload_len = 9000};
static const struct packets_shape small = {.version = 4, .protocol = PACKETS_UDP, .payload_len = 501};

/* The header as Virtio 1.2, 5.1.6 has it, a byte at a time. */
static void write_header(uint8_t *bytes, const struct frame_offload *offload)
{
    const uint16_t words[] = {offload->header_len, offload->gso_size, offload->csum_start,
                              offload->csum_offset, 1};

    bytes[0] = offload->flags;
    bytes[1] = offload->gso_type;
    for (size_t i = 0; i < 5; i++) {
        bytes[2 + 2 * i] = (uint8_t)(words[i] % 256);
        bytes[3 + 2 * i] = (uint8_t)(words[i] / 256);
    }
}

/* Lays record i out as a client of this kind sends it. */
static void put_record(size_t i, enum port_offload kind, const struct packets_shape *shape, uint16_t gso_size)
{
    uint32_t header_len = kind == OFFLOAD_VIRTIO ? VNET_HEADER : 0;
    uint8_t *head = records[i] + FRAME_PREFIX;

    packets_make(&packet, shape, (uint32_t)i);
    packets_describe(&packet, gso_size);
    packet.frame.offload.header_len = gso_size > 0 ? (uint16_t)packet.payload : 0;
    uint32_t len = header_len + packet.frame.len;
    frame_put_len(records[i], len);
    if (header_len > 0)
        write_header(head, &packet.frame.offload);
    memcpy(head + header_len, packet.frame.head, packet.frame.len);
    frames[i] = (struct frame){.head = head, .len = len, .head_len = len};
}

static size_t unwrap(enum port_offload kind, size_t n, struct vnet_refused *refused)
{
    *refused = (struct vnet_refused){.runts = 0};
    memcpy(before, records, sizeof records);
    return vnet_unwrap(kind, MTU, frames, n, refused);
}

static void assert_none_refused(const struct vnet_refused *refused)
{
    static const struct vnet_refused none;

    assert_memory_equal(refused, &none, sizeof none);
}

static void a_header_says_the_same_when_it_comes_in_and_goes_out(void **state)
{
    static const struct {
        const struct packets_shape *shape;
        uint16_t gso_size;
    } cases[] = {{&tcp4, 1448}, {&tcp6, 1428}, {&udp4, 1000}, {&small, 0}, {&tcp4, 0}, {&tcp6, 48}};
    struct vnet_refused refused = {.runts = 0};

    (void)state;
    for (size_t i = 0; i < 6; i++)
        put_record(i, OFFLOAD_VIRTIO, cases[i].shape, cases[i].gso_size);
    assert_int_equal(unwrap(OFFLOAD_VIRTIO, 6, &refused), 6);
    assert_none_refused(&refused);

    const struct frame *out[6];
    for (size_t i = 0; i < 6; i++) {
        uint32_t len = frame_get_len(before[i]) - VNET_HEADER;
        out[i] = &frames[i];
        assert_int_equal(frames[i].len, len);
        assert_int_equal(frames[i].head_len, len);
        assert_ptr_equal(frames[i].head, records[i] + FRAME_PREFIX + VNET_HEADER);
        assert_int_equal(frame_get_len(frames[i].head - FRAME_PREFIX), len); /* frame.h */
        assert_int_equal(frames[i].offload.gso_size, cases[i].gso_size);
    }
    const struct frame *const *wrapped = vnet_wrap(&room, out, 6);
    for (size_t i = 0; i < 6; i++) {
        uint8_t flat[ROOM];
        uint32_t len = packets_flatten(wrapped[i], flat);

        assert_int_equal(len, wrapped[i]->len);
        assert_int_equal(frame_get_len(wrapped[i]->head - FRAME_PREFIX), len);
        assert_int_equal(len, frame_get_len(before[i]));
        assert_memory_equal(flat, before[i] + FRAME_PREFIX, len);
    }
}

static void a_plain_frame_goes_out_behind_a_header_of_zeroes(void **state)
{
    static const uint8_t nothing[VNET_HEADER] = {[10] = 1}; /* one buffer */
    uint8_t head[64] = {1}, tail[100] = {2}, flat[200];
    struct frame_segment rest = {tail, sizeof tail};
    struct frame frame = {.head = head, .len = 164, .head_len = 64, .rest = &rest, .n_rest = 1};
    const struct frame *out = &frame;

    (void)state;
    const struct frame *wrapped = vnet_wrap(&room, &out, 1)[0];
    assert_int_equal(packets_flatten(wrapped, flat), VNET_HEADER + 164);
    assert_memory_equal(flat, nothing, VNET_HEADER);
    assert_memory_equal(flat + VNET_HEADER, head, 64);
    assert_memory_equal(flat + VNET_HEADER + 64, tail, 100);
}

static void a_record_without_room_for_header_and_frame_is_a_runt(void **state)
{
    struct vnet_refused refused = {.runts = 0};

    (void)state;
    memset(records, 0, sizeof records);
    for (uint32_t len = FRAME_LEN_MIN; len < VNET_HEADER + FRAME_LEN_MIN; len++) {
        frames[0] = (struct frame){.head = records[0] + FRAME_PREFIX, .len = len, .head_len = len};
        assert_int_equal(unwrap(OFFLOAD_VIRTIO, 1, &refused), 0);
        assert_int_equal(refused.runts, 1);
        assert_int_equal(refused.bytes, len);
    }
    frames[0] = (struct frame){.head = records[0] + FRAME_PREFIX, .len = 26, .head_len = 26};
    assert_int_equal(unwrap(OFFLOAD_VIRTIO, 1, &refused), 1);
    assert_int_equal(frames[0].len, FRAME_LEN_MIN);
}

/* What stays keeps its order, whatever is taken out between. */
static void refused_frames_leave_the_others_in_order(void **state)
{
    struct vnet_refused refused = {.runts = 0};
    struct port port = {.role = PORT_VM};

    (void)state;
    for (size_t i = 0; i < N; i++)
        put_record(i, OFFLOAD_VIRTIO, &small, 0);
    records[0][FRAME_PREFIX] = 0;       /* a plain one */
    records[1][FRAME_PREFIX + 1] = 77;  /* of no type that there is */
    records[3][FRAME_PREFIX + 6] = 255; /* the checksum begins behind the end */
    records[3][FRAME_PREFIX + 7] = 255;
    frames[4].len = frames[4].head_len = 20;
    records[6][FRAME_PREFIX + 8] = 0; /* the checksum is a port number */
    uint32_t len = frames[0].len;
    assert_int_equal(unwrap(OFFLOAD_VIRTIO, N, &refused), 4);
    static const size_t left[] = {0, 2, 5, 7};
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(frames[i].head, records[left[i]] + FRAME_PREFIX + VNET_HEADER);
    assert_int_equal(refused.runts, 1);
    assert_int_equal(refused.bad_offload, 3);
    assert_int_equal(refused.cannot_cut, 0);

    vnet_count(&port, &refused);
    assert_int_equal(port.counters.frames_in, 4);
    assert_int_equal(port.counters.bytes_in, 20 + 3 * (len - VNET_HEADER));
    assert_int_equal(port.counters.drops[DROP_runt], 1);
    assert_int_equal(port.counters.drops[DROP_bad_offload], 3);
    assert_int_equal(counters_dropped(&port.counters), 4);
}

static void assert_records_are_as_before(size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_memory_equal(records[i], before[i], ROOM);
}

/* The header is gone, overwritten in part: what is offered again must be what came. */
static void what_was_not_taken_is_put_back_byte_for_byte(void **state)
{
    struct frame once[N], offered[N];
    struct vnet_refused refused = {.runts = 0};

    (void)state;
    put_record(0, OFFLOAD_VIRTIO, &tcp4, 1448);
    put_record(1, OFFLOAD_VIRTIO, &small, 0);
    put_record(2, OFFLOAD_VIRTIO, &udp4, 1000);
    records[2][FRAME_PREFIX + 1] = 1; /* UDP is no TCP */
    put_record(3, OFFLOAD_VIRTIO, &tcp6, 1428);
    memcpy(offered, frames, sizeof offered);
    for (int again = 0; again < 3; again++) {
        memcpy(frames, offered, sizeof frames);
        assert_int_equal(unwrap(OFFLOAD_VIRTIO, 4, &refused), 3);
        assert_int_equal(refused.bad_offload, 1);
        if (again > 0)
            assert_memory_equal(once, frames, 3 * sizeof *frames);
        memcpy(once, frames, sizeof once);
        vnet_undo(OFFLOAD_VIRTIO, frames, 3);
        assert_records_are_as_before(4);
    }
}

/* What a sender says without need is forgotten at once, not only at the second try. */
static void a_descriptor_is_the_same_at_the_second_try(void **state)
{
    struct frame offered, once;
    struct vnet_refused refused = {.runts = 0};

    (void)state;
    for (int plain = 0; plain < 2; plain++) {
        put_record(0, OFFLOAD_VIRTIO, &small, 0);
        records[0][FRAME_PREFIX] = plain ? OFFLOAD_DATA_VALID : OFFLOAD_NEEDS_CSUM | OFFLOAD_DATA_VALID;
        records[0][FRAME_PREFIX + 2] = 99;  /* hdr_len */
        records[0][FRAME_PREFIX + 10] = 77; /* num_buffers */
        offered = frames[0];
        assert_int_equal(unwrap(OFFLOAD_VIRTIO, 1, &refused), 1);
        once = frames[0];
        vnet_undo(OFFLOAD_VIRTIO, frames, 1);
        frames[0] = offered;
        assert_int_equal(unwrap(OFFLOAD_VIRTIO, 1, &refused), 1);
        assert_memory_equal(&once, &frames[0], sizeof once);
        assert_int_equal(frame_get_len(records[0]), offered.len);
    }
}

static void raw_frames_may_be_looked_at_again(void **state)
{
    struct frame once[N], offered[N];
    struct vnet_refused refused = {.runts = 0};

    (void)state;
    put_record(0, OFFLOAD_RAW, &tcp4, 0);
    put_record(1, OFFLOAD_RAW, &small, 0);
    put_record(2, OFFLOAD_RAW, &udp4, 0); /* long, and not TCP */
    put_record(3, OFFLOAD_RAW, &tcp6, 0);
    memcpy(offered, frames, sizeof offered);
    for (int again = 0; again < 3; again++) {
        memcpy(frames, offered, sizeof frames);
        assert_int_equal(unwrap(OFFLOAD_RAW, 4, &refused), 3);
        assert_int_equal(refused.cannot_cut, 1);
        assert_int_equal(refused.bytes, offered[2].len);
        if (again > 0) {
            assert_memory_equal(once, frames, 3 * sizeof *frames);
            assert_records_are_as_before(4);
        }
        memcpy(once, frames, sizeof once);
        vnet_undo(OFFLOAD_RAW, frames, 3);
    }
    assert_int_equal(frames[0].offload.gso_type, OFFLOAD_GSO_TCPV4);
    assert_int_equal(frames[0].offload.gso_size, MTU - 40);
    assert_int_equal(frames[1].offload.gso_type, OFFLOAD_GSO_NONE);
    assert_int_equal(frames[2].offload.gso_type, OFFLOAD_GSO_TCPV6);
    assert_int_equal(frames[2].offload.gso_size, MTU - 60);
}

static void frames_of_a_plain_port_are_not_looked_at(void **state)
{
    struct vnet_refused refused = {.runts = 0};
    struct frame offered[N];

    (void)state;
    for (size_t i = 0; i < N; i++)
        put_record(i, OFFLOAD_OFF, i % 2 ? &udp4 : &tcp6, 0);
    memcpy(offered, frames, sizeof offered);
    assert_int_equal(unwrap(OFFLOAD_OFF, N, &refused), N);
    assert_none_refused(&refused);
    assert_memory_equal(offered, frames, sizeof offered);
    vnet_undo(OFFLOAD_OFF, frames, N);
    assert_records_are_as_before(N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_says_the_same_when_it_comes_in_and_goes_out),
        cmocka_unit_test(a_plain_frame_goes_out_behind_a_header_of_zeroes),
        cmocka_unit_test(a_record_without_room_for_header_and_frame_is_a_runt),
        cmocka_unit_test(refused_frames_leave_the_others_in_order),
        cmocka_unit_test(what_was_not_taken_is_put_back_byte_for_byte),
        cmocka_unit_test(a_descriptor_is_the_same_at_the_second_try),
        cmocka_unit_test(raw_frames_may_be_looked_at_again),
        cmocka_unit_test(frames_of_a_plain_port_are_not_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

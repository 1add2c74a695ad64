/* tests/unit/switch/test_lan_offload.c - frames with work left to do, towards ports of every kind
 *
 * How it works
 *   Each port keeps the bytes of what it is sent, at the moment it is sent them. What it should have got is
 * made naively (packets.h) from the frames that were offered, and compared in order, byte for byte. So
 * nothing here knows how the switch goes about it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "switch/lan.h"
#include "switch/mac.h"
#include "switch/offload.h"
#include "tests/unit/switch/packets.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
    MTU = 1500,
    FRAME_MAX = MTU + FRAME_ETHER_HEADER,
    ARENA = 4 * 1024 * 1024,
    RECORDS = 16384,
    N_STATIONS = 6,
    N_PACKETS = 12, /* of one batch */
};

/* The one that sends, and one of each kind. */
enum { SENDER, OFF, RAW, VIRTIO, VIRTIO_UDP, OTHER };

#define BROADCAST UINT64_C(0xFFFFFFFFFFFF)
#define STRANGER UINT64_C(0x5254000000EE)

struct record {
    size_t at;
    uint32_t len;
    struct frame_offload offload;
};

struct station {
    struct port port; /* first: the station is found by its port */
    uint8_t *arena;
    size_t used;
    struct record records[RECORDS];
    size_t n_records, n_checked;
    uint32_t n_too_big; /* expected */
    uint64_t n_segment_copies;
};

static struct lan *lan;
static struct station stations[N_STATIONS];
static struct packets_packet packets[N_PACKETS];
static uint8_t originals[N_PACKETS][PACKETS_SIZE];
static uint16_t gso_sizes[N_PACKETS]; /* 0: no segmentation */
static bool has_work[N_PACKETS];
static struct frame batch[LAN_BATCH_MAX];
static uint8_t expected[PACKETS_SIZE];

static const struct packets_shape tcp4 = {.version = 4, .protocol = PACKETS_TCP, .payload_len = 20000};
static const struct packets_shape tcp4_short = {.version = 4, .protocol = PACKETS_TCP, .payload_len = 901};
static const struct packets_shape tcp6 = {.version = 6, .protocol = PACKETS_TCP, .payload_len = 20000};
static const struct packets_shape udp4 = {.version = 4, .protocol = PACKETS_UDP, .payload_len = 20000};
static const struct packets_shape udp6 = {.version = 6, .protocol = PACKETS_UDP, .payload_len = 20000};

static uint64_t mac_of(int i)
{
    return UINT64_C(0x525400000010) + (uint64_t)i;
}

/* ---- ports that remember ---- */

/* What every link may count on (switch/frame.h, switch/port.h). */
static void assert_is_sound(const struct frame *frame)
{
    const uint8_t *prefix = frame->head - FRAME_PREFIX;

    assert_int_equal((uint32_t)prefix[0] << 24 | (uint32_t)prefix[1] << 16 | (uint32_t)prefix[2] << 8 |
                         prefix[3],
                     frame->len);
    assert_true(frame->head_len >= FRAME_HEAD_MIN || frame->head_len == frame->len);
    assert_true(frame->n_rest <= FRAME_REST_MAX);
}

static void station_send(struct port *port, const struct frame *const *frames, size_t n)
{
    struct station *station = (struct station *)port;

    assert_in_range(n, 1, LAN_BATCH_MAX);
    for (size_t i = 0; i < n; i++) {
        assert_is_sound(frames[i]);
        assert_true(station->used + frames[i]->len <= ARENA && station->n_records < RECORDS);
        assert_int_equal(packets_flatten(frames[i], station->arena + station->used), frames[i]->len);
        station->records[station->n_records++] =
            (struct record){station->used, frames[i]->len, frames[i]->offload};
        station->used += frames[i]->len;
        port->counters.bytes_out += frames[i]->len;
    }
    port->counters.frames_out += n;
}

static const struct port_ops station_ops = {.send = station_send};

static void forget(void)
{
    for (int i = 0; i < N_STATIONS; i++) {
        stations[i].used = stations[i].n_records = stations[i].n_checked = 0;
        stations[i].n_too_big = 0;
        stations[i].n_segment_copies = 0;
        memset(&stations[i].port.counters, 0, sizeof(stations[i].port.counters));
    }
}

static void join(int i)
{
    static const enum port_offload kinds[N_STATIONS] = {OFFLOAD_VIRTIO, OFFLOAD_OFF,    OFFLOAD_RAW,
                                                        OFFLOAD_VIRTIO, OFFLOAD_VIRTIO, OFFLOAD_OFF};
    struct station *station = &stations[i];
    uint8_t *arena = station->arena ? station->arena : malloc(ARENA);

    assert_non_null(arena);
    memset(station, 0, sizeof(*station));
    station->arena = arena;
    station->port.name[0] = (char)('a' + i);
    station->port.enabled = true;
    station->port.frame_max = FRAME_MAX;
    station->port.offload = kinds[i];
    station->port.takes_udp_gso = i == VIRTIO_UDP;
    port_plug(&station->port, &station_ops, station);
    lan_join(lan, &station->port);
    fdb_learn(lan_fdb(lan), mac_of(i), &station->port, 0);
}

/* 'is_backwards': a frame for all meets the kinds in the other order. */
static void open_with(uint32_t mtu, bool is_backwards)
{
    const struct lan_options options = {.fdb = {.seed = {3, 4},
                                                .capacity = FDB_CAPACITY,
                                                .port_limit = FDB_PORT_LIMIT,
                                                .uplink_limit = FDB_UPLINK_LIMIT,
                                                .age_ms = FDB_AGE_MS,
                                                .hold_ms = FDB_HOLD_MS},
                                        .mtu = mtu};
    lan = lan_create(&options);
    assert_non_null(lan);
    for (int i = 0; i < N_STATIONS; i++)
        join(is_backwards ? N_STATIONS - 1 - i : i);
}

static void assert_sum_holds(void)
{
    struct counters totals;
    uint64_t queued;

    lan_totals(lan, &totals, &queued);
    assert_int_equal(totals.frames_in + totals.flood_copies + totals.segment_copies,
                     totals.frames_out + counters_dropped(&totals) + queued);
}

static void close_it(void)
{
    assert_sum_holds();
    for (int i = 0; i < N_STATIONS; i++) {
        port_unplug(&stations[i].port);
        lan_leave(lan, &stations[i].port);
    }
    assert_sum_holds();
    lan_destroy(lan);
    lan = NULL;
}

static int set_up(void **state)
{
    (void)state;
    open_with(MTU, false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close_it();
    for (int i = 0; i < N_STATIONS; i++) {
        free(stations[i].arena);
        stations[i].arena = NULL;
    }
    return 0;
}

/* ---- frames ---- */

enum work { WORK_NONE, WORK_CHECKSUM, WORK_SEGMENTS };

/* Makes packet 'i', from the sender to 'destination', and keeps a copy. */
static void make(size_t i, uint64_t destination, const struct packets_shape *shape, enum work work,
                 uint16_t gso_size)
{
    struct packets_packet *packet = &packets[i];
    struct frame *frame = &packet->frame;

    packets_make(packet, shape, (uint32_t)(i + shape->payload_len));
    if (work == WORK_NONE)
        packets_segment(packet, shape->payload_len, 0, frame->head);
    else
        packets_describe(packet, work == WORK_SEGMENTS ? gso_size : 0);
    mac_store(frame->head, destination);
    mac_store(frame->head + MAC_LEN, mac_of(SENDER));
    assert_true(offload_accept(frame));
    memcpy(originals[i], frame->head, frame->len);
    gso_sizes[i] = offload_is_gso(frame) ? gso_size : 0;
    has_work[i] = work != WORK_NONE;
    batch[i] = *frame;
}

static void offer(size_t n)
{
    assert_int_equal(lan_receive(lan, &stations[SENDER].port, batch, n, false, 1000), LAN_TAKEN);
    assert_sum_holds();
}

static struct packets_shape with_payload(const struct packets_shape *shape, uint32_t payload_len)
{
    struct packets_shape made = *shape;

    made.payload_len = payload_len;
    return made;
}

/* ---- what should have come ---- */

static const struct record *next_record(struct station *station)
{
    assert_true(station->n_checked < station->n_records);
    return &station->records[station->n_checked++];
}

/* The next record is plain, and these bytes. */
static void expect_finished(struct station *station, uint32_t len)
{
    static const struct frame_offload nothing;
    const struct record *record = next_record(station);

    assert_int_equal(record->len, len);
    assert_memory_equal(&record->offload, &nothing, sizeof(nothing));
    assert_memory_equal(station->arena + record->at, expected, len);
}

/* Segment 'index' of packet 'i' into 'expected', with the packet's own addresses. */
static uint32_t make_expected(size_t i, uint32_t gso_size, uint32_t index)
{
    struct packets_packet *packet = &packets[i];
    uint8_t *head = packet->frame.head;

    packet->frame.head = originals[i];
    uint32_t len = packets_segment(packet, gso_size, index, expected);
    packet->frame.head = head;
    memcpy(expected, originals[i], 2 * MAC_LEN);
    return len;
}

static void expect_segments(struct station *station, size_t i)
{
    const struct packets_packet *packet = &packets[i];
    uint32_t limit = station->port.frame_max + (packet->shape.n_tags > 0 ? FRAME_VLAN_TAG : 0);
    uint32_t len, n = 0;

    if (packet->payload + gso_sizes[i] > limit) {
        station->n_too_big++;
        return;
    }
    while ((len = make_expected(i, gso_sizes[i], n)) > 0) {
        expect_finished(station, len);
        n++;
    }
    assert_true(n > 1);
    station->n_segment_copies += n - 1;
}

/* A checksum that is open stays so for whoever takes it, or somebody before has finished it. */
static void expect_single(struct station *station, size_t i)
{
    const struct packets_packet *packet = &packets[i];
    uint32_t untagged = packet->frame.len - (packet->shape.n_tags > 0 ? FRAME_VLAN_TAG : 0);

    if (untagged > station->port.frame_max) {
        station->n_too_big++;
        return;
    }
    const struct record *record = &station->records[station->n_checked];
    if (has_work[i] && station->port.offload == OFFLOAD_VIRTIO && station->n_checked < station->n_records &&
        record->offload.flags == OFFLOAD_NEEDS_CSUM) {
        assert_int_equal(record->len, packet->frame.len);
        assert_memory_equal(&record->offload, &packet->frame.offload, sizeof(record->offload));
        assert_memory_equal(station->arena + record->at, originals[i], record->len);
        station->n_checked++;
        return;
    }
    expect_finished(station, make_expected(i, packet->shape.payload_len, 0));
}

static void expect_untouched(struct station *station, size_t i)
{
    const struct record *record = next_record(station);

    assert_int_equal(record->len, packets[i].frame.len);
    assert_memory_equal(&record->offload, &packets[i].frame.offload, sizeof(record->offload));
    assert_memory_equal(station->arena + record->at, originals[i], record->len);
}

static void expect_packet(struct station *station, size_t i)
{
    const struct packets_packet *packet = &packets[i];
    bool is_udp = packet->shape.protocol == PACKETS_UDP;
    bool is_short = !station->port.whole_max || packet->frame.len <= station->port.whole_max;

    if (gso_sizes[i] == 0)
        expect_single(station, i);
    else if (is_short && station->port.offload == OFFLOAD_VIRTIO && (!is_udp || station->port.takes_udp_gso))
        expect_untouched(station, i);
    else if (is_short && station->port.offload == OFFLOAD_RAW && !is_udp &&
             packet->frame.len <= FRAME_OFFLOAD_MAX)
        expect_finished(station, make_expected(i, packet->shape.payload_len, 0));
    else
        expect_segments(station, i);
}

static void expect_no_more(struct station *station)
{
    assert_int_equal(station->n_checked, station->n_records);
    assert_int_equal(station->port.counters.segment_copies, station->n_segment_copies);
    assert_int_equal(station->port.counters.drops[DROP_too_big], station->n_too_big);
}

static bool is_for(size_t i, int station)
{
    uint64_t destination = mac_load(originals[i]);

    return station != SENDER &&
           (destination == mac_of(station) || destination == BROADCAST || destination == STRANGER);
}

/* All stations got what of packets [0, n) is for them, and nothing else. */
static void assert_received(size_t n)
{
    for (int station = 0; station < N_STATIONS; station++) {
        for (size_t i = 0; i < n; i++)
            if (is_for(i, station))
                expect_packet(&stations[station], i);
        expect_no_more(&stations[station]);
    }
    assert_int_equal(stations[SENDER].port.counters.frames_in, n);
}

/* ---- tests ---- */

static void a_long_frame_is_cut_for_a_plain_port_and_whole_for_the_others(void **state)
{
    static const struct packets_shape *const shapes[] = {&tcp4, &tcp6};

    (void)state;
    for (size_t k = 0; k < N_OF(shapes); k++)
        for (int to = OFF; to < N_STATIONS; to++) {
            forget();
            make(0, mac_of(to), shapes[k], WORK_SEGMENTS, 1400);
            offer(1);
            assert_received(1);
            assert_int_equal(stations[to].n_records,
                             stations[to].port.offload == OFFLOAD_OFF ? 15 : 1); /* 20000 / 1400 */
            for (size_t i = 0; i < stations[to].n_records && to == OFF; i++)
                assert_true(stations[to].records[i].len <= FRAME_MAX);
        }
}

static void a_long_frame_of_udp_is_whole_only_for_who_says_so(void **state)
{
    static const struct packets_shape *const shapes[] = {&udp4, &udp6};

    (void)state;
    for (size_t k = 0; k < N_OF(shapes); k++)
        for (int to = OFF; to < N_STATIONS; to++) {
            forget();
            make(0, mac_of(to), shapes[k], WORK_SEGMENTS, 1000);
            offer(1);
            assert_received(1);
            assert_int_equal(stations[to].n_records, to == VIRTIO_UDP ? 1 : 20);
        }
}

static void a_port_may_say_how_long_a_frame_it_takes_uncut(void **state)
{
    (void)state;
    for (int to = RAW; to < N_STATIONS; to++) {
        if (stations[to].port.offload == OFFLOAD_OFF)
            continue;
        forget();
        make(0, mac_of(to), &tcp4, WORK_SEGMENTS, 1400);
        const uint32_t len = packets[0].frame.len;
        const uint32_t limits[] = {len, len - 1, PORT_WHOLE_NONE, 0};
        const size_t n_frames[] = {1, 15, 15, 1};
        for (size_t k = 0; k < N_OF(limits); k++) {
            forget();
            stations[to].port.whole_max = limits[k];
            make(0, mac_of(to), &tcp4, WORK_SEGMENTS, 1400);
            offer(1);
            assert_received(1);
            assert_int_equal(stations[to].n_records, n_frames[k]);
        }
        /* What is not to be cut is none of its business. */
        forget();
        stations[to].port.whole_max = PORT_WHOLE_NONE;
        make(0, mac_of(to), &tcp4_short, WORK_CHECKSUM, 0);
        offer(1);
        assert_received(1);
        stations[to].port.whole_max = 0;
    }
}

static void an_open_checksum_stays_open_only_behind_a_header(void **state)
{
    (void)state;
    for (int to = OFF; to < N_STATIONS; to++) {
        struct packets_shape shape = with_payload(to % 2 ? &tcp4 : &udp6, 901);

        forget();
        make(0, mac_of(to), &shape, WORK_CHECKSUM, 0);
        offer(1);
        const struct record *record = &stations[to].records[0];
        assert_int_equal(record->offload.flags,
                         stations[to].port.offload == OFFLOAD_VIRTIO ? OFFLOAD_NEEDS_CSUM : 0);
        assert_int_equal(packets_is_right(stations[to].arena, record->len, packets[0].network,
                                          packets[0].transport, shape.protocol),
                         stations[to].port.offload != OFFLOAD_VIRTIO);
        assert_received(1);
    }
}

static void segments_keep_their_place_among_the_frames_of_a_batch(void **state)
{
    struct packets_shape shape = with_payload(&tcp4, 300);

    (void)state;
    for (int to = OFF; to < N_STATIONS; to++) {
        forget();
        make(0, mac_of(to), &shape, WORK_NONE, 0);
        make(1, mac_of(to), &tcp4, WORK_SEGMENTS, 1448);
        make(2, mac_of(to), &shape, WORK_CHECKSUM, 0);
        make(3, BROADCAST, &shape, WORK_NONE, 0);
        make(4, mac_of(to), &tcp6, WORK_SEGMENTS, 1428);
        make(5, mac_of(to), &shape, WORK_NONE, 0);
        make(6, STRANGER, &tcp4, WORK_SEGMENTS, 536);
        make(7, mac_of(to), &shape, WORK_CHECKSUM, 0);
        offer(8);
        assert_received(8);
    }
}

/* What is finished in place for one is what the next one sees. */
static void frames_for_all_are_right_for_every_kind_in_either_order(void **state)
{
    static const uint64_t destinations[] = {BROADCAST, STRANGER};
    struct packets_shape small4 = with_payload(&udp4, 77), small6 = with_payload(&tcp6, 1200);

    (void)state;
    for (int is_backwards = 0; is_backwards < 2; is_backwards++) {
        close_it();
        open_with(MTU, is_backwards);
        for (size_t k = 0; k < N_OF(destinations); k++) {
            forget();
            make(0, destinations[k], &tcp4, WORK_SEGMENTS, 1400);
            make(1, destinations[k], &small4, WORK_CHECKSUM, 0);
            make(2, destinations[k], &udp6, WORK_SEGMENTS, 1000);
            make(3, destinations[k], &small6, WORK_CHECKSUM, 0);
            make(4, destinations[k], &small6, WORK_NONE, 0);
            make(5, destinations[k], &tcp6, WORK_SEGMENTS, 1400);
            offer(6);
            assert_received(6);
            assert_int_equal(stations[SENDER].port.counters.flood_copies, 6 * (N_STATIONS - 2));
            assert_int_equal(stations[SENDER].port.counters.segment_copies, 0);
        }
    }
}

static void segments_that_are_too_big_are_one_drop_of_one_frame(void **state)
{
    (void)state;
    make(0, BROADCAST, &tcp4, WORK_SEGMENTS, MTU - 40);
    make(1, BROADCAST, &tcp4, WORK_SEGMENTS, MTU - 40 + 1); /* 1515 bytes a segment */
    make(2, BROADCAST, &udp4, WORK_SEGMENTS, MTU - 28 + 1);
    offer(3);
    assert_received(3);
    assert_int_equal(stations[OFF].port.counters.drops[DROP_too_big], 2);
    assert_int_equal(stations[RAW].port.counters.drops[DROP_too_big], 1);
    assert_int_equal(stations[VIRTIO].port.counters.drops[DROP_too_big], 1);
    assert_int_equal(stations[VIRTIO_UDP].port.counters.drops[DROP_too_big], 0);
}

static void segments_of_a_tagged_frame_may_have_a_tag_more(void **state)
{
    struct packets_shape tagged = tcp4;

    (void)state;
    tagged.n_tags = 1;
    make(0, mac_of(OFF), &tagged, WORK_SEGMENTS, MTU - 40);
    make(1, mac_of(OFF), &tagged, WORK_SEGMENTS, MTU - 40 + 1);
    offer(2);
    assert_received(2);
    assert_int_equal(stations[OFF].port.counters.drops[DROP_too_big], 1);
}

static void a_port_with_a_smaller_limit_of_its_own_gets_no_longer_segment(void **state)
{
    (void)state;
    stations[OTHER].port.frame_max = 576 + FRAME_ETHER_HEADER;
    make(0, BROADCAST, &tcp4, WORK_SEGMENTS, 536);
    make(1, BROADCAST, &tcp4, WORK_SEGMENTS, 537);
    offer(2);
    assert_received(2);
    assert_int_equal(stations[OTHER].port.counters.drops[DROP_too_big], 1);
    assert_int_equal(stations[OFF].port.counters.drops[DROP_too_big], 0);
}

/* 1,365 segments of one frame, and several such frames in one batch. */
static void more_segments_than_any_room_arrive_all_and_in_order(void **state)
{
    struct packets_shape longest4 = with_payload(&tcp4, 65535 - 40), small = with_payload(&tcp4, 1);
    struct packets_shape longest6 = with_payload(&tcp6, 65535 - 20);

    (void)state;
    make(0, BROADCAST, &longest4, WORK_SEGMENTS, OFFLOAD_TCP_GSO_SIZE_MIN);
    make(1, BROADCAST, &small, WORK_CHECKSUM, 0);
    make(2, BROADCAST, &longest6, WORK_SEGMENTS, OFFLOAD_TCP_GSO_SIZE_MIN);
    make(3, mac_of(OFF), &longest4, WORK_SEGMENTS, 100);
    make(4, mac_of(RAW), &longest4, WORK_SEGMENTS, 100);
    make(5, BROADCAST, &longest4, WORK_SEGMENTS, 1448);
    make(6, BROADCAST, &small, WORK_NONE, 0);
    offer(7);
    assert_received(7);
    assert_int_equal(stations[OTHER].n_records, 2 * 1365 + 46 + 2);
}

/* At, below and above the numbers that make the switch hand over early. */
static void segments_in_any_number_leave_none_behind(void **state)
{
    (void)state;
    for (uint32_t n = 2; n <= 300; n += n > 110 ? 37 : 1) {
        struct packets_shape shape = with_payload(&tcp4, n * 64);

        forget();
        make(0, BROADCAST, &shape, WORK_SEGMENTS, 64);
        make(1, BROADCAST, &tcp4, WORK_SEGMENTS, 1400);
        make(2, BROADCAST, &shape, WORK_SEGMENTS, 64);
        offer(3);
        assert_received(3);
        assert_int_equal(stations[OFF].n_records, 2 * n + 15);
    }
}

/* A whole batch of long frames, all of which a raw port gets in one piece. */
static void a_full_batch_of_long_frames_is_handed_over_in_parts(void **state)
{
    struct packets_shape shape = with_payload(&tcp4, 3000);

    (void)state;
    make(0, mac_of(RAW), &shape, WORK_SEGMENTS, 1400);
    for (size_t i = 1; i < LAN_BATCH_MAX; i++)
        batch[i] = batch[0];
    offer(LAN_BATCH_MAX);
    for (size_t i = 0; i < LAN_BATCH_MAX; i++)
        expect_packet(&stations[RAW], 0);
    expect_no_more(&stations[RAW]);

    forget();
    make(0, mac_of(OFF), &shape, WORK_SEGMENTS, 1400);
    for (size_t i = 1; i < LAN_BATCH_MAX; i++)
        batch[i] = batch[0];
    offer(LAN_BATCH_MAX);
    for (size_t i = 0; i < LAN_BATCH_MAX; i++)
        expect_packet(&stations[OFF], 0);
    expect_no_more(&stations[OFF]);
    assert_int_equal(stations[OFF].n_records, 3 * LAN_BATCH_MAX);
}

/* One long frame, n short ones, three long ones: offered, and all got. */
static void send_around(int to, size_t n)
{
    forget();
    batch[0] = packets[1].frame;
    for (size_t i = 1; i <= n; i++)
        batch[i] = packets[0].frame;
    for (size_t i = 2; i <= 4; i++)
        batch[n + i - 1] = packets[i].frame;
    offer(n + 4);
    expect_packet(&stations[to], 1);
    for (size_t i = 0; i < n; i++)
        expect_packet(&stations[to], 0);
    for (size_t i = 2; i <= 4; i++)
        expect_packet(&stations[to], i);
    expect_no_more(&stations[to]);
}

/* Frames that take room without being made here shift where the room for those that are ends. Those of IPv6
 * are a run of their own, without work. */
static void long_frames_around_any_number_of_others_are_whole(void **state)
{
    const struct packets_shape smalls[] = {with_payload(&tcp4, 10), with_payload(&tcp6, 10)};
    struct packets_shape shape = with_payload(&tcp4, 60 * 64), few = with_payload(&udp4, 600);
    struct packets_shape datagrams = with_payload(&udp4, 60 * 64);

    (void)state;
    for (int to = OFF; to < N_STATIONS; to++) {
        for (size_t k = 0; k < N_OF(smalls); k++) {
            make(0, mac_of(to), &smalls[k], WORK_NONE, 0);
            make(1, mac_of(to), &few, WORK_SEGMENTS, 60);
            make(2, mac_of(to), &shape, WORK_SEGMENTS, 61);
            make(3, mac_of(to), &datagrams, WORK_SEGMENTS, 62);
            make(4, mac_of(to), &shape, WORK_SEGMENTS, 63);
            for (size_t n = 190; n <= LAN_BATCH_MAX - 4; n++)
                send_around(to, n);
        }
    }
}

/* A client may read into FRAME_OFFLOAD_MAX bytes, as libkrun does, and end when there are more. With a tag,
 * or over IPv6, whose length does not count its header, a neighbour's frame may be longer. */
static void a_raw_port_is_sent_no_frame_that_its_client_has_no_room_for(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < 6; k++) {
        struct packets_shape longest =
            k % 2 ? with_payload(&tcp6, 65535 - 20) : with_payload(&tcp4, 65535 - 40);

        longest.n_tags = k / 2;
        forget();
        make(0, mac_of(RAW), &longest, WORK_SEGMENTS, 1400);
        offer(1);
        assert_true(stations[RAW].n_records > 0);
        for (size_t i = 0; i < stations[RAW].n_records; i++)
            assert_true(stations[RAW].records[i].len <= FRAME_OFFLOAD_MAX);
        assert_received(1);
    }
}

static void what_has_to_wait_stays_as_it_is_and_may_be_offered_again(void **state)
{
    static uint8_t before[N_PACKETS][PACKETS_SIZE];
    struct packets_shape small = with_payload(&tcp4, 500);
    struct counters totals[2];

    (void)state;
    make(0, BROADCAST, &small, WORK_CHECKSUM, 0);
    make(1, mac_of(OFF), &tcp4, WORK_SEGMENTS, 1400);
    make(2, mac_of(RAW), &tcp6, WORK_SEGMENTS, 1400);
    make(3, mac_of(OTHER), &small, WORK_CHECKSUM, 0);
    for (int to = OFF; to <= RAW; to++) {
        memset(before, 0, sizeof(before));
        for (size_t i = 0; i < 4; i++)
            memcpy(before[i], packets[i].room, FRAME_PREFIX + packets[i].frame.len);
        lan_totals(lan, &totals[0], NULL);
        stations[to].port.pushes_back = true;
        for (int again = 0; again < 3; again++)
            assert_int_equal(lan_receive(lan, &stations[SENDER].port, batch, 4, true, 1000), LAN_WAIT);
        stations[to].port.pushes_back = false;
        lan_totals(lan, &totals[1], NULL);
        assert_memory_equal(&totals[0], &totals[1], sizeof(totals[0]));
        for (size_t i = 0; i < 4; i++) {
            assert_memory_equal(before[i], packets[i].room, FRAME_PREFIX + packets[i].frame.len);
            assert_memory_equal(&batch[i].offload, &packets[i].frame.offload, sizeof(batch[i].offload));
        }
    }
    offer(4);
    assert_received(4);
}

/* Whether its segments fit is known when they are cut: until then a long frame is one that fits. */
static void a_long_frame_waits_for_a_port_that_pushes_back(void **state)
{
    static const uint16_t sizes[] = {1400, MTU};

    (void)state;
    for (size_t k = 0; k < N_OF(sizes); k++) {
        forget();
        make(0, mac_of(OFF), &tcp4, WORK_SEGMENTS, sizes[k]);
        stations[OFF].port.pushes_back = true;
        assert_int_equal(lan_receive(lan, &stations[SENDER].port, batch, 1, true, 1000), LAN_WAIT);
        assert_int_equal(lan_receive(lan, &stations[SENDER].port, batch, 1, false, 1000), LAN_TAKEN);
        assert_received(1);
    }
}

static void isolation_holds_for_long_frames_too(void **state)
{
    (void)state;
    stations[OFF].port.isolated = true;
    make(0, mac_of(OFF), &tcp4, WORK_SEGMENTS, 1400);
    make(1, BROADCAST, &udp4, WORK_SEGMENTS, 1400);
    offer(2);
    assert_int_equal(stations[OFF].n_records, 0);
    assert_int_equal(stations[OFF].port.counters.segment_copies, 0);
    assert_int_equal(stations[SENDER].port.counters.drops[DROP_isolated], 1);
    assert_int_equal(stations[SENDER].port.counters.flood_copies, N_STATIONS - 3);
    assert_int_equal(stations[OTHER].n_records, 15);
}

static void long_frames_that_nobody_gets_are_one_drop_each(void **state)
{
    (void)state;
    stations[OFF].port.enabled = false;
    port_unplug(&stations[OTHER].port);
    make(0, mac_of(OFF), &tcp4, WORK_SEGMENTS, 1400);
    make(1, mac_of(OTHER), &tcp4, WORK_SEGMENTS, 1400);
    make(2, mac_of(SENDER), &tcp4, WORK_SEGMENTS, 1400);
    offer(3);
    assert_int_equal(stations[OFF].port.counters.drops[DROP_link_down], 1);
    assert_int_equal(stations[OTHER].port.counters.drops[DROP_link_down], 1);
    assert_int_equal(stations[SENDER].port.counters.drops[DROP_same_port], 1);
    for (int i = 0; i < N_STATIONS; i++)
        assert_int_equal(stations[i].n_records + stations[i].port.counters.segment_copies, 0);
}

/* Only segmentation makes a frame that may be longer than the network's. */
static void a_long_frame_without_segmentation_is_oversize_from_any_port(void **state)
{
    struct packets_shape shape = with_payload(&tcp4, MTU - 40 + 1);

    (void)state;
    make(0, mac_of(VIRTIO), &shape, WORK_NONE, 0);
    make(1, mac_of(VIRTIO), &tcp4, WORK_CHECKSUM, 0);
    make(2, BROADCAST, &tcp4, WORK_CHECKSUM, 0);
    make(3, mac_of(OFF), &tcp4, WORK_SEGMENTS, 1400);
    offer(4);
    assert_int_equal(stations[SENDER].port.counters.drops[DROP_oversize], 3);
    assert_int_equal(stations[OFF].n_records, 15);
    assert_int_equal(stations[VIRTIO].n_records, 0);
}

/* ---- any batch ---- */

static uint32_t below(uint32_t n)
{
    return (uint32_t)rand() % n;
}

static void make_any(size_t i)
{
    static const uint64_t specials[] = {BROADCAST, STRANGER};
    struct packets_shape shape = {.version = below(2) ? 4 : 6,
                                  .protocol = below(3) ? PACKETS_TCP : PACKETS_UDP,
                                  .n_tags = below(4) ? 0 : 1 + below(2),
                                  .tcp_more = below(3) * 12,
                                  .sequence = (uint32_t)rand(),
                                  .id = (uint16_t)rand(),
                                  .tcp_flags = (uint8_t)rand()};
    enum work work = (enum work)below(3);
    uint16_t gso_size = (uint16_t)(below(8) ? 536 + below(1000) : 48 + below(100));

    shape.network_more = below(4) ? 0 : 8 * (1 + below(4));
    shape.payload_len = 1 + below(work == WORK_SEGMENTS ? below(4) ? 8000 : 65000 : 1360);
    make(i, below(2) ? specials[below(2)] : mac_of(1 + (int)below(N_STATIONS - 1)), &shape, work, gso_size);
    /* One segment is none, and then a frame as long as it is. */
    if (batch[i].len > FRAME_MAX && gso_sizes[i] == 0)
        make_any(i);
}

static void any_batch_arrives_as_it_should_everywhere(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 400; round++) {
        size_t n = 1 + below(N_PACKETS);

        if (round % 50 == 0) {
            close_it();
            open_with(MTU, round % 100 == 0);
        }
        forget();
        stations[OTHER].port.frame_max = below(3) ? FRAME_MAX : 600 + below(900);
        for (size_t i = 0; i < n; i++)
            make_any(i);
        offer(n);
        assert_received(n);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_long_frame_is_cut_for_a_plain_port_and_whole_for_the_others),
        TEST(a_long_frame_of_udp_is_whole_only_for_who_says_so),
        TEST(a_port_may_say_how_long_a_frame_it_takes_uncut),
        TEST(an_open_checksum_stays_open_only_behind_a_header),
        TEST(segments_keep_their_place_among_the_frames_of_a_batch),
        TEST(frames_for_all_are_right_for_every_kind_in_either_order),
        TEST(segments_that_are_too_big_are_one_drop_of_one_frame),
        TEST(segments_of_a_tagged_frame_may_have_a_tag_more),
        TEST(a_port_with_a_smaller_limit_of_its_own_gets_no_longer_segment),
        TEST(more_segments_than_any_room_arrive_all_and_in_order),
        TEST(segments_in_any_number_leave_none_behind),
        TEST(a_full_batch_of_long_frames_is_handed_over_in_parts),
        TEST(long_frames_around_any_number_of_others_are_whole),
        TEST(a_raw_port_is_sent_no_frame_that_its_client_has_no_room_for),
        TEST(what_has_to_wait_stays_as_it_is_and_may_be_offered_again),
        TEST(a_long_frame_waits_for_a_port_that_pushes_back),
        TEST(isolation_holds_for_long_frames_too),
        TEST(long_frames_that_nobody_gets_are_one_drop_each),
        TEST(a_long_frame_without_segmentation_is_oversize_from_any_port),
        TEST(any_batch_arrives_as_it_should_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

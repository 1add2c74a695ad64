/* Tests of ports that offload, over real sockets: what a client writes, and what another reads.
 *
 * A packet is known by its number: packet_of() makes it again, and what a reader of any kind should have of
 * it is made naively (tests/unit/switch/packets.h).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "io/framing.h"
#include "io/link_internal.h"
#include "switch/mac.h"
#include "switch/offload.h"
#include "tests/unit/switch/packets.h"

enum { MTU = 1500, FRAME_MAX = MTU + FRAME_ETHER_HEADER, RECORD_MAX = FRAME_PREFIX + FRAME_LEN_MAX };

static struct fixture f;
static struct packets_packet packet;
static uint8_t record[RECORD_MAX];
static uint8_t got[FRAME_LEN_MAX], expected[PACKETS_SIZE];

static const struct packets_shape tcp4 = {.version = 4, .protocol = PACKETS_TCP, .payload_len = 2900};
static const struct packets_shape tcp6 = {.version = 6, .protocol = PACKETS_TCP, .payload_len = 2900};
static const struct packets_shape udp4 = {.version = 4, .protocol = PACKETS_UDP, .payload_len = 2900};
static const struct packets_shape small = {.version = 4, .protocol = PACKETS_UDP, .payload_len = 333};

static int set_up(void **state)
{
    (void)state;
    fixture_open(&f, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* ---- clients ---- */

struct client {
    int fd;
    bool is_datagram;
    enum port_offload kind;
};

static struct client plug(unsigned i, enum port_offload kind, bool is_datagram)
{
    struct port *port = fixture_join(&f, i);
    struct client client = {.is_datagram = is_datagram, .kind = kind};
    int big = 1024 * 1024; /* where a datagram may only be as long as that */

    port->offload = kind;
    port->takes_udp_gso = true;
    client.fd = is_datagram ? fixture_datagram(&f, i) : fixture_stream(&f, i);
    setsockopt(client.fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    return client;
}

static void make_packet(const struct packets_shape *shape, uint16_t gso_size, uint32_t seed, bool is_for_all)
{
    packets_make(&packet, shape, seed);
    packets_describe(&packet, gso_size);
    if (is_for_all)
        memset(packet.frame.head, 0xFF, MAC_LEN);
}

/* A packet that no work is left with. */
static void finish_packet(void)
{
    memcpy(expected, packet.frame.head, MAC_LEN);
    packets_segment(&packet, packet.shape.payload_len, 0, packet.frame.head);
    memcpy(packet.frame.head, expected, MAC_LEN);
    packet.frame.offload = (struct frame_offload){0};
}

static void put_le(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value % 256);
    bytes[1] = (uint8_t)(value / 256);
}

static void write_header(uint8_t *bytes, const struct frame_offload *offload, uint16_t header_len)
{
    bytes[0] = offload->flags;
    bytes[1] = offload->gso_type;
    put_le(bytes + 2, header_len);
    put_le(bytes + 4, offload->gso_size);
    put_le(bytes + 6, offload->csum_start);
    put_le(bytes + 8, offload->csum_offset);
    put_le(bytes + 10, 1);
}

/* Lays the packet out as such a client writes it, prefix included. Returns the length. */
static size_t lay_out(enum port_offload kind)
{
    size_t header_len = kind == OFFLOAD_VIRTIO ? VNET_HEADER : 0;
    size_t len = header_len + packet.frame.len;

    frame_put_len(record, (uint32_t)len);
    if (header_len > 0)
        write_header(record + FRAME_PREFIX, &packet.frame.offload,
                     packet.frame.offload.gso_type ? (uint16_t)packet.payload : 0);
    memcpy(record + FRAME_PREFIX + header_len, packet.frame.head, packet.frame.len);
    return FRAME_PREFIX + len;
}

static void put_record(const struct client *client, const uint8_t *bytes, size_t len)
{
    if (!client->is_datagram) {
        stream_put(&f, client->fd, bytes, len);
        return;
    }
    ssize_t n = send(client->fd, bytes + FRAME_PREFIX, len - FRAME_PREFIX, MSG_DONTWAIT | MSG_NOSIGNAL);
    assert_int_equal(n, (ssize_t)(len - FRAME_PREFIX));
}

static void put_packet(const struct client *client)
{
    put_record(client, record, lay_out(client->kind));
}

static long receive(const struct client *client)
{
    return client->is_datagram ? datagram_receive(&f, client->fd, got, sizeof got)
                               : stream_receive(&f, client->fd, got, sizeof got);
}

/* ---- what a client should read ---- */

static void assert_frame(const struct client *client, long len, const uint8_t *frame, uint32_t frame_len)
{
    static const uint8_t nothing[VNET_HEADER] = {[10] = 1};
    long header_len = client->kind == OFFLOAD_VIRTIO ? VNET_HEADER : 0;

    assert_int_equal(len, header_len + (long)frame_len);
    if (header_len > 0)
        assert_memory_equal(got, nothing, VNET_HEADER);
    assert_memory_equal(got + header_len, frame, frame_len);
}

/* All there is to have of the packet, finished, in pieces of so much. */
static uint32_t expect_finished(const struct client *client, uint32_t gso_size)
{
    uint32_t len, n = 0;

    while ((len = packets_segment(&packet, gso_size, n, expected)) > 0) {
        memcpy(expected, packet.frame.head, MAC_LEN);
        assert_frame(client, receive(client), expected, len);
        n++;
    }
    return n;
}

/* With its header, and as long as it was. */
static void expect_described(const struct client *client, uint16_t gso_size, uint8_t gso_type)
{
    uint8_t header[VNET_HEADER];
    struct frame_offload offload = packet.frame.offload;

    offload.flags = OFFLOAD_NEEDS_CSUM;
    offload.gso_type = gso_type;
    offload.gso_size = gso_size;
    offload.csum_start = (uint16_t)packet.transport;
    offload.csum_offset = packet.shape.protocol == PACKETS_TCP ? 16 : 6;
    write_header(header, &offload, gso_size > 0 ? (uint16_t)packet.payload : 0);
    assert_int_equal(receive(client), VNET_HEADER + (long)packet.frame.len);
    assert_memory_equal(got, header, VNET_HEADER);
    assert_memory_equal(got + VNET_HEADER, packet.frame.head, packet.frame.len);
}

/* Each kind has of a TCP packet what it should; 'gso_size' is the sender's, or what the MTU makes of it. */
static void expect_tcp(const struct client *client, uint16_t gso_size)
{
    if (client->kind == OFFLOAD_VIRTIO)
        expect_described(client, gso_size, packet.shape.version == 4 ? OFFLOAD_GSO_TCPV4 : OFFLOAD_GSO_TCPV6);
    else
        expect_finished(client, client->kind == OFFLOAD_RAW ? packet.shape.payload_len : gso_size);
}

/* ---- tests ---- */

static void every_kind_reads_what_it_takes_from_every_kind(void **state)
{
    static const struct packets_shape *const shapes[] = {&tcp4, &tcp6};
    unsigned port = 0;

    (void)state;
    for (unsigned pair = 0; pair < 4; pair++) { /* of sockets */
        for (enum port_offload from = OFFLOAD_RAW; from < OFFLOAD_N; from++) {
            for (enum port_offload to = OFFLOAD_OFF; to < OFFLOAD_N; to++) {
                unsigned a = port % FIXTURE_PORTS, b = (port + 1) % FIXTURE_PORTS;
                struct client sender = plug(a, from, pair & 1), reader = plug(b, to, pair & 2);

                for (size_t k = 0; k < 2; k++) {
                    make_packet(shapes[k], 1000, 7, true);
                    put_packet(&sender);
                    expect_tcp(&reader, from == OFFLOAD_RAW ? MTU - (k ? 60 : 40) : 1000);
                }
                unsigned n_closed[] = {f.n_closed[a], f.n_closed[b]};
                link_close(&f.ports[a], LINK_CLOSE_NOW, "enough");
                link_close(&f.ports[b], LINK_CLOSE_NOW, "enough");
                assert_true(fixture_until_closed(&f, a, n_closed[0]));
                assert_true(fixture_until_closed(&f, b, n_closed[1]));
                fixture_hang_up(&f, sender.fd);
                fixture_hang_up(&f, reader.fd);
                port += 2;
            }
        }
    }
}

/* The whole stream, cut in two at every byte: in the prefix, in the header, in the frame. */
static void a_stream_with_headers_may_be_cut_anywhere(void **state)
{
    static uint8_t stream[3 * RECORD_MAX];
    struct client sender = plug(0, OFFLOAD_VIRTIO, false), reader = plug(1, OFFLOAD_OFF, false);
    size_t len = 0;

    (void)state;
    frame_put_len(stream, 25);
    len += FRAME_PREFIX + 25;
    for (int i = 0; i < 3; i++) {
        make_packet(i == 1 ? &tcp4 : &small, i == 1 ? 1400 : 0, 5, true);
        size_t n = lay_out(OFFLOAD_VIRTIO);
        memcpy(stream + len, record, n);
        len += n;
    }
    for (size_t cut = 1; cut < len; cut++) {
        stream_put(&f, sender.fd, stream, cut);
        uv_run(&f.loop, UV_RUN_NOWAIT);
        stream_put(&f, sender.fd, stream + cut, len - cut);
        for (int i = 0; i < 3; i++) {
            make_packet(i == 1 ? &tcp4 : &small, i == 1 ? 1400 : 0, 5, true);
            expect_finished(&reader, i == 1 ? 1400 : small.payload_len);
        }
    }
    assert_int_equal(fixture_drops(&f, 0, DROP_runt), len - 1);
    assert_int_equal(counters_dropped(&f.ports[0].counters), len - 1);
}

/* Turns, for which the time the test itself takes does not count: nobody's patience ends. */
static void turn_patiently(void)
{
    struct link *sender = f.ports[0].link, *reader = f.ports[1].link;

    for (int turn = 0; turn < 4; turn++) {
        memset(&sender->pressure, 0, sizeof sender->pressure);
        reader->took_at_us = io_now_us();
        uv_run(&f.loop, UV_RUN_NOWAIT);
        uv_timer_stop(&f.io->waits);
    }
}

/* A source that is faster than its reader waits, again and again, in the middle of batches. */
static void flow_from(enum port_offload from, enum port_offload to)
{
    enum { ROUNDS = 600 };
    struct packets_shape shape = tcp4;
    struct client sender = plug(0, from, false), reader = plug(1, to, false);
    uint32_t n_sent = 0, n_waits = 0;
    size_t at = 0, len = 0;

    /* Only a frame for a known port may wait. */
    fdb_learn(lan_fdb(f.lan), UINT64_C(0x525400000002), &f.ports[1], 0);
    shape.payload_len = 20000;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        /* As much as goes, then one packet is read: the sender is ahead, and stays so. */
        for (bool goes = true; goes && n_sent < ROUNDS;) {
            if (at == len) {
                make_packet(&shape, 1448, n_sent, false);
                len = lay_out(from);
                at = 0;
            }
            ssize_t n = send(sender.fd, record + at, len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            goes = n > 0;
            at += goes ? (size_t)n : 0;
            n_sent += at == len;
        }
        turn_patiently();
        n_waits += !list_is_empty(&((struct link *)f.ports[0].link)->of_waiting);
        static uint8_t kept[RECORD_MAX]; /* what is being sent */
        memcpy(kept, record, len);
        make_packet(&shape, 1448, i, false);
        expect_tcp(&reader, from == OFFLOAD_RAW ? MTU - 40 : 1448);
        memcpy(record, kept, len);
    }
    assert_true(n_waits > 10);
    assert_int_equal(counters_dropped(&f.ports[0].counters) + counters_dropped(&f.ports[1].counters), 0);
    assert_int_equal(f.ports[0].counters.frames_in, ROUNDS);
}

static void a_source_with_headers_that_waits_loses_no_byte(void **state)
{
    (void)state;
    flow_from(OFFLOAD_VIRTIO, OFFLOAD_VIRTIO);
}

static void a_source_with_headers_that_waits_for_a_plain_port_loses_no_byte(void **state)
{
    (void)state;
    flow_from(OFFLOAD_VIRTIO, OFFLOAD_OFF);
}

static void a_raw_source_that_waits_loses_no_byte(void **state)
{
    (void)state;
    flow_from(OFFLOAD_RAW, OFFLOAD_RAW);
}

static void nonsense_from(bool is_datagram)
{
    static const struct frame_offload wrong[] = {
        {.flags = 1, .csum_start = 65535, .csum_offset = 65535},
        {.flags = 1, .csum_start = 0, .csum_offset = 0},
        {.flags = 0, .gso_type = 1, .gso_size = 1000},
        {.flags = 1, .gso_type = 200, .gso_size = 1000, .csum_start = 34, .csum_offset = 16},
        {.flags = 1, .gso_type = 1, .gso_size = 0, .csum_start = 34, .csum_offset = 16},
        {.flags = 1, .gso_type = 4, .gso_size = 1000, .csum_start = 34, .csum_offset = 16},
        {.flags = 1, .gso_type = 1, .gso_size = 1000, .csum_start = 35, .csum_offset = 16},
    };
    struct client sender = plug(0, OFFLOAD_VIRTIO, is_datagram), reader = plug(1, OFFLOAD_OFF, false);
    uint32_t n = sizeof wrong / sizeof *wrong;

    memset(record, 0, sizeof record);
    for (uint32_t len = 0; len < VNET_HEADER + FRAME_LEN_MIN; len++) {
        frame_put_len(record, len);
        put_record(&sender, record, FRAME_PREFIX + len);
    }
    for (uint32_t i = 0; i < n; i++) {
        make_packet(&tcp4, 1000, i, true);
        packet.frame.offload = wrong[i];
        put_packet(&sender);
        make_packet(&small, 0, i, true);
        put_packet(&sender);
        expect_finished(&reader, small.payload_len);
    }
    assert_int_equal(fixture_drops(&f, 0, DROP_runt), VNET_HEADER + FRAME_LEN_MIN);
    assert_int_equal(fixture_drops(&f, 0, DROP_bad_offload), n);
    assert_int_equal(counters_dropped(&f.ports[0].counters), VNET_HEADER + FRAME_LEN_MIN + n);
    assert_int_equal(f.ports[0].counters.frames_in, VNET_HEADER + FRAME_LEN_MIN + 2 * n);
    assert_int_equal(f.n_closed[0], 0);
}

static void nonsense_before_a_frame_on_a_stream_costs_that_frame(void **state)
{
    (void)state;
    nonsense_from(false);
}

static void nonsense_before_a_frame_in_a_datagram_costs_that_frame(void **state)
{
    (void)state;
    nonsense_from(true);
}

static void a_raw_frame_that_cannot_be_cut_is_dropped_alone(void **state)
{
    (void)state;
    for (int is_datagram = 0; is_datagram < 2; is_datagram++) {
        struct client sender = plug((unsigned)is_datagram * 2, OFFLOAD_RAW, is_datagram),
                      reader = plug((unsigned)is_datagram * 2 + 1, OFFLOAD_OFF, false);

        make_packet(&udp4, 0, 1, true);
        put_packet(&sender);
        make_packet(&tcp4, 0, 1, true);
        packet.frame.head[12] = 0x12; /* nothing that we know */
        put_packet(&sender);
        make_packet(&small, 0, 2, true);
        put_packet(&sender);
        expect_finished(&reader, small.payload_len);
        assert_int_equal(fixture_drops(&f, (unsigned)is_datagram * 2, DROP_cannot_cut), 2);
        assert_int_equal(f.n_closed[is_datagram * 2], 0);
        link_close(&f.ports[is_datagram * 2 + 1], LINK_CLOSE_NOW, "enough");
    }
}

/* What waits for a slow reader waits with its header; the counters know of no headers. */
static void the_queue_keeps_header_and_frame(void **state)
{
    enum { FRAMES = 400 };

    (void)state;
    for (unsigned is_datagram = 0; is_datagram < 2; is_datagram++) {
        struct client sender = plug(is_datagram * 2, OFFLOAD_VIRTIO, false),
                      reader = plug(is_datagram * 2 + 1, OFFLOAD_VIRTIO, is_datagram);
        struct port *port = &f.ports[is_datagram * 2 + 1];
        uint64_t bytes = 0;
        int least = 1;

        setsockopt(((struct link *)port->link)->fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
        for (uint32_t i = 0; i < FRAMES; i++) {
            make_packet(i % 7 ? &small : &tcp4, i % 7 ? 0 : 1000, i, true);
            put_packet(&sender);
            bytes += packet.frame.len;
        }
        for (int turn = 0; turn < 50; turn++)
            uv_run(&f.loop, UV_RUN_NOWAIT);
        assert_true(port->queued > 100);
        for (uint32_t i = 0; i < FRAMES; i++) {
            make_packet(i % 7 ? &small : &tcp4, i % 7 ? 0 : 1000, i, true);
            expect_described(&reader, i % 7 ? 0 : 1000, i % 7 ? 0 : OFFLOAD_GSO_TCPV4);
        }
        assert_int_equal(port->counters.frames_out, FRAMES);
        assert_int_equal(port->counters.bytes_out, bytes);
        assert_int_equal(f.ports[is_datagram * 2].counters.bytes_in, bytes);
        link_close(&f.ports[is_datagram * 2], LINK_CLOSE_NOW, "enough");
        link_close(port, LINK_CLOSE_NOW, "enough");
    }
}

/* As long as IPv4 has them, between any two kinds of socket. */
static void the_longest_frames_pass_whole(void **state)
{
    struct packets_shape longest = tcp4;

    (void)state;
    longest.payload_len = 65535 - 40;
    for (unsigned pair = 0; pair < 4; pair++) {
        enum port_offload kind = pair % 2 ? OFFLOAD_RAW : OFFLOAD_VIRTIO;
        struct client sender = plug(pair * 2, kind, pair & 2), reader = plug(pair * 2 + 1, kind, !(pair & 1));

        for (uint32_t i = 0; i < 20; i++) {
            make_packet(&longest, 1448, i, true);
            assert_int_equal(packet.frame.len, 65549);
            put_packet(&sender);
            expect_tcp(&reader, 1448);
        }
        link_close(&f.ports[pair * 2], LINK_CLOSE_NOW, "enough");
        link_close(&f.ports[pair * 2 + 1], LINK_CLOSE_NOW, "enough");
    }
}

static void a_plain_port_reads_nothing_long_and_nothing_unfinished(void **state)
{
    static const struct packets_shape *const shapes[] = {&tcp4, &tcp6, &udp4, &small};
    struct client senders[] = {plug(0, OFFLOAD_VIRTIO, false), plug(1, OFFLOAD_VIRTIO, true),
                               plug(2, OFFLOAD_RAW, false), plug(3, OFFLOAD_RAW, true)};
    struct client readers[] = {plug(4, OFFLOAD_OFF, false), plug(5, OFFLOAD_OFF, true)};
    uint32_t n = 0;

    (void)state;
    for (uint32_t i = 0; i < 400; i++) {
        const struct client *sender = &senders[i % 4];
        const struct packets_shape *shape = shapes[i / 4 % (sender->kind == OFFLOAD_RAW ? 2 : 4)];

        make_packet(shape, shape == &small ? 0 : 1000, i, true);
        if (i % 11 == 0 && shape == &small)
            finish_packet();
        put_packet(sender);
        for (int k = 0; k < 2; k++) {
            uint32_t left = shape->payload_len;

            while (left > 0) {
                long len = receive(&readers[k]);

                assert_in_range(len, packet.payload + 1, FRAME_MAX);
                assert_true(
                    packets_is_right(got, (uint32_t)len, packet.network, packet.transport, shape->protocol));
                left -= (uint32_t)len - packet.payload;
                n++;
            }
        }
        /* The other senders hear it too, and must not fill up. */
        for (int k = 0; k < 4; k++)
            while (recv(senders[k].fd, got, sizeof got, MSG_DONTWAIT) > 0)
                continue;
    }
    assert_true(n > 1000);
}

/* Records that are all as long: a read that ends where one does leaves nothing to copy. */
static void reads_end_where_records_of_one_length_do(void **state)
{
    static uint8_t many[512 * 1024];
    struct client sender = plug(0, OFFLOAD_VIRTIO, false);
    size_t one = 0, n = 0;
    int big = 1024 * 1024;

    (void)state;
    setsockopt(sender.fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    for (; n + one < sizeof many; n += one) {
        make_packet(&small, 0, (uint32_t)n, true);
        one = lay_out(OFFLOAD_VIRTIO);
        if (n + one < sizeof many)
            memcpy(many + n, record, one);
    }
    n -= n + one > sizeof many ? one : 0;
    n = n / one * one;
    stream_put(&f, sender.fd, many, one);
    uv_run(&f.loop, UV_RUN_NOWAIT);
    assert_int_equal(send(sender.fd, many, n, MSG_DONTWAIT | MSG_NOSIGNAL), (ssize_t)n);
    uint64_t before = f.ports[0].counters.frames_in;
    for (int turn = 0; turn < 3; turn++) {
        uv_run(&f.loop, UV_RUN_NOWAIT);
        uint64_t taken = f.ports[0].counters.frames_in - before;
        before += taken;
        assert_in_range(taken, (IO_STREAM_READ - one) / one, IO_STREAM_READ / one);
        assert_int_equal(((struct link *)f.ports[0].link)->resume->in_len, 0);
    }
    fixture_run_ms(&f, 5);
    assert_int_equal(f.ports[0].counters.frames_in, 1 + n / one);
}

/* Long ones change the length that is expected; each still comes. */
static void records_of_changing_length_come_all(void **state)
{
    struct client sender = plug(0, OFFLOAD_VIRTIO, false), reader = plug(1, OFFLOAD_VIRTIO, false);
    struct packets_shape shape = tcp4;

    (void)state;
    for (uint32_t i = 0; i < 300; i++) {
        shape.payload_len = i % 3 ? 1 + i * 17 % 1400 : 2000 + i * 211 % 63000;
        make_packet(&shape, i % 3 ? 0 : 1400, i, true);
        put_packet(&sender);
        expect_described(&reader, i % 3 ? 0 : 1400, i % 3 ? 0 : OFFLOAD_GSO_TCPV4);
    }
}

static void long_datagrams_make_batches_small_until_they_are_over(void **state)
{
    struct client sender = plug(0, OFFLOAD_VIRTIO, true), reader = plug(1, OFFLOAD_VIRTIO, true);
    const struct link *sending = f.ports[0].link, *receiving = f.ports[1].link;
    struct packets_shape shape = tcp4;

    (void)state;
    shape.payload_len = 20000;
    assert_int_equal(io_batch_size(f.io, sending->has_big), IO_DGRAM_SLOTS);
    for (int again = 0; again < 2; again++) {
        make_packet(&shape, 1400, 1, true);
        put_packet(&sender);
        expect_described(&reader, 1400, OFFLOAD_GSO_TCPV4);
        assert_int_equal(io_batch_size(f.io, sending->has_big), IO_DGRAM_SLOTS_MIN);
        assert_int_equal(io_batch_size(f.io, receiving->has_big), IO_DGRAM_SLOTS);
        make_packet(&small, 0, 1, true);
        put_packet(&sender);
        expect_described(&reader, 0, 0);
        assert_int_equal(io_batch_size(f.io, sending->has_big), IO_DGRAM_SLOTS);
    }
}

/* A turn a moment after the one before, whatever else the machine does between the two. */
static void turn_at_once(void)
{
    uv_update_time(&f.loop);
    f.io->ready_ms = uv_now(&f.loop) - 1;
    uv_run(&f.loop, UV_RUN_NOWAIT);
}

/* Long enough for what was before not to count. */
static void pause_shares(void)
{
    usleep((IO_SHARE_MS + 2) * 1000);
}

/* Counted where links are ready, not where they are plugged in. */
static void links_that_are_busy_share_and_one_alone_does_not(void **state)
{
    struct client a = plug(0, OFFLOAD_OFF, false), b = plug(1, OFFLOAD_OFF, false);

    (void)state;
    (void)plug(2, OFFLOAD_OFF, false);
    for (int k = 0; k < 3; k++) {
        pause_shares();
        stream_send_frame(&f, a.fd, 60, 3, 1, 0);
        if (k != 1)
            stream_send_frame(&f, b.fd, 60, 3, 2, 0);
        uv_run(&f.loop, UV_RUN_NOWAIT);
        assert_int_equal(io_read_size(f.io), k == 1 ? IO_STREAM_READ : IO_STREAM_READ_MIN);
        assert_int_equal(io_batch_size(f.io, false), k == 1 ? IO_DGRAM_SLOTS : IO_DGRAM_SLOTS / 2);
    }
}

/* Each has a frame in a turn of its own; true if both were in the same millisecond. */
static bool shares_after_turns_of(int first, int second)
{
    pause_shares();
    stream_send_frame(&f, first, 60, 3, 1, 0);
    uv_run(&f.loop, UV_RUN_NOWAIT);
    assert_int_equal(io_batch_size(f.io, false), IO_DGRAM_SLOTS);
    stream_send_frame(&f, second, 60, 3, 1, 0);
    uv_run(&f.loop, UV_RUN_NOWAIT);
    return io_batch_size(f.io, false) == IO_DGRAM_SLOTS / 2;
}

/* A ping beside a flood: the two are hardly ever ready in the same turn. */
static void a_link_that_has_a_frame_now_and_then_shares(void **state)
{
    struct client a = plug(0, OFFLOAD_OFF, false), b = plug(1, OFFLOAD_OFF, false);
    int tries = 0;

    (void)state;
    while (!shares_after_turns_of(a.fd, b.fd)) /* a millisecond has ended between the two */
        assert_in_range(++tries, 1, 1000);
    for (int k = 0; k < 10; k++)
        assert_false(shares_after_turns_of(a.fd, a.fd));
}

/* In bytes: the turn before says how many there will be, so the first is not given what is the second's. */
static void what_a_link_reads_is_its_share_from_the_first_on(void **state)
{
    static uint8_t many[900 * (FRAME_PREFIX + 1000)];
    struct client clients[] = {plug(0, OFFLOAD_OFF, false), plug(1, OFFLOAD_OFF, false)};
    int big = 2 * 1024 * 1024;

    (void)state;
    for (size_t at = 0; at < sizeof many; at += FRAME_PREFIX + 1000) {
        frame_put_len(many + at, 1000);
        frame_make(many + at + FRAME_PREFIX, 1000, 5, 5, 1);
    }
    for (int k = 0; k < 2; k++) {
        setsockopt(clients[k].fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
        f.ports[k].enabled = false; /* what it reads it drops */
        assert_int_equal(send(clients[k].fd, many, k ? sizeof many / 4 : sizeof many, MSG_DONTWAIT),
                         k ? sizeof many / 4 : sizeof many);
    }
    uv_run(&f.loop, UV_RUN_NOWAIT);
    uint64_t before[] = {f.ports[0].counters.bytes_in, f.ports[1].counters.bytes_in};
    turn_at_once();
    for (int k = 0; k < 2; k++)
        assert_in_range(f.ports[k].counters.bytes_in - before[k], IO_STREAM_READ_MIN - 3000,
                        IO_STREAM_READ_MIN + FRAME_PREFIX + 1000); /* and what was carried */
    while (f.ports[1].counters.frames_in < 225)
        uv_run(&f.loop, UV_RUN_NOWAIT);
    pause_shares();
    uint64_t at = f.ports[0].counters.bytes_in;
    uv_run(&f.loop, UV_RUN_NOWAIT);
    assert_in_range(f.ports[0].counters.bytes_in - at, IO_STREAM_READ - 3000,
                    IO_STREAM_READ + FRAME_PREFIX + 1000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_kind_reads_what_it_takes_from_every_kind),
        TEST(a_stream_with_headers_may_be_cut_anywhere),
        TEST(a_source_with_headers_that_waits_loses_no_byte),
        TEST(a_source_with_headers_that_waits_for_a_plain_port_loses_no_byte),
        TEST(a_raw_source_that_waits_loses_no_byte),
        TEST(nonsense_before_a_frame_on_a_stream_costs_that_frame),
        TEST(nonsense_before_a_frame_in_a_datagram_costs_that_frame),
        TEST(a_raw_frame_that_cannot_be_cut_is_dropped_alone),
        TEST(the_queue_keeps_header_and_frame),
        TEST(the_longest_frames_pass_whole),
        TEST(a_plain_port_reads_nothing_long_and_nothing_unfinished),
        TEST(reads_end_where_records_of_one_length_do),
        TEST(records_of_changing_length_come_all),
        TEST(long_datagrams_make_batches_small_until_they_are_over),
        TEST(links_that_are_busy_share_and_one_alone_does_not),
        TEST(a_link_that_has_a_frame_now_and_then_shares),
        TEST(what_a_link_reads_is_its_share_from_the_first_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

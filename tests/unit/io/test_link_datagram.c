/* Tests of io/link_datagram.c and io/batch.h on connected sockets. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "io/socket.h"

static void put(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL), (ssize_t)len);
}

static void put_frame(int fd, size_t len, int to, int from, uint32_t seq)
{
    static uint8_t frame[FRAME_LEN_MAX];

    frame_make(frame, len, to, from, seq);
    put(fd, frame, len);
}

static void a_datagram_and_a_stream_talk_to_each_other(void **state)
{
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_datagram(&f, 0);
    b = fixture_stream(&f, 1);
    put(a, "VFKT", 4);
    for (uint32_t i = 0; i < 200; i++) {
        size_t len = 14 + (i * 53) % 1501;

        put_frame(a, len, -1, 1, i);
        assert_int_equal(stream_receive(&f, b, frame, sizeof frame), (long)len);
        assert_true(frame_is(frame, len, -1, 1, i));
        stream_send_frame(&f, b, len, 1, 2, i);
        assert_int_equal(datagram_receive(&f, a, frame, sizeof frame), (long)len);
        assert_true(frame_is(frame, len, 1, 2, i));
    }
    /* The greeting was no frame. */
    assert_int_equal(f.ports[0].counters.frames_in, 200);
    assert_int_equal(fixture_drops(&f, 0, DROP_runt), 0);
    fixture_close(&f);
}

static void f09_impossible_datagrams_are_counted_and_the_port_stays(void **state)
{
    static uint8_t bytes[FRAME_LEN_MAX + 100];
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int a, b, big = 1024 * 1024;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_datagram(&f, 0);
    b = fixture_stream(&f, 1);
    setsockopt(a, SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    put(a, bytes, 0);
    put(a, bytes, 13);
    put(a, bytes, FRAME_LEN_MAX + 1);
    put(a, bytes, FRAME_LEN_MAX + 100);
    put_frame(a, 64, -1, 1, 3);
    assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 64);
    assert_true(frame_is(frame, 64, -1, 1, 3));
    assert_int_equal(fixture_drops(&f, 0, DROP_runt), 2);
    assert_int_equal(fixture_drops(&f, 0, DROP_oversize), 2);
    assert_int_equal(f.n_closed[0], 0);
    fixture_close(&f);
}

static bool is_drained(struct fixture *f, void *ctx)
{
    uint8_t frame[2048];

    while (recv(*(int *)ctx, frame, sizeof frame, MSG_DONTWAIT) > 0)
        continue;
    return f->ports[1].queued == 0;
}

static void q02_a_datagram_reader_that_stops_costs_itself_and_recovers(void **state)
{
    struct io_limits limits = {64, 100 * 1024};
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int a, b, c;

    (void)state;
    fixture_open(&f, &limits);
    a = fixture_stream(&f, 0);
    b = fixture_datagram(&f, 1); /* does not read */
    c = fixture_stream(&f, 2);
    for (uint32_t i = 0; i < 4000; i++) {
        stream_send_frame(&f, a, 1000, -1, 1, i);
        assert_int_equal(stream_receive(&f, c, frame, sizeof frame), 1000);
        assert_true(f.ports[1].queued <= 64);
    }
    assert_true(fixture_drops(&f, 1, DROP_queue_full) > 0);
    fixture_assert_sum(&f);
    assert_true(fixture_until(&f, is_drained, &b));
    while (recv(b, frame, sizeof frame, MSG_DONTWAIT) > 0)
        continue;
    stream_send_frame(&f, a, 99, -1, 1, 4);
    assert_int_equal(datagram_receive(&f, b, frame, sizeof frame), 99);
    fixture_close(&f);
}

static void a_peer_that_is_gone_ends_the_link_on_its_own_turn(void **state)
{
    struct fixture f;
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_datagram(&f, 1);
    fixture_hang_up(&f, b);
    for (uint32_t i = 0; i < 5; i++)
        stream_send_frame(&f, a, 60, -1, 1, i);
    assert_true(fixture_until_closed(&f, 1, 0));
    assert_null(f.ports[1].link);
    assert_int_equal(f.n_closed[0], 0);
    fixture_close(&f);
}

static void d07_descriptors_on_a_data_datagram_are_closed(void **state)
{
    struct fixture f;
    uint8_t frame[60];
    unsigned before;
    int a;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_datagram(&f, 0);
    before = fixture_count_fds();
    frame_make(frame, sizeof frame, -1, 1, 1);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(socket_send_fd(a, frame, sizeof frame, a), (long)sizeof frame);
        fixture_turn(&f);
    }
    fixture_run_ms(&f, 5);
    assert_int_equal(fixture_count_fds(), before);
    assert_int_equal(f.ports[0].counters.frames_in, 1000);
    fixture_close(&f);
}

/* A client can shut down our socket by its duplicate of it: always readable, and nothing to read. */
static void a_socket_that_its_client_shuts_down_is_closed(void **state)
{
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int pair[2], ours, b;

    (void)state;
    fixture_open(&f, NULL);
    b = fixture_stream(&f, 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    ours = fixture_own(&f, dup(pair[0]));
    fixture_own(&f, pair[1]);
    assert_int_equal(link_datagram_open(f.io, fixture_join(&f, 0), pair[0], fixture_on_closed, &f), 0);
    f.n_opened++;
    put_frame(pair[1], 60, -1, 1, 1);
    assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 60);
    assert_int_equal(shutdown(ours, SHUT_RD), 0);
    assert_true(fixture_until_closed(&f, 0, 0));
    assert_string_equal(f.reason, "the client has shut its socket down");
    fixture_close(&f);
}

/* What TCP sends at once through two ports that offload: no datagram source is ever made to wait. */
static void a_batch_of_64_frames_of_64_kib_has_room_while_its_reader_is_away(void **state)
{
    enum { N = 64, LEN = 65000 };
    struct fixture f;
    static uint8_t frame[FRAME_LEN_MAX];
    int a, b;

    (void)state;
    fixture_open_mtu(&f, LEN - FRAME_ETHER_HEADER);
    a = fixture_datagram(&f, 0);
    b = fixture_datagram(&f, 1);
    for (uint32_t i = 0; i < N; i++) {
        put_frame(a, LEN, -1, 0, i);
        fixture_turn(&f);
    }
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(datagram_receive(&f, b, frame, sizeof frame), LEN);
        assert_true(frame_is(frame, LEN, -1, 0, i));
    }
    assert_int_equal(fixture_drops(&f, 1, DROP_queue_full), 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_datagram_and_a_stream_talk_to_each_other),
        cmocka_unit_test(f09_impossible_datagrams_are_counted_and_the_port_stays),
        cmocka_unit_test(q02_a_datagram_reader_that_stops_costs_itself_and_recovers),
        cmocka_unit_test(a_peer_that_is_gone_ends_the_link_on_its_own_turn),
        cmocka_unit_test(d07_descriptors_on_a_data_datagram_are_closed),
        cmocka_unit_test(a_socket_that_its_client_shuts_down_is_closed),
        cmocka_unit_test(a_batch_of_64_frames_of_64_kib_has_room_while_its_reader_is_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

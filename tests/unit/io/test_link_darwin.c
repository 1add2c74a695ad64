/* Tests of a datagram link whose peer is full, as macOS is then: ENOBUFS, and a socket that shows as writable
 * always (12 and before), never again (13 and 14), or as soon as one byte is free (15 and later). With the
 * double of XNU's calls, and one by one without them.
 *
 * Each asserts the same: frames go out as the peer reads, in order; what its queue does not hold is dropped
 * and counted; nothing waits, spins, or is closed.
 */
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

#include "darwin_double.h"
#include "fixture.h"
#include "io/batch.h"

enum {
    PEER_FRAMES = 4, /* that the peer's buffer holds */
    QUEUE_FRAMES = 64,
    FRAMES = 200,
    LEN = 500,
    STUCK_MS = 300,
    /* Tries while nothing goes, from 1 ms to 50 ms: 1 2 4 8 16 32 50 50 50 50 50; and as many again for a
       slow machine. */
    TRIES_MAX = 22,
};

enum model { MODEL_ALWAYS, MODEL_STALLS, MODEL_LOWAT };

struct scene {
    struct fixture f;
    int source, bystander; /* streams */
    int reader;            /* where what was sent to the datagram client comes out */
    int sent_on;           /* the switch's end */
};

static struct scene scene;

/* XNU's sendmsg(), which single datagrams go by. The double has looked at what it sends itself. */
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t n;

    if (fd != scene.sent_on || darwin_double.is_sending)
        return __real_sendmsg(fd, message, flags);
    darwin_double.n_sends++;
    if (darwin_double.room == 0 || darwin_double.room_bytes < LEN) {
        errno = darwin_double.full_error;
        return -1;
    }
    n = __real_sendmsg(darwin_double.has_detour ? darwin_double.detour : fd, message, flags);
    darwin_double.room -= n > 0;
    darwin_double.room_bytes -= n > 0 ? (size_t)n : 0;
    return n;
}

static void fill(int fd)
{
    while (send(fd, "junk", 4, MSG_DONTWAIT) == 4)
        continue;
}

/* The client's socket is full and stays so, so that nobody is ever woken for it; frames come out elsewhere.
 */
static void make_it_stall(void)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    fill(scene.sent_on);
    darwin_double.has_detour = true;
    darwin_double.detour = fixture_own(&scene.f, pair[0]);
    scene.reader = fixture_own(&scene.f, pair[1]);
}

static void open_scene(enum model model, bool has_calls, int full_error)
{
    const struct io_limits limits = {QUEUE_FRAMES, 100 * 1024};
    struct batch_darwin found;
    int pair[2];

    scene.sent_on = -1;
    darwin_double_reset();
    darwin_double.full_error = full_error;
    batch_darwin_find(&found, has_calls ? "24.1.0" : "22.6.0", 65536);
    batch_darwin_use(&found);
    fixture_open(&scene.f, &limits);
    scene.source = fixture_stream(&scene.f, 0);
    scene.bystander = fixture_stream(&scene.f, 2);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    assert_int_equal(
        link_datagram_open(scene.f.io, fixture_join(&scene.f, 1), pair[0], fixture_on_closed, &scene.f), 0);
    scene.f.n_opened++;
    scene.sent_on = pair[0];
    scene.reader = fixture_own(&scene.f, pair[1]);
    if (model == MODEL_STALLS)
        make_it_stall();
    if (model == MODEL_LOWAT)
        darwin_double.room_bytes = PEER_FRAMES * LEN + LEN / 10; /* some is free, and no frame fits */
    else
        darwin_double.room = PEER_FRAMES;
}

static void close_scene(void)
{
    fixture_close(&scene.f);
}

/* Turns of a loop that has nothing else to do: without the fixture's own tick. */
static unsigned turns_in(uint64_t ms)
{
    const uint64_t end_ns = uv_hrtime() + ms * 1000000;
    unsigned turns = 0;

    uv_timer_stop(&scene.f.tick);
    uv_timer_start(&scene.f.tick, scene.f.tick.timer_cb, ms, ms);
    for (; uv_hrtime() < end_ns; turns++)
        uv_run(&scene.f.loop, UV_RUN_ONCE);
    uv_timer_start(&scene.f.tick, scene.f.tick.timer_cb, 1, 1);
    return turns;
}

/* The peer reads one, which makes room for one. Returns its length, or 0. */
static size_t read_one(uint8_t *frame, size_t size)
{
    const ssize_t n = recv(scene.reader, frame, size, MSG_DONTWAIT);

    if (n <= 0)
        return 0;
    darwin_double.room++;
    if (darwin_double.room_bytes < SIZE_MAX / 2)
        darwin_double.room_bytes += (size_t)n;
    return (size_t)n;
}

static void assert_all_come_in_order(unsigned n)
{
    uint8_t frame[2 * LEN];
    const uint64_t end_ns = uv_hrtime() + UINT64_C(1000000) * FIXTURE_WAIT_MS;
    unsigned got = 0;

    for (; got < n && uv_hrtime() < end_ns; fixture_turn(&scene.f))
        for (size_t len; (len = read_one(frame, sizeof frame)) > 0; got++)
            assert_true(frame_is(frame, len, -1, 1, got));
    assert_int_equal(got, n);
}

static void a_full_peer(enum model model, bool has_calls, int full_error)
{
    uint8_t frame[2 * LEN];
    unsigned sends;

    open_scene(model, has_calls, full_error);
    for (uint32_t i = 0; i < FRAMES; i++) {
        stream_send_frame(&scene.f, scene.source, LEN, -1, 1, i);
        assert_int_equal(stream_receive(&scene.f, scene.bystander, frame, sizeof frame), LEN); /* at once */
    }
    fixture_run_ms(&scene.f, 100);
    assert_int_equal(scene.f.ports[1].queued, QUEUE_FRAMES);
    assert_int_equal(fixture_drops(&scene.f, 1, DROP_queue_full), FRAMES - PEER_FRAMES - QUEUE_FRAMES);
    sends = darwin_double.n_sends;
    assert_true(turns_in(STUCK_MS) <= 2 * TRIES_MAX);
    assert_in_range(darwin_double.n_sends - sends, 3, TRIES_MAX);
    assert_int_equal(scene.f.n_closed[1], 0);
    assert_all_come_in_order(PEER_FRAMES + QUEUE_FRAMES);
    assert_int_equal(scene.f.ports[1].queued, 0);
    close_scene();
}

static void enobufs_while_it_always_looks_writable_neither_spins_nor_blocks(void **state)
{
    (void)state;
    a_full_peer(MODEL_ALWAYS, true, ENOBUFS);
    a_full_peer(MODEL_ALWAYS, false, ENOBUFS);
}

static void enobufs_without_any_wake_up_does_not_stall_for_ever(void **state)
{
    (void)state;
    a_full_peer(MODEL_STALLS, true, ENOBUFS);
    a_full_peer(MODEL_STALLS, false, ENOBUFS);
}

static void enobufs_while_a_byte_is_free_neither_spins_nor_blocks(void **state)
{
    (void)state;
    a_full_peer(MODEL_LOWAT, true, ENOBUFS);
    a_full_peer(MODEL_LOWAT, false, ENOBUFS);
}

static void a_send_that_timed_out_is_tried_again_without_a_wake_up(void **state)
{
    (void)state;
    a_full_peer(MODEL_STALLS, true, EAGAIN);
    a_full_peer(MODEL_STALLS, false, EAGAIN);
}

static void a_frame_longer_than_the_socket_takes_is_dropped_alone(void **state)
{
    uint8_t frame[2 * LEN];

    (void)state;
    open_scene(MODEL_ALWAYS, true, ENOBUFS);
    darwin_double.room = 100;
    darwin_double.len_max = LEN - 1;
    for (uint32_t i = 0; i < 9; i++)
        stream_send_frame(&scene.f, scene.source, i % 3 == 1 ? LEN : 60, -1, 1, i);
    for (uint32_t i = 0; i < 9; i++)
        if (i % 3 != 1) {
            assert_int_equal(datagram_receive(&scene.f, scene.reader, frame, sizeof frame), 60);
            assert_true(frame_is(frame, 60, -1, 1, i));
        }
    assert_int_equal(fixture_drops(&scene.f, 1, DROP_send_failed), 3);
    assert_int_equal(scene.f.n_closed[1], 0);
    close_scene();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enobufs_while_it_always_looks_writable_neither_spins_nor_blocks),
        cmocka_unit_test(enobufs_without_any_wake_up_does_not_stall_for_ever),
        cmocka_unit_test(enobufs_while_a_byte_is_free_neither_spins_nor_blocks),
        cmocka_unit_test(a_send_that_timed_out_is_tried_again_without_a_wake_up),
        cmocka_unit_test(a_frame_longer_than_the_socket_takes_is_dropped_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

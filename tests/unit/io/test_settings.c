/* What a network is tuned by: shares, buffers, busy polling. */
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "io/link_internal.h"

static void nothing_said_is_the_default(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_tuned(&f, &(struct io_settings){.read_bytes = 0});
    assert_int_equal(f.io->settings.read_bytes, IO_STREAM_READ);
    assert_int_equal(f.io->settings.batch_frames, IO_DGRAM_SLOTS);
    assert_int_equal(f.io->settings.socket_bytes, IO_SOCKET_BUFFER);
    assert_int_equal(f.io->settings.busy_poll_us, 0);
    assert_int_equal(io_read_size(f.io), IO_STREAM_READ);
    assert_int_equal(io_batch_size(f.io, false), IO_DGRAM_SLOTS);
    fixture_close(&f);
}

/* Each is the size of a buffer, or an index into one. */
static void settings_out_of_range_are_brought_into_it(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_tuned(&f, &(struct io_settings){.read_bytes = 1, .batch_frames = 65, .socket_bytes = 1});
    assert_int_equal(f.io->settings.read_bytes, IO_STREAM_READ_MIN);
    assert_int_equal(f.io->settings.batch_frames, IO_DGRAM_SLOTS);
    assert_int_equal(f.io->settings.socket_bytes, IO_SOCKET_BUFFER_MIN);
    fixture_close(&f);
    fixture_open_tuned(
        &f, &(struct io_settings){{UINT32_MAX, 0}, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX});
    assert_int_equal(f.io->settings.read_bytes, IO_STREAM_READ_MAX);
    assert_int_equal(f.io->settings.socket_bytes, IO_SOCKET_BUFFER_MAX);
    assert_int_equal(f.io->settings.busy_poll_us, IO_BUSY_POLL_MAX_US);
    fixture_close(&f);
}

static void links_that_are_ready_share_down_to_a_bound_or_to_less_if_set(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open_tuned(&f, &(struct io_settings){.read_bytes = 256 * 1024, .batch_frames = 40});
    f.io->n_ready = 2;
    assert_int_equal(io_read_size(f.io), 128 * 1024);
    assert_int_equal(io_batch_size(f.io, false), 20);
    f.io->n_ready = 100;
    assert_int_equal(io_read_size(f.io), IO_STREAM_READ_MIN);
    assert_int_equal(io_batch_size(f.io, false), IO_DGRAM_SLOTS_MIN);
    f.io->n_ready = 0;
    fixture_close(&f);
    fixture_open_tuned(&f, &(struct io_settings){.batch_frames = 3});
    f.io->n_ready = 100;
    assert_int_equal(io_batch_size(f.io, false), 3);
    f.io->n_ready = 0;
    assert_int_equal(io_batch_size(f.io, true), 3);
    fixture_close(&f);
}

/* What is read, and what of it has to wait, fits: a source that waits can leave a begun record and a read. */
static void buffers_follow_the_read_size(void **state)
{
    static const uint32_t sizes[] = {IO_STREAM_READ_MIN, IO_STREAM_READ_MIN + 1, IO_STREAM_READ_MAX};
    static uint8_t sink[2048];
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fixture_open_tuned(
            &f, &(struct io_settings){.limits = {IO_QUEUE_FRAMES, IO_QUEUE_BYTES}, .read_bytes = sizes[i]});
        int a = fixture_stream(&f, 0), b = fixture_stream(&f, 1);
        const struct resume *resume = ((struct link *)f.ports[0].link)->resume;
        assert_true(resume->size >= resume->in_at + FRAME_PREFIX + FRAME_LEN_MAX + sizes[i] + IO_QUEUE_BYTES);
        for (uint32_t mark = 0; mark < 64;
             mark++) /* more than the smallest read, and its end cuts a record */
            stream_send_frame(&f, a, 1500, -1, 1, mark);
        for (uint32_t mark = 0; mark < 64; mark++)
            assert_int_equal(stream_receive(&f, b, sink, sizeof sink), 1500);
        fixture_close(&f);
    }
}

static void socket_buffers_are_asked_for_as_set(void **state)
{
    struct fixture f;
    int few = 0, many = 0;
    socklen_t len = sizeof few;

    (void)state;
    fixture_open_tuned(&f, &(struct io_settings){.socket_bytes = 8192});
    (void)fixture_stream(&f, 0);
    (void)fixture_datagram(&f, 1);
    for (int i = 0; i < 2; i++) {
        int fd = ((struct link *)f.ports[i].link)->fd;
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &few, &len), 0);
        assert_in_range(few, 8192, 2 * 8192); /* Linux doubles it */
    }
    fixture_close(&f);
    fixture_open(&f, NULL);
    (void)fixture_stream(&f, 0);
    assert_int_equal(getsockopt(((struct link *)f.ports[0].link)->fd, SOL_SOCKET, SO_SNDBUF, &many, &len), 0);
    assert_true(many > few);
    fixture_close(&f);
}

/* ---- busy polling ---- */

/* One frame comes in; true if the loop would then go on without sleeping. */
static bool is_busy_after_a_frame(struct fixture *f, int client)
{
    uv_timer_stop(&f->tick); /* else the loop has a reason of its own to wake up soon */
    stream_send_frame(f, client, 60, -1, 1, 0);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    return uv_backend_timeout(&f->loop) == 0;
}

static void busy_polling_that_is_off_costs_nothing(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, NULL);
    int a = fixture_stream(&f, 0);
    assert_false(is_busy_after_a_frame(&f, a));
    assert_int_equal(f.ports[0].counters.frames_in, 1);
    assert_int_equal(f.io->busy_until_us, 0); /* the clock was not even asked */
    fixture_close(&f);
}

/* A loop without an end, were it not so: ctest's time limit would show it. */
static void busy_polling_ends_when_frames_have_ended_for_so_long(void **state)
{
    struct fixture f;
    unsigned n_turns = 0;

    (void)state;
    fixture_open_tuned(&f, &(struct io_settings){.busy_poll_us = IO_BUSY_POLL_MAX_US});
    int a = fixture_stream(&f, 0);
    uv_timer_stop(&f.tick);
    uv_run(&f.loop, UV_RUN_NOWAIT);
    assert_int_not_equal(uv_backend_timeout(&f.loop), 0); /* not before a frame has come */
    for (int i = 0; i < 2; i++) {
        const uint64_t before_us = io_now_us();
        assert_true(is_busy_after_a_frame(&f, a));
        for (n_turns = 0; uv_backend_timeout(&f.loop) == 0; n_turns++)
            uv_run(&f.loop, UV_RUN_NOWAIT);
        assert_in_range(io_now_us() - before_us, IO_BUSY_POLL_MAX_US, 1000 * 1000);
        assert_true(n_turns > 0);
    }
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_said_is_the_default),
        cmocka_unit_test(settings_out_of_range_are_brought_into_it),
        cmocka_unit_test(links_that_are_ready_share_down_to_a_bound_or_to_less_if_set),
        cmocka_unit_test(buffers_follow_the_read_size),
        cmocka_unit_test(socket_buffers_are_asked_for_as_set),
        cmocka_unit_test(busy_polling_that_is_off_costs_nothing),
        cmocka_unit_test(busy_polling_ends_when_frames_have_ended_for_so_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

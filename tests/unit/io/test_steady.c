/* Tests of what a busy network must not do: allocate (M04), wait longer than it may, or die of its clients'
 * deaths (R10, R11). malloc and its kin are wrapped by the linker in all of our code; libuv's calls are not
 * seen. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "io/framing.h"
#include "io/link_internal.h"
#include "tests/unit/switch/packets.h"

static unsigned n_allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
    n_allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    n_allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    n_allocations++;
    return __real_realloc(p, size);
}

static void m04_steady_forwarding_allocates_nothing(void **state)
{
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    unsigned before;
    int a, b, c;

    (void)state;
    fixture_open(&f, NULL);
    assert_true(n_allocations > 0); /* the counter counts */
    a = fixture_stream(&f, 0);
    b = fixture_datagram(&f, 1);
    c = fixture_stream(&f, 2);
    fixture_stream(&f, 3); /* does not read: queues and drops are in it */
    before = n_allocations;
    for (uint32_t i = 0; i < 5000; i++) {
        stream_send_frame(&f, a, 1000, -1, 1, i);
        assert_int_equal(datagram_receive(&f, b, frame, sizeof frame), 1000);
        assert_int_equal(stream_receive(&f, c, frame, sizeof frame), 1000);
        frame_make(frame, 200, 1, 2, i);
        assert_int_equal(send(b, frame, 200, 0), 200);
        assert_int_equal(stream_receive(&f, a, frame, sizeof frame), 200);
    }
    assert_int_equal(n_allocations, before);
    assert_true(fixture_drops(&f, 3, DROP_queue_full) > 0);
    fixture_close(&f);
}

static struct packets_packet long_packet;

static void make_long_packet(void)
{
    const struct packets_shape shape = {.version = 4, .protocol = PACKETS_TCP, .payload_len = 65535 - 40};

    packets_make(&long_packet, &shape, 7);
    frame_put_len(long_packet.room, long_packet.frame.len);
}

/* From a client that offloads to one that does not (45 segments), to one that takes a virtio-net header, and
 * to one that takes long frames as they are; a fourth does not read. */
static void m04_long_frames_and_their_segments_allocate_nothing(void **state)
{
    static const enum port_offload offload[] = {OFFLOAD_RAW, OFFLOAD_OFF, OFFLOAD_VIRTIO, OFFLOAD_RAW,
                                                OFFLOAD_OFF};
    static uint8_t frame[FRAME_LEN_MAX];
    struct fixture f;
    unsigned before;
    int clients[5];

    (void)state;
    make_long_packet();
    fixture_open(&f, NULL);
    for (unsigned i = 0; i < 5; i++) {
        fixture_join(&f, i)->offload = offload[i];
        clients[i] = i == 2 ? fixture_datagram(&f, i) : fixture_stream(&f, i);
    }
    before = n_allocations;
    for (uint32_t i = 0; i < 300; i++) {
        stream_put(&f, clients[0], long_packet.room, FRAME_PREFIX + long_packet.frame.len);
        for (unsigned k = 0; k < 44; k++)
            assert_int_equal(stream_receive(&f, clients[1], frame, sizeof frame), 1514);
        assert_int_equal(stream_receive(&f, clients[1], frame, sizeof frame), 54 + 65495 - 44 * 1460);
        assert_int_equal(datagram_receive(&f, clients[2], frame, sizeof frame), VNET_HEADER + 65549);
        assert_int_equal(stream_receive(&f, clients[3], frame, sizeof frame), 65549);
    }
    assert_int_equal(n_allocations, before);
    assert_true(fixture_drops(&f, 4, DROP_queue_full) > 0);
    assert_int_equal(fixture_drops(&f, 1, DROP_queue_full), 0);
    fixture_close(&f);
}

/* A reader that takes a little every few ms keeps its right to push back; what its source waits is rationed.
 */
static void a_source_waits_at_most_a_tenth_of_the_time(void **state)
{
    struct io_limits limits = {64, 100 * 1024};
    static uint8_t record[FRAME_PREFIX + 1000], sink[8192];
    struct fixture f;
    struct link *link;
    uint64_t start, waited_us = 0, last_us, n_waits = 0;
    bool was_waiting = false;
    size_t at = 0;
    int a, b;

    (void)state;
    fixture_open(&f, &limits);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    stream_send_frame(&f, b, 60, -1, 2, 0);
    assert_int_equal(stream_receive(&f, a, sink, sizeof sink), 60);
    link = f.ports[0].link;
    frame_put_len(record, 1000);
    frame_make(record + FRAME_PREFIX, 1000, 2, 1, 1);
    start = last_us = uv_hrtime() / 1000;
    while (uv_hrtime() / 1000 - start < 600 * 1000) {
        bool is_waiting = !list_is_empty(&link->of_waiting);
        uint64_t now_us = uv_hrtime() / 1000;
        ssize_t n;

        waited_us += was_waiting ? now_us - last_us : 0;
        n_waits += is_waiting && !was_waiting;
        was_waiting = is_waiting;
        last_us = now_us;
        while ((n = send(a, record + at, sizeof record - at, MSG_DONTWAIT)) > 0)
            at = (at + (size_t)n) % sizeof record;
        uv_run(&f.loop, UV_RUN_NOWAIT);
        (void)recv(b, sink, 2048, MSG_DONTWAIT);
    }

    assert_true(n_waits > 0);
    /* 10 % and what a busy machine adds to a timer of 1 ms. */
    assert_true(waited_us < 600 * 1000 / 4);
    assert_true(fixture_drops(&f, 1, DROP_queue_full) > 0);
    fixture_close(&f);
}

static bool pushes_not_back(struct fixture *f, void *ctx)
{
    (void)ctx;
    return f->ports[1].queued > 0 && !f->ports[1].pushes_back;
}

/* A port whose queue is over its mark, and whose client has then read less than makes its socket "writable".
 */
static struct link *full_but_read_a_little(struct fixture *f)
{
    static uint8_t sink[64 * 1024];
    int a = fixture_stream(f, 0), b = fixture_stream(f, 1);

    stream_send_frame(f, b, 60, -1, 2, 0);
    assert_int_equal(stream_receive(f, a, sink, sizeof sink), 60);
    for (uint32_t i = 0; i < 3000; i++)
        stream_send_frame(f, a, 1500, 2, 1, i);
    assert_true(fixture_until(f, pushes_not_back, NULL));
    assert_int_equal(recv(b, sink, sizeof sink, MSG_DONTWAIT), (long)sizeof sink);
    return f->ports[1].link;
}

static void a_port_that_pushes_back_is_flushed_before_a_source_waits(void **state)
{
    struct fixture f;
    struct link *link;
    uint32_t queued;

    (void)state;
    fixture_open(&f, NULL);
    link = full_but_read_a_little(&f);
    queued = f.ports[1].queued;
    link->took_at_us = io_now_us();
    link_settle(link);
    assert_true(f.ports[1].pushes_back);
    io_refresh_pushing(f.io);
    assert_true(f.ports[1].queued < queued);
    fixture_close(&f);
}

static void a_stalled_port_that_reads_again_is_found_by_the_next_frame(void **state)
{
    static uint8_t record[FRAME_PREFIX + 60];
    struct frame frame = {.head = record + FRAME_PREFIX, .len = 60, .head_len = 60};
    const struct frame *frames[] = {&frame};
    struct fixture f;
    struct link *link;
    uint32_t queued;

    (void)state;
    fixture_open(&f, NULL);
    link = full_but_read_a_little(&f);
    queued = f.ports[1].queued;
    link->asked_at_us = 0; /* the last try is long ago */
    frame_put_len(record, 60);
    f.ports[1].counters.frames_in++; /* it came from nowhere */
    f.ports[1].ops->send(&f.ports[1], frames, 1);
    assert_true(f.ports[1].queued < queued);
    fixture_close(&f);
}

/* An idle network wakes up for nothing: nobody looks for memory to give back unless there is some. */
static void memory_is_given_back_only_where_some_was_touched(void **state)
{
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    const uv_handle_t *keeper;
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    keeper = (const uv_handle_t *)&f.io->keeper;
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    stream_send_frame(&f, b, 60, -1, 2, 0);
    assert_int_equal(stream_receive(&f, a, frame, sizeof frame), 60);
    assert_false(uv_is_active(keeper));
    for (uint32_t i = 0; i < 2000; i++)
        stream_send_frame(&f, a, 1500, 2, 1, i);
    assert_true(uv_is_active(keeper));
    f.io->keeper.timer_cb(&f.io->keeper);
    assert_true(uv_is_active(keeper)); /* the queue is in use */
    for (uint32_t i = 0; f.ports[1].queued > 0 || i == 0; i++)
        assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 1500);
    f.io->keeper.timer_cb(&f.io->keeper);
    assert_false(uv_is_active(keeper));
    assert_int_equal(((struct link *)f.ports[1].link)->resume->out.touched, 0);
    fixture_close(&f);
}

static bool has_come_in(struct fixture *f, void *ctx)
{
    const uint64_t *frames_in = ctx;

    return f->ports[0].counters.frames_in >= *frames_in;
}

static void a_stalled_port_makes_nobody_wait(void **state)
{
    struct io_limits limits = {64, 100 * 1024};
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    uint64_t frames_in;
    int a, b;

    (void)state;
    fixture_open(&f, &limits);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    stream_send_frame(&f, b, 60, -1, 2, 0);
    assert_int_equal(stream_receive(&f, a, frame, sizeof frame), 60);
    for (uint32_t i = 0; i < 2000; i++)
        stream_send_frame(&f, a, 1500, 2, 1, i);
    assert_true(fixture_until(&f, pushes_not_back, NULL));
    frames_in = f.ports[0].counters.frames_in + 1;
    stream_send_frame(&f, a, 1500, 2, 1, 0);
    assert_true(fixture_until(&f, has_come_in, &frames_in));
    assert_false(f.ports[1].pushes_back);
    assert_true(list_is_empty(&((struct link *)f.ports[0].link)->of_waiting));
    assert_true(f.ports[1].queued > 0);
    fixture_close(&f);
}

static void r10_r11_clients_killed_at_any_byte_leave_nothing(void **state)
{
    struct fixture f;
    int b;

    (void)state;
    fixture_open(&f, NULL);
    b = fixture_stream(&f, 1);
    srand(11);
    for (unsigned i = 0; i < 300; i++) {
        int a = fixture_stream(&f, 0), status;
        pid_t child = fork();

        if (child == 0) {
            static uint8_t bytes[8 * (FRAME_PREFIX + 1514)];

            for (int k = 0; k < 8; k++) {
                frame_put_len(bytes + k * (FRAME_PREFIX + 1514), 1514);
                frame_make(bytes + k * (FRAME_PREFIX + 1514) + FRAME_PREFIX, 1514, -1, 1, (uint32_t)k);
            }
            (void)send(a, bytes, (size_t)rand() % sizeof bytes + 1, 0);
            kill(getpid(), SIGKILL);
        }
        rand();
        fixture_hang_up(&f, a);
        stream_send_frame(&f, b, 1514, -1, 2, i); /* towards the dying client */
        assert_true(fixture_until_closed(&f, 0, i));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_null(f.ports[0].link);
        fixture_assert_sum(&f);
        lan_leave(f.lan, &f.ports[0]);
        assert_null(fdb_find(lan_fdb(f.lan), UINT64_C(0x525400000001)));
        memset(&f.ports[0], 0, sizeof f.ports[0]);
        f.is_joined[0] = false;
        fixture_assert_sum(&f);
        while (recv(b, (uint8_t[4096]){0}, 4096, MSG_DONTWAIT) > 0)
            continue;
    }
    assert_non_null(f.ports[1].link);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(m04_steady_forwarding_allocates_nothing),
        cmocka_unit_test(m04_long_frames_and_their_segments_allocate_nothing),
        cmocka_unit_test(a_source_waits_at_most_a_tenth_of_the_time),
        cmocka_unit_test(a_port_that_pushes_back_is_flushed_before_a_source_waits),
        cmocka_unit_test(a_stalled_port_that_reads_again_is_found_by_the_next_frame),
        cmocka_unit_test(memory_is_given_back_only_where_some_was_touched),
        cmocka_unit_test(a_stalled_port_makes_nobody_wait),
        cmocka_unit_test(r10_r11_clients_killed_at_any_byte_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

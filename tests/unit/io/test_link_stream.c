/* Tests of io/link_stream.c: real sockets, a real loop, a real lan. */
#include <errno.h>
#include <fcntl.h>
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
#include "io/framing.h"
#include "io/link_internal.h"
#include "io/socket.h"

/* Two stations that know each other, so that frames between them are unicast. */
static void introduce(struct fixture *f, int a, int b)
{
    uint8_t frame[FRAME_LEN_MAX];

    stream_send_frame(f, a, 60, -1, 1, 0);
    assert_int_equal(stream_receive(f, b, frame, sizeof frame), 60);
    stream_send_frame(f, b, 60, 1, 2, 0);
    assert_int_equal(stream_receive(f, a, frame, sizeof frame), 60);
}

static void frames_arrive_in_order_and_unchanged(void **state)
{
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    for (uint32_t i = 0; i < 300; i++)
        stream_send_frame(&f, a, 14 + (i * 37) % 1501, 2, 1, i);
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 14 + (i * 37) % 1501);
        assert_true(frame_is(frame, 14 + (i * 37) % 1501, 2, 1, i));
    }
    fixture_close(&f);
}

static void f01_an_impossible_length_closes_that_client_only(void **state)
{
    static const uint32_t lens[] = {0xffffffff, 0x80000000, FRAME_LEN_MAX + 1};
    struct fixture f;
    int b;

    (void)state;
    fixture_open(&f, NULL);
    b = fixture_stream(&f, 1);
    for (unsigned i = 0; i < 3; i++) {
        int a = fixture_stream(&f, 0);
        uint8_t prefix[FRAME_PREFIX];

        introduce(&f, a, b);
        frame_put_len(prefix, lens[i]);
        stream_put(&f, a, prefix, sizeof prefix);
        assert_true(fixture_until_closed(&f, 0, i));
        assert_int_equal(fixture_drops(&f, 0, DROP_bad_length), i + 1);
        assert_int_equal(fixture_drops(&f, 0, DROP_cut_short), 0);
        assert_non_null(f.ports[1].link);
        fixture_hang_up(&f, a);
    }
    fixture_close(&f);
}

static void f02_runts_are_skipped_and_the_next_frame_passes(void **state)
{
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX], record[FRAME_PREFIX + 13] = {0};
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    for (uint32_t len = 0; len < FRAME_LEN_MIN; len++) {
        frame_put_len(record, len);
        stream_put(&f, a, record, FRAME_PREFIX + len);
    }
    stream_send_frame(&f, a, 100, 2, 1, 9);
    assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 100);
    assert_true(frame_is(frame, 100, 2, 1, 9));
    assert_int_equal(fixture_drops(&f, 0, DROP_runt), FRAME_LEN_MIN);
    assert_int_equal(f.n_closed[0], 0);
    fixture_close(&f);
}

static void f03_oversize_is_counted_and_the_next_frame_passes(void **state)
{
    static const size_t lens[] = {1519, 9000, 65535, FRAME_LEN_MAX};
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    for (unsigned i = 0; i < 4; i++) {
        stream_send_frame(&f, a, lens[i], 2, 1, i);
        stream_send_frame(&f, a, 200, 2, 1, 100 + i);
        assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 200);
        assert_true(frame_is(frame, 200, 2, 1, 100 + i));
    }
    assert_int_equal(fixture_drops(&f, 0, DROP_oversize), 4);
    assert_int_equal(f.n_closed[0], 0);
    fixture_close(&f);
}

static void f05_a_frame_that_comes_byte_by_byte_is_intact(void **state)
{
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX], record[FRAME_PREFIX + 1514];
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    frame_put_len(record, 1514);
    frame_make(record + FRAME_PREFIX, 1514, 2, 1, 77);
    for (size_t i = 0; i < sizeof record; i++) {
        assert_int_equal(send(a, record + i, 1, 0), 1);
        fixture_turn(&f);
    }
    assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 1514);
    assert_true(frame_is(frame, 1514, 2, 1, 77));
    fixture_close(&f);
}

/* Longer than STREAM_COPY_MAX: read on behind the carried part. */
static void a_long_frame_in_pieces_is_intact(void **state)
{
    struct fixture f;
    static uint8_t frame[FRAME_LEN_MAX], record[FRAME_PREFIX + 65000];
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    frame_put_len(record, 65000);
    frame_make(record + FRAME_PREFIX, 65000, 2, 1, 5);
    for (size_t at = 0; at < sizeof record; at += 5000) {
        stream_put(&f, a, record + at, sizeof record - at < 5000 ? sizeof record - at : 5000);
        fixture_run_ms(&f, 2);
    }
    stream_send_frame(&f, a, 99, 2, 1, 6);
    assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 99);
    assert_true(frame_is(frame, 99, 2, 1, 6));
    assert_int_equal(fixture_drops(&f, 0, DROP_oversize), 1); /* the network's MTU is 1500 */
    fixture_close(&f);
}

static void f07_a_short_frame_carries_nothing_of_a_longer_one(void **state)
{
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    for (size_t len = 14; len <= 60; len++) {
        stream_send_frame(&f, a, 1514, 2, 1, 0xdeadbeef);
        assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 1514);
        stream_send_frame(&f, a, len, 2, 1, (uint32_t)len);
        assert_int_equal(stream_receive(&f, b, frame, sizeof frame), (long)len);
        assert_true(frame_is(frame, len, 2, 1, (uint32_t)len));
    }
    fixture_close(&f);
}

static void f10_another_protocol_is_closed_as_a_bad_length(void **state)
{
    static const char *const texts[] = {"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n",
                                        "\x16\x03\x01\x02\x00\x01\x00\x01", "hello, is this the switch?"};
    struct fixture f;

    (void)state;
    fixture_open(&f, NULL);
    for (unsigned i = 0; i < 3; i++) {
        int a = fixture_stream(&f, 0);

        stream_put(&f, a, (const uint8_t *)texts[i], 8);
        assert_true(fixture_until_closed(&f, 0, i));
        assert_int_equal(fixture_drops(&f, 0, DROP_bad_length), i + 1);
        fixture_hang_up(&f, a);
    }
    fixture_close(&f);
}

static void a_client_that_leaves_in_a_frame_is_counted_as_cut_short(void **state)
{
    struct fixture f;
    uint8_t record[100] = {0};
    int a;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    frame_put_len(record, 500);
    stream_put(&f, a, record, sizeof record);
    fixture_run_ms(&f, 3);
    fixture_hang_up(&f, a);
    assert_true(fixture_until_closed(&f, 0, 0));
    assert_int_equal(fixture_drops(&f, 0, DROP_cut_short), 1);
    assert_null(f.ports[0].link);
    fixture_close(&f);
}

static void q01_a_reader_that_stops_costs_itself_within_its_limit(void **state)
{
    struct io_limits limits = {64, 100 * 1024};
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int a, b;

    (void)state;
    fixture_open(&f, &limits);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    fixture_stream(&f, 2); /* never reads */
    introduce(&f, a, b);
    for (uint32_t i = 0; i < 5000; i++) {
        stream_send_frame(&f, a, 1514, -1, 1, i);
        assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 1514);
        assert_true(frame_is(frame, 1514, -1, 1, i));
        assert_true(f.ports[2].queued <= 64);
    }
    assert_true(fixture_drops(&f, 2, DROP_queue_full) > 1000);
    assert_int_equal(fixture_drops(&f, 1, DROP_queue_full), 0);
    assert_false(f.ports[2].pushes_back && f.ports[2].queued == 0);
    fixture_close(&f);
    assert_true(f.ports[2].counters.drops[DROP_link_closed] > 0);
}

/* Q05: whatever was dropped, what comes is whole frames, in order. */
static void q05_short_writes_never_interleave(void **state)
{
    struct io_limits limits = {64, 100 * 1024};
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    uint64_t got = 0, last = 0;
    int a, b, small = 4096;

    (void)state;
    fixture_open(&f, &limits);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    setsockopt(b, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (uint32_t i = 1; i <= 4000; i++) {
        stream_send_frame(&f, a, 1514, 2, 1, i);
        if (i % 3 == 0)
            (void)recv(b, frame, 0, MSG_DONTWAIT);
    }
    stream_send_frame(&f, a, 1000, 2, 1, 0);
    fixture_run_ms(&f, 30);
    while (f.ports[1].queued > 0 || recv(b, frame, 1, MSG_DONTWAIT | MSG_PEEK) == 1) {
        uint32_t seq;

        long len = stream_receive(&f, b, frame, sizeof frame);

        assert_true(len == 1514 || len == 1000);
        seq = frame_get_len(frame + 14);
        assert_true(frame_is(frame, (size_t)len, 2, 1, seq));
        assert_true(seq == 0 || seq > last);
        last = seq ? seq : last;
        got++;
    }
    assert_true(got > 64 && got < 4001);
    fixture_close(&f);
}

static void q05_half_a_frame_then_close_frees_everything(void **state)
{
    struct fixture f;
    uint8_t half[700];
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    for (uint32_t i = 0; i < 3000; i++)
        stream_send_frame(&f, a, 1514, 2, 1, i);
    assert_true(stream_get(&f, b, half, sizeof half));
    assert_true(f.ports[1].queued > 0);
    fixture_hang_up(&f, b);
    assert_true(fixture_until_closed(&f, 1, 0));
    assert_int_equal(f.ports[1].queued, 0);
    assert_true(fixture_drops(&f, 1, DROP_link_closed) > 0);
    fixture_close(&f);
}

/* A transfer as a VM with a ring of packets writes it: many frames in one call. */
struct row {
    uint8_t bytes[64 * 1024];
    size_t len;
    uint32_t n;
};

static size_t row_frame_len(uint32_t i)
{
    return 60 + (i * 97) % 600;
}

static void row_add(struct row *row, size_t len, int to, uint32_t seq)
{
    assert_true(row->len + FRAME_PREFIX + len <= sizeof row->bytes);
    frame_put_len(row->bytes + row->len, (uint32_t)len);
    frame_make(row->bytes + row->len + FRAME_PREFIX, len, to, 1, seq);
    row->len += FRAME_PREFIX + len;
    row->n++;
}

static void assert_row_arrives(struct fixture *f, int fd, bool is_stream, const struct row *row, int to)
{
    uint8_t frame[FRAME_LEN_MAX];

    for (uint32_t i = 0; i < row->n; i++) {
        long len = is_stream ? stream_receive(f, fd, frame, sizeof frame)
                             : datagram_receive(f, fd, frame, sizeof frame);

        assert_int_equal(len, row_frame_len(i));
        assert_true(frame_is(frame, (size_t)len, to, 1, i));
    }
}

/* The kernel takes a part of it, and that ends in the middle of a frame. */
static void a_row_that_does_not_fit_is_kept_frame_by_frame(void **state)
{
    static struct row row;
    struct fixture f;
    int a, b;

    (void)state;
    row.len = row.n = 0;
    for (uint32_t i = 0; i < 120; i++)
        row_add(&row, row_frame_len(i), 2, i);
    for (int room = 4096; room <= 14000; room += 701) {
        uint64_t before;

        fixture_open(&f, NULL);
        a = fixture_stream(&f, 0);
        b = fixture_stream(&f, 1);
        introduce(&f, a, b);
        setsockopt(((struct link *)f.ports[1].link)->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        before = f.ports[1].counters.frames_out;
        stream_put(&f, a, row.bytes, row.len);
        fixture_run_ms(&f, 2);
        assert_true(f.ports[1].queued > 0);
        assert_true(f.ports[1].counters.frames_out > before);
        assert_row_arrives(&f, b, true, &row, 2);
        assert_int_equal(f.ports[1].counters.frames_out - before, row.n);
        assert_int_equal(f.ports[1].queued, 0);
        fixture_close(&f);
    }
}

static void a_row_reaches_each_kind_of_client_as_its_frames(void **state)
{
    static struct row row;
    struct fixture f;
    uint64_t bytes_in;
    int a, b, c;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    c = fixture_datagram(&f, 2);
    row.len = row.n = 0;
    for (uint32_t i = 0; i < 100; i++)
        row_add(&row, row_frame_len(i), -1, i);
    bytes_in = f.ports[0].counters.bytes_in;
    stream_put(&f, a, row.bytes, row.len);
    assert_row_arrives(&f, b, true, &row, -1);
    assert_row_arrives(&f, c, false, &row, -1);
    assert_int_equal(f.ports[0].counters.bytes_in - bytes_in, row.len - row.n * FRAME_PREFIX);
    assert_int_equal(f.ports[0].counters.flood_copies, row.n);
    fixture_close(&f);
}

static void a_frame_too_long_in_a_row_is_lost_alone(void **state)
{
    static struct row row;
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    row.len = row.n = 0;
    for (uint32_t i = 0; i < 9; i++)
        row_add(&row, i % 3 == 1 ? 1515 : i == 5 ? 13 : 800, 2, i);
    stream_put(&f, a, row.bytes, row.len);
    for (uint32_t i = 0; i < 9; i++) {
        if (i % 3 == 1 || i == 5)
            continue;
        assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 800);
        assert_true(frame_is(frame, 800, 2, 1, i));
    }
    assert_int_equal(fixture_drops(&f, 0, DROP_oversize), 3);
    assert_int_equal(fixture_drops(&f, 0, DROP_runt), 1);
    fixture_close(&f);
}

/* Long records are read in the link's own memory, short ones in what all share; where a read ends says the
 * client. Whatever comes behind whatever, and in whatever parts, it arrives. */
static void records_of_all_lengths_in_parts_of_all_lengths(void **state)
{
    enum { RECORDS = 3000, LONGEST = 60000 };
    static uint8_t record[FRAME_PREFIX + FRAME_LEN_MAX], frame[FRAME_LEN_MAX];
    static uint32_t lens[RECORDS];
    struct fixture f;
    uint32_t random = 12345, next = 0;
    int a, b;

    (void)state;
    fixture_open_mtu(&f, LAN_MTU_MAX);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    for (uint32_t i = 0; i < RECORDS; i++) {
        random = random * 1103515245 + 12345;
        lens[i] = 60 + (i / 40 % 2 ? (random >> 8) % LONGEST : (random >> 8) % 1400);
        frame_put_len(record, lens[i]);
        frame_make(record + FRAME_PREFIX, lens[i], 2, 1, i);
        for (size_t at = 0, part; at < FRAME_PREFIX + lens[i]; at += part) {
            random = random * 1103515245 + 12345;
            part = 1 + (random >> 8) % (2 * LONGEST);
            if (part > FRAME_PREFIX + lens[i] - at)
                part = FRAME_PREFIX + lens[i] - at;
            stream_put(&f, a, record + at, part);
            if ((random >> 4) % 4 == 0)
                fixture_turn(&f);
        }
        for (; i % 8 == 7 && next <= i; next++) {
            assert_int_equal(stream_receive(&f, b, frame, sizeof frame), lens[next]);
            assert_true(frame_is(frame, lens[next], 2, 1, next));
        }
    }
    assert_int_equal(next, RECORDS);
    fixture_close(&f);
}

/* The last byte of the link's own memory: what was touched must be known, or it is never given back. */
static void a_read_that_fills_the_own_memory_is_remembered(void **state)
{
    enum { RECORD = 66380, PART = 20000 };
    static uint8_t bytes[5 * RECORD];
    const size_t first = 2 * RECORD + PART;
    int a, big = 4 * 1024 * 1024;
    struct fixture f;
    struct resume *resume;

    (void)state;
    for (size_t i = 0; i < 5; i++)
        frame_put_len(bytes + i * RECORD, RECORD - FRAME_PREFIX);
    fixture_open_mtu(&f, LAN_MTU_MAX);
    a = fixture_stream(&f, 0);
    resume = ((struct link *)f.ports[0].link)->resume;
    assert_int_equal(resume->in_size, sizeof bytes);
    setsockopt(a, SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    stream_put(&f, a, bytes, RECORD); /* so that it knows how long they are */
    fixture_run_ms(&f, 2);
    assert_int_equal(send(a, bytes, first, MSG_DONTWAIT), first);
    fixture_run_ms(&f, 2);
    assert_int_equal(resume->in_len, PART);
    assert_int_equal(send(a, bytes + first, sizeof bytes - first, MSG_DONTWAIT), sizeof bytes - first);
    fixture_run_ms(&f, 2);
    assert_int_equal(fixture_drops(&f, 0, DROP_oversize), 6);
    assert_int_equal(resume->in_touched, sizeof bytes);
    fixture_close(&f);
}

/* Only headers and numbers are made and checked: a wait lasts 1 ms at most, and a turn of this test that
 * takes as long, under a sanitizer, would see each of them expire. */
enum { FLOOD_READ = 122 * 1024, FLOOD_CHECKED = 18 };

struct flood {
    int from, to;
    uint32_t sent, n;
    size_t at; /* sent of the current record */
    uint8_t record[FRAME_PREFIX + 1514];
    uint8_t in[256 * 1024];
    size_t n_in;
    uint32_t got;
};

static void flood_send(struct flood *flood)
{
    while (flood->sent < flood->n) {
        ssize_t n;

        if (flood->at == 0) {
            frame_put_len(flood->record, 1514);
            frame_make(flood->record + FRAME_PREFIX, FLOOD_CHECKED, 2, 1, flood->sent);
        }
        n = send(flood->from, flood->record + flood->at, sizeof flood->record - flood->at, MSG_DONTWAIT);
        if (n < 0)
            return;
        flood->at += (size_t)n;
        if (flood->at < sizeof flood->record)
            return;
        flood->at = 0;
        flood->sent++;
    }
}

/* Some 5 % less than the switch reads in a turn: without back-pressure the queue must overflow. */
static void flood_receive(struct flood *flood)
{
    size_t done = 0;
    ssize_t n = recv(flood->to, flood->in + flood->n_in, FLOOD_READ, MSG_DONTWAIT);

    if (n <= 0)
        return;
    flood->n_in += (size_t)n;
    for (; flood->n_in - done >= sizeof flood->record; done += sizeof flood->record) {
        assert_int_equal(frame_get_len(flood->in + done), 1514);
        assert_true(frame_is(flood->in + done + FRAME_PREFIX, FLOOD_CHECKED, 2, 1, flood->got));
        flood->got++;
    }
    memmove(flood->in, flood->in + done, flood->n_in - done);
    flood->n_in -= done;
}

static void a_flood_between_two_live_streams_loses_nothing(void **state)
{
    static struct flood flood;
    struct io_limits limits = {512, 1024 * 1024};
    struct fixture f;
    uint64_t end_ns = uv_hrtime() + UINT64_C(60) * 1000000000;
    int big = 4 * 1024 * 1024;

    (void)state;
    fixture_open(&f, &limits);
    flood = (struct flood){.from = fixture_stream(&f, 0), .to = fixture_stream(&f, 1), .n = 100000};
    setsockopt(flood.from, SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    introduce(&f, flood.from, flood.to);
    while (flood.got < flood.n && uv_hrtime() < end_ns) {
        /* The ration counts real time, so a busy machine would use it up; test_steady.c is about that. */
        memset(&((struct link *)f.ports[0].link)->pressure, 0, sizeof(struct pressure));
        flood_send(&flood);
        uv_run(&f.loop, UV_RUN_NOWAIT);
        flood_receive(&flood);
    }
    assert_int_equal(flood.got, flood.n);
    assert_int_equal(fixture_drops(&f, 1, DROP_queue_full), 0);
    fixture_close(&f);
}

static void d02_a_client_that_clears_o_nonblock_blocks_nobody(void **state)
{
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int pair[2], dup_fd, b;
    uint64_t worst_ns = 0;

    (void)state;
    fixture_open(&f, NULL);
    b = fixture_stream(&f, 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    dup_fd = dup(pair[0]);
    close(pair[0]);
    pair[0] = dup(dup_fd);
    assert_int_equal(link_stream_open(f.io, fixture_join(&f, 0), pair[0], fixture_on_closed, &f), 0);
    f.n_opened++;
    /* The description's flags are as they were. */
    assert_int_equal(fcntl(dup_fd, F_GETFL) & O_NONBLOCK, 0);
    introduce(&f, pair[1], b);
    for (int i = 0; i < 2000; i++) {
        uint64_t start = uv_hrtime();

        assert_int_equal(fcntl(dup_fd, F_SETFL, i % 2 ? O_NONBLOCK : 0), 0);
        uv_run(&f.loop, UV_RUN_NOWAIT);
        worst_ns = uv_hrtime() - start > worst_ns ? uv_hrtime() - start : worst_ns;
    }
    assert_true(worst_ns < 50 * 1000000);
    fcntl(dup_fd, F_SETFL, 0);
    /* Writes towards a client that does not read do not block either. */
    for (uint32_t i = 0; i < 3000; i++)
        stream_send_frame(&f, b, 1514, 1, 2, i);
    stream_send_frame(&f, pair[1], 60, 2, 1, 4);
    assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 60);
    close(dup_fd);
    close(pair[1]);
    fixture_close(&f);
}

static void d07_descriptors_on_a_data_stream_are_closed(void **state)
{
    struct fixture f;
    unsigned before;
    int a;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    before = fixture_count_fds();
    for (int i = 0; i < 1000; i++) {
        uint8_t record[FRAME_PREFIX + 60];

        frame_put_len(record, 60);
        frame_make(record + FRAME_PREFIX, 60, -1, 1, (uint32_t)i);
        assert_int_equal(socket_send_fd(a, record, sizeof record, a), (long)sizeof record);
        fixture_turn(&f);
    }
    fixture_run_ms(&f, 5);
    assert_int_equal(fixture_count_fds(), before);
    assert_int_equal(f.ports[0].counters.frames_in, 1000);
    fixture_close(&f);
}

/* What a later offload path hands over: a copied head and the rest in pieces; also between plain neighbours.
 */
static void frames_in_segments_arrive_whole(void **state)
{
    static uint8_t record[FRAME_PREFIX + 1514];
    struct fixture f;
    struct frame_segment rest[2];
    struct frame segmented = {
        .head = record + FRAME_PREFIX, .len = 1514, .head_len = 64, .rest = rest, .n_rest = 2};
    struct frame plain = {.head = record + FRAME_PREFIX, .len = 1514, .head_len = 1514};
    const struct frame *frames[] = {&plain, &segmented, &segmented, &plain};
    uint8_t frame[FRAME_LEN_MAX];
    int clients[2];

    (void)state;
    fixture_open(&f, NULL);
    clients[0] = fixture_stream(&f, 0);
    clients[1] = fixture_datagram(&f, 1);
    frame_put_len(record, 1514);
    frame_make(record + FRAME_PREFIX, 1514, 1, 2, 42);
    rest[0] = (struct frame_segment){record + FRAME_PREFIX + 64, 700};
    rest[1] = (struct frame_segment){record + FRAME_PREFIX + 764, 750};
    for (unsigned i = 0; i < 2; i++) {
        struct port *port = &f.ports[i];

        port->counters.frames_in += 4000; /* they came from nowhere */
        for (int k = 0; k < 1000; k++) {
            port->ops->send(port, frames, 4);
            for (int n = 0; n < 4; n++) {
                long len = i == 0 ? stream_receive(&f, clients[i], frame, sizeof frame)
                                  : datagram_receive(&f, clients[i], frame, sizeof frame);

                assert_int_equal(len, 1514);
                assert_true(frame_is(frame, 1514, 1, 2, 42));
            }
        }
    }
    fixture_close(&f);
}

static void q07_the_smallest_buffers_only_cost_their_owner(void **state)
{
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int a, b, tiny = 1;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    setsockopt(a, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
    setsockopt(b, SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny);
    introduce(&f, a, b);
    for (uint32_t i = 0; i < 300; i++) {
        stream_send_frame(&f, a, 1514, 2, 1, i);
        assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 1514);
        assert_true(frame_is(frame, 1514, 2, 1, i));
    }
    fixture_close(&f);
}

static void draining_reads_on_for_a_while_and_sends_nothing(void **state)
{
    struct fixture f;
    uint8_t byte;
    int a;
    uint64_t start;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    start = uv_hrtime();
    link_close(&f.ports[0], LINK_CLOSE_DRAIN, "asked to");
    assert_null(f.ports[0].link);
    for (uint32_t i = 0; i < 2000; i++) /* more than a socket buffer: somebody reads it */
        stream_send_frame(&f, a, 1514, -1, 1, i);
    assert_true(fixture_until_closed(&f, 0, 0));
    assert_true(uv_hrtime() - start > 90 * 1000000);
    assert_string_equal(f.reason, "asked to");
    assert_int_equal(f.ports[0].counters.frames_in, 0);
    assert_int_equal(recv(a, &byte, 1, MSG_DONTWAIT), 0);
    fixture_close(&f);
}

/* A write to it finds that it is gone before its last frames are read. */
static void the_last_frames_of_a_client_that_is_gone_arrive(void **state)
{
    enum { LAST = 100 }; /* more than one read */
    struct fixture f;
    uint8_t frame[FRAME_LEN_MAX];
    int a, b, big = 1024 * 1024;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    setsockopt(a, SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    introduce(&f, a, b);
    stream_send_frame(&f, b, 60, 1, 2, 1); /* b is ready first */
    for (uint32_t i = 0; i < LAST; i++)
        stream_send_frame(&f, a, 1514, 2, 1, i);
    assert_int_equal(f.ports[0].counters.frames_in, 1); /* nothing has been read yet */
    fixture_hang_up(&f, a);
    for (uint32_t i = 0; i < LAST; i++) {
        assert_int_equal(stream_receive(&f, b, frame, sizeof frame), 1514);
        assert_true(frame_is(frame, 1514, 2, 1, i));
    }
    assert_true(fixture_until_closed(&f, 0, 0));
    assert_non_null(strstr(f.reason, "writing failed"));
    fixture_close(&f);
}

static void nothing_is_a_record_behind_an_impossible_length(void **state)
{
    struct fixture f;
    uint8_t bytes[IO_STREAM_READ] = {0};
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    frame_put_len(bytes, FRAME_LEN_MAX + 1);
    stream_put(&f, a, bytes, sizeof bytes);
    stream_send_frame(&f, a, 60, 2, 1, 1);
    assert_int_equal(f.ports[0].counters.frames_in, 1);
    fixture_hang_up(&f, a);
    assert_true(fixture_until_closed(&f, 0, 0));
    assert_int_equal(f.ports[0].counters.frames_in, 2); /* the introduction, and the bad length */
    assert_int_equal(fixture_drops(&f, 0, DROP_bad_length), 1);
    fixture_close(&f);
}

static bool is_wakeable(struct fixture *f, void *ctx)
{
    const struct link *link = f->ports[1].link;

    (void)ctx;
    return !link->is_unwakeable && (link->events & UV_WRITABLE);
}

static void a_full_socket_ends_the_retries_of_a_short_memory(void **state)
{
    struct fixture f;
    int a, b;

    (void)state;
    fixture_open(&f, NULL);
    a = fixture_stream(&f, 0);
    b = fixture_stream(&f, 1);
    introduce(&f, a, b);
    for (uint32_t i = 0; i < 3000; i++)
        stream_send_frame(&f, a, 1514, 2, 1, i);
    assert_true(f.ports[1].queued > 0);
    ((struct link *)f.ports[1].link)->is_unwakeable = true; /* as ENOBUFS does */
    link_settle(f.ports[1].link);
    assert_true(fixture_until(&f, is_wakeable, NULL));
    assert_true(f.ports[1].queued > 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_arrive_in_order_and_unchanged),
        cmocka_unit_test(f01_an_impossible_length_closes_that_client_only),
        cmocka_unit_test(f02_runts_are_skipped_and_the_next_frame_passes),
        cmocka_unit_test(f03_oversize_is_counted_and_the_next_frame_passes),
        cmocka_unit_test(f05_a_frame_that_comes_byte_by_byte_is_intact),
        cmocka_unit_test(a_long_frame_in_pieces_is_intact),
        cmocka_unit_test(f07_a_short_frame_carries_nothing_of_a_longer_one),
        cmocka_unit_test(f10_another_protocol_is_closed_as_a_bad_length),
        cmocka_unit_test(a_client_that_leaves_in_a_frame_is_counted_as_cut_short),
        cmocka_unit_test(q01_a_reader_that_stops_costs_itself_within_its_limit),
        cmocka_unit_test(q05_short_writes_never_interleave),
        cmocka_unit_test(a_row_that_does_not_fit_is_kept_frame_by_frame),
        cmocka_unit_test(a_row_reaches_each_kind_of_client_as_its_frames),
        cmocka_unit_test(a_frame_too_long_in_a_row_is_lost_alone),
        cmocka_unit_test(a_read_that_fills_the_own_memory_is_remembered),
        cmocka_unit_test(records_of_all_lengths_in_parts_of_all_lengths),
        cmocka_unit_test(q05_half_a_frame_then_close_frees_everything),
        cmocka_unit_test(a_flood_between_two_live_streams_loses_nothing),
        cmocka_unit_test(d02_a_client_that_clears_o_nonblock_blocks_nobody),
        cmocka_unit_test(d07_descriptors_on_a_data_stream_are_closed),
        cmocka_unit_test(frames_in_segments_arrive_whole),
        cmocka_unit_test(q07_the_smallest_buffers_only_cost_their_owner),
        cmocka_unit_test(draining_reads_on_for_a_while_and_sends_nothing),
        cmocka_unit_test(the_last_frames_of_a_client_that_is_gone_arrive),
        cmocka_unit_test(nothing_is_a_record_behind_an_impossible_length),
        cmocka_unit_test(a_full_socket_ends_the_retries_of_a_short_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

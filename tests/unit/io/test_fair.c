/* Tests of who gets how much of a turn: no port that floods takes another's share (Q12).
 *
 * Sources whose sockets are full at the beginning of every turn, receivers that take everything: what differs
 * then is what the links read, and nothing here depends on how fast the machine is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "fixture.h"
#include "io/framing.h"

enum { JUMBO = 9014, SMALL = 64, TURNS = 400, TEXT_MAX = 128 * 1024 };

/* A client that sends the same frame as fast as its socket takes it. */
struct flooder {
    int fd;
    size_t frame_len;
    uint8_t text[TEXT_MAX]; /* whole records, for a stream */
    size_t text_len, at;
};

static void flooder_init(struct flooder *flooder, int fd, size_t frame_len, int to, int from)
{
    int size = 1024 * 1024;

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    *flooder = (struct flooder){.fd = fd, .frame_len = frame_len};
    while (flooder->text_len + FRAME_PREFIX + frame_len <= TEXT_MAX) {
        uint8_t *record = flooder->text + flooder->text_len;

        frame_put_len(record, (uint32_t)frame_len);
        frame_make(record + FRAME_PREFIX, frame_len, to, from, 1);
        flooder->text_len += FRAME_PREFIX + frame_len;
    }
}

static void fill_stream(struct flooder *flooder)
{
    ssize_t n;

    while ((n = send(flooder->fd, flooder->text + flooder->at, flooder->text_len - flooder->at,
                     MSG_DONTWAIT)) > 0)
        flooder->at = (flooder->at + (size_t)n) % flooder->text_len;
    assert_int_equal(errno, EAGAIN);
}

static void fill_datagram(struct flooder *flooder)
{
    while (send(flooder->fd, flooder->text + FRAME_PREFIX, flooder->frame_len, MSG_DONTWAIT) > 0)
        continue;
    assert_int_equal(errno, EAGAIN);
}

/* Returns how many datagrams, or bytes of a stream, were there. */
static size_t drain(int fd, bool is_stream)
{
    static uint8_t sink[256 * 1024];
    size_t sum = 0;
    ssize_t n;

    while ((n = recv(fd, sink, sizeof sink, MSG_DONTWAIT)) > 0)
        sum += is_stream ? (size_t)n : 1;
    return sum;
}

/* Ports 0 and 1 send, to ports 2 and 3. */
struct scene {
    struct fixture f;
    struct flooder flooders[2];
    int receivers[2];
    bool is_stream;
};

static bool is_learned(struct fixture *f, void *ctx)
{
    const uint64_t *address = ctx;

    return fdb_find(lan_fdb(f->lan), *address) != NULL;
}

static void scene_open(struct scene *s, bool is_stream, size_t first_len, size_t second_len)
{
    const size_t lens[2] = {first_len, second_len};
    int (*const plug)(struct fixture *, unsigned) = is_stream ? fixture_stream : fixture_datagram;

    fixture_open_mtu(&s->f, JUMBO - FRAME_ETHER_HEADER);
    s->is_stream = is_stream;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t hello[FRAME_PREFIX + SMALL];

        flooder_init(&s->flooders[i], plug(&s->f, i), lens[i], (int)i + 2, (int)i);
        s->receivers[i] = plug(&s->f, i + 2);
        frame_put_len(hello, SMALL);
        frame_make(hello + FRAME_PREFIX, SMALL, -1, (int)i + 2, 0);
        assert_true(send(s->receivers[i], hello + (is_stream ? 0 : FRAME_PREFIX),
                         SMALL + (is_stream ? FRAME_PREFIX : 0), 0) > 0);
        assert_true(fixture_until(&s->f, is_learned, &(uint64_t){UINT64_C(0x525400000002) + i}));
    }
    for (unsigned i = 0; i < 2; i++) {
        drain(s->flooders[i].fd, is_stream);
        drain(s->receivers[i], is_stream);
    }
}

static void flood(struct scene *s, unsigned turns)
{
    for (unsigned t = 0; t < turns; t++) {
        for (unsigned i = 0; i < 2; i++)
            s->is_stream ? fill_stream(&s->flooders[i]) : fill_datagram(&s->flooders[i]);
        uv_run(&s->f.loop, UV_RUN_NOWAIT);
        for (unsigned i = 0; i < 2; i++)
            drain(s->receivers[i], s->is_stream);
    }
}

/* a and b differ by at most 20 % of the smaller. */
static void assert_equal_shares(uint64_t a, uint64_t b)
{
    assert_true(a > 0 && b > 0);
    assert_true(a * 5 <= b * 6 && b * 5 <= a * 6);
}

static void q12_streams_share_by_bytes_whatever_their_frames(void **state)
{
    static struct scene s;

    (void)state;
    scene_open(&s, true, JUMBO, SMALL);
    flood(&s, TURNS);
    assert_equal_shares(s.f.ports[0].counters.bytes_in, s.f.ports[1].counters.bytes_in);
    assert_int_equal(s.f.ports[2].counters.frames_out, s.f.ports[0].counters.frames_in + 1);
    assert_int_equal(s.f.ports[3].counters.frames_out, s.f.ports[1].counters.frames_in);
    fixture_close(&s.f);
}

static void datagram_ports_share_by_frames(void **state)
{
    static struct scene s;

    (void)state;
    scene_open(&s, false, 1500, SMALL);
    flood(&s, TURNS);
    assert_equal_shares(s.f.ports[0].counters.frames_in, s.f.ports[1].counters.frames_in);
    fixture_close(&s.f);
    /* Long ones come in smaller batches, and are no reason to read less from others. */
    scene_open(&s, false, JUMBO, SMALL);
    flood(&s, TURNS);
    assert_equal_shares(2 * s.f.ports[0].counters.frames_in, s.f.ports[1].counters.frames_in);
    fixture_close(&s.f);
}

/* One frame a turn beside a flood: it is through when the turn is over. */
static void modest_beside_a_flood(bool is_stream, size_t flood_len)
{
    static struct scene s;

    scene_open(&s, is_stream, flood_len, 1000);
    for (unsigned t = 0; t < TURNS; t++) {
        const uint8_t *record = s.flooders[1].text;
        uint64_t flooded = s.f.ports[0].counters.bytes_in;

        is_stream ? fill_stream(&s.flooders[0]) : fill_datagram(&s.flooders[0]);
        assert_true(send(s.flooders[1].fd, record + (is_stream ? 0 : FRAME_PREFIX),
                         1000 + (is_stream ? FRAME_PREFIX : 0), MSG_DONTWAIT) > 0);
        uv_run(&s.f.loop, UV_RUN_NOWAIT);
        assert_int_equal(drain(s.receivers[1], is_stream), is_stream ? 1000 + FRAME_PREFIX : 1);
        drain(s.receivers[0], is_stream);
        flooded = s.f.ports[0].counters.bytes_in - flooded;
        /* What it had to wait for at most: a whole turn of one that is alone, and the record it ends in. */
        assert_true(flooded > 0 &&
                    flooded <= (is_stream ? IO_STREAM_READ + JUMBO : IO_DGRAM_SLOTS * flood_len));
    }
    fixture_close(&s.f);
}

static void a_flooding_stream_delays_a_modest_one_by_one_read_at_most(void **state)
{
    (void)state;
    modest_beside_a_flood(true, SMALL);
    modest_beside_a_flood(true, JUMBO);
}

static void a_flooding_datagram_port_delays_a_modest_one_by_one_batch_at_most(void **state)
{
    (void)state;
    modest_beside_a_flood(false, SMALL);
    modest_beside_a_flood(false, JUMBO);
}

/* Reads so much of a stream and counts the whole records that station 'of' has sent. */
static unsigned read_some(int fd, size_t most, int of)
{
    static uint8_t bytes[2 * TEXT_MAX];
    static size_t len;
    size_t at = 0;
    unsigned n_found = 0;
    ssize_t n = recv(fd, bytes + len, most, MSG_DONTWAIT);

    len += n > 0 ? (size_t)n : 0;
    while (len - at >= FRAME_PREFIX && len - at - FRAME_PREFIX >= frame_get_len(bytes + at)) {
        n_found += bytes[at + FRAME_PREFIX + 11] == of;
        at += FRAME_PREFIX + frame_get_len(bytes + at);
    }
    memmove(bytes, bytes + at, len - at);
    len -= at;
    return n_found;
}

/* Two at one that takes a few frames a turn: the queue is full all the time, with the flood's frames. */
static void a_flood_at_a_slow_port_leaves_a_modest_source_its_frames(void **state)
{
    static struct scene s;
    static struct flooder modest;
    const size_t few = 8 * (FRAME_PREFIX + 1500);
    unsigned sent = 0, arrived = 0, idle = 0;
    uint64_t sent_at_ms = 0;

    (void)state;
    scene_open(&s, true, 1500, SMALL);
    flooder_init(&modest, s.flooders[1].fd, SMALL, 2, 1);
    while (sent < 300) {
        fill_stream(&s.flooders[0]);
        if (uv_now(&s.f.loop) > sent_at_ms && fixture_drops(&s.f, 2, DROP_queue_full) > 0) {
            sent_at_ms = uv_now(&s.f.loop);
            assert_true(send(modest.fd, modest.text, FRAME_PREFIX + SMALL, MSG_DONTWAIT) > 0);
            sent++;
        }
        uv_run(&s.f.loop, UV_RUN_NOWAIT);
        arrived += read_some(s.receivers[0], few, 1);
    }
    while (idle < 100 && arrived < sent) {
        unsigned n;

        fixture_turn(&s.f);
        n = read_some(s.receivers[0], TEXT_MAX, 1);
        arrived += n;
        idle = n > 0 ? 0 : idle + 1;
    }
    assert_int_equal(arrived, sent);
    fixture_close(&s.f);
}

/* In the same turn of the loop, in which the flood's socket was readable long before. */
static void expect_modest_first(bool is_stream)
{
    static struct scene s;
    static struct flooder modest;
    static uint8_t first[FRAME_PREFIX + JUMBO];
    const size_t skipped = is_stream ? 0 : FRAME_PREFIX;

    scene_open(&s, is_stream, 1500, SMALL);
    flooder_init(&modest, s.flooders[1].fd, SMALL, 2, 1);
    for (int i = 0; i < 20; i++) {
        ssize_t n;

        if (is_stream)
            fill_stream(&s.flooders[0]);
        else
            fill_datagram(&s.flooders[0]);
        uv_run(&s.f.loop, UV_RUN_NOWAIT);
        drain(s.receivers[0], is_stream);
        assert_true(send(modest.fd, modest.text + skipped, FRAME_PREFIX + SMALL - skipped, MSG_DONTWAIT) > 0);
        uv_run(&s.f.loop, UV_RUN_NOWAIT);
        n = recv(s.receivers[0], first + skipped, FRAME_PREFIX + SMALL - skipped, MSG_DONTWAIT);
        assert_int_equal(n, FRAME_PREFIX + SMALL - skipped);
        assert_true(frame_is(first + FRAME_PREFIX, SMALL, 2, 1, 1));
    }
    fixture_close(&s.f);
}

static void who_speaks_seldom_goes_before_who_floods(void **state)
{
    (void)state;
    expect_modest_first(true);
    expect_modest_first(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_speaks_seldom_goes_before_who_floods),
        cmocka_unit_test(q12_streams_share_by_bytes_whatever_their_frames),
        cmocka_unit_test(datagram_ports_share_by_frames),
        cmocka_unit_test(a_flooding_stream_delays_a_modest_one_by_one_read_at_most),
        cmocka_unit_test(a_flooding_datagram_port_delays_a_modest_one_by_one_batch_at_most),
        cmocka_unit_test(a_flood_at_a_slow_port_leaves_a_modest_source_its_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

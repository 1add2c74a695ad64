/* tests/unit/io/fixture.c - see fixture.h */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/framing.h"

unsigned fixture_count_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void open_all(struct fixture *fixture, const struct io_settings *settings, uint32_t mtu)
{
    struct lan_options options = {.fdb = {.seed = {1, 2},
                                          .capacity = FDB_CAPACITY,
                                          .port_limit = FDB_PORT_LIMIT,
                                          .uplink_limit = FDB_UPLINK_LIMIT,
                                          .age_ms = FDB_AGE_MS,
                                          .hold_ms = FDB_HOLD_MS},
                                  .mtu = mtu};

    memset(fixture, 0, sizeof *fixture);
    /* The first loop of a process opens libuv's global signal pipe. */
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    fixture->fds_before = fixture_count_fds();
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    uv_timer_init(&fixture->loop, &fixture->tick);
    uv_timer_start(&fixture->tick, on_tick, 1, 1);
    fixture->lan = lan_create(&options);
    assert_non_null(fixture->lan);
    assert_int_equal(io_create(&fixture->io, &fixture->loop, fixture->lan, settings), 0);
}

void fixture_open(struct fixture *fixture, const struct io_limits *limits)
{
    struct io_settings settings = {.limits = {IO_QUEUE_FRAMES, 0}};

    if (limits)
        settings.limits = *limits;
    fixture_open_tuned(fixture, &settings);
}

void fixture_open_tuned(struct fixture *fixture, const struct io_settings *settings)
{
    open_all(fixture, settings, LAN_MTU_DEFAULT);
}

void fixture_open_mtu(struct fixture *fixture, uint32_t mtu)
{
    const struct io_settings settings = {.limits = {IO_QUEUE_FRAMES, 0}};

    open_all(fixture, &settings, mtu);
}

void fixture_assert_sum(struct fixture *fixture)
{
    struct counters totals;
    uint64_t queued;

    lan_totals(fixture->lan, &totals, &queued);
    assert_int_equal(totals.frames_in + totals.flood_copies + totals.segment_copies,
                     totals.frames_out + counters_dropped(&totals) + queued);
}

/* link_close() unplugs at once; the link itself is gone only when it has said so. */
static bool all_closed(struct fixture *fixture, void *ctx)
{
    unsigned n_closed = 0;

    (void)ctx;
    for (unsigned i = 0; i < FIXTURE_PORTS; i++)
        n_closed += fixture->n_closed[i];
    return n_closed == fixture->n_opened;
}

void fixture_close(struct fixture *fixture)
{
    fixture_assert_sum(fixture);
    for (unsigned i = 0; i < FIXTURE_PORTS; i++)
        link_close(&fixture->ports[i], LINK_CLOSE_NOW, "the test is over");
    assert_true(fixture_until(fixture, all_closed, NULL));
    io_destroy(fixture->io);
    uv_close((uv_handle_t *)&fixture->tick, NULL);
    assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    fixture_assert_sum(fixture);
    for (unsigned i = 0; i < FIXTURE_PORTS; i++)
        if (fixture->is_joined[i]) {
            assert_int_equal(fixture->ports[i].queued, 0);
            lan_leave(fixture->lan, &fixture->ports[i]);
        }
    fixture_assert_sum(fixture);
    lan_destroy(fixture->lan);
    while (fixture->n_clients > 0)
        close(fixture->clients[--fixture->n_clients]);
    assert_int_equal(fixture_count_fds(), fixture->fds_before);
}

int fixture_own(struct fixture *fixture, int fd)
{
    assert_true(fixture->n_clients < sizeof fixture->clients / sizeof *fixture->clients);
    fixture->clients[fixture->n_clients++] = fd;
    return fd;
}

void fixture_hang_up(struct fixture *fixture, int fd)
{
    for (unsigned i = 0; i < fixture->n_clients; i++)
        if (fixture->clients[i] == fd) {
            fixture->clients[i] = fixture->clients[--fixture->n_clients];
            close(fd);
            return;
        }
    fail_msg("descriptor %d is not the fixture's", fd);
}

struct port *fixture_join(struct fixture *fixture, unsigned i)
{
    struct port *port = &fixture->ports[i];

    if (fixture->is_joined[i])
        return port;
    snprintf(port->name, sizeof port->name, "p%u", i);
    port->role = PORT_VM;
    port->enabled = true;
    port->frame_max = lan_mtu(fixture->lan) + FRAME_ETHER_HEADER;
    lan_join(fixture->lan, port);
    fixture->is_joined[i] = true;
    return port;
}

void fixture_on_closed(struct port *port, void *ctx, const char *reason)
{
    struct fixture *fixture = ctx;

    fixture->n_closed[port - fixture->ports]++;
    snprintf(fixture->reason, sizeof fixture->reason, "%s", reason);
}

int fixture_stream(struct fixture *fixture, unsigned i)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(
        link_stream_open(fixture->io, fixture_join(fixture, i), pair[0], fixture_on_closed, fixture), 0);
    fixture->n_opened++;
    return fixture_own(fixture, pair[1]);
}

int fixture_datagram(struct fixture *fixture, unsigned i)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    assert_int_equal(
        link_datagram_open(fixture->io, fixture_join(fixture, i), pair[0], fixture_on_closed, fixture), 0);
    fixture->n_opened++;
    return fixture_own(fixture, pair[1]);
}

void fixture_turn(struct fixture *fixture)
{
    uv_run(&fixture->loop, UV_RUN_ONCE);
}

bool fixture_until(struct fixture *fixture, bool (*is_done)(struct fixture *, void *), void *ctx)
{
    uint64_t end_ns = uv_hrtime() + (uint64_t)FIXTURE_WAIT_MS * 1000000;

    while (!is_done(fixture, ctx)) {
        if (uv_hrtime() > end_ns)
            return false;
        fixture_turn(fixture);
    }
    return true;
}

struct closed_wait {
    unsigned i, before;
};

static bool is_closed(struct fixture *fixture, void *ctx)
{
    const struct closed_wait *wait = ctx;

    return fixture->n_closed[wait->i] > wait->before;
}

bool fixture_until_closed(struct fixture *fixture, unsigned i, unsigned before)
{
    struct closed_wait wait = {i, before};

    return fixture_until(fixture, is_closed, &wait);
}

void fixture_run_ms(struct fixture *fixture, uint64_t ms)
{
    uint64_t end_ns = uv_hrtime() + ms * 1000000;

    while (uv_hrtime() < end_ns)
        fixture_turn(fixture);
}

uint64_t fixture_drops(const struct fixture *fixture, unsigned i, enum drop_reason reason)
{
    return fixture->ports[i].counters.drops[reason];
}

static void put_station(uint8_t *bytes, int station)
{
    static const uint8_t prefix[5] = {0x52, 0x54, 0x00, 0x00, 0x00};

    if (station < 0) {
        memset(bytes, 0xff, 6);
        return;
    }
    memcpy(bytes, prefix, 5);
    bytes[5] = (uint8_t)station;
}

void frame_make(uint8_t *frame, size_t len, int to, int from, uint32_t seq)
{
    put_station(frame, to);
    put_station(frame + 6, from);
    frame[12] = 0x08;
    frame[13] = 0x00;
    for (size_t i = 14; i < len; i++)
        frame[i] = (uint8_t)(i < 18 ? seq >> (8 * (17 - i)) : seq * 31 + i);
}

bool frame_is(const uint8_t *frame, size_t len, int to, int from, uint32_t seq)
{
    static uint8_t wanted[FRAME_LEN_MAX];

    frame_make(wanted, len, to, from, seq);
    return memcmp(wanted, frame, len) == 0;
}

void stream_put(struct fixture *fixture, int fd, const uint8_t *bytes, size_t len)
{
    uint64_t end_ns = uv_hrtime() + (uint64_t)FIXTURE_WAIT_MS * 1000000;

    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        assert_true(n > 0 || errno == EAGAIN);
        assert_true(uv_hrtime() < end_ns);
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        } else {
            fixture_turn(fixture);
        }
    }
}

void stream_send_frame(struct fixture *fixture, int fd, size_t len, int to, int from, uint32_t seq)
{
    static uint8_t record[FRAME_PREFIX + FRAME_LEN_MAX];

    frame_put_len(record, (uint32_t)len);
    frame_make(record + FRAME_PREFIX, len, to, from, seq);
    stream_put(fixture, fd, record, FRAME_PREFIX + len);
}

bool stream_get(struct fixture *fixture, int fd, uint8_t *bytes, size_t len)
{
    uint64_t end_ns = uv_hrtime() + (uint64_t)FIXTURE_WAIT_MS * 1000000;

    while (len > 0) {
        ssize_t n = recv(fd, bytes, len, MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno != EAGAIN) || uv_hrtime() > end_ns)
            return false;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        } else {
            fixture_turn(fixture);
        }
    }
    return true;
}

long stream_receive(struct fixture *fixture, int fd, uint8_t *frame, size_t size)
{
    uint8_t prefix[FRAME_PREFIX];
    uint32_t len;

    if (!stream_get(fixture, fd, prefix, sizeof prefix))
        return -1;
    len = frame_get_len(prefix);
    if (len > size || !stream_get(fixture, fd, frame, len))
        return -1;
    return len;
}

long datagram_receive(struct fixture *fixture, int fd, uint8_t *frame, size_t size)
{
    uint64_t end_ns = uv_hrtime() + (uint64_t)FIXTURE_WAIT_MS * 1000000;
    ssize_t n;

    while ((n = recv(fd, frame, size, MSG_DONTWAIT)) < 0 && errno == EAGAIN && uv_hrtime() < end_ns)
        fixture_turn(fixture);
    return n;
}

/* perf/steady.c - the frame path alone, in one process and one thread: what exact counters count
 *
 * A lan, its links and their clients on socket pairs. A turn: the source's client writes a burst, the loop
 * runs until all of it has been forwarded, the receiver's client reads it and checks how much it is. Nothing
 * waits for another process, so instructions (callgrind, toggled by 'forward') and system calls (strace) per
 * frame are the same in every run, and nanoseconds nearly so.
 *
 * --wire does the same with one receive and one send call and a walk over the frames: the least there is.
 */
#include <arpa/inet.h>
#include <err.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "io/link.h"
#include "switch/lan.h"

enum { N_PORTS = 2, BURST_MAX = 256, ROOM = 4 * 1024 * 1024 };

struct steady {
    bool is_stream, is_wire;
    size_t frame_size;
    unsigned burst; /* frames a turn */
    unsigned long n_turns;
    uv_loop_t loop;
    uv_timer_t tick;
    struct lan *lan;
    struct io *io;
    struct port ports[N_PORTS];
    int clients[N_PORTS], ours[N_PORTS];
    uint8_t *out, *in, *between;
    struct mmsghdr headers[BURST_MAX];
    struct iovec parts[BURST_MAX];
};

static size_t stride_of(const struct steady *s)
{
    return s->frame_size + FRAME_PREFIX;
}

static void on_closed(struct port *port, void *ctx, const char *reason)
{
    (void)ctx;
    errx(1, "port %s: %s", port->name, reason);
}

static void open_port(struct steady *s, unsigned i)
{
    int type = s->is_stream ? SOCK_STREAM : SOCK_DGRAM, size = ROOM, pair[2], r;

    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
        err(1, "socketpair");
    for (int end = 0; end < 2; end++)
        setsockopt(pair[end], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    s->ours[i] = pair[0];
    s->clients[i] = pair[1];
    if (s->is_wire)
        return;
    snprintf(s->ports[i].name, sizeof s->ports[i].name, "p%u", i);
    s->ports[i].enabled = true;
    s->ports[i].frame_max = LAN_MTU_MAX;
    lan_join(s->lan, &s->ports[i]);
    r = s->is_stream ? link_stream_open(s->io, &s->ports[i], pair[0], on_closed, s)
                     : link_datagram_open(s->io, &s->ports[i], pair[0], on_closed, s);
    if (r < 0)
        errx(1, "link: %s", uv_strerror(r));
}

static void open_network(struct steady *s)
{
    const struct lan_options options = {.fdb = {.seed = {1, 2},
                                                .capacity = FDB_CAPACITY,
                                                .port_limit = FDB_PORT_LIMIT,
                                                .uplink_limit = FDB_UPLINK_LIMIT,
                                                .age_ms = FDB_AGE_MS,
                                                .hold_ms = FDB_HOLD_MS},
                                        .mtu = LAN_MTU_MAX};
    const struct io_settings settings = {.limits = {IO_QUEUE_FRAMES, IO_QUEUE_BYTES}};

    s->lan = lan_create(&options);
    if (!s->lan || uv_loop_init(&s->loop) < 0 || io_create(&s->io, &s->loop, s->lan, &settings) < 0)
        errx(1, "out of memory");
}

/* Frames of the burst, from the station of port 'from' to that of the other. */
static void make_burst(struct steady *s, unsigned from)
{
    for (unsigned i = 0; i < s->burst; i++) {
        uint8_t *record = s->out + i * stride_of(s);
        uint32_t prefix = htonl((uint32_t)s->frame_size);

        memset(record, 0x55, stride_of(s));
        memcpy(record, &prefix, FRAME_PREFIX);
        memcpy(record + 4,
               (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)!from, 2, 0, 0, 0, 0, (uint8_t)from, 0x88, 0xb5}, 14);
        s->parts[i] = (struct iovec){record + FRAME_PREFIX, s->frame_size};
        s->headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &s->parts[i], .msg_iovlen = 1}};
    }
}

static void put_burst(struct steady *s, unsigned from, unsigned n)
{
    ssize_t sent = s->is_stream ? send(s->clients[from], s->out, n * stride_of(s), MSG_DONTWAIT)
                                : sendmmsg(s->clients[from], s->headers, n, MSG_DONTWAIT);

    if (sent != (s->is_stream ? (ssize_t)(n * stride_of(s)) : (ssize_t)n))
        err(1, "the burst does not fit the socket's buffer");
}

/* Returns what has come: bytes of a stream, or datagrams. */
static size_t take_burst(struct steady *s, unsigned at)
{
    size_t n = 0;

    for (;;) {
        ssize_t got = recv(s->clients[at], s->in, ROOM, MSG_DONTWAIT);

        if (got <= 0)
            return n;
        n += s->is_stream ? (size_t)got : 1;
    }
}

static volatile uint8_t touched; /* keeps the compiler from leaving out the reading of addresses */

static void relay_stream(struct steady *s)
{
    size_t have = 0;

    for (;;) {
        ssize_t got = recv(s->ours[0], s->between + have, 256 * 1024 - have, MSG_DONTWAIT);
        size_t at = 0;
        uint8_t sum = 0;

        if (got <= 0)
            return;
        have += (size_t)got;
        while (have - at >= FRAME_PREFIX) {
            uint32_t len;

            memcpy(&len, s->between + at, FRAME_PREFIX);
            len = ntohl(len);
            if (have - at - FRAME_PREFIX < len)
                break;
            for (size_t i = 0; i < 12; i++)
                sum = (uint8_t)(sum + s->between[at + FRAME_PREFIX + i]);
            at += FRAME_PREFIX + len;
        }
        touched = sum;
        if (at > 0 && send(s->ours[1], s->between, at, MSG_DONTWAIT) != (ssize_t)at)
            err(1, "relay");
        have -= at;
        memmove(s->between, s->between + at, have);
    }
}

static void relay_datagrams(struct steady *s)
{
    static struct mmsghdr headers[64];
    static struct iovec parts[64];
    int n;

    do {
        for (unsigned i = 0; i < 64; i++) {
            parts[i] = (struct iovec){s->between + (size_t)i * 65600, 65600};
            headers[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
        }
        n = recvmmsg(s->ours[0], headers, 64, MSG_DONTWAIT, NULL);
        for (int i = 0; i < n; i++)
            parts[i].iov_len = headers[i].msg_len;
        if (n > 0 && sendmmsg(s->ours[1], headers, (unsigned)n, MSG_DONTWAIT) != n)
            err(1, "relay");
    } while (n == 64);
}

/* All that the network does with a burst: the function that callgrind looks at. */
__attribute__((noinline)) static void forward(struct steady *s, uint64_t until_frames)
{
    if (s->is_wire && s->is_stream)
        relay_stream(s);
    else if (s->is_wire)
        relay_datagrams(s);
    while (!s->is_wire && s->ports[0].counters.frames_in < until_frames)
        uv_run(&s->loop, UV_RUN_NOWAIT);
}

static uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The receiver speaks first, so that it is known. */
static void introduce(struct steady *s)
{
    make_burst(s, 1);
    if (!s->is_wire) {
        put_burst(s, 1, 1);
        while (s->ports[1].counters.frames_in < 1)
            uv_run(&s->loop, UV_RUN_NOWAIT);
    }
    make_burst(s, 0);
}

static uint64_t run_turns(struct steady *s)
{
    size_t expected = s->is_stream ? s->burst * stride_of(s) : s->burst;
    uint64_t spent_ns = 0, frames = 0;

    for (unsigned long i = 0; i < s->n_turns; i++) {
        uint64_t begun_ns;

        put_burst(s, 0, s->burst);
        frames += s->burst;
        begun_ns = clock_ns();
        forward(s, frames);
        spent_ns += clock_ns() - begun_ns;
        if (take_burst(s, 1) != expected)
            errx(1, "frames were lost");
    }
    return spent_ns;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"stream", no_argument, NULL, 's'},
                                            {"datagram", no_argument, NULL, 'd'},
                                            {"wire", no_argument, NULL, 'w'},
                                            {"frame", required_argument, NULL, 'f'},
                                            {"burst", required_argument, NULL, 'b'},
                                            {"turns", required_argument, NULL, 't'},
                                            {NULL, 0, NULL, 0}};
    static struct steady s = {.is_stream = true, .frame_size = 1500, .burst = 64, .n_turns = 2000};
    uint64_t spent_ns;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 's':
        case 'd':
            s.is_stream = option == 's';
            break;
        case 'w':
            s.is_wire = true;
            break;
        case 'f':
            s.frame_size = (size_t)atoi(optarg);
            break;
        case 'b':
            s.burst = (unsigned)atoi(optarg);
            break;
        case 't':
            s.n_turns = strtoul(optarg, NULL, 10);
            break;
        default:
            fputs("usage: vmswitch-steady [--stream|--datagram] [--wire] [--frame BYTES] [--burst N] "
                  "[--turns N]\n",
                  stderr);
            return 2;
        }
    if (s.frame_size < 60 || s.frame_size > 65000 || s.burst < 1 || s.burst > BURST_MAX ||
        s.burst * stride_of(&s) > ROOM / 2)
        errx(2, "a frame has 60 to 65000 bytes, a burst 1 to %d frames and 2 MiB", BURST_MAX);
    s.out = malloc(ROOM);
    s.in = malloc(ROOM);
    s.between = malloc(64 * 65600);
    if (!s.out || !s.in || !s.between)
        errx(1, "out of memory");
    if (!s.is_wire)
        open_network(&s);
    for (unsigned i = 0; i < N_PORTS; i++)
        open_port(&s, i);
    introduce(&s);
    spent_ns = run_turns(&s);
    printf("{\"frames\": %lu, \"turns\": %lu, \"ns_per_frame\": %.1f}\n", s.burst * s.n_turns, s.n_turns,
           (double)spent_ns / (double)(s.burst * s.n_turns));
    return 0;
}

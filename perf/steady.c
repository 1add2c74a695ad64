/* perf/steady.c - the frame path alone, in one process and one thread: what exact counters count
 *
 * A lan, its links and their clients on socket pairs. A turn: each source's client writes a burst, the loop
 * runs until all of it has been forwarded, the receiver's client reads it and checks how much it is. Nothing
 * waits for another process, so instructions (callgrind, toggled by 'forward'), system calls (strace, between
 * marks), copies and allocations (perf/counting.h) per frame are the same in every run, and nanoseconds
 * nearly so. The first turns, in which a link learns how long its records are, are left out.
 *
 * --wire does the same with one receive and one send call and a walk over the frames: the least there is.
 *
 * Port 0 is the first source, port 1 the receiver, port 2 the second source; idle ones follow.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "io/link.h"
#include "perf/counting.h"
#include "perf/vnet_header.h"
#include "switch/lan.h"

enum {
    RECEIVER = 1,
    SECOND_SOURCE = 2,
    N_PORTS = 3, /* without the idle ones */
    IDLE_MAX = 250,
    BURST_MAX = 256,
    WARM_TURNS = 3,
    PAUSE_US = 20000, /* behind the ports' first words: links that have just spoken share a turn's bytes */
    ROOM = 4 * 1024 * 1024,
    RECORD_MIN = 60,
    RECORD_MAX = 65000,
    /* What is cut: the longest packet that IPv4 can name. */
    CUT_MTU = 1500,
    CUT_HEADERS = 54, /* Ethernet, IPv4, TCP */
    CUT_SEGMENT = CUT_MTU - 40,
    CUT_MAX = 65549,
};

struct steady {
    bool is_stream, is_wire, has_marks;
    bool is_torn; /* the middle of each burst's last frame ends what the network can read at first */
    enum port_offload
        cut;           /* how the sources send frames that are cut on their way; OFFLOAD_OFF: they do not */
    size_t frame_size; /* without a virtio-net header */
    unsigned burst;    /* frames a turn and source */
    unsigned n_sources, n_idle;
    unsigned long n_turns;
    uv_loop_t loop;
    uv_timer_t tick;
    struct lan *lan;
    struct io *io;
    struct port ports[N_PORTS + IDLE_MAX];
    int clients[N_PORTS + IDLE_MAX], ours[N_PORTS + IDLE_MAX];
    uint8_t *out, *in, *between;
    struct mmsghdr headers[BURST_MAX];
    struct iovec parts[BURST_MAX];
};

static size_t record_size(const struct steady *s)
{
    return s->frame_size + (s->cut == OFFLOAD_VIRTIO ? VNET_HEADER_SIZE : 0);
}

static size_t stride_of(const struct steady *s)
{
    return record_size(s) + FRAME_PREFIX;
}

static bool is_source(const struct steady *s, unsigned port)
{
    return port == 0 || (port == SECOND_SOURCE && s->n_sources == 2);
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
    s->ports[i].frame_max = s->cut ? CUT_MTU + FRAME_ETHER_HEADER : LAN_MTU_MAX;
    s->ports[i].offload = is_source(s, i) ? s->cut : OFFLOAD_OFF;
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
                                        .mtu = s->cut ? CUT_MTU : LAN_MTU_MAX};
    const struct io_settings settings = {.limits = {IO_QUEUE_FRAMES, 0}};

    s->lan = lan_create(&options);
    if (!s->lan || uv_loop_init(&s->loop) < 0 || io_create(&s->io, &s->loop, s->lan, &settings) < 0)
        errx(1, "out of memory");
}

static void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* An IPv4 TCP packet whose checksum and segmentation are left to the network card: the checksum field holds
 * the sum of the pseudo header. */
static void make_packet(uint8_t *frame, size_t len)
{
    static const uint8_t addresses[] = {10, 0, 0, 1, 10, 0, 0, 2};
    size_t transport_len = len - CUT_HEADERS + 20;
    uint32_t sum = 6 + (uint32_t)transport_len, header_sum = 0;

    memcpy(frame + 12, (uint8_t[]){8, 0, 0x45, 0}, 4);
    put16(frame + 16, len - FRAME_ETHER_HEADER);
    memcpy(frame + 18, (uint8_t[]){0, 1, 0x40, 0, 64, 6, 0, 0}, 8);
    memcpy(frame + 26, addresses, sizeof addresses);
    for (unsigned i = 14; i < 34; i += 2)
        header_sum += (uint32_t)(frame[i] << 8 | frame[i + 1]);
    while (header_sum > 0xffff)
        header_sum = (header_sum & 0xffff) + (header_sum >> 16);
    put16(frame + 24, ~header_sum & 0xffff);
    memcpy(frame + 46, (uint8_t[]){0x50, 0x10, 0xff, 0xff}, 4);
    for (unsigned i = 0; i < sizeof addresses; i += 2)
        sum += (uint32_t)(addresses[i] << 8 | addresses[i + 1]);
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(frame + 50, sum);
    put16(frame + 52, 0);
}

/* Frames of the burst, from the station of port 'from' to that of port 'to'. */
static void make_burst(struct steady *s, unsigned from, unsigned to)
{
    for (unsigned i = 0; i < s->burst; i++) {
        uint8_t *record = s->out + i * stride_of(s), *frame = record + stride_of(s) - s->frame_size;
        uint32_t prefix = htonl((uint32_t)record_size(s));

        memset(record, 0x55, stride_of(s));
        memcpy(record, &prefix, FRAME_PREFIX);
        memcpy(frame, (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)to, 2, 0, 0, 0, 0, (uint8_t)from, 0x88, 0xb5}, 14);
        if (s->cut)
            make_packet(frame, s->frame_size);
        if (s->cut == OFFLOAD_VIRTIO)
            vnet_header_rebuild(record + FRAME_PREFIX, frame, s->frame_size, CUT_MTU);
        s->parts[i] = (struct iovec){record + FRAME_PREFIX, record_size(s)};
        s->headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &s->parts[i], .msg_iovlen = 1}};
    }
}

static void check_sent(ssize_t sent, size_t wanted)
{
    if (sent != (ssize_t)wanted)
        errx(1,
             "the burst does not fit the socket's buffer: a smaller --burst, or a larger net.core.wmem_max");
}

/* Bytes of a burst that a torn one has in its first part. */
static size_t first_part(const struct steady *s)
{
    return s->burst * stride_of(s) - (s->is_torn ? stride_of(s) / 2 : 0);
}

static void put_burst(struct steady *s, unsigned from)
{
    if (s->is_stream)
        check_sent(send(s->clients[from], s->out, first_part(s), MSG_DONTWAIT), first_part(s));
    else
        check_sent(sendmmsg(s->clients[from], s->headers, s->burst, MSG_DONTWAIT), s->burst);
}

static void put_rest(struct steady *s, unsigned from)
{
    const size_t at = first_part(s), len = s->burst * stride_of(s) - at;

    check_sent(send(s->clients[from], s->out + at, len, MSG_DONTWAIT), len);
}

static void put_of_all(struct steady *s, void (*put)(struct steady *, unsigned))
{
    for (unsigned k = 0; k < N_PORTS; k++)
        if (is_source(s, k))
            put(s, k);
}

/* Returns how many bytes have come. */
static size_t take_burst(struct steady *s, unsigned at)
{
    size_t n = 0;

    for (;;) {
        ssize_t got = recv(s->clients[at], s->in, ROOM, MSG_DONTWAIT);

        if (got <= 0)
            return n;
        n += (size_t)got;
    }
}

/* Frames that one frame of a source becomes. */
static size_t n_pieces(const struct steady *s)
{
    return s->cut ? (s->frame_size - CUT_HEADERS + CUT_SEGMENT - 1) / CUT_SEGMENT : 1;
}

/* Bytes that one frame of a source becomes at the receiver's client. */
static size_t bytes_at_receiver(const struct steady *s)
{
    return s->frame_size + (n_pieces(s) - 1) * CUT_HEADERS + (s->is_stream ? n_pieces(s) * FRAME_PREFIX : 0);
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

static uint64_t frames_of_sources(const struct steady *s)
{
    return s->ports[0].counters.frames_in +
           (s->n_sources == 2 ? s->ports[SECOND_SOURCE].counters.frames_in : 0);
}

static void run(struct steady *s, uint64_t until_frames)
{
    if (s->is_wire && s->is_stream)
        relay_stream(s);
    else if (s->is_wire)
        relay_datagrams(s);
    if (s->is_wire)
        return;
    do
        uv_run(&s->loop, UV_RUN_NOWAIT);
    while (frames_of_sources(s) < until_frames);
}

/* All that the network does with a burst: the function that callgrind looks at. */
__attribute__((noinline)) static void forward(struct steady *s, uint64_t until_frames)
{
    run(s, until_frames);
}

static uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A short frame to everybody. */
static void say_hello(struct steady *s, unsigned port)
{
    uint8_t record[FRAME_PREFIX + RECORD_MIN] = {[3] = RECORD_MIN};
    size_t skip = s->is_stream ? 0 : FRAME_PREFIX;

    memset(record + FRAME_PREFIX, 0xff, 6);
    memcpy(record + FRAME_PREFIX + 6, (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)port, 0x88, 0xb5}, 8);
    if (send(s->clients[port], record + skip, sizeof record - skip, MSG_DONTWAIT) < 0)
        err(1, "port %u", port);
    while (s->ports[port].counters.frames_in < 1)
        uv_run(&s->loop, UV_RUN_NOWAIT);
}

/* All but the sources speak first, so that they are known. */
static void introduce(struct steady *s)
{
    for (unsigned i = 0; i < N_PORTS + s->n_idle && !s->is_wire; i++)
        if (!is_source(s, i))
            say_hello(s, i);
    for (unsigned i = 0; i < N_PORTS + s->n_idle; i++)
        (void)take_burst(s, i); /* what they have heard of each other */
    make_burst(s, 0, RECEIVER);
}

/* A call that nothing here makes otherwise: what a trace shows between two of them is the network's. */
static void mark(const struct steady *s)
{
    if (s->has_marks)
        (void)syscall(SYS_getppid);
}

struct spent {
    uint64_t ns;
    struct counting before, counts; /* until the first turn, and in the turns that count */
};

/* 'spent' NULL: it does not count. */
static void spend_turn(struct steady *s, uint64_t until_frames, struct spent *spent)
{
    struct counting before;
    uint64_t begun_ns;

    if (!spent) {
        run(s, until_frames);
        return;
    }
    mark(s);
    before = counting;
    begun_ns = clock_ns();
    forward(s, until_frames);
    spent->ns += clock_ns() - begun_ns;
    counting_add_since(&spent->counts, &before);
    mark(s);
}

static void run_turns(struct steady *s, struct spent *spent)
{
    size_t expected = s->burst * s->n_sources * bytes_at_receiver(s);
    uint64_t frames = 0;

    usleep(PAUSE_US);
    spent->before = counting;
    for (unsigned long i = 0; i < WARM_TURNS + s->n_turns; i++) {
        put_of_all(s, put_burst);
        frames += s->burst * s->n_sources;
        if (s->is_torn) {
            spend_turn(s, frames - s->n_sources, i >= WARM_TURNS ? spent : NULL);
            put_of_all(s, put_rest);
        }
        spend_turn(s, frames, i >= WARM_TURNS ? spent : NULL);
        if (take_burst(s, RECEIVER) != expected)
            errx(1, "frames were lost");
    }
}

static void report(const struct steady *s, const struct spent *spent)
{
    unsigned long frames = s->burst * s->n_sources * s->n_turns;
    unsigned long frames_out = frames * (unsigned long)n_pieces(s);

    printf("{\"frames\": %lu, \"frames_out\": %lu, \"turns\": %lu, \"ns_per_frame\": %.1f, \"copied_bytes\": "
           "%llu, "
           "\"allocations\": %llu, \"allocations_before\": %llu}\n",
           frames, frames_out, s->n_turns, (double)spent->ns / (double)frames,
           (unsigned long long)spent->counts.copied_bytes, (unsigned long long)spent->counts.allocations,
           (unsigned long long)spent->before.allocations);
}

/* ---- options ---- */

static void print_help(void)
{
    fputs("usage: vmswitch-steady [OPTION...]\n"
          "Forwards bursts of frames from a client to another through one network, all in this process.\n"
          "\n"
          "  --stream, --datagram  kind of the links (stream)\n"
          "  --frame BYTES         length of a frame, 60 to 65000 (1500; with --cut up to 65549, which is "
          "the default)\n"
          "  --burst N             frames that a source sends in a turn, 1 to 256 (64)\n"
          "  --turns N             turns that count (2000)\n"
          "  --sources 1|2         clients that send, each a burst a turn (1)\n"
          "  --to-idle N           N more ports that are known and silent, up to 250 (0)\n"
          "  --cut raw|virtio      the sources offload: their frames are long TCP packets, cut for a "
          "receiver with MTU 1500\n"
          "  --torn                streams: half of each burst's last frame comes in a read of its own\n"
          "  --wire                a relay without a switch instead, to compare with\n"
          "  --marks               calls getppid() before and after what the network does, for traces\n"
          "  --help                this text\n"
          "\n"
          "Prints one JSON object; copies and allocations are those of the turns that count. To count "
          "instructions:\n"
          "valgrind --tool=callgrind --collect-atstart=no --toggle-collect='forward*' vmswitch-steady "
          "--turns 20\n",
          stdout);
}

static unsigned long number_of(const char *option, const char *text, unsigned long min, unsigned long max)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || value < min || value > max)
        errx(2, "--%s %s: it takes a number from %lu to %lu", option, text, min, max);
    return value;
}

static enum port_offload offload_of(const char *text)
{
    if (strcmp(text, "raw") != 0 && strcmp(text, "virtio") != 0)
        errx(2, "--cut %s: it takes raw or virtio", text);
    return text[0] == 'r' ? OFFLOAD_RAW : OFFLOAD_VIRTIO;
}

static void take_option(struct steady *s, int option, const char *name, const char *value)
{
    switch (option) {
    case 's':
    case 'd':
        s->is_stream = option == 's';
        break;
    case 'w':
        s->is_wire = true;
        break;
    case 'r':
        s->is_torn = true;
        break;
    case 'm':
        s->has_marks = true;
        break;
    case 'f':
        s->frame_size = number_of(name, value, RECORD_MIN, CUT_MAX);
        break;
    case 'b':
        s->burst = (unsigned)number_of(name, value, 1, BURST_MAX);
        break;
    case 't':
        s->n_turns = number_of(name, value, 1, 1000 * 1000 * 1000);
        break;
    case 'n':
        s->n_sources = (unsigned)number_of(name, value, 1, 2);
        break;
    case 'i':
        s->n_idle = (unsigned)number_of(name, value, 0, IDLE_MAX);
        break;
    case 'c':
        s->cut = offload_of(value);
        break;
    case 'h':
        print_help();
        exit(0);
    default:
        errx(2, "see vmswitch-steady --help");
    }
}

static void parse(struct steady *s, int argc, char **argv)
{
    static const struct option options[] = {{"stream", no_argument, NULL, 's'},
                                            {"datagram", no_argument, NULL, 'd'},
                                            {"wire", no_argument, NULL, 'w'},
                                            {"marks", no_argument, NULL, 'm'},
                                            {"torn", no_argument, NULL, 'r'},
                                            {"frame", required_argument, NULL, 'f'},
                                            {"burst", required_argument, NULL, 'b'},
                                            {"turns", required_argument, NULL, 't'},
                                            {"sources", required_argument, NULL, 'n'},
                                            {"to-idle", required_argument, NULL, 'i'},
                                            {"cut", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int option, index = 0;

    while ((option = getopt_long(argc, argv, "", options, &index)) != -1)
        take_option(s, option, options[index].name, optarg);
    if (optind < argc)
        errx(2, "'%s' is no option; see --help", argv[optind]);
    if (s->frame_size == 0)
        s->frame_size = s->cut ? CUT_MAX : 1500;
    if (!s->cut && s->frame_size > RECORD_MAX)
        errx(2, "--frame: without --cut a frame has at most %d bytes", RECORD_MAX);
    if (s->cut && s->frame_size <= CUT_HEADERS + CUT_SEGMENT)
        errx(2, "--frame: with --cut a frame has more than %d bytes", CUT_HEADERS + CUT_SEGMENT);
    if (s->burst * s->n_sources * bytes_at_receiver(s) > ROOM / 2)
        errx(2, "a turn carries at most 2 MiB");
    if (s->is_wire && (s->cut || s->n_sources > 1 || s->n_idle > 0 || s->is_torn))
        errx(2, "--wire is one source and one receiver: no --cut, --sources, --to-idle, --torn");
    if (s->is_torn && !s->is_stream)
        errx(2, "--torn: a datagram comes whole");
}

int main(int argc, char **argv)
{
    static struct steady s = {.is_stream = true, .burst = 64, .n_sources = 1, .n_turns = 2000};
    static struct spent spent;

    parse(&s, argc, argv);
    s.out = malloc(ROOM);
    s.in = malloc(ROOM);
    s.between = malloc(64 * 65600);
    if (!s.out || !s.in || !s.between)
        errx(1, "out of memory");
    if (!s.is_wire)
        open_network(&s);
    for (unsigned i = 0; i < N_PORTS + s.n_idle; i++)
        open_port(&s, i);
    introduce(&s);
    run_turns(&s, &spent);
    report(&s, &spent);
    return 0;
}

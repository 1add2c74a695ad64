/* perf/tapvm.c - a stand-in for a VM's network card: a TAP on one side, a switch's socket on the other
 *
 * How it works
 *   Started in a network namespace, it makes a TAP there and relays it to a port of a switch (port.h: the
 * ways to plug in). The kernel's own TCP then speaks through the switch, as a guest's would. A turn reads up
 * to 64 frames from the TAP; one call sends them. It ends when its standard input does, so it never outlives
 * who started it.
 *
 * When the switch does not take frames
 *   the TAP is left unread, like a transmit queue that is stopped. Nothing is dropped here; what the kernel
 * refuses to take from the TAP (the interface is down) is counted and told at the end.
 *
 * Offload
 *   off      finished frames of at most the MTU
 *   raw      frames to 64 KiB with unfinished checksums and nothing that says so, as krunkit's offloading=on;
 * the header the kernel wants is made from the frame virtio   the same behind the 12 bytes of a
 * virtio_net_hdr_v1
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "perf/port.h"
#include "perf/tap.h"
#include "perf/vnet_header.h"

enum {
    FRAMES_MAX = 64, /* per turn */
    FRAME_ROOM = 65550 + VNET_HEADER_SIZE,
    PREFIX = 4 /* a stream's length field */
};

enum offload { OFFLOAD_OFF, OFFLOAD_RAW, OFFLOAD_VIRTIO, OFFLOAD_N };
static const char *const offload_names[] = {"off", "raw", "virtio"};

struct vm {
    int tap;
    struct port port;
    enum offload offload;
    size_t mtu;
    uint8_t *out;                   /* what the TAP gave: frames, on a stream each behind its length */
    size_t out_len, sent;           /* stream */
    struct iovec parts[FRAMES_MAX]; /* datagram: the same frames */
    unsigned n_parts, sent_parts;
    uint64_t refused; /* by the TAP */
};

static const char usage[] = "usage: vmswitch-tapvm --tap NAME --port SPEC [options]\n"
                            "  --tap NAME        the interface to make in this network namespace\n"
                            "  --port SPEC       as vmswitch-gen's; %u in it is the port's number\n"
                            "  --index N         the port's number (0)\n"
                            "  --client-dir DIR  where a datagram client binds its own socket (.)\n"
                            "  --offload WAY     off, raw or virtio (off)\n"
                            "  --mtu BYTES       of the link: how long a TCP segment may be (1500)\n"
                            "  --sndbuf BYTES    SO_SNDBUF of the socket\n"
                            "Says \"ready\" when plugged in; ends when its standard input does.\n";

static bool has_unsent(const struct vm *vm)
{
    return vm->port.is_stream ? vm->sent < vm->out_len : vm->sent_parts < vm->n_parts;
}

/* One frame from the TAP to 'to'. Returns its length on the wire, 0 if there is none. */
static size_t tap_read(const struct vm *vm, uint8_t *to)
{
    uint8_t header[VNET_HEADER_SIZE];
    struct iovec raw[2] = {{header, sizeof(header)}, {to, FRAME_ROOM}};
    ssize_t n = vm->offload == OFFLOAD_RAW ? readv(vm->tap, raw, 2) : read(vm->tap, to, FRAME_ROOM);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0)
        err(1, "read from the TAP");
    if (vm->offload == OFFLOAD_RAW)
        n -= VNET_HEADER_SIZE;
    if (vm->offload == OFFLOAD_VIRTIO)
        memset(to + VNET_HEADER_SIZE - 2, 0, 2); /* num_buffers, which the kernel leaves as it was */
    return n > 0 ? (size_t)n : 0;
}

static void take_from_tap(struct vm *vm)
{
    vm->out_len = vm->sent = vm->n_parts = vm->sent_parts = 0;
    while (vm->n_parts < FRAMES_MAX) {
        uint8_t *at = vm->out + vm->out_len;
        size_t len = tap_read(vm, at + PREFIX);
        uint32_t prefix = htonl((uint32_t)len);

        if (len == 0)
            return;
        memcpy(at, &prefix, PREFIX);
        vm->parts[vm->n_parts++] = (struct iovec){at + PREFIX, len};
        vm->out_len += PREFIX + len;
    }
}

static void send_stream(struct vm *vm)
{
    ssize_t n = send(vm->port.fd, vm->out + vm->sent, vm->out_len - vm->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n >= 0)
        vm->sent += (size_t)n;
    else if (errno != EAGAIN && errno != EINTR)
        err(1, "send");
}

static void send_datagrams(struct vm *vm)
{
    struct mmsghdr messages[FRAMES_MAX];
    unsigned n = vm->n_parts - vm->sent_parts;
    int taken;

    for (unsigned i = 0; i < n; i++)
        messages[i] =
            (struct mmsghdr){.msg_hdr = {.msg_iov = &vm->parts[vm->sent_parts + i], .msg_iovlen = 1}};
    taken = sendmmsg(vm->port.fd, messages, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken >= 0)
        vm->sent_parts += (unsigned)taken;
    else if (errno != EAGAIN && errno != EINTR)
        err(1, "send");
}

static void send_rest(struct vm *vm)
{
    if (vm->port.is_stream)
        send_stream(vm);
    else
        send_datagrams(vm);
}

/* From the switch: to the TAP, behind the header it wants. */
static void give_to_tap(void *arg, struct port *port, const uint8_t *frame, size_t len)
{
    struct vm *vm = arg;
    uint8_t header[VNET_HEADER_SIZE];
    struct iovec parts[2] = {{header, sizeof(header)}, {.iov_len = len}};
    ssize_t n;

    (void)port;
    memcpy(&parts[1].iov_base, &frame, sizeof(frame)); /* writev() does not write to it */
    if (vm->offload == OFFLOAD_RAW) {
        vnet_header_rebuild(header, frame, len, vm->mtu);
        n = writev(vm->tap, parts, 2);
    } else {
        n = write(vm->tap, frame, len);
    }
    if (n < 0)
        vm->refused++;
}

static void run(struct vm *vm)
{
    struct pollfd fds[3] = {{.fd = vm->tap}, {.fd = vm->port.fd}, {.fd = STDIN_FILENO, .events = POLLIN}};

    while (fds[2].revents == 0) {
        bool is_blocked = has_unsent(vm);

        fds[0].events = is_blocked ? 0 : POLLIN;
        fds[1].events = (short)(POLLIN | (is_blocked ? POLLOUT : 0));
        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            err(1, "poll");
        if (!is_blocked && (fds[0].revents & POLLIN) != 0)
            take_from_tap(vm);
        if (has_unsent(vm) && (!is_blocked || (fds[1].revents & POLLOUT) != 0))
            send_rest(vm);
        if ((fds[1].revents & ~POLLOUT) != 0)
            port_receive(&vm->port, give_to_tap, vm);
    }
}

static unsigned long number(const char *text, unsigned long max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || value > max)
        errx(2, "'%s' is no number up to %lu", text, max);
    return value;
}

static enum offload offload_named(const char *name)
{
    for (int i = 0; i < OFFLOAD_N; i++)
        if (strcmp(name, offload_names[i]) == 0)
            return (enum offload)i;
    errx(2, "--offload is off, raw or virtio");
}

struct options {
    const char *tap;
    struct port_setup setup;
    unsigned index;
    enum offload offload;
    size_t mtu;
};

static void take_option(struct options *options, int option)
{
    switch (option) {
    case 't':
        options->tap = optarg;
        break;
    case 'p':
        options->setup.spec = optarg;
        break;
    case 'i':
        options->index = (unsigned)number(optarg, 65535);
        break;
    case 'd':
        options->setup.client_dir = optarg;
        break;
    case 'o':
        options->offload = offload_named(optarg);
        break;
    case 'm':
        options->mtu = number(optarg, 65521);
        break;
    case 's':
        options->setup.sndbuf = (int)number(optarg, 1u << 30);
        break;
    default:
        fputs(usage, option == 'h' ? stdout : stderr);
        exit(option == 'h' ? 0 : 2);
    }
}

static struct options options_read(int argc, char **argv)
{
    static const struct option known[] = {
        {"tap", required_argument, NULL, 't'},
        {"port", required_argument, NULL, 'p'},
        {"index", required_argument, NULL, 'i'},
        {"offload", required_argument, NULL, 'o'},
        {"client-dir", required_argument, NULL, 'd'},
        {"mtu", required_argument, NULL, 'm'},
        {"sndbuf", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.setup = {.client_dir = "."}, .mtu = 1500};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
        take_option(&options, option);
    if (options.tap == NULL || options.setup.spec == NULL || optind != argc)
        take_option(&options, '?');
    if (options.offload != OFFLOAD_OFF)
        options.setup.offload = offload_names[options.offload];
    return options;
}

int main(int argc, char **argv)
{
    struct options options = options_read(argc, argv);
    struct vm vm = {.offload = options.offload, .mtu = options.mtu};

    vm.out = malloc((size_t)FRAMES_MAX * (PREFIX + FRAME_ROOM));
    if (vm.out == NULL)
        err(1, "malloc");
    vm.tap = tap_open(options.tap, vm.offload != OFFLOAD_OFF);
    port_open(&vm.port, &options.setup, options.index);
    puts("ready");
    fflush(stdout);
    run(&vm);
    printf("{\"refused\": %" PRIu64 "}\n", vm.refused);
    port_close(&vm.port);
    close(vm.tap);
    free(vm.out);
    return 0;
}

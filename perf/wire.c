/* perf/wire.c - the limit: a relay without switch logic
 *
 * How it works
 *   One thread, one level-triggered epoll set. Port 2i is tied to port 2i+1: what one sends the other gets,
 * without a table and without a decision. One receive call per event, one send call for all of it. stream 256
 * KB per call; finds every frame by its length and touches both addresses ("walk"): the least that any switch
 * must do. datagram   recvmmsg and sendmmsg, up to 64 slots; connected back to whoever sent the first
 * datagram.
 *
 * When the destination is full
 *   the source is not read until it is writable: the wire loses nothing.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    PORTS_MAX = 1024,
    READ_SIZE = 256 * 1024, /* per stream call; holds a whole frame of any size */
    SLOTS = 64,
    SLOT_SIZE = 65536 + 64,
    EVENTS_MAX = 256
};

/* Of one port; only what is used is ever touched. */
struct memory {
    struct mmsghdr slots[SLOTS];
    struct iovec parts[SLOTS];
    uint8_t bytes[SLOTS * SLOT_SIZE]; /* a stream uses READ_SIZE of it */
};

struct port {
    int fd; /* the listener until the client is there (stream) */
    bool is_open;
    bool is_held;    /* its destination is full: not read */
    bool is_awaited; /* somebody waits until it is writable */
    struct port *peer;
    uint8_t *bytes; /* what came from this port and is not sent yet: into its memory */
    size_t len;     /* stream: bytes in 'bytes' */
    size_t ready;   /* stream: of them, whole frames, 'sent' of which are gone */
    size_t sent;
    struct mmsghdr *slots; /* datagram */
    struct iovec *parts;
    unsigned n_slots, sent_slots;
};

static struct port ports[PORTS_MAX];
static struct memory *memories;
static int epoll;
static int sndbuf;
static volatile uint8_t touched; /* keeps the compiler from leaving out the reading of addresses */

static void watch(struct port *port, int op)
{
    struct epoll_event event = {.data.ptr = port};

    event.events = (port->is_held ? 0 : (uint32_t)EPOLLIN) | (port->is_awaited ? (uint32_t)EPOLLOUT : 0);
    if (epoll_ctl(epoll, op, port->fd, &event) != 0)
        err(1, "epoll_ctl");
}

/* Stops or goes on reading 'from', by what is left for its peer. */
static void hold(struct port *from, bool is_held)
{
    if (from->is_held == is_held)
        return;
    from->is_held = is_held;
    from->peer->is_awaited = is_held;
    watch(from, EPOLL_CTL_MOD);
    watch(from->peer, EPOLL_CTL_MOD);
}

/* Finds the whole frames in front and touches their addresses. */
static size_t walk(const struct port *port)
{
    size_t at = 0;
    uint8_t sum = 0;

    while (port->len - at >= 4) {
        uint32_t len;

        memcpy(&len, port->bytes + at, 4);
        len = ntohl(len);
        if (len < 14 || len > SLOT_SIZE)
            errx(1, "length %u: the stream is out of step", len);
        if (port->len - at - 4 < len)
            break;
        for (size_t i = 0; i < 12; i++)
            sum = (uint8_t)(sum + port->bytes[at + 4 + i]);
        at += 4 + len;
    }
    touched = sum;
    return at;
}

static void stream_flush(struct port *from)
{
    while (from->sent < from->ready) {
        ssize_t n = send(from->peer->fd, from->bytes + from->sent, from->ready - from->sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            hold(from, true);
            return;
        }
        if (n < 0)
            exit(0); /* the generator is done */
        from->sent += (size_t)n;
    }
    from->len -= from->ready;
    memmove(from->bytes, from->bytes + from->ready, from->len);
    from->ready = from->sent = 0;
    hold(from, false);
}

static void stream_read(struct port *from)
{
    ssize_t n = recv(from->fd, from->bytes + from->len, READ_SIZE - from->len, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        exit(0);
    from->len += (size_t)n;
    from->ready = walk(from);
    if (!from->peer->is_open)
        from->len = from->ready = 0;
    stream_flush(from);
}

static void stream_accept(struct port *port)
{
    int fd = accept4(port->fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        err(1, "accept");
    close(port->fd);
    port->fd = fd;
    port->is_open = true;
    if (sndbuf > 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
    watch(port, EPOLL_CTL_ADD);
}

static void datagram_flush(struct port *from)
{
    while (from->sent_slots < from->n_slots) {
        int n = sendmmsg(from->peer->fd, from->slots + from->sent_slots, from->n_slots - from->sent_slots,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            hold(from, true);
            return;
        }
        if (n < 0)
            exit(0);
        from->sent_slots += (unsigned)n;
    }
    hold(from, false);
}

/* The first datagram names the client: from then on the socket is its alone. */
static void datagram_connect(struct port *port)
{
    struct sockaddr_un address;
    socklen_t len = sizeof(address);

    if (recvfrom(port->fd, port->bytes, SLOT_SIZE, MSG_DONTWAIT, (struct sockaddr *)&address, &len) < 0)
        err(1, "recvfrom");
    if (connect(port->fd, (const struct sockaddr *)&address, len) != 0)
        err(1, "connect back");
    port->is_open = true;
}

static void datagram_read(struct port *from)
{
    int n;

    for (unsigned i = 0; i < SLOTS; i++)
        from->parts[i].iov_len = SLOT_SIZE;
    n = recvmmsg(from->fd, from->slots, SLOTS, MSG_DONTWAIT, NULL);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        exit(0);
    for (int i = 0; i < n; i++)
        from->parts[i].iov_len = from->slots[i].msg_len;
    from->n_slots = from->peer->is_open ? (unsigned)n : 0;
    from->sent_slots = 0;
    datagram_flush(from);
}

static void datagram_prepare(struct port *port)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        port->parts[i].iov_base = port->bytes + (size_t)i * SLOT_SIZE;
        port->slots[i].msg_hdr = (struct msghdr){.msg_iov = &port->parts[i], .msg_iovlen = 1};
    }
    if (sndbuf > 0)
        setsockopt(port->fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
}

static void port_bind(struct port *port, const char *dir, unsigned index, bool is_stream)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%u", dir, index);

    if (len < 0 || len >= (int)sizeof(address.sun_path))
        errx(1, "%s: too long for a socket's folder", dir);
    port->peer = &ports[index ^ 1];
    port->slots = memories[index].slots;
    port->parts = memories[index].parts;
    port->bytes = memories[index].bytes;
    port->fd = socket(AF_UNIX, (is_stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
    if (port->fd < 0 || bind(port->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        err(1, "%s", address.sun_path);
    if (is_stream) {
        if (listen(port->fd, 1) != 0)
            err(1, "%s", address.sun_path);
    } else {
        datagram_prepare(port);
    }
    watch(port, EPOLL_CTL_ADD);
}

static void port_event(struct port *port, uint32_t events, bool is_stream)
{
    if (!port->is_open && is_stream) {
        stream_accept(port);
        return;
    }
    if (!port->is_open) {
        datagram_connect(port);
        return;
    }
    if ((events & (uint32_t)EPOLLOUT) != 0 && port->is_awaited) {
        if (is_stream)
            stream_flush(port->peer);
        else
            datagram_flush(port->peer);
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0 && !port->is_held) {
        if (is_stream)
            stream_read(port);
        else
            datagram_read(port);
    }
}

int main(int argc, char **argv)
{
    unsigned n_ports = argc >= 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    bool is_stream = argc >= 2 && strcmp(argv[1], "stream") == 0;
    struct epoll_event events[EVENTS_MAX];

    if (n_ports == 0 || n_ports > PORTS_MAX || (!is_stream && strcmp(argv[1], "datagram") != 0)) {
        fputs("usage: vmswitch-wire stream|datagram DIR PORTS [SNDBUF]\n"
              "Sockets are DIR/0, DIR/1, ...; 0 is tied to 1, 2 to 3, and so on.\n",
              stderr);
        return 2;
    }
    sndbuf = argc >= 5 ? (int)strtol(argv[4], NULL, 10) : 0;
    n_ports += n_ports % 2;
    memories = calloc(n_ports, sizeof(*memories));
    if (memories == NULL)
        err(1, "calloc");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        err(1, "epoll_create1");
    for (unsigned i = 0; i < n_ports; i++)
        port_bind(&ports[i], argv[2], i, is_stream);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++)
            port_event(events[i].data.ptr, events[i].events, is_stream);
    }
}

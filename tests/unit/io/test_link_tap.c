/* Tests of io/link_tap_linux.c: a real TAP in a network namespace of our own. Needs root and /dev/net/tun. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include "io/framing.h"
#include "io/vnet.h"
#include "switch/offload.h"
#include "tests/unit/io/fixture.h"
#include "tests/unit/switch/packets.h"

enum { FRAME = 200, GSO_SIZE = 1400, HOST_HEADER = 10 /* of a packet socket: without num_buffers */ };

static struct fixture fixture;
static char ifname[IFNAMSIZ];
static int host; /* a packet socket on the host's side of the TAP */

static void set_up_flag(bool is_up)
{
    struct ifreq ifr = {.ifr_flags = 0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(ifr.ifr_name, ifname, sizeof ifname);
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
    ifr.ifr_flags = (short)(is_up ? ifr.ifr_flags | IFF_UP : ifr.ifr_flags & ~IFF_UP);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
    close(fd);
}

/* The TAP is port 0; its descriptor is the link's. */
static int open_tap(bool has_header)
{
    struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (has_header ? IFF_VNET_HDR : 0))};
    const int header = VNET_HEADER, little_endian = 1;
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    memcpy(ifr.ifr_name, "tt%d", 5);
    assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
    if (has_header) {
        assert_int_equal(ioctl(fd, TUNSETVNETHDRSZ, &header), 0);
        assert_int_equal(ioctl(fd, TUNSETVNETLE, &little_endian), 0);
        assert_int_equal(ioctl(fd, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)), 0);
    }
    memcpy(ifname, ifr.ifr_name, sizeof ifname);
    set_up_flag(true);
    return fd;
}

static int set_up_any(bool has_header)
{
    int tap;

    fixture_open(&fixture, NULL);
    tap = open_tap(has_header);
    fixture_join(&fixture, 0)->offload = has_header ? OFFLOAD_VIRTIO : OFFLOAD_OFF;
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL),
                                  .sll_ifindex = (int)if_nametoindex(ifname)};

    host = fixture_own(&fixture, socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
    assert_int_equal(bind(host, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(link_tap_open(fixture.io, fixture_join(&fixture, 0), tap, fixture_on_closed, &fixture),
                     0);
    fixture.n_opened++;
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return set_up_any(false);
}

static int set_up_with_header(void **state)
{
    (void)state;
    return set_up_any(true);
}

static int tear_down(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

/* The host's own chatter (router solicitations) is on it too: waits for our frame. */
static bool host_hears(int to, int from, uint32_t seq)
{
    uint8_t frame[2048];

    for (int i = 0; i < 100; i++) {
        long n = datagram_receive(&fixture, host, frame, sizeof frame);

        if (n < 0)
            return false;
        if (frame_is(frame, (size_t)n, to, from, seq))
            return true;
    }
    return false;
}

static bool client_hears(int fd, int to, int from, uint32_t seq)
{
    uint8_t frame[2048];

    for (int i = 0; i < 100; i++) {
        long n = stream_receive(&fixture, fd, frame, sizeof frame);

        if (n < 0)
            return false;
        if (frame_is(frame, (size_t)n, to, from, seq))
            return true;
    }
    return false;
}

static void frames_pass_both_ways(void **state)
{
    uint8_t frame[FRAME];
    int client = fixture_stream(&fixture, 1);

    (void)state;
    for (uint32_t seq = 0; seq < 200; seq++) {
        stream_send_frame(&fixture, client, FRAME, -1, 1, seq);
        assert_true(host_hears(-1, 1, seq));
        frame_make(frame, sizeof frame, 1, 0, seq);
        assert_int_equal(send(host, frame, sizeof frame, 0), FRAME);
        assert_true(client_hears(client, 1, 0, seq));
    }
}

static void an_interface_that_is_down_costs_frames_alone(void **state)
{
    int client = fixture_stream(&fixture, 1);

    (void)state;
    set_up_flag(false);
    for (uint32_t seq = 0; seq < 20; seq++)
        stream_send_frame(&fixture, client, FRAME, -1, 1, seq);
    fixture_run_ms(&fixture, 20);
    assert_int_equal(fixture_drops(&fixture, 0, DROP_send_failed), 20);
    assert_int_equal(fixture.n_closed[0], 0);
    fixture_assert_sum(&fixture);
    set_up_flag(true);
    int error = 0; /* the packet socket was told ENETDOWN, which is not what is asked here */
    socklen_t error_len = sizeof error;
    assert_int_equal(getsockopt(host, SOL_SOCKET, SO_ERROR, &error, &error_len), 0);
    stream_send_frame(&fixture, client, FRAME, -1, 1, 77);
    assert_true(host_hears(-1, 1, 77));
}

static void a_deleted_interface_ends_the_link(void **state)
{
    /* The kernel's way to delete one: RTM_DELLINK, by index. */
    struct {
        struct {
            uint32_t len;
            uint16_t type, flags;
            uint32_t seq, pid;
        } header;
        struct {
            uint8_t family, pad;
            uint16_t type;
            int32_t index;
            uint32_t flags, change;
        } info;
    } request = {
        .header = {.len = sizeof request, .type = 17 /* RTM_DELLINK */, .flags = 1 /* NLM_F_REQUEST */},
        .info = {.index = (int32_t)if_nametoindex(ifname)}};
    int netlink = fixture_own(&fixture, socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));

    (void)state;
    assert_int_equal(send(netlink, &request, sizeof request, 0), sizeof request);
    assert_true(fixture_until_closed(&fixture, 0, 0));
    assert_non_null(strstr(fixture.reason, "vanished"));
}

/* ---- with a header ---- */

static struct packets_packet packet;
static uint8_t got[FRAME_LEN_MAX], expected[PACKETS_SIZE];

static const struct packets_shape tcp4 = {.version = 4, .protocol = PACKETS_TCP, .payload_len = 20000};
static const struct packets_shape tcp6 = {.version = 6, .protocol = PACKETS_TCP, .payload_len = 20000};
static const struct packets_shape small = {.version = 4, .protocol = PACKETS_UDP, .payload_len = 300};
static const struct packets_shape *const shapes[] = {&tcp4, &tcp6, &small};

static int plug(unsigned i, enum port_offload kind)
{
    fixture_join(&fixture, i)->offload = kind;
    return fixture_stream(&fixture, i);
}

/* For all, from a station of its own, so that it is told from the host's chatter. */
static void make_packet(const struct packets_shape *shape, uint32_t seed)
{
    packets_make(&packet, shape, seed);
    packets_describe(&packet, shape == &small ? 0 : GSO_SIZE);
    memset(packet.frame.head, 0xFF, 6);
}

static bool is_of_packet(const uint8_t *frame, long len)
{
    return len > FRAME_LEN_MIN && memcmp(frame, packet.frame.head, FRAME_ETHER_HEADER) == 0;
}

/* The next frame of the packet's station, behind 'skip' bytes of header. */
static long client_gets(int fd, size_t skip)
{
    long len;

    do
        len = stream_receive(&fixture, fd, got, sizeof got);
    while (len >= 0 && !is_of_packet(got + skip, len - (long)skip));
    return len;
}

static void put_header(uint8_t *header)
{
    const struct frame_offload *offload = &packet.frame.offload;
    const uint16_t words[] = {offload->gso_type ? (uint16_t)packet.payload : 0, offload->gso_size,
                              offload->csum_start, offload->csum_offset, 1};

    header[0] = offload->flags;
    header[1] = offload->gso_type;
    for (int i = 0; i < 5; i++) {
        header[2 + 2 * i] = (uint8_t)words[i];
        header[3 + 2 * i] = (uint8_t)(words[i] >> 8);
    }
}

static void client_gets_pieces(int fd, uint32_t gso_size)
{
    uint32_t len, n = 0;

    while ((len = packets_segment(&packet, gso_size, n++, expected)) > 0) {
        memset(expected, 0xFF, 6);
        assert_int_equal(client_gets(fd, 0), len);
        assert_memory_equal(got, expected, len);
    }
}

/* The host's kernel leaves segments and checksums to us, and each client has what it takes. */
static void what_the_host_leaves_to_its_card_arrives_as_each_client_takes_it(void **state)
{
    int plain = plug(1, OFFLOAD_OFF), raw = plug(2, OFFLOAD_RAW), header = plug(3, OFFLOAD_VIRTIO), on = 1;
    static uint8_t sent[VNET_HEADER + PACKETS_SIZE];

    (void)state;
    assert_int_equal(setsockopt(host, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
    for (uint32_t seed = 0; seed < 60; seed++) {
        make_packet(shapes[seed % 3], seed);
        put_header(sent);
        memcpy(sent + HOST_HEADER, packet.frame.head, packet.frame.len);
        assert_int_equal(send(host, sent, HOST_HEADER + packet.frame.len, 0), HOST_HEADER + packet.frame.len);
        client_gets_pieces(plain, shapes[seed % 3] == &small ? small.payload_len : GSO_SIZE);
        client_gets_pieces(raw, packet.shape.payload_len);
        assert_int_equal(client_gets(header, VNET_HEADER), VNET_HEADER + packet.frame.len);
        assert_memory_equal(got + VNET_HEADER + packet.payload, packet.frame.head + packet.payload,
                            packet.shape.payload_len);
        assert_int_equal(got[1], packet.frame.offload.gso_type);
        assert_int_equal(got[4] | got[5] << 8, packet.frame.offload.gso_size);
    }
    assert_int_equal(counters_dropped(&fixture.ports[0].counters), 0);
}

static bool host_gets_packet(void)
{
    for (int i = 0; i < 100; i++) {
        long n = datagram_receive(&fixture, host, got, sizeof got);

        if (n < 0)
            return false;
        if (is_of_packet(got, n))
            return n == (long)packet.frame.len &&
                   memcmp(got + packet.payload, packet.frame.head + packet.payload,
                          packet.shape.payload_len) == 0;
    }
    return false;
}

/* A packet socket sees them before the kernel would cut them: in one piece. */
static void what_clients_leave_to_others_reaches_the_host_in_one_piece(void **state)
{
    int clients[] = {plug(1, OFFLOAD_RAW), plug(2, OFFLOAD_VIRTIO)};
    static uint8_t record[FRAME_PREFIX + VNET_HEADER + PACKETS_SIZE];

    (void)state;
    for (uint32_t seed = 0; seed < 60; seed++) {
        uint32_t header_len = seed % 2 ? VNET_HEADER : 0;

        make_packet(shapes[seed % 3], seed);
        frame_put_len(record, header_len + packet.frame.len);
        put_header(record + FRAME_PREFIX);
        memcpy(record + FRAME_PREFIX + header_len, packet.frame.head, packet.frame.len);
        stream_put(&fixture, clients[seed % 2], record, FRAME_PREFIX + header_len + packet.frame.len);
        assert_true(host_gets_packet());
    }
    assert_int_equal(counters_dropped(&fixture.ports[0].counters), 0);
    assert_int_equal(fixture.ports[0].counters.frames_out, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_pass_both_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_interface_that_is_down_costs_frames_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_deleted_interface_ends_the_link, set_up, tear_down),
        cmocka_unit_test_setup_teardown(frames_pass_both_ways, set_up_with_header, tear_down),
        cmocka_unit_test_setup_teardown(an_interface_that_is_down_costs_frames_alone, set_up_with_header,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_the_host_leaves_to_its_card_arrives_as_each_client_takes_it,
                                        set_up_with_header, tear_down),
        cmocka_unit_test_setup_teardown(what_clients_leave_to_others_reaches_the_host_in_one_piece,
                                        set_up_with_header, tear_down),
    };

    if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) < 0 || unshare(CLONE_NEWNET) < 0) {
        print_message("skipped: TAPs need root, /dev/net/tun and a network namespace\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

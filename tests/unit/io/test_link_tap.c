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

#include "tests/unit/io/fixture.h"

enum { FRAME = 200 };

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
static int open_tap(void)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    memcpy(ifr.ifr_name, "tt%d", 5);
    assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
    memcpy(ifname, ifr.ifr_name, sizeof ifname);
    set_up_flag(true);
    return fd;
}

static int set_up(void **state)
{
    int tap;

    (void)state;
    fixture_open(&fixture, NULL);
    tap = open_tap();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_pass_both_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_interface_that_is_down_costs_frames_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_deleted_interface_ends_the_link, set_up, tear_down),
    };

    if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) < 0 || unshare(CLONE_NEWNET) < 0) {
        print_message("skipped: TAPs need root, /dev/net/tun and a network namespace\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

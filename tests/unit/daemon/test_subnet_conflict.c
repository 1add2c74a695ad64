/* Tests of daemon/subnet_conflict_linux.c: real routes in a network namespace of our own. Needs root. */
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
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

#include "daemon/subnet_conflict.h"

static int inet;
static char with[96];

static struct sockaddr address_of(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr generic;
    assert_int_equal(inet_pton(AF_INET, text, &in.sin_addr), 1);
    memcpy(&generic, &in, sizeof(generic));
    return generic;
}

/* The loopback as 10.8.3.1/16. */
static void give_address(void)
{
    struct ifreq ifr = {.ifr_name = "lo", .ifr_addr = address_of("10.8.3.1")};
    assert_int_equal(ioctl(inet, SIOCSIFADDR, &ifr), 0);
    ifr.ifr_netmask = address_of("255.255.0.0");
    assert_int_equal(ioctl(inet, SIOCSIFNETMASK, &ifr), 0);
    memset(&ifr.ifr_addr, 0, sizeof(ifr.ifr_addr));
    ifr.ifr_flags = IFF_UP | IFF_LOOPBACK;
    assert_int_equal(ioctl(inet, SIOCSIFFLAGS, &ifr), 0);
}

static void add_route(const char *to, const char *mask)
{
    char dev[] = "lo";
    struct rtentry route = {
        .rt_dst = address_of(to), .rt_genmask = address_of(mask), .rt_flags = RTF_UP, .rt_dev = dev};
    assert_int_equal(ioctl(inet, SIOCADDRT, &route), 0);
}

static int find(const char *gateway, const char *mask, const char *own)
{
    struct in_addr address, netmask;
    with[0] = '\0';
    assert_int_equal(inet_pton(AF_INET, gateway, &address), 1);
    assert_int_equal(inet_pton(AF_INET, mask, &netmask), 1);
    return subnet_conflict_find(ntohl(address.s_addr), ntohl(netmask.s_addr), own, with, sizeof(with));
}

static void a_free_subnet_is_free(void **state)
{
    (void)state;
    assert_int_equal(find("192.168.105.1", "255.255.255.0", ""), 0);
    assert_int_equal(find("10.9.0.1", "255.255.0.0", ""), 0);
    assert_string_equal(with, "");
}

static void an_overlap_either_way_is_named(void **state)
{
    (void)state;
    assert_int_equal(find("10.8.44.1", "255.255.255.0", ""), -EADDRINUSE); /* ours is in theirs */
    assert_string_equal(with, "10.8.0.0/16 via lo");
    assert_int_equal(find("10.0.0.1", "255.0.0.0", ""), -EADDRINUSE); /* theirs is in ours */
    assert_int_equal(find("172.20.1.1", "255.255.255.0", ""), -EADDRINUSE);
    assert_string_equal(with, "172.16.0.0/12 via lo");
}

static void default_routes_and_our_own_are_no_conflict(void **state)
{
    (void)state;
    add_route("0.0.0.0", "0.0.0.0");
    add_route("0.0.0.0", "128.0.0.0"); /* as OpenVPN does */
    assert_int_equal(find("192.168.105.1", "255.255.255.0", ""), 0);
    assert_int_equal(find("100.64.0.1", "255.255.255.0", ""), 0);
    assert_int_equal(find("10.8.44.1", "255.255.255.0", "lo"), 0);
}

static void nothing_is_said_of_a_subnet_where_the_system_says_nothing(void **state)
{
    (void)state;
    assert_int_equal(find("192.168.105.1", "255.255.255.0", "no-such-interface"), 0);
}

int main(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        return 77;
    inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    give_address();
    add_route("172.16.0.0", "255.240.0.0");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_subnet_is_free),
        cmocka_unit_test(an_overlap_either_way_is_named),
        cmocka_unit_test(default_routes_and_our_own_are_no_conflict),
        cmocka_unit_test(nothing_is_said_of_a_subnet_where_the_system_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

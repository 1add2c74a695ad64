/* Tests of daemon/route_dump.c: a table of routes, byte by byte as a Mac's kernel lays it out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/route_dump.h"

/* struct rt_msghdr of a little-endian Mac: length, version 5, RTM_GET, index, two bytes of padding, flags,
 * addresses; then pid, seq, errno, use, inits, and the 56 bytes of the metrics. */
#define HEADER(len, index, flags, addrs)                                                                     \
    (len), 0, 5, 4, (index), 0, 0, 0, BYTES(flags), BYTES(addrs), ZERO_20, ZERO_20, ZERO_20, ZERO_8, ZERO_4, \
        ZERO_4
#define BYTES(n) (n) & 0xFF, (n) >> 8 & 0xFF, (n) >> 16 & 0xFF, (n) >> 24 & 0xFF
#define ZERO_4 0, 0, 0, 0
#define ZERO_8 ZERO_4, ZERO_4
#define ZERO_20 ZERO_8, ZERO_8, ZERO_4

/* struct sockaddr_in: length, family, port, address, padding. */
#define INET(a, b, c, d) 16, 2, 0, 0, (a), (b), (c), (d), ZERO_8
#define MASK_0 ZERO_4 /* length 0: all zero, and four bytes all the same */
#define MASK_8 5, 0, 0, 0, 255, 0, 0, 0
#define MASK_16 6, 0, 0, 0, 255, 255, 0, 0
#define MASK_24 7, 0, 0, 0, 255, 255, 255, 0

enum {
    UP = 0x1,
    GATEWAY = 0x2,
    HOST = 0x4,
    REJECT = 0x8,
    CLONING = 0x100,
    WASCLONED = 0x20000,
    STATIC = 0x800,
    MULTICAST = 0x800000,
    DST_GW = 0x3,
    DST_GW_MASK = 0x7,
};

/* What `netstat -rn -f inet` shows on a Mac with Wi-Fi, a VPN and one vmnet network. */
static const uint8_t table[] = {
    /* default            192.168.1.1     en0 */
    HEADER(128, 11, UP | GATEWAY | STATIC, DST_GW_MASK),
    INET(0, 0, 0, 0),
    INET(192, 168, 1, 1),
    MASK_0,
    /* 0.0.0.0/1          10.8.0.1        utun4, of the VPN */
    HEADER(132, 21, UP | GATEWAY | STATIC, DST_GW_MASK),
    INET(0, 0, 0, 0),
    INET(10, 8, 0, 1),
    5,
    0,
    0,
    0,
    128,
    0,
    0,
    0,
    /* 10.8/16            10.8.0.1        utun4 */
    HEADER(132, 21, UP | GATEWAY | STATIC, DST_GW_MASK),
    INET(10, 8, 0, 0),
    INET(10, 8, 0, 1),
    MASK_16,
    /* 127                127.0.0.1       lo0 */
    HEADER(132, 1, UP | GATEWAY | STATIC, DST_GW_MASK),
    INET(127, 0, 0, 0),
    INET(127, 0, 0, 1),
    MASK_8,
    /* 169.254            link#11         en0, refused */
    HEADER(132, 11, UP | REJECT, DST_GW_MASK),
    INET(169, 254, 0, 0),
    INET(0, 0, 0, 0),
    MASK_16,
    /* 172.20.10.9        10.8.0.1        utun4, one host */
    HEADER(124, 21, UP | GATEWAY | HOST | STATIC, DST_GW),
    INET(172, 20, 10, 9),
    INET(10, 8, 0, 1),
    /* 192.168.1          link#11         en0 */
    HEADER(132, 11, UP | CLONING, DST_GW_MASK),
    INET(192, 168, 1, 0),
    INET(0, 0, 0, 0),
    MASK_24,
    /* 192.168.1.77       cloned from it  en0 */
    HEADER(124, 11, UP | HOST | WASCLONED, DST_GW),
    INET(192, 168, 1, 77),
    INET(0, 0, 0, 0),
    /* 192.168.64         link#18         bridge100, of vmnet */
    HEADER(132, 18, UP | CLONING, DST_GW_MASK),
    INET(192, 168, 64, 0),
    INET(0, 0, 0, 0),
    MASK_24,
    /* 192.168.64.1/32    link#18         bridge100, its own address */
    HEADER(140, 18, UP | CLONING | STATIC, DST_GW_MASK),
    INET(192, 168, 64, 1),
    INET(0, 0, 0, 0),
    INET(255, 255, 255, 255),
    /* 192.168.66         link#19         bridge0, the user's own */
    HEADER(132, 19, UP | CLONING, DST_GW_MASK),
    INET(192, 168, 66, 0),
    INET(0, 0, 0, 0),
    MASK_24,
    /* 224.0.0/4          link#11         en0 */
    HEADER(132, 11, UP | MULTICAST, DST_GW_MASK),
    INET(224, 0, 0, 0),
    INET(0, 0, 0, 0),
    5,
    0,
    0,
    0,
    240,
    0,
    0,
    0,
};

static char *name_of(unsigned index, char *name)
{
    const char *found = index == 1    ? "lo0"
                        : index == 11 ? "en0"
                        : index == 18 ? "bridge100"
                        : index == 19 ? "bridge0"
                        : index == 21 ? "utun4"
                                      : NULL;
    if (!found)
        return NULL;
    snprintf(name, ROUTE_DUMP_NAME_SIZE, "%s", found);
    return name;
}

static uint32_t ipv4(unsigned a, unsigned b, unsigned c, unsigned d)
{
    return a << 24 | b << 16 | c << 8 | d;
}

#define NETMASK_24 UINT32_C(0xFFFFFF00)

static char with[96];

static bool find(uint32_t address, uint32_t netmask, const char *own)
{
    with[0] = 0;
    return route_dump_find(table, sizeof(table), address, netmask, own, name_of, with, sizeof(with));
}

static void what_has_the_subnet_is_named_with_its_interface(void **state)
{
    (void)state;
    assert_true(find(ipv4(10, 8, 3, 1), NETMASK_24, ""));
    assert_string_equal(with, "10.8.0.0/16 via utun4");
    assert_true(find(ipv4(10, 0, 0, 1), UINT32_C(0xFF000000), "")); /* wider than the route */
    assert_string_equal(with, "10.8.0.0/16 via utun4");
    assert_true(find(ipv4(192, 168, 1, 1), NETMASK_24, ""));
    assert_string_equal(with, "192.168.1.0/24 via en0");
    assert_true(find(ipv4(172, 20, 10, 1), NETMASK_24, "")); /* a host's route has no mask */
    assert_string_equal(with, "172.20.10.9/32 via utun4");
    assert_true(find(ipv4(192, 168, 66, 1), NETMASK_24, ""));
    assert_string_equal(with, "192.168.66.0/24 via bridge0");
    assert_true(find(ipv4(127, 0, 1, 1), NETMASK_24, "")); /* a mask of one byte */
    assert_string_equal(with, "127.0.0.0/8 via lo0");
}

static void the_default_route_its_halves_and_what_reaches_nobody_are_no_conflict(void **state)
{
    (void)state;
    assert_false(find(ipv4(10, 77, 0, 1), NETMASK_24, ""));
    assert_false(find(ipv4(192, 168, 105, 1), NETMASK_24, ""));
    assert_false(find(ipv4(169, 254, 3, 1), NETMASK_24, "")); /* refused */
    assert_false(find(ipv4(224, 0, 0, 1), NETMASK_24, ""));
    assert_false(
        find(ipv4(192, 168, 1, 1), NETMASK_24, "en0")); /* our own interface; and a cloned one never counts */
}

static void vmnets_bridge_with_the_same_subnet_is_shared_and_with_another_is_not(void **state)
{
    (void)state;
    assert_false(find(ipv4(192, 168, 64, 1), NETMASK_24, ""));
    assert_true(find(ipv4(192, 168, 0, 1), UINT32_C(0xFFFF0000), "en0"));
    assert_string_equal(with, "192.168.64.0/24 via bridge100");
}

/* The kernel does not send such tables; the parser does not rely on it. Each is a copy of its own size, so
 * that the address sanitizer sees a read past its end. */
static void a_table_that_is_cut_or_damaged_is_not_read_past_its_end(void **state)
{
    (void)state;
    for (size_t len = 0; len <= sizeof(table); len++) {
        uint8_t *copy = malloc(len ? len : 1);
        assert_non_null(copy);
        memcpy(copy, table, len);
        const bool is_found =
            route_dump_find(copy, len, ipv4(192, 168, 66, 1), NETMASK_24, "", name_of, with, sizeof(with));
        assert_true(!is_found || len >= sizeof(table) - 132); /* the last but one */
        free(copy);
    }
    for (size_t i = 0; i < sizeof(table); i++)
        for (unsigned value = 0; value < 256; value += 51) {
            uint8_t *copy = malloc(sizeof(table));
            assert_non_null(copy);
            memcpy(copy, table, sizeof(table));
            copy[i] = (uint8_t)value;
            route_dump_find(copy, sizeof(table), ipv4(192, 168, 66, 1), NETMASK_24, "", name_of, with,
                            sizeof(with));
            free(copy);
        }
}

static void an_interface_that_has_gone_meanwhile_leaves_its_route_without_a_name(void **state)
{
    static const uint8_t one[] = {HEADER(132, 99, UP | CLONING, DST_GW_MASK), INET(10, 1, 0, 0),
                                  INET(0, 0, 0, 0), MASK_16};
    (void)state;
    assert_true(
        route_dump_find(one, sizeof(one), ipv4(10, 1, 2, 1), NETMASK_24, "", name_of, with, sizeof(with)));
    assert_string_equal(with, "10.1.0.0/16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_the_subnet_is_named_with_its_interface),
        cmocka_unit_test(the_default_route_its_halves_and_what_reaches_nobody_are_no_conflict),
        cmocka_unit_test(vmnets_bridge_with_the_same_subnet_is_shared_and_with_another_is_not),
        cmocka_unit_test(a_table_that_is_cut_or_damaged_is_not_read_past_its_end),
        cmocka_unit_test(an_interface_that_has_gone_meanwhile_leaves_its_route_without_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

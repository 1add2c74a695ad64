/* tests/unit/perf/test_vnet_header.c - what the kernel is told about a frame whose header was taken off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "perf/vnet_header.h"

enum { MTU = 1500, ETH = 14 };

static uint8_t frame[65550];
static uint8_t header[VNET_HEADER_SIZE];

static void put_be16(size_t at, unsigned value)
{
    frame[at] = (uint8_t)(value >> 8);
    frame[at + 1] = (uint8_t)(value & 0xff);
}

static unsigned le16(size_t at)
{
    return (unsigned)header[at] | (unsigned)header[at + 1] << 8;
}

/* IPv4 with 'options' bytes of options. Returns where the transport header begins. */
static size_t make_ipv4(uint8_t proto, size_t options)
{
    memset(frame, 0, sizeof(frame));
    put_be16(12, 0x0800);
    frame[ETH] = (uint8_t)(0x40 | (20 + options) / 4);
    frame[ETH + 9] = proto;
    return ETH + 20 + options;
}

static size_t make_ipv6(uint8_t proto)
{
    memset(frame, 0, sizeof(frame));
    put_be16(12, 0x86dd);
    frame[ETH] = 0x60;
    frame[ETH + 6] = proto;
    return ETH + 40;
}

static void make_tcp(size_t at, size_t options)
{
    frame[at + 12] = (uint8_t)((20 + options) / 4 << 4);
}

static void rebuild(size_t len)
{
    memset(header, 0xee, sizeof(header));
    vnet_header_rebuild(header, frame, len, MTU);
}

static void assert_finished(void)
{
    static const uint8_t zeroes[VNET_HEADER_SIZE];

    assert_memory_equal(header, zeroes, sizeof(header));
}

static void a_short_tcp_frame_wants_its_checksum_and_no_cutting(void **state)
{
    size_t at = make_ipv4(6, 0);

    (void)state;
    make_tcp(at, 12);
    rebuild(ETH + MTU);
    assert_int_equal(header[0], VNET_NEEDS_CSUM);
    assert_int_equal(header[1], VNET_GSO_NONE);
    assert_int_equal(le16(4), 0);
    assert_int_equal(le16(6), 34);
    assert_int_equal(le16(8), 16);
    assert_int_equal(le16(10), 0);
}

static void a_tcp_frame_longer_than_the_mtu_is_cut_into_segments_that_fit(void **state)
{
    size_t at = make_ipv4(6, 0);

    (void)state;
    make_tcp(at, 12);
    rebuild(ETH + MTU + 1);
    assert_int_equal(header[1], VNET_GSO_TCPV4);
    assert_int_equal(le16(2), ETH + 20 + 32);
    assert_int_equal(le16(4), MTU - 20 - 32);
    rebuild(sizeof(frame));
    assert_int_equal(header[1], VNET_GSO_TCPV4);
}

static void options_of_ipv4_move_everything(void **state)
{
    size_t at = make_ipv4(6, 8);

    (void)state;
    make_tcp(at, 0);
    rebuild(9000);
    assert_int_equal(le16(6), at);
    assert_int_equal(le16(2), at + 20);
    assert_int_equal(le16(4), MTU - 28 - 20);
}

static void ipv6_has_a_kind_of_its_own(void **state)
{
    size_t at = make_ipv6(6);

    (void)state;
    make_tcp(at, 0);
    rebuild(9000);
    assert_int_equal(header[1], VNET_GSO_TCPV6);
    assert_int_equal(le16(6), 54);
    assert_int_equal(le16(4), MTU - 60);
}

static void udp_wants_its_checksum_unless_it_has_none(void **state)
{
    size_t at = make_ipv4(17, 0);

    (void)state;
    rebuild(100);
    assert_finished();
    put_be16(at + 6, 0x1234);
    rebuild(9000);
    assert_int_equal(header[0], VNET_NEEDS_CSUM);
    assert_int_equal(header[1], VNET_GSO_NONE);
    assert_int_equal(le16(8), 6);
}

static void fragments_arp_and_tagged_frames_are_left_alone(void **state)
{
    size_t at = make_ipv4(6, 0);

    (void)state;
    make_tcp(at, 0);
    put_be16(ETH + 6, 0x2000); /* more fragments */
    rebuild(1000);
    assert_finished();
    put_be16(ETH + 6, 0x0001);
    rebuild(1000);
    assert_finished();
    put_be16(ETH + 6, 0x4000); /* don't fragment: whole */
    rebuild(1000);
    assert_int_equal(header[0], VNET_NEEDS_CSUM);
    put_be16(12, 0x0806);
    rebuild(60);
    assert_finished();
    put_be16(12, 0x8100);
    rebuild(1000);
    assert_finished();
}

static void what_is_cut_short_or_lies_about_its_lengths_is_left_alone(void **state)
{
    size_t at = make_ipv4(6, 0);

    (void)state;
    make_tcp(at, 0);
    for (size_t len = 0; len < at + 20; len++) {
        rebuild(len);
        assert_finished();
    }
    frame[at + 12] = 0x40; /* a TCP header of 16 bytes */
    rebuild(1000);
    assert_finished();
    frame[at + 12] = 0xf0;
    rebuild(at + 59);
    assert_finished();
    make_tcp(at, 0);
    frame[ETH] = 0x44; /* an IPv4 header of 16 bytes */
    rebuild(1000);
    assert_finished();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_tcp_frame_wants_its_checksum_and_no_cutting),
        cmocka_unit_test(a_tcp_frame_longer_than_the_mtu_is_cut_into_segments_that_fit),
        cmocka_unit_test(options_of_ipv4_move_everything),
        cmocka_unit_test(ipv6_has_a_kind_of_its_own),
        cmocka_unit_test(udp_wants_its_checksum_unless_it_has_none),
        cmocka_unit_test(fragments_arp_and_tagged_frames_are_left_alone),
        cmocka_unit_test(what_is_cut_short_or_lies_about_its_lengths_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

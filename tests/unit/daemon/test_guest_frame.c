/* tests/unit/daemon/test_guest_frame.c - what of a guest's frames libslirp gets to see */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>

#include "daemon/guest_frame.h"
#include "tests/unit/daemon/mini_guest.h"

static const uint32_t gateway = 0xC0A86901;
static const struct guest_rules rules = {.gateway = 0xC0A86901, .mtu = 1500};
static const struct guest_rules rules6 = {.gateway = 0xC0A86901, .mtu = 1500, .has_ipv6 = true};
static const struct mini_guest guest = {.mac = 0x525400000001, .ip = 0xC0A86903};

static enum guest_verdict check(const struct built *frame)
{
    return guest_frame_check(&rules, frame->bytes, frame->len);
}

static void ordinary_frames_pass(void **state)
{
    (void)state;
    struct built frame;
    guest_arp_request(&guest, gateway, &frame);
    assert_int_equal(check(&frame), GUEST_OK);
    guest_dhcp(&guest, DHCP_DISCOVER, 0, &frame);
    assert_int_equal(check(&frame), GUEST_OK);
    guest_ping(&guest, gateway, &frame);
    assert_int_equal(check(&frame), GUEST_OK);
    guest_tcp_syn(&guest, 0x0A000001, 1, 2, &frame);
    assert_int_equal(check(&frame), GUEST_OK);
    memset(frame.bytes + frame.len, 0, 6); /* padded to Ethernet's minimum */
    frame.len += 6;
    assert_int_equal(check(&frame), GUEST_OK);
}

/* Every length from nothing to the whole frame less one byte. */
static void cut_frames_do_not_pass(void **state)
{
    (void)state;
    struct built whole[4];
    guest_arp_request(&guest, gateway, &whole[0]);
    guest_ping(&guest, gateway, &whole[1]);
    guest_tcp_syn(&guest, gateway, 1, 2, &whole[2]);
    guest_udp(&guest, gateway, 1, 2, "x", 1, &whole[3]);
    for (unsigned i = 0; i < 4; i++) {
        for (size_t len = 0; len < whole[i].len; len++) {
            uint8_t *exact = malloc(len ? len : 1); /* so that ASan sees a read behind it */
            memcpy(exact, whole[i].bytes, len);
            assert_int_not_equal(guest_frame_check(&rules, exact, len), GUEST_OK);
            free(exact);
        }
    }
}

static void lengths_inside_must_agree(void **state)
{
    (void)state;
    struct built frame;
    guest_udp(&guest, gateway, 1, 2, "x", 1, &frame);
    frame.bytes[17]++; /* total length behind the end */
    assert_int_equal(check(&frame), GUEST_BAD_HEADER);
    guest_udp(&guest, gateway, 1, 2, "x", 1, &frame);
    frame.bytes[14] = 0x44; /* header shorter than one */
    assert_int_equal(check(&frame), GUEST_BAD_HEADER);
    frame.bytes[14] = 0x4F; /* longer than the packet */
    assert_int_equal(check(&frame), GUEST_BAD_HEADER);
    frame.bytes[14] = 0x65;
    assert_int_equal(check(&frame), GUEST_BAD_HEADER);
    guest_udp(&guest, gateway, 1, 2, "x", 1, &frame);
    frame.bytes[17] = 27; /* no room for a UDP header */
    assert_int_equal(check(&frame), GUEST_TOO_SHORT);
    frame.bytes[21] = 1; /* but a later fragment needs none */
    assert_int_equal(check(&frame), GUEST_OK);
    guest_arp_request(&guest, gateway, &frame);
    frame.bytes[18] = 8; /* hardware address length */
    assert_int_equal(check(&frame), GUEST_BAD_HEADER);
}

static void longer_than_the_mtu_does_not_pass(void **state)
{
    (void)state;
    static uint8_t payload[1473];
    struct built frame;
    guest_udp(&guest, gateway, 1, 2, payload, 1472, &frame);
    assert_int_equal(check(&frame), GUEST_OK);
    guest_udp(&guest, gateway, 1, 2, payload, 1473, &frame);
    assert_int_equal(check(&frame), GUEST_TOO_LONG);
}

static void other_protocols_do_not_pass(void **state)
{
    (void)state;
    static const uint16_t types[] = {0x8100, 0x88A8, 0x88F8 /* NC-SI, which libslirp would answer */, 0x86DD,
                                     46};
    uint8_t frame[60] = {0};
    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        frame[12] = (uint8_t)(types[i] >> 8);
        frame[13] = (uint8_t)types[i];
        assert_int_equal(guest_frame_check(&rules, frame, sizeof(frame)), GUEST_NOT_IP);
    }
}

static void tftp_is_off(void **state)
{
    (void)state;
    struct built frame;
    guest_udp(&guest, gateway, 4000, 69, "\0\1x", 3, &frame);
    assert_int_equal(check(&frame), GUEST_REFUSED);
    guest_udp(&guest, 0x0A000001, 4000, 69, "\0\1x", 3, &frame); /* somebody else's is his affair */
    assert_int_equal(check(&frame), GUEST_OK);
}

static void addresses_of_the_host_itself_do_not_pass(void **state)
{
    (void)state;
    static const uint32_t wrong[] = {0x7F000001, 0x7FFFFFFF, 0, 0x00000001, 0x00FFFFFF};
    struct built frame;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        guest_tcp_syn(&guest, wrong[i], 1, 2, &frame);
        assert_int_equal(check(&frame), GUEST_BAD_ADDRESS);
    }
    const struct mini_guest liar = {.mac = 1, .ip = 0x7F000001};
    guest_tcp_syn(&liar, gateway, 1, 2, &frame);
    assert_int_equal(check(&frame), GUEST_BAD_ADDRESS);
}

static void make_ipv6(struct built *frame, const char *to, size_t payload)
{
    memset(frame, 0, sizeof(*frame));
    frame->len = 14 + 40 + payload;
    frame->bytes[12] = 0x86;
    frame->bytes[13] = 0xDD;
    frame->bytes[14] = 0x60;
    frame->bytes[19] = (uint8_t)payload;
    frame->bytes[20] = 17;
    memcpy(frame->bytes + 38, to, 16);
}

static enum guest_verdict check6(const struct built *frame)
{
    return guest_frame_check(&rules6, frame->bytes, frame->len);
}

static void ipv6_follows_the_same_rules(void **state)
{
    (void)state;
    static const char router[] = "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2";
    static const char *const own[] = {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                                      "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1"};
    struct built frame;
    make_ipv6(&frame, router, 8);
    assert_int_equal(check6(&frame), GUEST_OK);
    assert_int_equal(check(&frame), GUEST_NOT_IP);
    frame.bytes[19] = 9;
    assert_int_equal(check6(&frame), GUEST_BAD_HEADER);
    make_ipv6(&frame, router, 7);
    assert_int_equal(check6(&frame), GUEST_TOO_SHORT);
    for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        make_ipv6(&frame, own[i], 8);
        assert_int_equal(check6(&frame), GUEST_BAD_ADDRESS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_frames_pass),
        cmocka_unit_test(cut_frames_do_not_pass),
        cmocka_unit_test(lengths_inside_must_agree),
        cmocka_unit_test(longer_than_the_mtu_does_not_pass),
        cmocka_unit_test(other_protocols_do_not_pass),
        cmocka_unit_test(tftp_is_off),
        cmocka_unit_test(addresses_of_the_host_itself_do_not_pass),
        cmocka_unit_test(ipv6_follows_the_same_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

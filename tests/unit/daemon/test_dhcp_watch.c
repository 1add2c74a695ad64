/* tests/unit/daemon/test_dhcp_watch.c - who holds a lease, and when nobody can get one */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>

#include "daemon/dhcp_watch.h"
#include "tests/unit/daemon/mini_guest.h"

static const uint32_t first = 0xC0A86903;

static bool asks(struct dhcp_watch *watch, uint64_t client, unsigned type, uint64_t now_ms)
{
    const struct mini_guest guest = {.mac = client};
    struct built frame;
    guest_dhcp(&guest, type, 0, &frame);
    return dhcp_watch_request(watch, frame.bytes, frame.len, now_ms);
}

/* libslirp's reply to 'client': a request turned round. */
static bool is_offered(struct dhcp_watch *watch, uint64_t client, uint32_t address)
{
    const struct mini_guest guest = {.mac = client};
    struct built frame;
    guest_dhcp(&guest, DHCP_OFFER, 0, &frame);
    uint8_t *udp = frame.bytes + 14 + 20, *bootp = udp + 8;
    udp[3] = 68;
    bootp[0] = 2;
    for (int i = 0; i < 4; i++)
        bootp[16 + i] = (uint8_t)(address >> (24 - 8 * i));
    return dhcp_watch_reply(watch, frame.bytes, frame.len);
}

static void fill(struct dhcp_watch *watch, unsigned n)
{
    dhcp_watch_init(watch, first, n);
    for (unsigned i = 0; i < n; i++)
        assert_true(is_offered(watch, 100 + i, first + i));
}

static void requests_pass_while_there_is_room(void **state)
{
    (void)state;
    struct dhcp_watch watch;
    fill(&watch, SLIRP_LEASES);
    watch.held &= ~1U;
    assert_true(asks(&watch, 1, DHCP_DISCOVER, 0));
    assert_false(watch.is_exhausted);
}

static void full_table_keeps_strangers_out_and_remembers_them(void **state)
{
    (void)state;
    struct dhcp_watch watch;
    fill(&watch, SLIRP_LEASES);
    assert_false(watch.is_exhausted);
    assert_true(asks(&watch, 107, DHCP_REQUEST, 0)); /* a holder renews */
    assert_false(watch.is_exhausted);
    assert_true(asks(&watch, 1, 7, 0)); /* RELEASE wants no address */
    assert_true(asks(&watch, 1, 8, 0)); /* INFORM neither */
    assert_false(watch.is_exhausted);
    assert_false(asks(&watch, 1, DHCP_DISCOVER, 0));
    assert_true(watch.is_exhausted);
    assert_int_equal(watch.starving, 1);
    assert_false(asks(&watch, 2, DHCP_DISCOVER, 0));
    assert_int_equal(watch.starving, 1); /* a guest that makes up addresses makes no news */
}

static void answer_to_the_starving_client_ends_it(void **state)
{
    (void)state;
    struct dhcp_watch watch;
    fill(&watch, 2);
    assert_false(asks(&watch, 1, DHCP_REQUEST, 0));
    assert_true(is_offered(&watch, 100, first));
    assert_true(watch.is_exhausted); /* another's answer does not */
    assert_true(is_offered(&watch, 1, first + 1));
    assert_false(watch.is_exhausted);
}

static void it_ends_when_nobody_asks_any_more(void **state)
{
    (void)state;
    struct dhcp_watch watch;
    fill(&watch, 2);
    assert_int_equal(dhcp_watch_expire(&watch, 0), -1);
    assert_false(asks(&watch, 1, DHCP_DISCOVER, 1000));
    assert_int_equal(dhcp_watch_expire(&watch, 1001), DHCP_EXHAUSTED_MS - 1);
    assert_true(watch.is_exhausted);
    assert_int_equal(dhcp_watch_expire(&watch, 1000 + DHCP_EXHAUSTED_MS), -1);
    assert_false(watch.is_exhausted);
}

static void addresses_behind_the_range_do_not_go_out(void **state)
{
    (void)state;
    struct dhcp_watch watch;
    dhcp_watch_init(&watch, first, 3);
    assert_true(is_offered(&watch, 1, first + 2));
    assert_false(is_offered(&watch, 2, first + 3));
    assert_false(is_offered(&watch, 2, first + SLIRP_LEASES - 1));
    assert_true(is_offered(&watch, 2, 0)); /* refusals name none */
    assert_true(is_offered(&watch, 2, 0xFFFFFFFF));
    assert_int_equal(watch.held, 1U << 2);
}

static void off_is_not_full(void **state)
{
    (void)state;
    struct dhcp_watch watch;
    dhcp_watch_init(&watch, first, 0);
    assert_true(asks(&watch, 1, DHCP_DISCOVER, 0));
    assert_false(watch.is_exhausted);
    assert_false(is_offered(&watch, 1, first));
}

static void other_frames_are_none_of_its_business(void **state)
{
    (void)state;
    struct dhcp_watch watch;
    const struct mini_guest guest = {.mac = 1, .ip = first};
    struct built frame;
    fill(&watch, 1);
    guest_udp(&guest, first - 2, 1000, 53, "query", 5, &frame);
    assert_true(dhcp_watch_request(&watch, frame.bytes, frame.len, 0));
    assert_true(dhcp_watch_reply(&watch, frame.bytes, frame.len));
    guest_dhcp(&guest, DHCP_DISCOVER, 0, &frame);
    for (size_t len = 0; len < 14 + 20 + 8 + 240; len++) { /* too short to be one; ASan sees a read behind */
        uint8_t *exact = malloc(len ? len : 1);
        memcpy(exact, frame.bytes, len);
        assert_true(dhcp_watch_request(&watch, exact, len, 0));
        assert_true(dhcp_watch_reply(&watch, exact, len));
        free(exact);
    }
}

static void cut_options_are_not_read_behind_their_end(void **state)
{
    (void)state;
    struct dhcp_watch watch;
    const struct mini_guest guest = {.mac = 1};
    struct built frame;
    enum { OPTIONS = 14 + 20 + 8 + 240 };
    fill(&watch, 1);
    guest_dhcp(&guest, DHCP_DISCOVER, 0, &frame);
    for (size_t len = OPTIONS; len < OPTIONS + 8; len++) {
        for (unsigned tag = 0; tag < 256; tag++) {
            uint8_t *exact = malloc(len);
            memcpy(exact, frame.bytes, len);
            memset(exact + OPTIONS, (int)tag, len - OPTIONS);
            dhcp_watch_request(&watch, exact, len, 0);
            free(exact);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_pass_while_there_is_room),
        cmocka_unit_test(full_table_keeps_strangers_out_and_remembers_them),
        cmocka_unit_test(answer_to_the_starving_client_ends_it),
        cmocka_unit_test(it_ends_when_nobody_asks_any_more),
        cmocka_unit_test(addresses_behind_the_range_do_not_go_out),
        cmocka_unit_test(off_is_not_full),
        cmocka_unit_test(other_frames_are_none_of_its_business),
        cmocka_unit_test(cut_options_are_not_read_behind_their_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tests/unit/daemon/test_reassembly.c - fragments of guests into datagrams, against a plain copy of the whole
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>

#include "daemon/reassembly.h"
#include "tests/unit/daemon/mini_guest.h"

enum { HEADERS = 14 + 20, WHOLE_MAX = REASSEMBLY_PAYLOAD };

static uint32_t seed;
static struct reassembly table; /* big: not on the stack */
static uint8_t whole[WHOLE_MAX + 8];

static int setup(void **state)
{
    (void)state;
    memset(&table, 0, sizeof(table));
    seed = 1;
    for (size_t i = 0; i < sizeof(whole); i++)
        whole[i] = (uint8_t)guest_random(&seed);
    return 0;
}

/* A fragment of datagram 'id' with payload whole[at] to whole[at + len - 1]. */
static const uint8_t *add(unsigned id, size_t at, size_t len, bool has_more, uint64_t now_ms, size_t *ret_len)
{
    static uint8_t frame[HEADERS + WHOLE_MAX];
    memset(frame, 0, HEADERS);
    frame[12] = 8;
    frame[14] = 0x45;
    frame[16] = (uint8_t)((20 + len) >> 8);
    frame[17] = (uint8_t)(20 + len);
    frame[18] = (uint8_t)(id >> 8);
    frame[19] = (uint8_t)id;
    frame[20] = (uint8_t)((has_more ? 0x20 : 0) | at / 8 >> 8);
    frame[21] = (uint8_t)(at / 8);
    frame[22] = 64;
    frame[23] = 17;
    guest_ipv4_checksum(frame);
    memcpy(frame + HEADERS, whole + at, len);
    return reassembly_add(&table, frame, HEADERS + len, now_ms, ret_len);
}

static void assert_is_whole(const uint8_t *frame, size_t len, size_t total)
{
    uint8_t header[HEADERS];
    assert_non_null(frame);
    assert_int_equal(len, HEADERS + total);
    assert_memory_equal(frame + HEADERS, whole, total);
    assert_int_equal((size_t)frame[16] << 8 | frame[17], 20 + total);
    assert_int_equal(frame[20] | frame[21], 0);
    memcpy(header, frame, HEADERS);
    guest_ipv4_checksum(header);
    assert_memory_equal(header, frame, HEADERS);
}

static void assert_completes(unsigned id, size_t at, size_t len, bool has_more, uint64_t now_ms, size_t total)
{
    size_t whole_len = 0;
    const uint8_t *frame = add(id, at, len, has_more, now_ms, &whole_len);
    assert_is_whole(frame, whole_len, total);
}

static void whole_datagram_passes_untouched(void **state)
{
    (void)state;
    uint8_t frame[60] = {[12] = 8, [14] = 0x45, [17] = 46};
    size_t len = 0;
    assert_ptr_equal(reassembly_add(&table, frame, sizeof(frame), 0, &len), frame);
    assert_int_equal(len, sizeof(frame));
    frame[20] = 0x40; /* don't fragment */
    assert_ptr_equal(reassembly_add(&table, frame, sizeof(frame), 0, &len), frame);
    frame[13] = 6; /* ARP has no such bits */
    frame[20] = 0x20;
    assert_ptr_equal(reassembly_add(&table, frame, sizeof(frame), 0, &len), frame);
}

static void any_order_gives_the_whole(void **state)
{
    (void)state;
    enum { PIECES = 7, PIECE = 1480, TOTAL = 6 * PIECE + 13 };
    for (unsigned round = 0; round < 200; round++) {
        unsigned order[PIECES] = {0};
        for (unsigned i = 0; i < PIECES; i++) {
            unsigned j = guest_random(&seed) % (i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        for (unsigned i = 0; i < PIECES; i++) {
            size_t at = (size_t)order[i] * PIECE, len = 0;
            bool is_last = order[i] == PIECES - 1;
            const uint8_t *frame = add(round, at, is_last ? 13 : PIECE, !is_last, 0, &len);
            if (i < PIECES - 1)
                assert_null(frame);
            else
                assert_is_whole(frame, len, TOTAL);
        }
    }
    assert_int_equal(table.drop_bad + table.drop_stale, 0);
}

static void biggest_datagram_fits_and_no_bigger_one(void **state)
{
    (void)state;
    size_t len = 0;
    size_t half = 32768;
    assert_null(add(1, half, WHOLE_MAX - half, false, 0, &len));
    assert_completes(1, 0, half, true, 0, WHOLE_MAX);
    assert_null(add(2, 65512, 8, false, 0, &len)); /* ends behind 65,515 */
    assert_int_equal(table.drop_bad, 1);
}

static void overlap_ends_the_datagram(void **state)
{
    (void)state;
    size_t len = 0;
    assert_null(add(1, 0, 64, true, 0, &len));
    assert_null(add(1, 56, 64, true, 0, &len));
    assert_int_equal(table.drop_bad, 1);
    assert_null(add(1, 64, 8, false, 0, &len)); /* what was there is gone: it begins anew */
    assert_completes(1, 0, 64, true, 0, 72);
}

static void two_ends_contradict_each_other(void **state)
{
    (void)state;
    size_t len = 0;
    assert_null(add(1, 64, 64, false, 0, &len));
    assert_null(add(1, 128, 8, true, 0, &len)); /* behind the end */
    assert_int_equal(table.drop_bad, 1);
    assert_null(add(2, 64, 64, true, 0, &len));
    assert_null(add(2, 8, 8, false, 0, &len)); /* an end in front of what came */
    assert_int_equal(table.drop_bad, 2);
}

static void odd_and_empty_fragments_are_refused(void **state)
{
    (void)state;
    size_t len = 0;
    assert_null(add(1, 0, 13, true, 0, &len));
    assert_null(add(1, 8, 0, true, 0, &len));
    assert_null(add(1, 8, 0, false, 0, &len));
    assert_int_equal(table.drop_bad, 3);
}

static void oldest_gives_way_when_all_are_taken(void **state)
{
    (void)state;
    size_t len = 0;
    for (unsigned id = 0; id <= REASSEMBLY_MAX; id++)
        assert_null(add(id, 0, 64, true, id, &len));
    assert_int_equal(table.drop_stale, 1);
    for (unsigned id = 1; id <= REASSEMBLY_MAX; id++)
        assert_completes(id, 64, 8, false, 100, 72);
    assert_null(add(0, 64, 8, false, 100, &len));
}

static void fragment_that_comes_too_late_finds_nothing(void **state)
{
    (void)state;
    size_t len = 0;
    assert_null(add(1, 0, 64, true, 0, &len));
    assert_null(add(1, 64, 8, false, REASSEMBLY_MS, &len));
    assert_int_equal(table.drop_stale, 1);
    assert_completes(1, 0, 64, true, REASSEMBLY_MS + 1, 72);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(whole_datagram_passes_untouched, setup),
        cmocka_unit_test_setup(any_order_gives_the_whole, setup),
        cmocka_unit_test_setup(biggest_datagram_fits_and_no_bigger_one, setup),
        cmocka_unit_test_setup(overlap_ends_the_datagram, setup),
        cmocka_unit_test_setup(two_ends_contradict_each_other, setup),
        cmocka_unit_test_setup(odd_and_empty_fragments_are_refused, setup),
        cmocka_unit_test_setup(oldest_gives_way_when_all_are_taken, setup),
        cmocka_unit_test_setup(fragment_that_comes_too_late_finds_nothing, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tests/unit/switch/test_model.c - random operations on the switch and on its naive double
 *
 * TEST_SEED=n runs that seed alone, for a failure that names one.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/switch/model.h"

enum { N_SEEDS = 8, N_BYTES = 400 * 1000 };

static void run_seed(uint64_t seed)
{
    static uint8_t data[N_BYTES];
    uint64_t random = seed * UINT64_C(0x9E3779B97F4A7C15) | 1;

    for (size_t i = 0; i < N_BYTES; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        data[i] = (uint8_t)(random >> 32);
    }
    if (switch_ops_run(data, N_BYTES) < 0)
        fail_msg("seed %" PRIu64 ": %s", seed, switch_ops_mismatch());
}

/* Random operations that never reach a case would prove nothing about it. */
static void check_tally(const struct switch_ops_tally *tally)
{
    assert_true(tally->n_ops >= 200000);
    assert_true(tally->n_waits > 100);
    assert_true(tally->n_rows > 10000);
    assert_true(tally->n_moves > 100);
    assert_true(tally->n_evictions > 100);
    assert_true(tally->n_flaps > 100);
    assert_true(tally->n_aged > 100);
    assert_true(tally->totals.frames_out > 100);
    assert_true(tally->totals.flood_copies > 100);
    for (int i = DROP_oversize; i < DROP_N_REASONS; i++) {
        /* The link's own reasons, which a fake has no cause for. */
        if (i == DROP_bad_length || i == DROP_bad_offload || i == DROP_cannot_cut || i == DROP_cut_short ||
            i == DROP_not_peer || i == DROP_send_failed)
            continue;
        if (tally->totals.drops[i] <= 100)
            fail_msg("%s: only %" PRIu64 " drops", drop_reason_name((enum drop_reason)i),
                     tally->totals.drops[i]);
    }
}

static void P22_switch_agrees_with_its_naive_double(void **state)
{
    (void)state;
    const char *only = getenv("TEST_SEED");

    if (only) {
        run_seed(strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= N_SEEDS; seed++)
        run_seed(seed);
    check_tally(switch_ops_tally());
}

static void empty_and_short_input_is_fine(void **state)
{
    (void)state;
    const uint8_t data[] = {15, 1, 200};

    assert_int_equal(switch_ops_run(NULL, 0), 0);
    for (size_t size = 1; size <= sizeof(data); size++)
        assert_int_equal(switch_ops_run(data, size), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(P22_switch_agrees_with_its_naive_double),
        cmocka_unit_test(empty_and_short_input_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

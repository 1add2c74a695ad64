/* tests/unit/switch/test_memory.c - when memory is short
 *
 * Includes the sources, so that the allocations can be counted and made to fail.
 */
#include <stddef.h>
#include <stdlib.h>

static void *counted_calloc(size_t n, size_t size);
#define calloc counted_calloc
#include "switch/fdb.c" /* NOLINT(bugprone-suspicious-include): see above */
#include "switch/lan.c" /* NOLINT(bugprone-suspicious-include): see above */
#undef calloc

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static int n_calls;
static int fail_at;    /* this call fails; 0: none */
static size_t n_bytes; /* granted */

static void *counted_calloc(size_t n, size_t size)
{
    if (++n_calls == fail_at)
        return NULL;
    n_bytes += n * size;
    return calloc(n, size);
}

static const struct lan_options defaults = {
    .fdb = {.capacity = FDB_CAPACITY, .port_limit = FDB_PORT_LIMIT, .uplink_limit = FDB_UPLINK_LIMIT},
    .mtu = LAN_MTU_DEFAULT,
};

/* That nothing leaks is the sanitizer's to find. */
static void lan_is_created_whole_or_not_at_all(void **state)
{
    (void)state;
    struct lan *lan = NULL;

    for (fail_at = 1; !lan; fail_at++) {
        n_calls = 0;
        lan = lan_create(&defaults);
        assert_true(lan || n_calls >= fail_at); /* NULL for no other reason */
    }
    assert_int_equal(n_calls, 5);
    lan_destroy(lan);
    lan_destroy(NULL);
    fdb_destroy(NULL);
}

/* P6 of the reliability table. */
static void P6_network_takes_less_than_one_mebibyte(void **state)
{
    (void)state;
    fail_at = 0;
    n_bytes = 0;
    struct lan *lan = lan_create(&defaults);
    assert_non_null(lan);
    assert_in_range(n_bytes, FDB_CAPACITY, 1 << 20);
    lan_destroy(lan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lan_is_created_whole_or_not_at_all),
        cmocka_unit_test(P6_network_takes_less_than_one_mebibyte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

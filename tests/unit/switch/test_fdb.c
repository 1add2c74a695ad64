/* tests/unit/switch/test_fdb.c - who keeps an address, who loses one, and when */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "switch/fdb.h"
#include "switch/mac.h"
#include "tests/unit/switch/fake.h"

enum { N_PORTS = 6 };

#define MAC(n) (UINT64_C(0x525400000000) + (uint64_t)(n))

static const struct fdb_options defaults = {
    .seed = {1, 2},
    .capacity = FDB_CAPACITY,
    .port_limit = FDB_PORT_LIMIT,
    .uplink_limit = FDB_UPLINK_LIMIT,
    .age_ms = FDB_AGE_MS,
    .hold_ms = FDB_HOLD_MS,
};

static struct fdb *fdb;
static struct fake uplink, vm[N_PORTS];

/* VMs are "vm1" to "vm6". */
static void open_table(const struct fdb_options *options)
{
    fdb = fdb_create(options);
    assert_non_null(fdb);
    fake_init(&uplink, NULL, "uplink", PORT_UPLINK);
    fdb_add_port(fdb, &uplink.port);
    for (int i = 0; i < N_PORTS; i++) {
        const char name[] = {'v', 'm', (char)('1' + i), '\0'};
        fake_init(&vm[i], NULL, name, PORT_VM);
        fdb_add_port(fdb, &vm[i].port);
    }
}

static void open_small_table(uint32_t capacity, uint32_t port_limit, uint32_t uplink_limit)
{
    struct fdb_options options = defaults;
    options.capacity = capacity;
    options.port_limit = port_limit;
    options.uplink_limit = uplink_limit;
    open_table(&options);
}

static int open_default_table(void **state)
{
    (void)state;
    open_table(&defaults);
    return 0;
}

static int close_table(void **state)
{
    (void)state;
    fdb_destroy(fdb);
    fdb = NULL;
    return 0;
}

static void learned_address_is_found_until_it_ages(void **state)
{
    (void)state;
    fdb_learn(fdb, MAC(1), &vm[0].port, 1000);
    fdb_learn(fdb, MAC(2), &vm[0].port, 1000);
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &vm[0].port);
    assert_null(fdb_find(fdb, MAC(3)));

    fdb_learn(fdb, MAC(1), &vm[0].port, 2000);
    fdb_age(fdb, 1000 + FDB_AGE_MS - 1);
    assert_int_equal(fdb_n_learned(fdb), 2);
    fdb_age(fdb, 1000 + FDB_AGE_MS);
    assert_null(fdb_find(fdb, MAC(2)));
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &vm[0].port);
    fdb_age(fdb, 2000 + FDB_AGE_MS);
    assert_int_equal(fdb_n_learned(fdb), 0);
}

static void ageing_says_when_the_next_entry_may_be_due(void **state)
{
    (void)state;
    assert_int_equal(fdb_age(fdb, 0), 0);
    fdb_learn(fdb, MAC(1), &vm[0].port, 1000);
    fdb_learn(fdb, MAC(2), &vm[0].port, 3000);
    fdb_learn(fdb, MAC(3), &vm[1].port, 2000);
    assert_int_equal(fdb_age(fdb, 4000), FDB_AGE_MS - 3000);
    fdb_learn(fdb, MAC(1), &vm[0].port, 5000);
    assert_int_equal(fdb_age(fdb, 5000), FDB_AGE_MS - 3000);
    assert_int_equal(fdb_age(fdb, 2000 + FDB_AGE_MS), 1000);
    assert_int_equal(fdb_n_learned(fdb), 2);
    assert_int_equal(fdb_age(fdb, 3000 + FDB_AGE_MS), 2000);
    assert_int_equal(fdb_age(fdb, 5000 + FDB_AGE_MS), 0);
    assert_int_equal(fdb_n_learned(fdb), 0);
}

static void port_at_its_limit_gives_up_its_own_oldest(void **state)
{
    (void)state;
    open_small_table(100, 3, 50);
    for (int i = 0; i < 3; i++)
        fdb_learn(fdb, MAC(i), &vm[0].port, (uint64_t)i);
    fdb_learn(fdb, MAC(0), &vm[0].port, 10);
    fdb_learn(fdb, MAC(9), &vm[0].port, 11);
    assert_null(fdb_find(fdb, MAC(1)));
    assert_non_null(fdb_find(fdb, MAC(0)));
    assert_non_null(fdb_find(fdb, MAC(2)));
    assert_non_null(fdb_find(fdb, MAC(9)));
    assert_int_equal(fdb_n_learned(fdb), 3);
    assert_int_equal(fdb_n_evictions(fdb), 1);
}

static void count_entry(const struct fdb_view *view, void *ctx)
{
    if (view->port == &vm[0].port)
        (*(size_t *)ctx)++;
}

/* 10^6 rather than 10^7, to be quick: nothing depends on how far past the limit it goes. */
static void L01_random_sources_fill_one_port_only(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252U;

    for (int i = 0; i < 8; i++)
        fdb_learn(fdb, UINT64_C(0x020000000000) + (uint64_t)i, &vm[1].port, 0);
    fdb_learn(fdb, UINT64_C(0x020000000100), &uplink.port, 0);
    assert_true(fdb_add_static(fdb, UINT64_C(0x020000000200), &vm[2].port));
    for (uint64_t i = 0; i < 10000000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        uint64_t mac = (random & UINT64_C(0xFEFFFFFFFFFF)) | UINT64_C(0x040000000000);
        fdb_learn(fdb, mac, &vm[0].port, i / 1000);
    }

    size_t n_attacker = 0;
    fdb_visit(fdb, 1000, count_entry, &n_attacker);
    assert_int_equal(n_attacker, FDB_PORT_LIMIT);
    for (int i = 0; i < 8; i++)
        assert_ptr_equal(fdb_find(fdb, UINT64_C(0x020000000000) + (uint64_t)i), &vm[1].port);
    assert_ptr_equal(fdb_find(fdb, UINT64_C(0x020000000100)), &uplink.port);
    assert_ptr_equal(fdb_find(fdb, UINT64_C(0x020000000200)), &vm[2].port);
    assert_int_equal(fdb_n_learned(fdb), FDB_PORT_LIMIT + 9);
}

static void L03_full_table_is_fair(void **state)
{
    (void)state;
    open_small_table(10, 256, 256);
    for (int port = 0; port < 5; port++) {
        fdb_learn(fdb, MAC(2 * port), &vm[port].port, (uint64_t)port);
        fdb_learn(fdb, MAC(2 * port + 1), &vm[port].port, (uint64_t)port);
    }
    for (int i = 0; i < 16; i++)
        fdb_learn(fdb, MAC(100 + i), &vm[5].port, 10 + (uint64_t)i);

    assert_int_equal(vm[5].port.fdb.n_learned, 3);
    for (int port = 0; port < 5; port++)
        assert_in_range(vm[port].port.fdb.n_learned, 1, 2);
    assert_int_equal(fdb_n_learned(fdb), 10);
    for (int i = 13; i < 16; i++)
        assert_ptr_equal(fdb_find(fdb, MAC(100 + i)), &vm[5].port);
}

static void full_table_takes_from_the_uplink_before_an_equal_vm(void **state)
{
    (void)state;
    open_small_table(4, 4, 4);
    fdb_learn(fdb, MAC(1), &vm[0].port, 0);
    fdb_learn(fdb, MAC(2), &vm[0].port, 1);
    fdb_learn(fdb, MAC(3), &uplink.port, 2);
    fdb_learn(fdb, MAC(4), &uplink.port, 3);
    fdb_learn(fdb, MAC(5), &vm[1].port, 4);
    assert_null(fdb_find(fdb, MAC(3)));
    assert_int_equal(uplink.port.fdb.n_learned, 1);
    assert_int_equal(vm[0].port.fdb.n_learned, 2);
}

/* Static entries have their own places, so no learned one has to go, but for the same address. */
static void L05_static_entry_has_a_place_in_a_full_table(void **state)
{
    (void)state;
    open_small_table(4, 4, 4);
    for (int i = 0; i < 4; i++)
        fdb_learn(fdb, MAC(i), &vm[i].port, 0);
    assert_true(fdb_add_static(fdb, MAC(50), &vm[5].port));
    assert_int_equal(fdb_n_learned(fdb), 4);

    assert_true(fdb_add_static(fdb, MAC(2), &vm[5].port));
    assert_int_equal(fdb_n_learned(fdb), 3);
    assert_ptr_equal(fdb_find(fdb, MAC(2)), &vm[5].port);
    assert_int_equal(vm[2].port.fdb.n_learned, 0);
}

static void static_places_are_bounded(void **state)
{
    (void)state;
    for (int i = 0; i < FDB_STATIC_MAX; i++)
        assert_true(fdb_add_static(fdb, MAC(i), &vm[i % N_PORTS].port));
    fdb_learn(fdb, MAC(5000), &vm[0].port, 0);
    assert_false(fdb_add_static(fdb, MAC(5000), &vm[1].port));
    assert_ptr_equal(fdb_find(fdb, MAC(5000)), &vm[0].port);
    assert_true(fdb_add_static(fdb, MAC(7), &vm[0].port)); /* re-pointing needs no place */
    assert_ptr_equal(fdb_find(fdb, MAC(7)), &vm[0].port);
    fdb_remove_static(fdb, MAC(8));
    assert_true(fdb_add_static(fdb, MAC(5000), &vm[1].port));
    assert_null(fdb_find(fdb, MAC(8)));
}

static void static_entry_is_neither_moved_nor_aged_nor_flushed(void **state)
{
    (void)state;
    assert_true(fdb_add_static(fdb, MAC(1), &vm[0].port));
    fdb_learn(fdb, MAC(1), &vm[1].port, UINT64_C(10) * FDB_AGE_MS);
    fdb_learn(fdb, MAC(2), &vm[1].port, UINT64_C(10) * FDB_AGE_MS);
    fdb_age(fdb, UINT64_C(100) * FDB_AGE_MS);
    fdb_learn(fdb, MAC(3), &vm[1].port, UINT64_C(100) * FDB_AGE_MS);
    assert_int_equal(fdb_flush(fdb), 1);
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &vm[0].port);
    assert_int_equal(fdb_last_flap(fdb)->count, 0);
    assert_true(fdb_is_static_elsewhere(fdb, MAC(1), &vm[1].port));
    assert_false(fdb_is_static_elsewhere(fdb, MAC(1), &vm[0].port));
    fdb_remove_static(fdb, MAC(1));
    assert_null(fdb_find(fdb, MAC(1)));
    assert_false(fdb_is_static_elsewhere(fdb, MAC(1), &vm[1].port));
}

static void statics_of_one_port_go_together(void **state)
{
    (void)state;
    assert_true(fdb_add_static(fdb, MAC(1), &vm[0].port));
    assert_true(fdb_add_static(fdb, MAC(2), &vm[0].port));
    assert_true(fdb_add_static(fdb, MAC(3), &vm[1].port));
    fdb_learn(fdb, MAC(4), &vm[0].port, 0);
    fdb_remove_statics(fdb, &vm[0].port);
    assert_null(fdb_find(fdb, MAC(1)));
    assert_null(fdb_find(fdb, MAC(2)));
    assert_ptr_equal(fdb_find(fdb, MAC(3)), &vm[1].port);
    assert_ptr_equal(fdb_find(fdb, MAC(4)), &vm[0].port);
}

static void group_and_zero_cannot_be_static(void **state)
{
    (void)state;
    assert_false(fdb_add_static(fdb, 0, &vm[0].port));
    assert_false(fdb_add_static(fdb, UINT64_C(0xFFFFFFFFFFFF), &vm[0].port));
    assert_false(fdb_add_static(fdb, UINT64_C(0x01005E000001), &vm[0].port));
    fdb_learn(fdb, MAC(1), &vm[0].port, 0);
    fdb_remove_static(fdb, MAC(1)); /* a learned one is not its business */
    assert_non_null(fdb_find(fdb, MAC(1)));
}

static void L09_spoofed_address_stays_while_its_port_speaks(void **state)
{
    (void)state;
    fdb_learn(fdb, MAC(1), &vm[0].port, 1000);
    fdb_learn(fdb, MAC(1), &vm[1].port, 1000);
    fdb_learn(fdb, MAC(1), &vm[1].port, 1000 + FDB_HOLD_MS - 1);
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &vm[0].port);
    assert_int_equal(fdb_n_moves(fdb), 0);

    const struct fdb_flap *flap = fdb_last_flap(fdb);
    assert_int_equal(flap->count, 2);
    assert_true(flap->mac == MAC(1));
    assert_string_equal(flap->port, "vm1");
    assert_string_equal(flap->claimed, "vm2");
    assert_int_equal(flap->at_ms, 1000 + FDB_HOLD_MS - 1);

    /* The victim speaks on: the hold starts anew. */
    fdb_learn(fdb, MAC(1), &vm[0].port, 3500);
    fdb_learn(fdb, MAC(1), &vm[1].port, 3500 + FDB_HOLD_MS - 1);
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &vm[0].port);
}

static void T09_silent_address_moves_after_the_hold(void **state)
{
    (void)state;
    fdb_learn(fdb, MAC(1), &vm[0].port, 1000);
    fdb_learn(fdb, MAC(1), &vm[1].port, 1000 + FDB_HOLD_MS);
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &vm[1].port);
    assert_int_equal(fdb_n_moves(fdb), 1);
    assert_int_equal(fdb_last_flap(fdb)->count, 0);
    assert_int_equal(fdb_n_learned(fdb), 1);
}

static void T09_address_of_a_port_that_is_down_moves_at_once(void **state)
{
    (void)state;
    fdb_learn(fdb, MAC(1), &vm[0].port, 1000);
    fake_unplug(&vm[0]);
    fdb_learn(fdb, MAC(1), &vm[1].port, 1000);
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &vm[1].port);

    vm[1].port.enabled = false;
    fdb_learn(fdb, MAC(1), &uplink.port, 1000);
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &uplink.port);
    assert_int_equal(fdb_n_moves(fdb), 2);
}

static void T10_uplink_never_takes_over_a_vm_that_is_up(void **state)
{
    (void)state;
    fdb_learn(fdb, MAC(1), &vm[0].port, 0);
    fdb_learn(fdb, MAC(1), &uplink.port, UINT64_C(10) * FDB_HOLD_MS);
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &vm[0].port);
    assert_int_equal(fdb_last_flap(fdb)->count, 1);
    assert_string_equal(fdb_last_flap(fdb)->port, "vm1");
    assert_string_equal(fdb_last_flap(fdb)->claimed, "uplink");
}

static void vm_takes_from_the_uplink_by_the_same_hold(void **state)
{
    (void)state;
    fdb_learn(fdb, MAC(1), &uplink.port, 0);
    fdb_learn(fdb, MAC(1), &vm[0].port, FDB_HOLD_MS - 1);
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &uplink.port);
    fdb_learn(fdb, MAC(1), &vm[0].port, FDB_HOLD_MS);
    assert_ptr_equal(fdb_find(fdb, MAC(1)), &vm[0].port);
}

static void port_that_leaves_takes_all_its_entries(void **state)
{
    (void)state;
    fdb_learn(fdb, MAC(1), &vm[0].port, 0);
    fdb_learn(fdb, MAC(2), &vm[0].port, 0);
    fdb_learn(fdb, MAC(3), &vm[1].port, 0);
    assert_true(fdb_add_static(fdb, MAC(4), &vm[0].port));
    assert_true(fdb_add_static(fdb, MAC(5), &vm[1].port));
    fdb_forget_port(fdb, &vm[0].port);
    assert_null(fdb_find(fdb, MAC(1)));
    assert_null(fdb_find(fdb, MAC(2)));
    assert_null(fdb_find(fdb, MAC(4)));
    assert_ptr_equal(fdb_find(fdb, MAC(3)), &vm[1].port);
    assert_ptr_equal(fdb_find(fdb, MAC(5)), &vm[1].port);
    assert_int_equal(fdb_n_learned(fdb), 1);
}

static void check_view(const struct fdb_view *view, void *ctx)
{
    unsigned *seen = ctx;

    if (view->is_static) {
        assert_true(view->mac == MAC(2));
        assert_ptr_equal(view->port, &vm[1].port);
        assert_int_equal(view->age_ms, 0);
        *seen |= 2;
    } else {
        assert_true(view->mac == MAC(1));
        assert_ptr_equal(view->port, &vm[0].port);
        assert_int_equal(view->age_ms, 234);
        *seen |= 1;
    }
}

static void visitor_sees_every_entry(void **state)
{
    (void)state;
    unsigned seen = 0;

    fdb_learn(fdb, MAC(1), &vm[0].port, 1000);
    assert_true(fdb_add_static(fdb, MAC(2), &vm[1].port));
    fdb_visit(fdb, 1234, check_view, &seen);
    assert_int_equal(seen, 3);
}

static void table_without_room_learns_nothing(void **state)
{
    (void)state;
    open_small_table(0, 5, 5);
    fdb_learn(fdb, MAC(1), &vm[0].port, 0);
    assert_null(fdb_find(fdb, MAC(1)));
    fdb_destroy(fdb);

    open_small_table(5, 0, 5);
    fdb_learn(fdb, MAC(1), &vm[0].port, 0);
    assert_null(fdb_find(fdb, MAC(1)));
    fdb_learn(fdb, MAC(1), &uplink.port, 0);
    assert_non_null(fdb_find(fdb, MAC(1)));
    fdb_age(fdb, FDB_AGE_MS);
    assert_int_equal(fdb_flush(fdb), 0);
}

#define WITH_DEFAULT_TABLE(test) cmocka_unit_test_setup_teardown(test, open_default_table, close_table)
#define WITH_OWN_TABLE(test) cmocka_unit_test_teardown(test, close_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DEFAULT_TABLE(learned_address_is_found_until_it_ages),
        WITH_DEFAULT_TABLE(ageing_says_when_the_next_entry_may_be_due),
        WITH_OWN_TABLE(port_at_its_limit_gives_up_its_own_oldest),
        WITH_DEFAULT_TABLE(L01_random_sources_fill_one_port_only),
        WITH_OWN_TABLE(L03_full_table_is_fair),
        WITH_OWN_TABLE(full_table_takes_from_the_uplink_before_an_equal_vm),
        WITH_OWN_TABLE(L05_static_entry_has_a_place_in_a_full_table),
        WITH_DEFAULT_TABLE(static_places_are_bounded),
        WITH_DEFAULT_TABLE(static_entry_is_neither_moved_nor_aged_nor_flushed),
        WITH_DEFAULT_TABLE(statics_of_one_port_go_together),
        WITH_DEFAULT_TABLE(group_and_zero_cannot_be_static),
        WITH_DEFAULT_TABLE(L09_spoofed_address_stays_while_its_port_speaks),
        WITH_DEFAULT_TABLE(T09_silent_address_moves_after_the_hold),
        WITH_DEFAULT_TABLE(T09_address_of_a_port_that_is_down_moves_at_once),
        WITH_DEFAULT_TABLE(T10_uplink_never_takes_over_a_vm_that_is_up),
        WITH_DEFAULT_TABLE(vm_takes_from_the_uplink_by_the_same_hold),
        WITH_DEFAULT_TABLE(port_that_leaves_takes_all_its_entries),
        WITH_DEFAULT_TABLE(visitor_sees_every_entry),
        WITH_OWN_TABLE(table_without_room_learns_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

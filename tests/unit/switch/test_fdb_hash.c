/* tests/unit/switch/test_fdb_hash.c - addresses chosen to collide
 *
 * Includes fdb.c, because the length of a chain is no business of the public header. It counts
 * comparisons, not time.
 */
#include "switch/fdb.c" /* NOLINT(bugprone-suspicious-include): see above */

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/unit/switch/fake.h"

enum { N_MACS = FDB_PORT_LIMIT };

static struct fdb *open_table(uint64_t seed0, uint64_t seed1)
{
    const struct fdb_options options = {
        .seed = {seed0, seed1},
        .capacity = FDB_CAPACITY,
        .port_limit = FDB_PORT_LIMIT,
        .uplink_limit = FDB_UPLINK_LIMIT,
        .age_ms = FDB_AGE_MS,
        .hold_ms = FDB_HOLD_MS,
    };
    struct fdb *fdb = fdb_create(&options);
    assert_non_null(fdb);
    return fdb;
}

/* Comparisons to find each of 'macs' once, when nothing else is in a table with this seed. */
static size_t count_steps(const uint64_t macs[N_MACS], uint64_t seed0, uint64_t seed1)
{
    struct fdb *fdb = open_table(seed0, seed1);
    static struct fake vm;
    size_t n_steps = 0;

    fake_init(&vm, NULL, "vm", PORT_VM);
    fdb_add_port(fdb, &vm.port);
    for (int i = 0; i < N_MACS; i++)
        fdb_learn(fdb, macs[i], &vm.port, 0);
    assert_int_equal(fdb_n_learned(fdb), N_MACS);
    for (int i = 0; i < N_MACS; i++)
        for (const struct fdb_entry *entry = *chain_of(fdb, macs[i]); entry; entry = entry->next_in_chain) {
            n_steps++;
            if (entry->mac == macs[i])
                break;
        }
    fdb_destroy(fdb);
    return n_steps;
}

static void L04_addresses_that_collide_without_a_key_do_not_with_one(void **state)
{
    (void)state;
    static uint64_t colliding[N_MACS];
    static uint64_t random[N_MACS];
    struct fdb *fdb = open_table(0, 0);
    uint64_t mac = UINT64_C(0x020000000000);

    for (int n = 0; n < N_MACS; mac++)
        if (chain_of(fdb, mac) == &fdb->chains[0])
            colliding[n++] = mac;
    for (uint64_t i = 0, x = 1; i < N_MACS; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        random[i] = (x >> 16 & UINT64_C(0xFCFFFFFFFFFF)) | UINT64_C(0x020000000000);
    }
    fdb_destroy(fdb);

    /* The brute force did work ... */
    assert_int_equal(count_steps(colliding, 0, 0), N_MACS * (N_MACS + 1) / 2);
    /* ... and is worth nothing against another seed, whichever half of it differs. */
    for (uint64_t seed = 1; seed <= 16; seed++) {
        assert_in_range(count_steps(colliding, seed, 0), N_MACS, 2 * count_steps(random, seed, 0));
        assert_in_range(count_steps(colliding, 0, seed), N_MACS, 2 * count_steps(random, 0, seed));
        assert_in_range(count_steps(colliding, seed << 63 | seed, seed << 32), N_MACS,
                        2 * count_steps(random, seed, seed));
    }
}

/* Neighbouring addresses, as a manufacturer or an orchestrator hands out, spread as well as random ones. */
static void neighbouring_addresses_spread(void **state)
{
    (void)state;
    static uint64_t macs[N_MACS];

    for (uint64_t shift = 0; shift < 40; shift += 8) {
        for (uint64_t i = 0; i < N_MACS; i++)
            macs[i] = UINT64_C(0x020000000001) ^ i << shift;
        assert_in_range(count_steps(macs, 11, 12), N_MACS, N_MACS + N_MACS / 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(L04_addresses_that_collide_without_a_key_do_not_with_one),
        cmocka_unit_test(neighbouring_addresses_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

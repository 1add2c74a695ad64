/* tests/unit/daemon/test_interface_id.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>

#include "daemon/interface_id.h"

static void both_cases_are_one_id_and_come_back_in_upper_case(void **state)
{
    (void)state;
    uint8_t lower[INTERFACE_ID_SIZE], upper[INTERFACE_ID_SIZE];
    char text[INTERFACE_ID_TEXT_SIZE];
    assert_true(interface_id_parse("5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b4c", lower));
    assert_true(interface_id_parse("5B8C9D1E-7F20-4A31-9C42-D06E1F2A3B4C", upper));
    assert_memory_equal(lower, upper, sizeof(lower));
    assert_int_equal(lower[0], 0x5b);
    assert_int_equal(lower[15], 0x4c);
    interface_id_format(lower, text);
    assert_string_equal(text, "5B8C9D1E-7F20-4A31-9C42-D06E1F2A3B4C");
}

static void what_is_no_uuid_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "<nil>",
        "5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b4",
        "5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b4c0",
        "5b8c9d1e7f20-4a31-9c42-d06e1f2a3b4cab",
        "5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b4g",
        "{5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b}",
        "5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b\xc3\xa4",
        "------------------------------------",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint8_t id[INTERFACE_ID_SIZE] = {1, 2, 3};
        assert_false(interface_id_parse(wrong[i], id));
        assert_int_equal(id[0], 1);
    }
}

/* A client may have stored it: it must be the same in every version to come. */
static void address_of_an_id_never_changes(void **state)
{
    (void)state;
    uint8_t id[INTERFACE_ID_SIZE];
    assert_true(interface_id_parse("2f6c3c5e-0000-4000-8000-00000000abcd", id));
    assert_int_equal(interface_id_mac(id), UINT64_C(0x7a0858592975));
    uint8_t prefix[16];
    interface_id_prefix(id, prefix);
    static const uint8_t expected[16] = {0xfd, 0x4d, 0x31, 0x27, 0x14, 0x27};
    assert_memory_equal(prefix, expected, sizeof(prefix));
}

static void addresses_are_unicast_local_and_differ(void **state)
{
    (void)state;
    enum { N = 2000 };
    static uint64_t seen[N];
    for (unsigned i = 0; i < N; i++) {
        /* Half of them differ in a few bits only, as ids that are counted up do. */
        uint8_t id[INTERFACE_ID_SIZE] = {0};
        if (i % 2)
            assert_int_equal(interface_id_make(id), 0);
        id[14] = (uint8_t)(i >> 8);
        id[15] = (uint8_t)i;
        seen[i] = interface_id_mac(id);
        assert_int_equal(seen[i] >> 40 & 3, 2);
        assert_int_equal(seen[i] >> 48, 0);
        for (unsigned j = 0; j < i; j++)
            assert_int_not_equal(seen[i], seen[j]);
    }
}

static void made_ones_are_of_version_4(void **state)
{
    (void)state;
    uint8_t id[INTERFACE_ID_SIZE];
    assert_int_equal(interface_id_make(id), 0);
    assert_int_equal(id[6] >> 4, 4);
    assert_int_equal(id[8] >> 6, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_cases_are_one_id_and_come_back_in_upper_case),
        cmocka_unit_test(what_is_no_uuid_is_refused_and_changes_nothing),
        cmocka_unit_test(address_of_an_id_never_changes),
        cmocka_unit_test(addresses_are_unicast_local_and_differ),
        cmocka_unit_test(made_ones_are_of_version_4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

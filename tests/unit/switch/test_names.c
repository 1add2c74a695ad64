/* tests/unit/switch/test_names.c - addresses as text, names, drop reasons */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "switch/counters.h"
#include "switch/mac.h"
#include "switch/port.h"

static void address_survives_text_and_wire(void **state)
{
    (void)state;
    const uint64_t mac = UINT64_C(0x52540012abEF);
    char text[MAC_TEXT_SIZE];
    uint8_t wire[MAC_LEN];
    uint64_t parsed = 0;

    mac_format(mac, text);
    assert_string_equal(text, "52:54:00:12:ab:ef");
    assert_true(mac_parse(text, &parsed));
    assert_true(parsed == mac);
    assert_true(mac_parse("52:54:00:12:AB:Ef", &parsed));
    assert_true(parsed == mac);
    mac_store(wire, mac);
    assert_memory_equal(wire, "\x52\x54\x00\x12\xab\xef", MAC_LEN);
    assert_true(mac_load(wire) == mac);
}

static void address_text_is_taken_exactly(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "5",
        "52",
        "52:",
        "52:54:00:12:34",
        "52:54:00:12:34:",
        "52:54:00:12:34:5",
        "52:54:00:12:34:56:",
        "52:54:00:12:34:567",
        "52:54:00:12:34:56 ",
        " 52:54:00:12:34:56",
        "52-54-00-12-34-56",
        "52:54:00:12:34:5g",
        "52:54:00:12:34:+5",
        "5:54:00:12:34:56",
        "525400123456",
        "52:54:00:12:34.56",
    };
    uint64_t mac = 7;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(mac_parse(bad[i], &mac));
    assert_true(mac == 7);
}

static void group_and_reserved_addresses_are_known(void **state)
{
    (void)state;
    assert_true(mac_is_group(UINT64_C(0xFFFFFFFFFFFF)));
    assert_true(mac_is_group(UINT64_C(0x3333000000FB)));
    assert_false(mac_is_group(UINT64_C(0x525400123456)));
    assert_true(mac_is_reserved(UINT64_C(0x0180C2000000)));
    assert_true(mac_is_reserved(UINT64_C(0x0180C200000F)));
    assert_false(mac_is_reserved(UINT64_C(0x0180C2000010)));
    assert_false(mac_is_reserved(UINT64_C(0x0080C2000000)));
}

static void names_are_short_and_plain(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "-a",
                                      "_a",
                                      "A",
                                      "aB",
                                      "a.b",
                                      "a/b",
                                      "a b",
                                      "..",
                                      "\xc3\xa9",
                                      "a23456789012345678901234567890123"};

    assert_true(port_name_is_valid("a"));
    assert_true(port_name_is_valid("0"));
    assert_true(port_name_is_valid("vm-1_x"));
    assert_true(port_name_is_valid("a2345678901234567890123456789012"));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(port_name_is_valid(bad[i]));
}

static void every_reason_has_its_own_name(void **state)
{
    (void)state;
    for (int i = 0; i < DROP_N_REASONS; i++) {
        assert_true(drop_reason_name((enum drop_reason)i)[0] != '\0');
        assert_true(drop_reason_sentence((enum drop_reason)i)[0] != '\0');
        for (int k = 0; k < i; k++)
            assert_string_not_equal(drop_reason_name((enum drop_reason)i),
                                    drop_reason_name((enum drop_reason)k));
    }
    assert_string_equal(drop_reason_name(DROP_queue_full), "queue_full");
}

static void counters_add_up(void **state)
{
    (void)state;
    struct counters a = {.frames_in = 1, .bytes_in = 2, .frames_out = 3, .bytes_out = 4, .flood_copies = 5};
    struct counters b = {
        .frames_in = 10, .bytes_in = 20, .frames_out = 30, .bytes_out = 40, .flood_copies = 50};

    for (int i = 0; i < DROP_N_REASONS; i++)
        b.drops[i] = (uint64_t)i + 1;
    counters_add(&a, &b);
    assert_int_equal(a.frames_in, 11);
    assert_int_equal(a.bytes_in, 22);
    assert_int_equal(a.frames_out, 33);
    assert_int_equal(a.bytes_out, 44);
    assert_int_equal(a.flood_copies, 55);
    assert_memory_equal(a.drops, b.drops, sizeof(a.drops));
    assert_int_equal(counters_dropped(&a), DROP_N_REASONS * (DROP_N_REASONS + 1) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_survives_text_and_wire),
        cmocka_unit_test(address_text_is_taken_exactly),
        cmocka_unit_test(group_and_reserved_addresses_are_known),
        cmocka_unit_test(names_are_short_and_plain),
        cmocka_unit_test(every_reason_has_its_own_name),
        cmocka_unit_test(counters_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tests/unit/daemon/test_message.c - the table of messages */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/channel.h"
#include "daemon/message.h"

static void a_size_is_valid_for_its_own_type_alone(void **state)
{
    (void)state;
    assert_true(message_size_is_valid(MSG_HELLO, sizeof(struct hello)));
    assert_false(message_size_is_valid(MSG_HELLO, sizeof(struct hello) - 1));
    assert_false(message_size_is_valid(MSG_HELLO, sizeof(struct hello) + 1));
    assert_true(message_size_is_valid(MSG_BEGIN, 0));
    assert_false(message_size_is_valid(MSG_BEGIN, 1));
    assert_false(message_size_is_valid(MSG_NONE, 0));
    assert_false(message_size_is_valid(MSG_N, 0));
    assert_false(message_size_is_valid(UINT16_MAX, 0));
}

static void every_type_has_a_size_that_fits_and_a_name(void **state)
{
    (void)state;
    for (unsigned t = MSG_NONE + 1; t < MSG_N; t++) {
        const uint16_t type = (uint16_t)t;
        unsigned n_sizes = 0;
        for (uint32_t len = 0; len <= CHANNEL_PAYLOAD_MAX; len++)
            n_sizes += message_size_is_valid(type, len);
        assert_int_equal(n_sizes, 1);
        assert_true(strlen(message_name(type)) > 1);
        for (uint16_t other = MSG_NONE + 1; other < type; other++)
            assert_string_not_equal(message_name(type), message_name(other));
    }
    assert_string_equal(message_name(MSG_NONE), "?");
    assert_string_equal(message_name(MSG_N), "?");
}

static void a_text_must_end_within_its_field(void **state)
{
    (void)state;
    static const char text[4] = {'a', 'b', 'c', 'd'};
    assert_false(message_text_ok(text, sizeof(text)));
    assert_true(message_text_ok("abc", 4));
    assert_true(message_text_ok("", 1));
    assert_false(message_text_ok("abc", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_is_valid_for_its_own_type_alone),
        cmocka_unit_test(every_type_has_a_size_that_fits_and_a_name),
        cmocka_unit_test(a_text_must_end_within_its_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* JSON text of a hostile sender: refused before anything recurses or grows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/spec_json.h"

static char why[160];
static int line;

static bool is_taken(const char *text, size_t len)
{
    json_t *json = json_parse_limited(text, len, why, sizeof(why), &line);

    json_decref(json);
    return json != NULL;
}

static void assert_refused(const char *text, const char *reason)
{
    if (is_taken(text, strlen(text)))
        fail_msg("taken: %s", text);
    if (!strstr(why, reason))
        fail_msg("%s: %s", text, why);
}

static void nest(char *text, int depth)
{
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    text[2 * depth] = '\0';
}

/* A06 */
static void depth_32_is_taken_and_33_is_not(void **state)
{
    char text[80];

    (void)state;
    nest(text, 32);
    assert_true(is_taken(text, strlen(text)));
    nest(text, 33);
    assert_refused(text, "deeper than 32");
}

/* A06 */
static void million_brackets_need_no_stack(void **state)
{
    char *text = malloc(1000000);

    (void)state;
    memset(text, '[', 1000000);
    assert_false(is_taken(text, 1000000));
    free(text);
}

static void object_has_64_keys_at_most(void **state)
{
    char text[1024] = "{";
    size_t len = 1;

    (void)state;
    for (int i = 0; i < 64; i++)
        len += (size_t)sprintf(text + len, "%s\"k%d\":1", i ? "," : "", i);
    strcpy(text + len, "}");
    assert_true(is_taken(text, strlen(text)));
    strcpy(text + len, ",\"k\":1}");
    assert_refused(text, "more than 64 keys");
}

/* Neighbours do not share their counts. */
static void keys_are_counted_per_object(void **state)
{
    char *text = malloc(8192);
    size_t len = (size_t)sprintf(text, "[");

    (void)state;
    for (int i = 0; i < 200; i++)
        len += (size_t)sprintf(text + len, "%s{\"a\":1,\"b\":{\"c\":2}}", i ? "," : "");
    strcpy(text + len, "]");
    assert_true(is_taken(text, strlen(text)));
    free(text);
}

/* A08 */
static void string_has_4_kib_at_most(void **state)
{
    char text[4200] = "[\"";

    (void)state;
    memset(text + 2, 'a', 4096);
    strcpy(text + 2 + 4096, "\"]");
    assert_true(is_taken(text, strlen(text)));
    strcpy(text + 2 + 4096, "a\"]");
    assert_refused(text, "longer than 4096");
}

/* A08 */
static void bad_text_is_refused(void **state)
{
    (void)state;
    assert_refused("[\"\xff\"]", "unable to decode");
    assert_refused("[\"\xc0\x80\"]", "unable to decode");
    assert_refused("[\"\xed\xa0\x80\"]", "unable to decode");
    assert_refused("[\"\\ud800\"]", "");
    assert_refused("[\"\\udc00\\ud800\"]", "");
    assert_refused("[\"\\u0000\"]", "");
    assert_refused("[\"\x01\"]", "control");
    assert_false(is_taken("[\"a\0b\"]", 7));
    assert_false(is_taken("[1]\0", 4));
    assert_refused("{\"a\": 1, \"a\": 2}", "duplicate");
    assert_refused("", "nothing");
    assert_refused("\"text\"", "");
    assert_refused("{} {}", "");
    assert_refused("{\"a\": }", "");
    assert_refused("[\"", "");
    assert_refused("[\"\\", "");
}

/* A09 */
static void numbers_out_of_range_are_refused_with_their_field(void **state)
{
    (void)state;
    assert_refused("{\"mtu\": 1e400}", "\"mtu\": the number 1e400");
    assert_refused("{\"mtu\": -1e400}", "\"mtu\"");
    assert_refused("{\"mtu\": 9007199254740993}", "\"mtu\"");
    assert_refused("{\"mtu\": -9007199254740993}", "\"mtu\"");
    assert_refused("{\"mtu\": 10000000000000000000000000000000000000000000000}", "\"mtu\"");
    assert_true(is_taken("{\"mtu\": 9007199254740991}", 25));
    assert_true(is_taken("{\"mtu\": -1.5e300}", 17));
}

static void line_is_counted_from_one(void **state)
{
    (void)state;
    assert_refused("{\"a\": 1,\n\n  \"b\": oops}", "");
    assert_int_equal(line, 3);
    assert_refused("oops", "");
    assert_int_equal(line, 1);
    assert_refused("[\n\n\n1e999]", "range");
    assert_int_equal(line, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depth_32_is_taken_and_33_is_not),
        cmocka_unit_test(million_brackets_need_no_stack),
        cmocka_unit_test(object_has_64_keys_at_most),
        cmocka_unit_test(keys_are_counted_per_object),
        cmocka_unit_test(string_has_4_kib_at_most),
        cmocka_unit_test(bad_text_is_refused),
        cmocka_unit_test(numbers_out_of_range_are_refused_with_their_field),
        cmocka_unit_test(line_is_counted_from_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

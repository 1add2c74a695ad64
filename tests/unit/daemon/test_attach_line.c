#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "daemon/attach_line.h"

static struct attach_line line;
static char why[ATTACH_WHY_SIZE];

static int parse(const char *text)
{
    return attach_line_parse(text, strlen(text), &line, why);
}

static void network_alone_is_enough(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"network\":\"shared\"}"), 0);
    assert_string_equal(line.network, "shared");
    assert_string_equal(line.port, "");
    assert_false(line.has_kind);
    assert_false(line.persist);
    assert_false(line.has_offload);
}

static void every_field_is_taken(void **state)
{
    (void)state;
    assert_int_equal(parse("{\"network\":\"lab\",\"kind\":\"datagram\",\"port\":\"vm-1\",\"persist\":true}"),
                     0);
    assert_true(line.has_kind);
    assert_false(line.wants_stream);
    assert_string_equal(line.port, "vm-1");
    assert_true(line.persist);
    assert_int_equal(parse("{\"network\":\"lab\",\"offload\":\"raw\"}"), 0);
    assert_true(line.has_offload);
    assert_int_equal(line.offload, OFFLOAD_RAW);
    assert_false(line.isolated);
    assert_int_equal(parse("{\"network\":\"lab\",\"isolated\":true}"), 0);
    assert_true(line.isolated);
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *text, *part;
    } wrong[] = {
        {"", "JSON"},
        {"[]", "object"},
        {"{}", "network"},
        {"{\"network\":7}", "network"},
        {"{\"network\":\"../x\"}", "network"},
        {"{\"network\":\"a\",\"port\":\"\"}", "port"},
        {"{\"network\":\"a\",\"port\":\"A\"}", "port"},
        {"{\"network\":\"a\",\"kind\":\"tap\"}", "kind"},
        {"{\"network\":\"a\",\"persist\":1}", "persist"},
        {"{\"network\":\"a\",\"isolated\":\"yes\"}", "isolated"},
        {"{\"network\":\"a\",\"offload\":\"\"}", "offload"},
        {"{\"network\":\"a\",\"offload\":null}", "offload"},
        {"{\"network\":\"a\",\"fd\":1}", "\"fd\""},
        {"{\"network\":\"a\",\"network\":\"b\"}", "JSON"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(parse(wrong[i].text), -1);
        if (!strstr(why, wrong[i].part))
            fail_msg("%s: \"%s\" does not name %s", wrong[i].text, why, wrong[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(network_alone_is_enough),
        cmocka_unit_test(every_field_is_taken),
        cmocka_unit_test(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

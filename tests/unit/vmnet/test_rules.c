/* tests/unit/vmnet/test_rules.c - which port forwards are asked for, and when */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "io/vmnet_rules.h"
#include "io/vmnet_status_darwin.h"

static struct vmnet_rules rules;
static char asked[1024]; /* "+80 -81 " */
static int slot_of[256]; /* of the last question about a host port */

static void ask(void *ctx, unsigned slot, bool is_add, const struct vmnet_rule *rule)
{
    (void)ctx;
    size_t used = strlen(asked);
    snprintf(asked + used, sizeof(asked) - used, "%c%u>%u ", is_add ? '+' : '-', (unsigned)rule->host_port,
             (unsigned)rule->guest_port);
    slot_of[rule->host_port] = (int)slot;
}

static struct vmnet_rule rule_of(uint16_t host_port, uint16_t guest_port)
{
    return (struct vmnet_rule){.host_port = host_port, .guest_port = guest_port, .guest = 0x0A000009};
}

static int64_t turn_at(uint64_t now_ms)
{
    asked[0] = 0;
    return rules_turn(&rules, now_ms, ask, NULL);
}

static void answer(uint16_t host_port, bool is_good, uint64_t now_ms)
{
    rules_answer(&rules, (unsigned)slot_of[host_port], is_good, is_good ? 1000 : 1001, now_ms);
}

static int forget(void **state)
{
    (void)state;
    memset(&rules, 0, sizeof(rules));
    return 0;
}

static void what_is_wanted_is_asked_for_once_and_what_is_not_goes(void **state)
{
    (void)state;
    const struct vmnet_rule first[] = {rule_of(80, 8080), rule_of(81, 8081)}, then[] = {rule_of(81, 8081)};
    rules_want(&rules, first, 2);
    assert_int_equal(turn_at(0), VMNET_RULE_MS);
    assert_string_equal(asked, "+80>8080 +81>8081 ");
    turn_at(1);
    assert_string_equal(asked, "");
    answer(80, true, 2);
    answer(81, true, 2);
    assert_int_equal(turn_at(3), -1);
    rules_want(&rules, then, 1);
    turn_at(4);
    assert_string_equal(asked, "-80>8080 ");
    answer(80, true, 5);
    assert_int_equal(turn_at(6), -1);
    assert_string_equal(asked, "");
}

static void a_port_is_taken_over_only_when_it_is_free(void **state)
{
    (void)state;
    const struct vmnet_rule first[] = {rule_of(80, 8080)}, then[] = {rule_of(80, 9090)};
    rules_want(&rules, first, 1);
    turn_at(0);
    rules_want(&rules, then, 1); /* before there was an answer */
    turn_at(1);
    assert_string_equal(asked, "");
    answer(80, true, 2);
    turn_at(3);
    assert_string_equal(asked, "-80>8080 ");
    answer(80, false, 4); /* vmnet could not: there is nothing better to do than to go on */
    turn_at(5);
    assert_string_equal(asked, "+80>9090 ");
}

static void one_that_failed_is_said_and_tried_again_later(void **state)
{
    (void)state;
    const struct vmnet_rule both[] = {rule_of(80, 8080), rule_of(81, 8081)};
    const struct vmnet_rule *failed;
    uint32_t status;
    unsigned n_more;
    rules_want(&rules, both, 2);
    turn_at(0);
    assert_false(rules_failure(&rules, &failed, &status, &n_more));
    answer(80, false, 10);
    answer(81, false, 10);
    assert_true(rules_failure(&rules, &failed, &status, &n_more));
    assert_int_equal(failed->host_port, 80);
    assert_int_equal(status, 1001);
    assert_int_equal(n_more, 1);
    assert_int_equal(turn_at(11), VMNET_RULE_RETRY_MS - 1);
    assert_string_equal(asked, "");
    turn_at(10 + VMNET_RULE_RETRY_MS);
    assert_string_equal(asked, "+80>8080 +81>8081 ");
    answer(80, true, 3000);
    answer(81, true, 3000);
    assert_false(rules_failure(&rules, &failed, &status, &n_more));
    rules_want(&rules, both, 0);
    turn_at(3001);
    assert_string_equal(asked, "-80>8080 -81>8081 ");
}

static void one_without_an_answer_has_failed_until_the_answer_comes(void **state)
{
    (void)state;
    const struct vmnet_rule one[] = {rule_of(80, 8080)};
    const struct vmnet_rule *failed;
    uint32_t status;
    unsigned n_more;
    rules_want(&rules, one, 1);
    turn_at(0);
    turn_at(VMNET_RULE_MS);
    assert_true(rules_failure(&rules, &failed, &status, &n_more));
    assert_int_equal(status, VMNET_STATUS_SILENT);
    answer(80, true, VMNET_RULE_MS + 1);
    assert_false(rules_failure(&rules, &failed, &status, &n_more));
    assert_int_equal(turn_at(VMNET_RULE_MS + 2), -1);
}

static void all_of_them_can_be_changed_at_once(void **state)
{
    struct vmnet_rule first[VMNET_RULES_MAX], then[VMNET_RULES_MAX];
    (void)state;
    for (int i = 0; i < VMNET_RULES_MAX; i++) {
        first[i] = rule_of((uint16_t)(1 + i), 1);
        then[i] = rule_of((uint16_t)(100 + i), 1);
    }
    rules_want(&rules, first, VMNET_RULES_MAX);
    turn_at(0);
    for (int i = 0; i < VMNET_RULES_MAX; i++)
        answer((uint16_t)(1 + i), true, 1);
    rules_want(&rules, then, VMNET_RULES_MAX);
    turn_at(2);
    for (int i = 0; i < VMNET_RULES_MAX; i++) {
        answer((uint16_t)(1 + i), true, 3);
        answer((uint16_t)(100 + i), true, 3);
    }
    assert_int_equal(turn_at(4), -1);
    assert_string_equal(asked, "");
}

#define TEST(name) cmocka_unit_test_setup(name, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_wanted_is_asked_for_once_and_what_is_not_goes),
        TEST(a_port_is_taken_over_only_when_it_is_free),
        TEST(one_that_failed_is_said_and_tried_again_later),
        TEST(one_without_an_answer_has_failed_until_the_answer_comes),
        TEST(all_of_them_can_be_changed_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

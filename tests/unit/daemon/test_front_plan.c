/* tests/unit/daemon/test_front_plan.c - which uplink a stand-alone program has */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "api/spec_json.h"
#include "daemon/front.h"
#include "daemon/roles.h"

static char why[256];

/* The uplink of 'mode' with VMSWITCH_UPLINK 'wanted'; WANT_AUTO if it is refused. */
static enum network_uplink choose(enum network_mode mode, const char *wanted)
{
    struct network_spec spec;
    why[0] = '\0';
    network_spec_init(&spec, "test", mode);
    return front_choose_uplink(&spec, wanted, why, sizeof(why)) == 0 ? spec.uplink : WANT_AUTO;
}

static void auto_is_what_the_system_has(void **state)
{
    static const char *const unset[] = {NULL, "", "<nil>", "auto"};
    const bool has_vmnet = vmnet_role_exists();
    (void)state;
    for (size_t i = 0; i < sizeof(unset) / sizeof(unset[0]); i++) {
        assert_int_equal(choose(MODE_SHARED, unset[i]), has_vmnet ? WANT_VMNET : WANT_USER);
        assert_int_equal(choose(MODE_HOST, unset[i]), has_vmnet ? WANT_VMNET : WANT_TAP);
    }
}

static void the_variable_decides(void **state)
{
    (void)state;
    assert_int_equal(choose(MODE_SHARED, "user"), WANT_USER);
    assert_int_equal(choose(MODE_SHARED, "none"), WANT_NONE);
    assert_int_equal(choose(MODE_HOST, "none"), WANT_NONE);
    if (vmnet_role_exists())
        return; /* no TAPs there */
    assert_int_equal(choose(MODE_SHARED, "tap"), WANT_TAP);
    assert_int_equal(choose(MODE_HOST, "tap"), WANT_TAP);
}

static void what_cannot_be_is_said(void **state)
{
    (void)state;
    assert_int_equal(choose(MODE_HOST, "user"), WANT_AUTO);
    assert_non_null(strstr(why, "VMSWITCH_UPLINK=user"));
    assert_int_equal(choose(MODE_SHARED, "bridge\n"), WANT_AUTO);
    assert_non_null(strstr(why, "VMSWITCH_UPLINK=bridge\\x0a: choose auto, tap, user, none or vmnet"));
    if (vmnet_role_exists())
        return;
    assert_int_equal(choose(MODE_SHARED, "vmnet"), WANT_AUTO);
    assert_non_null(strstr(why, "macOS only"));
}

static void addresses_are_checked(void **state)
{
    struct network_spec spec;
    (void)state;
    network_spec_init(&spec, "test", MODE_SHARED);
    spec.ipv4.dhcp_end = 0x0A000001;
    assert_int_equal(front_choose_uplink(&spec, "tap", why, sizeof(why)), -1);
    assert_non_null(strstr(why, "dhcp_end must be in the gateway's subnet"));
}

static void a_tap_has_no_ipv6(void **state)
{
    struct network_spec spec;
    (void)state;
    network_spec_init(&spec, "test", MODE_SHARED);
    spec.ipv6.has_prefix = true;
    spec.uplink = WANT_USER;
    front_fit_to_tap(&spec);
    assert_true(spec.ipv6.has_prefix);
    spec.uplink = WANT_TAP;
    front_fit_to_tap(&spec);
    assert_false(spec.ipv6.has_prefix);
}

static void a_name_is_one_and_stays(void **state)
{
    char a[NETWORK_NAME_SIZE], b[NETWORK_NAME_SIZE], c[NETWORK_NAME_SIZE];
    (void)state;
    front_make_name("sv", "/var/run/socket_vmnet", a);
    front_make_name("sv", "/var/run/socket_vmnet", b);
    front_make_name("sv", "/var/run/socket_vmnet.bridged.en0", c);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_true(port_name_is_valid(a) && port_name_is_valid(c));
}

static void a_relative_path_has_the_name_of_the_whole(void **state)
{
    char whole[NETWORK_NAME_SIZE], relative[NETWORK_NAME_SIZE], elsewhere[NETWORK_NAME_SIZE];
    (void)state;
    assert_int_equal(chdir("/usr/lib"), 0);
    front_make_name("sv", "s", relative);
    front_make_name("sv", "/usr/lib/s", whole);
    assert_string_equal(relative, whole);
    assert_int_equal(chdir("/usr"), 0);
    front_make_name("sv", "s", elsewhere);
    assert_string_not_equal(relative, elsewhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_is_what_the_system_has),
        cmocka_unit_test(the_variable_decides),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(a_tap_has_no_ipv6),
        cmocka_unit_test(a_name_is_one_and_stays),
        cmocka_unit_test(a_relative_path_has_the_name_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tests/unit/vmnet/test_spec.c - what a network may ask of vmnet, by the macOS that runs */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/spec_json.h"
#include "io/system_version_darwin.h"
#include "io/vmnet_features.h"

static struct network_spec spec;
static struct spec_error error;

static int check(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    if (!json)
        fail_msg("no JSON: %s", text);
    int r = network_spec_from_json(json, "n", &spec, &error);
    json_decref(json);
    if (r < 0)
        fail_msg("%s: %s %s", text, error.field, error.rule);
    return network_spec_check(&spec, &error);
}

static void assert_taken(const char *text)
{
    if (check(text) < 0)
        fail_msg("%s: %s %s", text, error.field, error.rule);
}

static void assert_refused(const char *text, const char *field, const char *rule)
{
    if (check(text) == 0)
        fail_msg("taken: %s", text);
    if (strcmp(error.field, field) != 0 || !strstr(error.rule, rule))
        fail_msg("%s: %s %s", text, error.field, error.rule);
}

#define VMNET(mode, rest) "{\"mode\": \"" mode "\", \"uplink\": \"vmnet\", " rest "}"

static int forget_version(void **state)
{
    (void)state;
    system_version_pretend(0);
    return 0;
}

static void what_an_old_macos_cannot_do_is_refused_with_the_version_that_can(void **state)
{
    static const struct {
        const char *text, *field;
    } rows[] = {
        {VMNET("shared", "\"ipv4\": {\"dhcp\": false}"), "/ipv4/dhcp"},
        {VMNET("shared", "\"ipv4\": {\"reservations\": [{\"mac\": \"52:54:00:00:00:01\", \"address\": "
                         "\"192.168.105.9\"}]}"),
         "/ipv4/reservations"},
        {VMNET("shared", "\"vmnet\": {\"nat44\": false}"), "/vmnet/nat44"},
        {VMNET("shared", "\"vmnet\": {\"nat66\": false}"), "/vmnet/nat66"},
        {VMNET("host", "\"vmnet\": {\"dns_proxy\": false}"), "/vmnet/dns_proxy"},
        {VMNET("host", "\"vmnet\": {\"router_advertisement\": false}"), "/vmnet/router_advertisement"},
        {VMNET("shared", "\"vmnet\": {\"external_interface\": \"en7\"}"), "/vmnet/external_interface"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        system_version_pretend(1507);
        assert_refused(rows[i].text, rows[i].field, "needs macOS 26 or later");
        system_version_pretend(2600);
        assert_taken(rows[i].text);
    }
}

static void every_macos_takes_the_defaults_and_the_switches_of_offload(void **state)
{
    static const int versions[] = {1300, 1504, 2602};
    (void)state;
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        system_version_pretend(versions[i]);
        assert_taken(VMNET("shared", "\"ipv4\": null"));
        assert_taken(VMNET("host", "\"vmnet\": {\"tso\": false, \"checksum_offload\": false}"));
        assert_taken(
            VMNET("bridged", "\"interface\": \"en0\", \"mtu\": 9000, \"vmnet\": {\"virtio_header\": false}"));
        assert_taken(VMNET("shared", "\"vmnet\": {\"isolation\": true, \"interface_id\": "
                                     "\"8f14e45f-ceea-467f-a1d3-5f3c9b1d2e4a\"}"));
        assert_taken(VMNET("host", "\"vmnet\": {\"network_id\": \"8f14e45f-ceea-467f-a1d3-5f3c9b1d2e4a\", "
                                   "\"host_ipv6\": \"fd00::1\"}"));
        assert_taken(VMNET("shared", "\"ipv6\": {\"prefix\": \"fd00:1:2:3::/64\"}"));
    }
}

static void what_does_not_fit_the_mode_is_refused_by_name(void **state)
{
    (void)state;
    system_version_pretend(2602);
    assert_refused(VMNET("bridged", "\"interface\": \"en0\", \"vmnet\": {\"nat44\": false}"), "/vmnet/nat44",
                   "bridged");
    assert_refused(VMNET("bridged", "\"interface\": \"en0\", \"vmnet\": {\"isolation\": true}"),
                   "/vmnet/isolation", "bridged");
    assert_refused(VMNET("host", "\"vmnet\": {\"external_interface\": \"en0\"}"), "/vmnet/external_interface",
                   "shared");
    assert_refused(VMNET("shared", "\"vmnet\": {\"network_id\": \"8f14e45f-ceea-467f-a1d3-5f3c9b1d2e4a\"}"),
                   "/vmnet/network_id", "host");
    assert_refused(VMNET("host", "\"ipv4\": {\"dhcp\": true}, \"vmnet\": {\"host_ipv6\": \"fd00::1\"}"),
                   "/vmnet/host_ipv6", "dhcp");
    assert_refused(VMNET("shared", "\"ipv6\": {\"prefix\": \"2001:db8::/64\"}"), "/ipv6/prefix", "fd00::/8");
    assert_refused("{\"mode\": \"shared\", \"uplink\": \"user\", \"vmnet\": {\"tso\": false}}", "/vmnet",
                   "uplink");
}

#define FORWARD(host, ipv4)                                                                                  \
    VMNET("shared",                                                                                          \
          ipv4 "\"forwards\": [{\"proto\": \"tcp\", \"host\": " host ", \"guest\": \"192.168.105.5:80\"}]")

static void a_forward_of_vmnet_is_from_any_address_of_the_mac(void **state)
{
    (void)state;
    assert_taken(FORWARD("\"0.0.0.0:8080\"", ""));
    assert_refused(FORWARD("8080", ""), "/forwards/0/host", "\"0.0.0.0:8080\"");
    assert_refused(FORWARD("\"0.0.0.0:8080\"", "\"ipv4\": null, "), "/forwards", "\"ipv4\" is null");
    assert_refused(
        "{\"mode\": \"host\", \"uplink\": \"vmnet\", \"forwards\": [{\"proto\": \"tcp\", \"host\": "
        "\"0.0.0.0:8080\", \"guest\": \"192.168.106.5:80\"}]}",
        "/forwards", "shared");
}

static void reservations_are_guests_of_the_subnet_and_differ(void **state)
{
#define TWO(one, other)                                                                                      \
    VMNET("shared", "\"ipv4\": {\"gateway\": \"10.0.0.1\", \"reservations\": [" one ", " other "]}")
#define ROW(mac, address) "{\"mac\": \"52:54:00:00:00:0" mac "\", \"address\": \"10.0.0." address "\"}"
    (void)state;
    system_version_pretend(2600);
    assert_taken(TWO(ROW("1", "8"), ROW("2", "9")));
    assert_refused(TWO(ROW("1", "8"), ROW("2", "8")), "/ipv4/reservations/1/address", "differ");
    assert_refused(TWO(ROW("1", "8"), ROW("1", "9")), "/ipv4/reservations/1/mac", "differ");
    assert_refused(TWO(ROW("1", "1"), ROW("2", "9")), "/ipv4/reservations/0/address", "guest's");
    assert_refused(TWO(ROW("1", "255"), ROW("2", "9")), "/ipv4/reservations/0/address", "guest's");
    assert_refused(VMNET("shared",
                         "\"ipv4\": {\"dhcp\": false, \"reservations\": [{\"mac\": \"52:54:00:00:00:01\", "
                         "\"address\": \"192.168.105.9\"}]}"),
                   "/ipv4/reservations", "nobody gives out");
}

static void a_version_is_read_as_the_system_writes_it(void **state)
{
    (void)state;
    assert_int_equal(system_version_parse("15.4"), 1504);
    assert_int_equal(system_version_parse("15.4.1"), 1504);
    assert_int_equal(system_version_parse("13"), 1300);
    assert_int_equal(system_version_parse("26.2"), 2602);
    assert_int_equal(system_version_parse("16.2"), 2602); /* to a program of an older SDK */
    assert_int_equal(system_version_parse("x"), 0);
    assert_int_equal(system_version_parse(""), 0);
    assert_int_equal(system_version(), 1504); /* the double's */
}

#define TEST(name) cmocka_unit_test_teardown(name, forget_version)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_an_old_macos_cannot_do_is_refused_with_the_version_that_can),
        TEST(every_macos_takes_the_defaults_and_the_switches_of_offload),
        TEST(what_does_not_fit_the_mode_is_refused_by_name),
        TEST(a_forward_of_vmnet_is_from_any_address_of_the_mac),
        TEST(reservations_are_guests_of_the_subnet_and_differ),
        TEST(a_version_is_read_as_the_system_writes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

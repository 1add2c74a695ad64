/* tests/unit/vmnet/test_settings.c - a network's JSON, and what vmnet is told of it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "api/spec_json.h"
#include "daemon/vmnet_settings.h"
#include "io/system_version_darwin.h"

static struct vmnet_settings settings;

static void read_settings(const char *text)
{
    struct network_spec spec;
    struct spec_error error;
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    if (network_spec_from_json(json, "lab", &spec, &error) < 0)
        fail_msg("%s %s", error.field, error.rule);
    json_decref(json);
    vmnet_settings_of(&spec, &settings);
}

static void the_defaults_ask_for_nothing_special(void **state)
{
    uint8_t id[VMNET_ID_SIZE];
    (void)state;
    read_settings("{\"mode\": \"shared\", \"ipv4\": null}");
    vmnet_interface_id("lab", id);
    assert_memory_equal(settings.interface_id, id, sizeof(id));
    assert_memory_equal(settings.network_id, id, sizeof(id));
    assert_true(settings.has_dhcp && settings.gateway == 0 && settings.mtu == 0 && !settings.is_isolated);
    assert_false(settings.has_no_nat44 || settings.has_no_nat66 || settings.has_no_dns_proxy ||
                 settings.has_no_router_advertisement || settings.has_host_ipv6);
    assert_int_equal(settings.n_reservations, 0);
    assert_true(settings.wants_tso && settings.wants_checksum_offload && settings.wants_virtio_header);
    system_version_pretend(1503); /* the header came with 15.4 */
    read_settings("{\"mode\": \"shared\"}");
    assert_true(settings.wants_tso && settings.wants_checksum_offload && !settings.wants_virtio_header);
    system_version_pretend(0);
    read_settings("{\"mode\": \"shared\", \"vmnet\": {\"tso\": false, \"checksum_offload\": false, "
                  "\"virtio_header\": false}}");
    assert_false(settings.wants_tso || settings.wants_checksum_offload || settings.wants_virtio_header);
}

static void everything_that_is_said_arrives(void **state)
{
    (void)state;
    read_settings("{\"mode\": \"shared\", \"mtu\": 9000, \"ipv4\": {\"gateway\": \"10.0.0.1\", "
                  "\"reservations\": [{\"mac\": "
                  "\"52:54:00:00:00:01\", \"address\": \"10.0.0.9\"}]}, \"ipv6\": {\"prefix\": "
                  "\"fd00:1:2:3::/64\"}, \"vmnet\": "
                  "{\"interface_id\": \"01000000-0000-0000-0000-000000000000\", \"network_id\": "
                  "\"02000000-0000-0000-0000-000000000000\", \"host_ipv6\": \"fd00::1\", \"nat44\": false, "
                  "\"nat66\": false, "
                  "\"dns_proxy\": false, \"router_advertisement\": false, \"external_interface\": \"en7\"}}");
    assert_int_equal(settings.interface_id[0], 1);
    assert_int_equal(settings.network_id[0], 2);
    assert_int_equal(settings.gateway, 0x0A000001);
    assert_int_equal(settings.dhcp_end, 0x0A0000FE);
    assert_int_equal(settings.mtu, 9000);
    assert_true(settings.has_host_ipv6 && settings.host_ipv6[0] == 0xFD && settings.host_ipv6[15] == 1);
    assert_true(settings.has_no_nat44 && settings.has_no_nat66 && settings.has_no_dns_proxy &&
                settings.has_no_router_advertisement);
    assert_string_equal(settings.external_interface, "en7");
    assert_string_equal(settings.nat66_prefix, "fd00:1:2:3::");
    assert_int_equal(settings.n_reservations, 1);
    assert_int_equal(settings.reservations[0].mac, 0x525400000001);
    assert_int_equal(settings.reservations[0].address, 0x0A000009);
}

static void vmnets_isolation_is_the_networks_unless_it_is_said(void **state)
{
    (void)state;
    read_settings("{\"mode\": \"shared\", \"isolated\": true}");
    assert_true(settings.is_isolated);
    read_settings("{\"mode\": \"shared\", \"isolated\": true, \"vmnet\": {\"isolation\": false}}");
    assert_false(settings.is_isolated);
    read_settings("{\"mode\": \"shared\", \"vmnet\": {\"isolation\": true}}");
    assert_true(settings.is_isolated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_ask_for_nothing_special),
        cmocka_unit_test(everything_that_is_said_arrives),
        cmocka_unit_test(vmnets_isolation_is_the_networks_unless_it_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

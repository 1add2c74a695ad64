/* Views: the field names users rely on, and null where nothing is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <time.h>

#include "api/json_out.h"
#include "api/spec_json.h"
#include "api/views.h"

static const json_t *at(const json_t *json, const char *a, const char *b)
{
    const json_t *found = json_object_get(json, a);

    if (b)
        found = json_object_get(found, b);
    if (!found)
        fail_msg("no field %s %s", a, b ? b : "");
    return found;
}

static void assert_text(const json_t *json, const char *a, const char *b, const char *text)
{
    assert_string_equal(json_string_value(at(json, a, b)), text);
}

static void assert_count(const json_t *json, const char *a, const char *b, json_int_t count)
{
    assert_true(json_is_integer(at(json, a, b)));
    assert_int_equal(json_integer_value(at(json, a, b)), count);
}

static void assert_is_null(const json_t *json, const char *a, const char *b)
{
    assert_true(json_is_null(at(json, a, b)));
}

static const struct fdb_snapshot fdb[] = {
    {.mac = 0x525400123456, .port = "vm1", .age_s = 3},
    {.mac = 0x525400123457, .port = "vm2", .is_static = true},
    {.mac = 0x525400123458, .port = "vm1"},
};

static void port_shows_its_peer_addresses_and_every_drop(void **state)
{
    struct port_snapshot port = {.name = "vm1",
                                 .kind = "stream",
                                 .via = "path",
                                 .is_up = true,
                                 .enabled = true,
                                 .has_peer = true,
                                 .uid = 501,
                                 .gid = 20,
                                 .queued = 7,
                                 .queued_bytes = 9000,
                                 .frame_max = 65550,
                                 .offload = OFFLOAD_VIRTIO,
                                 .is_stalled = true};
    json_t *view;

    (void)state;
    port.counters.frames_in = 10;
    port.counters.drops[DROP_queue_full] = 5;
    view = view_port(&port, fdb, 3, "/run/x.stream", NULL);
    assert_text(view, "name", NULL, "vm1");
    assert_text(view, "kind", NULL, "stream");
    assert_text(view, "via", NULL, "path");
    assert_text(view, "state", NULL, "up");
    assert_text(view, "link", NULL, "up");
    assert_text(view, "role", NULL, "vm");
    assert_count(view, "uid", NULL, 501);
    assert_count(view, "gid", NULL, 20);
    assert_is_null(view, "pid", NULL);
    assert_int_equal(json_array_size(at(view, "addresses", NULL)), 2);
    assert_string_equal(json_string_value(json_array_get(at(view, "addresses", NULL), 0)),
                        "52:54:00:12:34:56");
    assert_count(view, "frames_in", NULL, 10);
    assert_count(view, "bytes_out", NULL, 0);
    assert_count(view, "queued", NULL, 7);
    assert_count(view, "queued_bytes", NULL, 9000);
    assert_text(view, "offload", NULL, "virtio");
    assert_count(view, "frame_max", NULL, 65550);
    assert_count(view, "drops", "queue_full", 5);
    assert_int_equal(json_object_size(at(view, "drops", NULL)), DROP_N_REASONS);
    assert_text(view, "sockets", "stream", "/run/x.stream");
    assert_is_null(view, "sockets", "datagram");
    assert_is_null(view, "problem", NULL);
    assert_true(json_is_string(at(view, "stalled_since", NULL)));
    json_decref(view);
}

static void unplugged_port_shows_nulls(void **state)
{
    struct port_snapshot port = {.name = "vm9", .is_named = true, .enabled = false};
    json_t *view = view_port(&port, NULL, 0, NULL, NULL);

    (void)state;
    assert_is_null(view, "kind", NULL);
    assert_is_null(view, "uid", NULL);
    assert_is_null(view, "gid", NULL);
    assert_is_null(view, "stalled_since", NULL);
    assert_text(view, "state", NULL, "down");
    assert_text(view, "link", NULL, "down");
    assert_true(json_is_true(at(view, "named", NULL)));
    assert_int_equal(json_array_size(at(view, "addresses", NULL)), 0);
    json_decref(view);
}

static void since_is_a_moment_in_utc(void **state)
{
    struct port_snapshot port = {.name = "vm1", .since_ms_ago = 3600 * 1000};
    json_t *view = view_port(&port, NULL, 0, NULL, NULL);
    struct tm tm = {.tm_year = 0};
    time_t now = time(NULL), then;
    int n;

    (void)state;
    n = sscanf(json_string_value(at(view, "since", NULL)), "%d-%d-%dT%d:%d:%dZ", &tm.tm_year, &tm.tm_mon,
               &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec);
    assert_int_equal(n, 6);
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    then = timegm(&tm);
    assert_in_range(now - then, 3598, 3602);
    json_decref(view);
}

static struct network_status up_status(const struct lan_snapshot *lan)
{
    return (struct network_status){.source = "api",
                                   .health = "up",
                                   .pid = 42,
                                   .owner_uid = 501,
                                   .uplink_kind = UPLINK_USER,
                                   .uplink_state = UPLINK_UP,
                                   .uplink_pid = 43,
                                   .stream_path = "/run/n.stream",
                                   .attach_path = "/run/attach.sock",
                                   .lan = lan};
}

static void who_holds_a_network_of_the_brokers_is_shown(void **state)
{
    const struct broker_holders holders = {.n = BROKER_HOLDERS_MAX + 1, .list = {{.pid = 7, .uid = 501}}};
    struct lan_snapshot lan = {.n_ports = 2};
    struct network_status status = up_status(&lan);
    struct network_spec spec;
    (void)state;
    network_spec_init(&spec, "n", MODE_SHARED);
    json_t *view = view_network(&spec, &status);
    assert_is_null(view, "uplink", "broker");
    json_decref(view);
    status.holders = &holders;
    view = view_network(&spec, &status);
    const json_t *broker = json_object_get(json_object_get(view, "uplink"), "broker");
    const json_t *peers = json_object_get(broker, "peers");
    assert_int_equal(json_integer_value(json_object_get(broker, "count")), BROKER_HOLDERS_MAX + 1);
    assert_int_equal(json_array_size(peers), BROKER_HOLDERS_MAX);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(peers, 0), "pid")), 7);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(peers, 0), "uid")), 501);
    json_decref(view);
}

static void a_subnet_that_the_system_chose_is_shown(void **state)
{
    struct lan_snapshot lan = {.n_ports = 2};
    struct network_status status = up_status(&lan);
    struct network_spec spec;
    (void)state;
    network_spec_init(&spec, "n", MODE_SHARED);
    json_t *view = view_network(&spec, &status);
    assert_is_null(view, "uplink", "ipv4");
    json_decref(view);
    status.subnet = (struct uplink_subnet){0xC0A84001, 0xFFFFFF00, 0xC0A840FE};
    view = view_network(&spec, &status);
    const json_t *ipv4 = json_object_get(json_object_get(view, "uplink"), "ipv4");
    assert_text(ipv4, "gateway", NULL, "192.168.64.1");
    assert_text(ipv4, "netmask", NULL, "255.255.255.0");
    assert_text(ipv4, "dhcp_end", NULL, "192.168.64.254");
    json_decref(view);
}

static void network_shows_what_was_set_and_what_is(void **state)
{
    struct lan_snapshot lan = {.n_ports = 2, .n_fdb = 3, .flaps = 1, .flap_mac = 0x525400123456, .queued = 4};
    struct network_status status = up_status(&lan);
    struct network_spec spec;
    json_t *view;

    (void)state;
    strcpy(lan.flap_port, "vm1");
    strcpy(lan.flap_claimed, "vm2");
    lan.flap_ms_ago = 5000;
    lan.totals.frames_in = 100;
    network_spec_init(&spec, "n", MODE_SHARED);
    view = view_network(&spec, &status);
    assert_text(view, "name", NULL, "n");
    assert_text(view, "mode", NULL, "shared");
    assert_text(view, "state", NULL, "up");
    assert_is_null(view, "reason", NULL);
    assert_text(view, "uplink", "wanted", "auto");
    assert_text(view, "uplink", "kind", "user");
    assert_text(view, "uplink", "state", "up");
    assert_is_null(view, "uplink", "reason");
    assert_count(view, "uplink", "pid", 43);
    assert_count(view, "pid", NULL, 42);
    assert_count(view, "owner", NULL, 501);
    assert_text(view, "source", NULL, "api");
    assert_text(view, "sockets", "stream", "/run/n.stream");
    assert_is_null(view, "sockets", "datagram");
    assert_text(view, "sockets", "mode", "0600");
    assert_text(view, "ipv4", "gateway", "192.168.105.1");
    assert_true(json_is_true(at(view, "ipv4", "dhcp")));
    assert_count(view, "counters", "frames_in", 100);
    assert_count(view, "counters", "queued", 4);
    assert_count(at(view, "counters", NULL), "drops", "runt", 0);
    assert_count(at(view, "fdb", NULL), "flaps", "count", 1);
    assert_text(at(at(view, "fdb", NULL), "flaps", NULL), "last", "claimed_by", "vm2");
    json_decref(view);
}

static void unresponsive_network_shows_no_counters(void **state)
{
    struct network_status status = up_status(NULL);
    struct network_spec spec;
    json_t *view;

    (void)state;
    status.health = "unresponsive";
    status.reason = "it did not answer within 1 s";
    status.pid = 0;
    network_spec_init(&spec, "n", MODE_INTERNAL);
    view = view_network(&spec, &status);
    assert_text(view, "state", NULL, "unresponsive");
    assert_is_null(view, "counters", NULL);
    assert_is_null(view, "fdb", NULL);
    assert_is_null(view, "pid", NULL);
    assert_is_null(view, "ipv4", NULL);
    json_decref(view);
    view = view_health_entry("n", &status);
    assert_text(view, "name", NULL, "n");
    assert_text(view, "state", NULL, "unresponsive");
    assert_text(view, "uplink", "state", "up");
    json_decref(view);
}

/* What a GET shows of what was set can be sent back. */
static void shown_settings_can_be_put_back(void **state)
{
    static const char *const settable[] = {"name", "mode",     "interface",     "ipv4",     "ipv6",
                                           "mtu",  "isolated", "host_loopback", "forwards", "limits"};
    struct network_status status = up_status(NULL);
    struct network_spec spec, again;
    struct spec_error error;
    json_t *view, *body = json_object();

    (void)state;
    network_spec_init(&spec, "n", MODE_SHARED);
    view = view_network(&spec, &status);
    for (size_t i = 0; i < sizeof(settable) / sizeof(settable[0]); i++)
        json_object_set_new(body, settable[i], json_deep_copy(at(view, settable[i], NULL)));
    assert_int_equal(network_spec_from_json(body, "n", &again, &error), 0);
    assert_int_equal(network_spec_check(&again, &error), 0);
    again.ipv4.dhcp_is_set = false;
    assert_memory_equal(&spec, &again, sizeof(spec));
    json_decref(body);
    json_decref(view);
}

static void fdb_entry_shows_its_port_and_age(void **state)
{
    json_t *view = view_fdb_entry(&fdb[1]);

    (void)state;
    assert_text(view, "mac", NULL, "52:54:00:12:34:57");
    assert_text(view, "port", NULL, "vm2");
    assert_count(view, "age_s", NULL, 0);
    assert_true(json_is_true(at(view, "static", NULL)));
    json_decref(view);
}

/* A snapshot comes from another process: its strings may be anything. */
static void strings_that_are_not_utf8_are_shown_all_the_same(void **state)
{
    struct port_snapshot port = {.name = "vm1", .problem = "a \xff b"};
    json_t *view = view_port(&port, NULL, 0, "/run/\xfe", NULL);
    char *text = json_out(view);

    (void)state;
    assert_non_null(text);
    assert_text(view, "problem", NULL, "a ? b");
    assert_text(view, "sockets", "stream", "/run/?");
    free(text);
    json_decref(view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(port_shows_its_peer_addresses_and_every_drop),
        cmocka_unit_test(unplugged_port_shows_nulls),
        cmocka_unit_test(since_is_a_moment_in_utc),
        cmocka_unit_test(a_subnet_that_the_system_chose_is_shown),
        cmocka_unit_test(who_holds_a_network_of_the_brokers_is_shown),
        cmocka_unit_test(network_shows_what_was_set_and_what_is),
        cmocka_unit_test(unresponsive_network_shows_no_counters),
        cmocka_unit_test(shown_settings_can_be_put_back),
        cmocka_unit_test(fdb_entry_shows_its_port_and_age),
        cmocka_unit_test(strings_that_are_not_utf8_are_shown_all_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

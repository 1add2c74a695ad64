/* JSON <-> specs: defaults, every field's rule, combinations, and the trip there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/spec_json.h"

static struct network_spec spec;
static struct spec_error error;

static int read_network(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    int r;

    if (!json)
        fail_msg("no JSON: %s", text);
    r = network_spec_from_json(json, "n", &spec, &error);
    json_decref(json);
    return r;
}

static void assert_taken(const char *text)
{
    if (read_network(text) < 0 || network_spec_check(&spec, &error) < 0)
        fail_msg("%s: %s %s", text, error.field, error.rule);
}

static void assert_refused(const char *text, const char *field, const char *rule)
{
    if (read_network(text) == 0)
        fail_msg("taken: %s", text);
    if (strcmp(error.field, field) != 0 || !strstr(error.rule, rule))
        fail_msg("%s: %s %s", text, error.field, error.rule);
}

/* Well formed, but makes no sense: a 422. */
static void assert_senseless(const char *text, const char *field)
{
    if (read_network(text) < 0)
        fail_msg("%s: %s %s", text, error.field, error.rule);
    if (network_spec_check(&spec, &error) == 0)
        fail_msg("taken: %s", text);
    assert_string_equal(error.field, field);
    assert_true(strlen(error.rule) > 10);
}

static void defaults_are_those_of_the_mode(void **state)
{
    (void)state;
    assert_taken("{\"mode\": \"shared\"}");
    assert_int_equal(spec.ipv4.gateway, 0xC0A86901);
    assert_int_equal(spec.ipv4.netmask, 0xFFFFFF00);
    assert_int_equal(spec.ipv4.dhcp_end, 0xC0A869FE);
    assert_true(spec.ipv4.dhcp && !spec.ipv4.dhcp_is_set);
    assert_int_equal(spec.mtu, 1500);
    assert_true(spec.sockets.stream && spec.sockets.datagram);
    assert_int_equal(spec.sockets.mode, 0600);
    assert_int_equal(spec.offload, OFFLOAD_OFF);
    assert_int_equal(spec.tuning.read_bytes, 98304);
    assert_int_equal(spec.tuning.batch_frames, 64);
    assert_int_equal(spec.tuning.socket_bytes, 1048576);
    assert_int_equal(spec.tuning.busy_poll_us, 0);
    assert_taken("{\"mode\": \"host\"}");
    assert_int_equal(spec.ipv4.gateway, 0xC0A86A01);
    assert_false(spec.ipv4.dhcp);
    assert_taken("{}");
    assert_int_equal(spec.mode, MODE_INTERNAL);
    assert_int_equal(spec.ipv4.gateway, 0);
    assert_taken("{\"sockets\": {\"group\": \"staff\"}}");
    assert_int_equal(spec.sockets.mode, 0660);
}

static void rest_of_ipv4_follows_the_gateway(void **state)
{
    (void)state;
    assert_taken(
        "{\"mode\": \"shared\", \"ipv4\": {\"gateway\": \"10.1.2.1\", \"netmask\": \"255.255.0.0\"}}");
    assert_int_equal(spec.ipv4.dhcp_end, 0x0A01FFFE);
    assert_true(spec.ipv4.dhcp);
    assert_taken("{\"ipv4\": null}");
    assert_taken("{\"ipv4\": {\"gateway\": \"10.1.2.1\"}}");
    assert_refused("{\"ipv4\": {\"netmask\": \"255.255.0.0\"}}", "/ipv4/gateway", "given");
}

static void wrong_values_are_refused_by_name(void **state)
{
    (void)state;
    assert_refused("[]", "", "object");
    assert_refused("{\"colour\": 1}", "/colour", "known are \"name\"");
    assert_refused("{\"mode\": \"nat\"}", "/mode",
                   "\"shared\", \"host\", \"bridged\", \"internal\", not \"nat\"");
    assert_refused("{\"mode\": 1}", "/mode", "not 1");
    assert_refused("{\"uplink\": \"eth0\"}", "/uplink", "\"auto\"");
    assert_refused("{\"uplink\": {\"kind\": \"user\"}}", "/uplink", "read only");
    assert_refused("{\"interface\": \"a/b\"}", "/interface", "interface");
    assert_refused("{\"interface\": \"0123456789abcdef\"}", "/interface", "interface");
    assert_refused("{\"isolated\": 1}", "/isolated", "true or false");
    assert_refused("{\"isolated\": null}", "/isolated", "not null");
    assert_refused("{\"host_loopback\": \"yes\"}", "/host_loopback", "not \"yes\"");
    assert_refused("{\"ipv4\": {\"gateway\": \"10.1.2\"}}", "/ipv4/gateway", "IPv4 address");
    assert_refused("{\"ipv4\": {\"gateway\": \"10.1.2.256\"}}", "/ipv4/gateway", "IPv4 address");
    assert_refused("{\"ipv4\": {\"gateway\": \"0.0.0.0\"}}", "/ipv4/gateway", "0.0.0.0");
    assert_refused("{\"ipv4\": {\"gateway\": \"10.0.0.1\", \"netmask\": \"255.0.255.0\"}}", "/ipv4/netmask",
                   "netmask");
    assert_refused("{\"ipv4\": {\"gateway\": \"10.0.0.1\", \"netmask\": \"255.255.255.252\"}}",
                   "/ipv4/netmask", "");
    assert_refused("{\"ipv4\": {\"gw\": \"10.1.2.1\"}}", "/ipv4/gw", "known");
    assert_refused("{\"ipv6\": {\"prefix\": \"fd00::/48\"}}", "/ipv6/prefix", "/64");
    assert_refused("{\"ipv6\": {\"prefix\": \"fe80::/64\"}}", "/ipv6/prefix", "unicast");
    assert_refused("{\"ipv6\": {\"prefix\": \"fd00::1/64\"}}", "/ipv6/prefix", "");
    assert_refused("{\"sockets\": {\"mode\": \"0777\"}}", "/sockets/mode", "octal");
    assert_refused("{\"sockets\": {\"mode\": \"0066\"}}", "/sockets/mode", "octal");
    assert_refused("{\"sockets\": {\"mode\": 660}}", "/sockets/mode", "not 660");
    assert_refused("{\"sockets\": {\"group\": \"a b\"}}", "/sockets/group", "group");
    assert_refused("{\"sockets\": {\"group\": \"\"}}", "/sockets/group", "group");
    assert_refused("{\"sockets\": {\"stream\": \"/x\"}}", "/sockets/stream", "true or false");
    assert_refused("{\"offload\": \"on\"}", "/offload", "\"off\", \"raw\", \"virtio\", not \"on\"");
    assert_refused("{\"offload\": true}", "/offload", "not true");
    assert_refused("{\"offload\": null}", "/offload", "not null");
    assert_refused("{\"limits\": {\"queue_bytes\": 1}}", "/limits/queue_bytes", "131072");
    assert_refused("{\"limits\": {\"queues\": 1}}", "/limits/queues", "known");
}

#define RESERVED(list)                                                                                       \
    "{\"mode\": \"shared\", \"ipv4\": {\"gateway\": \"10.0.0.1\", \"reservations\": " list "}}"

static void reservations_are_a_guest_and_its_address(void **state)
{
    (void)state;
    assert_int_equal(read_network(RESERVED("[{\"mac\": \"52:54:00:12:34:56\", \"address\": \"10.0.0.9\"}]")),
                     0);
    assert_int_equal(spec.ipv4.n_reservations, 1);
    assert_int_equal(spec.ipv4.reservations[0].mac, 0x525400123456);
    assert_int_equal(spec.ipv4.reservations[0].address, 0x0A000009);
    assert_refused(RESERVED("{}"), "/ipv4/reservations", "list");
    assert_refused(RESERVED("[1]"), "/ipv4/reservations/0", "object");
    assert_refused(RESERVED("[{\"mac\": \"52:54:00:12:34:56\"}]"), "/ipv4/reservations/0/address",
                   "not null");
    assert_refused(RESERVED("[{\"address\": \"10.0.0.9\"}]"), "/ipv4/reservations/0/mac", "not null");
    assert_refused(RESERVED("[{\"mac\": \"01:00:5e:00:00:01\", \"address\": \"10.0.0.9\"}]"),
                   "/ipv4/reservations/0/mac", "a guest's");
    assert_refused(RESERVED("[{\"mac\": \"52:54:00:12:34:56\", \"ip\": \"10.0.0.9\"}]"),
                   "/ipv4/reservations/0/ip", "known");
    assert_senseless(RESERVED("[{\"mac\": \"52:54:00:12:34:56\", \"address\": \"10.0.0.9\"}]"),
                     "/ipv4/reservations"); /* libslirp, that is */
}

/* Elsewhere than on macOS nothing of it makes sense but the default. */
static void what_only_vmnet_knows_is_read_strictly(void **state)
{
    (void)state;
    assert_taken("{\"vmnet\": null}");
    assert_taken("{\"vmnet\": {}}");
    assert_true(network_vmnet_is_default(&spec.vmnet) && spec.vmnet.tso && spec.vmnet.nat44);
    assert_taken("{\"vmnet\": {\"nat44\": true, \"isolation\": null, \"interface_id\": null}}");
    assert_senseless("{\"mode\": \"shared\", \"vmnet\": {\"tso\": false}}", "/vmnet");
    assert_refused("{\"vmnet\": 1}", "/vmnet", "object");
    assert_refused("{\"vmnet\": {\"nat\": true}}", "/vmnet/nat", "known");
    assert_refused("{\"vmnet\": {\"nat44\": null}}", "/vmnet/nat44", "true or false");
    assert_refused("{\"vmnet\": {\"interface_id\": \"8f14e45f\"}}", "/vmnet/interface_id", "UUID");
    assert_refused("{\"vmnet\": {\"network_id\": \"8f14e45f-ceea-467f-a1d3-5f3c9b1d2e4g\"}}",
                   "/vmnet/network_id", "UUID");
    assert_refused("{\"vmnet\": {\"network_id\": \"8f14e45f-ceea-467f-a1d3-5f3c9b1d2e4a1\"}}",
                   "/vmnet/network_id", "UUID");
    assert_refused("{\"vmnet\": {\"host_ipv6\": \"ff02::1\"}}", "/vmnet/host_ipv6", "unicast");
    assert_refused("{\"vmnet\": {\"external_interface\": \"e/0\"}}", "/vmnet/external_interface",
                   "interface");
    assert_refused("{\"vmnet\": {\"isolation\": 1}}", "/vmnet/isolation", "true or false");
    assert_int_equal(
        read_network("{\"vmnet\": {\"interface_id\": \"8F14E45F-CEEA-467F-A1D3-5F3C9B1D2E4A\"}}"), 0);
    assert_int_equal(spec.vmnet.interface_id[0], 0x8F);
    assert_int_equal(spec.vmnet.interface_id[15], 0x4A);
}

/* A09 */
static void integers_are_integers_in_range(void **state)
{
    (void)state;
    assert_refused("{\"mtu\": \"1500\"}", "/mtu", "not \"1500\"");
    assert_refused("{\"mtu\": 1500.0}", "/mtu", "integer");
    assert_refused("{\"mtu\": -1500}", "/mtu", "not -1500");
    assert_refused("{\"mtu\": -0}", "/mtu", "576");
    assert_refused("{\"mtu\": 575}", "/mtu", "not 575");
    assert_refused("{\"mtu\": 65536}", "/mtu", "65535");
    assert_refused("{\"mtu\": true}", "/mtu", "not true");
    assert_taken("{\"mtu\": 576}");
    assert_taken("{\"mtu\": 65535}");
}

static void tuning_is_in_its_ranges_or_the_default(void **state)
{
    static const struct {
        const char *key;
        long min, max;
    } rows[] = {{"read_bytes", 73728, 262144},
                {"batch_frames", 1, 64},
                {"socket_bytes", 4096, 67108864},
                {"busy_poll_us", 0, 1000}};
    char text[96], field[48];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int above = 0; above < 2; above++) {
            long edge = above ? rows[i].max : rows[i].min;
            snprintf(text, sizeof(text), "{\"tuning\": {\"%s\": %ld}}", rows[i].key, edge);
            assert_taken(text);
            snprintf(text, sizeof(text), "{\"tuning\": {\"%s\": %ld}}", rows[i].key, edge + (above ? 1 : -1));
            snprintf(field, sizeof(field), "/tuning/%s", rows[i].key);
            assert_refused(text, field, "must be an integer");
        }
    }
    assert_refused("{\"tuning\": {\"read\": 1}}", "/tuning/read", "known");
    assert_refused("{\"tuning\": 1}", "/tuning", "object");
    assert_taken("{\"tuning\": {\"batch_frames\": null, \"busy_poll_us\": 50}}");
    assert_int_equal(spec.tuning.batch_frames, 64);
    assert_int_equal(spec.tuning.busy_poll_us, 50);
    assert_taken("{\"tuning\": null}");
    assert_int_equal(spec.tuning.read_bytes, 98304);
}

static void facts_that_are_only_shown_are_refused_as_such(void **state)
{
    static const char *const fields[] = {"pid",    "owner",    "source", "state",
                                         "reason", "counters", "fdb",    "file"};
    char text[64], pointer[64];

    (void)state;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        snprintf(text, sizeof(text), "{\"%s\": null}", fields[i]);
        snprintf(pointer, sizeof(pointer), "/%s", fields[i]);
        assert_refused(text, pointer, "read only");
    }
}

#define SHARED(forwards) "{\"mode\": \"shared\", \"forwards\": [" forwards "]}"

static void forwards_take_a_port_an_endpoint_or_a_number(void **state)
{
    (void)state;
    assert_taken(
        SHARED("{\"proto\": \"tcp\", \"host\": \"8080\", \"guest\": \"192.168.105.5:80\"},"
               "{\"proto\": \"udp\", \"host\": 8080, \"guest\": \"192.168.105.5:80\"},"
               "{\"proto\": \"tcp\", \"host\": \"10.0.0.7:8080\", \"guest\": \"192.168.105.6:80\"}"));
    assert_int_equal(spec.n_forwards, 3);
    assert_int_equal(spec.forwards[0].host_ip, 0x7F000001);
    assert_int_equal(spec.forwards[1].host_port, 8080);
    assert_true(spec.forwards[1].is_udp && !spec.forwards[2].is_udp);
    assert_int_equal(spec.forwards[2].host_ip, 0x0A000007);
    assert_int_equal(spec.forwards[2].guest_ip, 0xC0A86906);
    assert_int_equal(spec.forwards[2].guest_port, 80);
}

static void wrong_forwards_are_refused_by_number(void **state)
{
    (void)state;
    assert_refused(SHARED("1"), "/forwards/0", "object");
    assert_refused(SHARED("{}"), "/forwards/0/proto", "given");
    assert_refused(SHARED("{\"proto\": \"icmp\"}"), "/forwards/0/proto", "\"tcp\", \"udp\"");
    assert_refused(SHARED("{\"proto\": \"tcp\", \"guest\": \"192.168.105.5:80\"}"), "/forwards/0/host",
                   "given");
    assert_refused(SHARED("{\"proto\": \"tcp\", \"host\": 0, \"guest\": \"192.168.105.5:80\"}"),
                   "/forwards/0/host", "not 0");
    assert_refused(SHARED("{\"proto\": \"tcp\", \"host\": \"65536\", \"guest\": \"192.168.105.5:80\"}"),
                   "/forwards/0/host", "not \"65536\"");
    assert_senseless(
        SHARED("{\"proto\": \"tcp\", \"host\": \"0.0.0.0:80\", \"guest\": \"192.168.105.5:80\"}"),
        "/forwards/0/host");
    assert_refused(SHARED("{\"proto\": \"tcp\", \"host\": 80}"), "/forwards/0/guest", "given");
    assert_refused(SHARED("{\"proto\": \"tcp\", \"host\": 80, \"guest\": \"80\"}"), "/forwards/0/guest",
                   "ADDRESS");
    assert_refused("{\"forwards\": {}}", "/forwards", "list");
}

static void pairs_that_make_no_sense_are_named(void **state)
{
    (void)state;
    assert_senseless("{\"mode\": \"internal\", \"uplink\": \"tap\"}", "/uplink");
    assert_senseless("{\"mode\": \"internal\", \"uplink\": \"user\"}", "/uplink");
    assert_taken("{\"mode\": \"shared\", \"uplink\": \"tap\"}");
    assert_senseless("{\"mode\": \"shared\", \"uplink\": \"none\"}", "/uplink");
    assert_senseless("{\"mode\": \"host\", \"uplink\": \"user\"}", "/uplink");
    assert_senseless("{\"mode\": \"shared\", \"uplink\": \"vmnet\"}", "/uplink");
    assert_senseless("{\"mode\": \"bridged\"}", "/interface");
    assert_senseless("{\"mode\": \"shared\", \"interface\": \"eth0\"}", "/interface");
    assert_senseless("{\"mode\": \"shared\", \"ipv4\": null}", "/ipv4");
    assert_senseless("{\"ipv4\": {\"gateway\": \"10.0.0.1\", \"dhcp\": true}}", "/ipv4/dhcp");
    assert_senseless("{\"forwards\": [{\"proto\": \"tcp\", \"host\": 80, \"guest\": \"192.168.105.5:80\"}]}",
                     "/forwards");
    assert_senseless("{\"host_loopback\": true}", "/host_loopback");
    assert_senseless("{\"ipv6\": {\"prefix\": \"fd00::/64\"}}", "/ipv6/prefix");
    assert_taken("{\"mode\": \"host\", \"uplink\": \"tap\"}");
    assert_taken("{\"mode\": \"host\", \"uplink\": \"tap\", \"ipv4\": {\"dhcp\": true}}");
    assert_taken("{\"mode\": \"bridged\", \"uplink\": \"tap\", \"interface\": \"br0\"}");
    assert_taken("{\"mode\": \"internal\", \"uplink\": \"none\"}");
}

static void subnets_that_make_no_sense_are_named(void **state)
{
    static const char *const gateways[] = {"127.0.0.1", "224.0.0.1",  "255.1.1.1",
                                           "10.0.0.0",  "10.0.0.255", "0.1.2.3"};
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof(gateways) / sizeof(gateways[0]); i++) {
        snprintf(text, sizeof(text), "{\"mode\": \"shared\", \"ipv4\": {\"gateway\": \"%s\"}}", gateways[i]);
        assert_senseless(text, "/ipv4/gateway");
    }
    assert_senseless("{\"mode\": \"shared\", \"ipv4\": {\"dhcp_end\": \"192.168.106.9\"}}", "/ipv4/dhcp_end");
    assert_senseless("{\"mode\": \"shared\", \"ipv4\": {\"dhcp_end\": \"192.168.105.1\"}}", "/ipv4/dhcp_end");
    assert_senseless("{\"mode\": \"shared\", \"ipv4\": {\"dhcp_end\": \"192.168.105.255\"}}",
                     "/ipv4/dhcp_end");
    assert_senseless(SHARED("{\"proto\": \"tcp\", \"host\": 80, \"guest\": \"192.168.106.5:80\"}"),
                     "/forwards/0/guest");
    assert_senseless(SHARED("{\"proto\": \"tcp\", \"host\": 80, \"guest\": \"192.168.105.1:80\"}"),
                     "/forwards/0/guest");
    assert_senseless(
        SHARED("{\"proto\": \"tcp\", \"host\": 80, \"guest\": \"192.168.105.5:80\"},"
               "{\"proto\": \"tcp\", \"host\": \"127.0.0.1:80\", \"guest\": \"192.168.105.6:80\"}"),
        "/forwards/1/host");
}

static uint32_t random_state = 12345;

static uint32_t pick(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % n;
}

static json_t *random_forwards(void)
{
    char host[32], guest[32];
    json_t *forwards = json_array();

    for (uint32_t n = pick(33); n > 0; n--) {
        snprintf(host, sizeof(host), "10.0.%u.%u:%u", pick(256), pick(256), 1 + pick(65535));
        snprintf(guest, sizeof(guest), "10.%u.%u.%u:%u", pick(256), pick(256), pick(256), 1 + pick(65535));
        json_array_append_new(forwards, json_pack("{s:s, s:s, s:s}", "proto", pick(2) ? "tcp" : "udp", "host",
                                                  pick(2) ? host : "8080", "guest", guest));
    }
    return forwards;
}

static json_t *random_reservations(void)
{
    char mac[32], address[32];
    json_t *list = json_array();

    for (uint32_t n = pick(65); n > 0; n--) {
        snprintf(mac, sizeof(mac), "52:%02x:%02x:%02x:%02x:%02x", pick(256), pick(256), pick(256), pick(256),
                 pick(256));
        snprintf(address, sizeof(address), "10.%u.%u.%u", pick(256), pick(256), pick(256));
        json_array_append_new(list, json_pack("{s:s, s:s}", "mac", mac, "address", address));
    }
    return list;
}

static json_t *random_vmnet(void)
{
    static const char *const flags[] = {"nat44",         "nat66", "dns_proxy",        "router_advertisement",
                                        "virtio_header", "tso",   "checksum_offload", "isolation"};
    char id[40];
    json_t *vmnet = json_object();

    snprintf(id, sizeof(id), "%08x-%04x-%04x-%04x-%08x%04x", pick(1 << 20), pick(65536), pick(65536),
             pick(65536), pick(1 << 20), pick(65536));
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (pick(2))
            json_object_set_new(vmnet, flags[i], json_boolean(pick(2)));
    if (pick(2))
        json_object_set_new(vmnet, "interface_id", json_string(id));
    if (pick(2))
        json_object_set_new(vmnet, "network_id", json_string(id));
    if (pick(2))
        json_object_set_new(vmnet, "host_ipv6", json_string("fd00:1:2:3::1"));
    if (pick(2))
        json_object_set_new(vmnet, "external_interface", json_string("en7"));
    return vmnet;
}

static void add_what_vmnet_knows(json_t *network)
{
    if (pick(2))
        json_object_set_new(network, "vmnet", random_vmnet());
    if (pick(2) && json_object_get(network, "ipv4"))
        json_object_set_new(json_object_get(network, "ipv4"), "reservations", random_reservations());
}

static json_t *random_network(void)
{
    static const char *const modes[] = {"shared", "host", "bridged", "internal"};
    static const char *const uplinks[] = {"auto", "none", "user", "tap", "vmnet"};
    char gateway[32], prefix[32];
    json_t *json = json_pack("{s:s, s:s}", "mode", modes[pick(4)], "uplink", uplinks[pick(5)]);

    snprintf(gateway, sizeof(gateway), "10.%u.%u.%u", pick(256), pick(256), 1 + pick(200));
    snprintf(prefix, sizeof(prefix), "fd%02x:%x:%x:%x::/64", pick(256), pick(65536), pick(65536),
             pick(65536));
    if (pick(2))
        json_object_set_new(json, "ipv4", json_pack("{s:s}", "gateway", gateway));
    if (pick(3) == 0 && json_object_get(json, "ipv4"))
        json_object_set_new(json_object_get(json, "ipv4"), "dhcp", json_boolean(pick(2)));
    if (pick(2))
        json_object_set_new(json, "ipv6", json_pack("{s:s}", "prefix", prefix));
    if (pick(2))
        json_object_set_new(json, "mtu", json_integer(576 + pick(64960)));
    if (pick(2))
        json_object_set_new(json, "isolated", json_boolean(pick(2)));
    if (pick(2))
        json_object_set_new(json, "interface", json_string("en0"));
    if (pick(2))
        json_object_set_new(json, "sockets",
                            json_pack("{s:b, s:b, s:s?, s:s}", "stream", pick(2), "datagram", pick(2),
                                      "group", pick(2) ? "staff" : NULL, "mode", pick(2) ? "0660" : "0606"));
    if (pick(2))
        json_object_set_new(json, "limits",
                            json_pack("{s:i, s:n}", "queue_frames", 16 + pick(1000), "queue_bytes"));
    if (pick(2))
        json_object_set_new(json, "tuning",
                            json_pack("{s:i, s:i, s:n}", "read_bytes", 73728 + pick(180000), "busy_poll_us",
                                      pick(1001), "socket_bytes"));
    if (pick(2))
        json_object_set_new(json, "offload", json_string(port_offload_name((enum port_offload)pick(3))));
    json_object_set_new(json, "forwards", random_forwards());
    add_what_vmnet_knows(json);
    return json;
}

static void any_network_survives_the_trip_to_json_and_back(void **state)
{
    static struct network_spec again;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        json_t *json = random_network(), *back;
        if (network_spec_from_json(json, "n", &spec, &error) < 0)
            fail_msg("%s %s", error.field, error.rule);
        back = network_spec_to_json(&spec);
        assert_non_null(back);
        if (network_spec_from_json(back, "n", &again, &error) < 0)
            fail_msg("%s %s", error.field, error.rule);
        assert_memory_equal(&spec, &again, sizeof(spec));
        json_decref(back);
        json_decref(json);
    }
}

static int read_port(const char *text, struct port_spec *port)
{
    json_t *json = json_loads(text, 0, NULL);
    int r = port_spec_from_json(json, "p", port, &error);

    json_decref(json);
    return r;
}

static void port_survives_the_trip_to_json_and_back(void **state)
{
    struct port_spec port, again;
    json_t *json;

    (void)state;
    assert_int_equal(read_port("{\"link\": \"down\", \"isolated\": true, \"static_addresses\": "
                               "[\"52:54:00:12:34:56\", \"02:00:00:00:00:01\"]}",
                               &port),
                     0);
    assert_true(!port.enabled && port.isolated && port.n_statics == 2);
    json = port_spec_to_json(&port);
    assert_int_equal(port_spec_from_json(json, NULL, &again, &error), 0);
    assert_memory_equal(&port, &again, sizeof(port));
    json_decref(json);
}

static void an_offload_that_is_not_said_is_not_written(void **state)
{
    struct port_spec port, again;
    json_t *json;

    (void)state;
    assert_int_equal(read_port("{}", &port), 0);
    assert_false(port.offload_is_set);
    json = port_spec_to_json(&port);
    assert_null(json_object_get(json, "offload"));
    json_decref(json);
    assert_int_equal(read_port("{\"offload\": \"off\"}", &port), 0);
    assert_true(port.offload_is_set && port.offload == OFFLOAD_OFF);
    assert_int_equal(read_port("{\"offload\": \"virtio\"}", &port), 0);
    assert_true(port.offload_is_set && port.offload == OFFLOAD_VIRTIO);
    json = port_spec_to_json(&port);
    assert_int_equal(port_spec_from_json(json, NULL, &again, &error), 0);
    assert_memory_equal(&port, &again, sizeof(port));
    json_decref(json);
}

static void a_change_of_offload_is_refused_with_the_way_to_it(void **state)
{
    struct port_change change;
    json_t *json = json_pack("{s:s, s:s}", "link", "up", "offload", "raw");

    (void)state;
    assert_int_equal(port_change_from_json(json, &change, &error), -1);
    assert_string_equal(error.field, "/offload");
    assert_non_null(strstr(error.rule, "PUT"));
    json_decref(json);
}

static void other_offload_or_tuning_takes_a_new_network(void **state)
{
    struct network_spec other;

    (void)state;
    assert_taken("{}");
    other = spec;
    assert_true(network_spec_differs_live_only(&spec, &other));
    other.tuning.busy_poll_us = 1;
    assert_false(network_spec_differs_live_only(&spec, &other));
    other = spec;
    other.offload = OFFLOAD_RAW;
    assert_false(network_spec_differs_live_only(&spec, &other));
    other = spec;
    other.vmnet.dns_proxy = false;
    assert_false(network_spec_differs_live_only(&spec, &other));
    other = spec;
    other.ipv4.n_reservations = 1;
    assert_false(network_spec_differs_live_only(&spec, &other));
}

static void wrong_ports_are_refused_by_name(void **state)
{
    static const char *const bad[][2] = {
        {"{\"link\": true}", "/link"},
        {"{\"uid\": 0}", "/uid"},
        {"{\"offload\": \"tso\"}", "/offload"},
        {"{\"offload\": null}", "/offload"},
        {"{\"static_addresses\": \"52:54:00:12:34:56\"}", "/static_addresses"},
        {"{\"static_addresses\": [\"52:54:00:12:34\"]}", "/static_addresses/0"},
        {"{\"static_addresses\": [\"01:00:5e:00:00:01\"]}", "/static_addresses/0"},
        {"{\"static_addresses\": [\"00:00:00:00:00:00\"]}", "/static_addresses/0"},
        {"{\"static_addresses\": [\"52:54:00:12:34:56\", \"52:54:00:12:34:56\"]}", "/static_addresses/1"},
        {"{\"static_addresses\": [1,2,3,4,5,6,7,8,9]}", "/static_addresses"},
        {"{\"name\": \"q\"}", "/name"},
    };
    struct port_spec port;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(read_port(bad[i][0], &port), -1);
        assert_string_equal(error.field, bad[i][1]);
    }
}

/* Whatever bytes a key has, what is said about it is ASCII and short. */
static void error_never_holds_raw_bytes_of_the_sender(void **state)
{
    char text[256] = "{\"";

    (void)state;
    for (int i = 0; i < 60; i++)
        strcat(text, "\xc3\xa4");
    strcat(text, "\": 1}");
    assert_int_equal(read_network(text), -1);
    for (const char *at = error.field; *at; at++)
        assert_in_range(*at, ' ', '~');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_mode),
        cmocka_unit_test(rest_of_ipv4_follows_the_gateway),
        cmocka_unit_test(wrong_values_are_refused_by_name),
        cmocka_unit_test(reservations_are_a_guest_and_its_address),
        cmocka_unit_test(what_only_vmnet_knows_is_read_strictly),
        cmocka_unit_test(integers_are_integers_in_range),
        cmocka_unit_test(tuning_is_in_its_ranges_or_the_default),
        cmocka_unit_test(facts_that_are_only_shown_are_refused_as_such),
        cmocka_unit_test(forwards_take_a_port_an_endpoint_or_a_number),
        cmocka_unit_test(wrong_forwards_are_refused_by_number),
        cmocka_unit_test(pairs_that_make_no_sense_are_named),
        cmocka_unit_test(subnets_that_make_no_sense_are_named),
        cmocka_unit_test(any_network_survives_the_trip_to_json_and_back),
        cmocka_unit_test(port_survives_the_trip_to_json_and_back),
        cmocka_unit_test(an_offload_that_is_not_said_is_not_written),
        cmocka_unit_test(a_change_of_offload_is_refused_with_the_way_to_it),
        cmocka_unit_test(other_offload_or_tuning_takes_a_new_network),
        cmocka_unit_test(wrong_ports_are_refused_by_name),
        cmocka_unit_test(error_never_holds_raw_bytes_of_the_sender),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

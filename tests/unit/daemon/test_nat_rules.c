/* Tests of the texts that nftables and dnsmasq get: daemon/nat_rules.c, dhcp_config.c, dhcp_leases.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/dhcp_config.h"
#include "daemon/dhcp_leases.h"
#include "daemon/nat_rules.h"

static char text[NAT_RULES_SIZE];

static void write_rules(uint32_t n, const struct network_forward *forwards)
{
    const struct nat_plan plan = {.network = "lab",
                                  .tap = "vmsw3",
                                  .gateway = 0xC0A86901,
                                  .netmask = 0xFFFFFF00,
                                  .n_forwards = n,
                                  .forwards = forwards};
    assert_int_equal(nat_rules_write(&plan, text, sizeof(text)), 0);
}

static void has(const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in:\n%s", part, text);
}

static void has_not(const char *part)
{
    if (strstr(text, part))
        fail_msg("\"%s\" in:\n%s", part, text);
}

static void a_table_is_replaced_as_a_whole_and_owned(void **state)
{
    (void)state;
    write_rules(0, NULL);
    assert_ptr_equal(
        strstr(text, "table inet vmswitch-lab { flags owner; }\ndelete table inet vmswitch-lab\n"), text);
    has("table inet vmswitch-lab {\n flags owner;\n");
    has("ip saddr 192.168.105.0/24 oifname != \"vmsw3\" masquerade\n");
    has("iifname \"vmsw3\" ip saddr != 192.168.105.0/24 drop\n");
    has_not("dnat to");
}

/* Not by IPv6 either, of which guests have nothing of the host's. */
static void guests_of_a_shared_network_have_no_ipv6_way_out(void **state)
{
    (void)state;
    write_rules(0, NULL);
    has("iifname \"vmsw3\" meta nfproto ipv6 drop\n");
}

static void a_host_network_passes_nothing_on(void **state)
{
    (void)state;
    const struct nat_plan plan = {.network = "lab", .tap = "vmsw3", .is_host_only = true};
    assert_int_equal(nat_rules_write(&plan, text, sizeof(text)), 0);
    has("table inet vmswitch-lab {\n flags owner;\n chain forward {\n  type filter hook forward priority "
        "filter;\n"
        "  iifname \"vmsw3\" drop\n  oifname \"vmsw3\" drop\n }\n}\n");
}

static void a_forward_of_an_address_is_for_everybody(void **state)
{
    (void)state;
    const struct network_forward forward = {
        .host_ip = 0x0A000001, .host_port = 8080, .guest_ip = 0xC0A86905, .guest_port = 80};
    write_rules(1, &forward);
    has("priority dstnat;\n  ip daddr 10.0.0.1 tcp dport 8080 dnat ip to 192.168.105.5:80\n");
    has("priority -100;\n  ip daddr 10.0.0.1 tcp dport 8080 dnat ip to 192.168.105.5:80\n");
    has_not("ip saddr set");
}

static void a_forward_of_the_loopback_is_the_hosts_alone(void **state)
{
    (void)state;
    const struct network_forward forward = {
        .is_udp = true, .host_ip = 0x7F000001, .host_port = 53, .guest_ip = 0xC0A86905, .guest_port = 5353};
    write_rules(1, &forward);
    has("priority dstnat;\n }\n");
    has("priority -100;\n  ip daddr 127.0.0.1 udp dport 53 dnat ip to 192.168.105.5:5353\n");
    has("ip saddr 127.0.0.1 ip daddr 127.0.0.1 udp dport 53 ip saddr set 192.168.105.1\n");
    has("iifname \"vmsw3\" ct status dnat ip saddr 127.0.0.1 ip daddr 192.168.105.1 udp sport 53 ip daddr "
        "set 127.0.0.1\n");
}

static void the_most_forwards_fit(void **state)
{
    (void)state;
    struct network_forward forwards[NETWORK_FORWARDS_MAX];
    for (uint32_t i = 0; i < NETWORK_FORWARDS_MAX; i++)
        forwards[i] = (struct network_forward){.host_ip = 0x7FFFFFFE - i,
                                               .host_port = UINT16_MAX,
                                               .guest_ip = 0xDFFFFFFE,
                                               .guest_port = UINT16_MAX};
    char name[NETWORK_NAME_SIZE];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    const struct nat_plan plan = {.network = name,
                                  .tap = "vmsw12345678901",
                                  .gateway = 0xDFFFFFFD,
                                  .netmask = 0xFFFFFF00,
                                  .n_forwards = NETWORK_FORWARDS_MAX,
                                  .forwards = forwards};
    assert_int_equal(nat_rules_write(&plan, text, sizeof(text)), 0);
    assert_int_equal(nat_rules_write(&plan, text, strlen(text)), -ENOBUFS);
}

static struct network_spec shared(void)
{
    struct network_spec spec;
    network_spec_init(&spec, "lab", MODE_SHARED);
    return spec;
}

static void dnsmasq_serves_the_tap_alone(void **state)
{
    (void)state;
    struct network_spec spec = shared();
    spec.ipv4.dhcp_end = 0xC0A869C8;
    spec.mtu = 1400;
    assert_int_equal(dhcp_config_write(&spec, "vmsw3", text, DHCP_CONFIG_SIZE), 0);
    has("\ninterface=vmsw3\nexcept-interface=lo\nbind-interfaces\n");
    has("\ndhcp-range=192.168.105.2,192.168.105.200,255.255.255.0,1h\n");
    has("\ndhcp-lease-max=199\n");
    has("\ndhcp-option=option:router,192.168.105.1\n");
    has("\ndhcp-option=option:mtu,1400\n");
    spec.ipv4.dhcp = false;
    assert_int_equal(dhcp_config_write(&spec, "vmsw3", text, DHCP_CONFIG_SIZE), 0);
    has_not("dhcp-range");
    assert_int_equal(dhcp_config_write(&spec, "vmsw3", text, 40), -ENOBUFS);
}

static void a_host_network_is_told_no_way_out_and_no_names_of_others(void **state)
{
    (void)state;
    struct network_spec spec;
    network_spec_init(&spec, "lab", MODE_HOST);
    spec.ipv4.dhcp = true;
    assert_int_equal(dhcp_config_write(&spec, "vmsw3", text, DHCP_CONFIG_SIZE), 0);
    has("\nno-resolv\n");
    has("\ndhcp-option=option:router\n");
    has("\ndhcp-range=192.168.106.2,192.168.106.254,255.255.255.0,1h\n");
    has("\ndhcp-option=option:dns-server,192.168.106.1\n");
    spec = shared();
    assert_int_equal(dhcp_config_write(&spec, "vmsw3", text, DHCP_CONFIG_SIZE), 0);
    has_not("no-resolv");
}

static void every_reservation_is_a_line(void **state)
{
    (void)state;
    struct network_spec spec = shared();
    spec.ipv4.n_reservations = NETWORK_RESERVATIONS_MAX;
    for (uint32_t i = 0; i < NETWORK_RESERVATIONS_MAX; i++)
        spec.ipv4.reservations[i] =
            (struct network_reservation){.mac = 0x525400000000 + i, .address = 0xC0A86980 + i};
    assert_int_equal(dhcp_config_write_hosts(&spec, text, DHCP_HOSTS_SIZE), 0);
    has("52:54:00:00:00:00,192.168.105.128\n52:54:00:00:00:01,192.168.105.129\n");
    assert_int_equal(dhcp_config_write_hosts(&spec, text, 100), -ENOBUFS);
    spec.ipv4.n_reservations = 0;
    assert_int_equal(dhcp_config_write_hosts(&spec, text, DHCP_HOSTS_SIZE), 0);
    assert_string_equal(text, "");
}

/* ---- leases ---- */

static const char leases[] = "300 52:54:00:00:00:01 192.168.105.11 one 01:52:54:00:00:00:01\n"
                             "100 52:54:00:00:00:02 192.168.105.12 * *\n"
                             "duid 00:01:00:01\n"
                             "\n"
                             "200 52:54:00:00:00:03 192.168.105.13 192.168.105.12 *\n"
                             "400 52:54:00:00:00:04 192.168.105.999 * *\n"
                             "150 half a line 192.168.105.15";

static void leases_come_in_the_order_of_their_end(void **state)
{
    (void)state;
    struct dhcp_lease found[4];
    assert_int_equal(dhcp_leases_oldest(leases, found, 4), 3);
    assert_int_equal(found[0].address, 0xC0A8690C);
    assert_int_equal(found[1].address, 0xC0A8690D);
    assert_int_equal(found[2].address, 0xC0A8690B);
    assert_int_equal(found[2].expiry, 300);
    assert_int_equal(dhcp_leases_oldest(leases, found, 2), 3); /* the oldest two, of three */
    assert_int_equal(found[0].expiry, 100);
    assert_int_equal(found[1].expiry, 200);
    assert_int_equal(dhcp_leases_oldest("", found, 4), 0);
}

/* A name that looks like an address is a guest's word. */
static void leases_are_removed_by_their_address_alone(void **state)
{
    (void)state;
    const uint32_t gone[] = {0xC0A8690C, 0xC0A8690B, 0xC0A86999};
    snprintf(text, sizeof(text), "%s\n", leases);
    assert_int_equal(dhcp_leases_remove(text, gone, 3), 2);
    assert_string_equal(text, "duid 00:01:00:01\n\n200 52:54:00:00:00:03 192.168.105.13 192.168.105.12 *\n"
                              "400 52:54:00:00:00:04 192.168.105.999 * *\n150 half a line 192.168.105.15\n");
}

static void what_is_no_lease_is_taken_out(void **state)
{
    (void)state;
    static const char good[] = "300 52:54:00:00:00:01 192.168.105.11 one 01:52:54:00:00:00:01\n"
                               "0 06-52:54:00:00:00:02 192.168.105.12 * *\n";
    static const char *const bad[] = {
        "\n",
        "duid 00:01:00:01\n",
        " 300 52:54:00:00:00:01 192.168.105.11 one *\n",
        "-1 52:54:00:00:00:01 192.168.105.11 one *\n",
        "300 52:54:00:00:00:01 192.168.105.11 one\n",
        "300 52:54:00:00:00:01 192.168.105.11 one * more\n",
        "300 52:54:00:00:00:01  192.168.105.11 one *\n",
        "300 52:54:00:00:00:zz 192.168.105.11 one *\n",
        "300 52:54:00:00:00:01 192.168.105.256 one *\n",
        "300 52:54:00:00:00:01 192.168.105.11 o\x1b[2J *\n",
        "300 52:54:00:00:00:01 192.168.105.11 \xff\xfe *\n",
        "300 52:54:00:00:00:01 192.168.105.11 one *", /* unfinished */
    };
    snprintf(text, sizeof(text), "%s", good);
    assert_int_equal(dhcp_leases_keep_valid(text), 0);
    assert_string_equal(text, good);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "%s%s", good, bad[i]);
        assert_int_equal(dhcp_leases_keep_valid(text), 1);
        assert_string_equal(text, good);
    }
    text[0] = '\0';
    assert_int_equal(dhcp_leases_keep_valid(text), 0);
}

static void random_leases_do_no_harm(void **state)
{
    (void)state;
    static const char letters[] = "0123456789. \n:*a";
    struct dhcp_lease found[8];
    const uint32_t gone[] = {1, 2};
    srandom(7);
    for (int i = 0; i < 20000; i++) {
        char random_text[96];
        const size_t n = (size_t)random() % sizeof(random_text);
        for (size_t k = 0; k < n; k++)
            random_text[k] = letters[(size_t)random() % (sizeof(letters) - 1)];
        random_text[n] = '\0';
        dhcp_leases_oldest(random_text, found, 8);
        dhcp_leases_remove(random_text, gone, 2);
        assert_true(strlen(random_text) <= n);
        dhcp_leases_keep_valid(random_text);
        assert_true(strlen(random_text) <= n);
        assert_int_equal(dhcp_leases_keep_valid(random_text), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_replaced_as_a_whole_and_owned),
        cmocka_unit_test(guests_of_a_shared_network_have_no_ipv6_way_out),
        cmocka_unit_test(a_host_network_passes_nothing_on),
        cmocka_unit_test(a_forward_of_an_address_is_for_everybody),
        cmocka_unit_test(a_forward_of_the_loopback_is_the_hosts_alone),
        cmocka_unit_test(the_most_forwards_fit),
        cmocka_unit_test(dnsmasq_serves_the_tap_alone),
        cmocka_unit_test(a_host_network_is_told_no_way_out_and_no_names_of_others),
        cmocka_unit_test(every_reservation_is_a_line),
        cmocka_unit_test(leases_come_in_the_order_of_their_end),
        cmocka_unit_test(leases_are_removed_by_their_address_alone),
        cmocka_unit_test(what_is_no_lease_is_taken_out),
        cmocka_unit_test(random_leases_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

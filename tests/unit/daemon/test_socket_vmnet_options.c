/* tests/unit/daemon/test_socket_vmnet_options.c - command lines as clients of socket_vmnet write them (rows
 * 2, 3) */
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/socket_vmnet_options.h"
#include "io/sockpath.h"

enum { WORDS_MAX = 16 };

static struct socket_vmnet_options options;
static char why[256];
static char words[WORDS_MAX][600];

/* 'line' is split at spaces; "''" stands for an empty word. */
static int parse(const char *line)
{
    char *argv[WORDS_MAX + 1] = {NULL};
    char copy[2000], *save = NULL;
    int argc = 0;
    snprintf(copy, sizeof(copy), "socket_vmnet %s", line);
    for (char *word = strtok_r(copy, " ", &save); word && argc < WORDS_MAX;
         word = strtok_r(NULL, " ", &save)) {
        snprintf(words[argc], sizeof(words[0]), "%s", strcmp(word, "''") == 0 ? "" : word);
        argv[argc] = words[argc];
        argc++;
    }
    optind = 0; /* getopt begins anew */
    opterr = 0;
    return socket_vmnet_options_parse(&options, argc, argv, why, sizeof(why));
}

static void lima_and_colima_write_the_same_in_two_forms(void **state)
{
    static const char *const lines[] = {
        "--pidfile=/p --socket-group=staff --vmnet-mode=shared --vmnet-gateway=192.168.105.1 "
        "--vmnet-dhcp-end=192.168.105.100 --vmnet-mask=255.255.255.0 /s",
        "--vmnet-mode shared --socket-group staff --vmnet-gateway 192.168.105.1 --vmnet-dhcp-end "
        "192.168.105.100 "
        "--vmnet-mask 255.255.255.0 --pidfile /p /s",
        "/s -p /p --socket-group staff --vmnet-gateway=192.168.105.1 --vmnet-dhcp-end 192.168.105.100",
        "-p/p --socket-g=staff --vmnet-mo=shared /s --vmnet-g=192.168.105.1 --vmnet-dh 192.168.105.100",
        "--pid=/p --socket=staff --vmnet-gateway 192.168.105.1 --vmnet-dhcp-end 192.168.105.100 -- /s",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_int_equal(parse(lines[i]), 0);
        assert_string_equal(options.pidfile, "/p");
        assert_string_equal(options.socket_path, "/s");
        assert_string_equal(options.socket_group, "staff");
        assert_int_equal(options.mode, MODE_SHARED);
        assert_true(options.has_gateway);
        assert_int_equal(options.spec.ipv4.gateway, 0xC0A86901);
        assert_int_equal(options.spec.ipv4.dhcp_end, 0xC0A86964);
        assert_int_equal(options.spec.ipv4.netmask, 0xFFFFFF00);
    }
}

static void nil_and_empty_values_are_not_set(void **state)
{
    (void)state;
    /* "limactl network create" leaves dhcpEnd out, an old yaml the group or the mask. */
    assert_int_equal(parse("--pidfile= --socket-group= --vmnet-mode=shared --vmnet-gateway=192.168.42.1 "
                           "--vmnet-dhcp-end=<nil> --vmnet-mask=<nil> /s"),
                     0);
    assert_null(options.pidfile);
    assert_null(options.socket_group);
    assert_int_equal(options.spec.ipv4.dhcp_end, 0xC0A82AFE);
    assert_int_equal(options.spec.ipv4.netmask, 0xFFFFFF00);
    assert_int_equal(
        parse("--vmnet-mode '' --vmnet-gateway=<nil> --vmnet-interface-id= --vmnet-nat66-prefix= /s"), 0);
    assert_int_equal(options.mode, MODE_SHARED);
    assert_false(options.has_gateway || options.has_interface_id || options.spec.ipv6.has_prefix);
    assert_int_equal(options.spec.ipv4.gateway, 0xC0A86901); /* where nobody else chooses */
}

static void a_small_subnets_last_address_is_inside(void **state)
{
    (void)state;
    assert_int_equal(parse("--vmnet-gateway=172.27.0.1 --vmnet-mask=255.255.255.252 /s"), 0);
    assert_int_equal(options.spec.ipv4.dhcp_end, 0xAC1B0002);
    assert_int_equal(parse("--vmnet-gateway=172.27.0.1 --vmnet-mask=255.255.0.0 /s"), 0);
    assert_int_equal(options.spec.ipv4.dhcp_end, 0xAC1B00FE);
}

static void modes(void **state)
{
    (void)state;
    assert_int_equal(parse("--vmnet-mode=host /s"), 0);
    assert_int_equal(options.spec.mode, MODE_HOST);
    assert_int_equal(options.spec.ipv4.gateway, 0xC0A86A01);
    assert_int_equal(parse("--vmnet-mode=bridged --vmnet-interface=en0 /s"), 0);
    assert_int_equal(options.spec.mode, MODE_BRIDGED);
    assert_string_equal(options.spec.interface, "en0");
    assert_int_equal(parse("--vmnet-mode=bridged /s"), -1);
    assert_non_null(strstr(why, "requires --vmnet-interface"));
    assert_int_equal(parse("--vmnet-mode=bridged --vmnet-interface=en0 --vmnet-gateway=1.2.3.4 /s"), -1);
    assert_non_null(strstr(why, "conflicts with --vmnet-gateway"));
    assert_int_equal(parse("--vmnet-mode=bridged --vmnet-interface=abcdefghijklmnopqrstuvwxyz /s"), -1);
    assert_int_equal(parse("--vmnet-mode=Shared /s"), -1);
    assert_non_null(strstr(why, "Unknown vmnet mode \"Shared\""));
}

static void uuids_and_the_prefix(void **state)
{
    (void)state;
    assert_int_equal(parse("--vmnet-interface-id=01234567-89ab-CDEF-0123-456789abcdef "
                           "--vmnet-network-identifier=ffffffff-ffff-ffff-ffff-ffffffffffff "
                           "--vmnet-nat66-prefix=fd00:1:: --vmnet-disable-dhcp /s"),
                     0);
    assert_true(options.has_interface_id && options.has_network_id && options.disable_dhcp);
    assert_int_equal(options.interface_id[0], 0x01);
    assert_int_equal(options.interface_id[7], 0xEF);
    assert_int_equal(options.interface_id[15], 0xEF);
    assert_int_equal(options.network_id[15], 0xFF);
    assert_int_equal(options.spec.ipv6.prefix[0], 0xFD);
    assert_false(options.spec.ipv4.dhcp);
    static const char *const wrong[] = {
        "0", "01234567-89ab-CDEF-0123-456789abcde", "0123456789abCDEF0123456789abcdef",
        "01234567-89ab-CDEF-0123-456789abcdef0", "g1234567-89ab-CDEF-0123-456789abcdef"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char line[128];
        snprintf(line, sizeof(line), "--vmnet-interface-id=%s /s", wrong[i]);
        assert_int_equal(parse(line), -1);
        assert_non_null(strstr(why, "is not a UUID"));
    }
    assert_int_equal(parse("--vmnet-nat66-prefix=fd00::1 /s"), -1);
    assert_int_equal(parse("--vmnet-nat66-prefix=10.0.0.1 /s"), -1);
}

/* The spec of a command line, as vmnet gets it. */
static const struct network_spec *for_vmnet(const char *line)
{
    static struct network_spec spec;
    assert_int_equal(parse(line), 0);
    spec = options.spec;
    spec.uplink = WANT_VMNET;
    socket_vmnet_options_fill_vmnet(&options, &spec);
    return &spec;
}

static void vmnet_gets_what_it_alone_knows(void **state)
{
    static const char id[] = "01234567-89ab-CDEF-0123-456789abcdef";
    char line[256];
    (void)state;
    const struct network_spec *spec = for_vmnet("/s");
    assert_int_equal(spec->ipv4.gateway, 0); /* its own choice */
    assert_true(spec->ipv4.dhcp && !spec->vmnet.has_interface_id && !spec->vmnet.has_network_id);
    spec = for_vmnet("--vmnet-mode=host --vmnet-gateway=192.168.106.1 /s");
    assert_true(spec->ipv4.gateway == 0xC0A86A01 &&
                spec->ipv4.dhcp); /* Lima's host network has addresses by DHCP */
    assert_int_equal(for_vmnet("--vmnet-mode=host /s")->ipv4.gateway, 0);
    snprintf(line, sizeof(line), "--vmnet-mode=host --vmnet-interface-id=%s --vmnet-network-identifier=%s /s",
             id, id);
    spec = for_vmnet(line);
    assert_true(spec->vmnet.has_interface_id && spec->vmnet.has_network_id && !spec->ipv4.dhcp);
    assert_int_equal(spec->ipv4.gateway, 0xC0A86A01); /* nobody would give the host one */
    assert_int_equal(spec->vmnet.interface_id[1], 0x23);
    assert_int_equal(spec->vmnet.network_id[15], 0xEF);
    snprintf(line, sizeof(line), "--vmnet-network-identifier=%s /s", id);
    assert_false(for_vmnet(line)->vmnet.has_network_id); /* of host networks alone */
    assert_false(for_vmnet("--vmnet-mode=bridged --vmnet-interface=en0 /s")->ipv4.dhcp);
    spec = for_vmnet("--vmnet-disable-dhcp /s");
    assert_true(!spec->ipv4.dhcp && spec->ipv4.gateway == 0xC0A86901);
}

static void what_is_wrong_is_said(void **state)
{
    static const struct {
        const char *line, *said;
    } wrong[] = {
        {"", "no SOCKET"},
        {"/a /b", "one SOCKET"},
        {"''", "empty"},
        {"--vmnet-gateway=x /s", "--vmnet-gateway: \"x\" is not an IPv4 address"},
        {"--vmnet-gateway=1.2.3.4 --vmnet-mask=255 /s --vmnet-dhcp-end=z", "--vmnet-dhcp-end: \"z\""},
        {"--vmnet-dhcp-end=1.2.3.4 /s", "requires --vmnet-gateway=IP"},
        {"--vmnet-mask=255.255.255.0 /s", "--vmnet-mask=MASK requires"},
        {"--frobnicate /s", ""},
        {"--vmnet /s", ""}, /* which? */
        {"--pidfile", ""},
        {"--help=yes /s", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(parse(wrong[i].line), -1);
        assert_non_null(strstr(why, wrong[i].said));
    }
}

static void a_path_fits_or_its_length_is_said(void **state)
{
    const size_t max = sockpath_len_max();
    char line[600], said[64];
    (void)state;
    memset(line, 'x', sizeof(line));
    line[0] = '/';
    line[max] = '\0';
    assert_int_equal(parse(line), 0);
    line[max] = 'x';
    line[max + 1] = '\0';
    assert_int_equal(parse(line), -1);
    snprintf(said, sizeof(said), "the socket path is too long: %zu", max + 1);
    assert_non_null(strstr(why, said));
    memset(line, 'x', sizeof(line));
    memcpy(line, "-p /", 4);
    snprintf(line + 590, 10, " /s");
    assert_int_equal(parse(line), -1);
    assert_non_null(strstr(why, "the path of the pidfile is too long"));
}

static void help_and_version_need_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(parse("--help"), 0);
    assert_true(options.help);
    assert_int_equal(parse("-v"), 0);
    assert_true(options.version && !options.help);
    assert_int_equal(parse("--vers"), 0);
    assert_true(options.version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lima_and_colima_write_the_same_in_two_forms),
        cmocka_unit_test(nil_and_empty_values_are_not_set),
        cmocka_unit_test(a_small_subnets_last_address_is_inside),
        cmocka_unit_test(modes),
        cmocka_unit_test(uuids_and_the_prefix),
        cmocka_unit_test(vmnet_gets_what_it_alone_knows),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(a_path_fits_or_its_length_is_said),
        cmocka_unit_test(help_and_version_need_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tests/unit/daemon/test_vmnet_helper_options.c - command lines as clients write them, and the line of JSON
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "daemon/vmnet_helper_json.h"
#include "daemon/vmnet_helper_options.h"

enum { WORDS_MAX = 24 };

/* Splits at spaces. Options point into the text, and getopt still points into that of the call before. */
static int parse(const char *line, struct helper_options *options, char why[HELPER_WHY_SIZE])
{
    static char texts[2][1024];
    static unsigned turn;
    char *text = texts[turn++ % 2];
    char *argv[WORDS_MAX + 1] = {NULL}, *rest = text;
    int argc = 0;
    snprintf(text, sizeof(texts[0]), "vmnet-helper %s", line);
    for (char *word; argc < WORDS_MAX && (word = strtok_r(rest, " ", &rest));)
        argv[argc++] = word;
    return helper_options_parse(options, argc, argv, why);
}

static void accept(const char *line, struct helper_options *options)
{
    char why[HELPER_WHY_SIZE] = "";
    if (parse(line, options, why) < 0)
        fail_msg("%s: %s", line, why);
}

static void refuse(const char *line, const char *wanted)
{
    struct helper_options options;
    char why[HELPER_WHY_SIZE] = "";
    assert_int_equal(parse(line, &options, why), -1);
    if (!strstr(why, wanted))
        fail_msg("%s: \"%s\" is not in \"%s\"", line, wanted, why);
}

static void both_forms_and_abbreviations_are_taken(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "--socket /x --interface-id 5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b4c --verbose",
        "--socket=/x --interface-id=5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b4c -v",
        "-s /x -i 5B8C9D1E-7F20-4A31-9C42-D06E1F2A3B4C -v",
        "-vs/x --int=5b8c9d1e-7f20-4a31-9c42-d06e1f2a3b4c"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct helper_options options;
        accept(lines[i], &options);
        assert_string_equal(options.socket, "/x");
        assert_int_equal(options.fd, -1);
        assert_true(options.has_interface_id && options.is_verbose);
        assert_int_equal(options.interface_id[0], 0x5b);
        assert_int_equal(options.mode, MODE_SHARED);
        assert_int_equal(options.action, HELPER_RUN);
    }
}

static void vibes_and_anylinuxfs_lines_are_understood(void **state)
{
    (void)state;
    struct helper_options options;
    accept("--fd 3 --parent-liveness-fd 4 --operation-mode bridged --shared-interface en0", &options);
    assert_int_equal(options.fd, 3);
    assert_int_equal(options.liveness_fd, 4);
    assert_int_equal(options.mode, MODE_BRIDGED);
    assert_string_equal(options.shared_interface, "en0");
    accept("--socket /tmp/vfkit-1.sock --enable-tso --enable-checksum-offload --start-address=172.27.1.1 "
           "--end-address=172.27.1.2 --subnet-mask=255.255.255.252 --operation-mode=shared",
           &options);
    assert_true(options.tso && options.checksum && !options.is_isolated);
    assert_int_equal(options.start, 0xAC1B0101);
    assert_int_equal(options.end, 0xAC1B0102);
    assert_int_equal(options.mask, 0xFFFFFFFC);
    accept("--fd=0 --enable-isolation --stats-interval=7", &options);
    assert_int_equal(options.fd, 0);
    assert_int_equal(options.liveness_fd, -1);
    assert_int_equal(options.stats_interval_s, 7);
    assert_true(options.is_isolated);
}

static void what_only_prints_needs_nothing_else(void **state)
{
    (void)state;
    struct helper_options options;
    accept("--version", &options);
    assert_int_equal(options.action, HELPER_VERSION);
    accept("--help --bogus", &options);
    assert_int_equal(options.action, HELPER_HELP);
    accept("-h", &options);
    assert_int_equal(options.action, HELPER_HELP);
    accept("--list-shared-interfaces", &options);
    assert_int_equal(options.action, HELPER_LIST);
}

static void odd_values_are_refused_by_name(void **state)
{
    (void)state;
    refuse("--fd 2147483648", "fd");
    refuse("--fd 1x", "fd");
    refuse("--fd=", "fd");
    refuse("--socket=", "socket");
    refuse("--fd 1 --parent-liveness-fd 1", "same");
    refuse("--fd 1 --interface-id <nil>", "interface-id");
    refuse("--fd 1 --operation-mode Shared", "operation-mode");
    refuse("--fd 1 --start-address 192.168.1", "start-address");
    refuse("--fd 1 --start-address 0.0.0.0", "start-address");
    refuse("--fd 1 --start-address 1.2.3.4 --end-address 1.2.3.9", "all three");
    refuse("--fd 1 --subnet-mask 255.255.255.0", "all three");
    refuse("--fd 1 --start-address 1.2.3.1 --end-address 1.2.3.2 --subnet-mask 255.0.255.0", "subnet-mask");
    refuse("--fd 1 --start-address 1.2.3.1 --end-address 1.2.3.2 --subnet-mask 255.255.255.254",
           "subnet-mask");
    refuse("--fd 1 --stats-interval 0", "stats-interval");
    refuse("--fd 1 --stats-interval -5", "stats-interval");
    refuse("--fd 1 --network ../x", "network");
    refuse("--fd 1 --network x --start-address 1.2.3.1 --end-address 1.2.3.2 --subnet-mask 255.255.255.0",
           "conflicts");
    refuse("--fd 1 --network x --shared-interface en0", "conflicts");
    refuse("--fd 1 --shared-interface interface-with-a-long-name", "too long");
    refuse("--fd 1 --enable-tso=yes", "--enable-tso=yes");
    refuse("--fd 1 more", "more");
    refuse("--fd 1 --pidfile /x", "--pidfile");
    refuse("-f", "value");
}

static void path_of_103_bytes_fits_and_104_do_not(void **state)
{
    (void)state;
    char line[160];
    struct helper_options options;
    snprintf(line, sizeof(line), "-s /%0102d", 0);
    accept(line, &options);
    snprintf(line, sizeof(line), "-s /%0103d", 0);
    refuse(line, "too long");
}

/* ---- the line ---- */

static json_t *line_of(const struct helper_facts *facts)
{
    char *text = helper_json(facts);
    assert_non_null(text);
    assert_null(strchr(text, '\n'));
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    assert_non_null(line);
    return line;
}

static const struct helper_facts facts_of_host = {.mode = MODE_HOST,
                                                  .interface_id = {0xAB},
                                                  .mac = UINT64_C(0x0a0102030405),
                                                  .mtu = 1500,
                                                  .frame_max = 1514,
                                                  .start = 0xAC1B0101,
                                                  .end = 0xAC1B0102,
                                                  .mask = 0xFFFFFFFC,
                                                  .prefix = {0xfd, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07}};

static void line_has_ten_keys_with_addresses_and_six_when_bridged(void **state)
{
    (void)state;
    struct helper_facts facts = facts_of_host;
    json_t *line = line_of(&facts);
    assert_int_equal(json_object_size(line), 10);
    assert_string_equal(json_string_value(json_object_get(line, "vmnet_subnet_mask")), "255.255.255.252");
    assert_string_equal(json_string_value(json_object_get(line, "vmnet_mac_address")), "0a:01:02:03:04:05");
    assert_string_equal(json_string_value(json_object_get(line, "vmnet_interface_id")),
                        "AB000000-0000-0000-0000-000000000000");
    assert_string_equal(json_string_value(json_object_get(line, "vmnet_nat66_prefix")), "fd01:203:405:607::");
    assert_true(json_is_integer(json_object_get(line, "vmnet_read_max_packets")));
    json_decref(line);
    facts.mode = MODE_BRIDGED;
    line = line_of(&facts);
    assert_int_equal(json_object_size(line), 6);
    assert_null(json_object_get(line, "vmnet_start_address"));
    json_decref(line);
}

static void joined_network_adds_four(void **state)
{
    (void)state;
    struct helper_facts facts = facts_of_host;
    facts.is_joined = true;
    json_t *line = line_of(&facts);
    assert_int_equal(json_object_size(line), 14);
    assert_string_equal(json_string_value(json_object_get(line, "net_ipv4_subnet")), "172.27.1.0");
    assert_string_equal(json_string_value(json_object_get(line, "net_ipv6_prefix")), "fd01:203:405:607::");
    assert_int_equal(json_integer_value(json_object_get(line, "net_ipv6_prefix_len")), 64);
    json_decref(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_and_abbreviations_are_taken),
        cmocka_unit_test(vibes_and_anylinuxfs_lines_are_understood),
        cmocka_unit_test(what_only_prints_needs_nothing_else),
        cmocka_unit_test(odd_values_are_refused_by_name),
        cmocka_unit_test(path_of_103_bytes_fits_and_104_do_not),
        cmocka_unit_test(line_has_ten_keys_with_addresses_and_six_when_bridged),
        cmocka_unit_test(joined_network_adds_four),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The configuration file: what is accepted, and that an error names file, line, field and rule.
 *
 * The folder of the example and the manual page, etc/, is the first argument.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/spec_json.h"
#include "daemon/config.h"
#include "daemon/json_locate.h"

static const char *etc;
static struct config config;
static char why[CONFIG_WHY_SIZE];

static int parse(const char *text)
{
    config_deinit(&config);
    why[0] = '\0';
    return config_parse(text, strlen(text), "x.conf", &config, why, sizeof why);
}

static void accept(const char *text)
{
    if (parse(text) != 0)
        fail_msg("refused: %s", why);
}

/* The error begins with file, line and field, and says 'rule' behind it. */
static void refuse(const char *text, const char *start, const char *rule)
{
    if (parse(text) == 0)
        fail_msg("accepted: %s", text);
    if (strncmp(why, start, strlen(start)) != 0 || !strstr(why + strlen(start), rule))
        fail_msg("expected '%s ... %s', got '%s'", start, rule, why);
    assert_null(strchr(why, '\n'));
    assert_int_equal(config.n_networks, 0);
    assert_null(config.networks);
}

static int forget(void **state)
{
    (void)state;
    config_deinit(&config);
    return 0;
}

static void an_empty_object_is_an_empty_configuration(void **state)
{
    (void)state;
    accept("{}");
    assert_int_equal(config.n_networks, 0);
    assert_int_equal(config.n_bridged_interfaces, 0);
    assert_false(config.has_log_level);
}

static void every_field_is_read(void **state)
{
    (void)state;
    accept(
        "// vmswitch\n"
        "{\n"
        "  // two networks\n"
        "  \"networks\": [\n"
        "    {\"name\": \"lab\", \"user\": \"alice\", \"mtu\": 9000,\n"
        "     \"ports\": [{\"name\": \"a\", \"isolated\": true}, {\"name\": \"b\", \"link\": \"down\"}]},\n"
        "\t// \"commented\": {\n"
        "    {\"name\": \"shared\", \"mode\": \"shared\"}\n"
        "  ],\n"
        "  \"bridged_interfaces\": [\"br0\", \"eth0.100\"],\n"
        "  \"log_level\": \"debug\"\n"
        "}\n// end");
    assert_int_equal(config.n_networks, 2);
    assert_string_equal(config.networks[0].spec.name, "lab");
    assert_string_equal(config.networks[0].user, "alice");
    assert_int_equal(config.networks[0].spec.mtu, 9000);
    assert_int_equal(config.networks[0].n_ports, 2);
    assert_true(config.networks[0].ports[0].isolated);
    assert_false(config.networks[0].ports[1].enabled);
    assert_string_equal(config.networks[1].user, "");
    assert_int_equal(config.networks[1].n_ports, 0);
    assert_ptr_equal(config_find(&config, "shared"), &config.networks[1]);
    assert_null(config_find(&config, "nobody"));
    assert_int_equal(config.n_bridged_interfaces, 2);
    assert_string_equal(config.bridged_interfaces[1], "eth0.100");
    assert_true(config.has_log_level);
    assert_int_equal(config.log_level, LOG_DEBUG);
}

static void two_slashes_inside_a_string_are_no_comment(void **state)
{
    (void)state;
    refuse("{\"log_level\": \"//info\"}", "x.conf:1: log_level: ", "must be");
}

static void an_error_names_the_line_of_its_field(void **state)
{
    (void)state;
    refuse("// a comment\n"
           "{ \"networks\": [\n"
           "  {\"name\": \"a\"},\n"
           "  // another\n"
           "  {\"name\": \"b\", \"mode\": \"shared\",\n"
           "   \"ipv4\": {\"gateway\": \"192.168.7.1\",\n"
           "            \"netmask\": \"255.0.255.0\"}}]}",
           "x.conf:7: networks[1].ipv4.netmask: ", "must be");
    refuse("{\"networks\": [\n{\"name\": \"a\",\n\"colour\": 1}]}", "x.conf:3: networks[0].colour: ", "");
    refuse("{\"networks\": [\n{\"name\": \"a\"},\n{\"mtu\": 1500}]}", "x.conf:3: networks[1].name: ", "must");
    refuse("{\n\n\"network\": []}", "x.conf:3: network: ", "is no field");
    refuse("{\"networks\": [{\"name\": \"a\",\n\"ports\": [{\"name\": \"p\"},\n{\"name\": \"Q\"}]}]}",
           "x.conf:3: networks[0].ports[1].name: ", "must");
    refuse("{\"networks\": [{\"name\": \"a\",\n\"mode\": \"internal\",\n\"uplink\": \"tap\"}]}",
           "x.conf:3: networks[0].uplink: ", "");
}

static void a_key_with_escapes_is_found_too(void **state)
{
    (void)state;
    refuse("{\"networks\": [\n{\"name\": \"a\",\n\"m\\u0074u\": 1}]}", "x.conf:3: networks[0].mtu: ", "must");
}

static void broken_json_is_named_by_line(void **state)
{
    (void)state;
    refuse("{\"networks\": [\n\n{]}", "x.conf:3: ", "");
    refuse("{\"log_level\": \"info\",\n\"log_level\": \"warn\"}", "x.conf:", "");
    refuse("", "x.conf:1: ", "");
    refuse("[]", "x.conf:1: the file: ", "must be one JSON object");
    refuse("{} {}", "x.conf:1: ", "");
}

static void arrays_must_be_arrays_within_their_limits(void **state)
{
    static char text[16384];
    size_t n;

    (void)state;
    refuse("{\"networks\": {}}", "x.conf:1: networks: ", "must be an array");
    refuse("{\"networks\": [7]}", "x.conf:1: networks[0]: ", "must be an object");
    refuse("{\"bridged_interfaces\": null}", "x.conf:1: bridged_interfaces: ", "must be an array");
    refuse("{\"networks\": [{\"name\": \"a\", \"ports\": {}}]}",
           "x.conf:1: networks[0].ports: ", "must be an array");
    n = (size_t)snprintf(text, sizeof text, "{\"networks\": [");
    for (int i = 0; i <= NETWORKS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s{\"name\": \"n%d\"}", i ? "," : "", i);
    snprintf(text + n, sizeof text - n, "]}");
    refuse(text, "x.conf:1: networks: ", "must have at most 64 elements, not 65");
    n = (size_t)snprintf(text, sizeof text, "{\"networks\": [{\"name\": \"a\", \"ports\": [");
    for (int i = 0; i <= NETWORK_PORTS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s{\"name\": \"p%d\"}", i ? "," : "", i);
    snprintf(text + n, sizeof text - n, "]}]}");
    refuse(text, "x.conf:1: networks[0].ports: ", "must have at most 256 elements, not 257");
}

static void names_stand_once(void **state)
{
    (void)state;
    refuse("{\"networks\": [{\"name\": \"a\"},\n{\"name\": \"a\"}]}",
           "x.conf:2: networks[1].name: ", "must be the only network \"a\"");
    refuse("{\"networks\": [{\"name\": \"a\", \"ports\": [{\"name\": \"p\"},\n{\"name\": \"p\"}]}]}",
           "x.conf:2: networks[0].ports[1].name: ", "must be the only port \"p\"");
    refuse("{\"networks\": [{\"name\": \"a\", \"ports\": [\n{\"name\": \"uplink\"}]}]}",
           "x.conf:2: networks[0].ports[0].name: ", "must not be \"uplink\"");
    refuse("{\"networks\": [{\"name\": \"a\", \"ports\": [{\"name\": \"p\", \"static_addresses\": "
           "[\"52:54:00:00:00:01\"]},\n{\"name\": \"q\", \"static_addresses\": [\"52:54:00:00:00:01\"]}]}]}",
           "x.conf:2: networks[0].ports[1].static_addresses[0]: ", "must not be an address of port \"p\"");
    accept("{\"networks\": [{\"name\": \"a\", \"ports\": [{\"name\": \"p\"}]},"
           "{\"name\": \"b\", \"ports\": [{\"name\": \"p\"}]}]}");
}

static void subnets_with_an_uplink_do_not_overlap(void **state)
{
    (void)state;
    refuse("{\"networks\": [{\"name\": \"a\", \"mode\": \"shared\"},\n"
           "{\"name\": \"b\", \"mode\": \"shared\",\n"
           "\"ipv4\": {\n\"gateway\": \"192.168.104.1\", \"netmask\": \"255.255.254.0\"}}]}",
           "x.conf:4: networks[1].ipv4.gateway: ",
           "192.168.104.1 with netmask 255.255.254.0 overlaps network \"a\"");
    refuse(
        "{\"networks\": [{\"name\": \"a\", \"mode\": \"shared\"},\n{\"name\": \"b\", \"mode\": \"shared\"}]}",
        "x.conf:2: networks[1].ipv4.gateway: ", "overlaps");
    accept("{\"networks\": [{\"name\": \"a\", \"mode\": \"shared\"}, {\"name\": \"b\", \"mode\": \"host\"},"
           "{\"name\": \"c\", \"mode\": \"internal\"}, {\"name\": \"d\", \"mode\": \"internal\"}]}");
}

static void a_user_is_a_login_name_and_not_root(void **state)
{
    static const char *const bad[] = {"\"\"",   "7",        "\"a b\"",
                                      "\"-x\"", "\"../x\"", "\"abcdefghijklmnopqrstuvwxyz0123456\""};
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "{\"networks\": [{\"name\": \"a\",\n\"user\": %s}]}", bad[i]);
        refuse(text, "x.conf:2: networks[0].user: ", "must be a login name");
    }
    refuse("{\"networks\": [{\"name\": \"a\",\n\"user\": \"root\"}]}",
           "x.conf:2: networks[0].user: ", "must not be root");
    accept("{\"networks\": [{\"name\": \"a\", \"user\": null}]}");
    accept("{\"networks\": [{\"name\": \"a\", \"user\": \"_vmswitch\"}]}");
}

static void an_interface_is_a_name_the_kernel_takes(void **state)
{
    static const char *const bad[] = {
        "\"\"", "1", "\"a/b\"", "\".\"", "\"..\"", "\"a b\"", "\"sixteencharacter\""};
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "{\"bridged_interfaces\": [\"br0\",\n%s]}", bad[i]);
        refuse(text, "x.conf:2: bridged_interfaces[1]: ", "must be the name of an interface");
    }
}

static void a_hostile_key_does_not_reach_the_terminal(void **state)
{
    (void)state;
    refuse("{\"\\u001b[2J\\n\": 1}", "x.conf:1: ?[2J?: ", "is no field");
}

static void a_file_is_read_from_its_start_and_left_open(void **state)
{
    char path[] = "/tmp/test_config.XXXXXX";
    int fd = mkstemp(path), fds[2];

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"log_level\":\"warn\"}", 20), 20);
    assert_int_equal(config_load(fd, path, &config, why, sizeof why), 0);
    assert_int_equal(config_load(fd, path, &config, why, sizeof why), 0);
    assert_int_equal(config.log_level, LOG_WARN);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 20);
    assert_int_equal(ftruncate(fd, CONFIG_SIZE_MAX + 1), 0);
    assert_int_equal(config_load(fd, path, &config, why, sizeof why), -1);
    assert_non_null(strstr(why, "at most 1048576 bytes"));
    close(fd);
    unlink(path);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(config_load(fds[0], "pipe", &config, why, sizeof why), -1);
    assert_string_equal(why, "pipe: must be a regular file");
    close(fds[0]);
    close(fds[1]);
}

static void a_pointer_that_leads_nowhere_ends_at_its_last_part(void **state)
{
    static const char text[] =
        "{\n\"a\": [1,\n2, {\"b~c\": 3,\n\"d/e\": 4}],\n\"f\": \"]}\\\"\",\n\"g\": {}}";
    static const struct {
        const char *pointer;
        int line;
    } rows[] = {{"", 1},     {"/a", 2},   {"/a/1", 3},    {"/a/2/b~0c", 3}, {"/a/2/d~1e", 4},
                {"/a/9", 2}, {"/a/x", 2}, {"/a/2/zz", 3}, {"/f", 5},        {"/f/1", 5},
                {"/g", 6},   {"/g/x", 6}, {"/none", 1},   {"no pointer", 1}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (json_locate(text, strlen(text), rows[i].pointer) != rows[i].line)
            fail_msg("%s: line %d", rows[i].pointer, json_locate(text, strlen(text), rows[i].pointer));
}

static void the_example_is_accepted(void **state)
{
    char path[512];

    (void)state;
    snprintf(path, sizeof path, "%s/vmswitchd.conf.example", etc);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    if (config_load(fd, path, &config, why, sizeof why) != 0)
        fail_msg("%s", why);
    close(fd);
    assert_int_equal(config.n_networks, 2);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;

    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

/* Returns how many fields there are, those of inner objects and of the elements of arrays included. */
static size_t find_fields(const char *page, json_t *value)
{
    char item[64];
    const char *key;
    json_t *inner;
    size_t n = 0;

    if (json_is_array(value))
        return json_array_size(value) > 0 ? find_fields(page, json_array_get(value, 0)) : 0;
    json_object_foreach(value, key, inner)
    {
        snprintf(item, sizeof item, "\n.It Cm %s\n", key);
        if (count(page, item) == 0)
            fail_msg("the page has no field '%s'", key);
        n += 1 + find_fields(page, inner);
    }
    return n;
}

/* Both ways: what the reader of specs writes is in the page, and the page has no more. */
static void the_manual_page_has_the_fields_of_the_specs(void **state)
{
    static char page[65536];
    char path[512];

    (void)state;
    snprintf(path, sizeof path, "%s/vmswitchd.conf.5", etc);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    page[fread(page, 1, sizeof page - 1, file)] = '\0';
    fclose(file);

    accept(
        "{\"networks\": [{\"name\": \"a\", \"mode\": \"shared\", \"ipv4\": {\"dhcp\": true}, \"user\": \"x\","
        "\"limits\": {\"fdb_entries\": 100, \"fdb_per_port\": 10, \"fdb_uplink\": 10, \"queue_frames\": 100,"
        "\"queue_bytes\": 200000}, \"tuning\": {\"busy_poll_us\": 50}, \"forwards\": [{\"proto\": \"tcp\", "
        "\"host\": 80, \"guest\": "
        "\"192.168.105.2:80\"}],"
        "\"ports\": [{\"name\": \"p\", \"offload\": \"raw\", \"static_addresses\": "
        "[\"52:54:00:00:00:01\"]}]}]}");
    /* What no Linux accepts, and the page has all the same. */
    config.networks[0].spec.ipv4.n_reservations = 1;
    config.networks[0].spec.vmnet.tso = false;
    json_t *network = network_spec_to_json(&config.networks[0].spec);
    json_object_set_new(network, "user", json_string("x"));
    json_object_set_new(network, "ports", json_pack("[o]", port_spec_to_json(config.networks[0].ports)));
    json_t *whole =
        json_pack("{s:[o], s:[], s:s}", "networks", network, "bridged_interfaces", "log_level", "info");
    size_t n = find_fields(page, whole);
    assert_int_equal(count(page, "\n.It Cm "), n);
    json_decref(whole);
}

/* At every cut of a text: no read behind its end (the copies are exact, so a sanitizer sees one). */
static void a_cut_text_is_never_read_past_its_end(void **state)
{
    static const char text[] = "{\"a\\\"\": [1, {\"b\": \"x\\\\\"}, [[]], tru]}";

    (void)state;
    for (size_t len = 0; len < sizeof text; len++) {
        char *copy = malloc(len ? len : 1);
        memcpy(copy, text, len);
        assert_int_equal(json_locate(copy, len, "/a\"/3/1"), 1);
        assert_int_equal(json_locate(copy, len, "/a\"/1/b/7"), 1);
        free(copy);
    }
}

static void a_pointer_is_said_as_people_do(void **state)
{
    char said[64], small[8];

    (void)state;
    json_pointer_say("/networks/1/ipv4/netmask", said, sizeof said);
    assert_string_equal(said, "networks[1].ipv4.netmask");
    json_pointer_say("", said, sizeof said);
    assert_string_equal(said, "the file");
    json_pointer_say("/a~1b/c~0d", said, sizeof said);
    assert_string_equal(said, "a/b.c~d");
    json_pointer_say("/networks/1/ipv4", small, sizeof small);
    assert_string_equal(small, "network");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_object_is_an_empty_configuration),
        cmocka_unit_test(every_field_is_read),
        cmocka_unit_test(two_slashes_inside_a_string_are_no_comment),
        cmocka_unit_test(an_error_names_the_line_of_its_field),
        cmocka_unit_test(a_key_with_escapes_is_found_too),
        cmocka_unit_test(broken_json_is_named_by_line),
        cmocka_unit_test(arrays_must_be_arrays_within_their_limits),
        cmocka_unit_test(names_stand_once),
        cmocka_unit_test(subnets_with_an_uplink_do_not_overlap),
        cmocka_unit_test(a_user_is_a_login_name_and_not_root),
        cmocka_unit_test(an_interface_is_a_name_the_kernel_takes),
        cmocka_unit_test(a_hostile_key_does_not_reach_the_terminal),
        cmocka_unit_test(a_file_is_read_from_its_start_and_left_open),
        cmocka_unit_test(a_pointer_that_leads_nowhere_ends_at_its_last_part),
        cmocka_unit_test(the_example_is_accepted),
        cmocka_unit_test(the_manual_page_has_the_fields_of_the_specs),
        cmocka_unit_test(a_cut_text_is_never_read_past_its_end),
        cmocka_unit_test(a_pointer_is_said_as_people_do),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: %s ETC\n", argv[0]);
        return 2;
    }
    etc = argv[1];
    return cmocka_run_group_tests(tests, NULL, forget);
}

/* R33: what daemon/reload_plan.c makes of two configurations, carried out on real networks by direct calls
 *
 * 1,000 random pairs of files, read by the real reader. Each network of the first is changed as the plan says
 * and compared with one that was started with the second; what the plan keeps for a restart must be what
 * still differs, no more and no less.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "api/spec_json.h"
#include "daemon/config.h"
#include "daemon/network.h"
#include "daemon/reload_plan.h"

enum { PAIRS = 1000, TEXT_SIZE = 16384, N_NAMES = 4, N_PORTS = 5, N_ADDRESSES = 6 };

/* ---- random files ---- */

static uint64_t seed = 33;

static unsigned below(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)((seed >> 11) % n);
}

struct text {
    char bytes[TEXT_SIZE];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->bytes + text->len, TEXT_SIZE - text->len, format, args);
    va_end(args);
    assert_true(n >= 0 && text->len + (size_t)n < TEXT_SIZE);
    text->len += (size_t)n;
}

static void add_port(struct text *text, unsigned i, unsigned *address)
{
    static const char *const offloads[] = {"off", "raw", "virtio"};
    add(text, "{\"name\": \"p%u\"", i);
    if (below(3) == 0)
        add(text, ", \"isolated\": %s", below(2) ? "true" : "false");
    if (below(3) == 0)
        add(text, ", \"link\": \"%s\"", below(2) ? "up" : "down");
    if (below(4) == 0)
        add(text, ", \"offload\": \"%s\"", offloads[below(3)]);
    if (below(2) == 0 && *address < N_ADDRESSES) {
        add(text, ", \"static_addresses\": [\"52:54:00:00:00:%02x\"", *address);
        /* Any of the six may be at any port, so that they move between ports from file to file. */
        *address += 1 + below(2);
        if (below(2) == 0 && *address < N_ADDRESSES)
            add(text, ", \"52:54:00:00:00:%02x\"", (*address)++);
        add(text, "]");
    }
    add(text, "}");
}

static void add_ports(struct text *text)
{
    unsigned address = below(3), n = 0, order = below(N_PORTS);
    add(text, ", \"ports\": [");
    for (unsigned i = 0; i < N_PORTS; i++) {
        if (below(2))
            continue;
        add(text, "%s", n++ ? ", " : "");
        add_port(text, (i + order) % N_PORTS, &address);
    }
    add(text, "]");
}

static void add_fields(struct text *text)
{
    static const char *const sockets[] = {"{\"mode\": \"0600\"}", "{\"stream\": false}",
                                          "{\"group\": \"staff\", \"mode\": \"0660\"}"};
    if (below(4) == 0)
        add(text, ", \"mtu\": %u", 1500 + 100 * below(3));
    if (below(3) == 0)
        add(text, ", \"isolated\": %s", below(2) ? "true" : "false");
    if (below(4) == 0)
        add(text, ", \"offload\": \"%s\"", below(2) ? "raw" : "off");
    if (below(5) == 0)
        add(text, ", \"sockets\": %s", sockets[below(3)]);
    if (below(6) == 0)
        add(text, ", \"limits\": {\"queue_frames\": %u}", 64 << below(3));
    if (below(6) == 0)
        add(text, ", \"tuning\": {\"batch_frames\": %u}", 1 + below(3));
}

static void add_network(struct text *text, unsigned name)
{
    const unsigned net = below(2);
    add(text, "{\"name\": \"n%u\"", name);
    if (below(3)) {
        add(text, ", \"mode\": \"internal\"");
    } else {
        add(text, ", \"mode\": \"shared\", \"uplink\": \"user\", \"host_loopback\": %s",
            below(2) ? "true" : "false");
        add(text, ", \"ipv4\": {\"gateway\": \"10.%u.%u.1\"%s}", name, net,
            below(4) ? "" : ", \"dhcp\": true");
        if (below(2))
            add(text,
                ", \"forwards\": [{\"proto\": \"tcp\", \"host\": \"%u\", \"guest\": \"10.%u.%u.9:80\"}]",
                8000 + below(3), name, net);
    }
    add_fields(text);
    if (below(6) == 0)
        add(text, ", \"user\": \"u%u\"", below(2));
    add_ports(text);
    add(text, "}");
}

static void random_config(struct config *config)
{
    static struct text text;
    char why[CONFIG_WHY_SIZE];
    unsigned n = 0;
    text.len = 0;
    add(&text, "{\"networks\": [");
    for (unsigned i = 0; i < N_NAMES; i++) {
        if (below(3) == 0)
            continue;
        add(&text, "%s", n++ ? ", " : "");
        add_network(&text, i);
    }
    add(&text, "]}");
    if (config_parse(text.bytes, text.len, "random", config, why, sizeof why) < 0)
        fail_msg("%s in %s", why, text.bytes);
}

/* As control finds the owner: here the name's last letter is the uid. */
static struct network_want want_of(const struct network_config *nc)
{
    const uint32_t uid = nc->user[0] ? 1000U + (uint32_t)(nc->user[1] - '0') : 999;
    return (struct network_want){
        .spec = nc->spec, .uid = uid, .gid = uid, .n_ports = nc->n_ports, .ports = nc->ports};
}

/* ---- networks ---- */

static void on_uplink_wanted(void *ctx)
{
    (void)ctx;
}

static const struct network_env env = {.uplink_wanted = on_uplink_wanted};
static uv_loop_t loop;

static void put(struct network *network, const struct port_spec *port)
{
    struct done done;
    network_put_port(network, port, &done);
    if (done.status)
        fail_msg("port %s: %u %s", port->name, done.status, done.why);
}

static struct network *start(const struct network_want *want)
{
    struct network *network = NULL;
    struct network_spec resolved = want->spec;
    if (resolved.uplink == WANT_AUTO)
        resolved.uplink = WANT_NONE;
    assert_int_equal(network_create(&network, &loop, &resolved, &env, NULL), 0);
    for (uint32_t i = 0; i < want->n_ports; i++)
        put(network, &want->ports[i]);
    return network;
}

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static void stop(struct network *network)
{
    bool is_closed = false;
    network_close(network, on_closed, &is_closed);
    while (!is_closed)
        uv_run(&loop, UV_RUN_ONCE);
}

static void apply(struct network *network, const struct reload_plan *plan)
{
    struct network_spec live = plan->live;
    struct done done;
    live.uplink = network_spec_of(network)->uplink;
    assert_true(network_configure(network, &live));
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct reload_step *step = &plan->steps[i];
        if (step->kind == RELOAD_REMOVE_PORT) {
            network_remove_port(network, step->port.name, &done);
            assert_int_equal(done.status, 0);
        } else {
            put(network, &step->port);
        }
    }
}

/* ---- what a network is ---- */

static void see(void *ctx, uint16_t type, const void *payload, uint32_t len)
{
    json_t *seen = ctx;
    (void)len;
    if (type == MSG_SNAPSHOT_PORTS) {
        const struct ports_page *page = payload;
        for (uint32_t i = 0; i < page->n; i++) {
            const struct port_snapshot *port = &page->ports[i];
            json_object_set_new(json_object_get(seen, "ports"), port->name,
                                json_pack("{s:b, s:b, s:b, s:i, s:i}", "named", port->is_named, "enabled",
                                          port->enabled, "isolated", port->isolated, "offload",
                                          (int)port->offload, "frame_max", (int)port->frame_max));
        }
    } else if (type == MSG_SNAPSHOT_FDB) {
        const struct fdb_page *page = payload;
        for (uint32_t i = 0; i < page->n; i++) {
            char mac[32];
            snprintf(mac, sizeof mac, "%012llx", (unsigned long long)page->entries[i].mac);
            json_object_set_new(
                json_object_get(seen, "fdb"), mac,
                json_pack("{s:s, s:b}", "port", page->entries[i].port, "static", page->entries[i].is_static));
        }
    }
}

static json_t *seen_of(struct network *network)
{
    static const struct query all = {.ports = true, .fdb = true};
    json_t *seen = json_pack("{s:{}, s:{}}", "ports", "fdb");
    network_snapshot(network, &all, see, seen);
    return seen;
}

static void assert_same(struct network *one, struct network *other)
{
    json_t *left = seen_of(one), *right = seen_of(other);
    if (!json_equal(left, right)) {
        json_dumpf(left, stderr, JSON_INDENT(1));
        json_dumpf(right, stderr, JSON_INDENT(1));
        fail_msg("the ports differ");
    }
    json_decref(left);
    json_decref(right);
}

/* The fields in which what runs differs from what is wanted, as a fresh look says. */
static void assert_what_is_left(struct network *network, const struct network_want *is,
                                const struct network_want *should, const json_t *needs_restart)
{
    struct network_spec runs = *network_spec_of(network);
    struct reload_plan again;
    runs.uplink = is->spec.uplink;
    const struct network_want now = {
        .spec = runs, .uid = is->uid, .gid = is->gid, .n_ports = should->n_ports, .ports = should->ports};
    assert_int_equal(reload_plan_make(&again, &now, should), 0);
    assert_false(again.changes_spec);
    assert_int_equal(again.n_steps, 0);
    assert_true(json_equal(again.needs_restart, needs_restart));
    /* The network process sees it the same way: it takes the wanted one if nothing needs a restart. */
    struct network_spec wanted = should->spec;
    if (wanted.uplink == is->spec.uplink)
        wanted.uplink = network_spec_of(network)->uplink;
    const bool is_users = is->uid == should->uid && json_array_size(needs_restart) == 0;
    if (is->uid == should->uid)
        assert_int_equal(network_configure(network, &wanted), is_users);
    reload_plan_free(&again);
}

static unsigned n_live, n_restarts;

static void reload_one(const struct network_config *from, const struct network_config *to)
{
    const struct network_want is = want_of(from), should = want_of(to);
    struct network *network = start(&is), *fresh = start(&should);
    struct reload_plan plan;
    assert_int_equal(reload_plan_make(&plan, &is, &should), 0);
    apply(network, &plan);
    const bool needs_restart = json_array_size(plan.needs_restart) > 0;
    n_restarts += needs_restart;
    n_live += !needs_restart;
    assert_what_is_left(network, &is, &should, plan.needs_restart);
    if (!needs_restart)
        assert_same(network, fresh);
    stop(network);
    stop(fresh);
    reload_plan_free(&plan);
}

static void r33_a_thousand_random_reloads_are_as_fresh_starts(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    assert_int_equal(uv_loop_init(&loop), 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        struct config from, to;
        random_config(&from);
        random_config(&to);
        for (uint32_t k = 0; k < to.n_networks; k++) {
            const struct network_config *old = config_find(&from, to.networks[k].spec.name);
            if (old)
                reload_one(old, &to.networks[k]);
        }
        config_deinit(&from);
        config_deinit(&to);
    }
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_true(n_live > 100 && n_restarts > 100); /* both ways were gone */
}

static void a_network_that_stays_the_same_gets_no_order(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PAIRS; i++) {
        struct config config;
        struct reload_plan plan;
        random_config(&config);
        for (uint32_t k = 0; k < config.n_networks; k++) {
            const struct network_want want = want_of(&config.networks[k]);
            assert_int_equal(reload_plan_make(&plan, &want, &want), 0);
            assert_true(!plan.changes_spec && plan.n_steps == 0 && json_array_size(plan.changed) == 0 &&
                        json_array_size(plan.needs_restart) == 0);
            reload_plan_free(&plan);
        }
        config_deinit(&config);
    }
}

/* Every field that a configuration can have is named by the plan when it alone differs. */
static void each_field_is_named(void **state)
{
    static const char *const pairs[][3] = {
        {"\"mtu\": 1600", "/mtu", "restart"},
        {"\"isolated\": true", "/isolated", "live"},
        {"\"forwards\": [{\"proto\": \"udp\", \"host\": \"9\", \"guest\": \"192.168.105.9:9\"}]", "/forwards",
         "live"},
        {"\"ipv4\": {\"gateway\": \"10.0.0.1\"}", "/ipv4/gateway", "restart"},
        {"\"ipv6\": {\"prefix\": \"fd00::/64\"}", "/ipv6/prefix", "restart"},
        {"\"host_loopback\": true", "/host_loopback", "restart"},
        {"\"offload\": \"raw\"", "/offload", "restart"},
        {"\"sockets\": {\"mode\": \"0666\"}", "/sockets/mode", "restart"},
        {"\"sockets\": {\"datagram\": false}", "/sockets/datagram", "restart"},
        {"\"limits\": {\"fdb_entries\": 100}", "/limits/fdb_entries", "restart"},
        {"\"tuning\": {\"busy_poll_us\": 10}", "/tuning/busy_poll_us", "restart"},
        {"\"user\": \"u1\"", "/user", "restart"},
        {"\"ports\": [{\"name\": \"p\"}]", "/ports/p", "live"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct config from, to;
        struct reload_plan plan;
        char text[512], why[CONFIG_WHY_SIZE];
        static const char plain[] =
            "{\"networks\": [{\"name\": \"n\", \"mode\": \"shared\", \"uplink\": \"user\"}]}";
        snprintf(text, sizeof text,
                 "{\"networks\": [{\"name\": \"n\", \"mode\": \"shared\", \"uplink\": \"user\", %s}]}",
                 pairs[i][0]);
        assert_int_equal(config_parse(plain, strlen(plain), "a", &from, why, sizeof why), 0);
        if (config_parse(text, strlen(text), "b", &to, why, sizeof why) < 0)
            fail_msg("%s", why);
        const struct network_want is = want_of(&from.networks[0]), should = want_of(&to.networks[0]);
        assert_int_equal(reload_plan_make(&plan, &is, &should), 0);
        const json_t *list = strcmp(pairs[i][2], "live") == 0 ? plan.changed : plan.needs_restart;
        bool is_named = false;
        for (size_t k = 0; k < json_array_size(list); k++)
            is_named |= strcmp(json_string_value(json_array_get(list, k)), pairs[i][1]) == 0;
        if (!is_named)
            fail_msg("%s is not named", pairs[i][1]);
        reload_plan_free(&plan);
        config_deinit(&from);
        config_deinit(&to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r33_a_thousand_random_reloads_are_as_fresh_starts),
        cmocka_unit_test(a_network_that_stays_the_same_gets_no_order),
        cmocka_unit_test(each_field_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

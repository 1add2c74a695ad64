/* M06: what is read, kept and planned while the k-th allocation fails, for every k: the whole of it or an
 * error, and nothing is left behind (LeakSanitizer). With the daemon around it:
 * tests/system/test_memory_faults.py. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/shortage.h"
#include "api/spec_json.h"
#include "daemon/channel.h"
#include "daemon/config.h"
#include "daemon/message.h"
#include "daemon/network.h"
#include "daemon/reload_plan.h"
#include "daemon/state.h"
#include "io/log.h"
#include "tests/lib/faults.h"

static const char config_text[] =
    "// two networks\n"
    "{\"networks\": [{\"name\": \"one\", \"mode\": \"internal\", \"mtu\": 2000, \"isolated\": true,\n"
    "  \"ports\": [{\"name\": \"p\", \"static_addresses\": [\"52:54:00:00:00:01\"], \"link\": \"down\"}]},\n"
    " {\"name\": \"two\", \"mode\": \"shared\", \"uplink\": \"user\", \"forwards\": [{\"proto\": \"udp\",\n"
    "  \"host\": \"127.0.0.1:2000\", \"guest\": \"192.168.105.5:53\"}], \"limits\": {\"queue_frames\": "
    "64}}],\n"
    " \"bridged_interfaces\": [\"br0\"], \"log_level\": \"warn\"}\n";

/* Does something with the k-th allocation failing. True: it was done; false: it said that it was not. */
typedef bool attempt(void *ctx);

/* For every k. At last nothing fails, and it has to be done. */
static void for_every_allocation(attempt *try_it, void *ctx)
{
    for (uint64_t k = 0;; k++) {
        faults_arm(FAULT_MEMORY, k, 1, ENOMEM);
        const bool is_done = try_it(ctx);
        if (faults_disarm(FAULT_MEMORY) == 0) {
            assert_true(is_done);
            assert_true(k > 0);
            return;
        }
    }
}

/* ---- the configuration ---- */

static bool read_config(void *ctx)
{
    struct config config;
    char why[CONFIG_WHY_SIZE] = "";
    (void)ctx;
    const int r = config_parse(config_text, strlen(config_text), "conf", &config, why, sizeof(why));
    faults_disarm(FAULT_MEMORY);
    if (r < 0) {
        assert_int_equal(r, -ENOMEM);
        assert_non_null(strstr(why, "memory"));
        assert_null(config.networks);
        return false;
    }
    assert_int_equal(config.n_networks, 2);
    assert_true(config.networks[0].spec.isolated && config.networks[0].spec.mtu == 2000);
    assert_int_equal(config.networks[0].n_ports, 1);
    assert_int_equal(config.networks[0].ports[0].n_statics, 1);
    assert_false(config.networks[0].ports[0].enabled);
    assert_int_equal(config.networks[1].spec.n_forwards, 1);
    assert_int_equal(config.networks[1].spec.limits.queue_frames, 64);
    assert_int_equal(config.n_bridged_interfaces, 1);
    assert_true(config.has_log_level);
    config_deinit(&config);
    return true;
}

static void a_configuration_is_read_whole_or_not_at_all(void **state)
{
    (void)state;
    for_every_allocation(read_config, NULL);
}

/* ---- the state folder ---- */

struct keeping {
    struct state *state;
    struct network_spec spec;
    struct port_spec ports[2];
    char seen[64]; /* what a visit found */
};

static void on_network(void *ctx, const struct state_network *network)
{
    struct keeping *keeping = ctx;
    snprintf(keeping->seen, sizeof(keeping->seen), "%s %u %u %u", network->spec->name, network->spec->mtu,
             network->n_ports, network->n_ports ? network->ports[0].n_statics : 0);
}

static void on_damaged(void *ctx, const char *file, const char *why)
{
    (void)ctx;
    fail_msg("%s: %s", file, why);
}

static const struct state_visitor visitor = {.on_network = on_network, .on_damaged = on_damaged};

static bool keep(void *ctx)
{
    struct keeping *keeping = ctx;
    const struct state_network network = {&keeping->spec, 1000, 100, keeping->ports, 2};
    char why[STATE_WHY_SIZE], wanted[64];
    const uint32_t before = keeping->spec.mtu++;
    const int r = state_save(keeping->state, &network, why, sizeof(why));
    faults_disarm(FAULT_MEMORY);
    if (r < 0)
        keeping->spec.mtu = before;
    snprintf(wanted, sizeof(wanted), "lab %u 2 1", keeping->spec.mtu);
    assert_int_equal(state_load_all(keeping->state, &visitor, keeping, why, sizeof(why)), 0);
    assert_string_equal(keeping->seen, wanted);
    return r == 0;
}

static bool load(void *ctx)
{
    struct keeping *keeping = ctx;
    char why[STATE_WHY_SIZE];
    keeping->seen[0] = '\0';
    const int r = state_load_all(keeping->state, &visitor, keeping, why, sizeof(why));
    faults_disarm(FAULT_MEMORY);
    assert_true(r == 0 || r == -ENOMEM);
    assert_string_equal(keeping->seen, r == 0 ? "lab 2000 2 1" : "");
    return r == 0;
}

static void what_is_kept_is_the_old_or_the_new_and_never_set_aside(void **state)
{
    static struct keeping keeping;
    char root[] = "/tmp/test_shortage.XXXXXX", why[STATE_WHY_SIZE], path[96];
    (void)state;
    assert_non_null(mkdtemp(root));
    assert_int_equal(state_open(&keeping.state, root, why, sizeof(why)), 0);
    network_spec_init(&keeping.spec, "lab", MODE_INTERNAL);
    keeping.ports[0] = (struct port_spec){.name = "a", .n_statics = 1, .statics = {0x525400000001}};
    keeping.ports[1] = (struct port_spec){.name = "b", .isolated = true};
    assert_true(keep(&keeping));
    for_every_allocation(keep, &keeping);
    keeping.spec.mtu = 1999;
    assert_true(keep(&keeping));
    for_every_allocation(load, &keeping);
    assert_int_equal(state_remove(keeping.state, "lab", why, sizeof(why)), 0);
    state_close(keeping.state);
    snprintf(path, sizeof(path), "%s/networks", root);
    assert_int_equal(rmdir(path), 0); /* nothing else is in it */
    assert_int_equal(rmdir(root), 0);
}

/* ---- the plan of a reload ---- */

static bool plan(void *ctx)
{
    struct config *config = ctx;
    struct network_want is = {.spec = config->networks[0].spec,
                              .n_ports = config->networks[0].n_ports,
                              .ports = config->networks[0].ports};
    struct network_want should = is;
    struct reload_plan made;
    should.spec.mtu = 3000;
    should.spec.isolated = false;
    should.n_ports = 0;
    if (reload_plan_make(&made, &is, &should) < 0)
        return false;
    faults_disarm(FAULT_MEMORY);
    assert_int_equal(json_array_size(made.changed), 2);
    assert_int_equal(json_array_size(made.needs_restart), 1);
    reload_plan_free(&made);
    return true;
}

static void a_plan_names_every_field_or_is_none(void **state)
{
    struct config config;
    char why[CONFIG_WHY_SIZE];
    (void)state;
    assert_int_equal(config_parse(config_text, strlen(config_text), "conf", &config, why, sizeof(why)), 0);
    for_every_allocation(plan, &config);
    config_deinit(&config);
}

/* ---- a network's life ---- */

static void on_uplink_wanted(void *ctx)
{
    (void)ctx;
}

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static void count_page(void *ctx, uint16_t type, const void *payload, uint32_t len)
{
    (void)type;
    (void)payload;
    (void)len;
    ++*(unsigned *)ctx;
}

/* A lease of a socket pair, and frames. */
static bool attach_and_speak(struct network *network, uv_loop_t *loop)
{
    static const uint8_t record[64] = {0,   0,    0,    60, 255, 255, 255, 255,  255,
                                       255, 0x52, 0x54, 0,  0,   0,   1,   0x88, 0xb5};
    struct attach_order order = {.persist = false};
    struct done done;
    int data[2], lease[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, data), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, lease), 0);
    network_attach(network, &order, data[1], lease[1], &done);
    (void)send(data[0], record, sizeof(record), MSG_NOSIGNAL);
    uv_run(loop, UV_RUN_NOWAIT);
    close(data[0]);
    uv_run(loop, UV_RUN_NOWAIT);
    close(lease[0]);
    uv_run(loop, UV_RUN_NOWAIT);
    return done.status == 0;
}

static bool live(void *ctx)
{
    static const struct network_env env = {.uplink_wanted = on_uplink_wanted};
    uv_loop_t *loop = ctx;
    const struct port_spec port = {.name = "p", .enabled = true, .n_statics = 1, .statics = {0x525400000009}};
    struct network_spec spec;
    struct network *network;
    struct done done;
    unsigned n_pages = 0;
    bool is_closed = false;
    network_spec_init(&spec, "lab", MODE_INTERNAL);
    if (network_create(&network, loop, &spec, &env, NULL) < 0) {
        uv_run(loop, UV_RUN_DEFAULT);
        return false;
    }
    network_put_port(network, &port, &done);
    const bool is_attached = attach_and_speak(network, loop) && done.status == 0;
    network_snapshot(network, &(struct query){.ports = true, .fdb = true}, count_page, &n_pages);
    assert_true(n_pages > 0);
    network_close(network, on_closed, &is_closed);
    uv_run(loop, UV_RUN_DEFAULT);
    assert_true(is_closed);
    return is_attached;
}

static unsigned count_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void a_network_lives_and_ends_without_what_it_could_not_get(void **state)
{
    uv_loop_t loop;
    (void)state;
    log_set_level(LOG_ERROR);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_true(live(&loop)); /* libuv's table is large enough then: daemon/loop_room.h */
    const unsigned n_fds = count_fds();
    for_every_allocation(live, &loop);
    assert_int_equal(count_fds(), n_fds);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- messages ---- */

static int take(void *ctx, struct message *message)
{
    *(struct message *)ctx = *message;
    message->fd = -1;
    return 0;
}

/* D14: its reader refuses what the message was for; the next one is as always. */
static void a_message_goes_without_the_descriptor_that_the_system_does_not_take(void **state)
{
    struct message heard = {.fd = -1};
    int fds[2];
    (void)state;
    assert_int_equal(channel_pair(fds), 0);
    struct channel *from = channel_create(fds[0]), *to = channel_create(fds[1]);
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            faults_arm(FAULT_SENDMSG, 0, 1, ETOOMANYREFS);
        assert_int_equal(channel_send(from, MSG_CONTROL, 0, NULL, 0, dup(0)), 0);
        faults_disarm(FAULT_SENDMSG);
        assert_int_equal(channel_lost_fds(from), i >= 1);
        assert_true(channel_receive(to, take, &heard) >= 0);
        assert_int_equal(heard.type, MSG_CONTROL);
        assert_true((heard.fd >= 0) == (i != 1));
        if (heard.fd >= 0)
            close(heard.fd);
    }
    channel_destroy(from);
    channel_destroy(to);
}

/* D14: what the system has none of for a moment is asked for again. */
static void a_channel_outlives_a_shortage(void **state)
{
    struct message heard = {.fd = -1};
    int fds[2];
    (void)state;
    assert_int_equal(channel_pair(fds), 0);
    struct channel *from = channel_create(fds[0]), *to = channel_create(fds[1]);
    faults_arm(FAULT_SENDMSG, 0, 2, ENOBUFS);
    assert_int_equal(channel_send(from, MSG_CONTROL, 0, NULL, 0, -1), 0);
    assert_true(channel_wants_write(from));
    assert_int_equal(channel_flush(from), 0);
    assert_int_equal(channel_flush(from), 0);
    assert_false(channel_wants_write(from));
    faults_arm(FAULT_RECVMSG, 0, 1, ENOMEM);
    assert_int_equal(channel_receive(to, take, &heard), 0);
    assert_int_equal(heard.type, 0);
    assert_true(channel_receive(to, take, &heard) >= 0);
    assert_int_equal(heard.type, MSG_CONTROL);
    channel_destroy(from);
    channel_destroy(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_is_read_whole_or_not_at_all),
        cmocka_unit_test(what_is_kept_is_the_old_or_the_new_and_never_set_aside),
        cmocka_unit_test(a_plan_names_every_field_or_is_none),
        cmocka_unit_test(a_network_lives_and_ends_without_what_it_could_not_get),
        cmocka_unit_test(a_message_goes_without_the_descriptor_that_the_system_does_not_take),
        cmocka_unit_test(a_channel_outlives_a_shortage),
    };
    shortage_watch_json();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

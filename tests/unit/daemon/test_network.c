/* A network by direct calls, as a front end uses it: the contract of uplinks, named ports, snapshots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "daemon/network.h"
#include "io/log.h"
#include "switch/fdb.h"

enum { FRAME_LEN = 60, WAIT_MS = 5000 };

struct rig {
    int first_free; /* descriptor before the test: none may be left open behind it */
    uv_loop_t loop;
    struct network *network;
    unsigned n_wanted; /* times the uplink was asked for */
    unsigned n_to_fail;
    int uplink; /* our end of it, -1: none */
    bool is_closed;
};

static int first_free(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

/* An opener that fails n_to_fail times, then hands over a socketpair. */
static void on_uplink_wanted(void *ctx)
{
    struct rig *rig = ctx;
    rig->n_wanted++;
    if (rig->n_to_fail > 0) {
        const struct uplink_report report = {.state = UPLINK_DEGRADED,
                                             .reason = "the sharing service is not up"};
        rig->n_to_fail--;
        network_report_uplink(rig->network, &report);
        return;
    }
    int fds[2];
    const struct uplink_order order = {.kind = UPLINK_USER, .facts = {.mac = 0x525400fffe01}};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    rig->uplink = fds[0];
    network_plug_uplink(rig->network, &order, fds[1]);
}

static const struct network_env env = {.uplink_wanted = on_uplink_wanted};

static void open_rig(struct rig *rig, enum network_uplink uplink, unsigned n_to_fail)
{
    struct network_spec spec;
    *rig = (struct rig){.first_free = first_free(), .uplink = -1, .n_to_fail = n_to_fail};
    log_set_level(LOG_ERROR);
    network_spec_init(&spec, "lab", uplink == WANT_NONE ? MODE_INTERNAL : MODE_SHARED);
    spec.uplink = uplink;
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    assert_int_equal(network_create(&rig->network, &rig->loop, &spec, &env, rig), 0);
}

static void on_closed(void *ctx)
{
    ((struct rig *)ctx)->is_closed = true;
}

static void close_rig(struct rig *rig)
{
    network_close(rig->network, on_closed, rig);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_true(rig->is_closed);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    if (rig->uplink >= 0)
        close(rig->uplink);
    assert_int_equal(first_free(), rig->first_free);
}

static void on_nap(uv_timer_t *timer)
{
    (void)timer;
}

/* Turns the loop until 'is_done', at most WAIT_MS. */
static void run_until(struct rig *rig, bool (*is_done)(struct rig *rig))
{
    uv_timer_t nap;
    uv_timer_init(&rig->loop, &nap);
    uv_timer_start(&nap, on_nap, 1, 1);
    const uint64_t deadline = uv_hrtime() + WAIT_MS * UINT64_C(1000000);
    while (!is_done(rig) && uv_hrtime() < deadline)
        uv_run(&rig->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&nap, NULL);
    uv_run(&rig->loop, UV_RUN_NOWAIT);
    assert_true(is_done(rig));
}

static void keep_report(void *ctx, uint16_t type, const void *payload, uint32_t len)
{
    if (type == MSG_SNAPSHOT) {
        assert_int_equal(len, sizeof(struct network_report));
        memcpy(ctx, payload, len);
    }
}

static struct network_report report_of(struct rig *rig)
{
    struct network_report report;
    network_snapshot(rig->network, &(struct query){.ports = false}, keep_report, &report);
    return report;
}

static bool is_up(struct rig *rig)
{
    return report_of(rig).uplink_state == UPLINK_UP;
}

static bool is_degraded(struct rig *rig)
{
    return report_of(rig).uplink_state == UPLINK_DEGRADED;
}

static int attach(struct rig *rig, const char *port, struct done *ret_done)
{
    int fds[2];
    struct attach_order order = {.persist = true};
    snprintf(order.port, sizeof(order.port), "%s", port);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    network_attach(rig->network, &order, fds[1], -1, ret_done);
    return fds[0];
}

static void send_frame(int fd, uint64_t to, uint64_t from, uint8_t mark)
{
    uint8_t record[4 + FRAME_LEN] = {0, 0, 0, FRAME_LEN};
    mac_store(record + 4, to);
    mac_store(record + 10, from);
    record[16] = 0x88;
    record[17] = 0xb5;
    record[18] = mark;
    assert_int_equal(send(fd, record, sizeof(record), MSG_NOSIGNAL), sizeof(record));
}

static int receiver;
static uint8_t received[4 + FRAME_LEN];

static bool has_received(struct rig *rig)
{
    (void)rig;
    if (received[7 + 11])
        return true;
    return recv(receiver, received, sizeof(received), MSG_DONTWAIT) == (ssize_t)sizeof(received);
}

static void expect_frame(struct rig *rig, int fd, uint8_t mark)
{
    receiver = fd;
    memset(received, 0, sizeof(received));
    run_until(rig, has_received);
    assert_int_equal(received[18], mark);
}

static void expect_sum_rule(struct rig *rig)
{
    const struct lan_snapshot lan = report_of(rig).lan;
    assert_int_equal(lan.totals.frames_in + lan.totals.flood_copies + lan.totals.segment_copies,
                     lan.totals.frames_out + counters_dropped(&lan.totals) + lan.queued);
}

static void T17_an_uplink_that_fails_three_times_comes_up_while_ports_wait(void **state)
{
    struct rig rig;
    struct done done;
    (void)state;
    open_rig(&rig, WANT_USER, 3);
    int vm = attach(&rig, "", &done);
    assert_int_equal(done.status, 0);
    run_until(&rig, is_degraded);
    assert_string_equal(report_of(&rig).uplink_reason, "the sharing service is not up");
    run_until(&rig, is_up);
    assert_int_equal(rig.n_wanted, 4);
    send_frame(vm, 0x525400fffe01, 0x525400000001, 7);
    expect_frame(&rig, rig.uplink, 7);
    expect_sum_rule(&rig);
    close(vm);
    close_rig(&rig);
}

static void ports_keep_their_traffic_while_the_uplink_dies_and_comes_back(void **state)
{
    struct rig rig;
    struct done done;
    (void)state;
    open_rig(&rig, WANT_USER, 0);
    int a = attach(&rig, "", &done), b = attach(&rig, "", &done);
    run_until(&rig, is_up);
    close(rig.uplink);
    rig.uplink = -1;
    run_until(&rig, is_degraded);
    send_frame(b, 0xffffffffffff, 0x525400000002, 1);
    expect_frame(&rig, a, 1);
    send_frame(a, 0x525400000002, 0x525400000001, 2);
    expect_frame(&rig, b, 2);
    run_until(&rig, is_up);
    assert_int_equal(rig.n_wanted, 2);
    expect_sum_rule(&rig);
    close(a);
    close(b);
    close_rig(&rig);
}

/* Milliseconds until the loop wakes up by itself; -1: never. */
static int sleeps_ms(struct rig *rig)
{
    uv_run(&rig->loop, UV_RUN_NOWAIT);
    return uv_loop_alive(&rig->loop) ? uv_backend_timeout(&rig->loop) : -1;
}

static void an_idle_network_wakes_up_for_nothing_but_the_age_of_an_address(void **state)
{
    struct rig rig;
    struct done done;
    (void)state;
    open_rig(&rig, WANT_NONE, 0);
    assert_int_equal(sleeps_ms(&rig), -1);
    int a = attach(&rig, "", &done), b = attach(&rig, "", &done);
    assert_int_equal(sleeps_ms(&rig), -1);
    send_frame(b, 0xffffffffffff, 0x525400000002, 1);
    expect_frame(&rig, a, 1);
    assert_in_range(sleeps_ms(&rig), FDB_AGE_MS - WAIT_MS, FDB_AGE_MS);
    close(a);
    close(b);
    close_rig(&rig);
}

static void a_failed_uplink_is_not_tried_again(void **state)
{
    struct rig rig;
    const struct uplink_report report = {.state = UPLINK_FAILED, .reason = "not here"};
    (void)state;
    open_rig(&rig, WANT_USER, 1);
    run_until(&rig, is_degraded);
    network_report_uplink(rig.network, &report);
    assert_false(network_wants_uplink(rig.network));
    close_rig(&rig);
    assert_int_equal(rig.n_wanted, 1);
}

static void a_named_port_takes_one_client_at_a_time(void **state)
{
    struct rig rig;
    struct done done;
    struct port_spec spec = {.name = "vm1", .enabled = true};
    (void)state;
    open_rig(&rig, WANT_NONE, 0);
    int early = attach(&rig, "vm1", &done);
    assert_int_equal(done.status, 404);
    network_put_port(rig.network, &spec, &done);
    assert_int_equal(done.status, 0);
    int first = attach(&rig, "vm1", &done);
    assert_int_equal(done.status, 0);
    assert_string_equal(done.port, "vm1");
    int second = attach(&rig, "vm1", &done);
    assert_int_equal(done.status, 409);
    network_remove_port(rig.network, "vm1", &done);
    assert_int_equal(done.status, 0);
    network_remove_port(rig.network, "vm1", &done);
    assert_int_equal(done.status, 404);
    close(early);
    close(first);
    close(second);
    close_rig(&rig);
}

static void keep_first_port(void *ctx, uint16_t type, const void *payload, uint32_t len)
{
    (void)len;
    if (type == MSG_SNAPSHOT_PORTS)
        *(struct port_snapshot *)ctx = ((const struct ports_page *)payload)->ports[0];
}

static struct port_snapshot newest_port_of(struct rig *rig)
{
    struct port_snapshot port = {.name = ""};
    network_snapshot(rig->network, &(struct query){.ports = true}, keep_first_port, &port);
    return port;
}

static void a_ports_offload_is_constant_while_it_has_a_client(void **state)
{
    struct rig rig;
    struct done done;
    struct port_spec spec = {.name = "vm1", .enabled = true};
    (void)state;
    open_rig(&rig, WANT_NONE, 0);
    network_put_port(rig.network, &spec, &done);
    assert_int_equal(newest_port_of(&rig).offload, OFFLOAD_OFF);
    assert_int_equal(newest_port_of(&rig).frame_max, 1514);
    spec.offload_is_set = true;
    spec.offload = OFFLOAD_RAW;
    network_put_port(rig.network, &spec, &done);
    assert_int_equal(done.status, 0);
    assert_int_equal(newest_port_of(&rig).offload, OFFLOAD_RAW);
    assert_int_equal(newest_port_of(&rig).frame_max, FRAME_OFFLOAD_MAX);
    int vm = attach(&rig, "vm1", &done);
    assert_int_equal(done.status, 0);
    network_put_port(rig.network, &spec, &done);
    assert_int_equal(done.status, 0);
    spec.offload_is_set = false; /* the network's, which is another */
    network_put_port(rig.network, &spec, &done);
    assert_int_equal(done.status, 409);
    assert_non_null(strstr(done.why, "DELETE"));
    assert_int_equal(newest_port_of(&rig).offload, OFFLOAD_RAW);
    assert_true(newest_port_of(&rig).is_up);
    close(vm);
    close_rig(&rig);
}

static void a_passed_descriptor_says_its_offload_or_has_the_networks(void **state)
{
    struct rig rig;
    struct done done;
    struct port_spec spec = {.name = "vm1", .enabled = true};
    struct attach_order order = {.persist = true, .has_offload = true, .offload = OFFLOAD_VIRTIO};
    int fds[2], named[2];
    (void)state;
    open_rig(&rig, WANT_NONE, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    network_attach(rig.network, &order, fds[1], -1, &done);
    assert_int_equal(done.status, 0);
    assert_int_equal(newest_port_of(&rig).offload, OFFLOAD_VIRTIO);
    int plain = attach(&rig, "", &done);
    assert_int_equal(newest_port_of(&rig).offload, OFFLOAD_OFF);
    network_put_port(rig.network, &spec, &done);
    snprintf(order.port, sizeof(order.port), "vm1");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, named), 0);
    network_attach(rig.network, &order, named[1], -1, &done);
    assert_int_equal(done.status, 409);
    assert_non_null(strstr(done.why, "\"off\""));
    close(named[0]);
    close(plain);
    close(fds[0]);
    close_rig(&rig);
}

static int attach_isolated(struct rig *rig, const char *port, struct done *ret_done)
{
    struct attach_order order = {.persist = true, .isolated = true};
    int fds[2];
    snprintf(order.port, sizeof(order.port), "%s", port);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    network_attach(rig->network, &order, fds[1], -1, ret_done);
    return fds[0];
}

static void a_passed_descriptor_may_be_isolated(void **state)
{
    struct rig rig;
    struct done done;
    struct port_spec open = {.name = "vm1", .enabled = true},
                     isolated = {.name = "vm2", .enabled = true, .isolated = true};
    (void)state;
    open_rig(&rig, WANT_NONE, 0);
    int one = attach_isolated(&rig, "", &done);
    assert_int_equal(done.status, 0);
    assert_true(newest_port_of(&rig).isolated);
    int two = attach(&rig, "", &done);
    assert_false(newest_port_of(&rig).isolated);
    /* A named port is what it was made as: neither widened nor narrowed by whoever attaches. */
    network_put_port(rig.network, &open, &done);
    int three = attach_isolated(&rig, "vm1", &done);
    assert_int_equal(done.status, 409);
    assert_non_null(strstr(done.why, "not isolated"));
    network_put_port(rig.network, &isolated, &done);
    int four = attach_isolated(&rig, "vm2", &done);
    assert_int_equal(done.status, 0);
    close(one);
    close(two);
    close(three);
    close(four);
    close_rig(&rig);
}

static void names_of_others_are_refused(void **state)
{
    struct rig rig;
    struct done done;
    struct port_spec spec = {.name = "uplink", .enabled = true};
    (void)state;
    open_rig(&rig, WANT_NONE, 0);
    network_put_port(rig.network, &spec, &done);
    assert_int_equal(done.status, 422);
    int vm = attach(&rig, "", &done);
    snprintf(spec.name, sizeof(spec.name), "%s", done.port);
    network_put_port(rig.network, &spec, &done);
    assert_int_equal(done.status, 409);
    close(vm);
    close_rig(&rig);
}

static void a_descriptor_that_is_no_unix_socket_is_refused(void **state)
{
    struct rig rig;
    struct done done;
    struct attach_order order = {.persist = true};
    int pipes[2];
    (void)state;
    open_rig(&rig, WANT_NONE, 0);
    assert_int_equal(pipe(pipes), 0);
    network_attach(rig.network, &order, pipes[0], -1, &done);
    assert_int_equal(done.status, 422);
    assert_string_not_equal(done.why, "");
    close(pipes[1]);
    close_rig(&rig);
}

static void a_snapshot_counts_learned_and_static_addresses(void **state)
{
    struct rig rig;
    struct done done;
    struct port_spec spec = {
        .name = "vm1", .enabled = true, .n_statics = 2, .statics = {0x020000000011, 0x020000000012}};
    (void)state;
    open_rig(&rig, WANT_NONE, 0);
    network_put_port(rig.network, &spec, &done);
    int a = attach(&rig, "", &done), b = attach(&rig, "", &done);
    send_frame(a, 0xFFFFFFFFFFFF, 0x020000000001, 7);
    expect_frame(&rig, b, 7);
    assert_int_equal(report_of(&rig).lan.n_fdb, 3);
    assert_int_equal(report_of(&rig).lan.n_learned, 1);
    network_remove_port(rig.network, "vm1", &done);
    assert_int_equal(report_of(&rig).lan.n_fdb, 1);
    close(a);
    close(b);
    close_rig(&rig);
}

static void port_257_is_refused_and_counted(void **state)
{
    struct rig rig;
    struct done done;
    int vms[NETWORK_PORTS_MAX + 1];
    (void)state;
    open_rig(&rig, WANT_NONE, 0);
    for (int i = 0; i <= NETWORK_PORTS_MAX; i++) {
        vms[i] = attach(&rig, "", &done);
        assert_int_equal(done.status, i < NETWORK_PORTS_MAX ? 0 : 503);
    }
    assert_int_equal(report_of(&rig).lan.clients_refused, 1);
    assert_int_equal(report_of(&rig).lan.n_ports, NETWORK_PORTS_MAX);
    for (int i = 0; i <= NETWORK_PORTS_MAX; i++)
        close(vms[i]);
    close_rig(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(T17_an_uplink_that_fails_three_times_comes_up_while_ports_wait),
        cmocka_unit_test(ports_keep_their_traffic_while_the_uplink_dies_and_comes_back),
        cmocka_unit_test(an_idle_network_wakes_up_for_nothing_but_the_age_of_an_address),
        cmocka_unit_test(a_failed_uplink_is_not_tried_again),
        cmocka_unit_test(a_named_port_takes_one_client_at_a_time),
        cmocka_unit_test(a_ports_offload_is_constant_while_it_has_a_client),
        cmocka_unit_test(a_passed_descriptor_says_its_offload_or_has_the_networks),
        cmocka_unit_test(a_passed_descriptor_may_be_isolated),
        cmocka_unit_test(names_of_others_are_refused),
        cmocka_unit_test(a_descriptor_that_is_no_unix_socket_is_refused),
        cmocka_unit_test(a_snapshot_counts_learned_and_static_addresses),
        cmocka_unit_test(port_257_is_refused_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

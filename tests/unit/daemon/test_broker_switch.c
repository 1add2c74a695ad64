/* tests/unit/daemon/test_broker_switch.c - what the broker asks vmswitchd, a thread with canned answers in
 * its place */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/views.h"
#include "daemon/broker_rights.h"
#include "daemon/broker_switch.h"
#include "io/socket.h"

#define HTTP_OK "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"

static struct {
    char folder[64], path[96];
    int listener, got_fd;
    pthread_t thread;
    const char *answer; /* NULL: none, until the other side goes */
    char request[4096];
    char why[MESSAGE_WHY_SIZE];
} rig;

/* Says its answer when it has read "\n" at the end. */
static void *serve_one(void *arg)
{
    const int fd = accept(rig.listener, NULL, NULL);
    size_t len = 0;
    (void)arg;
    while (len == 0 || rig.request[len - 1] != '\n') {
        unsigned extra;
        int got = -1;
        const long n = socket_receive_fd(fd, rig.request + len, sizeof(rig.request) - 1 - len, &got, &extra);
        if (n == -EAGAIN || n == -EWOULDBLOCK)
            continue;
        if (n <= 0)
            break;
        if (got >= 0)
            rig.got_fd = got;
        len += (size_t)n;
    }
    if (rig.answer) {
        const char *at = rig.answer;
        for (size_t left = strlen(at); left > 0;) {
            const ssize_t n = send(fd, at, left, MSG_NOSIGNAL);
            if (n <= 0)
                break;
            at += n;
            left -= (size_t)n;
        }
    } else {
        char byte;
        while (recv(fd, &byte, 1, 0) > 0)
            ;
    }
    close(fd);
    return NULL;
}

static void serve(const char *name, const char *answer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(rig.path, sizeof(rig.path), "%s/%s", rig.folder, name);
    memcpy(address.sun_path, rig.path, strlen(rig.path) + 1);
    rig.answer = answer;
    rig.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(rig.listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(rig.listener, 1), 0);
    assert_int_equal(pthread_create(&rig.thread, NULL, serve_one, NULL), 0);
}

static void finish(void)
{
    pthread_join(rig.thread, NULL);
    close(rig.listener);
    unlink(rig.path);
}

static enum switch_answer find(const char *answer, struct switch_network *ret_network)
{
    serve("api.sock", answer);
    const enum switch_answer found = switch_find(rig.folder, "lab", ret_network, rig.why);
    finish();
    return found;
}

static int set_up(void **state)
{
    (void)state;
    memset(&rig, 0, sizeof(rig));
    rig.got_fd = -1;
    snprintf(rig.folder, sizeof(rig.folder), "/tmp/vmsw-switch-XXXXXX");
    return mkdtemp(rig.folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    if (rig.got_fd >= 0)
        close(rig.got_fd);
    return rmdir(rig.folder);
}

/* As the API says it. */
static char *answer_for(const struct network_spec *spec)
{
    const struct network_status status = {.source = "api",
                                          .health = "up",
                                          .owner_uid = 501,
                                          .uplink_kind = UPLINK_VMNET,
                                          .uplink_pid = 4711,
                                          .uplink_state = UPLINK_UP,
                                          .stream_path = "/run/vmswitch/lab.stream",
                                          .attach_path = "/run/vmswitch/attach.sock"};
    json_t *view = view_network(spec, &status);
    char *text = json_dumps(view, JSON_COMPACT), *all = NULL;
    assert_non_null(text);
    all = malloc(sizeof(HTTP_OK) + strlen(text));
    memcpy(all, HTTP_OK, sizeof(HTTP_OK));
    strcat(all, text);
    free(text);
    json_decref(view);
    return all;
}

static void test_a_network_is_read_as_the_api_shows_it(void **state)
{
    struct network_spec spec;
    struct switch_network network;
    (void)state;
    network_spec_init(&spec, "lab", MODE_SHARED);
    spec.uplink = WANT_AUTO;
    spec.ipv4.gateway = 0x0A000001;
    spec.ipv4.netmask = 0xFFFFFF00;
    spec.ipv4.dhcp_end = 0x0A0000FE;
    spec.mtu = 9000;
    spec.sockets.mode = 0666;
    char *answer = answer_for(&spec);
    assert_int_equal(find(answer, &network), SWITCH_KNOWS);
    free(answer);
    assert_string_equal(network.spec.name, "lab");
    assert_int_equal(network.spec.mode, MODE_SHARED);
    assert_int_equal(network.spec.uplink, WANT_AUTO);
    assert_int_equal(network.kind, UPLINK_VMNET);
    assert_int_equal(network.spec.ipv4.gateway, 0x0A000001);
    assert_int_equal(network.spec.mtu, 9000);
    assert_int_equal(network.spec.sockets.mode, 0666);
    assert_int_equal(network.owner, 501);
    assert_int_equal(network.uplink_pid, 4711);
    assert_non_null(strstr(rig.request, "GET /v1/networks/lab HTTP/1.1\r\n"));
}

static void test_an_unknown_network_is_known_not_to_be(void **state)
{
    struct switch_network network;
    (void)state;
    assert_int_equal(find("HTTP/1.1 404 Not Found\r\n\r\n{}", &network), SWITCH_KNOWS_NOT);
    assert_non_null(strstr(rig.why, "no network \"lab\""));
}

static void test_anything_else_is_no_answer(void **state)
{
    static const char *const answers[] = {
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        HTTP_OK "[]",
        HTTP_OK "{}",
        HTTP_OK "{\"uplink\": {\"kind\": 7}, \"mode\": \"sideways\"}",
        HTTP_OK "{\"uplink\": {\"kind\": \"vmnet\"}, \"ipv4\": 1}",
        "HTTP/1.1 503 Service Unavailable\r\n\r\n{}",
        "SSH-2.0-OpenSSH\r\n\r\n",
    };
    struct switch_network network;
    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        rig.why[0] = '\0';
        if (find(answers[i], &network) != SWITCH_UNREACHABLE || !rig.why[0])
            fail_msg("answer %zu was taken", i);
    }
}

static void test_an_answer_without_end_is_cut_off(void **state)
{
    struct switch_network network;
    const size_t size = 1024 * 1024;
    char *answer = malloc(size);
    (void)state;
    memset(answer, ' ', size);
    memcpy(answer, HTTP_OK, strlen(HTTP_OK));
    answer[size - 1] = '\0';
    assert_int_equal(find(answer, &network), SWITCH_UNREACHABLE);
    free(answer);
}

static void test_without_vmswitchd_the_socket_is_named(void **state)
{
    struct switch_network network;
    (void)state;
    assert_int_equal(switch_find(rig.folder, "lab", &network, rig.why), SWITCH_ABSENT);
    assert_non_null(strstr(rig.why, "/api.sock: No such file"));
}

static void test_a_silent_vmswitchd_is_not_waited_for_for_ever(void **state)
{
    struct switch_network network;
    (void)state;
    assert_int_equal(find(NULL, &network), SWITCH_UNREACHABLE);
    assert_non_null(strstr(rig.why, "does not answer"));
}

/* ---- descriptors ---- */

static int attach(const char *answer, bool is_stream, const char *offload, int *ret_fd, int *ret_lease)
{
    serve("attach.sock", answer);
    const struct switch_port port = {.is_stream = is_stream, .is_isolated = !is_stream, .offload = offload};
    const int r = switch_attach(rig.folder, "lab", &port, ret_fd, ret_lease, rig.why);
    finish();
    return r;
}

static void test_one_end_goes_in_and_the_other_comes_back(void **state)
{
    (void)state;
    for (int is_stream = 0; is_stream < 2; is_stream++) {
        int fd, lease, type = 0;
        socklen_t size = sizeof(type);
        char text[8] = "";
        memset(rig.request, 0, sizeof(rig.request));
        assert_int_equal(attach("{\"network\": \"lab\", \"port\": \"fd-1\"}\n", is_stream,
                                is_stream ? "raw" : NULL, &fd, &lease),
                         0);
        assert_string_equal(rig.request, is_stream ? "{\"network\": \"lab\", \"offload\": \"raw\"}\n"
                                                   : "{\"network\": \"lab\", \"isolated\": true}\n");
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size), 0);
        assert_int_equal(type, is_stream ? SOCK_STREAM : SOCK_DGRAM);
        assert_int_equal(send(fd, "frame", 5, 0), 5);
        assert_int_equal(recv(rig.got_fd, text, sizeof(text), 0), 5);
        close(fd);
        close(lease);
        close(rig.got_fd);
        rig.got_fd = -1;
    }
}

static void test_a_refusal_is_passed_on_in_its_words(void **state)
{
    int fd, lease;
    (void)state;
    assert_true(
        attach("{\"status\": 403, \"detail\": \"this user may not attach\"}\n", true, NULL, &fd, &lease) < 0);
    assert_non_null(strstr(rig.why, "this user may not attach"));
    close(rig.got_fd);
    assert_true(attach("what?\n", true, NULL, &fd, &lease) < 0);
    assert_non_null(strstr(rig.why, "no reason given"));
    close(rig.got_fd);
    assert_true(attach("", true, NULL, &fd, &lease) < 0);
    assert_non_null(strstr(rig.why, "attach.sock: Broken pipe"));
}

/* ---- rights ---- */

static void test_rights_are_those_of_the_sockets(void **state)
{
    struct switch_network network = {.owner = 40001};
    (void)state;
    network.spec.sockets.mode = 0600;
    assert_true(broker_may_use(0, NULL));
    assert_true(broker_may_use(geteuid(), NULL));
    assert_false(broker_may_use(40001, NULL));
    assert_true(broker_may_use(40001, &network));
    assert_false(broker_may_use(40002, &network));
    network.spec.sockets.mode = 0666;
    assert_true(broker_may_use(40002, &network));
    network.spec.sockets.mode = 0660;
    snprintf(network.spec.sockets.group, sizeof(network.spec.sockets.group), "daemon");
    assert_false(broker_may_use(40002, &network));
    assert_true(broker_may_use(1, &network)); /* user daemon, on Linux as on macOS */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(test_a_network_is_read_as_the_api_shows_it),
        CASE(test_an_unknown_network_is_known_not_to_be),
        CASE(test_anything_else_is_no_answer),
        CASE(test_an_answer_without_end_is_cut_off),
        CASE(test_without_vmswitchd_the_socket_is_named),
        CASE(test_a_silent_vmswitchd_is_not_waited_for_for_ever),
        CASE(test_one_end_goes_in_and_the_other_comes_back),
        CASE(test_a_refusal_is_passed_on_in_its_words),
        CASE(test_rights_are_those_of_the_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

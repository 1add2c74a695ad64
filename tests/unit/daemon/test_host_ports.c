/* Tests of daemon/host_ports.c: real sockets on the loopback. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/host_ports.h"

/* A bound socket of somebody else's and its port; the port is free again when it is closed. */
static int somebody(int type, uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, type, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static int try_bind(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static struct network_spec with_forwards(uint32_t n, const uint16_t *host_ports)
{
    struct network_spec spec;
    network_spec_init(&spec, "lab", MODE_SHARED);
    spec.n_forwards = n;
    for (uint32_t i = 0; i < n; i++)
        spec.forwards[i] = (struct network_forward){
            .host_ip = INADDR_LOOPBACK, .host_port = host_ports[i], .guest_ip = 0xC0A86905, .guest_port = 80};
    return spec;
}

static void a_port_is_kept_and_let_go(void **state)
{
    (void)state;
    struct host_ports ports;
    struct network_forward bound[NETWORK_FORWARDS_MAX];
    char reason[UPLINK_REASON_SIZE];
    uint16_t port;
    close(somebody(SOCK_STREAM, &port));
    struct network_spec spec = with_forwards(1, &port), none = with_forwards(0, NULL);
    host_ports_init(&ports);
    host_ports_apply(&ports, &spec);
    assert_false(host_ports_failure(&ports, reason));
    assert_int_equal(host_ports_bound(&ports, bound), 1);
    assert_int_equal(bound[0].host_port, port);
    assert_int_equal(try_bind(port), -EADDRINUSE);
    int fd = ports.entries[0].fd;
    host_ports_apply(&ports, &spec); /* as it is */
    assert_int_equal(ports.entries[0].fd, fd);
    host_ports_apply(&ports, &none);
    assert_int_equal(host_ports_bound(&ports, bound), 0);
    assert_int_equal(try_bind(port), 0);
    host_ports_close(&ports);
}

static void a_port_in_use_is_named_and_had_later(void **state)
{
    (void)state;
    struct host_ports ports;
    struct network_forward bound[NETWORK_FORWARDS_MAX];
    char reason[UPLINK_REASON_SIZE];
    uint16_t taken[2];
    int other = somebody(SOCK_STREAM, &taken[0]);
    close(somebody(SOCK_STREAM, &taken[1]));
    struct network_spec spec = with_forwards(2, taken);
    host_ports_init(&ports);
    host_ports_apply(&ports, &spec);
    assert_int_equal(host_ports_bound(&ports, bound), 1); /* the other works */
    assert_true(host_ports_failure(&ports, reason));
    assert_non_null(strstr(reason, "forward tcp 127.0.0.1:"));
    assert_non_null(strstr(reason, strerror(EADDRINUSE)));
    assert_false(host_ports_retry(&ports));
    close(other);
    assert_true(host_ports_retry(&ports));
    assert_false(host_ports_failure(&ports, reason));
    assert_int_equal(host_ports_bound(&ports, bound), 2);
    host_ports_close(&ports);
    assert_int_equal(try_bind(taken[0]), 0);
}

static void a_port_can_go_to_another_guest_at_once(void **state)
{
    (void)state;
    struct host_ports ports;
    struct network_forward bound[NETWORK_FORWARDS_MAX];
    uint16_t port;
    close(somebody(SOCK_STREAM, &port));
    struct network_spec spec = with_forwards(1, &port);
    host_ports_init(&ports);
    host_ports_apply(&ports, &spec);
    spec.forwards[0].guest_port = 81;
    host_ports_apply(&ports, &spec);
    assert_int_equal(host_ports_bound(&ports, bound), 1);
    assert_int_equal(bound[0].guest_port, 81);
    host_ports_close(&ports);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_is_kept_and_let_go),
        cmocka_unit_test(a_port_in_use_is_named_and_had_later),
        cmocka_unit_test(a_port_can_go_to_another_guest_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
